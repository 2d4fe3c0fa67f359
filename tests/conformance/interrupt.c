/* Signals that arrive while a call blocks: what is interrupted, what is restarted, what is lost (nothing). */
#include "check.h"
#include <linux/futex.h>
#include <setjmp.h>
#include <sys/uio.h>

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

static sigjmp_buf jump;
static void leap(int sig, siginfo_t *si, void *uc)
{
	memcpy((void *)&info, si, sizeof *si);
	last = sig;
	hits++;
	siglongjmp(jump, 1);
}

/* Every blocking call, interrupted with and without SA_RESTART. */
static int sk[2], pp[2], lis;
static long block_on(int what)
{
	char b[4];
	struct iovec v = { b, 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	switch (what) {
	case 0: return read(sk[0], b, 4);
	case 1: return recv(sk[0], b, 4, 0);
	case 2: return recvmsg(sk[0], &m, 0);
	case 3: return accept(lis, NULL, NULL);
	case 4: return read(pp[0], b, 4);
	case 5: return readv(sk[0], &v, 1);
	case 6: return waitpid(-1, NULL, 0);
	case 7: return recvfrom(sk[0], b, 4, 0, NULL, NULL);
	case 8: return poll(&(struct pollfd){ sk[0], POLLIN }, 1, -1);
	case 9: return nanosleep(&(struct timespec){ 30, 0 }, NULL);
	case 10: return syscall(SYS_futex, &(int){ 0 }, FUTEX_WAIT_PRIVATE, 0, &(struct timespec){ 30, 0 }, NULL, 0);
	case 11: return pause();
	case 12: return select(sk[0] + 1, &(fd_set){ { 0 } }, NULL, NULL, &(struct timeval){ 30, 0 });
	}
	return 0;
}

static void *feeds(void *arg)
{
	int what = *(int *)arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (hits < 3)
		sched_yield();
	if (what == 3) {
		struct sockaddr_in a;
		socklen_t n = sizeof a;
		OK(getsockname(lis, (struct sockaddr *)&a, &n));
		connected(&a);
	} else if (what == 4) {
		EQ(write(pp[1], "data", 4), 4);
	} else {
		EQ(write(sk[1], "data", 4), 4);
	}
	return NULL;
}

static void interrupted(void)
{
	tcp_pair(sk);
	OK(pipe(pp));
	lis = listener(NULL);
	struct gate g;
	gate_init(&g);
	pid_t pid = fork();
	if (pid == 0) {
		gate_wait(&g);
		_exit(0);
	}
	handle(SIGALRM, count, 0);
	for (int i = 0; i <= 12; i++) {
		hits = 0;
		ticking(15000);
		errno = 0;
		long r = block_on(i);
		int e = errno;
		OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
		if (r != -1 || e != EINTR)
			FAIL("call %d gave %ld, errno %d after %d signals", i, r, e, (int)hits);
		CHECK(hits >= 1);
	}
	gate_open(&g);
	wait_ok(pid);
}

static void restarted(void)
{
	tcp_pair(sk);
	OK(pipe(pp));
	lis = listener(NULL);
	handle(SIGALRM, count, SA_RESTART);
	for (int i = 0; i <= 7; i++) {
		pthread_t t;
		if (i == 6)
			continue;
		hits = 0;
		P0(pthread_create(&t, NULL, feeds, &i));
		ticking(10000);
		long r = block_on(i);
		int e = errno;
		OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
		P0(pthread_join(t, NULL));
		if (i == 3 ? r < 0 : r != 4)
			FAIL("call %d gave %ld, errno %d", i, r, e);
		CHECK(hits >= 3);
	}
	/* poll and nanosleep are not restarted even so. */
	for (int i = 8; i <= 9; i++) {
		ticking(10000);
		ERR(block_on(i), EINTR);
	}
}

static void partial_transfers(void)
{
	/* A blocked write that has sent a part and is interrupted says how much. */
	static char big[16 << 20];
	long n, got = 0, r;

	tcp_pair(sk);
	handle(SIGALRM, count, 0);
	ticking(30000);
	n = write(sk[0], big, sizeof big);
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	CHECK(n > 0 && n < (long)sizeof big);
	OK(shutdown(sk[0], SHUT_WR));
	while ((r = OK(read(sk[1], big, sizeof big))) > 0)
		got += r;
	EQ(got, n);
}

static void remaining_sleep(void)
{
	struct timespec rem = { 0, 0 };

	handle(SIGALRM, count, 0);
	ticking(20000);
	ERR(nanosleep(&(struct timespec){ 50, 0 }, &rem), EINTR);
	CHECK(rem.tv_sec >= 48 && rem.tv_sec <= 50);
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	double t = now();
	EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, 20000000 }, NULL), 0);
	CHECK(now() - t >= 0.019);
}

