/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two rings of a lane.  One producer and one consumer each, wait-free; indices run freely over 32 bits.  Each side
 * keeps its own index privately: what it reads from the region is only ever the peer's index, and an index that no
 * honest peer could publish is -EPROTO.  (Ring discipline after Xen's io/ring.h and io_uring; layout is our own.)
 *
 * Whether an entry is there is told by the entry: its `lap` says how often the ring had come round when it was written
 * (as NVMe's phase tag does).  So a request and a completion cross between the cores as one line each; the published
 * tails are not read on the way of a call.
 */
#ifndef VOS_LANE_H
#define VOS_LANE_H

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "region.h"

/* One side's private view of a lane.  The four functions of a ring take the same view from one thread at a time. */
struct vos_lane_view {
	struct vos_lane *lane;
	unsigned char   *data;
	uint64_t         data_size;
	uint32_t         slots, shift; /* slots = 1 << shift */
	uint32_t         sq;   /* client: tail; server: head */
	uint32_t         cq;   /* client: head; server: tail */
	uint32_t         seen; /* the peer's head when it was last looked at: client sq_head, server cq_head */
};

static inline void vos_lane_view_init(struct vos_lane_view *v, void *base, const struct vos_region_geo *g, uint32_t i)
{
	v->lane = vos_region_lane(base, g, i);
	v->data = vos_region_data(base, g, i);
	v->data_size = g->data_stride;
	v->slots = g->slots;
	v->shift = 31u - (uint32_t)__builtin_clz(g->slots);
	v->sq = v->cq = v->seen = 0;
}

static inline struct vos_req *vos_lane_req(const struct vos_lane_view *v, uint32_t i)
{
	return (struct vos_req *)(void *)v->lane->rings + (i & (v->slots - 1));
}

static inline struct vos_cqe *vos_lane_cqe(const struct vos_lane_view *v, uint32_t i)
{
	return (struct vos_cqe *)(void *)(v->lane->rings + v->slots * sizeof(struct vos_req)) + (i & (v->slots - 1));
}

/* Of the entry with index i; fresh memory (0) is no lap's, and neighbouring laps differ in 16 bits. */
static inline uint16_t vos_lane_lap(const struct vos_lane_view *v, uint32_t i)
{
	return (uint16_t)((i >> v->shift) + 1);
}

/* Client.  0; -EAGAIN when the ring is full; -EPROTO when the server's head is absurd. */
static inline int vos_sq_push(struct vos_lane_view *v, const struct vos_req *req)
{
	struct vos_req *to = vos_lane_req(v, v->sq);

	if (__builtin_expect(v->sq - v->seen >= v->slots, 0)) {
		/* Acquire: pairs with the release of sq_head in vos_sq_pop(); the slot may be reused. */
		uint32_t head = atomic_load_explicit(&v->lane->sq_head, memory_order_acquire);

		if (v->sq - head > v->slots)
			return -EPROTO;
		v->seen = head;
		if (v->sq - head == v->slots)
			return -EAGAIN;
	}
	to->user = req->user;
	to->op = req->op;
	to->flags = req->flags;
	for (unsigned i = 0; i < 6; i++)
		to->arg[i] = req->arg[i];
	/* Release: pairs with the acquire in vos_sq_pop(): who sees the lap sees the request. */
	__atomic_store_n(&to->lap, vos_lane_lap(v, v->sq), __ATOMIC_RELEASE);
	/*
	 * Sequentially consistent: pairs with the fence between `asleep` and the last look in the server's sleep; without it the
	 * lap could pass the look at `asleep` that follows, and the server would sleep on a full ring.
	 */
	atomic_exchange_explicit(&v->lane->sq_tail, ++v->sq, memory_order_seq_cst);
	return 0;
}

/* Server.  1 and *ret_req filled; 0 when empty. */
static inline int vos_sq_pop(struct vos_lane_view *v, struct vos_req *ret_req)
{
	struct vos_req *from = vos_lane_req(v, v->sq);

	/* Acquire: pairs with the release of the lap in vos_sq_push(). */
	if (__atomic_load_n(&from->lap, __ATOMIC_ACQUIRE) != vos_lane_lap(v, v->sq))
		return 0;
	/* Copy, then validate the copy: the client can still rewrite the slot. */
	*ret_req = *(volatile struct vos_req *)from;
	/* Release: pairs with the acquire in vos_sq_push(); the slot is free. */
	atomic_store_explicit(&v->lane->sq_head, ++v->sq, memory_order_release);
	return 1;
}

/*
 * Server.  0, or -EPROTO: an honest client never has more requests under way than the ring has slots, so a full ring is
 * the client's fault.
 */
static inline int vos_cq_push(struct vos_lane_view *v, const struct vos_cqe *cqe)
{
	struct vos_cqe *to = vos_lane_cqe(v, v->cq);

	if (__builtin_expect(v->cq - v->seen >= v->slots, 0)) {
		/* Acquire: pairs with the release of cq_head in vos_cq_pop(). */
		v->seen = atomic_load_explicit(&v->lane->cq_head, memory_order_acquire);
		if (v->cq - v->seen >= v->slots)
			return -EPROTO;
	}
	to->user = cqe->user;
	to->res = cqe->res;
	to->flags = cqe->flags;
	to->aux = cqe->aux;
	to->aux2 = cqe->aux2;
	/* Release: pairs with the acquire in vos_cq_pop(). */
	__atomic_store_n(&to->lap, vos_lane_lap(v, v->cq), __ATOMIC_RELEASE);
	/* Sequentially consistent: pairs with the fence in the client's sleep, as in vos_sq_push(). */
	atomic_exchange_explicit(&v->lane->cq_tail, ++v->cq, memory_order_seq_cst);
	return 0;
}

/* Client: whether a completion is there; a look that costs a load. */
static inline bool vos_cq_peek(const struct vos_lane_view *v)
{
	return __atomic_load_n(&vos_lane_cqe(v, v->cq)->lap, __ATOMIC_ACQUIRE) == vos_lane_lap(v, v->cq);
}

/* Client.  1 and *ret_cqe filled; 0 when empty. */
static inline int vos_cq_pop(struct vos_lane_view *v, struct vos_cqe *ret_cqe)
{
	/* Acquire: pairs with the release of the lap in vos_cq_push(). */
	if (!vos_cq_peek(v))
		return 0;
	*ret_cqe = *(volatile struct vos_cqe *)vos_lane_cqe(v, v->cq);
	/* Release: pairs with the acquire in vos_cq_push(). */
	atomic_store_explicit(&v->lane->cq_head, ++v->cq, memory_order_release);
	return 1;
}

/*
 * Client, after vos_sq_push(): whether the server sleeps and this call took the duty to ring it.  The exchange in the push
 * stands between the tail and this look.
 */
static inline bool vos_server_take_sleep(struct vos_region_server *s)
{
	return atomic_load_explicit(&s->asleep, memory_order_seq_cst) != 0 &&
	       atomic_exchange_explicit(&s->asleep, 0, memory_order_seq_cst) != 0;
}

/* Server, after vos_cq_push() (or a client that takes its word back): the VOS_ASLEEP_* bits of the lane's sleepers that this call took the duty to wake. */
static inline uint32_t vos_lane_take_sleep(struct vos_lane *lane)
{
	if (!(atomic_load_explicit(&lane->asleep, memory_order_seq_cst) & VOS_ASLEEP_MASK))
		return VOS_AWAKE;
	return atomic_fetch_and_explicit(&lane->asleep, ~(uint32_t)VOS_ASLEEP_MASK, memory_order_seq_cst) & VOS_ASLEEP_MASK;
}

/*
 * Either side, before its last look and sleep.  The exchange is a full fence: it pairs with the exchange of the tail in the
 * other side's push.  Either the last look sees the push, or the pusher sees this word.
 */
static inline void vos_server_publish_sleep(struct vos_region_server *s)
{
	atomic_exchange_explicit(&s->asleep, 1, memory_order_seq_cst);
}

/* What to hand to sleep_lane(): a word that is there no more when anybody has woken, or published, since. */
static inline uint32_t vos_lane_publish_sleep(struct vos_lane *lane, uint32_t mode)
{
	uint32_t old = atomic_load_explicit(&lane->asleep, memory_order_relaxed), word;

	do
		word = ((old | VOS_ASLEEP_MASK) + 1) | (old & VOS_ASLEEP_MASK) | mode;
	while (!atomic_compare_exchange_weak_explicit(&lane->asleep, &old, word, memory_order_seq_cst, memory_order_relaxed));
	return word;
}

/* Server: whether any request waits; used for the last look before sleep. */
static inline int vos_sq_ready(const struct vos_lane_view *v)
{
	return __atomic_load_n(&vos_lane_req(v, v->sq)->lap, __ATOMIC_SEQ_CST) == vos_lane_lap(v, v->sq);
}

/* Client: whether any completion waits. */
static inline int vos_cq_ready(const struct vos_lane_view *v)
{
	return __atomic_load_n(&vos_lane_cqe(v, v->cq)->lap, __ATOMIC_SEQ_CST) == vos_lane_lap(v, v->cq);
}

#endif
