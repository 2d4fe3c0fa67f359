/* SPDX-License-Identifier: GPL-2.0-or-later */
/* poll and epoll over this domain's descriptors.  Timeouts are the client's: here one answers at once or waits. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include "servers/domain/exec.h"

#define POLL_FDS_MAX 65536u

static long poll_now(struct vos_op *op)
{
	struct timespec none = { 0, 0 };

	return vos_raw6(__NR_ppoll, VOS_PTR(op->pfd), op->npfd, VOS_PTR(&none), 0, 8, 0);
}

static long poll_again(struct vos_proxy *p, struct vos_op *op);

static long poll_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	/* Whatever ended the wait: what is ready now is the answer, also of a poll that was cancelled. */
	(void)res;
	return poll_again(p, op);
}

static long poll_again(struct vos_proxy *p, struct vos_op *op)
{
	struct pollfd *out = (void *)op->wire_at;
	long n = poll_now(op);

	if (n == 0 && !op->cancelled && op->a[2] != 0 && !(op->req_flags & VOS_REQ_NOWAIT)) {
		int r;

		op->resume = poll_resume;
		r = p->engine->poll_many(p, op);
		return r ? r : VOS_PENDING;
	}
	if (n == 0 && op->cancelled)
		return -ECANCELED;
	for (uint32_t i = 0; n >= 0 && i < op->npfd; i++)
		out[i].revents = op->pfd[i].revents;
	return n;
}

long vos_exec_poll(struct vos_proxy *p, struct vos_op *op)
{
	uint64_t n = (uint32_t)op->a[1];
	long nvals = 0;

	if (n > POLL_FDS_MAX)
		return -EINVAL;
	op->wire_at = vos_validate_range(p, op->lane, (uint64_t)op->a[0], n * sizeof *op->pfd);
	if (!op->wire_at || ((uintptr_t)op->wire_at & 3))
		return -EFAULT;
	op->pfd = op->mem = malloc((n ? n : 1) * sizeof *op->pfd);
	if (!op->pfd)
		return -ENOMEM;
	op->npfd = (uint32_t)n;
	memcpy(op->pfd, op->wire_at, n * sizeof *op->pfd);
	for (uint32_t i = 0; i < n; i++) {
		if (op->pfd[i].fd < 0 || vos_rfd(p, op->pfd[i].fd))
			continue;
		/* Not the client's: never looked at, whatever stands there. */
		op->pfd[i].fd = -1;
		((struct pollfd *)(void *)op->wire_at)[i].revents = POLLNVAL;
		nvals++;
	}
	if (nvals) {
		long r = poll_now(op);
		struct pollfd *out = (void *)op->wire_at;

		for (uint32_t i = 0; r >= 0 && i < n; i++)
			if (op->pfd[i].fd >= 0)
				out[i].revents = op->pfd[i].revents;
		return r < 0 ? r : r + nvals;
	}
	return poll_again(p, op);
}

long vos_exec_epoll_create1(struct vos_proxy *p, struct vos_op *op)
{
	long fd;

	if (op->a[0] & ~EPOLL_CLOEXEC)
		return -EINVAL;
	fd = vos_raw1(__NR_epoll_create1, EPOLL_CLOEXEC);
	if (vos_is_err(fd))
		return fd;
	fd = vos_rfd_add(p, (int)fd, O_RDWR, &op->aux);
	if (!vos_is_err(fd))
		p->rfd[fd].kind = VOS_RFD_EPOLL;
	return fd;
}

long vos_exec_epoll_ctl(struct vos_proxy *p, struct vos_op *op)
{
	(void)p;
	return vos_raw4(__NR_epoll_ctl, op->a[0], op->a[1], op->a[2], op->a[3]);
}

static long epoll_again(struct vos_proxy *p, struct vos_op *op)
{
	long n = vos_raw4(__NR_epoll_wait, op->fd, VOS_PTR(op->wire_at), op->a[2], 0);

	if (n || op->a[3] == 0 || (op->req_flags & VOS_REQ_NOWAIT))
		return n;
	if (op->cancelled)
		return -ECANCELED;
	vos_rfd_hold(p, op);
	return vos_wait_poll(p, op, op->fd, POLLIN);
}

static long epoll_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	if (vos_is_err(res))
		return res;
	return epoll_again(p, op);
}

long vos_exec_epoll_wait(struct vos_proxy *p, struct vos_op *op)
{
	long max = op->a[2];

	if (max <= 0 || max > INT_MAX / (long)sizeof(struct epoll_event))
		return -EINVAL;
	op->wire_at = vos_validate_range(p, op->lane, (uint64_t)op->a[1], (uint64_t)max * sizeof(struct epoll_event));
	if (!op->wire_at)
		return -EFAULT;
	op->resume = epoll_resume;
	return epoll_again(p, op);
}
