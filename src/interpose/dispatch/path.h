/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a path leads: this kernel or a domain.  A prefix behaves as a mount: relative paths, dirfds, "..", symlinks from
 * the host into it and out of it, and /proc/self/fd all cross it as they would a mount.
 */
#ifndef VOS_PATH_H
#define VOS_PATH_H

#include "../runtime.h"
#include "fdmap.h"

#define VOS_PATH_BUF 4096

/* A path argument as resolved.  About 4 KiB: lives on the runtime stack. */
struct vos_path {
	struct vos_domain *domain;   /* NULL: native */
	struct vos_ofd *base;        /* remote: the path starts here (a reference); NULL: at the root of the export */
	bool rewritten;              /* native: use dirfd AT_FDCWD and `text` in place of the program's arguments */
	bool is_root;                /* remote: text leads to the prefix itself */
	bool empty;                  /* AT_EMPTY_PATH: the descriptor itself */
	bool walked;                 /* text holds no symlink but the last component */
	uint16_t len;                /* of text */
	char text[VOS_PATH_BUF];     /* remote: relative to base or root, never empty unless `empty`; native: absolute */
};

enum {
	VOS_WALK_NOFOLLOW = 1,       /* the last component is not followed when it is a symlink */
	VOS_WALK_EMPTY = 2,          /* AT_EMPTY_PATH was given */
	VOS_WALK_CREATE = 4,         /* the call may make or remove the last component: never try natively first */
	VOS_WALK_NULL_EMPTY = 8,     /* NULL path means the descriptor (utimensat) */
};

/*
 * Resolve the path argument at `user` (an address in the program) relative to dirfd.  0; -EFAULT, -ENAMETOOLONG, -ENOENT,
 * -ELOOP, -EBADF, -ENOTDIR; or -EIO when a domain on the way is dead.  Release with vos_path_done().
 */
int vos_path_resolve(struct vos_path *p, int64_t dirfd, uint64_t user, unsigned flags);
/* The proxy said VOS_CQE_ESCAPE for p: resolve it component by component.  0 (p is then native or remote and walked) or errno. */
int vos_path_escape(struct vos_path *p, unsigned flags);
void vos_path_done(struct vos_path *p);

/* cwd.  The runtime's idea of it; NULL-safe before vos_path_init(). */
int vos_path_init(struct vos_proc *p);
int vos_path_vfork(struct vos_proc *child, struct vos_proc *parent);
void vos_path_drop(struct vos_proc *p);
int vos_path_save(struct vos_proc *p, int fd);
int vos_path_load(struct vos_proc *p, const void *data, size_t len, size_t *ret_used);
/* The domain of the cwd as a mask, 0 when it is native. */
uint32_t vos_path_domains(const struct vos_proc *p);
/* Whether the cwd is in a domain. */
bool vos_path_cwd_remote(const struct vos_proc *p);

/*
 * A program on a domain, for execve: its bytes in a sealed memfd (close-on-exec unless it is a script), the fd or a negative errno
 * (-ENOENT, -EACCES, -EIO…); VOS_EXEC_NATIVE when the path is native, with *ret_path (VOS_PATH_BUF bytes) set to the path to
 * use and *ret_rewritten telling whether it differs from the program's.
 */
#define VOS_EXEC_NATIVE 0x100000
int vos_exec_fetch(int64_t dirfd, uint64_t user_path, unsigned at_flags, char *ret_path, bool *ret_rewritten);

#endif
