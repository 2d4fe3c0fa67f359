/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "transport/message.h"

TestSuite(message, .timeout = 20);

static int pair[2];

static void open_pair(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(message, travels_with_descriptors, .init = open_pair)
{
	struct vos_msg out, in;
	struct vos_msg_fds fds;
	int p[2], before, kept;
	char c = 'x';

	cr_assert_eq(pipe(p), 0);
	before = count_fds();
	vos_msg_init(&out, VOS_MSG_JOIN);
	vos_msg_text(out.domain, sizeof out.domain, "local");
	out.kind = VOS_KIND_NET;
	cr_assert_eq(vos_msg_send(pair[0], &out, p, 2, 0), 0);
	cr_assert_eq(vos_msg_recv(pair[1], &in, &fds, 0), 0);
	cr_assert_eq(memcmp(&in, &out, sizeof in), 0);
	cr_assert_eq(fds.n, 2);
	cr_assert(fcntl(fds.fd[0], F_GETFD) & FD_CLOEXEC);
	kept = vos_msg_take(&fds, 1);
	vos_msg_close_fds(&fds);
	cr_assert_eq(write(kept, &c, 1), 1);
	cr_assert_eq(read(p[0], &c, 1), 1);
	close(kept);
	cr_assert_eq(count_fds(), before);
	cr_assert_eq(vos_msg_take(&fds, 5), -1);
}

Test(message, deadlines_and_ends, .init = open_pair)
{
	struct vos_msg m;
	struct vos_msg_fds fds;
	uint64_t start = vos_msg_deadline(0);
	int r;

	cr_assert_eq(vos_msg_recv(pair[0], &m, &fds, 0), -ETIMEDOUT);
	cr_assert_eq(vos_msg_recv(pair[0], &m, &fds, vos_msg_deadline(30)), -ETIMEDOUT);
	cr_assert_geq(vos_msg_deadline(0) - start, 30000000u);
	vos_msg_init(&m, VOS_MSG_BEAT);
	while ((r = vos_msg_send(pair[0], &m, NULL, 0, 0)) == 0)
		;
	cr_assert_eq(r, -ETIMEDOUT, "a full socket");
	close(pair[1]);
	/* Unread messages were lost with the peer: the kernel says so first. */
	cr_assert_eq(vos_msg_send(pair[0], &m, NULL, 0, vos_msg_deadline(1000)), -ECONNRESET);
	cr_assert_eq(vos_msg_send(pair[0], &m, NULL, 0, vos_msg_deadline(1000)), -EPIPE);
	open_pair();
	close(pair[1]);
	cr_assert_eq(vos_msg_recv(pair[0], &m, &fds, vos_msg_deadline(1000)), -EPIPE);
}

struct breakage {
	const char *what;
	size_t off;
	unsigned char value;
	int expect;
};

Test(message, every_breakage_is_refused, .init = open_pair)
{
	static const struct breakage all[] = {
		{ "magic", offsetof(struct vos_msg, magic), 1, -EPROTO },
		{ "version", offsetof(struct vos_msg, version), 9, -EPROTONOSUPPORT },
		{ "type", offsetof(struct vos_msg, type), VOS_MSG_END, -EPROTO },
		{ "no type", offsetof(struct vos_msg, type), 0, -EPROTO },
		{ "kind", offsetof(struct vos_msg, kind), 3, -EPROTO },
		{ "ngroups", offsetof(struct vos_msg, ngroups), VOS_GROUPS_MAX + 1, -EPROTO },
	};
	struct vos_msg m;
	struct vos_msg_fds fds;
	int before = count_fds();

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		vos_msg_init(&m, VOS_MSG_JOIN);
		((unsigned char *)&m)[all[i].off] = all[i].value;
		cr_assert_eq(vos_msg_send(pair[0], &m, pair, 2, 0), 0);
		cr_assert_eq(vos_msg_recv(pair[1], &m, &fds, 0), all[i].expect, "%s", all[i].what);
		cr_assert_eq(fds.n, 0);
	}
	vos_msg_init(&m, VOS_MSG_JOIN);
	memset(m.text, 'x', sizeof m.text);
	cr_assert_eq(vos_msg_send(pair[0], &m, NULL, 0, 0), 0);
	cr_assert_eq(vos_msg_recv(pair[1], &m, &fds, 0), -EPROTO, "text without an end");
	cr_assert_eq(send(pair[0], "short", 5, 0), 5);
	cr_assert_eq(vos_msg_recv(pair[1], &m, &fds, 0), -EPROTO);
	static char big[sizeof m + 64];
	vos_msg_init((void *)big, VOS_MSG_JOIN);
	cr_assert_eq(send(pair[0], big, sizeof big, 0), (ssize_t)sizeof big);
	cr_assert_eq(vos_msg_recv(pair[1], &m, &fds, 0), -EPROTO, "longer than a message");
	cr_assert_eq(count_fds(), before, "descriptors of refused messages are closed");
}

Test(message, more_descriptors_than_room_are_refused, .init = open_pair)
{
	struct vos_msg m;
	struct vos_msg_fds got;
	union { struct cmsghdr h; char room[CMSG_SPACE(12 * sizeof(int))]; } c;
	struct iovec iov = { &m, sizeof m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	int before = count_fds();

	vos_msg_init(&m, VOS_MSG_JOIN);
	c.h.cmsg_level = SOL_SOCKET;
	c.h.cmsg_type = SCM_RIGHTS;
	c.h.cmsg_len = CMSG_LEN(12 * sizeof(int));
	for (int i = 0; i < 12; i++)
		memcpy(CMSG_DATA(&c.h) + i * sizeof(int), &pair[0], sizeof(int));
	cr_assert_eq(sendmsg(pair[0], &h, 0), (ssize_t)sizeof m);
	cr_assert_eq(vos_msg_recv(pair[1], &m, &got, 0), -EPROTO);
	cr_assert_eq(count_fds(), before);
	cr_assert_eq(vos_msg_send(pair[0], &m, pair, VOS_MSG_FDS_MAX + 1, 0), -EINVAL);
}

Test(message, text_is_cut_and_ends)
{
	char field[4];

	vos_msg_text(field, sizeof field, "abcdef");
	cr_assert_str_eq(field, "abc");
	vos_msg_text(field, sizeof field, NULL);
	cr_assert_str_eq(field, "");
}
