/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VOS_ENTER_H
#define VOS_ENTER_H

#include "../runtime.h"

/* Called by trampoline.S. */
void vos_enter(struct vos_frame *f);
void vos_thread_first(void);
void vos_thread_start(struct vos_frame *f, uint64_t rsp);

/* Threads that come to us unannounced belong to this process. */
void vos_thread_process(struct vos_proc *p);
/* A signal found a thread in vos_entry_first: masked until it has a carrier.  `locked`: it holds the place. */
void vos_thread_first_signal(uint64_t *mask, bool locked);
/* A signal found a thread that has not made any call yet. */
void vos_thread_adopt_in_signal(void);

#endif
