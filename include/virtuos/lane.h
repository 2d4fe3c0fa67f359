/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two rings of a lane.  One producer and one consumer each, wait-free; indices run freely over 32 bits.  Each side
 * keeps its own index privately: what it reads from the region is only ever the peer's index, and an index that no
 * honest peer could publish is -EPROTO.  (Ring discipline after Xen's io/ring.h and io_uring; layout is our own.)
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
	uint32_t         slots;
	uint32_t         sq; /* client: tail; server: head */
	uint32_t         cq; /* client: head; server: tail */
};

static inline void vos_lane_view_init(struct vos_lane_view *v, void *base, const struct vos_region_geo *g, uint32_t i)
{
	v->lane = vos_region_lane(base, g, i);
	v->data = vos_region_data(base, g, i);
	v->data_size = g->data_stride;
	v->slots = g->slots;
	v->sq = v->cq = 0;
}

static inline struct vos_req *vos_lane_req(const struct vos_lane_view *v, uint32_t i)
{
	return (struct vos_req *)(void *)v->lane->rings + (i & (v->slots - 1));
}

static inline struct vos_cqe *vos_lane_cqe(const struct vos_lane_view *v, uint32_t i)
{
	return (struct vos_cqe *)(void *)(v->lane->rings + v->slots * sizeof(struct vos_req)) + (i & (v->slots - 1));
}

/* Client.  0; -EAGAIN when the ring is full; -EPROTO when the server's head is absurd. */
static inline int vos_sq_push(struct vos_lane_view *v, const struct vos_req *req)
{
	/* Acquire: pairs with the release of sq_head in vos_sq_pop(); the slot may be reused. */
	uint32_t used = v->sq - atomic_load_explicit(&v->lane->sq_head, memory_order_acquire);

	if (__builtin_expect(used >= v->slots, 0))
		return used == v->slots ? -EAGAIN : -EPROTO;
	*vos_lane_req(v, v->sq) = *req;
	/*
	 * Sequentially consistent: pairs with the fence between `asleep` and the last look in the server's sleep; without
	 * it the tail could pass the look at `asleep` that follows, and the server would sleep on a full ring.
	 */
	atomic_exchange_explicit(&v->lane->sq_tail, ++v->sq, memory_order_seq_cst);
	return 0;
}

/* Server.  1 and *ret_req filled; 0 when empty; -EPROTO when the client's tail is absurd. */
static inline int vos_sq_pop(struct vos_lane_view *v, struct vos_req *ret_req)
{
	/* Acquire: pairs with the exchange of sq_tail in vos_sq_push(). */
	uint32_t ready = atomic_load_explicit(&v->lane->sq_tail, memory_order_acquire) - v->sq;

	if (ready == 0)
		return 0;
	if (ready > v->slots)
		return -EPROTO;
	/* Copy, then validate the copy: the client can still rewrite the slot. */
	*ret_req = *(volatile struct vos_req *)vos_lane_req(v, v->sq);
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
	/* Acquire: pairs with the release of cq_head in vos_cq_pop(). */
	uint32_t used = v->cq - atomic_load_explicit(&v->lane->cq_head, memory_order_acquire);

	if (used >= v->slots)
		return -EPROTO;
	*vos_lane_cqe(v, v->cq) = *cqe;
	/* Sequentially consistent: pairs with the fence in the client's sleep, as in vos_sq_push(). */
	atomic_exchange_explicit(&v->lane->cq_tail, ++v->cq, memory_order_seq_cst);
	return 0;
}

/* Client.  1 and *ret_cqe filled; 0 when empty; -EPROTO when the server's tail is absurd. */
static inline int vos_cq_pop(struct vos_lane_view *v, struct vos_cqe *ret_cqe)
{
	/* Acquire: pairs with the exchange of cq_tail in vos_cq_push(). */
	uint32_t ready = atomic_load_explicit(&v->lane->cq_tail, memory_order_acquire) - v->cq;

	if (ready == 0)
		return 0;
	if (ready > v->slots)
		return -EPROTO;
	*ret_cqe = *(volatile struct vos_cqe *)vos_lane_cqe(v, v->cq);
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

/* Server, after vos_cq_push(): the VOS_ASLEEP_* bits of the lane's sleepers that this call took the duty to wake. */
static inline uint32_t vos_lane_take_sleep(struct vos_lane *lane)
{
	if (atomic_load_explicit(&lane->asleep, memory_order_seq_cst) == VOS_AWAKE)
		return VOS_AWAKE;
	return atomic_exchange_explicit(&lane->asleep, VOS_AWAKE, memory_order_seq_cst);
}

/*
 * Either side, before its last look and sleep.  The exchange is a full fence: it pairs with the exchange of the tail in the
 * other side's push.  Either the last look sees the push, or the pusher sees this word.
 */
static inline void vos_server_publish_sleep(struct vos_region_server *s)
{
	atomic_exchange_explicit(&s->asleep, 1, memory_order_seq_cst);
}

static inline void vos_lane_publish_sleep(struct vos_lane *lane, uint32_t mode)
{
	atomic_fetch_or_explicit(&lane->asleep, mode, memory_order_seq_cst);
}

/* Server: whether any request waits; used for the last look before sleep. */
static inline int vos_sq_ready(const struct vos_lane_view *v)
{
	return atomic_load_explicit(&v->lane->sq_tail, memory_order_seq_cst) != v->sq;
}

/* Client: whether any completion waits. */
static inline int vos_cq_ready(const struct vos_lane_view *v)
{
	return atomic_load_explicit(&v->lane->cq_tail, memory_order_seq_cst) != v->cq;
}

#endif
