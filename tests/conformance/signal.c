/* Signals: what handlers are told, masks, queues, faults, and what a handler may change. */
#include "check.h"
#include <setjmp.h>
#include <sys/signalfd.h>
#include <ucontext.h>

static volatile sig_atomic_t hits, last;
static volatile siginfo_t info;

static void count(int sig)
{
	hits++;
	last = sig;
}

static void record(int sig, siginfo_t *si, void *uc)
{
	hits++;
	last = sig;
	memcpy((void *)&info, si, sizeof *si);
}

static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	OK(sigaction(sig, &sa, NULL));
}

static void inform(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO };

	OK(sigaction(sig, &sa, NULL));
}

static void ticking(int usec)
{
	struct itimerval t = { { 0, usec }, { 0, usec } };

	OK(setitimer(ITIMER_REAL, &t, NULL));
}

static void told_by_siginfo(void)
{
	union sigval v = { .sival_ptr = (void *)0x123456789abc };

	inform(SIGUSR1, record, 0);
	inform(SIGRTMIN + 3, record, 0);
	OK(kill(getpid(), SIGUSR1));
	EQ(hits, 1);
	EQ(info.si_signo, SIGUSR1);
	EQ(info.si_code, SI_USER);
	EQ(info.si_pid, getpid());
	EQ(info.si_uid, getuid());
	OK(sigqueue(getpid(), SIGRTMIN + 3, v));
	EQ(hits, 2);
	EQ(info.si_code, SI_QUEUE);
	CHECK(info.si_value.sival_ptr == v.sival_ptr);
	OK(raise(SIGUSR1));
	EQ(info.si_code, SI_TKILL);
	pid_t pid = fork();
	if (pid == 0) {
		OK(kill(getppid(), SIGUSR1));
		_exit(0);
	}
	wait_ok(pid);
	EQ(hits, 4);
	EQ(info.si_pid, pid);
}

static void of_children(void)
{
	sigset_t set, none;

	inform(SIGCHLD, record, 0);
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	pid_t pid = fork();
	if (pid == 0)
		_exit(17);
	while (!hits)
		ERR(sigsuspend(&none), EINTR);
	EQ(info.si_code, CLD_EXITED);
	EQ(info.si_pid, pid);
	EQ(info.si_status, 17);
	EQ(wait_status(pid), 17 << 8);
	pid = fork();
	if (pid == 0)
		pause();
	OK(kill(pid, SIGTERM));
	while (hits < 2)
		ERR(sigsuspend(&none), EINTR);
	EQ(info.si_code, CLD_KILLED);
	EQ(info.si_status, SIGTERM);
	wait_status(pid);
}

static void actions_read_back(void)
{
	struct sigaction sa = { .sa_sigaction = record, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER | SA_ONSTACK }, got;

	OK(sigaction(SIGUSR1, NULL, &got));
	CHECK(got.sa_handler == SIG_DFL && got.sa_flags == 0);
	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGHUP);
	OK(sigaction(SIGUSR1, &sa, &got));
	CHECK(got.sa_handler == SIG_DFL);
	OK(sigaction(SIGUSR1, NULL, &got));
	CHECK(got.sa_sigaction == record);
	EQ(got.sa_flags & ~0x04000000, sa.sa_flags);
	for (int s = 1; s < 65; s++)
		if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33)
			EQ(sigismember(&got.sa_mask, s), s != SIGHUP);
	/* The kernel's own form, with its mask, byte for byte. */
	struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } k = { count, SA_RESTART | 0x04000000, (void *)0x1234567, 0xf0f0 }, back;
	OK(syscall(SYS_rt_sigaction, SIGUSR2, &k, NULL, 8L));
	OK(syscall(SYS_rt_sigaction, SIGUSR2, NULL, &back, 8L));
	CHECK(memcmp(&k, &back, sizeof k) == 0);
	/* SIGSYS is the program's own, too. */
	handle(SIGSYS, count, SA_RESTART);
	OK(sigaction(SIGSYS, NULL, &got));
	CHECK(got.sa_handler == count);
	OK(raise(SIGSYS));
	EQ(hits, 1);
	EQ(last, SIGSYS);
	signal(SIGSYS, SIG_IGN);
	OK(raise(SIGSYS));
	EQ(hits, 1);
	ERR(sigaction(SIGKILL, &sa, NULL), EINVAL);
	ERR(sigaction(0, &sa, NULL), EINVAL);
	ERR(sigaction(65, &sa, NULL), EINVAL);
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, &k, NULL, 4L), EINVAL);
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, bad_pointer(), NULL, 8L), EFAULT);
}

