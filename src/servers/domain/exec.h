/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions that run a validated request: one for each row of the table that the generic ones cannot serve. */
#ifndef VOS_EXEC_H
#define VOS_EXEC_H

#include "servers/domain/domain.h"

typedef long vos_exec_fn(struct vos_proxy *p, struct vos_op *op);

#define VOS_DECLARE_X_NONE(n)
#define VOS_DECLARE_X_DIRECT(n)
#define VOS_DECLARE_X_WORKER(n)
#define VOS_DECLARE_X_READ(n)  vos_exec_fn vos_exec_##n;
#define VOS_DECLARE_X_WRITE(n) vos_exec_fn vos_exec_##n;
#define VOS_DECLARE_X_PATH(n)  vos_exec_fn vos_exec_##n;
#define VOS_DECLARE_X_OWN(n)   vos_exec_fn vos_exec_##n;
#define VOS_SYSCALL(n, r, s, b, x, a, t, o) VOS_DECLARE_##x(n)
#include <virtuos/syscalls.def>
#undef VOS_SYSCALL

/* op->stage of a read whose socket was shut down while it waited; from the events that ended the wait. */
#define VOS_STAGE_SHUT 77
void vos_exec_hung_up(struct vos_op *op, long events);

/* exec_io.c: what a request does that cannot go on: -EAGAIN, or VOS_PENDING after asking for readiness. */
long vos_exec_wait(struct vos_proxy *p, struct vos_op *op, uint32_t events);
/* The same decision for a call that the engine runs: fills op->timeout_ns by SO_RCVTIMEO or SO_SNDTIMEO (`send`). */
void vos_exec_limit(struct vos_op *op, bool send);

/* path.c */
/*
 * Opens `path` from dirfd, never leaving the export: a descriptor or a negative errno.  -EXDEV with VOS_CQE_ESCAPE set in the op
 * when the path leaves it.  flags, mode and resolve as for openat2.
 */
long vos_path_open(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, uint64_t flags, uint64_t mode,
		   uint64_t resolve);
/* O_PATH of what the path names, the last symlink followed or not. */
long vos_path_lookup(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, bool follow);

struct vos_parent {
	int fd;
	bool own;          /* fd is to be closed */
	const char *last;  /* the last component, with its trailing slashes, in the caller's path */
};
/* The directory of the last component.  0 or a negative errno; vos_path_parent_done() closes what was opened. */
long vos_path_parent(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path,
		     struct vos_parent *ret);
void vos_path_parent_done(struct vos_parent *parent);
/* One component other than "..": an *at call that does not follow the last component cannot leave the export by it. */
bool vos_path_simple(const char *path);
/* "self/fd/N": names the descriptor for calls that take only paths. */
const char *vos_path_of_fd(char buf[32], int fd);
/* Where fd lies below the export's root, without a slash in front: its length, or a negative errno. */
long vos_path_name(struct vos_proxy *p, int fd, char *buf, size_t size);

/* open.c: the open itself, also for VOS_OP_REOPEN (path NULL: of dirfd again). */
long vos_exec_open_any(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, uint64_t flags, uint64_t mode,
		       uint64_t resolve);

#endif
