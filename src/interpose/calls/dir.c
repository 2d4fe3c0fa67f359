/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The working directory, the umask, and calls that name two paths. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "../dispatch/marshal.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../entry/user.h"
#include "../rt/rt.h"

/* ---- cwd ------------------------------------------------------------------------------------------------------------------ */

/* The cwd becomes the directory rfd of d. */
static long enter(struct vos_domain *d, int32_t rfd, uint64_t epoch)
{
	struct vos_ofd *o = vos_ofd_new(d, rfd, S_IFDIR, O_PATH);
	long r;

	if (!o)
		return -ENOMEM;
	o->epoch = epoch;
	/* Only to ask whether the caller may: the proxy's own cwd means nothing. */
	r = vos_ofd_call(o, __NR_fchdir, 0, 0, 0, NULL);
	if (r < 0) {
		vos_ofd_put(o);
		return r;
	}
	return vos_cwd_set(o);
}

long vos_call_chdir(struct vos_frame *f)
{
	struct vos_path p;
	long r;

	if (!vos_path_routed())
		return vos_native(f);
	r = vos_path_resolve(&p, AT_FDCWD, vos_arg(f, 0), 0);
	for (unsigned turn = 0; r == 0 && turn < 8; turn++) {
		uint64_t arg[6] = { 0, 0, O_PATH | O_DIRECTORY | O_CLOEXEC };
		struct vos_cqe cqe = { 0 };

		if (!p.domain) {
			r = vos_path_native(f, 0, &p);
			if (r == 0)
				r = vos_cwd_set(NULL);
			else if (vos_path_retry(&p, r)) {
				r = 0;
				continue;
			}
			break;
		}
		vos_self()->counts_remote[__NR_chdir]++;
		if (p.itself) {
			p.epoch = p.base->epoch;
			r = p.domain->kind == VOS_KIND_STORE ? vos_ofd_call(p.base, VOS_OP_REOPEN, arg[2], 0, 0, &cqe) : -ENOTDIR;
		} else {
			r = vos_path_send(__NR_openat, arg, &p, NULL, &cqe);
		}
		if (r >= 0)
			r = enter(p.domain, (int32_t)r, p.epoch);
		if (!(cqe.flags & VOS_CQE_ESCAPE))
			break;
		r = vos_path_escape(&p);
	}
	vos_path_done(&p);
	return r;
}

long vos_call_fchdir(struct vos_frame *f)
{
	struct vos_ofd *o;
	uint64_t epoch;
	long r;

	switch (vos_fd_kind(vos_proc_self(), (uint32_t)vos_arg(f, 0))) {
	case VOS_FDKIND_OWN:
		return -EBADF;
	case VOS_FDKIND_REMOTE:
		break;
	default:
		r = vos_native(f);
		return r == 0 && vos_path_routed() ? vos_cwd_set(NULL) : r;
	}
	o = vos_fd_get(vos_arg(f, 0));
	if (!o)
		return -EBADF;
	vos_self()->counts_remote[__NR_fchdir]++;
	if ((o->mode & S_IFMT) != S_IFDIR) {
		r = -ENOTDIR;
	} else {
		epoch = o->epoch;
		r = vos_ofd_call(o, VOS_OP_DUP, 0, 0, 0, NULL);
		if (r >= 0)
			r = enter(o->domain, (int32_t)r, epoch);
	}
	vos_ofd_put(o);
	return r;
}

long vos_call_getcwd(struct vos_frame *f)
{
	struct vos_ofd *o = vos_path_routed() ? vos_cwd_get() : NULL;
	char text[VOS_PATH_BUF];
	long n;

	if (!o)
		return vos_native(f);
	vos_self()->counts_remote[__NR_getcwd]++;
	n = vos_path_of(o, text, sizeof text);
	vos_ofd_put(o);
	if (n < 0)
		return n;
	n++; /* the NUL counts */
	if ((uint64_t)n > vos_arg(f, 1))
		return -ERANGE;
	return vos_copy_to_user((void *)(uintptr_t)vos_arg(f, 0), text, (size_t)n) < 0 ? -EFAULT : n;
}

