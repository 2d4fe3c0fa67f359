/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening files, and fetching programs from a domain for execve. */
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include "../dispatch/mapping.h"
#include "../dispatch/marshal.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../entry/user.h"

#define OPEN_FLAGS                                                                                                          \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT |  \
	 0100000 /* O_LARGEFILE */ | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE)

/* An open as the domain is to do it. */
struct opening {
	uint32_t flags, mode;
	uint64_t resolve;            /* openat2's */
};

static bool creates(const struct opening *o)
{
	return (o->flags & O_CREAT) || (o->flags & O_TMPFILE) == O_TMPFILE;
}

static unsigned walk_flags(uint32_t flags)
{
	bool nofollow = (flags & O_NOFOLLOW) || ((flags & O_CREAT) && (flags & O_EXCL) && !(flags & O_PATH));

	return nofollow ? VOS_WALK_NOFOLLOW : 0;
}

/* One attempt in the domain of p: a remote descriptor or negative errno. */
static long open_remote(struct vos_path *p, const struct opening *op, struct vos_cqe *cqe)
{
	struct open_how how = { .flags = op->flags, .mode = op->mode, .resolve = op->resolve };
	uint64_t arg[6] = { 0, 0, op->flags, op->mode };
	long r;

	if (p->itself) {
		if (p->domain->kind != VOS_KIND_STORE)
			return -ENXIO;
		if ((op->flags & O_CREAT) && (op->flags & O_EXCL))
			return -EEXIST;
		p->epoch = p->base->epoch;
		return vos_ofd_call(p->base, VOS_OP_REOPEN, op->flags & ~(uint32_t)(O_CREAT | O_NOFOLLOW), 0, 0, cqe);
	}
	if (creates(op)) {
		r = vos_cwd_sync_umask(p->domain);
		if (r < 0)
			return r;
	}
	if (op->resolve == 0)
		return vos_path_send(__NR_openat, arg, p, NULL, cqe);
	arg[2] = (uint64_t)VOS_PTR(&how);
	arg[3] = sizeof how;
	return vos_path_send(__NR_openat2, arg, p, NULL, cqe);
}

/* The number is taken before the file is made or truncated, as Linux does: with EMFILE nothing has happened. */
static long open_at_number(struct vos_path *p, const struct opening *op, struct vos_cqe *cqe)
{
	int fd = vos_fd_reserve(0, op->flags);
	struct vos_ofd *o;
	long rfd;

	if (fd < 0)
		return fd;
	rfd = open_remote(p, op, cqe);
	if (rfd < 0) {
		vos_fd_cancel(fd);
		return rfd;
	}
	o = vos_ofd_new(p->domain, (int32_t)rfd, cqe->aux, op->flags & ~(uint32_t)(O_CLOEXEC | O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY));
	if (!o) {
		vos_fd_cancel(fd);
		return -ENOMEM;
	}
	o->epoch = p->epoch;
	vos_fd_commit(fd, o);
	if (op->flags & O_TRUNC)
		vos_mapping_written(o, 0, 0);
	return fd;
}

/* /proc/PID/fd and the like, where our own descriptors are not to be seen: see vos_dir_hide_own(). */
static bool lists_descriptors(const char *path)
{
	if (memcmp(path, "/proc/", 6) != 0 && memcmp(path, "/dev/fd", 7) != 0)
		return false;
	for (; *path; path++)
		if (path[0] == '/' && path[1] == 'f' && path[2] == 'd')
			return true;
	return false;
}

