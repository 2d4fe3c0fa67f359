/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What vos_entry does with a number before any C runs (values in frame.h).  Filled from the table at bring-up; the dispatcher may
 * open more fast paths when the policy has nothing to say about a call.
 */
#ifndef VOS_GO_H
#define VOS_GO_H

#include "../runtime.h"
#include "frame.h"

extern uint8_t vos_go[65536];

/* By vos_route[] (dispatch/table.h). */
void vos_go_init(void);
/* The policy names no domain: what asks only where an object lies goes straight to the kernel. */
void vos_go_without_domains(void);
/* And where paths are routed. */
void vos_go_with_paths(void);

#endif
