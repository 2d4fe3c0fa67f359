/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls that name one path: metadata, and making and removing names.  A domain is only ever asked by the modern *at form;
 * each call here says how its own arguments become that one's.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <utime.h>
#include "../entry/exe.h"
#include "../dispatch/mapping.h"
#include "../dispatch/marshal.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../entry/user.h"

enum { C = 0x40, NO = 0x41 };  /* `from`: the constant `value`; nothing (the path and its directory, or unused) */
enum { FOLLOW, NOFOLLOW, BY_FLAGS };

struct form {
	uint16_t op;                 /* the remote call */
	int8_t dirfd;                /* index of the directory descriptor in the program's arguments; -1: the cwd */
	int8_t path;                 /* index of the path */
	int8_t flags;                /* index of AT_* flags; -1: none */
	uint8_t follow;
	uint32_t value;
	bool makes;                  /* a name: the umask counts */
	uint8_t from[6];             /* argument i of the remote call: index of the program's */
};

/* A path that turned out to be a descriptor: the call on the descriptor itself. */
static long on_itself(unsigned op, uint64_t arg[6], struct vos_path *p)
{
	static const struct { uint16_t op, by_fd; } forms[] = {
		{ __NR_statfs, __NR_fstatfs },           { __NR_truncate, __NR_ftruncate },
		{ __NR_setxattr, __NR_fsetxattr },       { __NR_lsetxattr, __NR_fsetxattr },
		{ __NR_getxattr, __NR_fgetxattr },       { __NR_lgetxattr, __NR_fgetxattr },
		{ __NR_listxattr, __NR_flistxattr },     { __NR_llistxattr, __NR_flistxattr },
		{ __NR_removexattr, __NR_fremovexattr }, { __NR_lremovexattr, __NR_fremovexattr },
	};

	for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++)
		if (forms[i].op == op)
			return vos_marshal_call_as(forms[i].by_fd, arg, p->base, NULL);
	switch (op) {
	case __NR_newfstatat: /* also for sockets, which have no path to be resolved */
		return vos_marshal_call_as(__NR_fstat, (uint64_t[6]){ 0, arg[2] }, p->base, NULL);
	case __NR_statx:
		arg[2] |= AT_EMPTY_PATH;
		break;
	case __NR_fchownat:
		return vos_marshal_call_as(__NR_fchown, (uint64_t[6]){ 0, arg[2], arg[3] }, p->base, NULL);
	case __NR_faccessat2:
	case __NR_utimensat:
	case __NR_fchmodat2:
		arg[3] |= AT_EMPTY_PATH;
		break;
	}
	return vos_path_send(op, arg, p, NULL, NULL);
}

/* truncate: RLIMIT_FSIZE is the program's, and the proxy has another.  It bounds what grows. */
static long file_limit(struct vos_frame *f, const struct form *m, struct vos_path *p, uint64_t size)
{
	struct stat st = { 0 };
	uint64_t arg[6] = { 0, 0, VOS_PTR(&st) };
	long r;

	if ((int64_t)size < 0 || size <= vos_file_size_limit())
		return 0;
	r = vos_path_call(f, (unsigned)m->path, p, __NR_newfstatat, arg);
	if (r < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size >= size)
		return 0;
	vos_raise(SIGXFSZ);
	return -EFBIG;
}

static long run(struct vos_frame *f, const struct form *m, struct vos_path *p, uint64_t arg[6])
{
	long r;

	if (p->domain && p->itself) {
		vos_self()->counts_remote[f->rax]++;
		return on_itself(m->op, arg, p);
	}
	if (p->domain && m->makes) {
		r = vos_cwd_sync_umask(p->domain);
		if (r < 0)
			return r;
	}
	/* The prefix is a mount point. */
	if (p->domain && p->is_root && m->op == __NR_unlinkat && (arg[2] & AT_REMOVEDIR))
		return -EBUSY;
	if (p->domain && vos_mapping_any() && (m->op == __NR_newfstatat || m->op == __NR_statx || m->op == __NR_truncate))
		vos_mapping_flush_all();
	if (p->domain && m->op == __NR_truncate) {
		r = file_limit(f, m, p, arg[1]);
		if (r < 0)
			return r;
	}
	r = vos_path_call(f, (unsigned)m->path, p, m->op, arg);
	if (p->domain && m->op == __NR_truncate && vos_mapping_any())
		vos_mapping_truncated(p->domain);
	return r;
}

