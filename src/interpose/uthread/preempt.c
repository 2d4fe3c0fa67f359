/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs that spin.  A timer of the carrier's own processor time sends it SIGSYS.  Found in the program's code, the uthread
 * yields right there, in the handler: the kernel's signal frame holds all its registers.  Found anywhere else, it yields when
 * its call is done.
 */
#include <time.h>
#include "impl.h"
#include "../entry/sigsys.h"

#define TICK_NS 10000000

_Atomic uint32_t vos_ut_resched;

/* struct sigevent as the kernel has it. */
struct event { uint64_t value; int32_t signo, notify, tid, pad[11]; };
_Static_assert(sizeof(struct event) == 64, "kernel ABI");

void vos_ut_preempt_start(void)
{
	struct event e = { .signo = SIGSYS, .notify = 4 /* SIGEV_THREAD_ID */, .tid = (int32_t)vos_ut.c->ktid };
	struct timespec every[2] = { { 0, TICK_NS }, { 0, TICK_NS } };
	siginfo_t info;
	int id;

	/* One tick at once: from its frame signal.c learns what frames look like on this machine. */
	memset(&info, 0, sizeof info);
	info.si_signo = SIGSYS;
	info.si_code = VOS_SI_TICK;
	vos_raw4(SYS_rt_tgsigqueueinfo, vos_ut.c->pid, vos_ut.c->ktid, SIGSYS, VOS_PTR(&info));
	if (vos_raw3(__NR_timer_create, CLOCK_THREAD_CPUTIME_ID, VOS_PTR(&e), VOS_PTR(&id)) < 0)
		return;
	vos_raw4(__NR_timer_settime, id, 0, VOS_PTR(every), 0);
}

void vos_ut_preempt_reset(void)
{
	vos_ut_preempt_start();
}

void vos_ut_tick(bool program, uint64_t uc_mask)
{
	struct vos_uthread *u;

	if (!vos_ut.started || vos_self() != vos_ut.c)
		return;
	u = vos_ut_self();
	if (!program || u->thread->sig->queued) {
		atomic_store_explicit(&vos_ut_resched, 1, memory_order_relaxed);
		return;
	}
	u->in_tick = true;
	u->kmask = uc_mask & ~VOS_SIG_OURS;
	vos_ut.masks_changed = true;
	vos_ut.kmask = ~VOS_SIG_OURS;
	vos_ut_look_for_signals();
	vos_ut_yield();
	/* On the way out of this handler what waits is let in by the mask of its context. */
	if (atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed) && !u->thread->sig->queued) {
		vos_ut_release(u->thread);
		atomic_store_explicit(&u->thread->sig_pending, 0, memory_order_relaxed);
	}
	u->in_tick = false;
	vos_ut.kmask = u->kmask;
}
