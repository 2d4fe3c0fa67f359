/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtuosd of the build with the fake domain server, and plain talk with it. */
#ifndef VOS_TEST_HARNESS_H
#define VOS_TEST_HARNESS_H

#ifdef VOS_TEST_PLAIN
#include <signal.h>
#include "plain.h"
#else
#include <criterion/criterion.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <virtuos/lane.h>
#include <virtuos/transport.h>
#include "fake.h"
#include "transport/message.h"

struct daemon {
	pid_t pid;
	int session;
};

static inline struct daemon daemon_start(const char *const *more)
{
	const char *argv[16] = { "virtuosd", "--private", "--session-fd=3", "--domain-server=" FAKE_DOMAIN };
	struct daemon d;
	int pair[2], n = 4;

	if (getenv("VIRTUOS_TEST_VERBOSE"))
		argv[n++] = "--verbose";
	while (more && *more)
		argv[n++] = *more++;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	d.pid = fork();
	cr_assert_geq(d.pid, 0);
	if (d.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!getenv("VIRTUOS_TEST_VERBOSE"))
			dup2(open("/dev/null", O_RDWR), 2);
		dup2(pair[1], 3);
		execv(VIRTUOSD, (char **)argv);
		_exit(127);
	}
	close(pair[1]);
	d.session = pair[0];
	return d;
}

/* Waits for a process to end, at most ms: its wait status, or -1. */
static inline int await_end(pid_t pid, int ms)
{
	int status;

	for (; ms > 0; ms -= 2) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(2000);
	}
	return -1;
}

static inline bool process_exists(pid_t pid)
{
	return kill(pid, 0) == 0;
}

static inline void await_no_process(pid_t pid)
{
	for (int i = 0; i < 2500 && process_exists(pid); i++)
		usleep(2000);
	cr_assert_not(process_exists(pid), "process %d is still there", (int)pid);
}

static inline void daemon_end(struct daemon *d)
{
	close(d->session);
	cr_assert_eq(await_end(d->pid, 5000), 0, "virtuosd did not end well");
}

/* A conversation. */
static inline int talk(const struct daemon *d)
{
	struct vos_msg m;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	vos_msg_init(&m, VOS_MSG_CALL);
	cr_assert_eq(vos_msg_send(d->session, &m, &pair[1], 1, vos_msg_deadline(2000)), 0);
	close(pair[1]);
	return pair[0];
}

static inline int ask(int sock, struct vos_msg *m, const int *fds, uint32_t nfds, struct vos_msg_fds *ret_fds)
{
	int r = vos_msg_send(sock, m, fds, nfds, vos_msg_deadline(2000));

	return r ? r : vos_msg_recv(sock, m, ret_fds, vos_msg_deadline(20000));
}

static inline void wish(struct vos_msg *m, uint32_t type, uint32_t kind, const char *domain, const char *root)
{
	vos_msg_init(m, type);
	m->kind = kind;
	m->geo.lanes = 4;
	m->geo.slots = 16;
	m->geo.data_stride = 65536;
	vos_msg_text(m->domain, sizeof m->domain, domain);
	vos_msg_text(m->text, sizeof m->text, root);
}

struct client {
	uint64_t epoch, proxy;
	struct vos_transport t;
	struct vos_lane_view v;
};

/* JOIN: the status.  The lane is number 0. */
static inline int join_as(const struct daemon *d, struct client *c, struct vos_msg *m, const int *fds, uint32_t nfds)
{
	struct vos_msg_fds got = { 0 };
	int sock = talk(d), r = ask(sock, m, fds, nfds, &got);

	close(sock);
	cr_assert_eq(r, 0, "no answer to JOIN: %d", r);
	cr_assert_eq(m->type, VOS_MSG_JOINED);
	if (m->status) {
		cr_assert_eq(got.n, 0);
		return m->status;
	}
	cr_assert_eq(got.n, 4);
	c->epoch = m->epoch;
	c->proxy = m->proxy;
	c->t = (struct vos_transport){ .ops = &vos_transport_local, .geo = m->geo, .region_fd = got.fd[0],
		.doorbell_fd = got.fd[1], .wake_fd = got.fd[2], .control_fd = got.fd[3] };
	cr_assert_eq(c->t.ops->attach(&c->t, true), 0);
	vos_lane_view_init(&c->v, c->t.base, &m->geo, 0);
	atomic_store(&vos_region_client(c->t.base)->lanes_used, 1);
	return 0;
}

static inline int join(const struct daemon *d, struct client *c, const char *domain)
{
	struct vos_msg m;

	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, domain, "");
	return join_as(d, c, &m, NULL, 0);
}

/* One call; LONG_MIN when the proxy died. */
static inline long call(struct client *c, uint16_t op, uint64_t a, uint64_t b)
{
	static uint64_t user = 100;
	struct vos_req req = { .user = ++user, .op = op, .arg = { a, b } };
	struct vos_cqe cqe;

	cr_assert_eq(vos_sq_push(&c->v, &req), 0);
	if (vos_server_take_sleep(vos_region_server(c->t.base)))
		c->t.ops->ring_server(&c->t);
	for (;;) {
		int r = vos_cq_pop(&c->v, &cqe);

		cr_assert_geq(r, 0);
		if (r) {
			cr_assert_eq(cqe.user, user);
			return (long)cqe.res;
		}
		uint32_t word = vos_lane_publish_sleep(c->v.lane, VOS_ASLEEP_FUTEX);

		if (!vos_cq_ready(&c->v) && c->t.ops->sleep_lane(&c->t, c->v.lane, word, 20000000) == -ETIMEDOUT &&
		    c->t.ops->peer_dead(&c->t))
			return INT64_MIN;
	}
}

static inline void leave(struct client *c)
{
	c->t.ops->detach(&c->t);
}

#endif
