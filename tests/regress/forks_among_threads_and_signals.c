/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads come and go, fork, spawn and map code while signals rain: nobody waits for ever for a lock of the runtime. */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int stop;
static volatile sig_atomic_t hits;
extern char **environ;

static void count(int sig)
{
	hits++;
	syscall(SYS_gettid);
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		;
	return status;
}

static void *forks(void *arg)
{
	long n = 0;

	for (; !stop; n++) {
		pid_t pid = fork();

		if (pid == 0) {
			/* Calls that take locks of the runtime, in a child of which one thread is left. */
			struct sigaction old;
			void *p = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			sigaction(SIGUSR2, NULL, &old);
			munmap(p, 8192);
			if (n % 4 == 0) {
				pid_t inner = fork();

				if (inner == 0)
					_exit(1);
				_exit(reap(inner) == 1 << 8 ? 3 : 4);
			}
			_exit(3);
		}
		if (pid < 0 || reap(pid) != 3 << 8)
			abort();
	}
	return (void *)n;
}

static void *spawns(void *arg)
{
	char *v[] = { "true", NULL };
	long n = 0;

	for (; !stop; n++) {
		pid_t pid;

		if (posix_spawn(&pid, "/bin/true", NULL, NULL, v, environ) != 0 || reap(pid) != 0)
			abort();
		if (posix_spawn(&pid, "/no/such", NULL, NULL, v, environ) == 0)
			abort();
	}
	return (void *)n;
}

static void *short_lived(void *arg)
{
	sigset_t s;

	sigemptyset(&s);
	pthread_sigmask(SIG_SETMASK, &s, NULL);
	return arg;
}

static void *threads(void *arg)
{
	long n = 0;

	for (; !stop; n++) {
		pthread_t t;

		if (pthread_create(&t, NULL, short_lived, arg) != 0)
			abort();
		pthread_join(t, NULL);
	}
	return (void *)n;
}

static void *code(void *arg)
{
	static const unsigned char text[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	long n = 0;

	for (; !stop && n < 20; n++) {
		unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memcpy(p, text, sizeof text);
		mprotect(p, 4096, PROT_READ | PROT_EXEC);
		if (((long (*)(void))p)() != getpid())
			abort();
		munmap(p, 4096);
	}
	return (void *)n;
}

int main(void)
{
	void *(*const what[])(void *) = { forks, spawns, threads, code };
	struct itimerval every = { { 0, 700 }, { 0, 700 } }, none = { 0 };
	struct timespec left = { 3, 0 };
	pthread_t t[4];

	signal(SIGALRM, count);
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = count, .sa_flags = SA_RESTART }, NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, what[i], NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	while (nanosleep(&left, &left) != 0)
		;
	stop = 1;
	for (int i = 0; i < 4; i++) {
		void *n;

		pthread_join(t[i], &n);
		printf("%ld ", (long)n);
	}
	setitimer(ITIMER_REAL, &none, NULL);
	printf("rounds, %d signals\n", (int)hits);
	return hits > 10 ? 0 : 1;
}
