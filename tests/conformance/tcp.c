/* TCP: setting up, talking, options, halves, errors, blocking and not, threads and processes sharing a socket. */
#include "check.h"
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <linux/sockios.h>

static int option(int s, int level, int name)
{
	int v = -12345;
	socklen_t len = sizeof v;

	OK(getsockopt(s, level, name, &v, &len));
	EQ(len, sizeof v);
	return v;
}

static int set(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof v);
}

static void connect_and_talk(void)
{
	struct sockaddr_in a, p, q;
	socklen_t len = sizeof p;
	char b[32];
	int l = listener(&a), c = connected(&a), s = OK(accept(l, (struct sockaddr *)&p, &len));

	EQ(len, sizeof p);
	EQ(p.sin_family, AF_INET);
	len = sizeof q;
	OK(getsockname(c, (struct sockaddr *)&q, &len));
	CHECK(memcmp(&p, &q, 8) == 0);
	OK(getpeername(c, (struct sockaddr *)&q, &len));
	EQ(q.sin_port, a.sin_port);
	OK(getpeername(s, (struct sockaddr *)&q, &len));
	EQ(q.sin_port, p.sin_port);
	OK(getsockname(s, (struct sockaddr *)&q, &len));
	EQ(q.sin_port, a.sin_port);
	ERR(getpeername(l, (struct sockaddr *)&q, &len), ENOTCONN);
	EQ(send(c, "request", 7, 0), 7);
	EQ(recv(s, b, sizeof b, 0), 7);
	EQ(write(s, "answer", 6), 6);
	EQ(read(c, b, 3), 3);
	EQ(read(c, b + 3, 29), 3);
	CHECK(memcmp(b, "answer", 6) == 0);
	OK(close(c));
	EQ(read(s, b, 1), 0);
	EQ(read(s, b, 1), 0);
	/* A short buffer for the address is filled as far as it goes, and told the full length. */
	c = connected(&a);
	len = 4;
	memset(&p, 0xff, sizeof p);
	s = OK(accept4(l, (struct sockaddr *)&p, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
	EQ(len, sizeof p);
	EQ(p.sin_family, AF_INET);
	EQ(p.sin_addr.s_addr, 0xffffffff);
	EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	ERR(accept4(l, NULL, NULL, 1), EINVAL);
}

static void creating(void)
{
	ERR(socket(AF_INET, 99, 0), EINVAL);
	ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
	ERR(socket(999, SOCK_STREAM, 0), EAFNOSUPPORT);
	int s = OK(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
	EQ(option(s, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	EQ(option(s, SOL_SOCKET, SO_DOMAIN), AF_INET);
	EQ(option(s, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	EQ(option(s, SOL_SOCKET, SO_ACCEPTCONN), 0);
	OK(listen(s, 5));
	EQ(option(s, SOL_SOCKET, SO_ACCEPTCONN), 1);
	int p[2];
	ERR(socketpair(AF_INET, SOCK_STREAM, 0, p), EOPNOTSUPP);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "x", 1), 1);
}

static void binding(void)
{
	struct sockaddr_in a, any = { .sin_family = AF_INET };
	socklen_t len = sizeof a;
	int s = listener(&a), t = OK(socket(AF_INET, SOCK_STREAM, 0));

	ERR(bind(t, (struct sockaddr *)&a, sizeof a), EADDRINUSE);
	ERR(bind(s, (struct sockaddr *)&a, sizeof a), EINVAL);
	ERR(bind(t, (struct sockaddr *)&a, 3), EINVAL);
	ERR(bind(t, bad_pointer(), sizeof a), EFAULT);
	struct sockaddr_in elsewhere = loopback(0);
	elsewhere.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1, nobody's */
	ERR(bind(t, (struct sockaddr *)&elsewhere, sizeof elsewhere), EADDRNOTAVAIL);
	elsewhere.sin_family = AF_UNIX + 100;
	ERR(bind(t, (struct sockaddr *)&elsewhere, sizeof elsewhere), EAFNOSUPPORT);
	ERR(bind(-1, (struct sockaddr *)&a, sizeof a), EBADF);
	ERR(bind(make_file("f", ""), (struct sockaddr *)&a, sizeof a), ENOTSOCK);
	OK(bind(t, (struct sockaddr *)&any, sizeof any));
	OK(getsockname(t, (struct sockaddr *)&a, &len));
	CHECK(a.sin_port);
	EQ(a.sin_addr.s_addr, 0);
	/* Two listeners on a port, by SO_REUSEPORT. */
	int x = OK(socket(AF_INET, SOCK_STREAM, 0)), y = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(x, SOL_SOCKET, SO_REUSEPORT, 1));
	OK(set(y, SOL_SOCKET, SO_REUSEPORT, 1));
	a = loopback(0);
	OK(bind(x, (struct sockaddr *)&a, sizeof a));
	OK(getsockname(x, (struct sockaddr *)&a, &len));
	OK(bind(y, (struct sockaddr *)&a, sizeof a));
	OK(listen(x, 5));
	OK(listen(y, 5));
	/* With SO_REUSEADDR a port in TIME_WAIT can be taken again. */
	int z = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(z, SOL_SOCKET, SO_REUSEADDR, 1));
	a = loopback(0);
	OK(bind(z, (struct sockaddr *)&a, sizeof a));
	OK(listen(z, 1));
	OK(getsockname(z, (struct sockaddr *)&a, &len));
	int c = connected(&a), srv = OK(accept(z, NULL, NULL));
	OK(close(srv));
	OK(close(c));
	OK(close(z));
	z = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(set(z, SOL_SOCKET, SO_REUSEADDR, 1));
	OK(bind(z, (struct sockaddr *)&a, sizeof a));
}

static void refused(void)
{
	struct sockaddr_in a;
	int s = bound(SOCK_STREAM, &a), c = OK(socket(AF_INET, SOCK_STREAM, 0));

	ERR(connect(c, (struct sockaddr *)&a, sizeof a), ECONNREFUSED);
	EQ(option(c, SOL_SOCKET, SO_ERROR), 0);
	/* The socket can be used again. */
	OK(listen(s, 5));
	OK(connect(c, (struct sockaddr *)&a, sizeof a));
	ERR(connect(c, (struct sockaddr *)&a, sizeof a), EISCONN);
	ERR(connect(c, bad_pointer(), sizeof a), EFAULT);
	char b[1];
	int n = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(n, (struct sockaddr *)&a, 5), EINVAL);
	ERR(recv(n, b, 1, 0), ENOTCONN);
	signal(SIGPIPE, SIG_IGN);
	ERR(send(n, b, 1, 0), EPIPE);
	ERR(shutdown(n, SHUT_RD), ENOTCONN);
	ERR(accept(n, NULL, NULL), EINVAL);
}

static void connecting_without_blocking(void)
{
	struct sockaddr_in a;
	int l = listener(&a), c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	int r = connect(c, (struct sockaddr *)&a, sizeof a);
	CHECK(r == 0 || errno == EINPROGRESS);
	struct pollfd p = { .fd = c, .events = POLLOUT };
	EQ(poll(&p, 1, 10000), 1);
	EQ(p.revents, POLLOUT);
	EQ(option(c, SOL_SOCKET, SO_ERROR), 0);
	int s = OK(accept(l, NULL, NULL));
	EQ(write(c, "x", 1), 1);
	EQ(read(s, (char[1]){ 0 }, 1), 1);
	/* Refused: told by SO_ERROR, once. */
	struct sockaddr_in dead;
	int keep = bound(SOCK_STREAM, &dead);
	c = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	r = connect(c, (struct sockaddr *)&dead, sizeof dead);
	if (r < 0 && errno == EINPROGRESS) {
		p.fd = c;
		EQ(poll(&p, 1, 10000), 1);
		CHECK(p.revents & POLLERR);
		CHECK(p.revents & POLLHUP);
		EQ(option(c, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
		EQ(option(c, SOL_SOCKET, SO_ERROR), 0);
	} else {
		EQ(errno, ECONNREFUSED);
	}
	OK(close(keep));
}

static void not_blocking(void)
{
	char *big = calloc(1, 1 << 20);
	int s[2];
	long sent = 0, n;

	tcp_pair(s);
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	OK(fcntl(s[1], F_SETFL, O_NONBLOCK));
	ERR(read(s[0], big, 1), EAGAIN);
	ERR(recv(s[0], big, 1, MSG_PEEK), EAGAIN);
	/* Fill it up. */
	while ((n = write(s[0], big, 1 << 20)) > 0)
		sent += n;
	EQ(n, -1);
	EQ(errno, EAGAIN);
	CHECK(sent > 1000);
	struct pollfd p = { .fd = s[0], .events = POLLOUT | POLLIN };
	EQ(poll(&p, 1, 0), 0);
	/* Drain it; every byte arrives. */
	while (sent > 0) {
		CHECK(readable(s[1], 10000));
		n = OK(read(s[1], big, 1 << 20));
		sent -= n;
	}
	EQ(sent, 0);
	ERR(read(s[1], big, 1), EAGAIN);
	EQ(poll(&p, 1, 10000), 1);
	EQ(p.revents, POLLOUT);
	/* FIONBIO and MSG_DONTWAIT mean the same. */
	int zero = 0, one = 1;
	OK(ioctl(s[1], FIONBIO, &zero));
	EQ(fcntl(s[1], F_GETFL), O_RDWR);
	ERR(recv(s[1], big, 1, MSG_DONTWAIT), EAGAIN);
	OK(ioctl(s[1], FIONBIO, &one));
	EQ(fcntl(s[1], F_GETFL), O_RDWR | O_NONBLOCK);
}

static void options(void)
{
	struct linger lg = { 1, 5 }, got;
	struct timeval tv = { 3, 250000 }, tv2;
	socklen_t len;
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));

	EQ(option(s, IPPROTO_TCP, TCP_NODELAY), 0);
	OK(set(s, IPPROTO_TCP, TCP_NODELAY, 1));
	EQ(option(s, IPPROTO_TCP, TCP_NODELAY), 1);
	OK(set(s, SOL_SOCKET, SO_KEEPALIVE, 1));
	EQ(option(s, SOL_SOCKET, SO_KEEPALIVE), 1);
	OK(set(s, IPPROTO_TCP, TCP_KEEPIDLE, 77));
	EQ(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 77);
	OK(set(s, SOL_SOCKET, SO_RCVBUF, 20000));
	EQ(option(s, SOL_SOCKET, SO_RCVBUF), 40000);
	OK(set(s, SOL_SOCKET, SO_SNDBUF, 30000));
	EQ(option(s, SOL_SOCKET, SO_SNDBUF), 60000);
	OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof lg));
	len = sizeof got;
	OK(getsockopt(s, SOL_SOCKET, SO_LINGER, &got, &len));
	EQ(got.l_onoff, 1);
	EQ(got.l_linger, 5);
	OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	len = sizeof tv2;
	OK(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv2, &len));
	EQ(tv2.tv_sec, 3);
	EQ(len, sizeof tv2);
	OK(set(s, IPPROTO_IP, IP_TOS, 0x10));
	EQ(option(s, IPPROTO_IP, IP_TOS), 0x10);
	OK(set(s, IPPROTO_IP, IP_TTL, 33));
	EQ(option(s, IPPROTO_IP, IP_TTL), 33);
	ERR(set(s, SOL_SOCKET, 9999, 1), ENOPROTOOPT);
	ERR(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &len, 1), EINVAL);
	ERR(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, bad_pointer(), 4), EFAULT);
	len = sizeof got;
	ERR(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, bad_pointer(), &len), EFAULT);
	ERR(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &got, bad_pointer()), EFAULT);
	len = 1;
	char one = 77;
	OK(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &one, &len));
	EQ(len, 1);
	EQ(one, 1);
	ERR(getsockopt(0, SOL_SOCKET, SO_TYPE, &got, &len), ENOTSOCK);
	struct tcp_info ti;
	int p[2];
	tcp_pair(p);
	len = sizeof ti;
	OK(getsockopt(p[0], IPPROTO_TCP, TCP_INFO, &ti, &len));
	EQ(ti.tcpi_state, TCP_ESTABLISHED);
	/* An accepted socket takes options from its listener. */
	struct sockaddr_in a;
	int l = listener(&a);
	OK(set(l, SOL_SOCKET, SO_KEEPALIVE, 1));
	OK(close(connected(&a)));
	EQ(option(OK(accept(l, NULL, NULL)), SOL_SOCKET, SO_KEEPALIVE), 1);
}

