/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replacing syscall instructions in this process, by plans that virtuos-planner made (plan_file.h).
 *
 * Part of the runtime: no libc, raw system calls only.  All functions but vos_rewrite_site_of() may wait for a lock of
 * this room and make system calls; they may be called by any thread, but not from a signal handler.
 */
#ifndef VOS_REWRITE_APPLY_H
#define VOS_REWRITE_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan_file.h"

struct vos_rewrite_cfg {
	/*
	 * Where stubs jump: rcx holds the address at which the program resumes, r11 is free, all else is the program's, as at
	 * the syscall instruction.
	 */
	const void *entry;
	/* Some address of our own object, which is left alone. */
	const void *own;
	/* The program's environment: says where the cache is.  Read during init only.  NULL: no cache. */
	char *const *envp;
	/* virtuos-planner; NULL: the one beside our own object, else the installed one. */
	const char *planner;
	/* How long a planner may take, in ms; 0: 5000. */
	uint32_t planner_ms;
	/* Other threads run already: code stays executable while it is written to. */
	bool threads;
};

/*
 * Patches all that is mapped executable.  0: some sites may be left, vos_rewrite_sites_left() says how many.  -errno: nothing
 * could be done (/proc is not there, no memory); later calls of this room then patch nothing and count everything as left.
 */
int vos_rewrite_init(const struct vos_rewrite_cfg *cfg);

/*
 * [addr, addr+len) is a private mapping of fd at off that is about to become executable (and is not yet; it may have any
 * other protection, and is left readable and not writable).  fd < 0: the mapping's file is looked up.  Returns how many
 * sites could not be patched, ≥ 0.
 */
int vos_rewrite_mapped(void *addr, size_t len, int fd, uint64_t off);

/*
 * The same for any memory that is about to become executable, of whatever kinds, `prot` being what it shall be: for
 * mprotect.  Where prot has PROT_WRITE nothing is patched: what the program writes later could not be seen anyway; the
 * result is then at least 1 if it could ever matter.  prot may also be what it is to be after the patching: the caller's
 * mprotect comes afterwards.
 */
int vos_rewrite_protect(void *addr, size_t len, int prot);

/* The same for anonymous memory, which is handed to the planner when it holds the bytes 0f 05. */
int vos_rewrite_anon(void *addr, size_t len);

/* The mapping is gone, or is about to be replaced. */
void vos_rewrite_unmapped(void *addr, size_t len);

/*
 * Code there is about to move (mremap): jumps to stubs would go astray, so the original bytes are put back.  How many
 * mappings that concerned; the caller hands them in again (vos_rewrite_protect) once they have moved.
 */
unsigned vos_rewrite_undo(void *addr, size_t len);

/*
 * The program is about to put a seccomp filter over itself, which might end it for a call of ours: from here on this room makes
 * none. New code counts as one site that is left.
 */
void vos_rewrite_confine(void);

/* Sites known, or suspected, that are not patched: while there are any, the fallback must be armed. */
unsigned vos_rewrite_sites_left(void);

enum vos_rewrite_where {
	VOS_REWRITE_BEFORE, /* in a stub (or its way there), before the call: rip is where the program seems to be */
	VOS_REWRITE_AFTER,  /* in the tail of a stub, after the call: likewise */
};

struct vos_rewrite_place {
	uint64_t site;   /* the address of the (former) syscall instruction */
	uint64_t rip;    /* the address of the original instruction that comes next */
	uint64_t resume; /* what the stub puts into rcx */
	enum vos_rewrite_where where;
	bool rcx_lost;   /* the stub has loaded rcx already: the program's own value is gone, as the call would have it */
};

/*
 * Is rip in one of our stubs?  Async-signal-safe, takes no lock, may run in any thread at any moment.
 */
bool vos_rewrite_site_of(uint64_t rip, struct vos_rewrite_place *ret);

struct vos_rewrite_stats {
	char name[256];
	uint64_t lo, hi;
	uint32_t kind[VOS_PLAN_KINDS]; /* patched (or left alone, or refused) by kind of plan */
	uint32_t fallback;             /* of these, or besides these: not patched */
};

/* The i-th object, live or gone; false behind the last.  Some indices may be empty: lo == hi. */
bool vos_rewrite_stats(unsigned i, struct vos_rewrite_stats *ret);

/* Around fork: nobody holds this room's lock in the child. */
void vos_rewrite_fork_prepare(void);
void vos_rewrite_fork_done(bool child);

#endif
