/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transport/faulty/faulty.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct vos_faults vos_faults;

static bool one_in(_Atomic uint32_t *n, _Atomic uint64_t *count)
{
	uint64_t k = atomic_fetch_add(count, 1) + 1;
	uint32_t every = atomic_load(n);

	return every && k % every == 0;
}

static void delay(void)
{
	uint32_t us = atomic_load(&vos_faults.delay_us);

	if (us)
		usleep(us);
}

static int faulty_attach(struct vos_transport *t, bool client)
{
	int error = (int)atomic_load(&vos_faults.attach_error);

	return error ? -error : vos_transport_local.attach(t, client);
}

static void faulty_detach(struct vos_transport *t)
{
	vos_transport_local.detach(t);
}

static void faulty_ring_server(struct vos_transport *t)
{
	if (one_in(&vos_faults.mute, &vos_faults.rings))
		return;
	delay();
	for (uint32_t i = 0; i <= atomic_load(&vos_faults.duplicates); i++)
		vos_transport_local.ring_server(t);
}

static void faulty_wake_lane(struct vos_transport *t, struct vos_lane *lane, uint32_t mode)
{
	atomic_fetch_add(&vos_faults.wakes, 1);
	delay();
	for (uint32_t i = 0; i <= atomic_load(&vos_faults.duplicates); i++)
		vos_transport_local.wake_lane(t, lane, mode);
}

static int faulty_sleep_lane(struct vos_transport *t, struct vos_lane *lane, uint32_t word, uint64_t ns)
{
	static _Atomic uint64_t strays, interrupts;

	atomic_fetch_add(&vos_faults.sleeps, 1);
	if (one_in(&vos_faults.stray, &strays))
		return 0;
	if (one_in(&vos_faults.interrupted, &interrupts))
		return -EINTR;
	return vos_transport_local.sleep_lane(t, lane, word, ns);
}

static void faulty_drain(struct vos_transport *t, int fd)
{
	vos_transport_local.drain(t, fd);
}

static bool faulty_peer_dead(struct vos_transport *t)
{
	if (atomic_load(&vos_faults.dead))
		return true;
	return !atomic_load(&vos_faults.blind) && vos_transport_local.peer_dead(t);
}

static int faulty_give_file(struct vos_transport *t, uint64_t tag, int fd)
{
	return vos_transport_local.give_file(t, tag, fd);
}

static int faulty_take_file(struct vos_transport *t, uint64_t *ret_tag)
{
	delay();
	return vos_transport_local.take_file(t, ret_tag);
}

const struct vos_transport_ops vos_transport_faulty = {
	.name = "faulty",
	.attach = faulty_attach,
	.detach = faulty_detach,
	.ring_server = faulty_ring_server,
	.wake_lane = faulty_wake_lane,
	.sleep_lane = faulty_sleep_lane,
	.drain = faulty_drain,
	.peer_dead = faulty_peer_dead,
	.give_file = faulty_give_file,
	.take_file = faulty_take_file,
};

/* A mad peer keeps to no rules of memory order either. */
__attribute__((no_sanitize("thread")))
void vos_faulty_damage(struct vos_transport *t, enum vos_damage what, unsigned seed)
{
	struct vos_region_server *s = vos_region_server(t->base);
	uint32_t words = (uint32_t)(t->geo.slots * (sizeof(struct vos_req) + sizeof(struct vos_cqe)) / 4);

	for (uint32_t i = 0; i < t->geo.lanes; i++) {
		struct vos_lane *l = vos_region_lane(t->base, &t->geo, i);
		uint32_t *word = (uint32_t *)(void *)l->rings;

		if (what == VOS_DAMAGE_TAILS || what == VOS_DAMAGE_ALL) {
			atomic_store(&l->sq_tail, (uint32_t)rand_r(&seed) << 1);
			atomic_store(&l->cq_tail, (uint32_t)rand_r(&seed) << 1);
		}
		if (what == VOS_DAMAGE_HEADS || what == VOS_DAMAGE_ALL) {
			atomic_store(&l->sq_head, (uint32_t)rand_r(&seed) << 1);
			atomic_store(&l->cq_head, (uint32_t)rand_r(&seed) << 1);
		}
		/* Entries that nobody wrote, of a lap that may be the present one. */
		for (uint32_t k = 0; (what == VOS_DAMAGE_LAPS || what == VOS_DAMAGE_ALL) && k < words; k++)
			__atomic_store_n(&word[k], rand_r(&seed) % 4 ? 0x10001u : (uint32_t)rand_r(&seed), __ATOMIC_RELAXED);
		if (what == VOS_DAMAGE_ASLEEP || what == VOS_DAMAGE_ALL)
			atomic_store(&l->asleep, (uint32_t)rand_r(&seed));
	}
	if (what == VOS_DAMAGE_ASLEEP || what == VOS_DAMAGE_ALL)
		atomic_store(&s->asleep, (uint32_t)rand_r(&seed));
	if (what == VOS_DAMAGE_STATE || what == VOS_DAMAGE_ALL)
		atomic_store(&s->state, (uint32_t)rand_r(&seed) % 4);
}
