/* TCP under load: long streams, vectors and messages, sendfile and splice, threads and processes at one socket. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define LONG (6 << 20)

/* Sends pattern(seed) of n bytes in pieces of varying size. */
static void send_stream(int fd, size_t n, uint64_t seed)
{
	static __thread unsigned char b[70000];
	size_t at = 0, piece = 1;

	while (at < n) {
		size_t k = piece < n - at ? piece : n - at;
		fill(b, k, seed, at);
		EQ(write_all(fd, b, k), k);
		at += k;
		piece = (piece * 7 + 13) % sizeof b + 1;
	}
}

static void take_stream(int fd, size_t n, uint64_t seed)
{
	static __thread unsigned char b[50000];
	size_t at = 0, piece = 1;

	while (at < n) {
		long r = read(fd, b, piece);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			FAIL("stream ended at %zu of %zu: %ld", at, n, r);
		expect(b, r, seed, at);
		at += r;
		piece = (piece * 5 + 7) % sizeof b + 1;
	}
	EQ(at, n);
}

static void long_stream(void)
{
	char b[1];
	int s[2];

	tcp_pair(s);
	pid_t pid = fork();
	if (pid == 0) {
		OK(close(s[1]));
		send_stream(s[0], LONG, 1);
		_exit(0);
	}
	OK(close(s[0]));
	take_stream(s[1], LONG, 1);
	EQ(read(s[1], b, 1), 0);
	wait_ok(pid);
}

struct job {
	int fd;
	size_t n;
	uint64_t seed;
};
static void *sender(void *arg)
{
	struct job *j = arg;

	send_stream(j->fd, j->n, j->seed);
	return NULL;
}
static void *taker(void *arg)
{
	struct job *j = arg;

	take_stream(j->fd, j->n, j->seed);
	return NULL;
}

static void both_directions_at_once(void)
{
	/* One socket, a thread that sends and a thread that receives on each end. */
	pthread_t t[4];
	int s[2];

	tcp_pair(s);
	struct job j[4] = { { s[0], LONG / 2, 5 }, { s[1], LONG / 2, 5 }, { s[1], LONG / 2, 6 }, { s[0], LONG / 2, 6 } };
	for (int i = 0; i < 4; i++)
		P0(pthread_create(&t[i], NULL, i % 2 ? taker : sender, &j[i]));
	for (int i = 0; i < 4; i++)
		P0(pthread_join(t[i], NULL));
}

static void one_large_write(void)
{
	const size_t n = 8 << 20;
	unsigned char *b = malloc(n), *r = malloc(n);
	int s[2];

	tcp_pair(s);
	fill(b, n, 3, 0);
	pid_t pid = fork();
	if (pid == 0) {
		EQ(write(s[0], b, n), n);
		_exit(0);
	}
	EQ(recv(s[1], r, n, MSG_WAITALL), n);
	expect(r, n, 3, 0);
	wait_ok(pid);
}

static void vectors_and_messages(void)
{
	char a[5], b[5], c[20];
	struct iovec w[3] = { { "head", 4 }, { "", 0 }, { "-body-and-tail", 14 } }, r[3] = { { a, 4 }, { b, 5 }, { c, 20 } };
	struct sockaddr_in name;
	struct msghdr m = { .msg_iov = w, .msg_iovlen = 3 }, g = { .msg_iov = r, .msg_iovlen = 3, .msg_name = &name, .msg_namelen = sizeof name };
	int s[2];

	tcp_pair(s);
	EQ(writev(s[0], w, 3), 18);
	EQ(readv(s[1], r, 3), 18);
	CHECK(memcmp(a, "head", 4) == 0 && memcmp(b, "-body", 5) == 0 && memcmp(c, "-and-tail", 9) == 0);
	EQ(sendmsg(s[0], &m, 0), 18);
	g.msg_flags = 0x1234;
	EQ(recvmsg(s[1], &g, MSG_WAITALL - MSG_WAITALL), 18);
	EQ(g.msg_flags, 0);
	EQ(g.msg_namelen, 0);
	EQ(g.msg_controllen, 0);
	CHECK(memcmp(c, "-and-tail", 9) == 0);
	ERR(sendmsg(s[0], bad_pointer(), 0), EFAULT);
	ERR(recvmsg(s[1], bad_pointer(), 0), EFAULT);
	m.msg_iov = bad_pointer();
	ERR(sendmsg(s[0], &m, 0), EFAULT);
	m.msg_iov = w;
	m.msg_iovlen = IOV_MAX + 1;
	ERR(sendmsg(s[0], &m, 0), EMSGSIZE);
	struct mmsghdr mm[3] = { { { .msg_iov = &w[0], .msg_iovlen = 1 } }, { { .msg_iov = &w[2], .msg_iovlen = 1 } }, { { .msg_iov = &w[0], .msg_iovlen = 1 } } };
	EQ(sendmmsg(s[0], mm, 3, 0), 3);
	EQ(mm[0].msg_len, 4);
	EQ(mm[1].msg_len, 14);
	char all[22];
	EQ(recv(s[1], all, 22, MSG_WAITALL), 22);
	CHECK(memcmp(all, "head-body-and-tailhead", 22) == 0);
	/* connect() already gave the address: naming it again is ignored for TCP, or EISCONN never arises. */
	EQ(sendto(s[0], "x", 1, 0, (struct sockaddr *)&name, 0), 1);
	socklen_t len = sizeof name;
	EQ(recvfrom(s[1], all, 1, 0, (struct sockaddr *)&name, &len), 1);
	EQ(len, 0);
}