static void timeouts(void)
{
	struct timeval tv = { 0, 50000 };
	char b[1];
	int s[2];
	double t = now();

	tcp_pair(s);
	OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	ERR(read(s[0], b, 1), EAGAIN);
	ERR(recv(s[0], b, 1, 0), EAGAIN);
	CHECK(now() - t >= 0.09);
	CHECK(now() - t < 20);
	struct sockaddr_in a;
	int l = listener(&a);
	OK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	ERR(accept(l, NULL, NULL), EAGAIN);
	OK(setsockopt(s[1], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	char *big = calloc(1, 1 << 20);
	long n;
	while ((n = write(s[1], big, 1 << 20)) == 1 << 20)
		;
	if (n >= 0)
		while ((n = write(s[1], big, 1 << 20)) > 0)
			;
	EQ(n, -1);
	EQ(errno, EAGAIN);
}

static void halves(void)
{
	char b[8];
	int s[2];

	tcp_pair(s);
	EQ(write(s[0], "last", 4), 4);
	OK(shutdown(s[0], SHUT_WR));
	EQ(read(s[1], b, 8), 4);
	EQ(read(s[1], b, 8), 0);
	/* The other direction lives. */
	EQ(write(s[1], "back", 4), 4);
	EQ(read(s[0], b, 8), 4);
	signal(SIGPIPE, SIG_IGN);
	ERR(write(s[0], "x", 1), EPIPE);
	OK(shutdown(s[0], SHUT_RD));
	EQ(read(s[0], b, 1), 0);
	ERR(shutdown(s[0], 7), EINVAL);
	tcp_pair(s);
	OK(shutdown(s[0], SHUT_RDWR));
	EQ(read(s[1], b, 1), 0);
	EQ(read(s[0], b, 1), 0);
}

static void flags(void)
{
	char b[16];
	int s[2];

	tcp_pair(s);
	EQ(send(s[0], "abcdef", 6, MSG_NOSIGNAL), 6);
	EQ(recv(s[1], b, 3, MSG_PEEK), 3);
	EQ(recv(s[1], b, 16, MSG_PEEK), 6);
	EQ(recv(s[1], b, 2, 0), 2);
	EQ(recv(s[1], b, 16, MSG_DONTWAIT), 4);
	CHECK(memcmp(b, "cdef", 4) == 0);
	/* MSG_WAITALL waits for all of it, though it comes in pieces. */
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 10; i++) {
			EQ(send(s[0], "x", 1, 0), 1);
			if (i % 4 == 0)
				settle();
		}
		_exit(0);
	}
	EQ(recv(s[1], b, 10, MSG_WAITALL), 10);
	wait_ok(pid);
	EQ(send(s[0], "end", 3, 0), 3);
	OK(shutdown(s[0], SHUT_WR));
	EQ(recv(s[1], b, 10, MSG_WAITALL), 3);
	/* MSG_TRUNC throws stream data away. */
	tcp_pair(s);
	EQ(send(s[0], "0123456789", 10, MSG_MORE), 10);
	EQ(send(s[0], "z", 1, 0), 1);
	EQ(recv(s[1], NULL, 10, MSG_TRUNC | MSG_WAITALL), 10);
	EQ(recv(s[1], b, 10, 0), 1);
	EQ(b[0], 'z');
	ERR(send(s[0], bad_pointer(), 4, 0), EFAULT);
	EQ(send(s[0], "q", 1, 0), 1);
	CHECK(readable(s[1], 10000));
	ERR(recv(s[1], bad_pointer(), 4, 0), EFAULT);
}

