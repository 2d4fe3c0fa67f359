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

/* struct sigevent as the kernel has it. */
struct event { uint64_t value; int32_t signo, notify, tid, pad[11]; };
_Static_assert(sizeof(struct event) == 64, "kernel ABI");

void vos_ut_prod(struct vos_ut_carrier *m)
{
	siginfo_t info;

	memset(&info, 0, sizeof info);
	info.si_signo = SIGSYS;
	info.si_code = VOS_SI_TICK;
	if (m->c->ktid)
		vos_raw4(SYS_rt_tgsigqueueinfo, vos_self()->pid, m->c->ktid, SIGSYS, VOS_PTR(&info));
}

/* On m. */
void vos_ut_preempt_start(struct vos_ut_carrier *m)
{
	struct event e = { .signo = SIGSYS, .notify = 4 /* SIGEV_THREAD_ID */, .tid = (int32_t)m->c->ktid };
	struct timespec every[2] = { { 0, TICK_NS }, { 0, TICK_NS } };

	/* One tick at once: from its frame signal.c learns what frames look like on this machine. */
	if (m == vos_ut.home)
		vos_ut_prod(m);
	if (vos_raw3(__NR_timer_create, CLOCK_THREAD_CPUTIME_ID, VOS_PTR(&e), VOS_PTR(&m->timer)) < 0) {
		m->timer = -1;
		return;
	}
	vos_raw4(__NR_timer_settime, m->timer, 0, VOS_PTR(every), 0);
}

void vos_ut_preempt_stop(struct vos_ut_carrier *m)
{
	if (m->timer >= 0)
		vos_raw1(__NR_timer_delete, m->timer);
	m->timer = -1;
}

void vos_ut_tick(bool program, bool timer, uint64_t uc_mask)
{
	struct vos_ut_carrier *m = vos_ut_me();
	struct vos_uthread *u;

	if (!vos_ut.started || !m)
		return;
	u = vos_ut_self();
	if (!program || u->thread->sig->queued) {
		if (timer)
			atomic_store_explicit(&m->resched, 2, memory_order_relaxed);
		else if (!atomic_load_explicit(&m->resched, memory_order_relaxed))
			atomic_store_explicit(&m->resched, 1, memory_order_relaxed);
		return;
	}
	u->in_tick = true;
	uc_mask &= ~VOS_SIG_OURS;
	vos_ut_tick_mask(u->mask_unknown ? uc_mask : u->kmask);
	m->kmask = ~VOS_SIG_OURS;
	vos_ut_lock();
	vos_ut_balance_locked(m, timer);
	vos_ut_unlock();
	vos_ut_look_for_signals();
	vos_ut_yield();
	/* On the way out of this handler what waits is let in by the mask of its context. */
	if (atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed) && !u->thread->sig->queued) {
		atomic_store_explicit(&u->thread->sig_pending, 0, memory_order_relaxed);
		vos_ut_release(u->thread);
	}
	u->in_tick = false;
	vos_ut_me()->kmask = uc_mask;
}
