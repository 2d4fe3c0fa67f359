/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets, waiting, AIO and descriptor passing against a domain in this process. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include "fake.h"

TestSuite(net, .init = fake_start, .timeout = 20);

static struct sockaddr_in here;

static long listener(int flags)
{
	long fd = CALL(socket, AF_INET, SOCK_STREAM | flags, 0);
	socklen_t len = sizeof here;

	cr_assert_geq(fd, 0);
	here = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cr_assert_eq(CALL(bind, fd, P(&here), sizeof here), 0);
	cr_assert_eq(CALL(listen, fd, 16), 0);
	cr_assert_eq(CALL(getsockname, fd, P(&here), P(&len)), 0);
	cr_assert_neq(here.sin_port, 0);
	return fd;
}

/* A client outside: plain descriptors of the test. */
static int client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&here, sizeof here), 0, "%m");
	return fd;
}

Test(net, echo_between_a_remote_listener_and_a_client)
{
	long l = listener(0), s;
	struct sockaddr_in peer;
	socklen_t len = sizeof peer;
	int c = client();
	char buf[8] = "";

	s = CALL(accept4, l, P(&peer), P(&len), SOCK_CLOEXEC);
	cr_assert_geq(s, 0);
	cr_assert_eq(len, sizeof peer);
	cr_assert_eq(fcntl((int)s, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(write(c, "hello", 5), 5);
	cr_assert_eq(CALL(read, s, P(buf), sizeof buf), 5);
	cr_assert_eq(CALL(sendto, s, P("HELLO"), 5, 0, 0, 0), 5);
	cr_assert_eq(read(c, buf, sizeof buf), 5);
	cr_assert_eq(memcmp(buf, "HELLO", 5), 0);
	cr_assert_eq(CALL(close, s), 0);
	cr_assert_eq(read(c, buf, sizeof buf), 0);
}

Test(net, emfile_loses_no_connection)
{
	long l = listener(0), s;
	int c = client(), last = -1, first = dup(0), fd;

	close(first);
	while ((fd = dup(0)) >= 0)
		last = fd;
	cr_assert_eq(CALL(accept, l), -EMFILE);
	/* The domain of the test needs two of the same numbers. */
	for (int i = 0; i < 3; i++)
		close(last - i);
	s = CALL(accept, l);
	cr_assert_geq(s, last - 2);
	cr_assert_eq(write(c, "x", 1), 1);
	for (fd = first; fd < last; fd++)
		if (vos_fd_kind(vos_self()->proc, fd) == VOS_FDKIND_NATIVE && fd < FAKE_LOW)
			close(fd);
}

Test(net, poll_over_native_and_remote)
{
	long l = listener(0);
	int p[2], bad = 600;
	struct pollfd fds[4];
	struct timespec ts = { 0, 20000000 };

	cr_assert_eq(pipe(p), 0);
	fds[0] = (struct pollfd){ p[0], POLLIN, 0 };
	fds[1] = (struct pollfd){ (int)l, POLLIN, 7 };
	fds[2] = (struct pollfd){ -1, POLLIN, 7 };
	fds[3] = (struct pollfd){ bad, POLLIN, 7 };
	cr_assert_eq(CALL(poll, P(fds), 3, 0), 0);
	cr_assert_eq(fds[1].revents | fds[2].revents, 0);
	cr_assert_eq(CALL(poll, P(fds), 4, 1000), 1);
	cr_assert_eq(fds[3].revents, POLLNVAL);
	cr_assert_eq(CALL(ppoll, P(fds), 3, P(&ts), 0, 8), 0);
	cr_assert_eq(ts.tv_nsec, 0);
	client();
	cr_assert_eq(CALL(poll, P(fds), 3, -1), 1);
	cr_assert_eq(fds[1].revents, POLLIN);
	cr_assert_eq(write(p[1], "x", 1), 1);
	cr_assert_eq(CALL(poll, P(fds), 3, -1), 2);
	cr_assert_eq(fds[0].revents, POLLIN);
	cr_assert_eq(CALL(poll, 8, 3, -1), -EFAULT);
}

Test(net, select_over_native_and_remote)
{
	long l = listener(0);
	struct timeval tv = { 0, 20000 };
	fd_set in, out;
	int p[2];

	cr_assert_eq(pipe(p), 0);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(l, &in);
	FD_SET(p[0], &in);
	cr_assert_eq(CALL(select, l + 1 > p[0] + 1 ? l + 1 : p[0] + 1, P(&in), P(&out), 0, P(&tv)), 0);
	cr_assert_eq(tv.tv_usec, 0);
	cr_assert_not(FD_ISSET(l, &in));
	FD_SET(l, &in);
	FD_SET(p[0], &in);
	FD_SET(p[1], &out);
	client();
	tv = (struct timeval){ 5, 0 };
	cr_assert_eq(CALL(select, 64, P(&in), P(&out), 0, P(&tv)), 2);
	cr_assert(FD_ISSET(l, &in));
	cr_assert(FD_ISSET(p[1], &out));
	cr_assert_not(FD_ISSET(p[0], &in));
	cr_assert(tv.tv_sec >= 4);
	FD_SET(500, &in);
	FD_SET(l, &in);
	cr_assert_eq(CALL(select, 501, P(&in), 0, 0, 0), -EBADF);
}

Test(net, epoll_keys_events_and_data)
{
	long l = listener(SOCK_NONBLOCK), e = CALL(epoll_create1, EPOLL_CLOEXEC), d, s;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0x1122334455667788 }, out[4];
	int p[2], c;
	char x;

	cr_assert_eq(pipe(p), 0);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_MOD, l, P(&ev)), -ENOENT);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), 0);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), -EEXIST);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, e, P(&ev)), -EINVAL);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, 599, P(&ev)), -EBADF);
	ev.data.u64 = 2;
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, p[0], P(&ev)), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 0), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 20), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 0, 20), -EINVAL);
	c = client();
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, -1), 1);
	cr_assert_eq(out[0].data.u64, 0x1122334455667788);
	cr_assert_eq(write(p[1], "x", 1), 1);
	usleep(1000);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, -1), 2);
	/* maxevents 1: both get their turn. */
	{
		bool saw[2] = { false, false };

		for (int i = 0; i < 6; i++) {
			usleep(200);
			cr_assert_eq(CALL(epoll_wait, e, P(out), 1, -1), 1);
			saw[out[0].data.u64 == 2] = true;
		}
		cr_assert(saw[0] && saw[1]);
	}
	cr_assert_eq(read(p[0], &x, 1), 1);
	s = CALL(accept, l);
	cr_assert_geq(s, 0);
	/* Edge. */
	ev = (struct epoll_event){ .events = EPOLLIN | EPOLLET, .data.u64 = 3 };
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, s, P(&ev)), 0);
	cr_assert_eq(write(c, "x", 1), 1);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 10), 0);
	/* One shot. */
	ev = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 4 };
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_MOD, s, P(&ev)), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1);
	cr_assert_eq(out[0].data.u64, 4);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 10), 0);
	/* A dup keeps the member, also under its own number. */
	ev = (struct epoll_event){ .events = EPOLLIN, .data.u64 = 5 };
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_MOD, s, P(&ev)), 0);
	d = CALL(dup, s);
	ev.data.u64 = 6;
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, d, P(&ev)), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 2);
	cr_assert_eq(CALL(close, s), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 2);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_DEL, d, 0), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1);
	cr_assert_eq(out[0].data.u64, 5);
	cr_assert_eq(CALL(close, d), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 10), 0);
	cr_assert_eq(CALL(close, l), 0);
	cr_assert_eq(CALL(close, e), 0);
}

