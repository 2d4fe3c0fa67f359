/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long to look for a completion before sleeping.  Looking is worth at most what a sleep and a wake cost, and only when
 * the request is likely to end within that.  So each lane learns, by kind of request, how long its requests take; one that
 * slept is not looked for again, but for a probe now and then, as times change.
 *
 * Looking begins with the pause instruction, as the server runs on another core; then sched_yield, so that it can run on
 * this one.  With a single core there is nothing to look for until it has run: yield at once.
 *
 * When the cores are crowded, a yield hands this one to a stranger for milliseconds, and no wake takes it back; one that
 * sleeps is woken as soon as there is something for it.  So a yield that took long and brought nothing is the last for a while.
 */
#include <time.h>
#include "remote_impl.h"

#define PAUSE_NS   3000u   /* at most, without giving up the core */
#define LOOK_NS    50000u  /* at most, in all: a sleep and its wake across cores */
#define LONG_NS    LOOK_NS
#define PROBE      16u     /* every so many waits for a long one */
#define CROWD_NS   30000u  /* a yield that took so long went to a stranger */
#define CROWDED_NS 5000000u

/* Written at each join, while other threads wait: whichever value they meet will do, but never 0. */
static _Atomic uint64_t per_us = 2500;   /* ticks a microsecond; until measured */
static _Atomic bool one_core;
static uint64_t first_ns, first_ticks;
static _Atomic uint32_t measuring;

uint64_t vos_remote_now(void)
{
	struct timespec ts = { 0, 0 };

	vos_raw2(__NR_clock_gettime, CLOCK_MONOTONIC, VOS_PTR(&ts));
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void vos_spin_init(void)
{
	uint64_t mask[128], ns = vos_remote_now(), ticks = vos_ticks();
	long n = vos_raw3(__NR_sched_getaffinity, 0, sizeof mask, VOS_PTR(mask));
	unsigned cores = 0;

	for (long i = 0; i < n / 8; i++)
		for (uint64_t m = mask[i]; m; m &= m - 1)
			cores++;
	atomic_store_explicit(&one_core, cores == 1, memory_order_relaxed);
	vos_lock(&measuring);
	/* A join lies between the first call and the second: milliseconds, enough to measure by. */
	if (first_ns && ns - first_ns > 200000) {
		uint64_t measured = (ticks - first_ticks) * 1000 / (ns - first_ns);

		atomic_store_explicit(&per_us, measured ? measured : 1, memory_order_relaxed);
	}
	if (!first_ns) {
		first_ns = ns;
		first_ticks = ticks;
	}
	vos_unlock(&measuring);
}

static bool one(void)
{
	return atomic_load_explicit(&one_core, memory_order_relaxed);
}

static uint64_t ticks_a_us(void)
{
	return atomic_load_explicit(&per_us, memory_order_relaxed);
}

static uint64_t ticks_of(uint64_t ns)
{
	return ns * ticks_a_us() / 1000;
}

/* Threads of a shared lane learn together; a lost update costs nothing. */
static uint32_t get32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void set32(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

struct vos_spin_plan vos_spin_plan(struct vos_spinner *s, uint16_t op)
{
	uint32_t i = op & 63, ns = get32(&s->op[i].ns), pause = 2 * ns + 500, waits;
	struct vos_spin_plan plan;

	if (ns >= LONG_NS) {
		waits = get32(&s->op[i].waits) + 1;
		set32(&s->op[i].waits, waits);
		if (waits % PROBE != 0) {
			plan.pause = one() ? 0 : ticks_of(200);
			plan.yield = one() ? ticks_of(400) : plan.pause;
			return plan;
		}
	}
	plan.pause = one() ? 0 : ticks_of(pause > PAUSE_NS ? PAUSE_NS : pause);
	plan.yield = vos_ticks() < __atomic_load_n(&s->crowded, __ATOMIC_RELAXED) ? plan.pause : ticks_of(LOOK_NS);
	return plan;
}

void vos_spin_yielded(struct vos_spinner *s, uint64_t ticks)
{
	if (ticks > ticks_of(CROWD_NS))
		__atomic_store_n(&s->crowded, vos_ticks() + ticks_of(CROWDED_NS), __ATOMIC_RELAXED);
}

void vos_spin_learn(struct vos_spinner *s, uint16_t op, uint64_t ticks, bool slept)
{
	uint32_t i = op & 63, old = get32(&s->op[i].ns);
	uint64_t ns = ticks * 1000 / ticks_a_us();

	if (slept)
		/* Twice in a row, or from an expectation that was long already, makes it a long one. */
		set32(&s->op[i].ns, old * 2 + 8000 > LONG_NS ? LONG_NS : old * 2 + 8000);
	else
		set32(&s->op[i].ns, (uint32_t)((old * 3ull + (ns > LONG_NS ? LONG_NS : ns)) / 4));
}
