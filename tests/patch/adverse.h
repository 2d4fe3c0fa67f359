/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes wrong: policies, planners and caches. */
#ifndef TEST_ADVERSE_H
#define TEST_ADVERSE_H

#include "interpose/rewrite/apply.h"

long f_mov(long);
extern volatile unsigned long test_calls;

/* Runs each case in a child of its own; to be called before anything is patched.  How many failed. */
int run_adverse(const struct vos_rewrite_cfg *cfg);

#endif
