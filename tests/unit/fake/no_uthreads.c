/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests whose threads are the kernel's (vos_thread.ut is NULL): what the linker wants of uthread/, never called. */
#include <stdlib.h>
#include "interpose/uthread/uthread.h"

bool vos_ut_on;

void vos_ut_send(struct vos_uthread *u, const siginfo_t *info) { (void)u, (void)info; abort(); }
void vos_ut_ready(struct vos_uthread *u) { (void)u; abort(); }
bool vos_ut_runnable(void) { abort(); }
long vos_ut_park(uint64_t deadline_ns, bool intr) { (void)deadline_ns, (void)intr; abort(); }
void vos_ut_sleep(uint64_t ns) { (void)ns; abort(); }
int vos_ut_job_start(struct vos_ut_job *j) { (void)j; abort(); }
void vos_ut_job_cancel(struct vos_ut_job *j) { (void)j; abort(); }
void vos_ut_looked(void) { abort(); }
void vos_ut_remote_waits(int n) { (void)n; abort(); }
bool vos_ut_many(void) { return false; }
void vos_ut_stay(void) { }
void vos_ut_stayed(void) { }
uint32_t vos_ut_lanes(struct vos_lane_client **ret, uint32_t max) { (void)ret, (void)max; abort(); }
