/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table with the handlers of the files under test; a row of another room is weak, and missing. */
#define VOS_CALLS_TABLE
#include "interpose/runtime.h"
#undef VOS_CALLS_TABLE
#define VOS_SYSCALL(n, r, s, b, x, a, t, o) VOS_WEAK_##r(n)
#define VOS_WEAK_NATIVE(n)
#define VOS_WEAK_REMOTE(n)
#define VOS_WEAK_RUNTIME(n) long __attribute__((weak)) vos_call_##n(struct vos_frame *f);
#define VOS_WEAK_SPECIAL(n) VOS_WEAK_RUNTIME(n)
#include <virtuos/syscalls.def>
#undef VOS_SYSCALL
#include "interpose/dispatch/table.c"
