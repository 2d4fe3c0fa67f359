/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A carrier with nothing to run, and the kernel threads that make blocking calls.
 *
 * A helper has every signal masked but those that are the runtime's, a carrier of its own behind its GS base (so that windows and
 * faults in memory of the program work as everywhere), and one job at a time.  It hands a finished job over by pushing it
 * onto done_list and waking a carrier.
 */
#include <linux/futex.h>
#include <linux/sched.h>
#include <time.h>
#include "../entry/window.h"
#include "impl.h"

struct vos_ut_helper {
	struct vos_ut_helper *next;    /* idle ones; the carrier's */
	struct vos_carrier *c;
	_Atomic uint32_t word;         /* HAS_JOB: a job; futex */
	struct vos_ut_job *job;
	uint32_t generation;           /* credentials it was made with */
	_Atomic uint32_t ktid;
};
enum { IDLE, HAS_JOB, RETIRE };

#define HELPERS_MAX 2048u
static struct vos_ut_helper *idle_list;
static uint32_t helpers, generation;
static struct vos_ut_job *_Atomic done_list;
static void helper_main(void *arg)
{
	struct vos_ut_helper *h = arg;
	struct vos_thread *t = h->c->thread;

	h->c->pid = (uint32_t)vos_raw0(SYS_getpid);
	h->c->tid = h->c->ktid = (uint32_t)vos_raw0(SYS_gettid);
	atomic_store(&h->ktid, h->c->ktid);
	vos_sig_unblock(~0ULL);
	for (;;) {
		struct vos_ut_job *j, *first;
		uint32_t w;

		/* Acquire: pairs with the release in vos_ut_job_start(); the job is complete. */
		while ((w = atomic_load_explicit(&h->word, memory_order_acquire)) == IDLE)
			vos_raw4(SYS_futex, VOS_PTR(&h->word), FUTEX_WAIT_PRIVATE, IDLE, 0);
		if (w == RETIRE)
			break;
		j = h->job;
		j->result = vos_window6((long)j->nr, j->a[0], j->a[1], j->a[2], j->a[3], j->a[4], j->a[5]);
		if (j->result == -EPIPE) {
			uint64_t set = vos_sigbit(SIGPIPE);
			struct timespec none = { 0, 0 };

			j->sigpipe = vos_raw4(SYS_rt_sigtimedwait, VOS_PTR(&set), 0, VOS_PTR(&none), 8) == SIGPIPE;
		}
		atomic_store_explicit(&t->sig_pending, 0, memory_order_relaxed);
		atomic_store_explicit(&h->word, IDLE, memory_order_relaxed);
		first = atomic_load_explicit(&done_list, memory_order_relaxed);
		do {
			j->next = first;
		} while (!atomic_compare_exchange_weak_explicit(&done_list, &first, j, memory_order_release, memory_order_relaxed));
		vos_ut_wake_any();
	}
	for (;;)
		vos_raw1(SYS_exit, 0);
}

static struct vos_ut_helper *new_helper_locked(void)
{
	struct vos_ut_helper *h;
	/* Also what is ours: the new thread has the caller's GS base for its first instructions. */
	uint64_t old, all = ~0ULL;
	long r;

	if (helpers >= HELPERS_MAX)
		return NULL;
	h = vos_alloc(sizeof *h);
	if (!h)
		return NULL;
	h->c = vos_carrier_new(vos_self()->proc);
	if (!h->c) {
		vos_free(h);
		return NULL;
	}
	h->generation = generation;
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&all), VOS_PTR(&old), 8);
	r = vos_ut_clone_helper(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
				(void *)h->c->runtime_sp, h->c, h, NULL, helper_main);
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&old), 0, 8);
	if (r < 0) {
		vos_carrier_free(h->c);
		vos_free(h);
		return NULL;
	}
	atomic_store(&h->ktid, (uint32_t)r);
	helpers++;
	return h;
}

static void post(struct vos_ut_helper *h, uint32_t word)
{
	atomic_store_explicit(&h->word, word, memory_order_release);
	vos_raw3(SYS_futex, VOS_PTR(&h->word), FUTEX_WAKE_PRIVATE, 1);
}

int vos_ut_job_start(struct vos_ut_job *j)
{
	struct vos_ut_helper *h;

	vos_ut_lock();
	h = idle_list;
	if (h)
		idle_list = h->next;
	else
		h = new_helper_locked();
	if (h) {
		j->owner = vos_ut_self();
		j->done = j->sigpipe = false;
		j->helper = h;
		h->job = j;
		vos_ut.jobs++;
	}
	vos_ut_unlock();
	if (!h)
		return -EAGAIN;
	post(h, HAS_JOB);
	return 0;
}

static void retire(struct vos_ut_helper *h)
{
	/* Its stack and this struct are left to it: few ever go. */
	helpers--;
	post(h, RETIRE);
}

void vos_ut_reap_jobs_locked(void)
{
	struct vos_ut_job *j;

	if (!atomic_load_explicit(&done_list, memory_order_relaxed))
		return;
	/* Acquire: pairs with the release of the helper; the result is there. */
	j = atomic_exchange_explicit(&done_list, NULL, memory_order_acquire);
	while (j) {
		struct vos_ut_job *next = j->next;
		struct vos_ut_helper *h = j->helper;
		struct vos_uthread *owner = j->owner;

		/* The last of it: its owner may be gone with it at once. */
		__atomic_store_n(&j->done, true, __ATOMIC_RELEASE);
		vos_ut.jobs--;
		if (h->generation != generation) {
			retire(h);
		} else {
			h->next = idle_list;
			idle_list = h;
		}
		vos_ut_ready_locked(owner);
		j = next;
	}
}