static long call(struct vos_frame *f, const struct form *m)
{
	int64_t dirfd = m->dirfd < 0 ? AT_FDCWD : (int64_t)vos_arg(f, (unsigned)m->dirfd);
	uint64_t flags = m->flags < 0 ? 0 : vos_arg(f, (unsigned)m->flags);
	unsigned walk = flags & AT_EMPTY_PATH ? VOS_WALK_EMPTY : 0;
	uint64_t arg[6];
	struct vos_path p;
	long r;

	if (!vos_path_routed()) {
		/* Without a prefix only a socket's descriptor can be meant, by AT_EMPTY_PATH. */
		if (!walk || m->dirfd < 0 || vos_fd_kind(vos_proc_self(), (uint32_t)dirfd) == VOS_FDKIND_NATIVE)
			return vos_native(f);
	}
	if (m->follow == NOFOLLOW || (m->follow == BY_FLAGS && (flags & AT_SYMLINK_NOFOLLOW)))
		walk |= VOS_WALK_NOFOLLOW;
	for (unsigned i = 0; i < 6; i++)
		arg[i] = m->from[i] < 6 ? vos_arg(f, m->from[i]) : m->from[i] == C ? m->value : 0;
	if (m->op == __NR_utimensat || m->op == __NR_readlinkat)
		walk |= m->op == __NR_utimensat ? VOS_WALK_NULL_EMPTY : VOS_WALK_EMPTY;
	r = vos_path_resolve(&p, dirfd, vos_arg(f, (unsigned)m->path), walk);
	if (r == 0)
		r = run(f, m, &p, arg);
	vos_path_done(&p);
	return r;
}

/* name, remote call, indices of dirfd, path and flags, symlinks, constant, whether it makes a name, the remote arguments */
#define CALL(name, ...)                                                                                                     \
	long vos_call_##name(struct vos_frame *f)                                                                           \
	{                                                                                                                   \
		static const struct form m = { __VA_ARGS__ };                                                               \
		return call(f, &m);                                                                                         \
	}