static volatile sig_atomic_t pipes;
static void on_pipe(int sig)
{
	pipes++;
}

static void broken(void)
{
	struct sigaction sa = { .sa_handler = on_pipe };
	struct linger lg = { 1, 0 };
	char b[8];
	int s[2];

	OK(sigaction(SIGPIPE, &sa, NULL));
	tcp_pair(s);
	OK(shutdown(s[0], SHUT_WR));
	ERR(write(s[0], "x", 1), EPIPE);
	EQ(pipes, 1);
	ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(pipes, 1);
	/* A reset: ECONNRESET once, then end of stream. */
	tcp_pair(s);
	OK(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &lg, sizeof lg));
	OK(close(s[0]));
	struct pollfd p = { .fd = s[1], .events = POLLIN };
	EQ(poll(&p, 1, 10000), 1);
	CHECK((p.revents & (POLLERR | POLLHUP)) == (POLLERR | POLLHUP));
	ERR(read(s[1], b, 1), ECONNRESET);
	EQ(read(s[1], b, 1), 0);
	ERR(send(s[1], b, 1, MSG_NOSIGNAL), EPIPE);
	/* Unread data at close makes a reset, too. */
	tcp_pair(s);
	EQ(write(s[1], "unread", 6), 6);
	CHECK(readable(s[0], 10000));
	OK(close(s[0]));
	EQ(poll(&(struct pollfd){ .fd = s[1], .events = POLLIN }, 1, 10000), 1);
	ERR(read(s[1], b, 1), ECONNRESET);
	/* Default action. */
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		tcp_pair(s);
		OK(shutdown(s[0], SHUT_WR));
		send(s[0], "x", 1, 0);
		_exit(0);
	}
	int st = wait_status(pid);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGPIPE);
}