struct waiter {
	long epfd, n;
	struct epoll_event out[4];
};

static void *waits(void *arg)
{
	struct waiter *w = arg;

	fake_thread();
	w->n = CALL(epoll_wait, w->epfd, P(w->out), 4, 5000);
	return NULL;
}

Test(net, first_remote_member_wakes_who_waits_natively)
{
	long e = CALL(epoll_create1, 0), l = listener(0);
	struct waiter w[2] = { { e, -1, { { 0 } } }, { e, -1, { { 0 } } } };
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 9 };
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, waits, &w[i]);
	usleep(50000);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), 0);
	usleep(20000);
	client();
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		cr_assert_eq(w[i].n, 1, "%ld", w[i].n);
		cr_assert_eq(w[i].out[0].data.u64, 9);
	}
	cr_assert_eq(CALL(epoll_wait, e, P(w[0].out), 4, 0), 1);
}

Test(net, first_native_member_wakes_who_waits_remotely)
{
	long e = CALL(epoll_create1, 0), l = listener(0);
	struct waiter w = { e, -1, { { 0 } } };
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 9 };
	pthread_t t;

	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), 0);
	pthread_create(&t, NULL, waits, &w);
	usleep(30000);
	ev.data.u64 = 10;
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, eventfd(1, 0), P(&ev)), 0);
	pthread_join(t, NULL);
	cr_assert_eq(w.n, 1);
	cr_assert_eq(w.out[0].data.u64, 10);
}