CALL(stat,        __NR_newfstatat, -1, 0, -1, FOLLOW,   0, false, { NO, NO, 1, C, NO, NO })
CALL(lstat,       __NR_newfstatat, -1, 0, -1, NOFOLLOW, AT_SYMLINK_NOFOLLOW, false, { NO, NO, 1, C, NO, NO })
CALL(newfstatat,  __NR_newfstatat,  0, 1,  3, BY_FLAGS, 0, false, { NO, NO, 2, 3, NO, NO })
CALL(statx,       __NR_statx,       0, 1,  2, BY_FLAGS, 0, false, { NO, NO, 2, 3, 4, NO })
CALL(access,      __NR_faccessat2, -1, 0, -1, FOLLOW,   0, false, { NO, NO, 1, C, NO, NO })
CALL(faccessat,   __NR_faccessat2,  0, 1, -1, FOLLOW,   0, false, { NO, NO, 2, C, NO, NO })
CALL(faccessat2,  __NR_faccessat2,  0, 1,  3, BY_FLAGS, 0, false, { NO, NO, 2, 3, NO, NO })
CALL(chmod,       __NR_fchmodat2,  -1, 0, -1, FOLLOW,   0, false, { NO, NO, 1, C, NO, NO })
CALL(fchmodat,    __NR_fchmodat2,   0, 1, -1, FOLLOW,   0, false, { NO, NO, 2, C, NO, NO })
CALL(fchmodat2,   __NR_fchmodat2,   0, 1,  3, BY_FLAGS, 0, false, { NO, NO, 2, 3, NO, NO })
CALL(chown,       __NR_fchownat,   -1, 0, -1, FOLLOW,   0, false, { NO, NO, 1, 2, C, NO })
CALL(lchown,      __NR_fchownat,   -1, 0, -1, NOFOLLOW, AT_SYMLINK_NOFOLLOW, false, { NO, NO, 1, 2, C, NO })
CALL(fchownat,    __NR_fchownat,    0, 1,  4, BY_FLAGS, 0, false, { NO, NO, 2, 3, 4, NO })
CALL(truncate,    __NR_truncate,   -1, 0, -1, FOLLOW,   0, false, { NO, 1, NO, NO, NO, NO })
CALL(statfs,      __NR_statfs,     -1, 0, -1, FOLLOW,   0, false, { NO, 1, NO, NO, NO, NO })
CALL(mkdir,       __NR_mkdirat,    -1, 0, -1, NOFOLLOW, 0, true, { NO, NO, 1, NO, NO, NO })
CALL(mkdirat,     __NR_mkdirat,     0, 1, -1, NOFOLLOW, 0, true, { NO, NO, 2, NO, NO, NO })
CALL(mknod,       __NR_mknodat,    -1, 0, -1, NOFOLLOW, 0, true, { NO, NO, 1, 2, NO, NO })
CALL(mknodat,     __NR_mknodat,     0, 1, -1, NOFOLLOW, 0, true, { NO, NO, 2, 3, NO, NO })
CALL(rmdir,       __NR_unlinkat,   -1, 0, -1, NOFOLLOW, AT_REMOVEDIR, false, { NO, NO, C, NO, NO, NO })
CALL(unlink,      __NR_unlinkat,   -1, 0, -1, NOFOLLOW, 0, false, { NO, NO, C, NO, NO, NO })
CALL(unlinkat,    __NR_unlinkat,    0, 1, -1, NOFOLLOW, 0, false, { NO, NO, 2, NO, NO, NO })
CALL(symlink,     __NR_symlinkat,  -1, 1, -1, NOFOLLOW, 0, false, { 0, NO, NO, NO, NO, NO })
CALL(symlinkat,   __NR_symlinkat,   1, 2, -1, NOFOLLOW, 0, false, { 0, NO, NO, NO, NO, NO })
CALL(setxattr,    __NR_setxattr,   -1, 0, -1, FOLLOW,   0, false, { NO, 1, 2, 3, 4, NO })
CALL(lsetxattr,   __NR_lsetxattr,  -1, 0, -1, NOFOLLOW, 0, false, { NO, 1, 2, 3, 4, NO })
CALL(getxattr,    __NR_getxattr,   -1, 0, -1, FOLLOW,   0, false, { NO, 1, 2, 3, NO, NO })
CALL(lgetxattr,   __NR_lgetxattr,  -1, 0, -1, NOFOLLOW, 0, false, { NO, 1, 2, 3, NO, NO })
CALL(listxattr,   __NR_listxattr,  -1, 0, -1, FOLLOW,   0, false, { NO, 1, 2, NO, NO, NO })
CALL(llistxattr,  __NR_llistxattr, -1, 0, -1, NOFOLLOW, 0, false, { NO, 1, 2, NO, NO, NO })
CALL(removexattr, __NR_removexattr, -1, 0, -1, FOLLOW,  0, false, { NO, 1, NO, NO, NO, NO })
CALL(lremovexattr, __NR_lremovexattr, -1, 0, -1, NOFOLLOW, 0, false, { NO, 1, NO, NO, NO, NO })
CALL(utimensat,   __NR_utimensat,   0, 1,  3, BY_FLAGS, 0, false, { NO, NO, 2, 3, NO, NO })

/* ---- the older calls that set times ---------------------------------------------------------------------------------------- */

