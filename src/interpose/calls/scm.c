/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Remote descriptors over UNIX sockets.  The kernel cannot carry them, so a socket goes in their place: a conversation with the
 * supervisor (HOLD, PROTOCOL.md) in which the answer lies unread.  It tells the receiving runtime under which token the
 * domain keeps the open file, and that one puts the remote descriptor in its number.  When the last copy of it is closed,
 * the domain lets go of the file: a message that nobody reads holds nothing open.  A receiver that is not under VirtuOS
 * is left with the socket, of which it can make nothing.
 */
#include <fcntl.h>
#include <virtuos/msg.h>
#include "../dispatch/remote_impl.h"
#include "net.h"

#define ANSWER_MS 5000

/* ---- sending -------------------------------------------------------------------------------------------------------------- */

/* The answer in a conversation, left where it is.  0 or negative errno. */
static long peek_answer(int sock, struct vos_msg *m, int ms)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	long r;

	if (ms && vos_raw6(__NR_ppoll, VOS_PTR(&p), 1, VOS_PTR(&ts), 0, 0, 0) == 0)
		return -ETIMEDOUT;
	r = vos_raw6(__NR_recvfrom, sock, VOS_PTR(m), sizeof *m, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC, 0, 0);
	if (r < 0)
		return r;
	if (r != sizeof *m || m->magic != VOS_MSG_MAGIC || m->version != VOS_MSG_VERSION || m->type != VOS_MSG_HOLD || m->status)
		return -EPROTO;
	return 0;
}

/* A socket that stands for o, or negative errno. */
static long make_token(struct vos_ofd *o)
{
	struct vos_proc *p = vos_self()->proc;
	const struct vos_domain *d = o->domain;
	uint64_t arg[6] = { 0 };
	struct vos_msg *m = vos_alloc(sizeof *m);
	long r, sock = -1;

	if (!m)
		return -ENOMEM;
	vos_msg_init(m, VOS_MSG_HOLD);
	m->kind = d->kind;
	memcpy(m->domain, d->name, sizeof m->domain);
	m->aux[0] = o->mode;
	m->aux[1] = o->flags;
	if (d->kind == VOS_KIND_STORE) {
		memcpy(m->text, d->root, sizeof d->root);
	} else if (o->family && o->family->id == VOS_FAMILY_NET) {
		r = o->family->save(o, m->text, sizeof m->text);
		m->aux[2] = r > 0 ? (uint64_t)r : 0;
	}
	r = vos_ofd_call_buf(o, VOS_OP_EXPORT, arg, 1, m->token, 0, sizeof m->token, NULL);
	if (r == 0)
		r = sock = vos_session_begin(p, m, NULL, 0);
	if (r >= 0)
		r = peek_answer((int)sock, m, ANSWER_MS);
	if (r < 0 && sock >= 0)
		vos_raw1(__NR_close, sock);
	vos_free(m);
	return r < 0 ? r : sock;
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

static struct vos_domain *find_domain(const struct vos_proc *p, const struct vos_msg *m)
{
	for (uint32_t i = 0; i < p->ndomains; i++) {
		struct vos_domain *d = p->domain[i];

		if (d && d->kind == m->kind && strcmp(d->name, m->domain) == 0 &&
		    (m->kind == VOS_KIND_NET || strcmp(d->root, m->text) == 0))
			return d;
	}
	return NULL;
}

/* The file's domain; one that this process did not know until now is added.  NULL when there is no room for it. */
static struct vos_domain *domain_of(const struct vos_msg *m)
{
	struct vos_proc *p = vos_self()->proc;
	struct vos_domain *d;

	vos_lock(&p->lock);
	d = find_domain(p, m);
	if (!d && p->ndomains < VOS_DOMAINS_MAX && (d = vos_alloc(sizeof *d))) {
		d->index = p->ndomains;
		d->kind = m->kind;
		memcpy(d->name, m->domain, sizeof d->name);
		if (m->kind == VOS_KIND_STORE)
			memcpy(d->root, m->text, sizeof d->root - 1);
		p->domain[d->index] = d;
		/* Release: whoever sees the number sees the domain. */
		__atomic_store_n(&p->ndomains, d->index + 1, __ATOMIC_RELEASE);
	}
	vos_unlock(&p->lock);
	return d;
}

/* Puts the remote descriptor in the place of the socket `fd`. */
static void import(int fd, struct vos_msg *m)
{
	struct vos_domain *d = domain_of(m);
	uint64_t arg[6] = { 0 };
	struct vos_lane_client *lane;
	struct vos_cqe cqe;
	struct vos_ofd *o;
	long rfd, flags, number;
	int err = 0;

	lane = d ? vos_remote_lane(d, &err) : NULL;
	if (!lane)
		return;
	rfd = vos_net_call(lane, VOS_OP_IMPORT, arg, 0, m->token, sizeof m->token, 0, &cqe);
	if (rfd < 0)
		return;
	o = vos_ofd_new(d, (int32_t)rfd, cqe.aux, (uint32_t)m->aux[1]);
	if (!o) {
		vos_net_close(lane, (int32_t)rfd);
		return;
	}
	if (m->kind == VOS_KIND_NET && m->aux[2] <= sizeof m->text)
		vos_sock_adopt(o, m->text, m->aux[2]);
	flags = vos_raw3(__NR_fcntl, fd, F_GETFD, 0);
	number = vos_fd_install(o, O_CLOEXEC);
	if (number < 0)
		return;
	vos_fd_dup_to((int)number, fd, flags > 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0);
	vos_fd_close((int)number);
}

static void look_at(int fd)
{
	int type = 0;
	uint32_t len = sizeof type;
	struct vos_msg *m;

	/* One cheap question for each descriptor received; few go on. */
	if (vos_self()->proc->session_fd < 0 ||
	    vos_raw6(__NR_getsockopt, fd, SOL_SOCKET, SO_TYPE, VOS_PTR(&type), VOS_PTR(&len), 0) < 0 || type != SOCK_SEQPACKET)
		return;
	m = vos_alloc(sizeof *m);
	if (!m)
		return;
	if (peek_answer(fd, m, 0) == 0 && (m->kind == VOS_KIND_NET || m->kind == VOS_KIND_STORE) &&
	    m->domain[sizeof m->domain - 1] == 0 && (m->kind == VOS_KIND_NET || m->text[sizeof m->text - 1] == 0))
		import(fd, m);
	vos_free(m);
}

void vos_scm_in(uint64_t user, uint64_t len)
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
					look_at(fd[i]);
		}
	}
	if (control != small)
		vos_free(control);
}
