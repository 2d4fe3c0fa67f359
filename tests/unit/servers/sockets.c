/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets in a proxy: TCP and UDP, waiting and not, limits, messages, options, poll and epoll, cancelling. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "testclient.h"

static struct tc_domain d;
static struct tc c;

static void setup(void)
{
	tc_start(&d, VOS_KIND_NET, NULL);
	cr_assert_eq(tc_join(&d, &c, 4, 32, 1 << 20), 0, "%s", d.msg.text);
}

static void teardown(void)
{
	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
}

TestSuite(sockets, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t new_socket(int type)
{
	long r = tc(&c, __NR_socket, AF_INET, (uint64_t)type, 0);

	cr_assert_geq(r, 0);
	return (uint64_t)r;
}

static const struct sockaddr_in loopback = { .sin_family = AF_INET };

/* A bound socket; its address stands at *ret_addr of lane 0 and at 0 of lane 1. */
static uint64_t bound(int type, uint64_t *ret_addr)
{
	struct sockaddr_in a = loopback;
	uint64_t s = new_socket(type), len;
	uint32_t n = sizeof a;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*ret_addr = tc_bytes(&c, &a, sizeof a);
	len = tc_bytes(&c, &n, sizeof n);
	cr_assert_eq(tc(&c, __NR_bind, s, *ret_addr, sizeof a), 0);
	cr_assert_eq(tc(&c, __NR_getsockname, s, *ret_addr, len), 0);
	cr_expect_eq(*(uint32_t *)tc_at(&c, len), sizeof a);
	memcpy(c.lane[1].data, tc_at(&c, *ret_addr), sizeof a);
	return s;
}

static void pair(uint64_t *ret_a, uint64_t *ret_b)
{
	uint64_t addr, l = bound(SOCK_STREAM, &addr);
	long r;

	cr_assert_eq(tc(&c, __NR_listen, l, 5), 0);
	*ret_a = new_socket(SOCK_STREAM);
	cr_assert_eq(tc(&c, __NR_connect, *ret_a, addr, sizeof loopback), 0);
	r = tc(&c, __NR_accept4, l, VOS_NULL, VOS_NULL, 0);
	cr_assert_geq(r, 0);
	*ret_b = (uint64_t)r;
	cr_assert_eq(tc(&c, __NR_close, l), 0);
}

static uint64_t begin(uint32_t lane, uint16_t op, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3)
{
	struct vos_cqe cqe;
	uint64_t user = tc_submit(&c, lane, op, 0, (uint64_t[6]){ a0, a1, a2, a3, VOS_NULL, VOS_NULL });

	cr_expect(!tc_reap(&c, lane, &cqe, 30), "it did not wait: %ld", (long)cqe.res);
	return user;
}

static long end(uint32_t lane)
{
	struct vos_cqe cqe;

	return tc_reap(&c, lane, &cqe, 5000) ? cqe.res : -ETIMEDOUT;
}

/* Cancels; the request's result. */
static long cancel(uint32_t lane, uint64_t user)
{
	struct vos_cqe cqe;
	long r = -ETIMEDOUT;

	tc_submit(&c, lane, VOS_OP_CANCEL, 0, (uint64_t[6]){ user });
	for (int i = 0; i < 2; i++) {
		cr_assert(tc_reap(&c, lane, &cqe, 5000));
		if (cqe.user == user)
			r = cqe.res;
	}
	return r;
}

Test(sockets, stream)
{
	uint64_t a, b, out = tc_alloc(&c, 65536);
	char *text = tc_at(&c, out);

	pair(&a, &b);
	begin(1, __NR_read, b, 0, 100, 0);
	cr_expect_eq(tc(&c, __NR_write, a, tc_str(&c, "one"), 3), 3);
	cr_expect_eq(end(1), 3);
	cr_expect_arr_eq(c.lane[1].data, "one", 3);
	begin(1, __NR_recvfrom, b, 0, 100, MSG_PEEK);
	cr_expect_eq(tc(&c, __NR_sendto, a, tc_str(&c, "two"), 3, 0, VOS_NULL, 0), 3);
	cr_expect_eq(end(1), 3);
	cr_expect_eq(tc(&c, __NR_recvfrom, b, out, 2, 0, VOS_NULL, VOS_NULL), 2);
	cr_expect_arr_eq(text, "tw", 2);
	cr_expect_eq(tc(&c, __NR_recvfrom, b, out, 2, 0, VOS_NULL, VOS_NULL), 1);
	cr_expect_eq(tc(&c, __NR_recvfrom, b, out, 2, MSG_DONTWAIT, VOS_NULL, VOS_NULL), -EAGAIN);
	cr_expect_eq(tc(&c, __NR_pread64, b, out, 2, 0), -ESPIPE);
	cr_expect_eq(tc(&c, __NR_lseek, b, 0, 0), -ESPIPE);
	cr_expect_eq(tc(&c, __NR_read, b, out, 0), 0, "a read of nothing does not wait");
	/* MSG_WAITALL waits for all of it. */
	begin(1, __NR_recvfrom, b, 0, 10, MSG_WAITALL);
	cr_expect_eq(tc(&c, __NR_write, a, tc_str(&c, "12345"), 5), 5);
	begin(2, __NR_recvfrom, a, 0, 10, 0);
	cr_expect_eq(tc(&c, __NR_write, a, tc_str(&c, "67890"), 5), 5);
	cr_expect_eq(end(1), 10);
	cr_expect_arr_eq(c.lane[1].data, "1234567890", 10);
	cr_expect_eq(tc(&c, __NR_write, b, tc_str(&c, "x"), 1), 1);
	cr_expect_eq(end(2), 1);
	/* ... or for the end; MSG_PEEK does too. */
	begin(1, __NR_recvfrom, b, 0, 10, MSG_WAITALL);
	begin(2, __NR_recvfrom, a, 0, 4, MSG_WAITALL | MSG_PEEK);
	cr_expect_eq(tc(&c, __NR_write, b, tc_str(&c, "abcdef"), 6), 6);
	cr_expect_eq(end(2), 4);
	cr_expect_eq(tc(&c, __NR_write, a, tc_str(&c, "end"), 3), 3);
	cr_expect_eq(tc(&c, __NR_shutdown, a, SHUT_WR), 0);
	cr_expect_eq(end(1), 3);
	cr_expect_eq(tc(&c, __NR_read, b, out, 10), 0);
	cr_expect_eq(tc(&c, __NR_close, a), 0);
	tc(&c, __NR_write, b, out, 100);
	tc(&c, __NR_write, b, out, 100);
	cr_expect_eq(tc_cqe.res, -EPIPE, "and the proxy lives: %ld", (long)tc_cqe.res);
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0);
}

