/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting by io_uring: readiness of descriptors, calls that the ring can express, and the proxy's own sleep are one wait.  The
 * ring is restricted to the operations below, so that it is no way around the seccomp filter.
 */
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include "servers/domain/domain.h"

#define ENTRIES    256u
#define CQ_ENTRIES 4096u

/* Words that are not the address of an op. */
enum { TAG_IGNORE = 1, TAG_DOORBELL, TAG_CONTROL, TAG_CHANNEL, TAG_WORKERS, TAG_END = 64 };

struct uring {
	struct io_uring ring;
	bool open;
	int  answers;
};

static struct uring *uring(struct vos_proxy *p)
{
	return p->engine_priv;
}

/* n entries that reach the kernel together: a link must not be parted. */
static struct io_uring_sqe *sqe(struct uring *u, unsigned n)
{
	if (io_uring_sq_space_left(&u->ring) < n)
		io_uring_submit(&u->ring);
	return io_uring_get_sqe(&u->ring);
}

static void watch(struct uring *u, int fd, uint32_t events, unsigned tag)
{
	struct io_uring_sqe *s = sqe(u, 1);

	if (!s)
		return;
	io_uring_prep_poll_multishot(s, fd, events);
	io_uring_sqe_set_data64(s, tag);
}

static void watch_tag(struct vos_proxy *p, unsigned tag)
{
	switch (tag) {
	/* The counter is not read: a poll that stays armed fires on each write, which saves a call for each sleep. */
	case TAG_DOORBELL: watch(uring(p), p->t.doorbell_fd, POLLIN, tag); break;
	case TAG_CONTROL:  watch(uring(p), p->t.control_fd, POLLRDHUP, tag); break;
	case TAG_CHANNEL:  watch(uring(p), p->channel, POLLIN | POLLRDHUP, tag); break;
	case TAG_WORKERS:  watch(uring(p), vos_worker_fd(p), POLLIN, tag); break;
	}
}

static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {
		IORING_OP_NOP, IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE, IORING_OP_ASYNC_CANCEL, IORING_OP_LINK_TIMEOUT,
		IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_SYNC_FILE_RANGE, IORING_OP_ACCEPT,
		IORING_OP_CONNECT,
	};
	struct io_uring_restriction r[sizeof ops + 3];
	unsigned n = 0;

	memset(r, 0, sizeof r);
	for (; n < sizeof ops; n++) {
		r[n].opcode = IORING_RESTRICTION_SQE_OP;
		r[n].sqe_op = ops[n];
	}
	r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[n++].sqe_flags = IOSQE_IO_LINK | IOSQE_ASYNC;
	r[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	r[n++].register_op = IORING_REGISTER_ENABLE_RINGS;
	r[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	r[n++].register_op = IORING_REGISTER_RING_FDS;
	/* By number: Debian's liburing declares the function for this and does not export it. */
	return (int)vos_raw4(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, VOS_PTR(r), n);
}

static int uring_init(struct vos_proxy *p)
{
	struct io_uring_params prm = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		.cq_entries = CQ_ENTRIES,
	};
	struct uring *u = calloc(1, sizeof *u);
	int r;

	if (!u)
		return -ENOMEM;
	r = io_uring_queue_init_params(ENTRIES, &u->ring, &prm);
	if (r) {
		free(u);
		return r;
	}
	u->open = true;
	p->engine_priv = u;
	r = restrict_ring(&u->ring);
	if (!r)
		r = (int)vos_raw4(__NR_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, 0, 0);
	if (r)
		return r;
	/* An economy only. */
	io_uring_register_ring_fd(&u->ring);
	for (unsigned tag = TAG_DOORBELL; tag <= TAG_WORKERS; tag++)
		watch_tag(p, tag);
	r = io_uring_submit(&u->ring);
	return r < 0 ? r : 0;
}

static void uring_finish(struct vos_proxy *p)
{
	struct uring *u = uring(p);

	if (!u)
		return;
	p->engine_priv = NULL;
	if (u->open)
		io_uring_queue_exit(&u->ring);
	free(u);
}

/* A time limit on the entry before it. */
static void limit(struct uring *u, struct vos_op *op)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);
	struct __kernel_timespec *ts = (void *)op->ts;

	if (!s)
		return;
	ts->tv_sec = (long long)(op->timeout_ns / 1000000000u);
	ts->tv_nsec = (long long)(op->timeout_ns % 1000000000u);
	io_uring_prep_link_timeout(s, ts, 0);
	io_uring_sqe_set_data64(s, TAG_IGNORE);
	op->timed = true;
}

static struct io_uring_sqe *sqe_for(struct uring *u, struct vos_op *op)
{
	struct io_uring_sqe *s = sqe(u, op->timeout_ns ? 2 : 1);

	return s;
}

static void asked(struct uring *u, struct vos_op *op, struct io_uring_sqe *s, uint8_t mode)
{
	io_uring_sqe_set_data(s, op);
	op->inflight++;
	op->wait_mode = mode;
	op->timed = false;
	if (op->timeout_ns) {
		s->flags |= IOSQE_IO_LINK;
		limit(u, op);
	}
}

static int uring_poll(struct vos_proxy *p, struct vos_op *op, int fd, uint32_t events)
{
	struct io_uring_sqe *s = sqe_for(uring(p), op);

	if (!s)
		return -ENOMEM;
	io_uring_prep_poll_add(s, fd, events);
	asked(uring(p), op, s, VOS_OP_WAIT_ONE);
	return 0;
}

