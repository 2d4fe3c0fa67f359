/* epoll: level and edge, one shot, change and removal, duplicates, nesting, many descriptors, forks, other threads. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

static void add(int ep, int fd, uint32_t ev, uint64_t data)
{
	struct epoll_event e = { .events = ev, .data.u64 = data };

	OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

/* One event, or 0 when there is none within ms. */
static uint32_t one(int ep, int ms, uint64_t *ret_data)
{
	struct epoll_event e[4];
	int n;

	while ((n = epoll_wait(ep, e, 4, ms)) < 0 && errno == EINTR)
		;
	CHECK(n == 0 || n == 1);
	if (ret_data)
		*ret_data = n ? e[0].data.u64 : 0;
	return n ? e[0].events : 0;
}

static void send_byte(int from, int to)
{
	EQ(write(from, "x", 1), 1);
	CHECK(readable(to, 10000));
}

static void level(void)
{
	int ep = OK(epoll_create1(EPOLL_CLOEXEC)), s[2];
	uint64_t d;
	char b[4];

	EQ(fcntl(ep, F_GETFD), FD_CLOEXEC);
	tcp_pair(s);
	add(ep, s[0], EPOLLIN, 0x123456789abcdef0);
	EQ(one(ep, 0, &d), 0);
	send_byte(s[1], s[0]);
	for (int i = 0; i < 3; i++) {
		EQ(one(ep, -1, &d), EPOLLIN);
		EQ(d, 0x123456789abcdef0);
	}
	EQ(read(s[0], b, 4), 1);
	EQ(one(ep, 0, &d), 0);
	OK(close(s[1]));
	EQ(one(ep, 10000, &d), EPOLLIN);
	EQ(read(s[0], b, 4), 0);
	EQ(one(ep, 0, &d), EPOLLIN);
}

static void edge(void)
{
	int ep = OK(epoll_create1(0)), s[2];
	char b[4];

	tcp_pair(s);
	add(ep, s[0], EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, 7);
	EQ(one(ep, 1000, NULL), EPOLLOUT);
	EQ(one(ep, 0, NULL), 0);
	send_byte(s[1], s[0]);
	EQ(one(ep, 1000, NULL) & EPOLLIN, EPOLLIN);
	EQ(one(ep, 0, NULL), 0);
	/* More data, a new edge, though the old were not read. */
	EQ(write(s[1], "y", 1), 1);
	EQ(one(ep, 10000, NULL) & EPOLLIN, EPOLLIN);
	EQ(one(ep, 0, NULL), 0);
	EQ(read(s[0], b, 1), 1);
	EQ(one(ep, 0, NULL), 0);
	OK(shutdown(s[1], SHUT_WR));
	EQ(one(ep, 10000, NULL) & (EPOLLIN | EPOLLRDHUP), EPOLLIN | EPOLLRDHUP);
	EQ(one(ep, 0, NULL), 0);
	/* MOD arms the edge anew. */
	struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u64 = 8 };
	uint64_t d;
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e));
	EQ(one(ep, 0, &d), EPOLLIN);
	EQ(d, 8);
	EQ(one(ep, 0, &d), 0);
}

static void edge_drains(void)
{
	/* The way servers use it: read until EAGAIN, then wait; no byte may be forgotten. */
	const size_t n = 2 << 20;
	unsigned char *b = malloc(65536);
	int ep = OK(epoll_create1(0)), s[2];
	size_t at = 0;

	tcp_pair(s);
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	add(ep, s[0], EPOLLIN | EPOLLET | EPOLLRDHUP, 0);
	pid_t pid = fork();
	if (pid == 0) {
		unsigned char *w = malloc(n);
		OK(close(s[0]));
		fill(w, n, 1, 0);
		for (size_t i = 0; i < n; i += 4093)
			EQ(write_all(s[1], w + i, n - i < 4093 ? n - i : 4093), n - i < 4093 ? n - i : 4093);
		_exit(0);
	}
	OK(close(s[1]));
	for (bool end = false; !end;) {
		CHECK(one(ep, 30000, NULL) & EPOLLIN);
		for (;;) {
			long r = read(s[0], b, 65536);
			if (r < 0) {
				EQ(errno, EAGAIN);
				break;
			}
			if (r == 0) {
				end = true;
				break;
			}
			expect(b, r, 1, at);
			at += r;
		}
	}
	EQ(at, n);
	wait_ok(pid);
}