static void urgent(void)
{
	char b[8];
	int s[2], mark;

	tcp_pair(s);
	EQ(send(s[0], "ab!", 3, MSG_OOB), 3);
	EQ(poll(&(struct pollfd){ .fd = s[1], .events = POLLPRI }, 1, 10000), 1);
	EQ(recv(s[1], b, 1, MSG_OOB), 1);
	EQ(b[0], '!');
	ERR(recv(s[1], b, 1, MSG_OOB), EINVAL);
	EQ(recv(s[1], b, 8, 0), 2);
	OK(ioctl(s[1], SIOCATMARK, &mark));
	EQ(mark, 1);
	EQ(send(s[0], "x", 1, 0), 1);
	EQ(recv(s[1], b, 8, 0), 1);
	OK(set(s[1], SOL_SOCKET, SO_OOBINLINE, 1));
	EQ(send(s[0], "y", 1, MSG_OOB), 1);
	EQ(recv(s[1], b, 8, 0), 1);
	EQ(b[0], 'y');
}

static void waiting_bytes(void)
{
	int s[2], n = -1;

	tcp_pair(s);
	OK(ioctl(s[1], FIONREAD, &n));
	EQ(n, 0);
	EQ(write(s[0], "12345", 5), 5);
	CHECK(readable(s[1], 10000));
	OK(ioctl(s[1], FIONREAD, &n));
	EQ(n, 5);
	EQ(read(s[1], (char[2]){ 0 }, 2), 2);
	OK(ioctl(s[1], SIOCINQ, &n));
	EQ(n, 3);
	OK(ioctl(s[0], SIOCOUTQ, &n));
	CHECK(n >= 0);
	ERR(ioctl(s[0], FIONREAD, bad_pointer()), EFAULT);
	ERR(ioctl(s[0], 0x5401, &n), ENOTTY);
	EQ(isatty(s[0]), 0);
}

