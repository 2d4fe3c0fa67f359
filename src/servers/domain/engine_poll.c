/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting without io_uring: one ppoll over all that is watched, and workers for the calls. */
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include "servers/domain/domain.h"

#define WATCHED 4u

struct waiter {
	struct vos_op *op;
	uint64_t deadline_ns; /* 0: none */
	uint32_t first, n;    /* in fds */
};

struct polled {
	struct pollfd *fds;   /* WATCHED of the proxy's own, then the waiters' */
	uint32_t nfds, fds_size;
	struct waiter *w;
	uint32_t nw, w_size;
	bool changed;         /* a waiter has its answer without a poll: do not sleep */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int poll_init(struct vos_proxy *p)
{
	struct polled *e = calloc(1, sizeof *e);

	if (!e)
		return -ENOMEM;
	e->fds_size = 64;
	e->w_size = 64;
	e->fds = calloc(e->fds_size, sizeof *e->fds);
	e->w = calloc(e->w_size, sizeof *e->w);
	if (!e->fds || !e->w) {
		free(e->fds);
		free(e->w);
		free(e);
		return -ENOMEM;
	}
	e->fds[0] = (struct pollfd){ .fd = p->t.doorbell_fd, .events = POLLIN };
	e->fds[1] = (struct pollfd){ .fd = p->t.control_fd, .events = POLLRDHUP };
	e->fds[2] = (struct pollfd){ .fd = p->channel, .events = POLLIN | POLLRDHUP };
	e->fds[3] = (struct pollfd){ .fd = vos_worker_fd(p), .events = POLLIN };
	e->nfds = WATCHED;
	p->engine_priv = e;
	return 0;
}

static void poll_finish(struct vos_proxy *p)
{
	struct polled *e = p->engine_priv;

	if (!e)
		return;
	p->engine_priv = NULL;
	free(e->fds);
	free(e->w);
	free(e);
}

static int add(struct polled *e, struct vos_op *op, const struct pollfd *fds, uint32_t n)
{
	while (e->nfds + n > e->fds_size) {
		struct pollfd *t = realloc(e->fds, 2 * e->fds_size * sizeof *t);

		if (!t)
			return -ENOMEM;
		e->fds = t;
		e->fds_size *= 2;
	}
	if (e->nw == e->w_size) {
		struct waiter *t = realloc(e->w, 2 * e->w_size * sizeof *t);

		if (!t)
			return -ENOMEM;
		e->w = t;
		e->w_size *= 2;
	}
	e->w[e->nw++] = (struct waiter){ op, op->timeout_ns ? now_ns() + op->timeout_ns : 0, e->nfds, n };
	memcpy(e->fds + e->nfds, fds, n * sizeof *fds);
	e->nfds += n;
	op->inflight++;
	return 0;
}

static int poll_one(struct vos_proxy *p, struct vos_op *op, int fd, uint32_t events)
{
	struct pollfd f = { .fd = fd, .events = (short)events };

	op->wait_mode = VOS_OP_WAIT_ONE;
	return add(p->engine_priv, op, &f, 1);
}

static int poll_many(struct vos_proxy *p, struct vos_op *op)
{
	op->wait_mode = VOS_OP_WAIT_MANY;
	return add(p->engine_priv, op, op->pfd, op->npfd);
}

static int poll_call(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6])
{
	/* SO_RCVTIMEO and its sister end a blocking call in the kernel itself. */
	return vos_worker_call(p, op, nr, a);
}

static void poll_flush(struct vos_proxy *p)
{
	(void)p;
}

static void poll_cancel(struct vos_proxy *p, struct vos_op *op)
{
	struct polled *e = p->engine_priv;

	(void)op;
	e->changed = true;
}

static void take_out(struct polled *e, uint32_t i)
{
	struct waiter w = e->w[i];

	memmove(e->fds + w.first, e->fds + w.first + w.n, (e->nfds - w.first - w.n) * sizeof *e->fds);
	e->nfds -= w.n;
	e->w[i] = e->w[--e->nw];
	for (uint32_t k = 0; k < e->nw; k++)
		if (e->w[k].first > w.first)
			e->w[k].first -= w.n;
}

/* Whether waiter i has its answer: 1 and *ret_res. */
static int has_answer(struct polled *e, uint32_t i, uint64_t now, long *ret_res)
{
	struct waiter *w = &e->w[i];

	for (uint32_t k = 0; k < w->n; k++) {
		if (e->fds[w->first + k].revents) {
			*ret_res = (uint16_t)e->fds[w->first + k].revents;
			return 1;
		}
	}
	if (w->op->cancelled || w->op->enough)
		*ret_res = -ECANCELED;
	else if (w->deadline_ns && now >= w->deadline_ns)
		*ret_res = -ETIME;
	else
		return 0;
	return 1;
}

static int poll_turn(struct vos_proxy *p, bool sleep)
{
	struct polled *e = p->engine_priv;
	struct timespec ts = { 0, 0 }, *limit = &ts;
	uint64_t now = now_ns(), soonest = 0;
	int answers = 0;
	long r;

	/* A waiter whose number was closed goes on with a duplicate: see vos_rfd_close(). */
	for (uint32_t i = 0; i < e->nw; i++)
		if (e->w[i].op->wait_mode == VOS_OP_WAIT_ONE)
			e->fds[e->w[i].first].fd = e->w[i].op->fd;
	for (uint32_t i = 0; i < e->nw; i++)
		if (e->w[i].deadline_ns && (!soonest || e->w[i].deadline_ns < soonest))
			soonest = e->w[i].deadline_ns;
	if (sleep && !e->changed) {
		limit = NULL;
		if (soonest) {
			uint64_t ns = soonest > now ? soonest - now : 0;

			ts = (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
			limit = &ts;
		}
	}
	e->changed = false;
	r = vos_raw6(__NR_ppoll, VOS_PTR(e->fds), e->nfds, VOS_PTR(limit), 0, 8, 0);
	if (r < 0)
		for (uint32_t i = 0; i < e->nfds; i++)
			e->fds[i].revents = 0;
	if (e->fds[0].revents)
		p->t.ops->drain(&p->t, p->t.doorbell_fd);
	if (e->fds[1].revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL))
		vos_proxy_end(p, 0, NULL);
	if (e->fds[2].revents)
		p->channel_ready = true;
	now = now_ns();
	for (uint32_t i = 0; i < e->nw;) {
		struct vos_op *op = e->w[i].op;
		long res;

		if (!has_answer(e, i, now, &res)) {
			i++;
			continue;
		}
		take_out(e, i);
		op->inflight--;
		answers++;
		/* May add waiters: they lie at the end, with no event yet. */
		vos_serve_resume(p, op, res);
	}
	if (e->fds[3].revents)
		answers += vos_worker_reap(p);
	return answers;
}

const struct vos_engine_ops vos_engine_poll = {
	.name = "poll",
	.init = poll_init,
	.finish = poll_finish,
	.poll = poll_one,
	.poll_many = poll_many,
	.call = poll_call,
	.flush = poll_flush,
	.cancel = poll_cancel,
	.turn = poll_turn,
};