Test(sockets, blocking_write_sends_all)
{
	uint64_t a, b, out = tc_alloc(&c, 65536), user;
	struct vos_cqe cqe;
	long sum = 0, r;

	pair(&a, &b);
	/* A megabyte at a time, until one waits for room. */
	do {
		user = tc_submit(&c, 1, __NR_write, 0, (uint64_t[6]){ a, 0, 1 << 20 });
		r = tc_reap(&c, 1, &cqe, 200);
		if (r) {
			cr_assert_eq(cqe.res, 1 << 20);
			sum += cqe.res;
		}
	} while (r);
	/* It has sent a part; only when all is sent does it end. */
	for (;;) {
		r = tc(&c, __NR_read, b, out, 65536);
		cr_assert_gt(r, 0);
		sum -= r;
		if (tc_reap(&c, 1, &cqe, 0)) {
			cr_expect_eq(cqe.res, 1 << 20);
			break;
		}
	}
	for (sum += 1 << 20; sum > 0; sum -= r)
		cr_assert_gt(r = tc(&c, __NR_read, b, out, 65536), 0);
	cr_expect_eq(sum, 0);
	/* Cancelled half-way: what was sent. */
	do {
		user = tc_submit(&c, 1, __NR_write, 0, (uint64_t[6]){ a, 0, 1 << 20 });
		r = tc_reap(&c, 1, &cqe, 200);
	} while (r);
	r = cancel(1, user);
	cr_expect(r == -ECANCELED || (r > 0 && r < 1 << 20), "%ld", r);
	/* Non-blocking: what fits now. */
	cr_expect_eq(tc(&c, __NR_fcntl, a, F_SETFL, O_NONBLOCK), 0);
	while ((r = tc(&c, __NR_write, a, 0, 1 << 20)) > 0)
		;
	cr_expect_eq(r, -EAGAIN);
	cr_assert_gt(tc(&c, __NR_read, b, out, 65536), 0);
}

