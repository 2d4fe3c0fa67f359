/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Remote descriptors over UNIX sockets.  The kernel cannot carry them, so a memfd goes in their place: it holds a token
 * under which the domain keeps the open file, and what the receiving runtime needs to know.  That one puts the remote
 * descriptor in the memfd's number.  A receiver that is not under VirtuOS is left with the memfd, of which it can make nothing.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include "net.h"

/* These seals, this size and the magic make a memfd a token; anybody can make one, but not guess a token that is valid. */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
static const char magic[16] = "virtuos token 1";

struct token {
	char     magic[16];
	uint8_t  token[16];          /* the domain's name for the open file; good for one import */
	uint32_t kind;
	uint32_t mode, flags;        /* vos_ofd's */
	uint32_t family, saved_len;  /* VOS_FAMILY_NET or 0; what its save() wrote */
	char     domain[64];
	char     root[256];
	unsigned char saved[VOS_FD_SAVE_MAX];
};

/* ---- sending -------------------------------------------------------------------------------------------------------------- */

static long export(struct vos_ofd *o, uint8_t token[16])
{
	uint64_t arg[6] = { 0 };

	return vos_ofd_call_buf(o, VOS_OP_EXPORT, arg, 1, token, 0, 16, NULL);
}

/* A memfd that stands for o, or negative errno. */
static long make_token(struct vos_ofd *o)
{
	struct token *t = vos_alloc(sizeof *t);
	long fd = -1, r;

	if (!t)
		return -ENOMEM;
	memcpy(t->magic, magic, sizeof magic);
	t->kind = o->domain->kind;
	t->mode = o->mode;
	t->flags = o->flags;
	memcpy(t->domain, o->domain->name, sizeof t->domain);
	memcpy(t->root, o->domain->root, sizeof t->root);
	if (o->family && o->family->id == VOS_FAMILY_NET) {
		r = o->family->save(o, t->saved, sizeof t->saved);
		if (r > 0) {
			t->family = VOS_FAMILY_NET;
			t->saved_len = (uint32_t)r;
		}
	}
	r = export(o, t->token);
	if (r == 0)
		r = fd = vos_raw2(__NR_memfd_create, VOS_PTR("virtuos-descriptor"), MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r >= 0) {
		if (vos_raw4(__NR_pwrite64, fd, VOS_PTR(t), sizeof *t, 0) != sizeof *t ||
		    vos_raw3(__NR_fcntl, fd, F_ADD_SEALS, SEALS) < 0) {
			vos_raw1(__NR_close, fd);
			r = -ENOMEM;
		}
	}
	vos_free(t);
	return r;
}

/* Walks the control data as the kernel does: the next header at or after *at, whole within len; NULL at the end. */
static struct cmsghdr *next_cmsg(unsigned char *control, size_t len, size_t *at)
{
	struct cmsghdr *c;

	if (*at > len || len - *at < sizeof *c)
		return NULL;
	c = (struct cmsghdr *)(void *)(control + *at);
	if (c->cmsg_len < sizeof *c || c->cmsg_len > len - *at)
		return NULL;
	*at += CMSG_ALIGN(c->cmsg_len);
	return c;
}

long vos_scm_out(unsigned char *control, size_t len, int ret_fds[VOS_SCM_MAX])
{
	const struct vos_proc *p = vos_self()->proc;
	struct cmsghdr *c;
	size_t at = 0;
	long made = 0, r = 0;

	while (r >= 0 && (c = next_cmsg(control, len, &at))) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int *fd = (int *)(void *)CMSG_DATA(c);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n && r >= 0; i++) {
			uint8_t kind = vos_fd_kind(p, fd[i]);
			struct vos_ofd *o;

			if (kind == VOS_FDKIND_OWN)
				r = -EBADF;
			if (kind != VOS_FDKIND_REMOTE)
				continue;
			o = vos_fd_get((uint32_t)fd[i]);
			if (!o)
				r = -EBADF;
			else if (made == VOS_SCM_MAX)
				r = -EINVAL; /* the kernel takes no more in one message either */
			else
				r = make_token(o);
			vos_ofd_put(o);
			if (r >= 0)
				fd[i] = ret_fds[made++] = (int)r;
		}
	}
	if (r >= 0)
		return made;
	while (made)
		vos_raw1(__NR_close, ret_fds[--made]);
	return r;
}

/* ---- receiving ------------------------------------------------------------------------------------------------------------ */

