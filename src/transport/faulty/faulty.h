/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transport of tests: `local`, with faults.  Both ends may live in one process, so sanitizers see both.  Found by the name
 * "faulty" in programs built with VOS_TEST_FAULTY; never part of the product.
 */
#ifndef VOS_FAULTY_H
#define VOS_FAULTY_H

#include <stdatomic.h>
#include <virtuos/transport.h>

/* What goes wrong; all zero: nothing.  "One in n" counts calls; 0 is never. */
struct vos_faults {
	_Atomic uint32_t dead;          /* peer_dead() says yes */
	_Atomic uint32_t blind;         /* peer_dead() says no, whatever is true */
	_Atomic uint32_t delay_us;      /* before each wake and ring */
	_Atomic uint32_t duplicates;    /* so many wakes and rings more each time */
	_Atomic uint32_t stray;         /* one in n sleeps ends at once without a reason */
	_Atomic uint32_t interrupted;   /* one in n sleeps ends with -EINTR */
	_Atomic uint32_t mute;          /* one in n rings of the server is lost */
	_Atomic uint32_t attach_error;  /* attach() fails with this errno */
	_Atomic uint64_t sleeps, wakes, rings;
};
extern struct vos_faults vos_faults;

extern const struct vos_transport_ops vos_transport_faulty;

/* What a peer that has gone mad may leave in the region. */
enum vos_damage {
	VOS_DAMAGE_TAILS, VOS_DAMAGE_HEADS, VOS_DAMAGE_LAPS, VOS_DAMAGE_ASLEEP, VOS_DAMAGE_STATE, VOS_DAMAGE_ALL, VOS_DAMAGE_END
};
/* Scribbles over that part of every lane; `seed` chooses the values. */
void vos_faulty_damage(struct vos_transport *t, enum vos_damage what, unsigned seed);

#endif