/* Natively as well: files that this kernel makes follow it too.  Proxies learn it before the next file they make. */
long vos_call_umask(struct vos_frame *f)
{
	vos_cwd_umask((uint32_t)vos_arg(f, 0), true);
	return vos_native(f);
}

/* ---- /proc/self/fd --------------------------------------------------------------------------------------------------------- */

struct entry {
	uint64_t ino, off;
	uint16_t len;
	unsigned char type;
	char name[];
};

static bool is_fd_directory(uint64_t fd)
{
	char path[64], link[64];
	const char *s = link;
	uint64_t pid;
	long n;

	vos_fmt(path, sizeof path, "/proc/self/fd/%u", (uint32_t)fd);
	n = vos_raw4(__NR_readlinkat, AT_FDCWD, VOS_PTR(path), VOS_PTR(link), sizeof link - 1);
	if (n < 6)
		return false;
	link[n] = 0;
	if (memcmp(s, "/proc/", 6) != 0)
		return false;
	s += 6;
	if (!vos_number(&s, &pid) || pid != vos_self()->pid)
		return false;
	return strcmp(link + n - 3, "/fd") == 0 || strcmp(link + n - 7, "/fdinfo") == 0;
}

/* The entries in buf without our own descriptors; the bytes that are left. */
static long without_own(unsigned char *buf, long n)
{
	long out = 0;

	for (long at = 0; at < n;) {
		struct entry *e = (struct entry *)(void *)(buf + at);
		const char *s = e->name;
		uint16_t len = e->len;
		uint64_t fd;

		if (len == 0)
			break;
		if (!vos_number(&s, &fd) || *s || vos_fd_kind(vos_proc_self(), (long)fd) != VOS_FDKIND_OWN) {
			memmove(buf + out, e, len);
			out += len;
		}
		at += len;
	}
	return out;
}

long vos_dir_hide_own(struct vos_frame *f)
{
	void *user = (void *)(uintptr_t)vos_arg(f, 1);
	unsigned char *buf;
	long n, left;

	do {
		n = vos_native(f);
		if (n <= 0 || !is_fd_directory(vos_arg(f, 0)))
			return n;
		buf = vos_alloc((size_t)n);
		if (!buf)
			return n;
		left = vos_copy_from_user(buf, user, (size_t)n) < 0 ? n : without_own(buf, n);
		if (left < n && left && vos_copy_to_user(user, buf, (size_t)left) < 0)
			left = -EFAULT;
		vos_free(buf);
	} while (left == 0);
	return left;
}

/* ---- two paths -------------------------------------------------------------------------------------------------------------- */

struct pair {
	uint16_t op;
	int8_t dirfd[2], path[2];    /* indices; dirfd -1: the cwd */
	int8_t flags;                /* index; -1: none */
};

static long native_pair(struct vos_frame *f, const struct pair *m, struct vos_path *a, struct vos_path *b)
{
	struct vos_frame g = *f;

	if (a->rewritten || b->rewritten) {
		uint64_t *reg[6] = { &g.rdi, &g.rsi, &g.rdx, &g.r10, &g.r8, &g.r9 };

		if (a->rewritten)
			*reg[m->path[0]] = (uint64_t)VOS_PTR(a->text);
		if (b->rewritten)
			*reg[m->path[1]] = (uint64_t)VOS_PTR(b->text);
	}
	return vos_native(&g);
}

/*
 * One path leads to a domain, the other to this kernel, which is asked what it would say of its own before it sees the other:
 * the old must be there, the new one's directory too.
 */
static long native_half(struct vos_frame *f, const struct pair *m, unsigned side, const struct vos_path *p)
{
	int64_t dirfd = m->dirfd[side] < 0 ? AT_FDCWD : (int64_t)vos_arg(f, (unsigned)m->dirfd[side]);
	uint64_t path = p->rewritten ? (uint64_t)VOS_PTR(p->text) : vos_arg(f, (unsigned)m->path[side]);
	struct stat st;
	long r;

	if (p->domain || p->itself)
		return 0;
	r = vos_raw4(__NR_newfstatat, dirfd, (long)path, VOS_PTR(&st), AT_SYMLINK_NOFOLLOW);
	return r == -ENOENT && side == 1 ? 0 : r;
}

