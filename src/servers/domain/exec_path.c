/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls that name a file by a path.  Three ways: a single name that is not followed goes to the kernel as it is; what creates or
 * removes a name acts in its parent directory; all else opens the file with O_PATH and acts on that.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "servers/domain/exec.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* What stands for a NULL or empty path: 1 the directory descriptor itself is meant, 0 an ordinary path, or an errno. */
static long empty(const char *path, long flags)
{
	if (path && *path)
		return 0;
	if (flags & AT_EMPTY_PATH)
		return 1;
	return path ? -ENOENT : -EFAULT;
}

static const char *str(struct vos_op *op, unsigned i)
{
	return (const char *)op->a[i];
}

static long shut(long fd, long result)
{
	vos_raw1(__NR_close, fd);
	return result;
}

/* ---- asking ---- */

long vos_exec_newfstatat(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	long flags = op->a[3], dirfd = op->a[0], r = empty(path, flags);
	struct stat st;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	if (r < 0)
		return r;
	if (!op->a[2])
		return -EFAULT;
	if (r) {
		r = vos_raw4(__NR_newfstatat, dirfd, VOS_PTR(""), VOS_PTR(&st), flags | AT_EMPTY_PATH);
	} else {
		r = -ELOOP;
		if (vos_path_simple(path)) {
			r = vos_raw4(__NR_newfstatat, dirfd, VOS_PTR(path), VOS_PTR(&st), flags | AT_SYMLINK_NOFOLLOW);
			if (r)
				return r;
			if (S_ISLNK(st.st_mode) && !(flags & AT_SYMLINK_NOFOLLOW))
				r = -ELOOP;
		}
		if (r) {
			long fd = vos_path_lookup(p, op, (int)dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW));

			if (fd < 0)
				return fd;
			r = shut(fd, vos_raw4(__NR_newfstatat, fd, VOS_PTR(""), VOS_PTR(&st), flags | AT_EMPTY_PATH));
		}
	}
	if (!r)
		memcpy((void *)op->a[2], &st, sizeof st);
	return r;
}

long vos_exec_statx(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	long flags = op->a[2], dirfd = op->a[0], r = empty(path, flags), fd;
	struct statx st;

	if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) || (op->a[3] & (1L << 31)) ||
	    (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
		return -EINVAL;
	if (r < 0)
		return r;
	if (!op->a[4])
		return -EFAULT;
	if (!r && vos_path_simple(path)) {
		r = vos_raw6(__NR_statx, dirfd, VOS_PTR(path), flags | AT_SYMLINK_NOFOLLOW, op->a[3] | STATX_TYPE, VOS_PTR(&st), 0);
		if (r)
			return r;
		if (!S_ISLNK(st.stx_mode) || (flags & AT_SYMLINK_NOFOLLOW)) {
			memcpy((void *)op->a[4], &st, sizeof st);
			return 0;
		}
	}
	if (r)
		return vos_raw6(__NR_statx, dirfd, VOS_PTR(""), flags, op->a[3], op->a[4], 0);
	fd = vos_path_lookup(p, op, (int)dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW));
	if (fd < 0)
		return fd;
	return shut(fd, vos_raw6(__NR_statx, fd, VOS_PTR(""), flags | AT_EMPTY_PATH, op->a[3], op->a[4], 0));
}

long vos_exec_faccessat2(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	long flags = op->a[3], r = empty(path, flags), fd;
	struct stat st;

	if ((flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) || (op->a[2] & ~7L))
		return -EINVAL;
	if (r < 0)
		return r;
	if (r)
		return vos_raw4(__NR_faccessat2, op->a[0], VOS_PTR(""), op->a[2], flags);
	if (vos_path_simple(path)) {
		/* Of the name itself: exact for all but a symlink, which may itself always be accessed. */
		r = vos_raw4(__NR_faccessat2, op->a[0], VOS_PTR(path), op->a[2], flags | AT_SYMLINK_NOFOLLOW);
		if (r || (flags & AT_SYMLINK_NOFOLLOW))
			return r;
		r = vos_raw4(__NR_newfstatat, op->a[0], VOS_PTR(path), VOS_PTR(&st), AT_SYMLINK_NOFOLLOW);
		if (r || !S_ISLNK(st.st_mode))
			return r;
	}
	fd = vos_path_lookup(p, op, (int)op->a[0], path, !(flags & AT_SYMLINK_NOFOLLOW));
	if (fd < 0)
		return fd;
	return shut(fd, vos_raw4(__NR_faccessat2, fd, VOS_PTR(""), op->a[2], flags | AT_EMPTY_PATH));
}

