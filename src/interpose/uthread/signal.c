/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals of uthreads.  The kernel's mask of the carrier is that of the uthread that runs, so a signal that finds the program's
 * code finds the right one.  Idle, the carrier masks only what everyone masks; what comes then is given to someone who
 * does not mask it.  What is sent to a uthread waits in its own queue and is sent on to the kernel on its way out, when
 * the carrier is its own.
 */
#include <time.h>
#include "../entry/user.h"
#include "../entry/window.h"
#include "impl.h"

static uint64_t masked(const struct vos_uthread *u)
{
	return u->kmask | (u->thread->sigmask & VOS_SIG_OURS);
}

/* With the lock: or another carrier would take the signal for masked, and this one would not see it. */
static void set_mask(struct vos_uthread *u, uint64_t mask)
{
	vos_ut_lock();
	if (u->kmask != mask)
		vos_ut.masks_changed = true;
	u->kmask = mask;
	if (u->pend_set & ~masked(u))
		atomic_store_explicit(&u->thread->sig_pending, 1, memory_order_relaxed);
	vos_ut_unlock();
}

uint64_t vos_ut_mask(struct vos_thread *t, uint64_t kernel)
{
	return t->ut->mask_unknown ? kernel : t->ut->kmask;
}

void vos_ut_noted(void)
{
	vos_ut_me()->kmask = ~VOS_SIG_OURS;
}

void vos_ut_mask_left(uint64_t mask)
{
	vos_ut_me()->kmask = mask & ~VOS_SIG_OURS;
	vos_ut_me()->kmask_stale = false;
}

void vos_ut_mask_all(bool all, uint64_t old)
{
	struct vos_uthread *u = vos_ut_self();

	if (!u)
		return;
	set_mask(u, all ? ~VOS_SIG_OURS : old & ~VOS_SIG_OURS);
	vos_ut_mask_left(u->kmask);
}

static void give_locked(struct vos_uthread *but, siginfo_t *info);

/* What the process was sent and this uthread masks, while another does not: at every tick. */
void vos_ut_look_for_signals(void)
{
	struct vos_uthread *u = vos_ut_self();
	struct timespec none = { 0, 0 };
	uint64_t set;
	siginfo_t info;

	vos_ut_lock();
	set = u->kmask & ~vos_ut_everyones_mask_locked();
	if (set && vos_raw4(SYS_rt_sigtimedwait, VOS_PTR(&set), VOS_PTR(&info), VOS_PTR(&none), 8) > 0)
		give_locked(u, &info);
	vos_ut_unlock();
}

uint64_t vos_ut_masked(struct vos_thread *t)
{
	return t->ut->kmask;
}

void vos_ut_mask_lazily(uint64_t mask)
{
	struct vos_uthread *u = vos_ut_self();

	mask &= ~VOS_SIG_OURS & ~(vos_sigbit(SIGKILL) | vos_sigbit(SIGSTOP));
	if (u->kmask == mask)
		return;
	set_mask(u, mask);
	if (!vos_ut_passing_mask(mask) || vos_ut_me()->kmask & ~mask)
		vos_ut_set_kmask(mask);
}

bool vos_ut_held_back(struct vos_thread *t, int sig, uint64_t *uc_mask)
{
	struct vos_uthread *u = t->ut;

	if (u->mask_unknown)
		return false;
	*uc_mask = u->kmask;
	vos_ut_me()->kmask = u->kmask;
	return u->kmask & vos_sigbit(sig);
}

/* Calls that do not care what the kernel masks. */
static bool indifferent(uint64_t nr)
{
	switch (nr) {
	case __NR_rt_sigprocmask: case __NR_futex: case __NR_clone: case __NR_clone3: case __NR_exit: case __NR_sched_yield:
	case __NR_set_robust_list: case __NR_rseq: case __NR_gettid: case __NR_madvise:
		return true;
	default:
		return false;
	}
}

