/* SPDX-License-Identifier: GPL-2.0-or-later */
/* syscalls.def as this process follows it. */
#ifndef VOS_TABLE_H
#define VOS_TABLE_H

#include "../runtime.h"

/* Route of each number now: the table's, but for VIRTUOS_ROUTE.  Written at bring-up only. */
extern uint8_t vos_route[VOS_NR_END];
/* "mmap:remote" in VIRTUOS_ROUTE: files are mapped as from a domain that can hand none over. */
extern bool vos_mmap_remote;
/* The handlers of RUNTIME and SPECIAL rows; NULL elsewhere. */
extern vos_call_fn *const vos_handler[VOS_NR_END];

/*
 * Fills vos_route; `overrides` is VIRTUOS_ROUTE ("openat:native,read:native") or NULL.  0; -EINVAL with *ret_at at the place that
 * makes no sense: a call that is not in the table, or a route other than native (and mmap:remote).
 */
int vos_table_init(const char *overrides, const char **ret_at);

#define VOS_SYSCALL(n, r, s, b, x, a, t, o) VOS_DECLARE_##r(n)
#define VOS_DECLARE_NATIVE(n)
#define VOS_DECLARE_REMOTE(n)
#define VOS_DECLARE_RUNTIME(n) long vos_call_##n(struct vos_frame *f);
#define VOS_DECLARE_SPECIAL(n) long vos_call_##n(struct vos_frame *f);
#include <virtuos/syscalls.def>
#undef VOS_SYSCALL

#endif