long vos_exec_readlinkat(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	struct vos_parent at;
	size_t n;
	long r;

	if ((int)op->a[3] <= 0)
		return -EINVAL;
	if (!path)
		return -EFAULT;
	if (!*path || vos_path_simple(path))
		return vos_raw4(__NR_readlinkat, op->a[0], VOS_PTR(path), op->a[2], op->a[3]);
	n = strlen(path);
	if (path[n - 1] == '/') {
		/* A slash follows the last link too: what is there cannot be one. */
		r = vos_path_lookup(p, op, (int)op->a[0], path, true);
		return r < 0 ? r : shut(r, -EINVAL);
	}
	r = vos_path_parent(p, op, (int)op->a[0], path, &at);
	if (r)
		return r;
	r = vos_raw4(__NR_readlinkat, at.fd, VOS_PTR(at.last), op->a[2], op->a[3]);
	vos_path_parent_done(&at);
	return r;
}

long vos_exec_statfs(struct vos_proxy *p, struct vos_op *op)
{
	long fd, r = empty(str(op, 0), 0);

	if (r < 0)
		return r;
	fd = vos_path_lookup(p, op, (int)op->a[5], str(op, 0), true);
	if (fd < 0)
		return fd;
	return shut(fd, vos_raw2(__NR_fstatfs, fd, op->a[1]));
}

/* ---- changing what is there ---- */

long vos_exec_fchmodat2(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	long flags = op->a[3], r = empty(path, flags), fd;
	char name[32];
	struct stat st;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (r < 0)
		return r;
	fd = r ? op->a[0] : vos_path_lookup(p, op, (int)op->a[0], path, !(flags & AT_SYMLINK_NOFOLLOW));
	if (fd < 0)
		return fd;
	r = vos_raw4(__NR_fchmodat2, fd, VOS_PTR(""), op->a[2], AT_EMPTY_PATH);
	if (r == -ENOSYS || r == -EPERM) {
		/* Linux before 6.6 (or a filter that does not know the call): through the descriptor's own link. */
		r = vos_raw2(__NR_fstat, fd, VOS_PTR(&st));
		if (!r && S_ISLNK(st.st_mode))
			r = -EOPNOTSUPP;
		if (!r)
			r = vos_raw3(__NR_fchmodat, AT_FDCWD, VOS_PTR(vos_path_of_fd(name, (int)fd)), op->a[2]);
	}
	return fd == op->a[0] ? r : shut(fd, r);
}

long vos_exec_fchownat(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	long flags = op->a[4], r = empty(path, flags), fd;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (r < 0)
		return r;
	if (r)
		return vos_raw6(__NR_fchownat, op->a[0], VOS_PTR(""), op->a[2], op->a[3], flags, 0);
	if ((flags & AT_SYMLINK_NOFOLLOW) && vos_path_simple(path))
		return vos_raw6(__NR_fchownat, op->a[0], VOS_PTR(path), op->a[2], op->a[3], AT_SYMLINK_NOFOLLOW, 0);
	fd = vos_path_lookup(p, op, (int)op->a[0], path, !(flags & AT_SYMLINK_NOFOLLOW));
	if (fd < 0)
		return fd;
	return shut(fd, vos_raw6(__NR_fchownat, fd, VOS_PTR(""), op->a[2], op->a[3], AT_EMPTY_PATH, 0));
}