static void file_to_socket(void)
{
	const size_t n = 3 << 20;
	unsigned char *b = malloc(n);
	off_t at = 1000;
	int s[2], fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	fill(b, n, 9, 0);
	EQ(write(fd, b, n), n);
	tcp_pair(s);
	pid_t pid = fork();
	if (pid == 0) {
		OK(close(s[0]));
		EQ(recv(s[1], b, n - 1000, MSG_WAITALL), n - 1000);
		expect(b, n - 1000, 9, 1000);
		EQ(read(s[1], b, 10), 10);
		expect(b, 10, 9, 0);
		_exit(0);
	}
	while (at < (off_t)n) {
		long r = OK(sendfile(s[0], fd, &at, 1 << 30));
		CHECK(r > 0);
	}
	EQ(at, n);
	EQ(lseek(fd, 0, SEEK_CUR), n);
	EQ(sendfile(s[0], fd, &at, 100), 0);
	OK(lseek(fd, 0, SEEK_SET));
	EQ(sendfile(s[0], fd, NULL, 10), 10);
	EQ(lseek(fd, 0, SEEK_CUR), 10);
	wait_ok(pid);
	at = -1;
	ERR(sendfile(s[0], fd, &at, 10), EINVAL);
	ERR(sendfile(s[0], s[1], NULL, 10), EINVAL);
	ERR(sendfile(-1, fd, NULL, 10), EBADF);
	ERR(sendfile(s[0], fd, bad_pointer(), 10), EFAULT);
}

static void file_to_file(void)
{
	char name[] = "/tmp/tcp.XXXXXX";
	int a = make_file("a", "0123456789"), b = OK(open("b", O_RDWR | O_CREAT, 0644)), host = OK(mkstemp(name));
	off_t at = 5;

	OK(unlink(name));
	EQ(sendfile(b, a, NULL, 4), 4);
	EQ(sendfile(b, a, &at, 100), 5);
	CHECK(strcmp(slurp("b"), "012356789") == 0);
	OK(lseek(a, 0, SEEK_SET));
	EQ(sendfile(host, a, NULL, 100), 10);
	OK(lseek(host, 2, SEEK_SET));
	EQ(sendfile(b, host, NULL, 3), 3);
	CHECK(strcmp(slurp("b"), "012356789234") == 0);
	int p[2];
	OK(pipe(p));
	OK(lseek(a, 0, SEEK_SET));
	EQ(sendfile(p[1], a, NULL, 10), 10);
	char c[16];
	EQ(read(p[0], c, 16), 10);
}

