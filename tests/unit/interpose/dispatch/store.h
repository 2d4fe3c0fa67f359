/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A storage domain in the test's own process: requests are carried out below a directory as PROTOCOL.md says, so that the
 * runtime's files link plainly and the sanitizers see them.
 */
#ifndef STORE_H
#define STORE_H

#include <stdio.h>
#include "interpose/dispatch/marshal.h"
#include "interpose/dispatch/path.h"

/* The scratch directory: host files lie in it, `pre` is the prefix, `exp` what the domain exports. */
extern char top[128];
/* Once in each test.  `shadow`: the host has a directory where the prefix is. */
void store_start(bool shadow);
/* A path in the scratch directory; four may be in use. */
const char *in_top(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void put_file(const char *path, const char *text);
/* The domain dies and is up again at once. */
void store_reboot(void);
/* Requests that reached the domain. */
extern unsigned store_requests;
extern size_t store_lane;           /* bytes of payload memory */
extern struct vos_proc store_proc;

/* The call as a program makes it. */
long call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
#define CALL(nr, ...) CALL_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) call6(__NR_##nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))
#define P(p) ((uint64_t)(uintptr_t)(p))

#endif