void vos_ut_enter(struct vos_thread *t, uint64_t nr)
{
	struct vos_uthread *u = t->ut;
	struct vos_sigthread *s = t->sig;
	uint64_t mask = 0, lo = (uint64_t)(uintptr_t)s->alt.ss_sp;

	if (__builtin_expect(!u->mask_unknown, 1)) {
		if (__builtin_expect(vos_ut_me()->kmask != u->kmask, 0) && !s->queued && !indifferent(nr))
			vos_ut_set_kmask(u->kmask);
		return;
	}
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, 0, VOS_PTR(&mask), 8);
	/* A signal noted meanwhile masked everything. */
	set_mask(u, s->queued ? s->saved_mask : mask);
	u->mask_unknown = false;
	vos_ut_me()->kmask = s->queued ? ~VOS_SIG_OURS : mask;
	/* Still below the handler's frame, as far as the stack tells: then its return will change the mask once more. */
	if (t->frame->rsp < u->handler_sp && (u->handler_sp - lo > s->alt.ss_size || t->frame->rsp - lo <= s->alt.ss_size))
		u->in_handler = true;
}

void vos_ut_leave(struct vos_thread *t)
{
	struct vos_uthread *u = t->ut;

	struct vos_ut_carrier *m = vos_ut_me();

	if (__builtin_expect(atomic_load_explicit(&m->resched, memory_order_relaxed) != 0, 0)) {
		bool timer = atomic_exchange_explicit(&m->resched, 0, memory_order_relaxed) == 2;

		vos_ut_lock();
		vos_ut_balance_locked(m, timer);
		vos_ut_unlock();
		vos_ut_look_for_signals();
		vos_ut_yield();
	}
	if (u->in_handler) {
		u->in_handler = false;
		u->mask_unknown = true;
	}
}

void vos_ut_handler(struct vos_thread *t, uint64_t uc)
{
	t->ut->mask_unknown = true;
	t->ut->handler_sp = uc;
}

void vos_ut_tick_mask(uint64_t mask)
{
	set_mask(vos_ut_self(), mask);
}

void vos_ut_mask_changed(uint64_t mask)
{
	struct vos_uthread *u = vos_ut_self();

	mask &= ~VOS_SIG_OURS;
	set_mask(u, mask);
	vos_ut_mask_left(mask);
}

uint64_t vos_ut_everyones_mask_locked(void)
{
	/* Before the look: what changes meanwhile counts again. */
	if (vos_ut.masks_changed && atomic_exchange(&vos_ut.masks_changed, false)) {
		vos_ut.idle_mask = ~VOS_SIG_OURS;
		for (struct vos_uthread *u = vos_ut.all; u; u = u->all_next)
			vos_ut.idle_mask &= u->kmask;
	}
	return vos_ut.idle_mask;
}

uint64_t vos_ut_pending(struct vos_thread *t)
{
	return t->ut->pend_set;
}

void vos_ut_send_locked(struct vos_uthread *u, const siginfo_t *info)
{
	uint64_t bit = vos_sigbit(info->si_signo);
	struct vos_ut_signal *s;

	if (info->si_signo < 32 && (u->pend_set & bit))
		return;
	s = vos_alloc(sizeof *s);
	if (!s)
		return;
	s->info = *info;
	*u->pend_tail = s;
	u->pend_tail = &s->next;
	u->pend_set |= bit;
	if (!(masked(u) & bit))
		atomic_store_explicit(&u->thread->sig_pending, 1, memory_order_relaxed);
	if ((u->intr && !(masked(u) & bit)) || (u->sigwait & bit))
		vos_ut_ready_locked(u);
	/* It runs on another carrier: that it may look. */
	if (u->state == UT_RUNNING && u->on && u->on != vos_ut_me())
		vos_ut_prod(u->on);
}

void vos_ut_send(struct vos_uthread *u, const siginfo_t *info)
{
	vos_ut_lock();
	vos_ut_send_locked(u, info);
	vos_ut_unlock();
}

/* The first of `set` out of the queue. */
static bool take_locked(struct vos_uthread *u, uint64_t set, siginfo_t *ret)
{
	for (struct vos_ut_signal **at = &u->pend, *s; (s = *at) != NULL; at = &s->next) {
		bool more = false;

		if (!(set & vos_sigbit(s->info.si_signo)))
			continue;
		*ret = s->info;
		*at = s->next;
		if (!s->next)
			u->pend_tail = at;
		for (struct vos_ut_signal *o = u->pend; o; o = o->next)
			more |= o->info.si_signo == ret->si_signo;
		if (!more)
			u->pend_set &= ~vos_sigbit(ret->si_signo);
		vos_free(s);
		return true;
	}
	return false;
}