static void backlog(void)
{
	struct sockaddr_in a;
	int l = listener(&a), c[20];
	char b[8];

	for (int i = 0; i < 20; i++) {
		c[i] = connected(&a);
		EQ(write(c[i], &i, 1), 1);
	}
	/* In the order they came, with what they already sent. */
	for (int i = 0; i < 20; i++) {
		int s = OK(accept(l, NULL, NULL));
		EQ(read(s, b, 8), 1);
		EQ(b[0], i);
	}
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	ERR(accept(l, NULL, NULL), EAGAIN);
	/* A client that is gone before accept is accepted all the same, with its data and its end. */
	OK(fcntl(l, F_SETFL, 0));
	c[0] = connected(&a);
	EQ(write(c[0], "bye", 3), 3);
	OK(close(c[0]));
	int s = OK(accept(l, NULL, NULL));
	EQ(read(s, b, 8), 3);
	EQ(read(s, b, 8), 0);
	OK(close(l));
	int z = OK(socket(AF_INET, SOCK_STREAM, 0));
	ERR(connect(z, (struct sockaddr *)&a, sizeof a), ECONNREFUSED);
}

static void version_six(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT }, p;
	socklen_t len = sizeof a;
	char b[4];
	int l = socket(AF_INET6, SOCK_STREAM, 0);

	if (l < 0 && errno == EAFNOSUPPORT)
		skip("this kernel has no IPv6");
	if (bind(l, (struct sockaddr *)&a, sizeof a) < 0 && errno == EADDRNOTAVAIL)
		skip("the loopback has no IPv6 address");
	OK(listen(l, 5));
	OK(getsockname(l, (struct sockaddr *)&a, &len));
	EQ(len, sizeof a);
	int c = OK(socket(AF_INET6, SOCK_STREAM, 0));
	OK(connect(c, (struct sockaddr *)&a, sizeof a));
	len = sizeof p;
	int s = OK(accept(l, (struct sockaddr *)&p, &len));
	EQ(len, sizeof p);
	CHECK(IN6_IS_ADDR_LOOPBACK(&p.sin6_addr));
	EQ(write(c, "six", 3), 3);
	EQ(read(s, b, 4), 3);
	/* A socket of both versions sees IPv4 peers as mapped addresses. */
	int d = OK(socket(AF_INET6, SOCK_STREAM, 0));
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	OK(set(d, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	OK(bind(d, (struct sockaddr *)&any, sizeof any));
	OK(listen(d, 5));
	len = sizeof any;
	OK(getsockname(d, (struct sockaddr *)&any, &len));
	struct sockaddr_in four = loopback(ntohs(any.sin6_port));
	connected(&four);
	OK(accept(d, (struct sockaddr *)&p, &len));
	CHECK(IN6_IS_ADDR_V4MAPPED(&p.sin6_addr));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(connect_and_talk), CASE(creating), CASE(binding), CASE(refused), CASE(connecting_without_blocking), CASE(not_blocking),
	CASE_IN_MAIN(options), CASE(timeouts), CASE(halves), CASE(flags), CASE(broken), CASE(urgent), CASE(waiting_bytes), CASE(backlog),
	CASE(version_six),
};
CHECK_MAIN(cases)
