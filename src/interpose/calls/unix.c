/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UNIX sockets whose names lie under a routed prefix.  The sockets stay this kernel's; the name is a socket node in the
 * domain, with its owner and mode, and the socket itself is bound to an abstract address made from the node's identity.  So
 * whoever may find the node and write to it reaches the socket, from whatever path, and stat and unlink work as ever.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "../dispatch/path.h"
#include "net.h"

long vos_call_mknodat(struct vos_frame *f);
long vos_call_unlinkat(struct vos_frame *f);
long vos_call_statx(struct vos_frame *f);
long vos_call_faccessat2(struct vos_frame *f);

/* A call of this family's own, as if the program had made it with arguments in the runtime's memory. */
static long on_path(vos_call_fn *fn, unsigned nr, const char *path, uint64_t a, uint64_t b)
{
	struct vos_frame f = { .rax = nr, .rdi = (uint64_t)(int64_t)AT_FDCWD, .rsi = (uint64_t)(uintptr_t)path, .rdx = a, .r10 = b };

	return fn(&f);
}

static long look_at(const char *path, unsigned flags, struct statx *ret)
{
	struct vos_frame f = { .rax = __NR_statx, .rdi = (uint64_t)(int64_t)AT_FDCWD, .rsi = (uint64_t)(uintptr_t)path, .rdx = flags,
			       .r10 = STATX_BASIC_STATS | STATX_BTIME, .r8 = (uint64_t)(uintptr_t)ret };

	memset(ret, 0, sizeof *ret);
	return vos_call_statx(&f);
}

/*
 * The name in the address at `user`: where it leads, and the text itself.  0: to a domain; 1: the address is to be used as it
 * is; 2: it is p->text of this kernel; or an error.  p is held where it is 0 or 2.
 */
static long name_of(uint64_t fd, uint64_t user, uint32_t len, struct vos_path *p,
		    char path[sizeof((struct sockaddr_un *)0)->sun_path + 1])
{
	uint32_t domain = 0, dlen = sizeof domain;
	struct sockaddr_un a;
	long r;

	memset(&a, 0, sizeof a);
	if (!vos_path_routed() || len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof a ||
	    vos_copy_from_user(&a, vos_uptr(user), len) < 0 || a.sun_family != AF_UNIX || a.sun_path[0] == 0 ||
	    vos_raw6(__NR_getsockopt, (int)fd, SOL_SOCKET, SO_DOMAIN, VOS_PTR(&domain), VOS_PTR(&dlen), 0) < 0 || domain != AF_UNIX)
		return 1;
	memcpy(path, a.sun_path, sizeof a.sun_path);
	path[sizeof a.sun_path] = 0;
	r = vos_path_resolve(p, AT_FDCWD, (uint64_t)(uintptr_t)path, 0);
	if (r < 0) {
		vos_path_done(p);
		return r;
	}
	if (p->domain)
		return 0;
	if (p->rewritten && p->len < sizeof a.sun_path)
		return 2;
	vos_path_done(p);
	return 1;
}

/* f with another address: an abstract one (path[0] == 0) or a path. */
static long with_address(struct vos_frame *f, const char *text, size_t len, bool abstract)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct vos_frame call = *f;

	memcpy(a.sun_path + abstract, text, len);
	call.rsi = (uint64_t)(uintptr_t)&a;
	call.rdx = offsetof(struct sockaddr_un, sun_path) + len + 1;
	return vos_native(&call);
}

/* What this process calls an address of ours, for getsockname and getpeername; the oldest is forgotten. */
#define NAMES 64
static struct name {
	struct sockaddr_un own, given;
	socklen_t own_len, len;
} names[NAMES];
static unsigned next_name;
/* Never waited for: a child made while another thread held it must not hang for the sake of a name. */
static _Atomic bool busy;

static void remember(const char *own, size_t own_len, const char *path)
{
	struct name *n;

	if (atomic_exchange_explicit(&busy, true, memory_order_acquire))
		return;
	n = &names[next_name++ % NAMES];
	*n = (struct name){ .own.sun_family = AF_UNIX, .given.sun_family = AF_UNIX };
	memcpy(n->own.sun_path + 1, own, own_len);
	memcpy(n->given.sun_path, path, strnlen(path, sizeof n->given.sun_path));
	n->own_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + own_len + 1);
	/* Linux tells the terminating NUL as a part of the name, whether it was given or not. */
	n->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strnlen(path, sizeof n->given.sun_path) + 1);
	atomic_store_explicit(&busy, false, memory_order_release);
}

#define NODE_MAX 100

/*
 * The abstract name that a node stands for; its length.  The time of its making tells a node from an older one of the same number,
 * whose socket may live on.
 */
static long node_name(const struct vos_domain *d, const struct statx *st, char text[NODE_MAX])
{
	int n = vos_fmt(text, NODE_MAX, "virtuos:%s:%x:%lx:%lx%x", d->name, st->stx_dev_major << 20 | st->stx_dev_minor,
			(unsigned long)st->stx_ino, (unsigned long)st->stx_btime.tv_sec, st->stx_btime.tv_nsec);

	return n >= NODE_MAX ? -ENAMETOOLONG : n;
}