static long open_path(struct vos_frame *f, unsigned path_at, struct vos_path *p, const struct opening *op)
{
	long r;

	for (unsigned turn = 0; turn < 8; turn++) {
		struct vos_cqe cqe = { 0 };

		if (!p->domain) {
			r = vos_path_native(f, path_at, p);
			if (r >= 0 && (p->ancestor || lists_descriptors(p->text)))
				vos_fd_mark_dir((int)r, true);
			if (!vos_path_retry(p, r))
				return r;
			continue;
		}
		vos_self()->counts_remote[f->rax]++;
		r = open_at_number(p, op, &cqe);
		if (!(cqe.flags & VOS_CQE_ESCAPE))
			return r;
		if (op->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_NO_XDEV))
			return -EXDEV;
		r = vos_path_escape(p);
		if (r < 0)
			return r;
	}
	return -ELOOP;
}

static long open_call(struct vos_frame *f, int64_t dirfd, unsigned path_at, uint64_t flags, uint64_t mode)
{
	struct opening op = { .flags = (uint32_t)flags & OPEN_FLAGS };
	struct vos_path p;
	long r;

	if (!vos_path_routed())
		return vos_native(f);
	if (op.flags & O_PATH)
		op.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if (creates(&op))
		op.mode = (uint32_t)mode & 07777;
	r = vos_path_resolve(&p, dirfd, vos_arg(f, path_at), walk_flags(op.flags));
	if (r == 0)
		r = open_path(f, path_at, &p, &op);
	vos_path_done(&p);
	return r;
}

long vos_call_open(struct vos_frame *f)
{
	return open_call(f, AT_FDCWD, 0, vos_arg(f, 1), vos_arg(f, 2));
}

long vos_call_creat(struct vos_frame *f)
{
	return open_call(f, AT_FDCWD, 0, O_CREAT | O_WRONLY | O_TRUNC, vos_arg(f, 1));
}

long vos_call_openat(struct vos_frame *f)
{
	return open_call(f, (int64_t)vos_arg(f, 0), 1, vos_arg(f, 2), vos_arg(f, 3));
}

long vos_call_openat2(struct vos_frame *f)
{
	int64_t dirfd = (int64_t)vos_arg(f, 0);
	struct open_how how;
	struct opening op;
	struct vos_path p;
	long r;

	/* Anything but today's struct is this kernel's to judge: what it refuses for itself it refuses for all. */
	if (!vos_path_routed() || vos_arg(f, 3) != sizeof how)
		return vos_native(f);
	if (vos_copy_from_user(&how, (void *)(uintptr_t)vos_arg(f, 2), sizeof how) < 0)
		return -EFAULT;
	if ((how.flags & ~(uint64_t)OPEN_FLAGS) || (how.mode & ~07777ULL))
		return -EINVAL;
	op = (struct opening){ .flags = (uint32_t)how.flags, .mode = (uint32_t)how.mode, .resolve = how.resolve };
	if (how.mode && !creates(&op))
		return -EINVAL;
	if (how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) {
		/* Nothing above dirfd counts: where it is decides. */
		struct vos_ofd *o = (int32_t)dirfd == AT_FDCWD ? vos_cwd_get() : vos_fd_get((uint64_t)dirfd);

		if (!o || !o->domain) {
			vos_ofd_put(o);
			return vos_native(f);
		}
		memset(&p, 0, offsetof(struct vos_path, text));
		p.base = o;
		p.domain = o->domain;
		r = vos_strncpy_from_user(p.text, (const char *)(uintptr_t)vos_arg(f, 1), sizeof p.text);
		p.len = (uint16_t)(r > 0 ? r : 0);
		if (r == 0)
			r = -ENOENT;
	} else {
		r = vos_path_resolve(&p, dirfd, vos_arg(f, 1), walk_flags(op.flags));
	}
	if (r >= 0)
		r = open_path(f, 1, &p, &op);
	vos_path_done(&p);
	return r;
}

/* ---- programs ------------------------------------------------------------------------------------------------------------ */

