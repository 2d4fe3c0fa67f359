/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paths stay below the export.  The kernel guards it: openat2 with RESOLVE_BENEATH, at each step and against renames under
 * way; nothing here is decided by looking at a string.  A path that is longer than one component is opened as far as its last
 * one, and the call then acts in that directory on a name that it does not follow.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "servers/domain/exec.h"

#define RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
/* The kernel answers -EAGAIN when a rename anywhere could have moved a ".." out; it means: again. */
#define RACES   64

const char *vos_path_of_fd(char buf[32], int fd)
{
	snprintf(buf, 32, "self/fd/%d", fd);
	return buf;
}

bool vos_path_simple(const char *path)
{
	if (!path[0] || (path[0] == '.' && path[1] == '.' && !path[2]))
		return false;
	return !strchr(path, '/');
}

static long link_of(int fd, char *buf, size_t size)
{
	char name[32];
	long n = vos_raw4(__NR_readlinkat, AT_FDCWD, VOS_PTR(vos_path_of_fd(name, fd)), VOS_PTR(buf), (long)size - 1);

	if (n < 0)
		return n;
	if ((size_t)n >= size - 1)
		return -ENAMETOOLONG;
	buf[n] = 0;
	return n;
}

long vos_path_name(struct vos_proxy *p, int fd, char *buf, size_t size)
{
	char root[VOS_PATH_MAX];
	long n, r;

	if (p->root_fd < 0)
		return -EBADF;
	n = link_of(fd, buf, size);
	if (n < 0)
		return n;
	r = link_of(p->root_fd, root, sizeof root);
	if (r < 0)
		return r;
	if (root[r - 1] == '/')
		r--;
	if (n < r || memcmp(buf, root, (size_t)r) || (buf[r] && buf[r] != '/'))
		return -EXDEV;
	while (buf[r] == '/')
		r++;
	memmove(buf, buf + r, (size_t)(n - r) + 1);
	return n - r;
}

static long open_once(int dirfd, const char *path, const struct open_how *how)
{
	long fd = -EAGAIN;

	for (unsigned i = 0; i < RACES && fd == -EAGAIN; i++)
		fd = vos_raw4(__NR_openat2, dirfd, VOS_PTR(path), VOS_PTR(how), sizeof *how);
	return fd;
}

/* Whether the directory fd lies in the export: its parents are followed up to the root.  For what has no path to be asked. */
static bool below_root(const struct vos_proxy *p, int fd)
{
	struct stat root, here, up;
	bool found = false;
	long at = fd, next;

	if (fstat(p->root_fd, &root) || fstat(fd, &here))
		return false;
	for (unsigned depth = 0; depth < 65536; depth++) {
		if (here.st_dev == root.st_dev && here.st_ino == root.st_ino) {
			found = true;
			break;
		}
		next = vos_raw4(__NR_openat, at, VOS_PTR(".."), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		if (at != fd)
			vos_raw1(__NR_close, at);
		at = next;
		if (at < 0 || fstat((int)at, &up) || (up.st_dev == here.st_dev && up.st_ino == here.st_ino))
			break;
		here = up;
	}
	if (at >= 0 && at != fd)
		vos_raw1(__NR_close, at);
	return found;
}

/*
 * A path that begins with "..", from a directory that was removed or whose path is longer than PATH_MAX.  -EXDEV when that
 * leads nowhere.  What was opened stays in the export for as long as nobody on the domain's side moves it out, which
 * holds for any descriptor.
 */
static long open_upward(const struct vos_proxy *p, int dirfd, const char *path, const struct open_how *how)
{
	struct stat root, here;
	long up = dirfd, fd = -EXDEV;

	while (path[0] == '.' && path[1] == '.' && (path[2] == '/' || !path[2])) {
		long next;

		if (fstat(p->root_fd, &root) || fstat((int)up, &here) || (root.st_dev == here.st_dev && root.st_ino == here.st_ino))
			break;
		next = vos_raw4(__NR_openat, up, VOS_PTR(".."), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		if (up != dirfd)
			vos_raw1(__NR_close, up);
		up = next;
		if (up < 0)
			return up;
		for (path += 2; *path == '/'; path++)
			;
	}
	if (up != dirfd && below_root(p, (int)up))
		fd = open_once((int)up, *path ? path : ".", how);
	if (up != dirfd)
		vos_raw1(__NR_close, up);
	return fd;
}

long vos_path_open(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, uint64_t flags, uint64_t mode,
		   uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve | RESOLVE };
	size_t n, m;
	long fd;

	/* A root of its own inside the export confines as well, and the two flags exclude each other. */
	if (resolve & RESOLVE_IN_ROOT)
		how.resolve &= ~(uint64_t)RESOLVE_BENEATH;
	if (resolve & RESOLVE_CACHED)
		return vos_raw4(__NR_openat2, dirfd, VOS_PTR(path), VOS_PTR(&how), sizeof how);
	fd = open_once(dirfd, path, &how);
	if (fd != -EXDEV || (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_NO_XDEV)))
		return fd;
	/* It left dirfd; that may still lie in the export.  From the root, by the directory's present path: */
	if (path[0] != '/' && dirfd != p->root_fd) {
		long at = vos_path_name(p, dirfd, p->path[1], sizeof p->path[1]);
		struct stat st;

		n = at >= 0 ? (size_t)at : 0;
		m = strlen(path);
		if (at == -ENAMETOOLONG || n + 1 + m >= sizeof p->path[1] || (!fstat(dirfd, &st) && st.st_nlink == 0)) {
			fd = open_upward(p, dirfd, path, &how);
			if (fd != -EXDEV)
				return fd;
			if (at >= 0 && n + 1 + m >= sizeof p->path[1])
				return -ENAMETOOLONG;
		} else if (at >= 0) {
			if (n)
				p->path[1][n++] = '/';
			memcpy(p->path[1] + n, path, m + 1);
			fd = open_once(p->root_fd, p->path[1], &how);
			if (fd != -EXDEV)
				return fd;
		}
	}
	op->cqe_flags |= VOS_CQE_ESCAPE;
	return -EXDEV;
}

long vos_path_lookup(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, bool follow)
{
	return vos_path_open(p, op, dirfd, path, O_PATH | (follow ? 0u : (unsigned)O_NOFOLLOW), 0, 0);
}

long vos_path_parent(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path,
		     struct vos_parent *ret)
{
	size_t end, start;
	long fd;

	if (!path)
		return -EFAULT;
	end = strlen(path);
	if (!end)
		return -ENOENT;
	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/'; start--)
		;
	if (!start) {
		if (!end) {
			op->cqe_flags |= VOS_CQE_ESCAPE;
			return -EXDEV;
		}
		*ret = (struct vos_parent){ .fd = dirfd, .last = path };
		return 0;
	}
	memcpy(p->path[0], path, start);
	p->path[0][start] = 0;
	fd = vos_path_open(p, op, dirfd, p->path[0], O_PATH | O_DIRECTORY, 0, 0);
	if (fd < 0)
		return fd;
	*ret = (struct vos_parent){ .fd = (int)fd, .own = true, .last = path + start };
	return 0;
}

void vos_path_parent_done(struct vos_parent *parent)
{
	if (parent->own)
		vos_raw1(__NR_close, parent->fd);
}