long vos_exec_utimensat(struct vos_proxy *p, struct vos_op *op)
{
	const char *path = str(op, 1);
	long flags = op->a[3], fd, r;

	/* NULL: the descriptor itself, as futimens() asks; then no flag is allowed. */
	if (!path) {
		if (flags)
			return -EINVAL;
		return vos_raw4(__NR_utimensat, op->a[0], 0, op->a[2], 0);
	}
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	r = empty(path, flags);
	if (r < 0)
		return r;
	if (r)
		return vos_raw4(__NR_utimensat, op->a[0], VOS_PTR(""), op->a[2], flags);
	if ((flags & AT_SYMLINK_NOFOLLOW) && vos_path_simple(path))
		return vos_raw4(__NR_utimensat, op->a[0], VOS_PTR(path), op->a[2], AT_SYMLINK_NOFOLLOW);
	fd = vos_path_lookup(p, op, (int)op->a[0], path, !(flags & AT_SYMLINK_NOFOLLOW));
	if (fd < 0)
		return fd;
	return shut(fd, vos_raw4(__NR_utimensat, fd, VOS_PTR(""), op->a[2], AT_EMPTY_PATH));
}

long vos_exec_truncate(struct vos_proxy *p, struct vos_op *op)
{
	long fd, r = empty(str(op, 0), 0), file;
	struct stat st;
	char name[32];

	if (r < 0)
		return r;
	if (op->a[1] < 0)
		return -EINVAL;
	fd = vos_path_lookup(p, op, (int)op->a[5], str(op, 0), true);
	if (fd < 0)
		return fd;
	/* The type first: opening a device or a FIFO would do something. */
	r = vos_raw2(__NR_fstat, fd, VOS_PTR(&st));
	if (!r && !S_ISREG(st.st_mode))
		r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (r)
		return shut(fd, r);
	file = vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR(vos_path_of_fd(name, (int)fd)), O_WRONLY | O_CLOEXEC | O_NONBLOCK, 0);
	vos_raw1(__NR_close, fd);
	if (file < 0)
		return file;
	return shut(file, vos_raw2(__NR_ftruncate, file, op->a[1]));
}

/* ---- names ---- */

long vos_exec_mkdirat(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_parent at;
	long r = vos_path_parent(p, op, (int)op->a[0], str(op, 1), &at);

	if (r)
		return r;
	r = vos_raw3(__NR_mkdirat, at.fd, VOS_PTR(at.last), op->a[2]);
	vos_path_parent_done(&at);
	return r;
}

long vos_exec_mknodat(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_parent at;
	long r = vos_path_parent(p, op, (int)op->a[0], str(op, 1), &at);

	if (r)
		return r;
	r = vos_raw4(__NR_mknodat, at.fd, VOS_PTR(at.last), op->a[2], op->a[3]);
	vos_path_parent_done(&at);
	return r;
}

long vos_exec_symlinkat(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_parent at;
	long r;

	if (!op->a[0])
		return -EFAULT;
	r = vos_path_parent(p, op, (int)op->a[1], str(op, 2), &at);
	if (r)
		return r;
	r = vos_raw3(__NR_symlinkat, op->a[0], at.fd, VOS_PTR(at.last));
	vos_path_parent_done(&at);
	return r;
}

long vos_exec_unlinkat(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_parent at;
	long r;

	if (op->a[2] & ~AT_REMOVEDIR)
		return -EINVAL;
	r = vos_path_parent(p, op, (int)op->a[0], str(op, 1), &at);
	if (r)
		return r;
	r = vos_raw3(__NR_unlinkat, at.fd, VOS_PTR(at.last), op->a[2]);
	vos_path_parent_done(&at);
	return r;
}

long vos_exec_renameat2(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_parent from, to;
	long r = vos_path_parent(p, op, (int)op->a[0], str(op, 1), &from);

	if (r)
		return r;
	r = vos_path_parent(p, op, (int)op->a[2], str(op, 3), &to);
	if (!r) {
		r = vos_raw6(__NR_renameat2, from.fd, VOS_PTR(from.last), to.fd, VOS_PTR(to.last), op->a[4], 0);
		vos_path_parent_done(&to);
	}
	vos_path_parent_done(&from);
	return r;
}

