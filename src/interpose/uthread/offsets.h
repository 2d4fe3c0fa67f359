/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offsets in struct vos_uthread that switch.S uses; sched.c asserts them.  MUST NOT CHANGE alone. */
#ifndef VOS_UT_OFFSETS_H
#define VOS_UT_OFFSETS_H

#define UT_RSP   0
#define UT_FS    8
#define UT_XSAVE 16
#define UT_VSTATE 24

#endif
