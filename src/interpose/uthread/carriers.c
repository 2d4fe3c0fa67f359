/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Carriers beside the first: when they come, what they do with nothing to run, and when they go.
 *
 * A program begins with one.  Another is started, or woken, when a tick of processor time finds uthreads that run long (they
 * were exchanged less often than every 20 µs) while others wait.  So what hands over to each other all the time stays on one
 * carrier, where that costs a switch, and small programs pay nothing.
 *
 * What the kernel keeps for each of its threads (credentials, affinity, namespaces…) is changed on the home carrier while it is
 * the only one; those that come after it inherit what it has.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include "../entry/sigsys.h"
#include "impl.h"

#define COARSE 500u                    /* exchanges between two ticks */

bool vos_ut_many(void)
{
	return vos_ut.many;
}

bool vos_ut_make_home(struct vos_carrier *c)
{
	struct vos_ut_carrier *m = vos_ut.carrier[0];

	if (!m)
		m = vos_alloc(sizeof *m);
	if (!m)
		return false;
	memset(m, 0, sizeof *m);
	m->c = c;
	m->timer = -1;
	m->alive = 1;
	c->ut = m;
	vos_ut.home = vos_ut.carrier[0] = m;
	vos_ut.n = vos_ut.running = 1;
	return true;
}

/* ---- waking ---- */

void vos_ut_wake(struct vos_ut_carrier *m)
{
	/* Pairs with the fence in vos_ut_idle_locked(): either this sees it asleep, or it sees what there is. */
	atomic_thread_fence(memory_order_seq_cst);
	switch (atomic_exchange(&m->asleep, 0)) {
	case 1:
		vos_raw3(SYS_futex, VOS_PTR(&m->asleep), 129 /* FUTEX_WAKE_PRIVATE */, 1);
		break;
	case 2:
		vos_remote_kick(m->c);
		/* It looks after the lanes of those that ended as well. */
		if (m == vos_ut.home)
			for (uint32_t i = 1; i < vos_ut.n; i++)
				if (vos_ut.carrier[i]->gone)
					vos_remote_kick(vos_ut.carrier[i]->c);
	}
}

/* Without the lock, also from helpers. */
void vos_ut_wake_any(void)
{
	uint32_t n = __atomic_load_n(&vos_ut.n, __ATOMIC_ACQUIRE);

	atomic_thread_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < n; i++)
		if (atomic_load(&vos_ut.carrier[i]->asleep)) {
			vos_ut_wake(vos_ut.carrier[i]);
			return;
		}
}

uint32_t vos_ut_lanes(struct vos_lane_client **ret, uint32_t max)
{
	struct vos_ut_carrier *m = vos_ut_me();
	uint32_t n = 0, carriers = m == vos_ut.home ? vos_ut.n : 1;

	for (uint32_t k = 0; k < carriers; k++) {
		struct vos_ut_carrier *of = k == 0 ? m : vos_ut.carrier[k];

		if (k > 0 && !of->gone)
			continue;
		for (unsigned i = 0; i < VOS_DOMAINS_MAX && n < max; i++)
			if (of->c->lane[i] && vos_lane_busy(of->c->lane[i]))
				ret[n++] = of->c->lane[i];
	}
	return n;
}

/* ---- how many ---- */

static bool read_file(const char *path, char *buf, size_t cap)
{
	long fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(path), O_RDONLY | O_CLOEXEC, 0), n;

	if (fd < 0)
		return false;
	n = vos_raw3(SYS_read, fd, VOS_PTR(buf), (long)cap - 1);
	vos_raw1(SYS_close, fd);
	if (n < 0)
		return false;
	buf[n] = 0;
	return true;
}

/* Processors that the cgroup (version 2) lets the process use; 0: no limit is known. */
static uint32_t cgroup_limit(void)
{
	char text[600], path[700];
	const char *s, *name;
	uint64_t quota, period;
	size_t len = 0;

	if (!read_file("/proc/self/cgroup", text, sizeof text))
		return 0;
	for (s = text; *s && strncmp(s, "0::", 3); s++)
		while (*s && *s != '\n')
			s++;
	if (!*s)
		return 0;
	name = s + 3;
	while (name[len] && name[len] != '\n')
		len++;
	vos_fmt(path, sizeof path, "/sys/fs/cgroup%.*s/cpu.max", (int)len, name);
	if (!read_file(path, text, sizeof text))
		return 0;
	s = text;
	if (!vos_number(&s, &quota) || *s++ != ' ' || !vos_number(&s, &period) || period == 0)
		return 0;
	return (uint32_t)((quota + period - 1) / period);
}