static int uring_poll_many(struct vos_proxy *p, struct vos_op *op)
{
	struct uring *u = uring(p);

	op->timed = false;
	for (uint32_t i = 0; i < op->npfd; i++) {
		struct io_uring_sqe *s;

		if (op->pfd[i].fd < 0)
			continue;
		s = sqe(u, 1);
		if (!s)
			break;
		io_uring_prep_poll_add(s, op->pfd[i].fd, (uint16_t)op->pfd[i].events);
		io_uring_sqe_set_data(s, op);
		op->inflight++;
	}
	op->wait_mode = VOS_OP_WAIT_MANY;
	op->stage = 0;
	return op->inflight ? 0 : -EINVAL;
}

static int uring_call(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6])
{
	struct uring *u = uring(p);
	struct io_uring_sqe *s = sqe_for(u, op);

	if (!s)
		return -ENOMEM;
	switch (nr) {
	case __NR_preadv2:
		io_uring_prep_readv2(s, (int)a[0], (struct iovec *)a[1], 1, (uint64_t)a[3], (int)a[5]);
		break;
	case __NR_pwritev2:
		io_uring_prep_writev2(s, (int)a[0], (struct iovec *)a[1], 1, (uint64_t)a[3], (int)a[5]);
		break;
	case __NR_fsync:
		io_uring_prep_fsync(s, (int)a[0], 0);
		break;
	case __NR_fdatasync:
		io_uring_prep_fsync(s, (int)a[0], IORING_FSYNC_DATASYNC);
		break;
	case __NR_accept4:
		io_uring_prep_accept(s, (int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
		break;
	case __NR_connect:
		io_uring_prep_connect(s, (int)a[0], (struct sockaddr *)a[1], (socklen_t)a[2]);
		break;
	default:
		/* The entry is in the queue already: it must be something. */
		io_uring_prep_nop(s);
		io_uring_sqe_set_data64(s, TAG_IGNORE);
		return -EOPNOTSUPP;
	}
	asked(u, op, s, VOS_OP_WAIT_CALL);
	return 0;
}

static void uring_cancel(struct vos_proxy *p, struct vos_op *op)
{
	struct uring *u = uring(p);
	struct io_uring_sqe *s;

	if (!op->inflight)
		return;
	s = sqe(u, 1);
	if (!s)
		return;
	io_uring_prep_cancel(s, op, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(s, TAG_IGNORE);
}

static void uring_flush(struct vos_proxy *p)
{
	if (io_uring_sq_ready(&uring(p)->ring))
		io_uring_submit(&uring(p)->ring);
}

static void answer(struct vos_proxy *p, uint64_t data, int res, uint32_t flags)
{
	struct vos_op *op = (struct vos_op *)(uintptr_t)data;

	if (data < TAG_END) {
		switch (data) {
		case TAG_IGNORE:
			return;
		case TAG_CONTROL:
			if (res & (POLLHUP | POLLRDHUP | POLLERR))
				vos_proxy_end(p, 0, NULL);
			break;
		case TAG_CHANNEL:
			p->channel_ready = true;
			break;
		case TAG_WORKERS:
			uring(p)->answers += vos_worker_reap(p);
			break;
		}
		if (!(flags & IORING_CQE_F_MORE))
			watch_tag(p, (unsigned)data);
		return;
	}
	op->inflight--;
	if (op->wait_mode == VOS_OP_WAIT_MANY && op->inflight) {
		/* One is enough: the rest is taken back, and the last of them brings the answer. */
		if (op->stage == 0)
			uring_cancel(p, op);
		op->stage = 1;
		return;
	}
	/* A limit that ran out cancels what it was linked to. */
	if (res == -ECANCELED && op->timed && !op->cancelled)
		res = -ETIME;
	/* A ring worker that was stopped inside the call. */
	if ((res == -EINTR || res == -ECANCELED) && op->cancelled)
		res = -ECANCELED;
	uring(p)->answers++;
	vos_serve_resume(p, op, res);
}

static int uring_turn(struct vos_proxy *p, bool sleep)
{
	struct uring *u = uring(p);
	struct io_uring_cqe *c;
	unsigned head, n;
	int r = 0;

	if (sleep)
		r = io_uring_submit_and_wait(&u->ring, 1);
	else if (io_uring_sq_ready(&u->ring) || (IO_URING_READ_ONCE(*u->ring.sq.kflags) &
						  (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
		r = io_uring_submit_and_get_events(&u->ring);
	if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY && r != -ETIME)
		vos_proxy_end(p, 1, "io_uring_enter: %s", strerror(-r));
	u->answers = 0;
	do {
		n = 0;
		io_uring_for_each_cqe(&u->ring, head, c) {
			/* Copied and given back first: an answer may ask again, and the queue must not fill meanwhile. */
			uint64_t data = c->user_data;
			int res = c->res;
			uint32_t flags = c->flags;

			io_uring_cq_advance(&u->ring, 1);
			answer(p, data, res, flags);
			n++;
			break;
		}
	} while (n);
	return u->answers;
}

const struct vos_engine_ops vos_engine_uring = {
	.name = "io_uring",
	.init = uring_init,
	.finish = uring_finish,
	.poll = uring_poll,
	.poll_many = uring_poll_many,
	.call = uring_call,
	.flush = uring_flush,
	.cancel = uring_cancel,
	.turn = uring_turn,
};
