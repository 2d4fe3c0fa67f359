/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spawn COUNT [NAME=VALUE]... COMMAND...: the median and the fastest time from posix_spawn to the end of COMMAND, in
 * microseconds.  Never interposed itself; the variables are set for COMMAND alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include "measure.h"

extern char **environ;

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[1]) : 0, status, e;
	double *took;

	for (argv += 2, argc -= 2; argc > 0 && strchr(argv[0], '='); argv++, argc--)
		putenv(argv[0]);
	if (count < 1 || argc < 1) {
		fprintf(stderr, "Usage: spawn COUNT [NAME=VALUE]... COMMAND [ARGUMENT]...\n");
		return 2;
	}
	took = calloc((size_t)count, sizeof *took);
	if (!took)
		die("calloc");
	/* One more, unmeasured: it fills the page cache and the plan cache. */
	for (int i = -1; i < count; i++) {
		uint64_t t = now_ns();
		pid_t pid;

		e = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
		if (e) {
			fprintf(stderr, "spawn: %s: %s\n", argv[0], strerror(e));
			return 1;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (i >= 0)
			took[i] = (double)(now_ns() - t) / 1000;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			fprintf(stderr, "spawn: %s: status 0x%x\n", argv[0], (unsigned)status);
			return 1;
		}
	}
	qsort(took, (size_t)count, sizeof *took, by_value);
	figure("median", took[count / 2]);
	figure("fastest", took[0]);
	return 0;
}