static struct vos_domain *find_domain(const struct vos_proc *p, const struct token *t)
{
	for (uint32_t i = 0; i < p->ndomains; i++) {
		struct vos_domain *d = p->domain[i];

		if (d && d->kind == t->kind && memcmp(d->name, t->domain, sizeof d->name) == 0 &&
		    (t->kind == VOS_KIND_NET || memcmp(d->root, t->root, sizeof d->root) == 0))
			return d;
	}
	return NULL;
}

/* The token's domain; one that this process did not know until now is added.  NULL when it cannot be reached. */
static struct vos_domain *domain_of(const struct token *t)
{
	struct vos_proc *p = vos_self()->proc;
	struct vos_domain *d;

	if (p->session_fd < 0)
		return NULL;
	vos_lock(&p->lock);
	d = find_domain(p, t);
	if (!d && p->ndomains < VOS_DOMAINS_MAX && (d = vos_alloc(sizeof *d))) {
		d->index = p->ndomains;
		d->kind = t->kind;
		memcpy(d->name, t->domain, sizeof d->name);
		memcpy(d->root, t->root, sizeof d->root);
		p->domain[d->index] = d;
		/* Release: whoever sees the number sees the domain. */
		__atomic_store_n(&p->ndomains, d->index + 1, __ATOMIC_RELEASE);
	}
	vos_unlock(&p->lock);
	return d;
}

/* Puts the remote descriptor in the place of the memfd `fd`.  A peeked message still holds the token: it gets a new one. */
static void import(int fd, struct token *t, bool peeked)
{
	struct vos_domain *d = domain_of(t);
	uint64_t arg[6] = { 0 };
	struct vos_lane_client *lane;
	struct vos_cqe cqe;
	struct vos_ofd *o;
	long rfd, flags, number;
	int err = 0;

	lane = d ? vos_remote_lane(d, &err) : NULL;
	if (!lane)
		return;
	rfd = vos_net_call(lane, VOS_OP_IMPORT, arg, 0, t->token, sizeof t->token, 0, &cqe);
	if (rfd < 0)
		return;
	o = vos_ofd_new(d, (int32_t)rfd, cqe.aux, t->flags);
	if (!o) {
		vos_net_close(lane, (int32_t)rfd);
		return;
	}
	if (t->family == VOS_FAMILY_NET && t->saved_len <= sizeof t->saved)
		vos_sock_adopt(o, t->saved, t->saved_len);
	if (peeked && export(o, t->token) == 0)
		vos_raw4(__NR_pwrite64, fd, VOS_PTR(t->token), sizeof t->token, offsetof(struct token, token));
	flags = vos_raw3(__NR_fcntl, fd, F_GETFD, 0);
	number = vos_fd_install(o, O_CLOEXEC);
	if (number < 0)
		return;
	vos_fd_dup_to((int)number, fd, flags > 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0);
	vos_fd_close((int)number);
}

static void look_at(int fd, bool peeked)
{
	struct token *t;

	/* One cheap question for each descriptor received; only ours go on. */
	if (vos_raw3(__NR_fcntl, fd, F_GET_SEALS, 0) != SEALS)
		return;
	t = vos_alloc(sizeof *t);
	if (!t)
		return;
	if (vos_raw4(__NR_pread64, fd, VOS_PTR(t), sizeof *t, 0) == sizeof *t && memcmp(t->magic, magic, sizeof magic) == 0 &&
	    (t->kind == VOS_KIND_NET || t->kind == VOS_KIND_STORE) && t->domain[sizeof t->domain - 1] == 0 &&
	    t->root[sizeof t->root - 1] == 0)
		import(fd, t, peeked);
	vos_free(t);
}

void vos_scm_in(uint64_t user, uint64_t len, bool peeked)
{
	unsigned char small[512], *control = small;
	struct cmsghdr *c;
	size_t at = 0;

	if (len > (64u << 10))
		len = 64u << 10;
	if (len > sizeof small) {
		control = vos_alloc(len);
		if (!control)
			return;
	}
	if (vos_copy_from_user(control, vos_uptr(user), len) == 0) {
		while ((c = next_cmsg(control, len, &at))) {
			size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			const int *fd = (const int *)(const void *)CMSG_DATA(c);

			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
				for (size_t i = 0; i < n; i++)
					look_at(fd[i], peeked);
		}
	}
	if (control != small)
		vos_free(control);
}