static void masks_read_back(void)
{
	sigset_t all, got, was;

	sigfillset(&all);
	OK(sigprocmask(SIG_SETMASK, &all, &was));
	OK(sigprocmask(SIG_BLOCK, NULL, &got));
	for (int s = 1; s < 65; s++)
		if (s != 32 && s != 33)
			EQ(sigismember(&got, s), s != SIGKILL && s != SIGSTOP);
	/* With all blocked, calls of every kind still work. */
	int fd = make_file("f", "blocked"), s[2];
	char b[8];
	EQ(read(fd, b, 8), 7);
	tcp_pair(s);
	EQ(write(s[0], "x", 1), 1);
	EQ(read(s[1], b, 8), 1);
	pid_t pid = fork();
	if (pid == 0) {
		OK(sigprocmask(SIG_BLOCK, NULL, &got));
		EQ(sigismember(&got, SIGUSR1), 1);
		EQ(sigismember(&got, SIGSYS), 1);
		EQ(pread(fd, b, 8, 0), 7);
		_exit(0);
	}
	wait_ok(pid);
	/* Pending and delivered on unblocking, SIGSYS among them. */
	handle(SIGSYS, count, 0);
	handle(SIGUSR1, count, 0);
	OK(kill(getpid(), SIGSYS));
	OK(kill(getpid(), SIGUSR1));
	EQ(hits, 0);
	OK(sigpending(&got));
	EQ(sigismember(&got, SIGUSR1), 1);
	EQ(sigismember(&got, SIGSYS), 1);
	EQ(sigismember(&got, SIGUSR2), 0);
	OK(sigprocmask(SIG_SETMASK, &was, NULL));
	EQ(hits, 2);
	ERR(sigprocmask(99, &all, NULL), EINVAL);
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4L), EINVAL);
}

static stack_t alt;
static void *volatile seen_stack;
static void where(int sig)
{
	char here;
	stack_t now_stack;

	seen_stack = &here;
	OK(sigaltstack(NULL, &now_stack));
	CHECK(now_stack.ss_flags == SS_ONSTACK);
	CHECK(now_stack.ss_sp == alt.ss_sp && now_stack.ss_size == alt.ss_size);
	ERR(sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL), EPERM);
	/* Calls from here, too. */
	int s[2];
	tcp_pair(s);
	EQ(write(s[0], "x", 1), 1);
	EQ(read(s[1], &here, 1), 1);
	hits++;
}

static void alternate_stack(void)
{
	stack_t got;

	alt = (stack_t){ .ss_sp = malloc(65536), .ss_size = 65536 };
	OK(sigaltstack(NULL, &got));
	EQ(got.ss_flags, SS_DISABLE);
	OK(sigaltstack(&alt, NULL));
	OK(sigaltstack(NULL, &got));
	CHECK(got.ss_sp == alt.ss_sp && got.ss_flags == 0);
	handle(SIGUSR1, where, SA_ONSTACK);
	OK(raise(SIGUSR1));
	EQ(hits, 1);
	CHECK((char *)seen_stack >= (char *)alt.ss_sp && (char *)seen_stack < (char *)alt.ss_sp + 65536);
	/* While a call blocks. */
	handle(SIGALRM, where, SA_ONSTACK);
	ticking(20000);
	int s[2];
	tcp_pair(s);
	ERR(read(s[0], &got, 1), EINTR);
	CHECK((char *)seen_stack >= (char *)alt.ss_sp && (char *)seen_stack < (char *)alt.ss_sp + 65536);
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	ERR(sigaltstack(&(stack_t){ .ss_sp = alt.ss_sp, .ss_size = 10 }, NULL), ENOMEM);
}

static void overflow(int n)
{
	volatile char frame[4000];

	frame[0] = n;
	overflow(n + 1 + (frame[0] & 0));
	frame[1] = 0;
}

static sigjmp_buf jump;
static void leap(int sig, siginfo_t *si, void *uc)
{
	memcpy((void *)&info, si, sizeof *si);
	last = sig;
	hits++;
	siglongjmp(jump, 1);
}

static void stack_overflow_is_caught(void)
{
	alt = (stack_t){ .ss_sp = malloc(65536), .ss_size = 65536 };
	OK(sigaltstack(&alt, NULL));
	inform(SIGSEGV, leap, SA_ONSTACK);
	if (sigsetjmp(jump, 1) == 0)
		overflow(0);
	EQ(last, SIGSEGV);
	EQ(access("/", F_OK), 0);
}

static void resethand_and_nodefer(void)
{
	struct sigaction got;

	handle(SIGUSR1, count, SA_RESETHAND);
	OK(raise(SIGUSR1));
	EQ(hits, 1);
	OK(sigaction(SIGUSR1, NULL, &got));
	CHECK(got.sa_handler == SIG_DFL);
	pid_t pid = fork();
	if (pid == 0) {
		raise(SIGUSR1);
		_exit(0);
	}
	int st = wait_status(pid);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGUSR1);
}

static volatile int depth, deepest;
static void recursive(int sig)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (hits++ < 3)
		raise(sig);
	depth--;
}

static void nested(void)
{
	handle(SIGUSR1, recursive, SA_NODEFER);
	OK(raise(SIGUSR1));
	EQ(deepest, 4);
	deepest = hits = 0;
	handle(SIGUSR1, recursive, 0);
	OK(raise(SIGUSR1));
	EQ(deepest, 1);
	EQ(hits, 4);
}

