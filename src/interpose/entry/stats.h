/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VOS_STATS_H
#define VOS_STATS_H

#include "../runtime.h"

/* A site that was not patched came through SIGSYS. */
void vos_stats_fallback_hit(void);
/* VIRTUOS_STATS: appends this process's line, once; no-op without a file. */
void vos_stats_init(const char *path);
void vos_stats_flush(void);
void vos_stats_fork_child(void);

#endif