static long two_paths(struct vos_frame *f, const struct pair *m, struct vos_path *a, struct vos_path *b, uint64_t flags)
{
	uint64_t arg[6] = { 0, 0, 0, 0, flags };
	long r;

	for (unsigned turn = 0; turn < 8; turn++) {
		struct vos_cqe cqe = { 0 };

		if (!a->domain && !b->domain) {
			r = native_pair(f, m, a, b);
			if (!vos_path_retry(a, r) && !vos_path_retry(b, r))
				return r;
			continue;
		}
		/* One of them may only look native: a symlink of this host that leads into the domain. */
		if (a->domain != b->domain && (vos_path_retry(a, -ENOENT) || vos_path_retry(b, -ENOENT)))
			continue;
		if (a->domain != b->domain) {
			r = native_half(f, m, 0, a);
			if (r == 0)
				r = native_half(f, m, 1, b);
			return r < 0 ? r : -EXDEV;
		}
		if (m->op == __NR_renameat2 && (a->is_root || b->is_root))
			return -EBUSY;
		if (m->op == __NR_linkat && b->is_root)
			return -EEXIST;
		if (a->itself)
			arg[4] |= AT_EMPTY_PATH;
		vos_self()->counts_remote[f->rax]++;
		r = vos_path_send(m->op, arg, a, b, &cqe);
		if (!(cqe.flags & VOS_CQE_ESCAPE))
			return r;
		r = vos_path_escape(a);
		if (r == 0)
			r = vos_path_escape(b);
		if (r < 0)
			return r;
	}
	return -ELOOP;
}

static long pair_call(struct vos_frame *f, const struct pair *m)
{
	uint64_t flags = m->flags < 0 ? 0 : vos_arg(f, (unsigned)m->flags);
	unsigned walk = VOS_WALK_NOFOLLOW;
	struct vos_path a, b;
	long r;

	if (!vos_path_routed())
		return vos_native(f);
	if (m->op == __NR_linkat && (flags & AT_SYMLINK_FOLLOW))
		walk = 0;
	if (m->op == __NR_linkat && (flags & AT_EMPTY_PATH))
		walk |= VOS_WALK_EMPTY;
	r = vos_path_resolve(&a, m->dirfd[0] < 0 ? AT_FDCWD : (int64_t)vos_arg(f, (unsigned)m->dirfd[0]),
			     vos_arg(f, (unsigned)m->path[0]), walk);
	if (r == 0) {
		r = vos_path_resolve(&b, m->dirfd[1] < 0 ? AT_FDCWD : (int64_t)vos_arg(f, (unsigned)m->dirfd[1]),
				     vos_arg(f, (unsigned)m->path[1]), VOS_WALK_NOFOLLOW);
		if (r == 0)
			r = two_paths(f, m, &a, &b, flags);
		vos_path_done(&b);
	}
	vos_path_done(&a);
	return r;
}

#define PAIR(name, ...)                                                                                                     \
	long vos_call_##name(struct vos_frame *f)                                                                           \
	{                                                                                                                   \
		static const struct pair m = { __VA_ARGS__ };                                                               \
		return pair_call(f, &m);                                                                                    \
	}

PAIR(rename,    __NR_renameat2, { -1, -1 }, { 0, 1 }, -1)
PAIR(renameat,  __NR_renameat2, {  0,  2 }, { 1, 3 }, -1)
PAIR(renameat2, __NR_renameat2, {  0,  2 }, { 1, 3 },  4)
PAIR(link,      __NR_linkat,    { -1, -1 }, { 0, 1 }, -1)
PAIR(linkat,    __NR_linkat,    {  0,  2 }, { 1, 3 },  4)