/* `ts` is in runtime memory, or `now`. */
static long set_times(struct vos_frame *f, int64_t dirfd, unsigned path_at, const struct timespec *ts)
{
	static const struct form m = { .op = __NR_utimensat };
	struct form at = m;
	uint64_t arg[6] = { 0, 0, ts ? (uint64_t)VOS_PTR(ts) : 0 };
	struct vos_path p;
	long r;

	at.path = (int8_t)path_at;
	r = vos_path_resolve(&p, dirfd, vos_arg(f, path_at), VOS_WALK_NULL_EMPTY);
	if (r == 0)
		r = run(f, &at, &p, arg);
	vos_path_done(&p);
	return r;
}

static long from_timevals(struct timespec ts[2], uint64_t user)
{
	struct timeval tv[2];

	if (vos_copy_from_user(tv, (void *)(uintptr_t)user, sizeof tv) < 0)
		return -EFAULT;
	for (unsigned i = 0; i < 2; i++) {
		if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
			return -EINVAL;
		ts[i] = (struct timespec){ tv[i].tv_sec, tv[i].tv_usec * 1000 };
	}
	return 0;
}

long vos_call_utime(struct vos_frame *f)
{
	struct timespec ts[2] = { 0 };
	struct utimbuf t;

	if (!vos_path_routed())
		return vos_native(f);
	if (vos_arg(f, 1) && vos_copy_from_user(&t, (void *)(uintptr_t)vos_arg(f, 1), sizeof t) < 0)
		return -EFAULT;
	if (vos_arg(f, 1)) {
		ts[0].tv_sec = t.actime;
		ts[1].tv_sec = t.modtime;
	}
	return set_times(f, AT_FDCWD, 0, vos_arg(f, 1) ? ts : NULL);
}

long vos_call_utimes(struct vos_frame *f)
{
	struct timespec ts[2];

	if (!vos_path_routed())
		return vos_native(f);
	if (vos_arg(f, 1) && from_timevals(ts, vos_arg(f, 1)) < 0)
		return from_timevals(ts, vos_arg(f, 1));
	return set_times(f, AT_FDCWD, 0, vos_arg(f, 1) ? ts : NULL);
}

long vos_call_futimesat(struct vos_frame *f)
{
	struct timespec ts[2];

	if (!vos_path_routed())
		return vos_native(f);
	if (vos_arg(f, 2) && from_timevals(ts, vos_arg(f, 2)) < 0)
		return from_timevals(ts, vos_arg(f, 2));
	return set_times(f, (int64_t)vos_arg(f, 0), 1, vos_arg(f, 2) ? ts : NULL);
}

/* ---- readlink ---------------------------------------------------------------------------------------------------------------- */

/* What /proc/self/fd/N of a remote descriptor, or /proc/self/cwd, says. */
static long descriptor_link(struct vos_ofd *o, uint64_t user, uint64_t size)
{
	char text[VOS_PATH_BUF];
	struct stat st;
	uint64_t arg[6] = { 0 };
	long n;

	if ((int64_t)size <= 0)
		return -EINVAL;
	if (o->domain->kind == VOS_KIND_STORE) {
		text[0] = 0;
		n = vos_path_of(o, text, sizeof text);
		if (n == -ENOENT && text[0])
			n = (long)strlen(text);
	} else {
		uint64_t ino;
		char digits[24];
		size_t d = 0;

		n = vos_ofd_call_buf(o, __NR_fstat, arg, 1, &st, 0, sizeof st, NULL);
		if (n < 0)
			return n;
		memcpy(text, "socket:[", 8);
		n = 8;
		ino = st.st_ino;
		do
			digits[d++] = (char)('0' + ino % 10);
		while ((ino /= 10) != 0);
		while (d)
			text[n++] = digits[--d];
		text[n++] = ']';
	}
	if (n < 0)
		return n;
	if ((uint64_t)n > size)
		n = (long)size;
	return vos_copy_to_user((void *)(uintptr_t)user, text, (size_t)n) < 0 ? -EFAULT : n;
}

