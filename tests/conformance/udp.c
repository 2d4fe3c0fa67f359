/* Datagrams: boundaries, addresses, truncation, errors that come back, control messages, many at once. */
#include "check.h"
#include <linux/errqueue.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static int set(int s, int level, int name, int v)
{
	return setsockopt(s, level, name, &v, sizeof v);
}

static void to_and_from(void)
{
	struct sockaddr_in a, b, from;
	socklen_t len = sizeof from;
	char buf[64];
	int x = bound(SOCK_DGRAM, &a), y = bound(SOCK_DGRAM, &b);

	EQ(sendto(x, "hello", 5, 0, (struct sockaddr *)&b, sizeof b), 5);
	EQ(recvfrom(y, buf, sizeof buf, 0, (struct sockaddr *)&from, &len), 5);
	EQ(len, sizeof from);
	EQ(from.sin_port, a.sin_port);
	EQ(from.sin_addr.s_addr, a.sin_addr.s_addr);
	/* Boundaries hold, order on the loopback too. */
	for (int i = 1; i <= 20; i++)
		EQ(sendto(x, "0123456789abcdefghij", i, 0, (struct sockaddr *)&b, sizeof b), i);
	for (int i = 1; i <= 20; i++)
		EQ(recv(y, buf, sizeof buf, 0), i);
	EQ(sendto(x, NULL, 0, 0, (struct sockaddr *)&b, sizeof b), 0);
	EQ(recv(y, buf, sizeof buf, 0), 0);
	ERR(recv(y, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
	ERR(send(x, "x", 1, 0), EDESTADDRREQ);
	ERR(write(x, "x", 1), EDESTADDRREQ);
	ERR(sendto(x, "x", 1, 0, (struct sockaddr *)&b, 4), EINVAL);
	ERR(sendto(x, bad_pointer(), 1, 0, (struct sockaddr *)&b, sizeof b), EFAULT);
	ERR(sendto(x, "x", 1, 0, bad_pointer(), sizeof b), EFAULT);
	b.sin_port = 0;
	ERR(sendto(x, "x", 1, 0, (struct sockaddr *)&b, sizeof b), EINVAL);
	ERR(listen(x, 5), EOPNOTSUPP);
	ERR(accept(x, NULL, NULL), EOPNOTSUPP);
}

static void connected_sockets(void)
{
	struct sockaddr_in a, b, c, p;
	socklen_t len = sizeof p;
	char buf[16];
	int x = bound(SOCK_DGRAM, &a), y = bound(SOCK_DGRAM, &b), z = bound(SOCK_DGRAM, &c);

	ERR(getpeername(x, (struct sockaddr *)&p, &len), ENOTCONN);
	OK(connect(x, (struct sockaddr *)&b, sizeof b));
	OK(getpeername(x, (struct sockaddr *)&p, &len));
	EQ(p.sin_port, b.sin_port);
	EQ(send(x, "one", 3, 0), 3);
	EQ(write(x, "two!", 4), 4);
	EQ(read(y, buf, 16), 3);
	EQ(read(y, buf, 16), 4);
	/* Only the peer is heard. */
	EQ(sendto(z, "stranger", 8, 0, (struct sockaddr *)&a, sizeof a), 8);
	EQ(sendto(y, "friend", 6, 0, (struct sockaddr *)&a, sizeof a), 6);
	EQ(recv(x, buf, 16, 0), 6);
	ERR(recv(x, buf, 16, MSG_DONTWAIT), EAGAIN);
	/* A connected one may still address others, and be connected anew or dissolved. */
	EQ(sendto(x, "aside", 5, 0, (struct sockaddr *)&c, sizeof c), 5);
	EQ(recv(z, buf, 16, 0), 5);
	OK(connect(x, (struct sockaddr *)&c, sizeof c));
	EQ(send(x, "c", 1, 0), 1);
	EQ(recv(z, buf, 16, 0), 1);
	struct sockaddr un = { .sa_family = AF_UNSPEC };
	OK(connect(x, &un, sizeof un));
	ERR(send(x, "x", 1, 0), EDESTADDRREQ);
	/* connect() alone binds. */
	int w = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(connect(w, (struct sockaddr *)&b, sizeof b));
	len = sizeof p;
	OK(getsockname(w, (struct sockaddr *)&p, &len));
	CHECK(p.sin_port && p.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	OK(shutdown(w, SHUT_RD));
	EQ(recv(w, buf, 16, 0), 0);
}

static void truncated(void)
{
	char b[16];
	struct iovec v = { b, 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	int s[2], n;

	udp_pair(s);
	EQ(send(s[0], "0123456789", 10, 0), 10);
	memset(b, '#', sizeof b);
	EQ(recv(s[1], b, 4, 0), 4);
	EQ(b[4], '#');
	ERR(recv(s[1], b, 4, MSG_DONTWAIT), EAGAIN);
	EQ(send(s[0], "0123456789", 10, 0), 10);
	EQ(recv(s[1], b, 4, MSG_PEEK | MSG_TRUNC), 10);
	OK(ioctl(s[1], FIONREAD, &n));
	EQ(n, 10);
	EQ(recv(s[1], b, 4, MSG_TRUNC), 10);
	EQ(send(s[0], "0123456789", 10, 0), 10);
	EQ(recvmsg(s[1], &m, 0), 4);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(send(s[0], "ab", 2, 0), 2);
	EQ(recvmsg(s[1], &m, 0), 2);
	EQ(m.msg_flags, 0);
	EQ(send(s[0], "x", 1, 0), 1);
	EQ(recv(s[1], NULL, 0, 0), 0);
	ERR(recv(s[1], b, 1, MSG_DONTWAIT), EAGAIN);
}

static void large_datagrams(void)
{
	unsigned char *b = malloc(70000), *r = malloc(70000);
	int s[2];

	udp_pair(s);
	fill(b, 70000, 8, 0);
	OK(set(s[0], SOL_SOCKET, SO_SNDBUF, 200000));
	for (int n = 1000; n <= 65000; n += 8000) {
		EQ(send(s[0], b, n, 0), n);
		EQ(recv(s[1], r, 70000, 0), n);
		expect(r, n, 8, 0);
	}
	EQ(send(s[0], b, 65507, 0), 65507);
	EQ(recv(s[1], r, 70000, 0), 65507);
	expect(r, 65507, 8, 0);
	ERR(send(s[0], b, 65508, 0), EMSGSIZE);
}

static void refused(void)
{
	struct sockaddr_in gone;
	char b[4];
	int x = OK(socket(AF_INET, SOCK_DGRAM, 0)), y = bound(SOCK_DGRAM, &gone), err = -1;
	socklen_t len = sizeof err;

	OK(connect(x, (struct sockaddr *)&gone, sizeof gone));
	OK(close(y));
	EQ(send(x, "x", 1, 0), 1);
	EQ(poll(&(struct pollfd){ .fd = x, .events = POLLIN }, 1, 10000), 1);
	ERR(recv(x, b, 4, 0), ECONNREFUSED);
	ERR(recv(x, b, 4, MSG_DONTWAIT), EAGAIN);
	EQ(send(x, "x", 1, 0), 1);
	EQ(poll(&(struct pollfd){ .fd = x, .events = POLLIN }, 1, 10000), 1);
	OK(getsockopt(x, SOL_SOCKET, SO_ERROR, &err, &len));
	EQ(err, ECONNREFUSED);
	EQ(send(x, "x", 1, 0), 1);
	/* The error of one send may be told by the next. */
	EQ(poll(&(struct pollfd){ .fd = x, .events = POLLIN }, 1, 10000), 1);
	ERR(send(x, "x", 1, 0), ECONNREFUSED);
	/* Unconnected sockets are not told. */
	int z = bound(SOCK_DGRAM, NULL);
	EQ(sendto(z, "x", 1, 0, (struct sockaddr *)&gone, sizeof gone), 1);
	settle();
	ERR(recv(z, b, 4, MSG_DONTWAIT), EAGAIN);
}

static void error_queue(void)
{
	struct sockaddr_in gone, from;
	char b[16], control[256];
	struct iovec v = { b, sizeof b };
	struct msghdr m = { &from, sizeof from, &v, 1, control, sizeof control, 0 };
	int x = OK(socket(AF_INET, SOCK_DGRAM, 0)), y = bound(SOCK_DGRAM, &gone);

	OK(set(x, IPPROTO_IP, IP_RECVERR, 1));
	OK(close(y));
	EQ(sendto(x, "lost", 4, 0, (struct sockaddr *)&gone, sizeof gone), 4);
	EQ(poll(&(struct pollfd){ .fd = x, .events = 0 }, 1, 10000), 1);
	EQ(recvmsg(x, &m, MSG_ERRQUEUE), 4);
	CHECK(memcmp(b, "lost", 4) == 0);
	CHECK(m.msg_flags & MSG_ERRQUEUE);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR);
	struct sock_extended_err *e = (void *)CMSG_DATA(c);
	EQ(e->ee_errno, ECONNREFUSED);
	EQ(from.sin_port, gone.sin_port);
	ERR(recvmsg(x, &m, MSG_ERRQUEUE), EAGAIN);
}

static void control_messages(void)
{
	struct sockaddr_in a, b, from;
	char buf[16], control[256];
	struct iovec v = { buf, sizeof buf };
	struct msghdr m = { &from, sizeof from, &v, 1, control, sizeof control, 0 };
	int x = bound(SOCK_DGRAM, &a), y = bound(SOCK_DGRAM, &b), info = 0, stamp = 0, ttl = 0;

	OK(set(y, IPPROTO_IP, IP_PKTINFO, 1));
	OK(set(y, IPPROTO_IP, IP_RECVTTL, 1));
	OK(set(y, SOL_SOCKET, SO_TIMESTAMP, 1));
	/* The sender chooses its source by IP_PKTINFO. */
	union {
		char b[CMSG_SPACE(sizeof(struct in_pktinfo))];
		struct cmsghdr h;
	} out = { { 0 } };
	struct iovec w = { "info", 4 };
	struct msghdr s = { &b, sizeof b, &w, 1, &out, sizeof out, 0 };
	out.h.cmsg_level = IPPROTO_IP;
	out.h.cmsg_type = IP_PKTINFO;
	out.h.cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
	((struct in_pktinfo *)CMSG_DATA(&out.h))->ipi_spec_dst.s_addr = htonl(INADDR_LOOPBACK);
	EQ(sendmsg(x, &s, 0), 4);
	EQ(recvmsg(y, &m, 0), 4);
	EQ(m.msg_flags, 0);
	EQ(from.sin_port, a.sin_port);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			EQ(((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr.s_addr, htonl(INADDR_LOOPBACK));
			info++;
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP) {
			struct timeval tv;
			memcpy(&tv, CMSG_DATA(c), sizeof tv);
			CHECK(labs(tv.tv_sec - time(NULL)) < 100);
			stamp++;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
			EQ(*(int *)CMSG_DATA(c), 64);
			ttl++;
		}
	}
	EQ(info, 1);
	EQ(stamp, 1);
	EQ(ttl, 1);
	/* Too little room: MSG_CTRUNC. */
	EQ(sendto(x, "x", 1, 0, (struct sockaddr *)&b, sizeof b), 1);
	m.msg_controllen = 8;
	EQ(recvmsg(y, &m, 0), 1);
	CHECK(m.msg_flags & MSG_CTRUNC);
	/* None: nothing is said but that. */
	EQ(sendto(x, "x", 1, 0, (struct sockaddr *)&b, sizeof b), 1);
	m.msg_control = NULL;
	m.msg_controllen = 0;
	EQ(recvmsg(y, &m, 0), 1);
	/* A malformed control message is refused. */
	out.h.cmsg_len = 1;
	ERR(sendmsg(x, &s, 0), EINVAL);
	out.h.cmsg_len = sizeof out + 100;
	ERR(sendmsg(x, &s, 0), EINVAL);
}

static void many_at_once(void)
{
	struct mmsghdr m[16], g[20];
	struct iovec v[16], r[20];
	struct sockaddr_in from[20];
	char buf[20][32];
	int s[2];

	udp_pair(s);
	memset(m, 0, sizeof m);
	memset(g, 0, sizeof g);
	for (int i = 0; i < 16; i++) {
		v[i] = (struct iovec){ "abcdefghijklmnop", i + 1 };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	for (int i = 0; i < 20; i++) {
		r[i] = (struct iovec){ buf[i], 32 };
		g[i].msg_hdr.msg_iov = &r[i];
		g[i].msg_hdr.msg_iovlen = 1;
		g[i].msg_hdr.msg_name = &from[i];
		g[i].msg_hdr.msg_namelen = sizeof from[i];
	}
	EQ(sendmmsg(s[0], m, 16, 0), 16);
	for (int i = 0; i < 16; i++)
		EQ(m[i].msg_len, i + 1);
	EQ(recvmmsg(s[1], g, 20, MSG_DONTWAIT, NULL), 16);
	for (int i = 0; i < 16; i++) {
		EQ(g[i].msg_len, i + 1);
		EQ(g[i].msg_hdr.msg_namelen, sizeof(struct sockaddr_in));
		EQ(from[i].sin_port, from[0].sin_port);
		CHECK(memcmp(buf[i], "abcdefghijklmnop", i + 1) == 0);
	}
	ERR(recvmmsg(s[1], g, 20, MSG_DONTWAIT, NULL), EAGAIN);
	EQ(sendmmsg(s[0], m, 3, 0), 3);
	EQ(recvmmsg(s[1], g, 2, 0, NULL), 2);
	EQ(recvmmsg(s[1], g, 5, MSG_WAITFORONE, NULL), 1);
	struct timespec t = { 0, 20000000 };
	OK(set(s[1], SOL_SOCKET, SO_RCVBUF, 100000));
	struct timeval tv = { 0, 50000 };
	OK(setsockopt(s[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	ERR(recvmmsg(s[1], g, 5, 0, &t), EAGAIN);
	/* An error after the first message is told by the count. */
	m[2].msg_hdr.msg_iov = bad_pointer();
	EQ(sendmmsg(s[0], m, 5, 0), 2);
	ERR(sendmmsg(s[0], bad_pointer(), 5, 0), EFAULT);
	EQ(sendmmsg(s[0], m, 0, 0), 0);
}

static void time_of_arrival(void)
{
	struct timeval tv;
	struct timespec ts;
	int s[2];

	udp_pair(s);
	ERR(ioctl(s[1], 0x8906 /* SIOCGSTAMP */, &tv), ENOENT);
	EQ(send(s[0], "x", 1, 0), 1);
	EQ(recv(s[1], (char[4]){ 0 }, 4, 0), 1);
	OK(set(s[1], SOL_SOCKET, SO_TIMESTAMPNS, 1));
	EQ(send(s[0], "x", 1, 0), 1);
	char control[64], b[4];
	struct iovec v = { b, 4 };
	struct msghdr m = { NULL, 0, &v, 1, control, sizeof control, 0 };
	EQ(recvmsg(s[1], &m, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_type == SCM_TIMESTAMPNS);
	memcpy(&ts, CMSG_DATA(c), sizeof ts);
	CHECK(labs(ts.tv_sec - time(NULL)) < 100);
}

static void gathered_and_scattered(void)
{
	char a[3], b[20];
	struct iovec w[2] = { { "abc", 3 }, { "defgh", 5 } }, r[2] = { { a, 3 }, { b, 20 } };
	int s[2];

	udp_pair(s);
	EQ(writev(s[0], w, 2), 8);
	EQ(readv(s[1], r, 2), 8);
	CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "defgh", 5) == 0);
	/* MSG_MORE makes one datagram of two sends. */
	EQ(send(s[0], "first", 5, MSG_MORE), 5);
	ERR(recv(s[1], b, 20, MSG_DONTWAIT), EAGAIN);
	EQ(send(s[0], "second", 6, 0), 6);
	EQ(recv(s[1], b, 20, 0), 11);
}

static void broadcast_and_groups(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = { INADDR_BROADCAST } };
	int v = -1, x = bound(SOCK_DGRAM, NULL);
	socklen_t len = sizeof v;

	OK(getsockopt(x, SOL_SOCKET, SO_BROADCAST, &v, &len));
	EQ(v, 0);
	OK(set(x, SOL_SOCKET, SO_BROADCAST, 1));
	OK(getsockopt(x, SOL_SOCKET, SO_BROADCAST, &v, &len));
	EQ(v, 1);
	/* A group on the loopback, heard by its own sender. */
	int y = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct ip_mreqn g = { .imr_multiaddr = { htonl(0xefff0102) }, .imr_address = { htonl(INADDR_LOOPBACK) } };
	if (setsockopt(y, IPPROTO_IP, IP_ADD_MEMBERSHIP, &g, sizeof g) < 0)
		return;
	ERR(setsockopt(y, IPPROTO_IP, IP_ADD_MEMBERSHIP, &g, sizeof g), EADDRINUSE);
	OK(setsockopt(y, IPPROTO_IP, IP_DROP_MEMBERSHIP, &g, sizeof g));
	ERR(setsockopt(y, IPPROTO_IP, IP_DROP_MEMBERSHIP, &g, sizeof g), EADDRNOTAVAIL);
	(void)a;
}

static void version_six(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT }, from;
	socklen_t len = sizeof a;
	char b[4];
	int x = socket(AF_INET6, SOCK_DGRAM, 0);

	if (x < 0 && errno == EAFNOSUPPORT)
		skip("this kernel has no IPv6");
	if (bind(x, (struct sockaddr *)&a, sizeof a) < 0 && errno == EADDRNOTAVAIL)
		skip("the loopback has no IPv6 address");
	OK(getsockname(x, (struct sockaddr *)&a, &len));
	EQ(sendto(x, "me", 2, 0, (struct sockaddr *)&a, sizeof a), 2);
	len = sizeof from;
	EQ(recvfrom(x, b, 4, 0, (struct sockaddr *)&from, &len), 2);
	EQ(len, sizeof from);
	EQ(from.sin6_port, a.sin6_port);
}

struct two {
	int fd;
	int n;
};
static void traffic_class(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int)) * 2]; } c = { 0 };
	char byte = 'x';
	struct iovec v = { &byte, 1 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	socklen_t n = sizeof a;
	int one = 1, tclass = 32, hops = 7, seen = 0;
	int x = socket(AF_INET6, SOCK_DGRAM, 0);

	if (x < 0 || bind(x, (void *)&a, sizeof a) < 0)
		skip("there is no IPv6");
	OK(getsockname(x, (void *)&a, &n));
	OK(setsockopt(x, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof one));
	OK(setsockopt(x, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one, sizeof one));
	OK(setsockopt(x, IPPROTO_IPV6, IPV6_TCLASS, &tclass, sizeof tclass));
	OK(setsockopt(x, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof hops));
	EQ(sendto(x, "y", 1, 0, (void *)&a, sizeof a), 1);
	EQ(recvmsg(x, &h, 0), 1);
	for (struct cmsghdr *m = CMSG_FIRSTHDR(&h); m; m = CMSG_NXTHDR(&h, m)) {
		int got;

		EQ(m->cmsg_level, IPPROTO_IPV6);
		memcpy(&got, CMSG_DATA(m), sizeof got);
		EQ(got, m->cmsg_type == IPV6_TCLASS ? 32 : 7);
		seen++;
	}
	EQ(seen, 2);
}

static void *flood(void *arg)
{
	struct two *t = arg;

	for (int i = 0; i < t->n; i++)
		EQ(send(t->fd, &i, sizeof i, 0), sizeof i);
	return NULL;
}

static void echo_between_threads(void)
{
	/* One outstanding datagram at a time each way, so none may be lost. */
	int s[2], v, got;

	udp_pair(s);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 2000; i++) {
			EQ(recv(s[1], &v, sizeof v, 0), sizeof v);
			v *= 3;
			EQ(send(s[1], &v, sizeof v, 0), sizeof v);
		}
		_exit(0);
	}
	for (int i = 0; i < 2000; i++) {
		EQ(send(s[0], &i, sizeof i, 0), sizeof i);
		EQ(recv(s[0], &got, sizeof got, 0), sizeof got);
		EQ(got, i * 3);
	}
	wait_ok(pid);
	/* Two threads sending on one socket: each datagram whole. */
	pthread_t t[2];
	struct two w = { s[0], 40 };
	for (int i = 0; i < 2; i++)
		P0(pthread_create(&t[i], NULL, flood, &w));
	int count[40] = { 0 };
	for (int i = 0; i < 80; i++) {
		EQ(recv(s[1], &v, sizeof v, 0), sizeof v);
		CHECK(v >= 0 && v < 40);
		count[v]++;
	}
	for (int i = 0; i < 40; i++)
		EQ(count[i], 2);
	for (int i = 0; i < 2; i++)
		P0(pthread_join(t[i], NULL));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(to_and_from), CASE(connected_sockets), CASE(truncated), CASE(large_datagrams), CASE(refused), CASE(error_queue),
	CASE(control_messages), CASE(many_at_once), CASE(time_of_arrival), CASE(gathered_and_scattered), CASE(broadcast_and_groups),
	CASE(version_six), CASE(traffic_class), CASE(echo_between_threads),
};
CHECK_MAIN(cases)