Test(net, sets_within_sets)
{
	long inner = CALL(epoll_create1, 0), outer = CALL(epoll_create1, 0), l = listener(0);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 1 }, out[4];
	struct pollfd p;

	/* The inner set gets its remote member after it was added. */
	cr_assert_eq(CALL(epoll_ctl, outer, EPOLL_CTL_ADD, inner, P(&ev)), 0);
	ev.data.u64 = 2;
	cr_assert_eq(CALL(epoll_ctl, inner, EPOLL_CTL_ADD, l, P(&ev)), 0);
	cr_assert_eq(CALL(epoll_wait, outer, P(out), 4, 10), 0);
	p = (struct pollfd){ (int)outer, POLLIN, 0 };
	cr_assert_eq(CALL(poll, P(&p), 1, 10), 0);
	client();
	cr_assert_eq(CALL(epoll_wait, outer, P(out), 4, 1000), 1);
	cr_assert_eq(out[0].data.u64, 1);
	cr_assert_eq(CALL(epoll_wait, inner, P(out), 4, 1000), 1);
	cr_assert_eq(CALL(poll, P(&p), 1, 1000), 1);
	cr_assert_eq(p.revents, POLLIN);
	cr_assert_eq(CALL(close, inner), 0);
	cr_assert_eq(CALL(epoll_wait, outer, P(out), 4, 10), 0);
}

Test(net, ready_events_cost_one_request)
{
	long e = CALL(epoll_create1, 0), l = listener(0);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 9 }, out[4];
	unsigned before;

	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), 0);
	client();
	before = fake_requests();
	for (int i = 0; i < 10; i++)
		cr_assert_eq(CALL(epoll_wait, e, P(out), 4, -1), 1);
	cr_assert_eq(fake_requests() - before, 10);
}

/* ---- death and return ---------------------------------------------------------------------------------------------------- */

Test(net, listener_and_epoll_come_back_and_connections_tell)
{
	long l = listener(SOCK_NONBLOCK), e = CALL(epoll_create1, 0), s, s2;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 1 }, out[4];
	int err = 0, c = client();
	socklen_t len = sizeof err;
	struct pollfd p;
	char buf[4];

	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), 0);
	s = CALL(accept4, l, 0, 0, SOCK_NONBLOCK);
	cr_assert_geq(s, 0);
	ev.data.u64 = 2;
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, s, P(&ev)), 0);
	fake_kill(false);
	close(c);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1);
	cr_assert_eq(out[0].data.u64, 2);
	cr_assert_eq(out[0].events, EPOLLERR | EPOLLHUP | EPOLLIN);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1, "level: again");
	p = (struct pollfd){ (int)s, POLLIN | POLLOUT, 0 };
	cr_assert_eq(CALL(poll, P(&p), 1, -1), 1);
	cr_assert_eq(p.revents, POLLIN | POLLOUT | POLLERR | POLLHUP);
	cr_assert_eq(CALL(read, s, P(buf), 4), -ECONNRESET);
	cr_assert_eq(CALL(getsockopt, s, SOL_SOCKET, SO_ERROR, P(&err), P(&len)), 0);
	cr_assert_eq(err, ECONNRESET);
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_DEL, s, 0), 0);
	cr_assert_eq(CALL(close, s), 0);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 10), 0);
	/* The same port. */
	client();
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1);
	cr_assert_eq(out[0].data.u64, 1);
	s2 = CALL(accept4, l, 0, 0, 0);
	cr_assert_geq(s2, 0);
	cr_assert_eq(CALL(accept4, l, 0, 0, 0), -EAGAIN, "still non-blocking");
}