static void one_shot(void)
{
	int ep = OK(epoll_create1(0)), s[2];
	struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 9 };
	uint64_t d;

	tcp_pair(s);
	add(ep, s[0], EPOLLIN | EPOLLONESHOT, 3);
	send_byte(s[1], s[0]);
	EQ(one(ep, -1, &d), EPOLLIN);
	EQ(d, 3);
	EQ(one(ep, 0, &d), 0);
	EQ(write(s[1], "x", 1), 1);
	EQ(one(ep, 20, &d), 0);
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e));
	EQ(one(ep, -1, &d), EPOLLIN);
	EQ(d, 9);
	/* Disarmed, it does not tell hang-ups either. */
	OK(close(s[1]));
	EQ(one(ep, 20, &d), 0);
}

static void change_and_remove(void)
{
	int ep = OK(epoll_create1(0)), s[2], f = make_file("f", "x");
	struct epoll_event e = { .events = EPOLLOUT, .data.u64 = 2 };
	uint64_t d;

	tcp_pair(s);
	add(ep, s[0], EPOLLIN, 1);
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], &e), EEXIST);
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e));
	EQ(one(ep, -1, &d), EPOLLOUT);
	EQ(d, 2);
	e.events = 0;
	OK(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e));
	send_byte(s[1], s[0]);
	EQ(one(ep, 0, &d), 0);
	/* Events of 0 still tell errors and hang-ups. */
	OK(epoll_ctl(ep, EPOLL_CTL_DEL, s[0], NULL));
	ERR(epoll_ctl(ep, EPOLL_CTL_DEL, s[0], NULL), ENOENT);
	ERR(epoll_ctl(ep, EPOLL_CTL_MOD, s[0], &e), ENOENT);
	ERR(epoll_ctl(ep, 99, s[0], &e), EINVAL);
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, 190, &e), EBADF);
	ERR(epoll_ctl(190, EPOLL_CTL_ADD, s[0], &e), EBADF);
	ERR(epoll_ctl(s[0], EPOLL_CTL_ADD, s[1], &e), EINVAL);
	ERR(epoll_ctl(f, EPOLL_CTL_ADD, s[1], &e), EINVAL);
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e), EINVAL);
	/* Files cannot be watched. */
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, f, &e), EPERM);
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, OK(open(".", O_RDONLY)), &e), EPERM);
	ERR(epoll_ctl(ep, EPOLL_CTL_ADD, s[0], bad_pointer()), EFAULT);
	struct epoll_event out[2];
	ERR(epoll_wait(ep, out, 0, 0), EINVAL);
	ERR(epoll_wait(ep, out, -1, 0), EINVAL);
	ERR(epoll_wait(s[0], out, 2, 0), EINVAL);
	ERR(epoll_wait(190, out, 2, 0), EBADF);
	add(ep, s[0], EPOLLIN, 1);
	ERR(epoll_wait(ep, bad_pointer(), 2, 0), EFAULT);
	ERR(epoll_create(0), EINVAL);
	ERR(epoll_create1(1), EINVAL);
	OK(close(OK(epoll_create(1))));
}

static void closing_removes(void)
{
	int ep = OK(epoll_create1(0)), s[2], d, t[2];
	uint64_t v;

	tcp_pair(s);
	add(ep, s[0], EPOLLIN, 1);
	send_byte(s[1], s[0]);
	OK(close(s[0]));
	EQ(one(ep, 0, &v), 0);
	/* A new socket at the number is not watched, and can be added. */
	tcp_pair(t);
	for (int i = 0; i < 2; i++)
		if (t[i] == s[0]) {
			send_byte(t[!i], t[i]);
			EQ(one(ep, 0, &v), 0);
			add(ep, t[i], EPOLLIN, 2);
			EQ(one(ep, 0, &v), EPOLLIN);
			EQ(v, 2);
			OK(epoll_ctl(ep, EPOLL_CTL_DEL, t[i], NULL));
		}
	/* While a duplicate lives, the description stays watched (epoll(7), question 6). */
	tcp_pair(s);
	d = OK(dup(s[0]));
	add(ep, s[0], EPOLLIN, 3);
	OK(close(s[0]));
	send_byte(s[1], d);
	EQ(one(ep, 0, &v), EPOLLIN);
	EQ(v, 3);
	OK(close(d));
	EQ(one(ep, 0, &v), 0);
	/* dup2 over a watched number ends the watch as well. */
	tcp_pair(s);
	add(ep, s[0], EPOLLIN, 4);
	send_byte(s[1], s[0]);
	OK(dup2(0, s[0]));
	EQ(one(ep, 0, &v), 0);
}

