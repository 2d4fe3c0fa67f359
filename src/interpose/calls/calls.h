/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A handler for each RUNTIME and SPECIAL row of syscalls.def: vos_call_<name>().  A missing one fails to link. */
#ifndef VOS_CALLS_HANDLERS_H
#define VOS_CALLS_HANDLERS_H

#include "../runtime.h"

#define VOS_DECLARE_NATIVE(n)
#define VOS_DECLARE_REMOTE(n)
#define VOS_DECLARE_RUNTIME(n) long vos_call_##n(struct vos_frame *f);
#define VOS_DECLARE_SPECIAL(n) long vos_call_##n(struct vos_frame *f);
#define VOS_SYSCALL(n, r, s, b, x, a, t, o) VOS_DECLARE_##r(n)
#include <virtuos/syscalls.def>
#undef VOS_SYSCALL

#endif
