/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who runs: the run queues, parking, and the exchange of one uthread for another. */
#include "impl.h"

_Static_assert(offsetof(struct vos_uthread, rsp) == UT_RSP, "switch.S");
_Static_assert(offsetof(struct vos_uthread, fs) == UT_FS, "switch.S");
_Static_assert(offsetof(struct vos_uthread, xsave) == UT_XSAVE, "switch.S");
_Static_assert(offsetof(struct vos_uthread, vstate) == UT_VSTATE, "switch.S");

struct vos_ut_sched vos_ut;
bool vos_ut_on;
uint32_t vos_ut_xmask, vos_ut_xsaved;

void vos_ut_lock_slow(void)
{
	struct vos_ut_carrier *m = vos_ut_me();

	VOS_ASSERT(!m->locked);
	for (unsigned n = 0; atomic_exchange_explicit(&vos_ut.lock, 1, memory_order_acquire);)
		while (atomic_load_explicit(&vos_ut.lock, memory_order_relaxed)) {
			__builtin_ia32_pause();
			/* The holder may have lost its processor. */
			if (++n > 500)
				vos_raw0(SYS_sched_yield);
		}
	m->locked = true;
}

/* ---- numbers ---- */

#define TIDS 4096u
static struct vos_uthread *tids[TIDS];

struct vos_uthread *vos_ut_by_tid_locked(uint32_t tid)
{
	struct vos_uthread *u = tids[tid % TIDS];

	while (u && u->tid != tid)
		u = u->tid_next;
	return u;
}

bool vos_ut_known(uint32_t tid)
{
	bool known;

	vos_ut_lock();
	known = vos_ut_by_tid_locked(tid) != NULL;
	vos_ut_unlock();
	return known;
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

/* ---- run queues ---- */

static void push(struct vos_ut_carrier *m, struct vos_uthread *u)
{
	u->next = NULL;
	if (!m->run)
		m->run_tail = &m->run;
	/* Also read without the lock, by vos_ut_runnable(). */
	__atomic_store_n(m->run_tail, u, __ATOMIC_RELAXED);
	m->run_tail = &u->next;
	m->ready++;
}

struct vos_uthread *vos_ut_pop_locked(struct vos_ut_carrier *m)
{
	struct vos_uthread *u = m->run;

	if (u) {
		m->run = u->next;
		m->ready--;
	}
	return u;
}

struct vos_uthread *vos_ut_steal_locked(struct vos_ut_carrier *m)
{
	struct vos_ut_carrier *from = NULL;
	struct vos_uthread **at, *u;
	uint32_t n;

	/* From one whose uthreads run long: those that hand over to each other all the time are faster on one carrier. */
	for (uint32_t i = 0; i < vos_ut.n; i++)
		if (vos_ut.carrier[i] != m && vos_ut.carrier[i]->coarse && vos_ut.carrier[i]->ready > (from ? from->ready : 0))
			from = vos_ut.carrier[i];
	if (!from || vos_ut.retiring)
		return NULL;
	n = (from->ready + 1) / 2;
	for (at = &from->run; n && (u = *at) != NULL;) {
		if (u->on || u->pin) {
			at = &u->next;
			continue;
		}
		*at = u->next;
		if (!*at)
			from->run_tail = at;
		from->ready--;
		push(m, u);
		n--;
	}
	return vos_ut_pop_locked(m);
}

bool vos_ut_runnable(void)
{
	return __atomic_load_n(&vos_ut_me()->run, __ATOMIC_RELAXED) != NULL || vos_ut_jobs_done();
}

/* Into the queue of who may run it. */
static void enqueue(struct vos_uthread *u)
{
	struct vos_ut_carrier *me = vos_ut_me(), *m = me;

	u->state = UT_READY;
	/* A carrier that idles stands on the stack of one that is parked. */
	if (u->on && u->on != me)
		m = u->on;
	else if (u->pin)
		m = u->pin;
	if ((vos_ut.retiring && m != vos_ut.home) || m->gone)
		m = vos_ut.home;
	push(m, u);
	if (m != me)
		vos_ut_wake(m);
	else if (__builtin_expect(vos_ut.spread, 0))
		vos_ut_wake_any();
}

void vos_ut_ready_locked(struct vos_uthread *u)
{
	if (u->state == UT_PARKED)
		enqueue(u);
	else if (u->state == UT_RUNNING)
		u->permit = true;
}

void vos_ut_ready(struct vos_uthread *u)
{
	vos_ut_lock();
	vos_ut_ready_locked(u);
	vos_ut_unlock();
}

/* ---- the exchange ---- */

void vos_ut_set_kmask(uint64_t mask)
{
	struct vos_ut_carrier *m = vos_ut_me();

	mask &= ~VOS_SIG_OURS;
	if (m->kmask == mask && !m->kmask_stale)
		return;
	/* Both before the call: a signal that it lets in is noted, and says that all is masked. */
	m->kmask = mask;
	m->kmask_stale = false;
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&mask), 0, 8);
}

/* The first steps after an exchange, on the new stack. */
static void exchanged(void)
{
	struct vos_ut_carrier *m = vos_ut_me();

	m->switching = 0;
	m->prev->on = NULL;
	if (__builtin_expect(m->dead != NULL, 0)) {
		vos_ut_old_locked(m->dead);
		m->dead = NULL;
	}
}

