/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What threads cost: two that hand a turn to each other by a mutex and conditions, creation with its end, and one that yields to another.
 * Runs natively and with threads=mn.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include "measure.h"

#define TURNS 2000u  /* short beside a time slice */
#define ROUNDS 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned[2] = { PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER };
static unsigned turn;
static unsigned long turns;

/* Takes `turns` turns of each side. */
static void *side(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	pthread_mutex_lock(&lock);
	for (unsigned long i = 0; i < turns; i++) {
		while (turn != me)
			pthread_cond_wait(&turned[me], &lock);
		turn = !me;
		pthread_cond_signal(&turned[!me]);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* The time of one hand-over, in the fastest of several rounds. */
static double ping_pong(unsigned long n)
{
	double best = 1e18;

	turns = n;
	for (int r = 0; r < ROUNDS; r++) {
		pthread_t t;
		uint64_t start;
		double took;

		if (pthread_create(&t, NULL, side, (void *)1))
			die("pthread_create");
		start = now_ns();
		side(NULL);
		took = (double)(now_ns() - start) / (double)(2 * n);
		pthread_join(t, NULL);
		if (took < best)
			best = took;
	}
	return best;
}

static void *nothing(void *arg)
{
	return arg;
}

static void create_join(void *arg)
{
	pthread_t t;

	(void)arg;
	if (pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL))
		die("pthread_create");
}

static void do_getppid(void *arg) { (void)arg; getppid(); }
static void do_yield(void *arg) { (void)arg; sched_yield(); }

static _Atomic int stop;

static void *yielder(void *arg)
{
	while (!stop)
		sched_yield();
	return arg;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "all";
	pthread_t t;

	figure("syscall", fastest(do_getppid, NULL));
	if (!strcmp(what, "all") || !strcmp(what, "pingpong"))
		figure("pingpong", ping_pong(argc > 2 ? strtoul(argv[2], NULL, 0) : TURNS));
	if (!strcmp(what, "all") || !strcmp(what, "create"))
		figure("create_join", fastest(create_join, NULL));
	if (!strcmp(what, "all") || !strcmp(what, "yield")) {
		if (pthread_create(&t, NULL, yielder, NULL))
			die("pthread_create");
		figure("yield", fastest(do_yield, NULL));
		stop = 1;
		pthread_join(t, NULL);
	}
	return 0;
}