static void waited_for(void)
{
	sigset_t set;
	siginfo_t si;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < 3; i++)
		OK(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = i }));
	for (int i = 0; i < 3; i++) {
		EQ(sigwaitinfo(&set, &si), SIGRTMIN);
		EQ(si.si_value.sival_int, i);
	}
	ERR(sigtimedwait(&set, &si, &(struct timespec){ 0, 10000000 }), EAGAIN);
	OK(kill(getpid(), SIGUSR1));
	P0(sigwait(&set, &sig));
	EQ(sig, SIGUSR1);
	int sfd = OK(signalfd(-1, &set, SFD_CLOEXEC));
	OK(kill(getpid(), SIGUSR1));
	struct signalfd_siginfo i;
	EQ(read(sfd, &i, sizeof i), sizeof i);
	EQ(i.ssi_signo, SIGUSR1);
}

static void posix_timers(void)
{
	timer_t t;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 77 };
	struct itimerspec it = { { 0, 5000000 }, { 0, 5000000 } };

	inform(SIGRTMIN + 1, record, SA_RESTART);
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	OK(timer_settime(t, 0, &it, NULL));
	while (hits < 5)
		pause();
	EQ(info.si_code, SI_TIMER);
	EQ(info.si_value.sival_int, 77);
	OK(timer_delete(t));
}

static void fix_up(int sig, siginfo_t *si, void *c)
{
	ucontext_t *uc = c;

	hits++;
	memcpy((void *)&info, si, sizeof *si);
	/* Step over a two-byte instruction, and leave an answer in a register. */
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	uc->uc_mcontext.gregs[REG_RBX] = 0x1122334455667788;
}

static void registers_changed_by_the_handler(void)
{
	unsigned long v;

	inform(SIGILL, fix_up, 0);
	asm volatile("xor %%ebx, %%ebx\n\tud2\n\tmov %%rbx, %0" : "=r"(v) : : "rbx", "memory");
	EQ(v, 0x1122334455667788);
	EQ(hits, 1);
	inform(SIGTRAP, record, 0);
	asm volatile("int3");
	EQ(hits, 2);
	EQ(last, SIGTRAP);
}

static void end_by_context(int sig, siginfo_t *si, void *c)
{
	ucontext_t *uc = c;

	/* The mask to be restored is the one in the frame, and the handler may change it. */
	sigaddset(&uc->uc_sigmask, SIGUSR2);
	hits++;
}

static void mask_changed_by_the_handler(void)
{
	sigset_t now_set;

	inform(SIGUSR1, end_by_context, 0);
	OK(raise(SIGUSR1));
	OK(sigprocmask(SIG_BLOCK, NULL, &now_set));
	EQ(sigismember(&now_set, SIGUSR2), 1);
	EQ(sigismember(&now_set, SIGUSR1), 0);
	int sk[2];
	tcp_pair(sk);
	inform(SIGALRM, end_by_context, 0);
	sigemptyset(&now_set);
	OK(sigprocmask(SIG_SETMASK, &now_set, NULL));
	ticking(10000);
	ERR(read(sk[0], &now_set, 1), EINTR);
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	OK(sigprocmask(SIG_BLOCK, NULL, &now_set));
	EQ(sigismember(&now_set, SIGUSR2), 1);
}

static void faults(void)
{
	char *p = bad_pointer();
	void (*volatile null_fn)(void) = NULL;

	inform(SIGSEGV, leap, 0);
	if (sigsetjmp(jump, 1) == 0)
		p[0] = 1;
	EQ(hits, 1);
	CHECK(info.si_addr == p);
	EQ(info.si_code, SEGV_ACCERR);
	if (sigsetjmp(jump, 1) == 0)
		null_fn();
	EQ(hits, 2);
	CHECK(info.si_addr == NULL);
	EQ(info.si_code, SEGV_MAPERR);
	if (sigsetjmp(jump, 1) == 0)
		(void)*(volatile char *)(long)8;
	EQ(hits, 3);
	CHECK(info.si_addr == (void *)8);
	inform(SIGFPE, leap, 0);
	volatile int zero = 0, one = 1;
	if (sigsetjmp(jump, 1) == 0)
		one = one / zero;
	EQ(last, SIGFPE);
	EQ(info.si_code, FPE_INTDIV);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			signal(SIGSEGV, SIG_DFL);
			if (i == 0)
				null_fn();
			else
				(void)*(volatile char *)0;
			_exit(0);
		}
		int st = wait_status(pid);
		CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
	}
}

static const struct check_case cases[] = {
	CASE(told_by_siginfo), CASE(of_children), CASE(actions_read_back), CASE(masks_read_back), CASE(alternate_stack),
	CASE(stack_overflow_is_caught), CASE(resethand_and_nodefer), CASE(nested), CASE(waited_for), CASE(posix_timers),
	CASE(registers_changed_by_the_handler), CASE(mask_changed_by_the_handler), CASE(faults),
};
CHECK_MAIN(cases)
