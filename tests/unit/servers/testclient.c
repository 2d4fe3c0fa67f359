/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "testclient.h"
#include "../fake/kept.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "servers/common/channel.h"
#include "transport/local/make.h"

struct vos_cqe tc_cqe;

static void die(const char *what)
{
	fprintf(stderr, "testclient: %s\n", what);
	abort();
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool tc_receive(struct tc_domain *d, int ms)
{
	struct vos_msg_fds fds;

	if (vos_msg_recv(d->sock, &d->msg, &fds, vos_msg_deadline((uint64_t)ms)))
		return false;
	vos_msg_close_fds(&fds);
	return true;
}

int tc_try_start(struct tc_domain *d, uint32_t kind, const char *root, const char *netns)
{
	const char *program = getenv("VIRTUOS_DOMAIN");
	char fd[32], rootarg[4200], nsarg[300];
	int pair[2];

	memset(d, 0, sizeof *d);
	d->kind = kind;
	if (!program)
		die("VIRTUOS_DOMAIN names no program");
	if (vos_channel_pair(pair))
		die("socketpair");
	d->sock = pair[0];
	d->pid = fork();
	if (d->pid == 0) {
		char *argv[12];
		int n = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fcntl(pair[1], F_SETFD, 0);
		snprintf(fd, sizeof fd, "--broker-fd=%d", pair[1]);
		argv[n++] = (char *)program;
		argv[n++] = kind == VOS_KIND_NET ? "--kind=net" : "--kind=store";
		argv[n++] = "--name=test";
		argv[n++] = fd;
		if (root) {
			snprintf(rootarg, sizeof rootarg, "--root=%s", root);
			argv[n++] = rootarg;
		}
		if (netns) {
			snprintf(nsarg, sizeof nsarg, "--netns=%s", netns);
			argv[n++] = nsarg;
		}
		if (getenv("TC_NO_URING"))
			argv[n++] = "--no-io-uring";
		if (getenv("TC_VERBOSE"))
			argv[n++] = "--verbose";
		argv[n] = NULL;
		execv(program, argv);
		_exit(127);
	}
	close(pair[1]);
	if (!tc_receive(d, 10000) || d->msg.type != VOS_MSG_STATUS)
		return -EIO;
	return d->msg.status;
}

void tc_start(struct tc_domain *d, uint32_t kind, const char *root)
{
	if (tc_try_start(d, kind, root, NULL))
		die("the domain did not start");
}

int tc_stop(struct tc_domain *d)
{
	int status = -1;

	close(d->sock);
	waitpid(d->pid, &status, 0);
	return status;
}

static int join(struct tc_domain *d, struct tc *c, uint32_t lanes, uint32_t slots, uint64_t data, uint64_t fork_of,
		const struct vos_channel_peer *who)
{
	static struct vos_msg m;
	struct vos_local_conn conn;
	int r;

	memset(c, 0, sizeof *c);
	c->dom = d;
	c->id = ++d->last_id;
	vos_msg_init(&m, VOS_MSG_SPAWN);
	m.kind = d->kind;
	m.proxy = c->id;
	m.fork_of = fork_of;
	m.epoch = 1;
	vos_channel_creds(&m, who);
	r = vos_region_layout(lanes, slots, data, &m.geo);
	if (!r)
		r = vos_local_make(&m.geo, &conn);
	if (r)
		return r;
	r = vos_msg_send(d->sock, &m, (int[]){ conn.region, conn.doorbell, conn.wake, conn.control_proxy }, 4,
			 vos_msg_deadline(5000));
	close(conn.control_proxy);
	conn.control_proxy = -1;
	do {
		if (!r && !tc_receive(d, 10000))
			r = -ETIMEDOUT;
	} while (!r && (d->msg.type != VOS_MSG_SPAWNED || d->msg.proxy != c->id));
	if (!r)
		r = d->msg.status;
	if (r) {
		vos_local_close(&conn);
		return r;
	}
	c->pid = (pid_t)d->msg.pid;
	c->t.ops = &vos_transport_local;
	c->t.geo = m.geo;
	c->t.region_fd = conn.region;
	c->t.doorbell_fd = conn.doorbell;
	c->t.wake_fd = conn.wake;
	c->t.control_fd = conn.control_client;
	if (c->t.ops->attach(&c->t, true))
		die("attach");
	c->lane = kept(calloc(lanes, sizeof *c->lane));
	for (uint32_t i = 0; i < lanes; i++)
		vos_lane_view_init(&c->lane[i], c->t.base, &c->t.geo, i);
	atomic_store(&vos_region_client(c->t.base)->lanes_used, lanes);
	return 0;
}

static void self(struct vos_channel_peer *who)
{
	int n = getgroups(VOS_GROUPS_MAX, who->groups);

	who->pid = getpid();
	who->uid = geteuid();
	who->gid = getegid();
	who->ngroups = n < 0 ? 0 : (uint32_t)n;
}

int tc_join(struct tc_domain *d, struct tc *c, uint32_t lanes, uint32_t slots, uint64_t data)
{
	struct vos_channel_peer who;

	self(&who);
	return join(d, c, lanes, slots, data, 0, &who);
}

int tc_join_as(struct tc_domain *d, struct tc *c, uint32_t lanes, uint32_t slots, uint64_t data, uint32_t uid, uint32_t gid)
{
	struct vos_channel_peer who = { .pid = getpid(), .uid = uid, .gid = gid };

	return join(d, c, lanes, slots, data, 0, &who);
}

int tc_fork(struct tc *c, struct tc *child)
{
	struct vos_channel_peer who;

	self(&who);
	return join(c->dom, child, c->t.geo.lanes, c->t.geo.slots, c->t.geo.data_stride, c->id, &who);
}

void tc_leave(struct tc *c)
{
	c->t.ops->detach(&c->t);
	free(c->lane);
	c->lane = NULL;
}

uint64_t tc_submit(struct tc *c, uint32_t lane, uint16_t op, uint16_t flags, const uint64_t arg[6])
{
	struct vos_req req = { .user = ++c->next_user, .op = op, .flags = flags };

	memcpy(req.arg, arg, sizeof req.arg);
	if (vos_sq_push(&c->lane[lane], &req))
		die("the ring is full, or the server broke it");
	if (vos_server_take_sleep(vos_region_server(c->t.base)))
		c->t.ops->ring_server(&c->t);
	return req.user;
}

static bool reap(struct tc *c, struct vos_lane_view *v, struct vos_cqe *ret, int ms);

bool tc_reap(struct tc *c, uint32_t lane, struct vos_cqe *ret, int ms)
{
	struct vos_lane_view *v = &c->lane[lane];
	if (lane == 0 && c->nstash) {
		*ret = c->stash[0];
		memmove(c->stash, c->stash + 1, --c->nstash * sizeof c->stash[0]);
		return true;
	}
	return reap(c, v, ret, ms);
}

static bool reap(struct tc *c, struct vos_lane_view *v, struct vos_cqe *ret, int ms)
{
	uint64_t until = 0;

	for (;;) {
		for (unsigned i = 0; i < 200; i++) {
			int r = vos_cq_pop(v, ret);

			if (r < 0)
				die("absurd tail");
			if (r)
				return true;
			if (c->spin || i < 100)
				__builtin_ia32_pause();
			else if (i % 8 == 7)
				sched_yield();
		}
		/* The clock is asked only once there is something to wait for. */
		if (!until)
			until = now_ms() + (uint64_t)ms;
		if (c->spin && now_ms() < until)
			continue;
		uint32_t word = vos_lane_publish_sleep(v->lane, VOS_ASLEEP_FUTEX);

		if (!vos_cq_ready(v)) {
			if (c->t.ops->peer_dead(&c->t) || now_ms() >= until)
				return false;
			c->t.ops->sleep_lane(&c->t, v->lane, word, 50 * 1000000ull);
		}
		vos_lane_take_sleep(v->lane);
	}
}

long tc_x(struct tc *c, uint16_t op, const uint64_t a[6])
{
	uint64_t user = tc_submit(c, 0, op, 0, a);

	for (;;) {
		if (!reap(c, &c->lane[0], &tc_cqe, 10000))
			die("no completion");
		if (tc_cqe.user == user)
			return tc_cqe.res;
		if (c->nstash == 64)
			die("too many completions that nobody took");
		c->stash[c->nstash++] = tc_cqe;
	}
}

long tc_call(struct tc *c, uint16_t op, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
	return tc_x(c, op, (uint64_t[6]){ a0, a1, a2, a3, a4, a5 });
}

uint64_t tc_alloc(struct tc *c, size_t len)
{
	uint64_t off = (c->used + 63) & ~63ull;

	if (off + len > c->lane[0].data_size)
		die("the data area is full");
	c->used = off + len;
	return off;
}

void *tc_at(struct tc *c, uint64_t off)
{
	return c->lane[0].data + off;
}

uint64_t tc_bytes(struct tc *c, const void *p, size_t len)
{
	uint64_t off = tc_alloc(c, len);

	memcpy(tc_at(c, off), p, len);
	return off;
}

uint64_t tc_str(struct tc *c, const char *s)
{
	return tc_bytes(c, s, strlen(s) + 1);
}

void tc_reset(struct tc *c)
{
	c->used = 0;
}