static long at_node(struct vos_frame *f, const struct vos_domain *d, const struct statx *st, const char *path)
{
	char text[NODE_MAX];
	long n = node_name(d, st, text), r;

	if (n < 0)
		return n;
	r = with_address(f, text, (size_t)n, true);
	if (r == 0 || r == -EINPROGRESS || r == -EAGAIN)
		remember(text, (size_t)n, path);
	return r;
}

/* Is the address a path of a domain?  Then *p is held; else the call is made, or refused, and this is its result. */
static bool is_ours(struct vos_frame *f, struct vos_path *p, char *path, long *ret_result)
{
	long r = name_of(f->rdi, f->rsi, (uint32_t)f->rdx, p, path);

	if (r == 0)
		return true;
	if (r == 1) {
		r = vos_native(f);
	} else if (r == 2) {
		r = with_address(f, p->text, p->len, false);
		vos_path_done(p);
	}
	*ret_result = r;
	return false;
}

long vos_unix_bind(struct vos_frame *f)
{
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
	struct vos_path p;
	struct statx st;
	long r;

	if (!is_ours(f, &p, path, &r))
		return r;
	r = on_path(vos_call_mknodat, __NR_mknodat, path, S_IFSOCK | 0777, 0);
	if (r == -EEXIST)
		r = -EADDRINUSE;
	if (r == 0) {
		r = look_at(path, AT_SYMLINK_NOFOLLOW, &st);
		if (r == 0)
			r = at_node(f, p.domain, &st, path);
		if (r < 0)
			on_path(vos_call_unlinkat, __NR_unlinkat, path, 0, 0);
	}
	vos_path_done(&p);
	return r;
}

/* A node that may be spoken to. */
static long find_node(const char *path, struct statx *ret)
{
	long r = look_at(path, 0, ret);

	if (r == 0)
		r = on_path(vos_call_faccessat2, __NR_faccessat2, path, 2 /* W_OK */, AT_EACCESS);
	return r < 0 ? r : S_ISSOCK(ret->stx_mode) ? 0 : -ECONNREFUSED;
}

long vos_unix_connect(struct vos_frame *f)
{
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
	struct vos_path p;
	struct statx st;
	long r;

	if (!is_ours(f, &p, path, &r))
		return r;
	r = find_node(path, &st);
	if (r == 0)
		r = at_node(f, p.domain, &st, path);
	vos_path_done(&p);
	return r;
}

long vos_unix_address(uint64_t fd, uint64_t user, uint32_t len, struct sockaddr_un *ret, uint32_t *ret_len)
{
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1], text[NODE_MAX];
	struct vos_path p;
	struct statx st;
	long r = name_of(fd, user, len, &p, path), n;

	if (r != 0 && r != 2)
		return r;
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (r == 2) {
		n = (long)p.len;
		memcpy(ret->sun_path, p.text, p.len);
	} else {
		r = find_node(path, &st);
		n = r < 0 ? r : node_name(p.domain, &st, text);
		if (n > 0)
			memcpy(ret->sun_path + 1, text, (size_t)n);
	}
	vos_path_done(&p);
	if (n < 0)
		return n;
	*ret_len = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
	return 0;
}

long vos_unix_sendto(struct vos_frame *f)
{
	struct vos_frame call = *f;
	struct sockaddr_un a;
	uint32_t len;
	long r = f->r8 ? vos_unix_address(f->rdi, f->r8, (uint32_t)f->r9, &a, &len) : 1;

	if (r < 0)
		return r;
	if (r == 0) {
		call.r8 = (uint64_t)(uintptr_t)&a;
		call.r9 = len;
	}
	return vos_native(&call);
}

long vos_unix_name(struct vos_frame *f)
{
	struct sockaddr_un a = { 0 }, given;
	socklen_t room, got, len = 0;
	long r;

	/* The room that was given is overwritten by the call. */
	if (!vos_path_routed() || vos_copy_from_user(&room, vos_uptr(f->rdx), sizeof room) < 0)
		return vos_native(f);
	r = vos_native(f);
	if (r < 0 || vos_copy_from_user(&got, vos_uptr(f->rdx), sizeof got) < 0 || got > room || got > sizeof a || got < 12 ||
	    vos_copy_from_user(&a, vos_uptr(f->rsi), got) < 0 || a.sun_family != AF_UNIX || memcmp(a.sun_path, "\0virtuos:", 9) != 0 ||
	    atomic_exchange_explicit(&busy, true, memory_order_acquire))
		return r;
	for (unsigned i = 0; i < NAMES && !len; i++)
		if (names[i].own_len == got && memcmp(&names[i].own, &a, got) == 0) {
			given = names[i].given;
			len = names[i].len;
		}
	atomic_store_explicit(&busy, false, memory_order_release);
	if (!len)
		return r;
	if (vos_copy_to_user(vos_uptr(f->rsi), &given, len < room ? len : room) < 0 ||
	    vos_copy_to_user(vos_uptr(f->rdx), &len, sizeof len) < 0)
		return -EFAULT;
	return r;
}