static bool take(struct vos_uthread *u, uint64_t set, siginfo_t *ret)
{
	bool r;

	vos_ut_lock();
	r = take_locked(u, set, ret);
	vos_ut_unlock();
	return r;
}

static int first_signal_locked(struct vos_thread *t)
{
	for (struct vos_ut_signal *s = t->ut->pend; s; s = s->next)
		if (!(masked(t->ut) & vos_sigbit(s->info.si_signo)))
			return s->info.si_signo;
	return 0;
}

int vos_ut_first_signal(struct vos_thread *t)
{
	int r;

	vos_ut_lock();
	r = first_signal_locked(t);
	vos_ut_unlock();
	return r;
}

bool vos_ut_release(struct vos_thread *t)
{
	struct vos_carrier *c = vos_self();
	siginfo_t info;
	bool any = false;

	while (take(t->ut, ~masked(t->ut), &info)) {
		if (vos_raw4(SYS_rt_tgsigqueueinfo, c->pid, c->ktid, info.si_signo, VOS_PTR(&info)) < 0)
			vos_raw3(SYS_tgkill, c->pid, c->ktid, info.si_signo);
		vos_ut_sent(info.si_signo);
		any = true;
	}
	return any;
}

void vos_ut_sent(int sig)
{
	vos_ut_me()->sent |= vos_sigbit(sig);
}

void vos_ut_take_along_locked(struct vos_uthread *u)
{
	struct vos_ut_carrier *m = vos_ut_me();
	struct timespec none = { 0, 0 };
	siginfo_t info;

	while (vos_raw4(SYS_rt_sigtimedwait, VOS_PTR(&m->sent), VOS_PTR(&info), VOS_PTR(&none), 8) > 0)
		vos_ut_send_locked(u, &info);
	m->sent = 0;
}

static void give_locked(struct vos_uthread *but, siginfo_t *info)
{
	uint64_t bit = vos_sigbit(info->si_signo);

	for (struct vos_uthread *u = vos_ut.all; u; u = u->all_next)
		if (u != but && ((u->sigwait & bit) || !(masked(u) & bit))) {
			vos_ut_send_locked(u, info);
			return;
		}
	/* Nobody wants it now: the process's, until someone does. */
	vos_ut_set_kmask(~0ULL);
	vos_raw3(SYS_rt_sigqueueinfo, vos_self()->pid, info->si_signo, VOS_PTR(info));
}

void vos_ut_sort_locked(struct vos_uthread *u)
{
	struct vos_sigthread *s = u->thread->sig;
	uint32_t n = s->queued, keep = 0;
	bool gone = vos_ut_by_tid_locked(u->tid) != u;

	for (uint32_t i = 0; i < n; i++) {
		siginfo_t info = s->queue[i];

		if (!gone && !(masked(u) & vos_sigbit(info.si_signo)))
			s->queue[keep++] = info;
		else
			give_locked(u, &info);
	}
	s->queued = keep;
	if (keep)
		s->saved_mask = u->kmask;
	if (!keep && !first_signal_locked(u->thread))
		atomic_store_explicit(&u->thread->sig_pending, 0, memory_order_relaxed);
	if (!gone && u->state == UT_PARKED && u->intr && atomic_load_explicit(&u->thread->sig_pending, memory_order_relaxed))
		vos_ut_ready_locked(u);
}

bool vos_ut_switching(void)
{
	return vos_ut_me() && vos_ut_me()->switching != 0;
}

void vos_ut_remask(struct vos_thread *t)
{
	vos_ut_set_kmask(t->ut->kmask);
}

void vos_ut_settle(struct vos_thread *t)
{
	vos_ut_lock();
	vos_ut_sort_locked(t->ut);
	vos_ut_unlock();
}

/* ---- calls ---- */

