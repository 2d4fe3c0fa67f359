/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals every few microseconds while calls of every kind are made: answered by the runtime, native, and through its C.
 * So one comes between any two instructions of vos_entry.  No register but rax, rcx and r11 may change, rcx is the address after
 * the call, r11 the flags; and a handler only ever finds itself interrupted in the program's own code.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

void probe(uint64_t *p);

static volatile sig_atomic_t hits, nested;
static volatile uint64_t foreign;
static uint64_t lo, hi; /* the runtime's text */
static char altstack[65536];

static void find_runtime(void)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof line, f)) {
		unsigned long a, b;

		if (strstr(line, "libvirtuos.so") && strstr(line, "r-xp") && sscanf(line, "%lx-%lx", &a, &b) == 2)
			lo = a, hi = b;
	}
	fclose(f);
}

static void handler(int sig, siginfo_t *info, void *context)
{
	uint64_t rip = (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)info;
	hits++;
	if (rip >= lo && rip < hi)
		foreign = rip - lo;
	/* Calls of its own, which overwrite whatever the interrupted one had stored away. */
	if (getpid() <= 1 || getppid() <= 0)
		abort();
	if (sig == SIGUSR1 && hits % 5 == 0) {
		nested++;
		raise(SIGUSR2);
	}
}

static void fail(const char *what, long nr, uint64_t got, uint64_t want)
{
	printf("call %ld: %s is 0x%lx, not 0x%lx, after %d signals\n", nr, what, (unsigned long)got, (unsigned long)want, (int)hits);
	exit(1);
}

static uint64_t check(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	static const char *const name[] = { "rdi", "rsi", "rdx", "r10", "r8", "r9", "rbx", "rbp", "r12", "r13", "r14", "r15" };
	uint64_t p[32] = { (uint64_t)nr, a, b, c, d, 0x28, 0x29 };
	const uint64_t want[] = { a, b, c, d, 0x28, 0x29, 0x1b, 0x1c, 0x2c, 0x2d, 0x2e, 0x2f };

	probe(p);
	for (unsigned i = 0; i < 12; i++)
		if (p[9 + i] != want[i])
			fail(name[i], nr, p[9 + i], want[i]);
	if (p[22] != 0x77)
		fail("xmm7", nr, p[22], 0x77);
	for (unsigned i = 0; i < 3; i++)
		if (p[23 + i] != 0x5a01 + i)
			fail("the red zone", nr, p[23 + i], 0x5a01 + i);
	if ((p[26] & 0xcd5) != (p[21] & 0xcd5) || !(p[26] & 1))
		fail("rflags", nr, p[21], p[26]);
	if (p[27] != p[28])
		fail("rcx", nr, p[27], p[28]);
	return p[8];
}

int main(void)
{
	pid_t me = getpid();
	int zero = open("/dev/zero", O_RDONLY), pp[2];
	uint64_t mask = 0, old;
	char b[64];
	pid_t killer;
	struct timespec t0, t;
	long rounds = 0;

	find_runtime();
	sigaltstack(&(stack_t){ .ss_sp = altstack, .ss_size = sizeof altstack }, NULL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK }, NULL);
	sigaction(SIGUSR2, &(struct sigaction){ .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART }, NULL);
	if (pipe(pp) != 0)
		return 1;
	killer = fork();
	if (killer == 0) {
		while (getppid() == me)
			kill(me, rounds++ % 3 ? SIGUSR1 : SIGUSR2);
		_exit(0);
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		uint64_t r;

		for (int i = 0; i < 200; i++) {
			if ((r = check(SYS_getpid, 1, 2, 3, 4)) != (uint64_t)me)
				fail("getpid", SYS_getpid, r, (uint64_t)me);
			if ((r = check(SYS_gettid, 1, 2, 3, 4)) != (uint64_t)me)
				fail("gettid", SYS_gettid, r, (uint64_t)me);
			if ((r = check(SYS_getppid, 5, 6, 7, 8)) == 0)
				fail("getppid", SYS_getppid, r, 1);
			if ((r = check(SYS_read, (uint64_t)zero, (uint64_t)b, 40, 9)) != 40)
				fail("read", SYS_read, r, 40);
			if ((r = check(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)&mask, (uint64_t)&old, 8)) != 0)
				fail("rt_sigprocmask", SYS_rt_sigprocmask, r, 0);
			if (old != 0)
				fail("the mask", SYS_rt_sigprocmask, old, 0);
			if ((r = check(SYS_mprotect, 1, 4096, 1, 0)) != (uint64_t)-22)
				fail("mprotect", SYS_mprotect, r, (uint64_t)-22);
			if ((r = check(9999, 1, 2, 3, 4)) != (uint64_t)-38)
				fail("no call", 9999, r, (uint64_t)-38);
			if ((r = check(SYS_close, (uint64_t)-1, 2, 3, 4)) != (uint64_t)-9)
				fail("close", SYS_close, r, (uint64_t)-9);
			rounds++;
		}
		if (write(pp[1], "x", 1) != 1 || read(pp[0], b, 1) != 1)
			return 1;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec - t0.tv_sec < 4);
	kill(killer, SIGKILL);
	while (waitpid(killer, NULL, 0) < 0)
		;
	printf("%ld rounds, %d signals, %d nested\n", rounds, (int)hits, (int)nested);
	if (foreign) {
		printf("a handler saw rip in the runtime, at text + 0x%lx\n", (unsigned long)foreign);
		return 1;
	}
	return hits > 50 ? 0 : 1;
}
