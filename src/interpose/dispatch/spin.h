/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime's short lock.  Held for a few instructions or one native call, never across a remote call.  No handler of the
 * program runs in the runtime, so a holder cannot be interrupted by a taker on its own thread.
 */
#ifndef VOS_SPIN_H
#define VOS_SPIN_H

#include <stdatomic.h>
#include <stdint.h>
#include <virtuos/raw.h>
#include "../rt/rt.h"

static inline void vos_spin_lock(_Atomic uint32_t *l)
{
	for (unsigned n = 0; atomic_exchange_explicit(l, 1, memory_order_acquire); n++)
		while (atomic_load_explicit(l, memory_order_relaxed)) {
			__builtin_ia32_pause();
			/* With one core, or a holder that lost its slice, spinning only delays it. */
			if (++n > 200 && (!vos_lock_wait || !vos_lock_wait()))
				vos_raw0(__NR_sched_yield);
		}
}

static inline void vos_spin_unlock(_Atomic uint32_t *l)
{
	atomic_store_explicit(l, 0, memory_order_release);
}

#endif