static void duplicates(void)
{
	int ep = OK(epoll_create1(0)), s[2], d;
	struct epoll_event e[4];

	/* A duplicate is another entry, with its own data and events. */
	tcp_pair(s);
	d = OK(dup(s[0]));
	add(ep, s[0], EPOLLIN, 1);
	add(ep, d, EPOLLOUT, 2);
	EQ(epoll_wait(ep, e, 4, 0), 1);
	EQ(e[0].data.u64, 2);
	send_byte(s[1], s[0]);
	EQ(epoll_wait(ep, e, 4, 0), 2);
	CHECK(e[0].data.u64 + e[1].data.u64 == 3);
	/* A duplicate of the epoll descriptor is the same set. */
	int ep2 = OK(dup(ep));
	OK(close(ep));
	EQ(epoll_wait(ep2, e, 4, 0), 2);
	OK(epoll_ctl(ep2, EPOLL_CTL_DEL, d, NULL));
	EQ(epoll_wait(ep2, e, 4, 0), 1);
	EQ(e[0].data.u64, 1);
}

static void mixed_kinds(void)
{
	int ep = OK(epoll_create1(0)), s[2], p[2], ev = OK(eventfd(0, EFD_NONBLOCK)), tf = OK(timerfd_create(CLOCK_MONOTONIC, 0)), u[2];
	struct itimerspec it = { .it_value = { 0, 20000000 } };
	struct epoll_event e[8];
	struct sockaddr_in a;
	int l = listener(&a), seen = 0;

	tcp_pair(s);
	udp_pair(u);
	OK(pipe(p));
	add(ep, s[0], EPOLLIN, 1);
	add(ep, p[0], EPOLLIN, 2);
	add(ep, ev, EPOLLIN, 4);
	add(ep, tf, EPOLLIN, 8);
	add(ep, l, EPOLLIN, 16);
	add(ep, u[0], EPOLLIN, 32);
	EQ(epoll_wait(ep, e, 8, 0), 0);
	OK(timerfd_settime(tf, 0, &it, NULL));
	EQ(epoll_wait(ep, e, 8, -1), 1);
	EQ(e[0].data.u64, 8);
	send_byte(s[1], s[0]);
	EQ(write(p[1], "x", 1), 1);
	OK(eventfd_write(ev, 1));
	connected(&a);
	EQ(send(u[1], "x", 1, 0), 1);
	CHECK(readable(l, 10000) && readable(u[0], 10000));
	int n = OK(epoll_wait(ep, e, 8, 0));
	EQ(n, 6);
	for (int i = 0; i < n; i++)
		seen |= e[i].data.u64;
	EQ(seen, 63);
}

static void fair(void)
{
	/* maxevents below what is ready: each is told in turn, none starves. */
	int ep = OK(epoll_create1(0)), s[12][2], count[12] = { 0 };
	struct epoll_event e[3];

	for (int i = 0; i < 12; i++) {
		if (i % 2)
			OK(pipe(s[i]));
		else
			tcp_pair(s[i]);
		add(ep, s[i][0], EPOLLIN, i);
		EQ(write(s[i][1], "x", 1), 1);
		CHECK(readable(s[i][0], 10000));
	}
	for (int i = 0; i < 40; i++) {
		EQ(epoll_wait(ep, e, 3, 0), 3);
		for (int k = 0; k < 3; k++)
			count[e[k].data.u64]++;
	}
	for (int i = 0; i < 12; i++)
		CHECK(count[i] >= 2);
}

static void nested(void)
{
	int inner = OK(epoll_create1(0)), outer = OK(epoll_create1(0)), s[2], p[2];
	uint64_t d;
	char b[1];

	tcp_pair(s);
	OK(pipe(p));
	add(inner, s[0], EPOLLIN, 1);
	add(outer, inner, EPOLLIN, 2);
	add(outer, p[0], EPOLLIN, 3);
	EQ(one(outer, 0, &d), 0);
	CHECK(!readable(inner, 0));
	send_byte(s[1], s[0]);
	CHECK(readable(inner, 10000));
	EQ(one(outer, 10000, &d), EPOLLIN);
	EQ(d, 2);
	EQ(one(inner, 0, &d), EPOLLIN);
	EQ(d, 1);
	EQ(read(s[0], b, 1), 1);
	EQ(one(outer, 0, &d), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(one(outer, -1, &d), EPOLLIN);
	EQ(d, 3);
	struct epoll_event e = { .events = EPOLLIN };
	ERR(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &e), ELOOP);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(outer, &r);
	EQ(select(outer + 1, &r, NULL, NULL, NULL), 1);
}