void vos_ut_exchange_locked(struct vos_uthread *u, struct vos_uthread *n)
{
	struct vos_ut_carrier *m = vos_ut_me();
	struct vos_carrier *c = m->c;

	m->switches++;
	if (__builtin_expect(m->sent != 0, 0))
		vos_ut_take_along_locked(u);
	/* From here on a signal cannot tell by rsp whether the runtime is at work. */
	m->switching = 1;
	__asm__ volatile("" : : : "memory");
	if (!(n->thread->sig->alt.ss_flags & SS_DISABLE)) {
		vos_sig_arm_altstack(n->thread);
	} else if (!(u->thread->sig->alt.ss_flags & SS_DISABLE)) {
		stack_t off = { .ss_flags = SS_DISABLE };

		vos_raw2(SYS_sigaltstack, VOS_PTR(&off), 0);
	}
	m->prev = u;
	n->on = m;
	n->thread->carrier = c;
	c->thread = n->thread;
	c->runtime_sp = n->runtime_sp;
	c->runtime_lo = n->runtime_lo;
	c->tid = n->tid;
	__asm__ volatile("" : : : "memory");
	/* Not before: what this lets in is noted on n.  What is let in though n masks it is held back when it comes. */
	if (n->in_tick || n->thread->sig->queued)
		vos_ut_set_kmask(~0ULL);
	else if (n == m->base || !vos_ut_passing_mask(n->kmask) || m->kmask & ~n->kmask || m->kmask_stale)
		vos_ut_set_kmask(n->kmask);
	/* A signal noted on u after its last look, and before c->thread was another. */
	if (u->state == UT_PARKED && u->intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed))
		vos_ut_ready_locked(u);
	n->state = UT_RUNNING;
	vos_ut_switch(u, n);
	/* Perhaps on another carrier. */
	__asm__ volatile("" : : : "memory");
	exchanged();
}

void vos_ut_schedule_locked(void)
{
	struct vos_uthread *u = vos_ut_self(), *n;
	struct vos_ut_carrier *m = vos_ut_me();

	vos_ut_reap_jobs_locked();
	vos_ut_timer_look();
	if (__builtin_expect(vos_ut.retiring && m != vos_ut.home, 0)) {
		vos_ut_exchange_locked(u, m->base);
		return;
	}
	while (!(n = vos_ut_pop_locked(m))) {
		uint64_t next = vos_ut_timer_run();

		if (m->run)
			continue;
		if (vos_ut.many && (n = vos_ut_steal_locked(m)))
			break;
		if (m != vos_ut.home) {
			n = m->base;
			break;
		}
		vos_ut_idle_locked(next);
	}
	if (n == u) {
		u->state = UT_RUNNING;
		vos_ut_set_kmask(u->in_tick || u->thread->sig->queued ? ~0ULL : u->kmask);
		return;
	}
	vos_ut_exchange_locked(u, n);
}

long vos_ut_park_locked(uint64_t deadline_ns, bool intr)
{
	struct vos_uthread *u = vos_ut_self();

	if (intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed))
		return -VOS_ERESTARTSYS;
	if (u->permit) {
		u->permit = false;
		return 0;
	}
	u->timed_out = false;
	if (deadline_ns != VOS_NEVER && !vos_ut_timer_add(u, deadline_ns))
		return -ENOMEM;
	u->intr = intr;
	u->state = UT_PARKED;
	vos_ut_schedule_locked();
	u->intr = false;
	if (u->heap)
		vos_ut_timer_del(u);
	if (u->timed_out)
		return -ETIMEDOUT;
	return intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed) ? -VOS_ERESTARTSYS : 0;
}

static void poll_lanes(void)
{
	if (atomic_load_explicit(&vos_ut.remote, memory_order_relaxed))
		vos_remote_poll_lanes();
}

long vos_ut_park(uint64_t deadline_ns, bool intr)
{
	long r;

	poll_lanes();
	vos_ut_lock();
	r = vos_ut_park_locked(deadline_ns, intr);
	vos_ut_unlock();
	return r;
}

void vos_ut_yield(void)
{
	struct vos_uthread *u = vos_ut_self();
	struct vos_ut_carrier *m;

	poll_lanes();
	vos_ut_lock();
	m = vos_ut_me();
	vos_ut_reap_jobs_locked();
	vos_ut_timer_look();
	if (m->run || (u->pin && u->pin != m) || (vos_ut.retiring && m != vos_ut.home)) {
		enqueue(u);
		vos_ut_schedule_locked();
	}
	vos_ut_unlock();
}

void vos_ut_sleep(uint64_t ns)
{
	uint64_t until = vos_ut_now() + ns;

	while (vos_ut_park(until, false) == 0)
		;
}

void vos_ut_remote_waits(int n)
{
	atomic_fetch_add_explicit(&vos_ut.remote, (uint32_t)n, memory_order_relaxed);
}

void vos_ut_looked(void)
{
	vos_ut_me()->looked = vos_ut_me()->switches + 1;
}

bool vos_ut_lock_wait(void)
{
	struct vos_uthread *u = vos_ut_self();
	struct vos_ut_carrier *m = vos_ut_me();
	uint64_t here = (uint64_t)__builtin_frame_address(0);

	if (!u || !m)
		return false;
	/* Where it cannot be exchanged: under the room's lock, idle, or in a handler on the program's stack.  The holder runs elsewhere. */
	if (m->locked || m->switching || u->state != UT_RUNNING || u == m->base || here <= u->runtime_lo || here > u->runtime_sp) {
		vos_raw0(SYS_sched_yield);
		return true;
	}
	if (m->run)
		vos_ut_yield();
	else
		vos_ut_sleep(50000);
	return true;
}

/* The first steps of a new one, after the exchange. */
void vos_ut_first(struct vos_frame *f)
{
	(void)f;
	exchanged();
	vos_ut_unlock();
}
