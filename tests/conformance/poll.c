/* Waiting for many things: poll, ppoll, select, pselect over files, sockets, pipes and the kernel's other descriptors. */
#include "check.h"
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <sys/signalfd.h>

static short events(int fd, short want, int ms)
{
	struct pollfd p = { .fd = fd, .events = want, .revents = 0x7fff };
	int n = poll(&p, 1, ms);

	CHECK(n >= 0);
	EQ(n, p.revents != 0);
	return p.revents;
}

static void regular_files(void)
{
	int fd = make_file("f", ""), d = OK(open(".", O_RDONLY));

	EQ(events(fd, POLLIN | POLLOUT, -1), POLLIN | POLLOUT);
	EQ(events(fd, POLLPRI, 0), 0);
	EQ(events(d, POLLIN, 0), POLLIN);
	EQ(events(OK(open("f", O_RDONLY)), POLLIN | POLLOUT | POLLRDNORM, -1), POLLIN | POLLOUT | POLLRDNORM);
	EQ(events(OK(open("f", O_PATH)), POLLIN, 0), POLLNVAL);
}

static void mixed_kinds(void)
{
	int fd = make_file("f", "x"), p[2], e = OK(eventfd(0, 0)), s[2], u[2], un[2];
	struct sockaddr_in a;
	int l = listener(&a);

	OK(pipe(p));
	tcp_pair(s);
	udp_pair(u);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, un));
	struct pollfd f[] = { { p[0], POLLIN }, { e, POLLIN }, { s[0], POLLIN }, { u[0], POLLIN }, { un[0], POLLIN }, { l, POLLIN }, { -1, POLLIN, 5 }, { p[1], POLLOUT }, { s[1], POLLOUT }, { fd, POLLIN } };
	EQ(poll(f, 10, 1000), 3);
	EQ(f[6].revents, 0);
	CHECK(f[7].revents == POLLOUT && f[8].revents == POLLOUT && f[9].revents == POLLIN);
	EQ(poll(f, 7, 0), 0);
	EQ(poll(f, 7, 20), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(poll(f, 7, -1), 1);
	EQ(f[0].revents, POLLIN);
	OK(eventfd_write(e, 1));
	EQ(write(s[1], "x", 1), 1);
	EQ(send(u[1], "x", 1, 0), 1);
	EQ(write(un[1], "x", 1), 1);
	connected(&a);
	for (int i = 0; i < 6; i++) {
		EQ(events(f[i].fd, POLLIN, 10000), POLLIN);
	}
	EQ(poll(f, 7, 0), 6);
	for (int i = 0; i < 6; i++)
		EQ(f[i].revents, POLLIN);
	/* The same descriptor twice. */
	struct pollfd twice[2] = { { s[0], POLLIN }, { s[0], POLLIN | POLLOUT } };
	EQ(poll(twice, 2, 0), 2);
	EQ(twice[0].revents, POLLIN);
	EQ(twice[1].revents, POLLIN | POLLOUT);
}

static void invalid_descriptors(void)
{
	int s[2];
	struct pollfd f[3] = { { 190, POLLIN }, { -5, POLLIN }, { 0, 0 } };

	tcp_pair(s);
	f[2].fd = s[0];
	f[2].events = POLLOUT;
	EQ(poll(f, 2, -1), 1);
	EQ(f[0].revents, POLLNVAL);
	EQ(poll(f, 3, -1), 2);
	EQ(f[2].revents, POLLOUT);
	OK(close(s[0]));
	EQ(poll(f, 3, -1), 2);
	EQ(f[2].revents, POLLNVAL);
	ERR(poll(bad_pointer(), 1, 0), EFAULT);
	EQ(poll(NULL, 0, 0), 0);
	EQ(poll(NULL, 0, 10), 0);
	struct rlimit l;
	OK(getrlimit(RLIMIT_NOFILE, &l));
	ERR(poll(f, l.rlim_cur + 1, 0), EINVAL);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(190, &r);
	ERR(select(191, &r, NULL, NULL, &(struct timeval){ 0, 0 }), EBADF);
	ERR(select(-1, &r, NULL, NULL, NULL), EINVAL);
	ERR(select(5, bad_pointer(), NULL, NULL, NULL), EFAULT);
}