static volatile sig_atomic_t hits;
static void on_signal(int sig)
{
	hits++;
}

static void masks_and_times(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int ep = OK(epoll_create1(0)), s[2];
	struct epoll_event e[2];
	sigset_t none, block;
	double t = now();

	tcp_pair(s);
	add(ep, s[0], EPOLLIN, 0);
	EQ(epoll_wait(ep, e, 2, 60), 0);
	CHECK(now() - t >= 0.055 && now() - t < 20);
	OK(sigaction(SIGUSR1, &sa, NULL));
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	OK(kill(getpid(), SIGUSR1));
	EQ(epoll_wait(ep, e, 2, 10), 0);
	EQ(hits, 0);
	ERR(epoll_pwait(ep, e, 2, -1, &none), EINTR);
	EQ(hits, 1);
	struct timespec ts = { 0, 30000000 };
	t = now();
	long r = syscall(SYS_epoll_pwait2, ep, e, 2, &ts, NULL, 8L);
	if (r < 0 && errno == ENOSYS)
		return;
	EQ(r, 0);
	CHECK(now() - t >= 0.028);
	OK(kill(getpid(), SIGUSR1));
	ERR(syscall(SYS_epoll_pwait2, ep, e, 2, NULL, &none, 8L), EINTR);
	EQ(hits, 2);
	ts.tv_nsec = -1;
	ERR(syscall(SYS_epoll_pwait2, ep, e, 2, &ts, NULL, 8L), EINVAL);
	OK(sigprocmask(SIG_UNBLOCK, &block, NULL));
	struct itimerval it = { { 0, 20000 }, { 0, 20000 } };
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(setitimer(ITIMER_REAL, &it, NULL));
	/* Never restarted. */
	ERR(epoll_wait(ep, e, 2, -1), EINTR);
	ERR(epoll_wait(ep, e, 2, 60000), EINTR);
}

static void many(void)
{
	enum { N = 700 };
	static int p[N][2];
	struct epoll_event *e = malloc(N * sizeof *e);
	struct rlimit l;
	int ep = OK(epoll_create1(0)), told = 0;
	static char seen[N];

	OK(getrlimit(RLIMIT_NOFILE, &l));
	if (l.rlim_max < 2 * N + 300)
		skip("the hard limit of descriptors is too low");
	l.rlim_cur = l.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &l));
	for (int i = 0; i < N; i++) {
		udp_pair(p[i]);
		add(ep, p[i][0], i % 3 ? EPOLLIN : EPOLLIN | EPOLLET, i);
	}
	EQ(epoll_wait(ep, e, N, 0), 0);
	for (int i = 0; i < N; i++)
		EQ(send(p[i][1], "x", 1, 0), 1);
	double end = now() + 20;
	while (told < N && now() < end) {
		int n = OK(epoll_wait(ep, e, N, 1000));
		for (int i = 0; i < n; i++)
			if (!seen[e[i].data.u64]) {
				seen[e[i].data.u64] = 1;
				told++;
			}
	}
	EQ(told, N);
	for (int i = 0; i < N; i++)
		OK(close(p[i][0]));
	EQ(epoll_wait(ep, e, N, 0), 0);
}

struct waiter {
	int ep;
	struct gate ready;
	struct epoll_event got;
	int n;
};
static void *waits(void *arg)
{
	struct waiter *w = arg;

	gate_open(&w->ready);
	while ((w->n = epoll_wait(w->ep, &w->got, 1, 30000)) < 0 && errno == EINTR)
		;
	return NULL;
}

static void changed_while_another_waits(void)
{
	int s[2], p[2];

	tcp_pair(s);
	OK(pipe(p));
	send_byte(s[1], s[0]);
	EQ(write(p[1], "x", 1), 1);
	for (int round = 0; round < 4; round++) {
		struct waiter w = { .ep = OK(epoll_create1(0)) };
		pthread_t t;
		int fd = round % 2 ? p[0] : s[0];
		gate_init(&w.ready);
		if (round >= 2)
			add(w.ep, fd, 0, 5);
		P0(pthread_create(&t, NULL, waits, &w));
		gate_wait(&w.ready);
		settle();
		/* ADD or MOD of something ready wakes the waiter. */
		struct epoll_event e = { .events = EPOLLIN, .data.u64 = 6 };
		OK(epoll_ctl(w.ep, round >= 2 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e));
		P0(pthread_join(t, NULL));
		EQ(w.n, 1);
		EQ(w.got.data.u64, 6);
		OK(close(w.ep));
	}
}