static uint32_t limit(void)
{
	uint64_t mask[128];
	long r = vos_raw3(SYS_sched_getaffinity, 0, sizeof mask, VOS_PTR(mask));
	uint32_t cores = 0, quota = cgroup_limit();

	for (long i = 0; i < r / 8; i++)
		for (uint64_t m = mask[i]; m; m &= m - 1)
			cores++;
	if (quota && quota < cores)
		cores = quota;
	if (vos_ut.spread && cores < 4)
		cores = 4;
	return cores > UT_CARRIERS_MAX ? UT_CARRIERS_MAX : cores;
}

/* ---- the life of one ---- */

static void carrier_main(void *arg)
{
	struct vos_ut_carrier *m = arg;
	struct vos_carrier *c = m->c;

	c->pid = (uint32_t)vos_raw0(SYS_getpid);
	c->ktid = (uint32_t)vos_raw0(SYS_gettid);
	m->kmask = ~VOS_SIG_OURS;
	vos_sig_unblock(m->kmask);
	vos_sud_thread();
	vos_ut_preempt_start(m);
	vos_ut_lock();
	while (!vos_ut.retiring) {
		struct vos_uthread *n = vos_ut_pop_locked(m);

		if (!n)
			n = vos_ut_steal_locked(m);
		if (n) {
			vos_ut_exchange_locked(m->base, n);
			continue;
		}
		uint64_t next = vos_ut_timer_run();

		if (!m->run)
			vos_ut_idle_locked(next);
	}
	vos_ut_preempt_stop(m);
	vos_carrier_unlink(c);
	m->gone = true;
	m->coarse = false;
	vos_ut.running--;
	/* Its queue is empty: what is readied now goes home, which also looks after its lanes. */
	while (m->run) {
		struct vos_uthread *u = vos_ut_pop_locked(m);

		u->state = UT_PARKED;
		vos_ut_ready_locked(u);
	}
	vos_ut_unlock();
	vos_ut_wake(vos_ut.home);
	for (;;)
		vos_raw1(SYS_exit, 0);
}

static struct vos_ut_carrier *new_carrier(void)
{
	struct vos_carrier *me = vos_self();
	struct vos_ut_carrier *m = vos_alloc(sizeof *m);
	struct vos_uthread *u = vos_alloc(sizeof *u + vos_ut_area + 64);

	if (m && u)
		m->c = vos_carrier_new(me->proc);
	if (!m || !u || !m->c) {
		vos_free(m);
		vos_free(u);
		return NULL;
	}
	u->xsave = (void *)(((uintptr_t)(u + 1) + 63) & ~63UL);
	u->thread = m->c->thread;
	u->thread->ut = u;
	u->runtime_sp = m->c->runtime_sp;
	u->runtime_lo = m->c->runtime_lo;
	u->pend_tail = &u->pend;
	m->base = u;
	m->c->ut = m;
	m->gone = true;
	m->timer = -1;
	vos_ut.carrier[vos_ut.n] = m;
	/* Release: vos_ut_wake_any() looks without the lock. */
	__atomic_store_n(&vos_ut.n, vos_ut.n + 1, __ATOMIC_RELEASE);
	return m;
}

/* Starts one more.  False: there is to be none. */
static bool start_locked(void)
{
	struct vos_ut_carrier *m = NULL;
	uint64_t old, all = ~0ULL;
	long r;

	if (vos_ut.running >= limit())
		return false;
	if (!vos_ut.many) {
		/* What the caller did until now it did with the lock, as it was alone. */
		vos_remote_share_lanes(vos_self()->proc);
		atomic_store(&vos_ut.lock, 1);
		vos_ut_me()->locked = true;
		vos_ut.many = true;
	}
	for (uint32_t i = 1; i < vos_ut.n && !m; i++)
		if (vos_ut.carrier[i]->gone && !atomic_load(&vos_ut.carrier[i]->alive))
			m = vos_ut.carrier[i];
	if (!m && vos_ut.n < UT_CARRIERS_MAX)
		m = new_carrier();
	if (!m)
		return false;
	m->c->thread = m->base->thread;
	m->c->runtime_sp = m->base->runtime_sp;
	m->c->runtime_lo = m->base->runtime_lo;
	m->base->state = UT_RUNNING;
	m->base->on = m;
	m->base->kmask = ~VOS_SIG_OURS;
	m->switching = 0;
	m->locked = false;
	m->run = NULL;
	m->ready = 0;
	m->gone = false;
	m->coarse = vos_ut.spread;
	m->c->ktid = 0;
	atomic_store(&m->alive, 1);
	vos_carrier_link(m->c);
	vos_ut.running++;
	/* Also what is ours: the new thread has the caller's GS base for its first instructions. */
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&all), VOS_PTR(&old), 8);
	r = vos_ut_clone_helper(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID,
				(void *)m->c->runtime_sp, m->c, m, &m->alive, carrier_main);
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&old), 0, 8);
	if (r < 0) {
		vos_carrier_unlink(m->c);
		m->gone = true;
		atomic_store(&m->alive, 0);
		vos_ut.running--;
		return false;
	}
	vos_note("threads=mn: carrier %u of %u", vos_ut.running, vos_self()->pid);
	return true;
}