void vos_ut_job_cancel(struct vos_ut_job *j)
{
	siginfo_t info;

	memset(&info, 0, sizeof info);
	info.si_signo = SIGSYS;
	info.si_code = VOS_SI_KICK;
	vos_raw4(SYS_rt_tgsigqueueinfo, vos_self()->pid, atomic_load(&j->helper->ktid), SIGSYS, VOS_PTR(&info));
}

/* From the handler of SIGSYS, on a helper. */
bool vos_ut_kicked(struct vos_carrier *c)
{
	if (!vos_ut.started || c->ut || c->proc != vos_ut.home->c->proc)
		return false;
	atomic_store_explicit(&c->thread->sig_pending, 1, memory_order_relaxed);
	return true;
}

static void raise_sigpipe(void)
{
	siginfo_t info;

	memset(&info, 0, sizeof info);
	info.si_signo = SIGPIPE;
	info.si_code = SI_USER;
	info.si_pid = (pid_t)vos_self()->pid;
	vos_ut_send(vos_ut_self(), &info);
}

long vos_ut_job_run(struct vos_ut_job *j, uint64_t deadline_ns)
{
	bool cancelled = false, late = false;
	int err = vos_ut_job_start(j);

	if (err < 0)
		return vos_window6((long)j->nr, j->a[0], j->a[1], j->a[2], j->a[3], j->a[4], j->a[5]);
	while (!j->done) {
		long r = vos_ut_park(cancelled ? vos_ut_now() + 1000000 : deadline_ns, !cancelled);

		if (j->done)
			break;
		if (r == 0)
			continue;
		/* A kick that came before the call was made, or between a restart: once more every millisecond. */
		vos_ut_job_cancel(j);
		late |= r == -ETIMEDOUT && !cancelled;
		cancelled = true;
	}
	if (j->sigpipe)
		raise_sigpipe();
	if (late && (j->result == -VOS_ERESTARTNOINTR || j->result == -EINTR))
		return -ETIMEDOUT;
	/* The kick would have restarted it: whether the program's signal does is not for the kernel to say. */
	return j->result == -VOS_ERESTARTNOINTR ? -VOS_ERESTARTSYS : j->result;
}

static void helpers_retire(void)
{
	vos_ut_lock();
	generation++;
	while (idle_list) {
		struct vos_ut_helper *h = idle_list;

		idle_list = h->next;
		retire(h);
	}
	vos_ut_unlock();
}

bool vos_ut_jobs_done(void)
{
	return atomic_load_explicit(&done_list, memory_order_relaxed) != NULL;
}

void vos_ut_cred_changed(void)
{
	if (vos_ut_self())
		helpers_retire();
}

void vos_ut_helpers_reset(void)
{
	idle_list = NULL;
	helpers = 0;
	atomic_store(&done_list, NULL);
}

/* Nothing can run: until something may, or until the next deadline.  The caller looks again. */
void vos_ut_idle_locked(uint64_t until)
{
	struct vos_ut_carrier *m = vos_ut_me();
	struct vos_uthread *host = vos_ut_self();
	bool home = m == vos_ut.home;
	uint64_t ns = VOS_NEVER, now;
	struct vos_lane_client *lane;

	if (home)
		vos_ut_sort_locked(host);
	if (m->run)
		return;
	if (until != VOS_NEVER) {
		now = vos_ut_now();
		if (until <= now)
			return;
		ns = until - now;
	}
	/* Signals of the process come to the home carrier, as far as anyone lets them in. */
	if (home)
		vos_ut_set_kmask(host->thread->sig->queued ? ~0ULL : vos_ut_everyones_mask_locked());
	m->idle = true;
	vos_ut_unlock();
	if (atomic_load_explicit(&vos_ut.remote, memory_order_relaxed) && vos_ut_lanes(&lane, 1)) {
		atomic_store(&m->asleep, 2);
		atomic_thread_fence(memory_order_seq_cst);
		if (!vos_ut_runnable() && !(vos_ut.retiring && !home))
			vos_remote_idle(ns, m->looked != m->switches + 1);
	} else {
		struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

		atomic_store(&m->asleep, 1);
		/* Pairs with the fence in vos_ut_wake(). */
		atomic_thread_fence(memory_order_seq_cst);
		/* A window: a signal that is noted just before must end it. */
		if (atomic_load_explicit(&host->thread->sig_pending, memory_order_relaxed)) {
			/* A signal that the host cannot be bothered with now: the window would not let us sleep. */
			if (ns > 10000000)
				ts = (struct timespec){ 0, 10000000 };
			if (!vos_ut_runnable() && !(vos_ut.retiring && !home))
				vos_raw4(SYS_futex, VOS_PTR(&m->asleep), FUTEX_WAIT_PRIVATE, 1, VOS_PTR(&ts));
		} else if (!vos_ut_runnable() && !(vos_ut.retiring && !home)) {
			vos_window6(SYS_futex, (uint64_t)(uintptr_t)&m->asleep, FUTEX_WAIT_PRIVATE, 1,
				    ns == VOS_NEVER ? 0 : (uint64_t)(uintptr_t)&ts, 0, 0);
		}
	}
	atomic_store(&m->asleep, 0);
	m->looked = 0;
	vos_ut_lock();
	m->idle = false;
	if (home)
		vos_ut_sort_locked(host);
	vos_ut_reap_jobs_locked();
}
