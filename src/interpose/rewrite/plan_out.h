/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the planner hands on: plan files for the runtime, text for people and tests. */
#ifndef VOS_REWRITE_PLAN_OUT_H
#define VOS_REWRITE_PLAN_OUT_H

#include <stdio.h>

#include "analyse.h"

/* Builds a plan file in memory; *ret is to be freed.  0, -ENOMEM, or -EOVERFLOW when there is too much of something. */
int vos_plan_build(const struct vos_analysis *a, const struct vos_plan_id *id, void **ret, size_t *ret_size);

void vos_plan_print(FILE *to, const struct vos_analysis *a, struct vos_disasm *d);

/* Writes [data,size) as dir/name so that readers see all of it or nothing.  0 or a negative errno. */
int vos_plan_store(const char *dir, const char *name, const void *data, size_t size);

/* Writes all of it to fd. */
int vos_plan_write(int fd, const void *data, size_t size);

/*
 * The cache directory: $VIRTUOS_CACHE, else /var/cache/virtuos for root, else $XDG_CACHE_HOME/virtuos, else
 * $HOME/.cache/virtuos; made if need be.  0; -ENOENT when there is none; -EPERM when it is not ours alone.
 */
int vos_plan_cache_dir(char *buf, size_t size);

/* Is it a directory of ours that nobody else can write to? */
int vos_plan_check_dir(const char *dir);

#endif
