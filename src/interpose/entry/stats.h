/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VOS_STATS_H
#define VOS_STATS_H

#include "../runtime.h"

/* A site that was not patched came through SIGSYS. */
void vos_stats_fallback_hit(void);
/* VIRTUOS_STATS; NULL: no statistics. */
void vos_stats_init(const char *path);
bool vos_stats_on(void);
/* Whether the kernel is to hand us this signal though the program leaves it its default action. */
bool vos_stats_catches(int sig);
/* Adds what happened since the last time.  No-op without a file. */
void vos_stats_flush(void);
void vos_stats_fork_child(void);

#endif
