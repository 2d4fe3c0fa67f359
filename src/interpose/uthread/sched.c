/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who runs: the run queue, parking, and the exchange of one uthread for another. */
#include "impl.h"

_Static_assert(offsetof(struct vos_uthread, rsp) == UT_RSP, "switch.S");
_Static_assert(offsetof(struct vos_uthread, fs) == UT_FS, "switch.S");
_Static_assert(offsetof(struct vos_uthread, xsave) == UT_XSAVE, "switch.S");
_Static_assert(offsetof(struct vos_uthread, vstate) == UT_VSTATE, "switch.S");

struct vos_ut_sched vos_ut;
bool vos_ut_on;
uint32_t vos_ut_xmask, vos_ut_xsaved;

#define TIDS 4096u
static struct vos_uthread *tids[TIDS];

struct vos_uthread *vos_ut_by_tid(uint32_t tid)
{
	struct vos_uthread *u = tids[tid % TIDS];

	while (u && u->tid != tid)
		u = u->tid_next;
	return u;
}

void vos_ut_tid_add(struct vos_uthread *u)
{
	u->tid_next = tids[u->tid % TIDS];
	tids[u->tid % TIDS] = u;
}

void vos_ut_tid_del(struct vos_uthread *u)
{
	struct vos_uthread **at = &tids[u->tid % TIDS];

	while (*at && *at != u)
		at = &(*at)->tid_next;
	if (*at)
		*at = u->tid_next;
}

static void push(struct vos_uthread *u)
{
	u->next = NULL;
	if (!vos_ut.run)
		vos_ut.run_tail = &vos_ut.run;
	*vos_ut.run_tail = u;
	vos_ut.run_tail = &u->next;
	vos_ut.ready++;
}

static struct vos_uthread *pop(void)
{
	struct vos_uthread *u = vos_ut.run;

	if (u) {
		vos_ut.run = u->next;
		vos_ut.ready--;
	}
	return u;
}

bool vos_ut_runnable(void)
{
	return vos_ut.run != NULL || vos_ut_jobs_done();
}

void vos_ut_ready(struct vos_uthread *u)
{
	if (u->state != UT_PARKED)
		return;
	u->state = UT_READY;
	push(u);
}

void vos_ut_set_kmask(uint64_t mask)
{
	mask &= ~VOS_SIG_OURS;
	if (vos_ut.kmask == mask && !vos_ut.kmask_stale)
		return;
	/* Both before the call: a signal that it lets in is noted, and says that all is masked. */
	vos_ut.kmask = mask;
	vos_ut.kmask_stale = false;
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&mask), 0, 8);
}

static void exchange(struct vos_uthread *u, struct vos_uthread *n)
{
	struct vos_carrier *c = vos_ut.c;

	vos_ut.switches++;
	/* From here on a signal cannot tell by rsp whether the runtime is at work. */
	vos_ut.switching = 1;
	__asm__ volatile("" : : : "memory");
	if (!(n->thread->sig->alt.ss_flags & SS_DISABLE)) {
		vos_sig_arm_altstack(n->thread);
	} else if (!(u->thread->sig->alt.ss_flags & SS_DISABLE)) {
		stack_t off = { .ss_flags = SS_DISABLE };

		vos_raw2(SYS_sigaltstack, VOS_PTR(&off), 0);
	}
	c->thread = n->thread;
	c->runtime_sp = n->runtime_sp;
	c->runtime_lo = n->runtime_lo;
	c->tid = n->tid;
	__asm__ volatile("" : : : "memory");
	/* Not before: what this lets in is noted on n. */
	vos_ut_set_kmask(n->in_tick || n->thread->sig->queued ? ~0ULL : n->kmask);
	/* A signal noted on u after its last look, and before c->thread was another. */
	if (u->state == UT_PARKED && u->intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed))
		vos_ut_ready(u);
	n->state = UT_RUNNING;
	vos_ut_switch(u, n);
	__asm__ volatile("" : : : "memory");
	vos_ut.switching = 0;
}

/* The caller is PARKED or READY (in the queue) and runs again when its turn comes. */
void vos_ut_schedule(void)
{
	struct vos_uthread *u = vos_ut_self(), *n;

	vos_ut_reap_jobs();
	vos_ut_timer_look();
	if (vos_ut.remote)
		vos_remote_poll_lanes(vos_ut.c);
	while (!(n = pop())) {
		uint64_t next = vos_ut_timer_run();

		if (vos_ut.run)
			continue;
		vos_ut_idle(next);
	}
	if (n == u) {
		u->state = UT_RUNNING;
		vos_ut_set_kmask(u->in_tick || u->thread->sig->queued ? ~0ULL : u->kmask);
		return;
	}
	exchange(u, n);
}

long vos_ut_park(uint64_t deadline_ns, bool intr)
{
	struct vos_uthread *u = vos_ut_self();

	if (intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed))
		return -VOS_ERESTARTSYS;
	u->timed_out = false;
	if (deadline_ns != VOS_NEVER && !vos_ut_timer_add(u, deadline_ns))
		return -ENOMEM;
	u->intr = intr;
	u->state = UT_PARKED;
	vos_ut_schedule();
	u->intr = false;
	if (u->heap)
		vos_ut_timer_del(u);
	if (u->timed_out)
		return -ETIMEDOUT;
	return intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed) ? -VOS_ERESTARTSYS : 0;
}

void vos_ut_yield(void)
{
	struct vos_uthread *u = vos_ut_self();

	vos_ut_reap_jobs();
	vos_ut_timer_look();
	if (vos_ut.remote)
		vos_remote_poll_lanes(vos_ut.c);
	if (!vos_ut.run)
		return;
	u->state = UT_READY;
	push(u);
	vos_ut_schedule();
}

void vos_ut_sleep(uint64_t ns)
{
	uint64_t until = vos_ut_now() + ns;

	while (vos_ut_park(until, false) == 0)
		;
}

void vos_ut_remote_waits(int n)
{
	vos_ut.remote += (uint32_t)n;
}

void vos_ut_looked(void)
{
	vos_ut.looked = vos_ut.switches + 1;
}

bool vos_ut_lock_wait(void)
{
	if (!vos_ut_self())
		return false;
	if (vos_ut.run)
		vos_ut_yield();
	else
		vos_ut_sleep(50000);
	return true;
}

/* The first steps of a new one, after exchange(). */
void vos_ut_first(struct vos_frame *f)
{
	(void)f;
	vos_ut.switching = 0;
}