static void *boots_and_connects(void *arg)
{
	int fd = -1;

	(void)arg;
	usleep(30000);
	fake_kill(true);
	usleep(30000);
	fake_boot();
	do {
		usleep(5000);
		if (fd >= 0)
			close(fd);
		fd = socket(AF_INET, SOCK_STREAM, 0);
	} while (connect(fd, (struct sockaddr *)&here, sizeof here) < 0);
	usleep(100000);
	return NULL;
}

Test(net, poll_on_a_listener_outlives_the_domain)
{
	struct pollfd p;
	pthread_t t;

	p = (struct pollfd){ (int)listener(0), POLLIN, 0 };
	pthread_create(&t, NULL, boots_and_connects, NULL);
	cr_assert_eq(CALL(poll, P(&p), 1, -1), 1);
	cr_assert_eq(p.revents, POLLIN);
	pthread_join(t, NULL);
}

Test(net, epoll_wait_on_a_listener_outlives_the_domain_and_native_members_go_on)
{
	long e = CALL(epoll_create1, 0), l = listener(0);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 1 }, out[4];
	pthread_t t;
	int efd = eventfd(0, 0);
	uint64_t one = 1;

	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, l, P(&ev)), 0);
	ev.data.u64 = 2;
	cr_assert_eq(CALL(epoll_ctl, e, EPOLL_CTL_ADD, efd, P(&ev)), 0);
	pthread_create(&t, NULL, boots_and_connects, NULL);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, -1), 1);
	cr_assert_eq(out[0].data.u64, 1);
	pthread_join(t, NULL);
	fake_kill(true);
	cr_assert_eq(write(efd, &one, 8), 8);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 1000), 1);
	cr_assert_eq(out[0].data.u64, 2);
	cr_assert_eq(CALL(epoll_wait, e, P(out), 4, 0), 1);
}

