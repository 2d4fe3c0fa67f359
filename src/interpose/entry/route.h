/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What vos_entry does with a number before any C runs (values in frame.h).  Filled from the table at bring-up; the dispatcher may
 * open more fast paths when the policy has nothing to say about a call.
 */
#ifndef VOS_ROUTE_H
#define VOS_ROUTE_H

#include "../runtime.h"
#include "frame.h"

extern uint8_t vos_route[65536];

/* By the table; `text` as VIRTUOS_ROUTE, or NULL. */
void vos_route_init(const char *text);
/* Bring-up only.  No-op for a call that VIRTUOS_ROUTE names. */
void vos_route_set(unsigned nr, uint8_t go);

#endif