static void hang_up(void)
{
	int p[2], s[2];

	OK(pipe(p));
	OK(close(p[1]));
	EQ(events(p[0], POLLIN, -1), POLLHUP);
	OK(pipe(p));
	EQ(write(p[1], "x", 1), 1);
	OK(close(p[1]));
	EQ(events(p[0], POLLIN, -1), POLLIN | POLLHUP);
	OK(pipe(p));
	OK(close(p[0]));
	EQ(events(p[1], POLLOUT, -1), POLLOUT | POLLERR);
	tcp_pair(s);
	OK(shutdown(s[0], SHUT_WR));
	EQ(events(s[1], POLLRDHUP, 10000), POLLRDHUP);
	EQ(events(s[1], POLLIN | POLLRDHUP | POLLOUT, 0), POLLIN | POLLRDHUP | POLLOUT);
	OK(shutdown(s[1], SHUT_WR));
	EQ(events(s[0], 0, 10000), POLLHUP);
	EQ(events(s[0], POLLIN | POLLOUT, 0), POLLIN | POLLOUT | POLLHUP);
	/* A socket neither connected nor listening. */
	int n = OK(socket(AF_INET, SOCK_STREAM, 0));
	EQ(events(n, POLLIN | POLLOUT, 0), POLLOUT | POLLHUP);
}

static void timing(void)
{
	int s[2];
	double t = now();

	tcp_pair(s);
	EQ(events(s[0], POLLIN, 60), 0);
	CHECK(now() - t >= 0.055 && now() - t < 20);
	t = now();
	struct pollfd f = { s[0], POLLIN };
	struct timespec ts = { 0, 60000000 };
	EQ(ppoll(&f, 1, &ts, NULL), 0);
	CHECK(now() - t >= 0.055 && now() - t < 20);
	ts.tv_nsec = 1000000000;
	ERR(ppoll(&f, 1, &ts, NULL), EINVAL);
	ts.tv_nsec = 0;
	ts.tv_sec = -1;
	ERR(ppoll(&f, 1, &ts, NULL), EINVAL);
	EQ(ppoll(&f, 1, &(struct timespec){ 0, 0 }, NULL), 0);
	t = now();
	struct timeval tv = { 0, 60000 };
	fd_set r;
	FD_ZERO(&r);
	FD_SET(s[0], &r);
	EQ(select(s[0] + 1, &r, NULL, NULL, &tv), 0);
	CHECK(now() - t >= 0.055 && now() - t < 20);
	EQ(tv.tv_usec, 0);
	CHECK(!FD_ISSET(s[0], &r));
	/* Linux leaves the rest of the time. */
	FD_SET(s[1], &r);
	tv = (struct timeval){ 5, 0 };
	EQ(select(s[1] + 1, NULL, &r, NULL, &tv), 1);
	CHECK(tv.tv_sec == 4 || (tv.tv_sec == 5 && tv.tv_usec == 0));
	EQ(select(0, NULL, NULL, NULL, &(struct timeval){ 0, 1000 }), 0);
	ERR(select(0, NULL, NULL, NULL, &(struct timeval){ -1, 0 }), EINVAL);
}