static long read_link(struct vos_frame *f, const struct form *m, unsigned buf_at)
{
	int64_t dirfd = m->dirfd < 0 ? AT_FDCWD : (int64_t)vos_arg(f, (unsigned)m->dirfd);
	uint64_t arg[6] = { 0, 0, vos_arg(f, buf_at), vos_arg(f, buf_at + 1) };
	struct vos_path p;
	long r;

	if (!vos_path_routed())
		return vos_native(f);
	if ((int32_t)arg[3] <= 0)
		return -EINVAL;
	r = vos_path_resolve(&p, dirfd, vos_arg(f, (unsigned)m->path), VOS_WALK_NOFOLLOW | (m->dirfd < 0 ? 0 : VOS_WALK_EMPTY));
	if (r == 0 && !p.domain && p.base)
		r = descriptor_link(p.base, arg[2], arg[3]);
	else if (r == 0)
		r = vos_path_call(f, (unsigned)m->path, &p, __NR_readlinkat, arg);
	vos_path_done(&p);
	return r;
}

long vos_call_readlink(struct vos_frame *f)
{
	static const struct form m = { .op = __NR_readlinkat, .dirfd = -1, .path = 0 };
	long r;

	if (vos_exe_readlink(f->rdi, f->rsi, f->rdx, &r))
		return r;
	return read_link(f, &m, 1);
}

long vos_call_readlinkat(struct vos_frame *f)
{
	static const struct form m = { .op = __NR_readlinkat, .dirfd = 0, .path = 1 };
	long r;

	if (vos_exe_readlink(f->rsi, f->rdx, f->r10, &r))
		return r;
	return read_link(f, &m, 2);
}

/* ---- what a domain does not do ------------------------------------------------------------------------------------------------- */

static long refuse(struct vos_frame *f, int dirfd_at, unsigned path_at, unsigned walk, long err)
{
	int64_t dirfd = dirfd_at < 0 ? AT_FDCWD : (int64_t)vos_arg(f, (unsigned)dirfd_at);
	struct vos_path p;
	long r;

	if (!vos_path_routed())
		return vos_native(f);
	r = vos_path_resolve(&p, dirfd, vos_arg(f, path_at), walk);
	for (unsigned turn = 0; r == 0 && turn < 8; turn++) {
		if (p.domain) {
			r = err;
			break;
		}
		r = vos_path_native(f, path_at, &p);
		if (!vos_path_retry(&p, r))
			break;
		r = 0;
	}
	vos_path_done(&p);
	return r;
}

long vos_call_chroot(struct vos_frame *f)
{
	return refuse(f, -1, 0, 0, -EPERM);
}

long vos_call_inotify_add_watch(struct vos_frame *f)
{
	return refuse(f, -1, 1, 0, -ENOSPC);
}

long vos_call_name_to_handle_at(struct vos_frame *f)
{
	return refuse(f, 0, 1, vos_arg(f, 4) & AT_EMPTY_PATH ? VOS_WALK_EMPTY : 0, -EOPNOTSUPP);
}

long vos_call_fanotify_mark(struct vos_frame *f)
{
	if (vos_arg(f, 4) == 0)
		return vos_native(f); /* the directory descriptor itself: a placeholder is EBADF */
	return refuse(f, 3, 4, 0, -EOPNOTSUPP);
}

#define NO_SUCH_CALL(name)                                                                                                  \
	long vos_call_##name(struct vos_frame *f)                                                                           \
	{                                                                                                                   \
		return refuse(f, 0, 1, VOS_WALK_EMPTY | VOS_WALK_NULL_EMPTY, -ENOSYS);                                      \
	}

NO_SUCH_CALL(setxattrat)
NO_SUCH_CALL(getxattrat)
NO_SUCH_CALL(listxattrat)
NO_SUCH_CALL(removexattrat)
NO_SUCH_CALL(file_getattr)
NO_SUCH_CALL(file_setattr)
