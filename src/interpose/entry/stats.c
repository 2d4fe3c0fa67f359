/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../rt/rt.h"
#include "carrier.h"
#include "stats.h"

static _Atomic uint64_t fallback_hits;

void vos_stats_fallback_hit(void)
{
	atomic_fetch_add_explicit(&fallback_hits, 1, memory_order_relaxed);
}

void vos_stats_init(const char *path)
{
	(void)path;
}

void vos_stats_flush(void)
{
}

void vos_stats_fork_child(void)
{
	atomic_store(&fallback_hits, 0);
}
