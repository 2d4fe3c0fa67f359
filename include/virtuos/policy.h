/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy: which calls go to which domain.  One line of text, from VIRTUOS, the flags of `virtuos run`, or virtuos.conf:
 *
 *   net=DOMAIN store=/prefix=DOMAIN:/dir … recover=fail|replay threads=kernel|mn
 *
 * DOMAIN is local, local:NETNS (net only) or xen:NAME.  Words are parted by blanks; a blank, quote or backslash inside a word
 * is written \x, 'x' or "x", as for a shell.  This file is pure and freestanding: the CLI links it too.
 */
#ifndef VOS_POLICY_H
#define VOS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOS_POLICY_STORES 15
#define VOS_POLICY_NAME   64
#define VOS_POLICY_PATH   256
#define VOS_POLICY_ERROR  256    /* a buffer for a message, with the NUL */

struct vos_policy_store {
	char domain[VOS_POLICY_NAME];
	char prefix[VOS_POLICY_PATH]; /* canonical; no trailing slash but for "/" */
	char root[VOS_POLICY_PATH];   /* in the domain; absolute, canonical */
	uint16_t prefix_len;          /* 0 for "/": what a path must begin with */
	bool has_inner;               /* another prefix lies below this one */
};

enum { VOS_RECOVER_FAIL, VOS_RECOVER_REPLAY };
/* MN_SPREAD, for tests: over several carriers at once, however short the uthreads run. */
enum { VOS_THREADS_KERNEL, VOS_THREADS_MN, VOS_THREADS_MN_SPREAD };

struct vos_policy {
	char net[VOS_POLICY_NAME];    /* "": sockets are native */
	uint32_t nstores;
	struct vos_policy_store store[VOS_POLICY_STORES]; /* longest prefix first */
	uint8_t recover, threads;
};

/*
 * 0; or -EINVAL with one line in err ("column 12: …"), *ret then untouched.  Touches no global, allocates nothing.
 */
int vos_policy_parse(const char *text, struct vos_policy *ret, char err[VOS_POLICY_ERROR]);

/* The rule whose prefix is path itself or an ancestor of it, by its longest prefix; path canonical.  NULL: native. */
const struct vos_policy_store *vos_policy_match(const struct vos_policy *p, const char *path, size_t len);
/* Whether path (canonical) is a true ancestor of some prefix. */
bool vos_policy_is_ancestor(const struct vos_policy *p, const char *path, size_t len);

/*
 * Domains as the runtime numbers them: the net domain, when there is one, is 0, and store i follows in the order of the table.
 */
static inline uint32_t vos_policy_store_index(const struct vos_policy *p, const struct vos_policy_store *s)
{
	return (uint32_t)(s - p->store) + (p->net[0] != 0);
}

#endif