static void leaping_out(void)
{
	char b[1];

	tcp_pair(sk);
	OK(pipe(pp));
	inform(SIGALRM, leap, 0);
	for (int i = 0; i < 30; i++) {
		volatile int reached = 0;
		if (sigsetjmp(jump, 1) == 0) {
			struct itimerval t = { { 0, 0 }, { 0, 3000 } };
			OK(setitimer(ITIMER_REAL, &t, NULL));
			reached = 1;
			read(i % 2 ? sk[0] : pp[0], b, 1);
			FAIL("the read came back");
		}
		EQ(reached, 1);
	}
	EQ(hits, 30);
	/* The sockets are as good as before, and nothing was eaten by the abandoned reads. */
	EQ(write(sk[1], "ab", 2), 2);
	EQ(read(sk[0], b, 1), 1);
	EQ(b[0], 'a');
	EQ(read(sk[0], b, 1), 1);
	EQ(b[0], 'b');
	EQ(write(pp[1], "p", 1), 1);
	EQ(read(pp[0], b, 1), 1);
	EQ(b[0], 'p');
}

static void storm(void)
{
	/* Signals every 100 microseconds while bytes flow through a socket, a pipe and a file: none lost, none doubled. */
	enum { N = 3000000 };
	static unsigned char b[N], r[N];
	size_t at = 0;
	int fd = OK(open("f", O_RDWR | O_CREAT | O_APPEND, 0600));

	handle(SIGALRM, count, SA_RESTART);
	tcp_pair(sk);
	fill(b, N, 5, 0);
	pid_t pid = fork();
	if (pid == 0) {
		OK(close(sk[1]));
		ticking(100);
		for (at = 0; at < N; at += 997)
			EQ(write_all(sk[0], b + at, N - at < 997 ? N - at : 997), N - at < 997 ? N - at : 997);
		_exit(0);
	}
	OK(close(sk[0]));
	ticking(100);
	for (;;) {
		long n = read(sk[1], r + at, 1 + at % 1500 < N - at ? 1 + at % 1500 : N - at);
		if (n < 0 && errno == EINTR)
			continue;
		OK(n);
		if (n == 0)
			break;
		EQ(write(fd, r + at, n), n);
		at += n;
	}
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	EQ(at, N);
	expect(r, N, 5, 0);
	memset(r, 0, N);
	EQ(pread(fd, r, N, 0), N);
	expect(r, N, 5, 0);
	CHECK(hits > 5);
	EQ(wait_status(pid), 0);
}

static volatile pthread_t handler_thread;
static void who(int sig)
{
	handler_thread = pthread_self();
	hits++;
}
static void *blocked_reader(void *arg)
{
	char b;

	return (void *)(read(*(int *)arg, &b, 1) < 0 ? (long)errno : 0L);
}

static void sent_to_a_thread(void)
{
	pthread_t t;
	void *r;

	tcp_pair(sk);
	handle(SIGUSR1, who, 0);
	P0(pthread_create(&t, NULL, blocked_reader, &sk[0]));
	/* Again and again until it was inside the call. */
	for (;;) {
		settle();
		P0(pthread_kill(t, SIGUSR1));
		struct timespec ts;
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 20000000;
		if (ts.tv_nsec >= 1000000000)
			ts.tv_sec++, ts.tv_nsec -= 1000000000;
		if (pthread_timedjoin_np(t, &r, &ts) == 0)
			break;
	}
	EQ((long)r, EINTR);
	CHECK(pthread_equal(handler_thread, t));
	P0(pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){ 0 }));
	CHECK(pthread_equal(handler_thread, pthread_self()));
}

static const struct check_case cases[] = {
	CASE(interrupted), CASE(restarted), CASE(partial_transfers), CASE(remaining_sleep), CASE(leaping_out), CASE(storm),
	CASE(sent_to_a_thread),
};
CHECK_MAIN(cases)