Test(sockets, limits)
{
	uint64_t a, b, out = tc_alloc(&c, 100), tv, addr, l;
	struct timeval t = { 0, 50000 };
	struct timespec before, after;
	double ms;

	pair(&a, &b);
	tv = tc_bytes(&c, &t, sizeof t);
	cr_expect_eq(tc(&c, __NR_setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, tv, sizeof t), 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	cr_expect_eq(tc(&c, __NR_read, a, out, 100), -EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
	cr_expect(ms > 45 && ms < 1000, "%f", ms);
	cr_expect_eq(tc(&c, __NR_write, b, tc_str(&c, "x"), 1), 1);
	cr_expect_eq(tc(&c, __NR_recvfrom, a, out, 100, MSG_WAITALL, VOS_NULL, VOS_NULL), 1, "what came within the limit");
	/* A listener: accept has the same limit. */
	l = bound(SOCK_STREAM, &addr);
	cr_expect_eq(tc(&c, __NR_listen, l, 1), 0);
	cr_expect_eq(tc(&c, __NR_setsockopt, l, SOL_SOCKET, SO_RCVTIMEO, tv, sizeof t), 0);
	cr_expect_eq(tc(&c, __NR_accept4, l, VOS_NULL, VOS_NULL, 0), -EAGAIN);
}

Test(sockets, accept_and_connect)
{
	uint64_t addr, l = bound(SOCK_STREAM, &addr), a, b, k, from = tc_alloc(&c, 128), len;
	uint32_t n = 5;
	struct vos_cqe cqe;
	long r;

	cr_expect_eq(tc(&c, __NR_accept4, l, VOS_NULL, VOS_NULL, 0), -EINVAL, "it does not listen");
	cr_expect_eq(tc(&c, __NR_listen, l, 5), 0);
	cr_expect_eq(tc(&c, __NR_accept4, l, VOS_NULL, VOS_NULL, 0x40), -EINVAL);
	/* Two wait: one connection wakes one of them, a cancel ends the other. */
	begin(1, __NR_accept4, l, VOS_NULL, VOS_NULL, 0);
	k = begin(2, __NR_accept4, l, VOS_NULL, VOS_NULL, SOCK_NONBLOCK);
	a = new_socket(SOCK_STREAM);
	cr_expect_eq(tc(&c, __NR_connect, a, addr, sizeof loopback), 0);
	if (tc_reap(&c, 1, &cqe, 300)) {
		cr_expect_geq(cqe.res, 0);
		cr_expect_eq(cancel(2, k), -ECANCELED);
	} else {
		cr_expect_geq(end(2), 0);
		tc_submit(&c, 1, VOS_OP_CANCEL, 0, (uint64_t[6]){ VOS_NULL });
		cr_expect(end(1) <= 0);
		cr_expect(end(1) <= 0);
	}
	/* The peer's address: cut to the capacity, with its true length. */
	b = new_socket(SOCK_STREAM);
	cr_expect_eq(tc(&c, __NR_connect, b, addr, sizeof loopback), 0);
	len = tc_bytes(&c, &n, sizeof n);
	memset(tc_at(&c, from), 0xee, 128);
	r = tc(&c, __NR_accept4, l, from, len, SOCK_NONBLOCK);
	cr_assert_geq(r, 0);
	cr_expect_eq(tc_cqe.aux & S_IFMT, S_IFSOCK);
	cr_expect_eq(*(uint32_t *)tc_at(&c, len), sizeof loopback);
	cr_expect_eq(((unsigned char *)tc_at(&c, from))[5], 0xee);
	cr_expect_eq(*(uint16_t *)tc_at(&c, from), AF_INET);
	cr_expect_eq(tc(&c, __NR_fcntl, (uint64_t)r, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	cr_expect_eq(tc(&c, __NR_fcntl, l, F_SETFL, O_NONBLOCK), 0);
	cr_expect_eq(tc(&c, __NR_accept4, l, VOS_NULL, VOS_NULL, 0), -EAGAIN);
	/* Nobody listens any more. */
	cr_expect_eq(tc(&c, __NR_close, l), 0);
	a = new_socket(SOCK_STREAM);
	cr_expect_eq(tc(&c, __NR_connect, a, addr, sizeof loopback), -ECONNREFUSED);
	a = new_socket(SOCK_STREAM | SOCK_NONBLOCK);
	r = tc(&c, __NR_connect, a, addr, sizeof loopback);
	cr_expect(r == -EINPROGRESS || r == -ECONNREFUSED);
	cr_expect_eq(tc(&c, __NR_connect, new_socket(SOCK_STREAM), addr, 3), -EINVAL);
	cr_expect_eq(tc(&c, __NR_connect, new_socket(SOCK_STREAM), addr, 129), -EINVAL);
	cr_expect_eq(tc(&c, __NR_socket, AF_UNIX, SOCK_STREAM, 0), -EAFNOSUPPORT);
	cr_expect_eq(tc(&c, __NR_socket, AF_PACKET, SOCK_RAW, 0), -EAFNOSUPPORT);
	cr_expect_eq(tc(&c, __NR_socket, AF_INET, 77, 0), -EINVAL);
}

Test(sockets, connect_waits_and_is_cancelled)
{
	uint64_t addr, l = bound(SOCK_STREAM, &addr), user;
	struct vos_cqe cqe;

	/* A full queue of a listener that takes none: connections wait for their handshake. */
	cr_expect_eq(tc(&c, __NR_listen, l, 0), 0);
	for (int i = 0; i < 20; i++) {
		user = tc_submit(&c, 1, __NR_connect, 0, (uint64_t[6]){ new_socket(SOCK_STREAM), 0, sizeof loopback });
		if (tc_reap(&c, 1, &cqe, 100))
			continue;
		cr_expect_eq(cancel(1, user), -ECANCELED);
		return;
	}
	cr_skip_test("the queue never fills here");
}

Test(sockets, datagrams)
{
	uint64_t a, b, addr, other, out = tc_alloc(&c, 4096), from = tc_alloc(&c, 128), len;
	uint32_t n = 128;

	a = bound(SOCK_DGRAM, &addr);
	b = bound(SOCK_DGRAM, &other);
	len = tc_bytes(&c, &n, sizeof n);
	begin(2, __NR_recvfrom, a, 0, 100, 0);
	cr_expect_eq(tc(&c, __NR_sendto, b, tc_str(&c, "hello"), 5, 0, addr, sizeof loopback), 5);
	cr_expect_eq(end(2), 5);
	cr_expect_eq(tc(&c, __NR_sendto, b, tc_str(&c, ""), 0, 0, addr, sizeof loopback), 0);
	cr_expect_eq(tc(&c, __NR_sendto, b, tc_str(&c, "second"), 6, 0, addr, sizeof loopback), 6);
	cr_expect_eq(tc(&c, __NR_recvfrom, a, out, 100, MSG_WAITALL, from, len), 0, "an empty datagram is one");
	cr_expect_eq(*(uint32_t *)tc_at(&c, len), sizeof loopback);
	cr_expect_arr_eq(tc_at(&c, from), tc_at(&c, other), sizeof loopback);
	cr_expect_eq(tc(&c, __NR_recvfrom, a, out, 2, MSG_TRUNC, VOS_NULL, VOS_NULL), 6);
	cr_expect_eq(tc(&c, __NR_recvfrom, a, out, 2, MSG_DONTWAIT, VOS_NULL, VOS_NULL), -EAGAIN);
	/* Connected: its errors arrive. */
	cr_expect_eq(tc(&c, __NR_connect, b, addr, sizeof loopback), 0);
	cr_expect_eq(tc(&c, __NR_close, a), 0);
	cr_expect_eq(tc(&c, __NR_write, b, out, 5), 5);
	cr_expect_eq(tc(&c, __NR_read, b, out, 5), -ECONNREFUSED);
	cr_expect_eq(tc(&c, __NR_sendto, b, 0, 70000, 0, VOS_NULL, 0), -EMSGSIZE);
}

Test(sockets, messages)
{
	uint64_t a, b, addr, other, w = tc_alloc(&c, sizeof(struct vos_wire_msg)), data = tc_alloc(&c, 4096);
	uint64_t control = tc_alloc(&c, 256), name = tc_alloc(&c, 128);
	struct vos_wire_msg *m = tc_at(&c, w);
	int one = 1;
	struct cmsghdr *h = tc_at(&c, control);

	a = bound(SOCK_DGRAM, &addr);
	b = bound(SOCK_DGRAM, &other);
	cr_expect_eq(tc(&c, __NR_setsockopt, a, IPPROTO_IP, IP_PKTINFO, tc_bytes(&c, &one, 4), 4), 0);
	*m = (struct vos_wire_msg){ .name_off = addr, .name_len = sizeof loopback, .control_off = VOS_NULL, .data_off = data,
				    .data_len = 4 };
	memcpy(tc_at(&c, data), "data", 4);
	cr_expect_eq(tc(&c, __NR_sendmsg, b, w, 0), 4);
	*m = (struct vos_wire_msg){ .name_off = name, .name_len = 128, .control_off = control, .control_len = 256,
				    .data_off = data, .data_len = 2 };
	memset(tc_at(&c, data), 0, 4);
	cr_expect_eq(tc(&c, __NR_recvmsg, a, w, 0), 2);
	cr_expect_arr_eq(tc_at(&c, data), "da\0", 4);
	cr_expect_eq(m->name_len, sizeof loopback);
	cr_expect_arr_eq(tc_at(&c, name), tc_at(&c, other), sizeof loopback);
	cr_expect(m->msg_flags & MSG_TRUNC);
	cr_expect_eq(m->control_len, CMSG_SPACE(sizeof(struct in_pktinfo)));
	cr_expect(h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO);
	/* Waits like recv. */
	*(struct vos_wire_msg *)(void *)c.lane[2].data = (struct vos_wire_msg){ .name_off = VOS_NULL, .control_off = VOS_NULL,
										.data_off = 64, .data_len = 100 };
	begin(2, __NR_recvmsg, a, 0, 0, 0);
	*m = (struct vos_wire_msg){ .name_off = addr, .name_len = sizeof loopback, .control_off = VOS_NULL, .data_off = data,
				    .data_len = 4 };
	cr_expect_eq(tc(&c, __NR_sendmsg, b, w, 0), 4);
	cr_expect_eq(end(2), 4);
	/* Parts outside of the data area. */
	m->data_off = 1 << 20;
	cr_expect_eq(tc(&c, __NR_sendmsg, b, w, 0), -EFAULT);
	m->data_off = data;
	m->data_len = VOS_NULL;
	cr_expect_eq(tc(&c, __NR_sendmsg, b, w, 0), -EFAULT);
	m->data_len = 4;
	m->name_off = (1 << 20) - 1;
	cr_expect_eq(tc(&c, __NR_sendmsg, b, w, 0), -EFAULT);
	cr_expect_eq(tc(&c, __NR_sendmsg, b, (1 << 20) - 8, 0), -EFAULT);
}

Test(sockets, options)
{
	uint64_t s = new_socket(SOCK_STREAM), v = tc_alloc(&c, 256), len = tc_alloc(&c, 4);
	struct linger l = { 1, 0 };

	*(int *)tc_at(&c, v) = 1;
	cr_expect_eq(tc(&c, __NR_setsockopt, s, IPPROTO_TCP, TCP_NODELAY, v, 4), 0);
	*(int *)tc_at(&c, v) = 0;
	*(uint32_t *)tc_at(&c, len) = 200;
	cr_expect_eq(tc(&c, __NR_getsockopt, s, IPPROTO_TCP, TCP_NODELAY, v, len), 0);
	cr_expect_eq(*(int *)tc_at(&c, v), 1);
	cr_expect_eq(*(uint32_t *)tc_at(&c, len), 4);
	*(uint32_t *)tc_at(&c, len) = 256;
	cr_expect_eq(tc(&c, __NR_getsockopt, s, IPPROTO_TCP, TCP_INFO, v, len), 0);
	cr_expect_gt(*(uint32_t *)tc_at(&c, len), 100);
	/* Values that hold addresses of the caller's memory are for nobody here. */
	cr_expect_eq(tc(&c, __NR_setsockopt, s, SOL_SOCKET, SO_ATTACH_BPF, v, 4), -ENOPROTOOPT);
	cr_expect_eq(tc(&c, __NR_getsockopt, s, SOL_SOCKET, SO_ATTACH_FILTER, v, len), -ENOPROTOOPT);
	cr_expect_eq(tc(&c, __NR_setsockopt, s, IPPROTO_IP, 64, v, 100), -ENOPROTOOPT);
	memcpy(tc_at(&c, v), &l, sizeof l);
	cr_expect_eq(tc(&c, __NR_setsockopt, s, SOL_SOCKET, SO_LINGER, v, sizeof l), 0);
	cr_expect_eq(tc(&c, __NR_close, s), 0, "by a worker");
	cr_expect_eq(tc(&c, __NR_close, s), -EBADF);
	s = new_socket(SOCK_DGRAM);
	cr_expect_eq(tc(&c, __NR_ioctl, s, FIONREAD, v, 4), 0);
	*(int *)tc_at(&c, v) = 1;
	cr_expect_eq(tc(&c, __NR_ioctl, s, FIONBIO, v, 4), 0);
	cr_expect_eq(tc(&c, __NR_fcntl, s, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	cr_expect_eq(tc(&c, __NR_getpeername, s, v, len), -ENOTCONN);
}

Test(sockets, poll)
{
	uint64_t a, b, at = tc_alloc(&c, 10 * sizeof(struct pollfd)), user;
	uint64_t x = tc_str(&c, "x"), out = tc_alloc(&c, 16);
	struct pollfd *f = tc_at(&c, at), *f1 = (void *)c.lane[1].data;

	pair(&a, &b);
	f[0] = (struct pollfd){ .fd = (int)a, .events = POLLIN };
	f[1] = (struct pollfd){ .fd = (int)b, .events = POLLIN | POLLOUT };
	cr_expect_eq(tc(&c, __NR_poll, at, 1, 0), 0);
	cr_expect_eq(tc(&c, __NR_poll, at, 2, (uint64_t)-1), 1);
	cr_expect_eq(f[1].revents, POLLOUT);
	cr_expect_eq(f[0].revents, 0);
	for (int k = 0; k < 50; k++) {
		f1[0] = (struct pollfd){ .fd = (int)a, .events = POLLIN };
		f1[1] = (struct pollfd){ .fd = (int)b, .events = POLLIN };
		f1[2] = (struct pollfd){ .fd = -1, .events = POLLIN };
		if (k < 2)
			begin(1, __NR_poll, 0, 3, (uint64_t)-1, 0);
		else
			tc_submit(&c, 1, __NR_poll, 0, (uint64_t[6]){ 0, 3, (uint64_t)-1 });
		cr_expect_eq(tc(&c, __NR_write, b, x, 1), 1);
		cr_expect_eq(end(1), 1);
		cr_expect(f1[0].revents == POLLIN && f1[1].revents == 0);
		cr_expect_eq(tc(&c, __NR_read, a, out, 10), 1);
		user = tc_submit(&c, 1, __NR_poll, 0, (uint64_t[6]){ 0, 3, (uint64_t)-1 });
		cr_expect_eq(cancel(1, user), -ECANCELED);
	}
	f[2] = (struct pollfd){ .fd = 1, .events = POLLIN };
	cr_expect_eq(tc(&c, __NR_poll, at, 3, 0), 2);
	cr_expect_eq(f[2].revents, POLLNVAL, "not the client's");
	cr_expect_eq(tc(&c, __NR_close, b), 0);
	f[0] = (struct pollfd){ .fd = (int)a, .events = POLLIN | POLLRDHUP };
	cr_expect_eq(tc(&c, __NR_poll, at, 1, (uint64_t)-1), 1);
	cr_expect_eq(f[0].revents, POLLIN | POLLRDHUP);
	cr_expect_eq(tc(&c, __NR_poll, 1 << 20, 1, 0), -EFAULT);
	cr_expect_eq(tc(&c, __NR_poll, at, VOS_NULL, 0), -EINVAL);
}

Test(sockets, epoll)
{
	uint64_t a, b, ep, ev, at = tc_alloc(&c, 16 * sizeof(struct epoll_event)), user;
	uint64_t x = tc_str(&c, "x"), out = tc_alloc(&c, 16);
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0x1122334455667788 }, *r = tc_at(&c, at);
	struct epoll_event *r1 = (void *)c.lane[1].data;
	long n;

	pair(&a, &b);
	n = tc(&c, __NR_epoll_create1, 0);
	cr_assert_geq(n, 0);
	ep = (uint64_t)n;
	ev = tc_bytes(&c, &e, sizeof e);
	cr_expect_eq(tc(&c, __NR_epoll_ctl, ep, EPOLL_CTL_ADD, a, ev), 0);
	cr_expect_eq(tc(&c, __NR_epoll_ctl, ep, EPOLL_CTL_ADD, a, ev), -EEXIST);
	cr_expect_eq(tc(&c, __NR_epoll_ctl, ep, EPOLL_CTL_ADD, 2, ev), -EBADF, "not the client's");
	cr_expect_eq(tc(&c, __NR_epoll_wait, ep, at, 16, 0), 0);
	for (int k = 0; k < 50; k++) {
		if (k < 2)
			begin(1, __NR_epoll_wait, ep, 0, 4, (uint64_t)-1);
		else
			tc_submit(&c, 1, __NR_epoll_wait, 0, (uint64_t[6]){ ep, 0, 4, (uint64_t)-1 });
		cr_expect_eq(tc(&c, __NR_write, b, x, 1), 1);
		cr_expect_eq(end(1), 1);
		cr_expect(r1->events == EPOLLIN && r1->data.u64 == e.data.u64);
		cr_expect_eq(tc(&c, __NR_epoll_wait, ep, at, 16, (uint64_t)-1), 1, "level");
		cr_expect_eq(r->data.u64, e.data.u64);
		cr_expect_eq(tc(&c, __NR_read, a, out, 10), 1);
		user = tc_submit(&c, 1, __NR_epoll_wait, 0, (uint64_t[6]){ ep, 0, 4, (uint64_t)-1 });
		cr_expect_eq(cancel(1, user), -ECANCELED);
	}
	/* Edge-triggered: one event for one arrival. */
	((struct epoll_event *)tc_at(&c, ev))->events = EPOLLIN | EPOLLET;
	cr_expect_eq(tc(&c, __NR_epoll_ctl, ep, EPOLL_CTL_MOD, a, ev), 0);
	cr_expect_eq(tc(&c, __NR_write, b, x, 1), 1);
	cr_expect_eq(tc(&c, __NR_epoll_wait, ep, at, 16, (uint64_t)-1), 1);
	begin(1, __NR_epoll_wait, ep, 0, 4, (uint64_t)-1);
	cr_expect_eq(tc(&c, __NR_write, b, x, 1), 1);
	cr_expect_eq(end(1), 1);
	cr_expect_eq(tc(&c, __NR_epoll_wait, ep, at, 0, 0), -EINVAL);
	cr_expect_eq(tc(&c, __NR_epoll_wait, ep, (1 << 20) - 4, 1, 0), -EFAULT);
	cr_expect_eq(tc(&c, __NR_epoll_wait, a, at, 1, 0), -EINVAL);
	cr_expect_eq(tc(&c, __NR_read, ep, at, 1), -EINVAL);
	cr_expect_eq(tc(&c, __NR_epoll_ctl, ep, EPOLL_CTL_DEL, a, VOS_NULL), 0);
}

Test(sockets, nowait)
{
	uint64_t a, b, addr, l = bound(SOCK_STREAM, &addr);
	static const uint16_t ops[] = { __NR_read, __NR_recvfrom, __NR_accept4 };
	struct vos_cqe cqe;

	pair(&a, &b);
	cr_expect_eq(tc(&c, __NR_listen, l, 5), 0);
	for (unsigned i = 0; i < 3; i++) {
		bool accept = ops[i] == __NR_accept4;

		tc_submit(&c, 1, ops[i], VOS_REQ_NOWAIT,
			  (uint64_t[6]){ accept ? l : a, accept ? VOS_NULL : 0, accept ? VOS_NULL : 100, 0, VOS_NULL, VOS_NULL });
		cr_assert(tc_reap(&c, 1, &cqe, 5000));
		cr_expect_eq(cqe.res, -EAGAIN, "%u: %ld", i, (long)cqe.res);
	}
}

Test(sockets, close_while_receiving)
{
	uint64_t a, b, x;

	pair(&a, &b);
	begin(1, __NR_recvfrom, a, 0, 100, 0);
	cr_expect_eq(tc(&c, __NR_close, a), 0);
	x = new_socket(SOCK_DGRAM);
	cr_expect_eq(x, a, "the number is used again");
	cr_expect_eq(tc(&c, __NR_write, b, tc_str(&c, "late"), 4), 4);
	cr_expect_eq(end(1), 4);
	cr_expect_arr_eq(c.lane[1].data, "late", 4);
}