static void spliced(void)
{
	/* socket -> pipe -> file -> pipe -> socket */
	const size_t n = 300000;
	unsigned char *b = malloc(n);
	int in[2], out[2], p[2], fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	size_t at = 0;
	long r, w;

	tcp_pair(in);
	tcp_pair(out);
	OK(pipe(p));
	fill(b, n, 4, 0);
	pid_t pid = fork();
	if (pid == 0) {
		EQ(write_all(in[0], b, n), n);
		_exit(0);
	}
	while (at < n) {
		r = OK(splice(in[1], NULL, p[1], NULL, 40000, SPLICE_F_MOVE));
		CHECK(r > 0);
		while (r > 0) {
			loff_t o = at;
			w = OK(splice(p[0], NULL, fd, &o, r, 0));
			CHECK(w > 0);
			EQ(o, at + w);
			at += w;
			r -= w;
		}
	}
	wait_ok(pid);
	memset(b, 0, n);
	EQ(pread(fd, b, n, 0), n);
	expect(b, n, 4, 0);
	pid = fork();
	if (pid == 0) {
		EQ(recv(out[1], b, n, MSG_WAITALL), n);
		expect(b, n, 4, 0);
		_exit(0);
	}
	OK(lseek(fd, 0, SEEK_SET));
	for (at = 0; at < n;) {
		r = OK(splice(fd, NULL, p[1], NULL, 30000, 0));
		CHECK(r > 0);
		while (r > 0) {
			w = OK(splice(p[0], NULL, out[0], NULL, r, SPLICE_F_MORE));
			at += w;
			r -= w;
		}
	}
	wait_ok(pid);
	OK(fcntl(in[1], F_SETFL, O_NONBLOCK));
	ERR(splice(in[1], NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
	ERR(splice(fd, NULL, fd, NULL, 10, 0), EINVAL);
	ERR(splice(p[0], &(loff_t){ 0 }, fd, NULL, 10, 0), ESPIPE);
}

static void *accepting(void *arg)
{
	int s = accept(*(int *)arg, NULL, NULL);

	return (void *)(long)(s < 0 ? -errno : s);
}

static void closing_a_listener_under_accept(void)
{
	/* Linux: the call in another thread keeps the listener alive and takes the next connection; then it is gone. */
	struct sockaddr_in a;
	pthread_t t;
	void *r;
	int l = listener(&a);

	P0(pthread_create(&t, NULL, accepting, &l));
	settle();
	settle();
	int copy = l;
	OK(close(copy));
	ERR(fcntl(copy, F_GETFD), EBADF);
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	int connected_ok = connect(c, (struct sockaddr *)&a, sizeof a);
	if (connected_ok < 0) {
		/* The thread had not got into accept() before the close. */
		EQ(errno, ECONNREFUSED);
		P0(pthread_join(t, &r));
		EQ((long)r, -EBADF);
		return;
	}
	P0(pthread_join(t, &r));
	CHECK((long)r >= 0);
	c = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(c, (struct sockaddr *)&a, sizeof a), ECONNREFUSED);
}

static void shutting_a_listener_wakes_accept(void)
{
	struct sockaddr_in a;
	pthread_t t;
	void *r;
	int l = listener(&a);

	P0(pthread_create(&t, NULL, accepting, &l));
	settle();
	OK(shutdown(l, SHUT_RDWR));
	P0(pthread_join(t, &r));
	EQ((long)r, -EINVAL);
}

static void *reading(void *arg)
{
	char b[8];
	long n = read(*(int *)arg, b, 8);

	return (void *)(n < 0 ? -(long)errno : n);
}

static void shutdown_wakes_a_reader(void)
{
	pthread_t t;
	void *r;
	int s[2];

	tcp_pair(s);
	P0(pthread_create(&t, NULL, reading, &s[0]));
	settle();
	OK(shutdown(s[0], SHUT_RD));
	P0(pthread_join(t, &r));
	EQ((long)r, 0);
}

static void closing_under_a_reader(void)
{
	/* Linux: close() of the number does not wake the reader; the data for it still arrive. */
	pthread_t t;
	void *r;
	int s[2], copy;

	tcp_pair(s);
	copy = s[0];
	P0(pthread_create(&t, NULL, reading, &copy));
	settle();
	settle();
	OK(close(s[0]));
	signal(SIGPIPE, SIG_IGN);
	EQ(write(s[1], "x", 1), 1);
	P0(pthread_join(t, &r));
	CHECK((long)r == 1 || (long)r == -EBADF);
}

static void *accepting_many(void *arg)
{
	int l = *(int *)arg;

	for (;;) {
		char c;
		int s = accept(l, NULL, NULL);
		if (s < 0)
			return NULL;
		if (read(s, &c, 1) == 1 && c == 'q') {
			close(s);
			return NULL;
		}
		c++;
		EQ(write(s, &c, 1), 1);
		OK(close(s));
	}
}

static void many_short_connections(void)
{
	struct sockaddr_in a;
	pthread_t t[4];
	int l = listener(&a);
	char c;

	for (int i = 0; i < 4; i++)
		P0(pthread_create(&t[i], NULL, accepting_many, &l));
	for (int i = 0; i < 300; i++) {
		int s = connected(&a);
		c = 'a' + i % 10;
		EQ(write(s, &c, 1), 1);
		EQ(read(s, &c, 1), 1);
		EQ(c, 'b' + i % 10);
		EQ(read(s, &c, 1), 0);
		OK(close(s));
	}
	for (int i = 0; i < 4; i++) {
		int s = connected(&a);
		EQ(write(s, "q", 1), 1);
		EQ(read(s, &c, 1), 0);
		OK(close(s));
	}
	for (int i = 0; i < 4; i++)
		P0(pthread_join(t[i], NULL));
}

static void processes_share_a_listener(void)
{
	/* Pre-forked workers; each connection is served once. */
	struct sockaddr_in a;
	int l = listener(&a), served[3] = { 0 };
	pid_t pid[3];
	char c;

	for (int i = 0; i < 3; i++)
		if ((pid[i] = fork()) == 0) {
			for (;;) {
				int s = OK(accept(l, NULL, NULL));
				EQ(read(s, &c, 1), 1);
				if (c == 'q')
					_exit(0);
				c = i;
				EQ(write(s, &c, 1), 1);
				OK(close(s));
			}
		}
	OK(close(l));
	for (int i = 0; i < 90; i++) {
		int s = connected(&a);
		EQ(write(s, "x", 1), 1);
		EQ(read(s, &c, 1), 1);
		CHECK(c >= 0 && c < 3);
		served[(int)c]++;
		OK(close(s));
	}
	EQ(served[0] + served[1] + served[2], 90);
	for (int i = 0; i < 3; i++) {
		int s = connected(&a);
		EQ(write(s, "q", 1), 1);
		while (read(s, &c, 1) > 0)
			;
		OK(close(s));
	}
	for (int i = 0; i < 3; i++)
		wait_ok(pid[i]);
}

static void a_connection_handed_to_a_child(void)
{
	/* inetd: the socket as stdin and stdout of a program that knows nothing. */
	struct sockaddr_in a;
	char b[64];
	int l = listener(&a), c = connected(&a), s = OK(accept(l, NULL, NULL));
	pid_t pid = fork();

	if (pid == 0) {
		OK(dup2(s, 0));
		OK(dup2(s, 1));
		OK(close_range(3, 199, 0));
		execlp("tr", "tr", "a-z", "A-Z", NULL);
		_exit(9);
	}
	OK(close(s));
	EQ(write(c, "hello, world", 12), 12);
	OK(shutdown(c, SHUT_WR));
	EQ(read_all(c, b, sizeof b), 12);
	CHECK(memcmp(b, "HELLO, WORLD", 12) == 0);
	wait_ok(pid);
}

static void zero_copy_or_refused(void)
{
	int s[2], one = 1;
	char b[4];

	tcp_pair(s);
	/* May be refused; without the option MSG_ZEROCOPY is ignored, and the data arrive either way. */
	setsockopt(s[0], SOL_SOCKET, 60 /* SO_ZEROCOPY */, &one, sizeof one);
	long n = send(s[0], "zero", 4, 0x4000000 /* MSG_ZEROCOPY */);
	if (n < 0)
		n = send(s[0], "zero", 4, 0);
	EQ(n, 4);
	EQ(recv(s[1], b, 4, MSG_WAITALL), 4);
	CHECK(memcmp(b, "zero", 4) == 0);
}

static void add(int ep, int fd, uint32_t ev, uint64_t data)
{
	struct epoll_event e = { .events = ev, .data.u64 = data };

	OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

static void an_event_loop(void)
{
	/* Event loop against five client processes, echoing; counts every byte. */
	enum { CLIENTS = 5, ROUNDS = 60 };
	struct sockaddr_in a;
	int l = listener(&a), ep = OK(epoll_create1(0)), gone = 0;
	pid_t pid[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		if ((pid[i] = fork()) == 0) {
			unsigned char b[3000], r[3000];
			OK(close(ep));
			OK(close(l));
			int c = connected(&a);
			for (int k = 0; k < ROUNDS; k++) {
				int n = 1 + (k * 97 + i * 31) % 3000;
				fill(b, n, k, i);
				EQ(write_all(c, b, n), n);
				EQ(read_all(c, r, n), n);
				CHECK(memcmp(b, r, n) == 0);
			}
			_exit(0);
		}
	add(ep, l, EPOLLIN, l);
	while (gone < CLIENTS) {
		struct epoll_event e[3];
		int n = OK(epoll_wait(ep, e, 3, 30000));
		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			char b[512];
			int fd = e[i].data.u64;
			if (fd == l) {
				int s = OK(accept4(l, NULL, NULL, SOCK_NONBLOCK));
				add(ep, s, EPOLLIN, s);
				continue;
			}
			long r = read(fd, b, sizeof b);
			if (r == 0) {
				OK(close(fd));
				gone++;
			} else if (r > 0) {
				EQ(write(fd, b, r), r);
			} else {
				EQ(errno, EAGAIN);
			}
		}
	}
	for (int i = 0; i < CLIENTS; i++)
		wait_ok(pid[i]);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(long_stream), CASE(both_directions_at_once), CASE(one_large_write), CASE(vectors_and_messages), CASE(file_to_socket),
	CASE(file_to_file), CASE(spliced), CASE(closing_a_listener_under_accept), CASE(shutting_a_listener_wakes_accept),
	CASE(shutdown_wakes_a_reader), CASE(closing_under_a_reader), CASE(many_short_connections), CASE(processes_share_a_listener),
	CASE(a_connection_handed_to_a_child), CASE(zero_copy_or_refused), CASE(an_event_loop),
};
CHECK_MAIN(cases)
