/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a lane's request to its completion. */
#include <stdlib.h>
#include <unistd.h>
#include "servers/domain/domain.h"

/* One lane may not keep the others waiting. */
#define BUDGET 64u

int vos_serve_init(struct vos_proxy *p)
{
	p->lane = calloc(p->t.geo.lanes, sizeof *p->lane);
	if (!p->lane)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->t.geo.lanes; i++)
		vos_lane_view_init(&p->lane[i].view, p->t.base, &p->t.geo, i);
	p->lanes = 0;
	return 0;
}

void vos_serve_finish(struct vos_proxy *p)
{
	free(p->lane);
	p->lane = NULL;
	p->lanes = 0;
}

static struct vos_op *op_new(struct vos_proxy *p)
{
	struct vos_op *op = p->free_ops;

	if (op) {
		p->free_ops = op->next;
	} else {
		op = malloc(sizeof *op);
		if (!op)
			vos_proxy_end(p, 1, "out of memory");
	}
	/* Not the large arrays: they are filled before they are read. */
	memset(op, 0, offsetof(struct vos_op, in));
	op->ios_out[0] = op->ios_out[1] = NULL;
	op->mem = NULL;
	op->stage = 0;
	op->pfd = NULL;
	op->deadline_ns = 0;
	op->false_wakes = 0;
	op->worker = NULL;
	op->fd = op->tmp_fd = -1;
	return op;
}

static void op_free(struct vos_proxy *p, struct vos_op *op)
{
	if (op->fd_held || op->fd_private)
		vos_rfd_release(p, op);
	if (op->tmp_fd >= 0)
		vos_raw1(__NR_close, op->tmp_fd);
	if (op->mem)
		free(op->mem);
	op->next = p->free_ops;
	p->free_ops = op;
}

static void list_op(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_lane_state *l = &p->lane[op->lane];

	op->prev = NULL;
	op->next = l->ops;
	if (l->ops)
		l->ops->prev = op;
	l->ops = op;
	op->listed = true;
	/* More waiting than the ring has slots: no honest client does that, and memory must be bounded. */
	if (++l->nops > l->view.slots)
		vos_proxy_end(p, 1, "lane %u: more requests under way than slots", op->lane);
}

static void unlist_op(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_lane_state *l = &p->lane[op->lane];

	if (op->prev)
		op->prev->next = op->next;
	else
		l->ops = op->next;
	if (op->next)
		op->next->prev = op->prev;
	op->listed = false;
	l->nops--;
}

static void complete(struct vos_proxy *p, struct vos_op *op, long res)
{
	struct vos_lane_view *v = &p->lane[op->lane].view;
	struct vos_cqe cqe = { .user = op->user, .res = res, .flags = op->cqe_flags, .aux = op->aux, .aux2 = op->aux2 };
	uint32_t mode;

	if (!vos_is_err(res) && (op->lenp_out || op->ios_out[0]))
		vos_validate_out(op);
	if (vos_cq_push(v, &cqe))
		vos_proxy_end(p, 1, "lane %u: its completion ring overflowed", op->lane);
	mode = vos_lane_take_sleep(v->lane);
	if (mode)
		p->t.ops->wake_lane(&p->t, v->lane, mode);
	if (op->listed)
		unlist_op(p, op);
	op_free(p, op);
}

static void cancel_op(struct vos_proxy *p, struct vos_op *op)
{
	op->cancelled = true;
	if (op->on_worker)
		vos_worker_cancel(p, op);
	/* The broker answers soon, whatever it was asked. */
	if (op->wait_mode != VOS_OP_WAIT_WORKER && op->wait_mode != VOS_OP_WAIT_BROKER)
		p->engine->cancel(p, op);
}

static void serve(struct vos_proxy *p, uint32_t lane, const struct vos_req *req)
{
	struct vos_op *op = op_new(p);
	long res;

	op->user = req->user;
	op->lane = lane;
	op->nr = req->op;
	op->req_flags = req->flags;
	if (req->op >= VOS_OP_NULL)
		res = vos_exec_own(p, op, req);
	else {
		res = vos_validate(p, op, req);
		if (!res)
			res = vos_exec(p, op);
	}
	if (res != VOS_PENDING) {
		complete(p, op, res);
		return;
	}
	list_op(p, op);
	/* The engine has no way to ask without waiting for some calls; they are ended at once, and answer as asked. */
	if (op->req_flags & VOS_REQ_NOWAIT)
		cancel_op(p, op);
}

void vos_serve_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	res = op->resume(p, op, res);
	if (res == VOS_PENDING)
		return;
	if (res == -ECANCELED && (op->req_flags & VOS_REQ_NOWAIT))
		res = -EAGAIN;
	complete(p, op, res);
}

long vos_serve_cancel(struct vos_proxy *p, uint32_t lane, uint64_t user)
{
	long r = -ENOENT;

	/* Answers never come from inside an asker, so the list stands still. */
	for (struct vos_op *op = p->lane[lane].ops; op; op = op->next) {
		if ((op->user != user && user != VOS_NULL) || op->cancelled)
			continue;
		cancel_op(p, op);
		r = 0;
		if (user != VOS_NULL)
			break;
	}
	return r;
}

static void look_at_lanes(struct vos_proxy *p)
{
	struct vos_region_client *c = vos_region_client(p->t.base);
	/* Acquire: a lane that is in use has its indices written. */
	uint32_t n = atomic_load_explicit(&c->lanes_used, memory_order_acquire);

	if (n > p->t.geo.lanes)
		vos_proxy_end(p, 1, "lanes_used is %u of %u", n, p->t.geo.lanes);
	/* Lanes do not go away: what waits on them still completes. */
	if (n > p->lanes)
		p->lanes = n;
	if (atomic_load_explicit(&c->leaving, memory_order_relaxed))
		vos_proxy_end(p, 0, NULL);
}

uint32_t vos_serve_turn(struct vos_proxy *p)
{
	uint32_t served = 0;

	look_at_lanes(p);
	for (uint32_t i = 0; i < p->lanes; i++) {
		struct vos_lane_view *v = &p->lane[i].view;
		struct vos_req req;

		for (uint32_t n = 0; n < BUDGET; n++) {
			int r = vos_sq_pop(v, &req);

			if (r == 0)
				break;
			if (r < 0)
				vos_proxy_end(p, 1, "lane %u: absurd tail", i);
			serve(p, i, &req);
			served++;
		}
	}
	return served;
}

bool vos_serve_ready(struct vos_proxy *p)
{
	look_at_lanes(p);
	for (uint32_t i = 0; i < p->lanes; i++)
		if (vos_sq_ready(&p->lane[i].view))
			return true;
	return false;
}

/* Descriptors that only the dropped requests knew are closed by vos_rfd_sweep(). */
void vos_serve_forget(struct vos_proxy *p)
{
	for (uint32_t i = 0; i < p->t.geo.lanes; i++) {
		struct vos_op *op, *next;

		for (op = p->lane[i].ops; op; op = next) {
			next = op->next;
			op->fd_private = false;
			op->tmp_fd = -1;
			op_free(p, op);
		}
	}
	p->broker_ops = p->broker_last = p->broker_unasked = NULL;
	p->broker_asked = 0;
}
