/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timing for the benchmark programs.  Each prints one line a figure, "NAME VALUE", and bench/run does the rest: it repeats
 * the program natively and under VirtuOS in turn and takes medians.
 */
#ifndef VOS_BENCH_MEASURE_H
#define VOS_BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

#define BATCHES  15
#define BATCH_NS 4000000u /* long beside the clock's grain, short beside a time slice */

/*
 * Nanoseconds of one call of `once`, in the fastest of several batches: what disturbs a batch (an interrupt, the other
 * tenant of the machine) only ever makes it slower.
 */
static inline double fastest(void (*once)(void *), void *arg)
{
	uint64_t n = 1, t, took;
	double best = 1e18;

	for (;; n *= 2) {
		t = now_ns();
		for (uint64_t i = 0; i < n; i++)
			once(arg);
		took = now_ns() - t;
		if (took >= BATCH_NS / 2 || n > 1u << 30)
			break;
	}
	for (int b = 0; b < BATCHES; b++) {
		t = now_ns();
		for (uint64_t i = 0; i < n; i++)
			once(arg);
		took = now_ns() - t;
		if ((double)took / (double)n < best)
			best = (double)took / (double)n;
	}
	return best;
}

static inline void figure(const char *name, double value)
{
	printf("%s %.2f\n", name, value);
	fflush(stdout);
}

#endif