static void selecting(void)
{
	int fd = make_file("f", "x"), p[2], s[2], max;
	fd_set r, w, e;

	OK(pipe(p));
	tcp_pair(s);
	EQ(dup2(s[0], 150), 150);
	max = 151;
	EQ(send(s[1], "ab", 2, MSG_OOB), 2);
	EQ(events(s[0], POLLPRI, 10000), POLLPRI);
	EQ(events(s[0], POLLIN, 10000), POLLIN);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&e);
	for (int i = 0; i < 4; i++) {
		int x = (int[]){ fd, p[0], s[0], 150 }[i];
		FD_SET(x, &r);
		FD_SET(x, &w);
		FD_SET(x, &e);
	}
	FD_SET(p[1], &w);
	FD_CLR(p[0], &w);
	EQ(select(max, &r, &w, &e, NULL), 3 + 4 + 2);
	CHECK(FD_ISSET(fd, &r) && !FD_ISSET(p[0], &r) && FD_ISSET(s[0], &r) && FD_ISSET(150, &r));
	CHECK(FD_ISSET(fd, &w) && FD_ISSET(p[1], &w) && FD_ISSET(s[0], &w) && FD_ISSET(150, &w));
	CHECK(!FD_ISSET(fd, &e) && FD_ISSET(s[0], &e) && FD_ISSET(150, &e));
	/* Only the first n are looked at, and changed. */
	FD_ZERO(&r);
	FD_SET(150, &r);
	FD_SET(fd, &r);
	EQ(select(150, &r, NULL, NULL, NULL), 1);
	CHECK(FD_ISSET(fd, &r));
	/* More than FD_SETSIZE by the raw call. */
	struct rlimit l;
	OK(getrlimit(RLIMIT_NOFILE, &l));
	if (l.rlim_max >= 2000) {
		static unsigned long set[2048 / 64];
		l.rlim_cur = l.rlim_max;
		OK(setrlimit(RLIMIT_NOFILE, &l));
		EQ(dup2(s[0], 1900), 1900);
		set[1900 / 64] |= 1ul << 1900 % 64;
		EQ(syscall(SYS_select, 1901, set, NULL, NULL, NULL), 1);
		CHECK(set[1900 / 64] & 1ul << 1900 % 64);
	}
}

static volatile sig_atomic_t hits;
static void on_signal(int sig)
{
	hits++;
}

static void masks(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	sigset_t block, none, now_set;
	int s[2];

	tcp_pair(s);
	OK(sigaction(SIGUSR1, &sa, NULL));
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	OK(kill(getpid(), SIGUSR1));
	EQ(hits, 0);
	struct pollfd f = { s[0], POLLIN };
	EQ(poll(&f, 1, 10), 0);
	EQ(hits, 0);
	ERR(ppoll(&f, 1, NULL, &none), EINTR);
	EQ(hits, 1);
	OK(sigprocmask(SIG_SETMASK, NULL, &now_set));
	CHECK(sigismember(&now_set, SIGUSR1));
	OK(kill(getpid(), SIGUSR1));
	fd_set r;
	FD_ZERO(&r);
	FD_SET(s[0], &r);
	ERR(pselect(s[0] + 1, &r, NULL, NULL, NULL, &none), EINTR);
	EQ(hits, 2);
	CHECK(FD_ISSET(s[0], &r));
	/* With something ready and a signal let in: ready wins, and the signal is taken all the same. */
	EQ(write(s[1], "x", 1), 1);
	CHECK(readable(s[0], 10000));
	OK(kill(getpid(), SIGUSR1));
	int n = ppoll(&f, 1, NULL, &none);
	CHECK(n == 1 || (n == -1 && errno == EINTR));
	if (n == -1)
		EQ(hits, 3);
	OK(sigprocmask(SIG_UNBLOCK, &block, NULL));
	EQ(hits, 3);
	ERR(syscall(SYS_ppoll, &f, 1, NULL, &none, 3L), EINVAL);
}

static void a_signal_interrupts(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct itimerval t = { { 0, 20000 }, { 0, 20000 } };
	int s[2];

	/* poll and select are never restarted. */
	tcp_pair(s);
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(setitimer(ITIMER_REAL, &t, NULL));
	struct pollfd f = { s[0], POLLIN };
	ERR(poll(&f, 1, -1), EINTR);
	ERR(poll(&f, 1, 60000), EINTR);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(s[0], &r);
	ERR(select(s[0] + 1, &r, NULL, NULL, NULL), EINTR);
	ERR(ppoll(&f, 1, NULL, NULL), EINTR);
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	CHECK(hits >= 4);
}

struct poller {
	int fd, other;
	struct gate ready;
};
static void *wakes(void *arg)
{
	struct poller *p = arg;

	gate_wait(&p->ready);
	settle();
	EQ(write(p->other, "w", 1), 1);
	return NULL;
}

