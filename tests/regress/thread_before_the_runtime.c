/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The runtime comes by dlopen into a program whose threads run already: they are taken in with their first call. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile int stop;
static volatile sig_atomic_t hits;

static void count(int sig)
{
	hits++;
	syscall(SYS_gettid);
}

static void *runs(void *arg)
{
	pid_t tid = syscall(SYS_gettid);
	long n = 0;

	while (!stop) {
		sigset_t s;

		if (syscall(SYS_gettid) != tid || syscall(SYS_getppid) <= 0 || pthread_sigmask(SIG_SETMASK, NULL, &s) != 0)
			abort();
		n++;
	}
	return (void *)n;
}

int main(int argc, char **argv)
{
	pthread_t t[4];
	struct timespec ms = { 0, 1000000 };
	void *n;

	unsetenv("LD_PRELOAD");
	signal(SIGUSR1, count);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, runs, NULL);
	nanosleep(&ms, NULL);
	if (!dlopen(argv[1], RTLD_NOW)) {
		printf("%s\n", dlerror());
		return 1;
	}
	for (int i = 0; i < 200; i++) {
		pthread_kill(t[i % 4], SIGUSR1);
		nanosleep(&ms, NULL);
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		if (pthread_join(t[i], &n) != 0 || !n)
			return 1;
	printf("%d signals\n", (int)hits);
	return hits > 100 ? 0 : 1;
}