Test(net, bound_datagrams_come_back_to_their_port_with_options)
{
	long u = CALL(socket, AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a, ilen = sizeof(int);
	int c = socket(AF_INET, SOCK_DGRAM, 0), ttl = 17, got = 0;
	struct timeval tv = { 5, 0 };
	char buf[8];

	cr_assert_eq(CALL(setsockopt, u, IPPROTO_IP, IP_TTL, P(&ttl), sizeof ttl), 0);
	cr_assert_eq(CALL(setsockopt, u, SOL_SOCKET, SO_RCVTIMEO, P(&tv), sizeof tv), 0);
	cr_assert_eq(CALL(bind, u, P(&a), sizeof a), 0);
	cr_assert_eq(CALL(getsockname, u, P(&a), P(&len)), 0);
	fake_kill(false);
	cr_assert_eq(CALL(getsockopt, u, IPPROTO_IP, IP_TTL, P(&got), P(&ilen)), 0);
	cr_assert_eq(got, 17);
	cr_assert_eq(sendto(c, "dgram", 5, 0, (struct sockaddr *)&a, sizeof a), 5);
	cr_assert_eq(CALL(recvfrom, u, P(buf), sizeof buf, 0, 0, 0), 5);
}

/* ---- messages -------------------------------------------------------------------------------------------------------------- */

Test(net, messages_gather_scatter_truncate)
{
	long u = CALL(socket, AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, from;
	socklen_t len = sizeof a;
	char x[4], y[4], ctl[64];
	struct iovec iov[2] = { { x, 4 }, { y, 3 } };
	struct msghdr h = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = iov, .msg_iovlen = 2, .msg_control = ctl,
			    .msg_controllen = sizeof ctl };
	struct mmsghdr mm[3];
	int on = 1;

	cr_assert_eq(CALL(bind, u, P(&a), sizeof a), 0);
	cr_assert_eq(CALL(getsockname, u, P(&a), P(&len)), 0);
	cr_assert_eq(CALL(setsockopt, u, IPPROTO_IP, IP_PKTINFO, P(&on), sizeof on), 0);
	memcpy(x, "abcd", 4);
	memcpy(y, "efg", 3);
	h.msg_control = NULL;
	h.msg_controllen = 0;
	h.msg_name = &a;
	h.msg_namelen = sizeof a;
	cr_assert_eq(CALL(sendmsg, u, P(&h), 0), 7);
	memset(x, 0, 4);
	memset(y, 0, 4);
	h.msg_name = &from;
	h.msg_control = ctl;
	h.msg_controllen = sizeof ctl;
	iov[1].iov_len = 2;
	cr_assert_eq(CALL(recvmsg, u, P(&h), MSG_TRUNC), 7);
	cr_assert_eq(memcmp(x, "abcd", 4), 0);
	cr_assert_eq(memcmp(y, "ef\0", 3), 0);
	cr_assert_eq(h.msg_flags, MSG_TRUNC);
	cr_assert_eq(from.sin_port, a.sin_port);
	cr_assert_eq(CMSG_FIRSTHDR(&h)->cmsg_type, IP_PKTINFO);
	cr_assert_eq(CALL(recvmsg, u, P(&h), MSG_DONTWAIT), -EAGAIN);
	h.msg_iovlen = 1025;
	cr_assert_eq(CALL(recvmsg, u, P(&h), MSG_DONTWAIT), -EMSGSIZE);
	cr_assert_eq(CALL(recvmsg, u, 8, MSG_DONTWAIT), -EFAULT);
	for (int i = 0; i < 3; i++)
		mm[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = iov, .msg_iovlen = 1 } };
	cr_assert_eq(CALL(sendmmsg, u, P(mm), 3, 0), 3);
	cr_assert_eq(mm[2].msg_len, 4);
	cr_assert_eq(CALL(recvmmsg, u, P(mm), 3, MSG_WAITFORONE, 0), 3);
	cr_assert_eq(CALL(recvmmsg, u, P(mm), 3, MSG_DONTWAIT, 0), -EAGAIN);
}

Test(net, a_stream_takes_more_than_a_lane_holds)
{
	long l = listener(0), s;
	size_t n = 300000, got = 0;
	char *big = malloc(n), *back = malloc(n);
	struct iovec iov = { big, n };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	int c = client(), size = 1 << 20;

	for (size_t i = 0; i < n; i++)
		big[i] = (char)(i * 7);
	s = CALL(accept, l);
	setsockopt(c, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	CALL(setsockopt, s, SOL_SOCKET, SO_SNDBUF, P(&size), sizeof size);
	cr_assert_eq(CALL(sendmsg, s, P(&h), 0), (long)n);
	while (got < n)
		got += (size_t)read(c, back + got, n - got);
	cr_assert_eq(memcmp(big, back, n), 0);
	for (got = 0; got < n;)
		got += (size_t)send(c, big + got, n - got > 20000 ? 20000 : n - got, MSG_DONTWAIT);
	memset(back, 0, n);
	iov.iov_base = back;
	cr_assert_eq(CALL(recvmsg, s, P(&h), MSG_WAITALL), (long)n);
	cr_assert_eq(memcmp(big, back, n), 0);
	free(big);
	free(back);
}

/* ---- descriptors over UNIX sockets --------------------------------------------------------------------------------------------- */

Test(net, a_remote_descriptor_crosses_a_unix_socket)
{
	long l = listener(0), s;
	int u[2], c = client(), fd[2];
	union { struct cmsghdr h; char room[64]; } ctl;
	char byte = 'b', buf[4];
	struct iovec iov = { &byte, 1 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = CMSG_SPACE(2 * sizeof(int)) };

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, u), 0);
	s = CALL(accept, l);
	ctl.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(2 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	fd[0] = (int)s;
	fd[1] = u[0];
	memcpy(CMSG_DATA(&ctl.h), fd, sizeof fd);
	cr_assert_eq(CALL(sendmsg, u[0], P(&h), 0), 1);
	cr_assert_eq(((int *)CMSG_DATA(&ctl.h))[0], (int)s, "the program's own control data stays");
	cr_assert_eq(CALL(close, s), 0);
	for (int peek = 1; peek >= 0; peek--) {
		h.msg_control = &ctl;
		h.msg_controllen = sizeof ctl;
		cr_assert_eq(CALL(recvmsg, u[1], P(&h), (peek ? MSG_PEEK : 0) | MSG_CMSG_CLOEXEC), 1);
		memcpy(fd, CMSG_DATA(&ctl.h), sizeof fd);
		cr_assert_eq(vos_fd_kind(vos_self()->proc, fd[0]), VOS_FDKIND_REMOTE);
		cr_assert_eq(vos_fd_kind(vos_self()->proc, fd[1]), VOS_FDKIND_NATIVE);
		cr_assert_eq(fcntl(fd[0], F_GETFD), FD_CLOEXEC);
		cr_assert_eq(write(c, "ab", 2), 2);
		cr_assert_eq(CALL(read, fd[0], P(buf), 4), 2);
	}
}