static void woken_by_each_kind(void)
{
	int s[2], p[2], un[2];

	tcp_pair(s);
	OK(pipe(p));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, un));
	struct pollfd f[3] = { { s[0], POLLIN }, { p[0], POLLIN }, { un[0], POLLIN } };
	for (int round = 0; round < 12; round++) {
		int k = round % 3;
		struct poller w = { .other = (int[]){ s[1], p[1], un[1] }[k] };
		pthread_t t;
		char b[1];
		gate_init(&w.ready);
		P0(pthread_create(&t, NULL, wakes, &w));
		gate_open(&w.ready);
		EQ(poll(f, 3, round % 2 ? 30000 : -1), 1);
		for (int i = 0; i < 3; i++)
			EQ(f[i].revents, i == k ? POLLIN : 0);
		EQ(read(f[k].fd, b, 1), 1);
		P0(pthread_join(t, NULL));
		close(w.ready.fd[0]);
		close(w.ready.fd[1]);
	}
}

static void kernel_descriptors(void)
{
	int t = OK(timerfd_create(CLOCK_MONOTONIC, 0)), s[2];
	struct itimerspec it = { .it_value = { 0, 30000000 } };
	uint64_t n;
	sigset_t set;

	tcp_pair(s);
	OK(timerfd_settime(t, 0, &it, NULL));
	struct pollfd f[3] = { { s[0], POLLIN }, { t, POLLIN }, { 0, 0 } };
	EQ(poll(f, 2, -1), 1);
	EQ(f[1].revents, POLLIN);
	EQ(read(t, &n, 8), 8);
	EQ(n, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	f[2].fd = OK(signalfd(-1, &set, 0));
	f[2].events = POLLIN;
	EQ(poll(f, 3, 0), 0);
	OK(kill(getpid(), SIGUSR2));
	EQ(poll(f, 3, -1), 1);
	EQ(f[2].revents, POLLIN);
	struct signalfd_siginfo si;
	EQ(read(f[2].fd, &si, sizeof si), sizeof si);
	EQ(si.ssi_signo, SIGUSR2);
	EQ(si.ssi_pid, getpid());
}

static void many_sockets(void)
{
	struct pollfd f[60];
	int s[60][2];

	for (int i = 0; i < 60; i++) {
		tcp_pair(s[i]);
		f[i] = (struct pollfd){ s[i][0], POLLIN };
	}
	EQ(poll(f, 60, 0), 0);
	for (int i = 0; i < 60; i += 7)
		EQ(write(s[i][1], "x", 1), 1);
	for (int i = 0; i < 60; i += 7)
		CHECK(readable(s[i][0], 10000));
	EQ(poll(f, 60, -1), 9);
	for (int i = 0; i < 60; i++)
		EQ(f[i].revents, i % 7 ? 0 : POLLIN);
}

static void across_fork(void)
{
	int s[2];
	char b[1];

	tcp_pair(s);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(readable(s[0], 30000));
		EQ(read(s[0], b, 1), 1);
		EQ(write(s[0], "r", 1), 1);
		_exit(0);
	}
	settle();
	EQ(write(s[1], "x", 1), 1);
	CHECK(readable(s[1], 30000));
	wait_ok(pid);
	EQ(read(s[1], b, 1), 1);
	EQ(events(s[0], POLLIN, 0), 0);
	/* POLLHUP only when the last holder is gone. */
	pid = fork();
	if (pid == 0) {
		OK(close(s[1]));
		CHECK(readable(s[0], 30000));
		_exit(0);
	}
	OK(close(s[0]));
	EQ(events(s[1], POLLIN, 20), 0);
	EQ(write(s[1], "x", 1), 1);
	EQ(wait_status(pid), 0);
	CHECK(events(s[1], POLLIN, 10000) & POLLIN);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(regular_files), CASE_IN_MAIN(mixed_kinds), CASE(invalid_descriptors), CASE(hang_up), CASE(timing), CASE(selecting),
	CASE(masks), CASE(a_signal_interrupts), CASE(woken_by_each_kind), CASE(kernel_descriptors), CASE(many_sockets), CASE(across_fork),
};
CHECK_MAIN(cases)