void vos_ut_balance_locked(struct vos_ut_carrier *m, bool timer)
{
	static uint32_t refused;       /* ticks to go by before the limit is looked at again */

	if (timer) {
		m->coarse = vos_ut.spread || m->switches - m->tick_switches < COARSE;
		m->tick_switches = m->switches;
	}
	if (!m->coarse || vos_ut.retiring)
		return;
	if (!m->run) {
		/* Others may have more than one to each turn of ours. */
		struct vos_uthread *u = vos_ut.many ? vos_ut_steal_locked(m) : NULL;

		if (u) {
			u->state = UT_PARKED;
			vos_ut_ready_locked(u);
		}
		return;
	}
	for (uint32_t i = 0; i < vos_ut.n; i++)
		if (vos_ut.carrier[i]->idle) {
			vos_ut_wake(vos_ut.carrier[i]);
			return;
		}
	if (refused)
		refused--;
	else if (!start_locked())
		refused = 100;
}

/* ---- staying ---- */

void vos_ut_stay(void)
{
	struct vos_uthread *u = vos_ut_self();

	if (!u)
		return;
	vos_ut_lock();
	if (u->pins++ == 0)
		u->pin = vos_ut_me();
	vos_ut_unlock();
}

void vos_ut_stayed(void)
{
	struct vos_uthread *u = vos_ut_self();

	if (!u)
		return;
	vos_ut_lock();
	if (--u->pins == 0)
		u->pin = NULL;
	vos_ut_unlock();
}

void vos_ut_go_home(bool one)
{
	struct vos_uthread *u = vos_ut_self();

	vos_ut_stay();
	u->pin = vos_ut.home;
	while (vos_ut_me() != vos_ut.home)
		vos_ut_yield();
	if (!one || !vos_ut.many)
		return;
	vos_ut_lock();
	vos_ut.retiring++;
	for (uint32_t i = 1; i < vos_ut.n; i++)
		if (!vos_ut.carrier[i]->gone) {
			vos_ut_wake(vos_ut.carrier[i]);
			vos_ut_prod(vos_ut.carrier[i]);
		}
	/* No lost wake: whoever goes looks at nobody, so this looks again. */
	while (vos_ut.running > 1)
		vos_ut_park_locked(vos_ut_now() + 500000, false);
	vos_ut_unlock();
}

void vos_ut_left_home(bool one)
{
	if (one && vos_ut.many) {
		vos_ut_lock();
		if (vos_ut.retiring)
			vos_ut.retiring--;
		vos_ut_unlock();
	}
	vos_ut_stayed();
}

/* ---- fork ---- */

void vos_ut_fork_begin(void)
{
	if (!vos_ut_self())
		return;
	vos_ut_go_home(false);
	/* The child's kernel thread begins with the kernel's mask. */
	vos_ut_set_kmask(vos_ut_self()->kmask);
}

void vos_ut_fork_end(void)
{
	if (vos_ut_self())
		vos_ut_left_home(false);
}

void vos_ut_fork_prepare(void)
{
	if (vos_ut_self())
		vos_ut_lock();
}

void vos_ut_fork_parent(void)
{
	if (vos_ut_self())
		vos_ut_unlock();
}

/* The caller is home, and stands on no stack of the others, whose memory is given back (vos_carrier_fork_child()). */
void vos_ut_carriers_fork_child(void)
{
	struct vos_ut_carrier *m = vos_ut_me();
	uint64_t kmask = m->kmask;

	for (uint32_t i = 1; i < vos_ut.n; i++) {
		/* Those that had ended were not in the process's list. */
		if (vos_ut.carrier[i]->gone)
			vos_carrier_free(vos_ut.carrier[i]->c);
		vos_free(vos_ut.carrier[i]->base);
		vos_free(vos_ut.carrier[i]);
		vos_ut.carrier[i] = NULL;
	}
	vos_ut.many = false;
	vos_ut.retiring = 0;
	atomic_store(&vos_ut.lock, 0);
	vos_ut_make_home(m->c);
	m->kmask = kmask;
	vos_ut_self()->on = m;
}
