/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a path leads: this kernel or a domain.  A prefix behaves as a mount: relative paths, dirfds, "..", symlinks from
 * the host into it and out of it, and /proc/self/fd all cross it as they would a mount.
 *
 * A path goes to the domain as a whole and is resolved there below the export; only what leaves the export comes back
 * (VOS_CQE_ESCAPE) and is walked here, component by component.  A path that begins outside goes to this kernel as it is
 * when no symlink on the way can lead inside: see path_walk.c.
 */
#ifndef VOS_PATH_H
#define VOS_PATH_H

#include <virtuos/policy.h>
#include "../runtime.h"
#include "fdmap.h"

#define VOS_PATH_BUF 4096

/* A path argument as resolved.  About 4 KiB: lives on the runtime stack. */
struct vos_path {
	struct vos_domain *domain;   /* NULL: native */
	struct vos_ofd *base;        /* remote: the path starts here (a reference); NULL: at the root of the export */
	int32_t base_rfd;            /* vos_path_send()'s */
	uint64_t epoch;              /* of the connection that vos_path_send() used: a descriptor that it made is of it */
	bool rewritten;              /* native: use `text` (absolute) in place of the program's arguments */
	bool is_root;                /* remote: the path is the prefix itself */
	bool itself;                 /* remote: `base` itself is meant: AT_EMPTY_PATH, or /proc/self/fd/N was followed */
	bool ancestor;               /* native: a directory on the way to a prefix */
	bool unsure;                 /* native: vos_path_retry() may find that a symlink leads into a prefix */
	bool walked;                 /* remote: text holds no symlink that would be followed */
	unsigned flags;              /* VOS_WALK_* of the resolve */
	int64_t dirfd;
	int  proc_fd;                /* the path names /proc/self/fd/N itself, not followed; else -1 */
	uint16_t len;                /* of text */
	char text[VOS_PATH_BUF];     /* remote: relative to base or root; native: the program's, or absolute when rewritten */
};

enum {
	VOS_WALK_NOFOLLOW = 1,       /* the last component is not followed when it is a symlink */
	VOS_WALK_EMPTY = 2,          /* AT_EMPTY_PATH was given: an empty path is the descriptor */
	VOS_WALK_NULL_EMPTY = 4,     /* and so is a NULL one (utimensat) */
};

/*
 * Resolve the path argument at `user` (an address in the program) relative to dirfd.  0; -EFAULT, -ENAMETOOLONG, -ENOENT,
 * -ELOOP, -EBADF, or what a domain on the way answers.  Release with vos_path_done() also after an error.
 */
int vos_path_resolve(struct vos_path *p, int64_t dirfd, uint64_t user, unsigned flags);
/* The proxy said VOS_CQE_ESCAPE for p: resolved component by component.  0, p may now be native; or errno. */
int vos_path_escape(struct vos_path *p);
/* The native call on p has failed with err: whether p is now another path, so that the call is to be made again. */
bool vos_path_retry(struct vos_path *p, long err);
void vos_path_done(struct vos_path *p);

/*
 * The call `nr` (a row with A_ATFD and A_PATH, or A_PATH with its base in arg[5]) on one or two remote paths of one domain.
 * `arg` holds the other arguments as the program's addresses and values (runtime addresses will do as well).  The raw
 * result; *ret_escaped: the path left the export, see vos_path_escape().
 */
long vos_path_send(unsigned nr, const uint64_t arg[6], struct vos_path *a, struct vos_path *b, struct vos_cqe *ret_cqe);
/*
 * The whole of a call with one path: resolve, send or do natively, follow escapes.  `path_at`: index of the path in the
 * program's arguments, for the native call; arg: the remote call's arguments.
 */
long vos_path_call(struct vos_frame *f, unsigned path_at, struct vos_path *p, unsigned nr, const uint64_t arg[6]);

/* The native call in f with the argument path_at replaced as p wants. */
long vos_path_native(struct vos_frame *f, unsigned path_at, struct vos_path *p);

/* getdents64 natively; in /proc/PID/fd without the runtime's own descriptors (calls/dir.c). */
long vos_dir_hide_own(struct vos_frame *f);

/* getsockname or getpeername of a native descriptor, whose name may lie below a prefix (calls/unix.c). */
long vos_unix_name(struct vos_frame *f);
/* sendto of a socket that is not a domain's: its address may be a path that is. */
long vos_unix_sendto(struct vos_frame *f);

/* Whether any prefix is routed at all. */
static inline bool vos_path_routed(void)
{
	const struct vos_policy *y = vos_proc_self()->policy;

	return y && y->nstores;
}

/*
 * The path of a remote descriptor in the program's view, NUL-terminated: its length; -ENAMETOOLONG; -ENOENT when it was deleted:
 * buf then holds the path that it had and " (deleted)".
 */
long vos_path_of(struct vos_ofd *o, char *buf, size_t cap);

/* ---- cwd and umask ---------------------------------------------------------------------------------------------------- */

/* The cwd when it is in a domain, with a reference; NULL when native. */
struct vos_ofd *vos_cwd_get(void);
/* The cwd becomes o, a directory open in its domain (takes the reference over); NULL: the native one, which has just changed. */
int vos_cwd_set(struct vos_ofd *o);
uint32_t vos_cwd_umask(uint32_t mask, bool set);
/* The proxy of d creates files with the program's umask from here on.  0 or negative errno. */
long vos_cwd_sync_umask(struct vos_domain *d);

/* The hooks of entry/room.h. */
int vos_path_init(struct vos_proc *p);
void vos_path_fork_child(struct vos_proc *p);
int vos_path_vfork(struct vos_proc *child, struct vos_proc *parent);
void vos_path_drop(struct vos_proc *p);
int vos_path_save(struct vos_proc *p, int fd);
int vos_path_load(struct vos_proc *p, const void *data, size_t len, size_t *ret_used);
/* The domain of the cwd as a mask, 0 when it is native. */
uint32_t vos_path_domains(const struct vos_proc *p);

/*
 * A program on a domain, for execve: its bytes in a sealed memfd (close-on-exec; for a script not, as its interpreter opens
 * it by name): the fd, with *ret_path its path in the program's view; VOS_EXEC_NATIVE: *ret_path is the path to use, "" when
 * the program's own arguments will do; or a negative errno (-ENOENT, -EACCES, -ENOEXEC, -EIO…).  ret_path: VOS_PATH_BUF bytes.
 */
#define VOS_EXEC_NATIVE 0x100000
int vos_exec_fetch(int64_t dirfd, uint64_t user_path, unsigned at_flags, char *ret_path);

#endif
