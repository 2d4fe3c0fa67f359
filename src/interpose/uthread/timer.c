/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Deadlines of parked uthreads: a binary heap, and the calls that sleep. */
#include <time.h>
#include "../entry/user.h"
#include "impl.h"

static struct vos_uthread **heap;      /* from 1 */
static uint32_t used, cap;
static uint64_t looked;                /* ticks of the last look */
#define LOOK_TICKS 100000u             /* some 40 µs: how late a timer may be while others run */

static uint64_t clock_ns(int clock)
{
	struct timespec ts = { 0, 0 };

	vos_raw2(__NR_clock_gettime, clock, VOS_PTR(&ts));
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t vos_ut_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void put(uint32_t i, struct vos_uthread *u)
{
	heap[i] = u;
	u->heap = i;
}

static void up(uint32_t i, struct vos_uthread *u)
{
	for (; i > 1 && heap[i / 2]->deadline > u->deadline; i /= 2)
		put(i, heap[i / 2]);
	put(i, u);
}

static void down(uint32_t i, struct vos_uthread *u)
{
	for (uint32_t k; (k = 2 * i) <= used; i = k) {
		if (k < used && heap[k + 1]->deadline < heap[k]->deadline)
			k++;
		if (heap[k]->deadline >= u->deadline)
			break;
		put(i, heap[k]);
	}
	put(i, u);
}

bool vos_ut_timer_add(struct vos_uthread *u, uint64_t deadline_ns)
{
	if (used + 2 > cap) {
		uint32_t n = cap ? cap * 2 : 64;
		void *m = vos_realloc(heap, n * sizeof *heap);

		if (!m)
			return false;
		heap = m;
		cap = n;
	}
	u->deadline = deadline_ns;
	up(++used, u);
	return true;
}

void vos_ut_timer_del(struct vos_uthread *u)
{
	uint32_t i = u->heap;
	struct vos_uthread *last;

	if (!i)
		return;
	u->heap = 0;
	last = heap[used--];
	if (last == u)
		return;
	if (i > 1 && heap[i / 2]->deadline > last->deadline)
		up(i, last);
	else
		down(i, last);
}

uint64_t vos_ut_timer_run(void)
{
	uint64_t now;

	if (!used)
		return VOS_NEVER;
	now = vos_ut_now();
	looked = vos_ut_ticks();
	while (used && heap[1]->deadline <= now) {
		struct vos_uthread *u = heap[1];

		vos_ut_timer_del(u);
		u->timed_out = true;
		vos_ut_ready_locked(u);
	}
	return used ? heap[1]->deadline : VOS_NEVER;
}

void vos_ut_timer_look(void)
{
	if (used && vos_ut_ticks() - looked > LOOK_TICKS)
		vos_ut_timer_run();
}

void vos_ut_timer_reset(void)
{
	for (uint32_t i = 1; i <= used; i++)
		heap[i]->heap = 0;
	used = 0;
}

long vos_ut_deadline(uint64_t user_ts, int clock, bool absolute, uint64_t *ret)
{
	struct timespec ts;
	uint64_t ns, now;

	*ret = VOS_NEVER;
	if (!user_ts)
		return 0;
	if (vos_copy_from_user(&ts, (void *)(uintptr_t)user_ts, sizeof ts) < 0)
		return -EFAULT;
	if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000)
		return -EINVAL;
	if (ts.tv_sec > 4000000000ll)
		return 0;
	ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	now = vos_ut_now();
	if (absolute && clock != CLOCK_MONOTONIC) {
		/* A step of the clock while it sleeps is not noticed. */
		uint64_t there = clock_ns(clock);

		*ret = ns > there ? now + (ns - there) : now;
	} else {
		*ret = absolute ? ns : now + ns;
	}
	return 0;
}

long vos_ut_nanosleep(struct vos_frame *f, int clock, int flags, uint64_t user_ts, uint64_t rem)
{
	uint64_t until, now;
	long r;

	(void)f;
	if (!user_ts)
		return -EFAULT;
	r = vos_ut_deadline(user_ts, clock, flags & TIMER_ABSTIME, &until);
	if (r < 0)
		return r;
	for (;;) {
		if (vos_ut_now() >= until)
			return 0;
		r = vos_ut_park(until, true);
		if (r == -VOS_ERESTARTSYS)
			break;
		if (r == -ETIMEDOUT)
			return 0;
		if (r < 0)
			return r;
	}
	/* Never made again after a handler, as the kernel's. */
	now = vos_ut_now();
	if (rem && !(flags & TIMER_ABSTIME)) {
		uint64_t left = until > now ? until - now : 0;
		struct timespec ts = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };

		if (vos_copy_to_user((void *)(uintptr_t)rem, &ts, sizeof ts) < 0)
			return -EFAULT;
	}
	return -EINTR;
}