long vos_ut_tgkill(struct vos_frame *f, uint32_t tid, int sig, const siginfo_t *info)
{
	struct vos_uthread *u;
	siginfo_t si;

	if (!vos_ut_known(tid))
		return vos_window6((long)f->rax, f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9);
	if (sig < 0 || sig > VOS_NSIG)
		return -EINVAL;
	if (sig == 0)
		return 0;
	if (sig == SIGKILL || sig == SIGSTOP)
		return vos_raw2(SYS_kill, vos_self()->pid, sig);
	if (info) {
		si = *info;
	} else {
		memset(&si, 0, sizeof si);
		si.si_code = SI_TKILL;
		si.si_pid = (pid_t)vos_self()->pid;
		si.si_uid = (uid_t)vos_raw0(SYS_getuid);
	}
	si.si_signo = sig;
	vos_ut_lock();
	u = vos_ut_by_tid_locked(tid);
	if (u)
		vos_ut_send_locked(u, &si);
	vos_ut_unlock();
	return u ? 0 : -ESRCH;
}

long vos_ut_sigtimedwait(struct vos_frame *f)
{
	struct vos_uthread *u = vos_ut_self();
	struct vos_ut_job j = { .nr = __NR_rt_sigtimedwait, .a = { f->rdi, f->rsi, f->rdx, f->r10 } };
	struct timespec none = { 0, 0 };
	uint64_t set, until;
	siginfo_t info;
	bool cancelled = false, started = false;
	long r;

	if (f->r10 != 8)
		return -EINVAL;
	if (vos_get_user64(&set, f->rdi) < 0)
		return -EFAULT;
	r = vos_ut_deadline(f->rdx, CLOCK_MONOTONIC, false, &until);
	if (r < 0)
		return r;
	for (;;) {
		/* What a job that was cancelled brought all the same counts first. */
		if (started && j.done && j.result > 0)
			r = j.result;
		else if ((!started || j.done) && take(u, set, &info))
			r = f->rsi && vos_copy_to_user((void *)(uintptr_t)f->rsi, &info, 128) < 0 ? -EFAULT : info.si_signo;
		else if (started && j.done && j.result == -EAGAIN)
			r = -EAGAIN;
		else if (started && j.done)
			r = vos_ut_now() >= until ? -EAGAIN : atomic_load(&u->thread->sig_pending) ? -EINTR : -VOS_ERESTARTNOINTR;
		else
			r = 0;
		if (r)
			break;
		if (!started) {
			r = vos_raw4(__NR_rt_sigtimedwait, (long)f->rdi, (long)f->rsi, VOS_PTR(&none), 8);
			if (r != -EAGAIN)
				return r;
			if (vos_ut_now() >= until)
				return -EAGAIN;
			if (vos_ut_job_start(&j) < 0)
				return -EAGAIN;
			started = true;
			vos_ut_lock();
			u->sigwait = set;
			/* One that came just before did not know that it was waited for. */
			u->permit |= (u->pend_set & set) != 0;
			vos_ut_unlock();
		}
		r = vos_ut_park(cancelled ? vos_ut_now() + 1000000 : VOS_NEVER, !cancelled);
		if (!j.done && (cancelled || r < 0 || (u->pend_set & set))) {
			vos_ut_job_cancel(&j);
			cancelled = true;
		}
	}
	u->sigwait = 0;
	return r;
}

long vos_ut_sigsuspend(struct vos_frame *f)
{
	struct vos_uthread *u = vos_ut_self();
	uint64_t mask = 0, old = u->kmask;

	if (f->rax == __NR_rt_sigsuspend) {
		if (f->rsi != 8)
			return -EINVAL;
		if (vos_get_user64(&mask, f->rdi) < 0)
			return -EFAULT;
		set_mask(u, mask & ~VOS_SIG_OURS & ~(vos_sigbit(SIGKILL) | vos_sigbit(SIGSTOP)));
		vos_ut_set_kmask(u->kmask);
		u->thread->sig->restore = true;
		u->thread->sig->restore_mask = old;
	}
	while (vos_ut_park(VOS_NEVER, true) != -VOS_ERESTARTSYS)
		;
	return -EINTR;
}
