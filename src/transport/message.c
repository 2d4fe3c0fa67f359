/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transport/message.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <time.h>
#include <virtuos/err.h>
#include <virtuos/raw.h>

/* Room for one SCM_RIGHTS of VOS_MSG_FDS_MAX descriptors, aligned as a cmsghdr. */
union control {
	struct cmsghdr head;
	unsigned char  bytes[CMSG_SPACE(VOS_MSG_FDS_MAX * sizeof(int))];
};

void vos_msg_init(struct vos_msg *m, uint32_t type)
{
	volatile unsigned char *p = (volatile unsigned char *)m;

	for (size_t i = 0; i < sizeof *m; i++)
		p[i] = 0;
	m->magic = VOS_MSG_MAGIC;
	m->version = VOS_MSG_VERSION;
	m->type = type;
}

static int ends(const char *s, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		if (s[i] == 0)
			return 1;
	return 0;
}

int vos_msg_check(const struct vos_msg *m, uint64_t len)
{
	/* The version stands at a fixed place for ever, so that another one is told apart from rubbish. */
	if (len < offsetof(struct vos_msg, type) || m->magic != VOS_MSG_MAGIC)
		return -EPROTO;
	if (m->version != VOS_MSG_VERSION)
		return -EPROTONOSUPPORT;
	if (len != sizeof *m || m->type < VOS_MSG_CALL || m->type >= VOS_MSG_END)
		return -EPROTO;
	if (m->ngroups > VOS_GROUPS_MAX || m->kind > VOS_KIND_STORE)
		return -EPROTO;
	if (!ends(m->domain, sizeof m->domain) || !ends(m->text, sizeof m->text))
		return -EPROTO;
	return 0;
}

void vos_msg_text(char *field, uint32_t size, const char *s)
{
	uint32_t i = 0;

	for (; s && s[i] && i + 1 < size; i++)
		field[i] = s[i];
	field[i] = 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts = { 0, 0 };

	vos_raw2(__NR_clock_gettime, CLOCK_MONOTONIC, VOS_PTR(&ts));
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t vos_msg_deadline(uint64_t ms)
{
	return now_ns() + ms * 1000000u;
}

/* Until the socket is ready for `events`, or broken (the call that follows says how): 0 or -ETIMEDOUT. */
static int wait_ready(int sock, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = sock, .events = events, .revents = 0 };

	if (deadline_ns == 0)
		return -ETIMEDOUT;
	for (;;) {
		uint64_t now = now_ns();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
		struct timespec ts = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
		long r = vos_raw6(__NR_ppoll, VOS_PTR(&p), 1, VOS_PTR(&ts), 0, 8, 0);

		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (r != -EINTR)
			return (int)r;
	}
}

int vos_msg_send(int sock, const struct vos_msg *m, const int *fds, uint32_t nfds, uint64_t deadline_ns)
{
	union control c;
	struct { void *base; size_t len; } iov = { (void *)(uintptr_t)m, sizeof *m };
	struct msghdr h = { .msg_iov = (void *)&iov, .msg_iovlen = 1 };

	if (nfds > VOS_MSG_FDS_MAX)
		return -EINVAL;
	if (nfds) {
		int *to = (int *)(void *)CMSG_DATA(&c.head);

		c.head.cmsg_level = SOL_SOCKET;
		c.head.cmsg_type = SCM_RIGHTS;
		c.head.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (uint32_t i = 0; i < nfds; i++)
			to[i] = fds[i];
		h.msg_control = &c;
		h.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	for (;;) {
		long r = vos_raw3(__NR_sendmsg, sock, VOS_PTR(&h), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r == (long)sizeof *m)
			return 0;
		if (r >= 0)
			return -EPROTO; /* not a SOCK_SEQPACKET: the caller's mistake */
		/* ETOOMANYREFS: too many descriptors in flight; the receiver takes them out in a moment. */
		if (r == -EAGAIN || r == -ETOOMANYREFS) {
			int w = wait_ready(sock, POLLOUT, deadline_ns);

			if (w)
				return w;
		} else if (r != -EINTR) {
			return (int)r;
		}
	}
}

void vos_msg_close_fds(struct vos_msg_fds *fds)
{
	for (uint32_t i = 0; i < VOS_MSG_FDS_MAX; i++) {
		if (fds->fd[i] >= 0)
			vos_raw1(__NR_close, fds->fd[i]);
		fds->fd[i] = -1;
	}
	fds->n = 0;
}

int vos_msg_take(struct vos_msg_fds *fds, uint32_t i)
{
	int fd = -1;

	if (i < fds->n) {
		fd = fds->fd[i];
		fds->fd[i] = -1;
	}
	return fd;
}

/* The kernel wrote this control buffer, so it is well formed; more than one SCM_RIGHTS never comes in one receive. */
static void collect(const union control *c, size_t len, struct vos_msg_fds *ret)
{
	size_t n;

	if (len < sizeof(struct cmsghdr) || c->head.cmsg_level != SOL_SOCKET || c->head.cmsg_type != SCM_RIGHTS)
		return;
	n = (c->head.cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (size_t i = 0; i < n && i < VOS_MSG_FDS_MAX; i++)
		ret->fd[ret->n++] = ((const int *)(const void *)CMSG_DATA(&c->head))[i];
}

int vos_msg_recv(int sock, struct vos_msg *ret, struct vos_msg_fds *ret_fds, uint64_t deadline_ns)
{
	union control c;
	struct { void *base; size_t len; } iov = { ret, sizeof *ret };
	struct msghdr h = { .msg_iov = (void *)&iov, .msg_iovlen = 1, .msg_control = &c };
	int r;

	ret_fds->n = 0;
	for (uint32_t i = 0; i < VOS_MSG_FDS_MAX; i++)
		ret_fds->fd[i] = -1;
	for (;;) {
		long n;

		h.msg_controllen = sizeof c;
		h.msg_flags = 0;
		n = vos_raw3(__NR_recvmsg, sock, VOS_PTR(&h), MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n == -EAGAIN) {
			r = wait_ready(sock, POLLIN, deadline_ns);
			if (r)
				return r;
			continue;
		}
		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		collect(&c, h.msg_controllen, ret_fds);
		if (n == 0 && ret_fds->n == 0)
			return -EPIPE;
		r = h.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO : vos_msg_check(ret, (uint64_t)n);
		if (r)
			vos_msg_close_fds(ret_fds);
		return r;
	}
}
