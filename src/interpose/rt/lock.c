/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drepper's three-state futex lock.  The futex is private: a vfork child shares its parent's memory, so its key too. */
#include <linux/futex.h>
#include <virtuos/raw.h>
#include "rt.h"

bool (*vos_lock_wait)(void);

void vos_lock(_Atomic uint32_t *l)
{
	uint32_t free_word = 0;

	if (atomic_compare_exchange_strong_explicit(l, &free_word, 1, memory_order_acquire, memory_order_relaxed))
		return;
	for (int spin = 0; spin < 100; spin++) {
		free_word = 0;
		if (atomic_load_explicit(l, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong_explicit(l, &free_word, 1, memory_order_acquire, memory_order_relaxed))
			return;
		__asm__ volatile("pause");
	}
	/* Acquire: pairs with the release in vos_unlock(). */
	while (atomic_exchange_explicit(l, 2, memory_order_acquire) != 0)
		if (!vos_lock_wait || !vos_lock_wait())
			vos_raw4(SYS_futex, VOS_PTR(l), FUTEX_WAIT_PRIVATE, 2, 0);
}

void vos_unlock(_Atomic uint32_t *l)
{
	/* Release: pairs with the acquire in vos_lock(). */
	if (atomic_exchange_explicit(l, 0, memory_order_release) == 2)
		vos_raw3(SYS_futex, VOS_PTR(l), FUTEX_WAKE_PRIVATE, 1);
}