/* The bytes of o into a sealed memfd named as the program. */
static long fetch(struct vos_ofd *o, const char *path)
{
	const char *name = path;
	struct vos_lane_client *lane;
	uint64_t pos = 0;
	size_t max;
	int32_t rfd;
	long fd, n;

	for (const char *s = path; *s; s++)
		if (*s == '/' && s[1])
			name = s + 1;
	fd = vos_raw2(__NR_memfd_create, VOS_PTR(strlen(name) > 200 ? "program" : name), MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fd;
	n = vos_ofd_lane(o, &lane, &rfd);
	if (n < 0)
		goto fail;
	max = vos_transfer_max(lane);
	for (;;) {
		struct vos_req req = { .op = __NR_pread64, .arg = { (uint64_t)rfd, 0, max, pos } };
		void *mem = vos_lane_alloc(lane, max, &req.arg[1]);

		if (!mem) {
			n = -ENOMEM;
			goto fail;
		}
		n = vos_remote_call(lane, &req, NULL);
		if (n > (long)max)
			n = -EIO;
		if (n > 0)
			n = vos_raw3(__NR_write, fd, VOS_PTR(mem), n);
		vos_lane_free(lane, mem);
		if (n <= 0)
			break;
		pos += (uint64_t)n;
	}
	if (n < 0)
		goto fail;
	vos_raw2(__NR_fchmod, fd, 0755);
	vos_raw3(__NR_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	return fd;
fail:
	vos_raw1(__NR_close, fd);
	return n;
}

/* May the program be run by whom the proxy stands for?  As Linux: a regular file with permission to execute. */
static long may_execute(struct vos_ofd *o)
{
	uint64_t arg[6] = { 0, 0, 1 /* X_OK */, AT_EMPTY_PATH | AT_EACCESS };
	char empty[1] = "";

	if ((o->mode & S_IFMT) != S_IFREG)
		return -EACCES;
	return vos_ofd_call_buf(o, __NR_faccessat2, arg, 1, empty, 1, 0, NULL);
}

static int fetch_remote(struct vos_path *p, unsigned at_flags, char *ret_path)
{
	const struct opening op = { .flags = O_RDONLY | O_CLOEXEC | (at_flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0) };
	struct vos_cqe cqe = { 0 };
	struct vos_ofd *o;
	long r = open_remote(p, &op, &cqe);

	if (r < 0)
		return cqe.flags & VOS_CQE_ESCAPE ? -EXDEV : (int)r;
	o = vos_ofd_new(p->domain, (int32_t)r, cqe.aux, O_RDONLY);
	if (!o)
		return -ENOMEM;
	o->epoch = p->epoch;
	r = may_execute(o);
	if (r >= 0)
		r = vos_path_of(o, ret_path, VOS_PATH_BUF);
	if (r >= 0)
		r = fetch(o, ret_path);
	vos_ofd_put(o);
	return (int)r;
}

int vos_exec_fetch(int64_t dirfd, uint64_t user_path, unsigned at_flags, char *ret_path)
{
	struct vos_path p;
	unsigned walk = (at_flags & AT_EMPTY_PATH ? VOS_WALK_EMPTY : 0) | (at_flags & AT_SYMLINK_NOFOLLOW ? VOS_WALK_NOFOLLOW : 0);
	int r;

	ret_path[0] = 0;
	if (!vos_path_routed())
		return VOS_EXEC_NATIVE;
	r = vos_path_resolve(&p, dirfd, user_path, walk);
	for (unsigned turn = 0; r == 0 && turn < 8; turn++) {
		if (!p.domain) {
			/* Whether it is there decides about the retry; execve itself must not be tried twice. */
			long e = p.rewritten || p.text[0] == 0 ? 0 :
				 vos_raw4(__NR_faccessat2, dirfd, VOS_PTR(p.text), 0, 0);

			if (vos_path_retry(&p, e))
				continue;
			if (p.rewritten)
				memcpy(ret_path, p.text, p.len + 1U);
			r = VOS_EXEC_NATIVE;
			break;
		}
		r = fetch_remote(&p, at_flags, ret_path);
		if (r != -EXDEV)
			break;
		r = vos_path_escape(&p);
	}
	vos_path_done(&p);
	return r;
}