long vos_exec_linkat(struct vos_proxy *p, struct vos_op *op)
{
	const char *old = str(op, 1);
	long flags = op->a[4], r = empty(old, flags), fd = -1;
	struct vos_parent from = { .fd = -1 }, to;
	char name[32];

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (r < 0)
		return r;
	if (r) {
		from = (struct vos_parent){ .fd = (int)op->a[0], .last = "" };
	} else if ((flags & AT_SYMLINK_FOLLOW) || old[strlen(old) - 1] == '/') {
		/* The kernel would follow the last component wherever it leads. */
		fd = vos_path_lookup(p, op, (int)op->a[0], old, true);
		if (fd < 0)
			return fd;
		from = (struct vos_parent){ .fd = AT_FDCWD, .last = vos_path_of_fd(name, (int)fd) };
		flags |= AT_SYMLINK_FOLLOW;
	} else {
		r = vos_path_parent(p, op, (int)op->a[0], old, &from);
		if (r)
			return r;
	}
	r = vos_path_parent(p, op, (int)op->a[2], str(op, 3), &to);
	if (!r) {
		r = vos_raw6(__NR_linkat, from.fd, VOS_PTR(from.last), to.fd, VOS_PTR(to.last), flags, 0);
		vos_path_parent_done(&to);
	}
	vos_path_parent_done(&from);
	return fd < 0 ? r : shut(fd, r);
}

/* ---- extended attributes: no form takes a descriptor of O_PATH, its link does ---- */

static long xattr(struct vos_proxy *p, struct vos_op *op, long nr, bool follow)
{
	long r = empty(str(op, 0), 0), fd;
	char name[32];

	if (r < 0)
		return r;
	fd = vos_path_lookup(p, op, (int)op->a[5], str(op, 0), follow);
	if (fd < 0)
		return fd;
	return shut(fd, vos_raw6(nr, VOS_PTR(vos_path_of_fd(name, (int)fd)), op->a[1], op->a[2], op->a[3], op->a[4], 0));
}

long vos_exec_setxattr(struct vos_proxy *p, struct vos_op *op)     { return xattr(p, op, __NR_setxattr, true); }
long vos_exec_lsetxattr(struct vos_proxy *p, struct vos_op *op)    { return xattr(p, op, __NR_setxattr, false); }
long vos_exec_getxattr(struct vos_proxy *p, struct vos_op *op)     { return xattr(p, op, __NR_getxattr, true); }
long vos_exec_lgetxattr(struct vos_proxy *p, struct vos_op *op)    { return xattr(p, op, __NR_getxattr, false); }
long vos_exec_listxattr(struct vos_proxy *p, struct vos_op *op)    { return xattr(p, op, __NR_listxattr, true); }
long vos_exec_llistxattr(struct vos_proxy *p, struct vos_op *op)   { return xattr(p, op, __NR_listxattr, false); }
long vos_exec_removexattr(struct vos_proxy *p, struct vos_op *op)  { return xattr(p, op, __NR_removexattr, true); }
long vos_exec_lremovexattr(struct vos_proxy *p, struct vos_op *op) { return xattr(p, op, __NR_removexattr, false); }

/* ---- the working directory ---- */

static long enter(struct vos_proxy *p, long fd)
{
	/* What chdir asks of a directory. */
	long r = vos_raw4(__NR_faccessat2, fd, VOS_PTR(""), X_OK, AT_EACCESS | AT_EMPTY_PATH);

	if (r)
		return shut(fd, r);
	if (p->cwd_fd >= 0)
		vos_raw1(__NR_close, p->cwd_fd);
	p->cwd_fd = (int)fd;
	return 0;
}

long vos_exec_chdir(struct vos_proxy *p, struct vos_op *op)
{
	long r = empty(str(op, 0), 0), fd;

	if (r < 0)
		return r;
	fd = vos_path_open(p, op, (int)op->a[5], str(op, 0), O_PATH | O_DIRECTORY, 0, 0);
	return fd < 0 ? fd : enter(p, fd);
}

long vos_exec_fchdir(struct vos_proxy *p, struct vos_op *op)
{
	struct stat st;
	long r = vos_raw2(__NR_fstat, op->fd, VOS_PTR(&st)), fd;

	if (r)
		return r;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	fd = vos_raw3(__NR_fcntl, op->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? fd : enter(p, fd);
}