/* ---- AIO --------------------------------------------------------------------------------------------------------------------------- */

Test(net, aio_over_native_and_remote_files)
{
	aio_context_t ctx = 0;
	char one[4] = "", two[4] = "", path[] = "/tmp/vos-aio-XXXXXX", path2[] = "/tmp/vos-aio-XXXXXX";
	int native = mkstemp(path), remote = mkstemp(path2), efd = eventfd(0, 0);
	struct iocb cb[3], *list[3] = { &cb[0], &cb[1], &cb[2] };
	struct io_event ev[4];
	struct timespec ts = { 1, 0 };
	uint64_t count;
	long n;

	unlink(path);
	unlink(path2);
	cr_assert_eq(pwrite(native, "nat", 3, 0), 3);
	cr_assert_eq(pwrite(remote, "rem", 3, 0), 3);
	remote = fake_remote(remote);
	cr_assert_eq(CALL(io_setup, 8, P(&ctx)), 0);
	cr_assert_eq(*(uint32_t *)((char *)ctx + 16), 0, "no ring that libaio would read");
	cb[0] = (struct iocb){ .aio_data = 10, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)native, .aio_buf = P(one), .aio_nbytes = 3 };
	cb[1] = (struct iocb){ .aio_data = 11, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)remote, .aio_buf = P(two), .aio_nbytes = 3,
			       .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)efd };
	cb[2] = (struct iocb){ .aio_data = 12, .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = (uint32_t)remote };
	cr_assert_eq(CALL(io_submit, ctx, 3, P(list)), 3);
	n = CALL(io_getevents, ctx, 3, 4, P(ev), P(&ts));
	cr_assert_eq(n, 3);
	for (int i = 0; i < 3; i++) {
		long k = (long)ev[i].data - 10;

		cr_assert(k >= 0 && k < 3);
		cr_assert_eq(ev[i].obj, P(&cb[k]));
		cr_assert_eq(ev[i].res, k == 2 ? 0 : 3);
	}
	cr_assert_eq(memcmp(one, "nat", 3), 0);
	cr_assert_eq(memcmp(two, "rem", 3), 0);
	cr_assert_eq(read(efd, &count, 8), 8);
	cr_assert_eq(CALL(io_destroy, ctx), 0);
	cr_assert_eq(CALL(io_destroy, ctx), -EINVAL);
}

Test(net, aio_poll_on_a_remote_socket)
{
	aio_context_t ctx = 0;
	long l = listener(0);
	struct iocb cb = { .aio_data = 5, .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)l, .aio_buf = POLLIN }, *list[1] = { &cb };
	struct timespec ts = { 0, 5000000 };
	struct io_event ev[2];

	cr_assert_eq(CALL(io_setup, 8, P(&ctx)), 0);
	cr_assert_eq(CALL(io_submit, ctx, 1, P(list)), 1);
	cr_assert_eq(CALL(io_getevents, ctx, 1, 2, P(ev), P(&ts)), 0);
	client();
	ts.tv_sec = 1;
	cr_assert_eq(CALL(io_getevents, ctx, 1, 2, P(ev), P(&ts)), 1);
	cr_assert_eq(ev[0].data, 5);
	cr_assert_eq(ev[0].res, POLLIN);
}
