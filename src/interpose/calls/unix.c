/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UNIX sockets whose names lie under a routed prefix.  The sockets stay this kernel's; the name is a socket node in the
 * domain, with its owner and mode, and the socket itself is bound to an abstract address made from the node's identity.  So
 * whoever may find the node and write to it reaches the socket, from whatever path, and stat and unlink work as ever.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "../dispatch/path.h"
#include "net.h"

long vos_call_mknodat(struct vos_frame *f);
long vos_call_unlinkat(struct vos_frame *f);
long vos_call_newfstatat(struct vos_frame *f);
long vos_call_faccessat2(struct vos_frame *f);

/* A call of this family's own, as if the program had made it with arguments in the runtime's memory. */
static long on_path(vos_call_fn *fn, unsigned nr, const char *path, uint64_t a, uint64_t b)
{
	struct vos_frame f = { .rax = nr, .rdi = (uint64_t)(int64_t)AT_FDCWD, .rsi = (uint64_t)(uintptr_t)path, .rdx = a, .r10 = b };

	return fn(&f);
}

/*
 * The name in the address at `user`: where it leads, and the text itself.  0: to a domain; 1: the address is to be used as it
 * is; 2: it is p->text of this kernel; or an error.  Release p unless 1.
 */
static long name_of(struct vos_frame *f, struct vos_path *p, char path[sizeof((struct sockaddr_un *)0)->sun_path + 1])
{
	uint32_t len = (uint32_t)f->rdx, domain = 0, dlen = sizeof domain;
	struct sockaddr_un a;
	long r;

	memset(&a, 0, sizeof a);
	if (!vos_path_routed() || len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof a ||
	    vos_copy_from_user(&a, vos_uptr(f->rsi), len) < 0 || a.sun_family != AF_UNIX || a.sun_path[0] == 0 ||
	    vos_raw6(__NR_getsockopt, (int)f->rdi, SOL_SOCKET, SO_DOMAIN, VOS_PTR(&domain), VOS_PTR(&dlen), 0) < 0 || domain != AF_UNIX)
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

static long at_node(struct vos_frame *f, const struct vos_domain *d, const struct stat *st)
{
	char text[100];
	int n = vos_fmt(text, sizeof text, "virtuos:%s:%lx:%lx", d->name, (unsigned long)st->st_dev, (unsigned long)st->st_ino);

	return (size_t)n >= sizeof text ? -ENAMETOOLONG : with_address(f, text, (size_t)n - 1, true);
}

long vos_unix_bind(struct vos_frame *f)
{
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
	struct vos_path p;
	struct stat st;
	long r = name_of(f, &p, path);

	if (r == 1)
		return vos_native(f);
	if (r < 0)
		return r;
	if (r == 2) {
		r = with_address(f, p.text, p.len, false);
		vos_path_done(&p);
		return r;
	}
	r = on_path(vos_call_mknodat, __NR_mknodat, path, S_IFSOCK | 0777, 0);
	if (r == -EEXIST)
		r = -EADDRINUSE;
	if (r == 0) {
		r = on_path(vos_call_newfstatat, __NR_newfstatat, path, (uint64_t)(uintptr_t)&st, AT_SYMLINK_NOFOLLOW);
		if (r == 0)
			r = at_node(f, p.domain, &st);
		if (r < 0)
			on_path(vos_call_unlinkat, __NR_unlinkat, path, 0, 0);
	}
	vos_path_done(&p);
	return r;
}

long vos_unix_connect(struct vos_frame *f)
{
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
	struct vos_path p;
	struct stat st;
	long r = name_of(f, &p, path);

	if (r == 1)
		return vos_native(f);
	if (r < 0)
		return r;
	if (r == 2) {
		r = with_address(f, p.text, p.len, false);
		vos_path_done(&p);
		return r;
	}
	r = on_path(vos_call_newfstatat, __NR_newfstatat, path, (uint64_t)(uintptr_t)&st, 0);
	if (r == 0)
		r = on_path(vos_call_faccessat2, __NR_faccessat2, path, 2 /* W_OK */, AT_EACCESS);
	if (r == 0)
		r = S_ISSOCK(st.st_mode) ? at_node(f, p.domain, &st) : -ECONNREFUSED;
	vos_path_done(&p);
	return r;
}