static void one_event_wakes_one_thread(void)
{
	struct waiter w[4];
	pthread_t t[4];
	int ep = OK(epoll_create1(0)), s[2], woke = 0, stop = OK(eventfd(0, 0));

	tcp_pair(s);
	add(ep, s[0], EPOLLIN | EPOLLET | EPOLLONESHOT, 1);
	for (int i = 0; i < 4; i++) {
		w[i] = (struct waiter){ .ep = ep };
		gate_init(&w[i].ready);
		P0(pthread_create(&t[i], NULL, waits, &w[i]));
	}
	for (int i = 0; i < 4; i++)
		gate_wait(&w[i].ready);
	settle();
	EQ(write(s[1], "x", 1), 1);
	settle();
	OK(eventfd_write(stop, 1));
	add(ep, stop, EPOLLIN, 2);
	for (int i = 0; i < 4; i++)
		P0(pthread_join(t[i], NULL));
	for (int i = 0; i < 4; i++) {
		EQ(w[i].n, 1);
		woke += w[i].got.data.u64 == 1;
	}
	EQ(woke, 1);
}

static void exclusive(void)
{
	int a = OK(epoll_create1(0)), b = OK(epoll_create1(0)), told;
	struct sockaddr_in addr;
	int l = listener(&addr);
	struct epoll_event e = { .events = EPOLLIN };

	add(a, l, EPOLLIN | EPOLLEXCLUSIVE, 1);
	add(b, l, EPOLLIN | EPOLLEXCLUSIVE, 2);
	ERR(epoll_ctl(a, EPOLL_CTL_MOD, l, &e), EINVAL);
	e.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
	int s[2];
	tcp_pair(s);
	ERR(epoll_ctl(a, EPOLL_CTL_ADD, s[0], &e), EINVAL);
	connected(&addr);
	CHECK(readable(l, 10000));
	told = (one(a, 0, NULL) != 0) + (one(b, 0, NULL) != 0);
	CHECK(told >= 1);
	OK(accept(l, NULL, NULL));
	EQ(one(a, 0, NULL), 0);
	EQ(one(b, 0, NULL), 0);
}

static void across_fork(void)
{
	int ep = OK(epoll_create1(0)), s[2];
	uint64_t d;
	struct gate g;

	gate_init(&g);
	tcp_pair(s);
	add(ep, s[0], EPOLLIN, 5);
	pid_t pid = fork();
	if (pid == 0) {
		/* The child's epoll descriptor is the same set. */
		EQ(one(ep, 30000, &d), EPOLLIN);
		EQ(d, 5);
		OK(epoll_ctl(ep, EPOLL_CTL_DEL, s[0], NULL));
		gate_open(&g);
		_exit(0);
	}
	send_byte(s[1], s[0]);
	gate_wait(&g);
	EQ(one(ep, 0, &d), 0);
	wait_ok(pid);
	/* A child that makes its own set for an inherited socket. */
	pid = fork();
	if (pid == 0) {
		int mine = OK(epoll_create1(0));
		OK(close(ep));
		add(mine, s[0], EPOLLIN, 6);
		EQ(one(mine, 10000, &d), EPOLLIN);
		EQ(read(s[0], (char[1]){ 0 }, 1), 1);
		EQ(one(mine, 0, &d), 0);
		_exit(0);
	}
	wait_ok(pid);
	add(ep, s[0], EPOLLIN, 7);
	EQ(one(ep, 0, &d), 0);
	send_byte(s[1], s[0]);
	EQ(one(ep, 10000, &d), EPOLLIN);
	EQ(d, 7);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(level), CASE(edge), CASE(edge_drains), CASE(one_shot), CASE(change_and_remove), CASE(closing_removes), CASE(duplicates),
	CASE_IN_MAIN(mixed_kinds), CASE(fair), CASE(nested), CASE(masks_and_times), CASE(many), CASE(changed_while_another_waits),
	CASE(one_event_wakes_one_thread), CASE(exclusive), CASE(across_fork),
};
CHECK_MAIN(cases)
