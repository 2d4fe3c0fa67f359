/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain server for tests of the supervisor and of the client: speaks the broker's protocol, serves a few operations
 * of its own, and misbehaves when told.  The name of the domain tells how the broker behaves:
 *
 *	local          well
 *	local:crash    dies at once
 *	local:refuse   says that it cannot start
 *	local:mute     never says anything
 *	local:hang     comes up, then answers nothing
 *	local:rude     comes up, then breaks the protocol
 *	local:noproxy  refuses every SPAWN
 *
 * and the operation how its proxy does:
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <virtuos/lane.h>
#include <virtuos/transport.h>
#include "fake.h"
#include "transport/message.h"

#define PROXIES_MAX 1024

struct proxy {
	uint64_t id;
	pid_t pid;
	int sock;                      /* to ask it to fork */
};
static struct proxy proxies[PROXIES_MAX];
static unsigned nproxies;
static int broker_fd;
static pid_t broker_pid;

/* ---- proxy ------------------------------------------------------------------------------------------------------------- */

static struct vos_transport t;
static struct vos_lane_view view[VOS_LANES_MAX];
static uint32_t state;                 /* inherited by a forked proxy */
static struct { uint64_t user; uint32_t lane; bool used; } parked[256];
static int ask_sock;

static void answer(uint32_t lane, uint64_t user, int64_t res)
{
	struct vos_cqe cqe = { .user = user, .res = res };
	uint32_t mode;

	if (vos_cq_push(&view[lane], &cqe))
		_exit(3);
	mode = vos_lane_take_sleep(view[lane].lane);
	if (mode)
		t.ops->wake_lane(&t, view[lane].lane, mode);
}

static void park(uint32_t lane, uint64_t user)
{
	for (unsigned i = 0; i < 256; i++) {
		if (!parked[i].used) {
			parked[i].user = user;
			parked[i].lane = lane;
			parked[i].used = true;
			return;
		}
	}
	_exit(4);
}

static int64_t unpark(uint32_t lane, uint64_t user, int64_t res)
{
	int64_t found = -ENOENT;

	for (unsigned i = 0; i < 256; i++) {
		if (parked[i].used && parked[i].lane == lane && (parked[i].user == user || user == VOS_NULL)) {
			parked[i].used = false;
			answer(lane, parked[i].user, res);
			found = 0;
		}
	}
	return found;
}

static void misbehave(uint32_t lane, const struct vos_req *req)
{
	struct vos_lane *l = view[lane].lane;

	switch (req->arg[0]) {
	case FAKE_WRONG_USER: answer(lane, req->user ^ 1ull << 40, 0); break;
	case FAKE_WILD_USER: answer(lane, ~0ull, 0); break;
	case FAKE_TWICE: answer(lane, req->user, 0); answer(lane, req->user, 0); break;
	case FAKE_ABSURD_RES: answer(lane, req->user, -5000); break;
	case FAKE_ABSURD_TAIL:
		answer(lane, req->user, 0);
		atomic_store(&l->cq_tail, atomic_load(&l->cq_tail) + 100000);
		break;
	case FAKE_ABSURD_HEAD: atomic_store(&l->sq_head, 0x7fffffff); answer(lane, req->user, 0); break;
	case FAKE_STRAY_WAKES:
		for (int i = 0; i < 100; i++) {
			vos_lane_take_sleep(l);
			t.ops->wake_lane(&t, l, VOS_ASLEEP_FUTEX | VOS_ASLEEP_FD);
		}
		answer(lane, req->user, 7);
		break;
	case FAKE_FLAGS: {
		struct vos_cqe cqe = { .user = req->user, .flags = 0xffff };

		vos_cq_push(&view[lane], &cqe);
		t.ops->wake_lane(&t, l, VOS_ASLEEP_FUTEX);
		vos_lane_take_sleep(l);
		break;
	}
	case FAKE_DEAF:
		for (;;)
			pause();
	}
}

static void serve_one(uint32_t lane, const struct vos_req *req)
{
	struct timespec ts = { 0, 0 };
	uint32_t old = state;

	switch (req->op) {
	case VOS_OP_NULL: answer(lane, req->user, (int64_t)req->arg[0] + 1); break;
	case VOS_OP_CANCEL:
		answer(lane, req->user, unpark(lane, req->arg[0], -ECANCELED));
		break;
	case FAKE_STATE: state = (uint32_t)req->arg[0]; answer(lane, req->user, old); break;
	case FAKE_PID: answer(lane, req->user, getpid()); break;
	case FAKE_BROKER: answer(lane, req->user, getppid()); break;
	case FAKE_PARK: park(lane, req->user); break;
	case FAKE_UNPARK:
		for (uint32_t i = 0; i < t.geo.lanes; i++)
			unpark(i, VOS_NULL, (int64_t)req->arg[0]);
		answer(lane, req->user, 0);
		break;
	case FAKE_SLEEP:
		ts.tv_nsec = (long)req->arg[0] * 1000000;
		nanosleep(&ts, NULL);
		answer(lane, req->user, 0);
		break;
	case FAKE_EXIT: _exit((int)req->arg[0]);
	case FAKE_FILL:
		if (req->arg[0] > view[lane].data_size || req->arg[1] > view[lane].data_size - req->arg[0])
			_exit(5);
		memset(view[lane].data + req->arg[0], (int)req->arg[2], req->arg[1]);
		answer(lane, req->user, (int64_t)req->arg[1]);
		break;
	case FAKE_MISBEHAVE: misbehave(lane, req); break;
	default: answer(lane, req->user, -ENOSYS);
	}
}

static void attach(const struct vos_msg *m, struct vos_msg_fds *fds)
{
	t = (struct vos_transport){ .ops = &vos_transport_local, .geo = m->geo, .region_fd = vos_msg_take(fds, 0),
		.doorbell_fd = vos_msg_take(fds, 1), .wake_fd = vos_msg_take(fds, 2), .control_fd = vos_msg_take(fds, 3) };
	if (t.ops->attach(&t, false))
		_exit(6);
	for (uint32_t i = 0; i < m->geo.lanes; i++)
		vos_lane_view_init(&view[i], t.base, &m->geo, i);
	memset(parked, 0, sizeof parked);
}

static void proxy_main(void);

/* The broker wants a fork of us: twice, so that it becomes the broker's child. */
static void fork_self(const struct vos_msg *m, struct vos_msg_fds *fds)
{
	int p[2];
	pid_t pid = 0, first;
	struct vos_msg r;

	if (pipe(p))
		_exit(7);
	first = fork();
	if (first == 0) {
		pid = fork();
		if (pid) {
			if (write(p[1], &pid, sizeof pid) < 0)
				_exit(1);
			_exit(0);
		}
		close(p[0]);
		close(p[1]);
		t.ops->detach(&t);
		close(ask_sock);
		ask_sock = vos_msg_take(fds, 4);
		attach(m, fds);
		proxy_main();
	}
	close(p[1]);
	if (read(p[0], &pid, sizeof pid) != sizeof pid)
		pid = 0;
	close(p[0]);
	waitpid(first, NULL, 0);
	vos_msg_close_fds(fds);
	vos_msg_init(&r, VOS_MSG_SPAWNED);
	r.proxy = m->proxy;
	r.pid = (uint32_t)pid;
	vos_msg_send(ask_sock, &r, NULL, 0, vos_msg_deadline(1000));
}

static void proxy_main(void)
{
	struct vos_region_server *s = vos_region_server(t.base);
	unsigned idle = 0;

	/* A forked one has a parent in between that ends by itself. */
	while (getppid() != broker_pid && getppid() != 1)
		usleep(500);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_store(&s->state, VOS_SERVER_UP);
	for (;;) {
		uint32_t lanes = atomic_load(&vos_region_client(t.base)->lanes_used);
		bool found = false;
		struct vos_req req;

		if (lanes > t.geo.lanes)
			_exit(8);
		for (uint32_t i = 0; i < lanes; i++) {
			int r = vos_sq_pop(&view[i], &req);

			if (r < 0)
				_exit(9);
			if (r) {
				serve_one(i, &req);
				found = true;
			}
		}
		if (found) {
			idle = 0;
			continue;
		}
		if (idle++ < 200) {
			sched_yield();
			continue;
		}
		vos_server_publish_sleep(s);
		lanes = atomic_load(&vos_region_client(t.base)->lanes_used);
		for (uint32_t i = 0; i < lanes && i < t.geo.lanes; i++)
			found |= vos_sq_ready(&view[i]);
		if (!found) {
			struct pollfd p[3] = { { t.doorbell_fd, POLLIN, 0 }, { t.control_fd, POLLRDHUP, 0 }, { ask_sock, POLLIN, 0 } };
			struct vos_msg m;
			struct vos_msg_fds fds;

			poll(p, 3, -1);
			if (p[1].revents)
				_exit(0);
			if (p[0].revents)
				t.ops->drain(&t, t.doorbell_fd);
			if (p[2].revents) {
				if (vos_msg_recv(ask_sock, &m, &fds, 0))
					_exit(0);
				fork_self(&m, &fds);
			}
		}
		atomic_store(&s->asleep, 0);
		idle = 0;
	}
}

/* ---- broker ---------------------------------------------------------------------------------------------------------------- */

static void say(uint32_t type, uint64_t proxy, int status, pid_t pid, const char *text)
{
	struct vos_msg m;

	vos_msg_init(&m, type);
	m.proxy = proxy;
	m.status = status;
	m.pid = (uint32_t)pid;
	vos_msg_text(m.text, sizeof m.text, text);
	if (vos_msg_send(broker_fd, &m, NULL, 0, vos_msg_deadline(2000)))
		_exit(0);
}

static struct proxy *find(uint64_t id)
{
	for (unsigned i = 0; i < nproxies; i++)
		if (proxies[i].id == id && proxies[i].pid)
			return &proxies[i];
	return NULL;
}

static void spawn(struct vos_msg *m, struct vos_msg_fds *fds)
{
	struct proxy *of = m->fork_of ? find(m->fork_of) : NULL, *p = &proxies[nproxies];
	int pair[2];

	if (nproxies == PROXIES_MAX || (m->fork_of && !of) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		say(VOS_MSG_SPAWNED, m->proxy, -ESRCH, 0, "no such proxy");
		return;
	}
	p->id = m->proxy;
	p->sock = pair[0];
	if (of) {
		int five[5];
		struct vos_msg r;
		struct vos_msg_fds none;

		memcpy(five, fds->fd, 4 * sizeof(int));
		five[4] = pair[1];
		if (vos_msg_send(of->sock, m, five, 5, vos_msg_deadline(1000)) ||
		    vos_msg_recv(of->sock, &r, &none, vos_msg_deadline(3000)) || !r.pid) {
			say(VOS_MSG_SPAWNED, m->proxy, -ESRCH, 0, "the proxy could not fork");
			close(pair[0]);
			close(pair[1]);
			return;
		}
		p->pid = (pid_t)r.pid;
	} else {
		p->pid = fork();
		if (p->pid == 0) {
			sigset_t none;

			sigemptyset(&none);
			sigprocmask(SIG_SETMASK, &none, NULL);
			close(broker_fd);
			for (unsigned i = 0; i < nproxies; i++)
				close(proxies[i].sock);
			close(pair[0]);
			ask_sock = pair[1];
			attach(m, fds);
			proxy_main();
		}
	}
	close(pair[1]);
	nproxies++;
	say(VOS_MSG_SPAWNED, p->id, 0, p->pid, NULL);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; i < nproxies; i++) {
			if (proxies[i].pid == pid) {
				proxies[i].pid = 0;
				close(proxies[i].sock);
				say(VOS_MSG_GONE, proxies[i].id, status, pid, NULL);
			}
		}
	}
}

static void on_child(int sig)
{
	(void)sig;
}

int main(int argc, char **argv)
{
	const char *name = "", *root = "";
	sigset_t set, old;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--name=", 7) == 0)
			name = argv[i] + 7;
		if (strncmp(argv[i], "--root=", 7) == 0)
			root = argv[i] + 7;
		if (strncmp(argv[i], "--broker-fd=", 12) == 0)
			broker_fd = atoi(argv[i] + 12);
	}
	broker_pid = getpid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fcntl(broker_fd, F_SETFD, FD_CLOEXEC);
	if (strcmp(name, "local:crash") == 0)
		abort();
	if (strcmp(name, "local:mute") == 0)
		pause();
	if (strcmp(name, "local:refuse") == 0) {
		say(VOS_MSG_STATUS, 0, -ENOENT, 0, "there is no network namespace 'refuse'");
		return 1;
	}
	if (root[0] && access(root, F_OK)) {
		say(VOS_MSG_STATUS, 0, -ENOENT, 0, "no such directory");
		return 1;
	}
	say(VOS_MSG_STATUS, 0, 0, 0, NULL);
	if (strcmp(name, "local:hang") == 0)
		raise(SIGSTOP);
	if (strcmp(name, "local:rude") == 0)
		say(VOS_MSG_JOINED, 77, 0, 0, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	signal(SIGCHLD, on_child);
	for (;;) {
		struct pollfd p = { broker_fd, POLLIN, 0 };
		struct vos_msg m;
		struct vos_msg_fds fds;

		reap();
		if (ppoll(&p, 1, NULL, &old) < 0)
			continue;
		if (vos_msg_recv(broker_fd, &m, &fds, 0))
			return 0;
		if (m.type == VOS_MSG_BEAT) {
			if (vos_msg_send(broker_fd, &m, NULL, 0, vos_msg_deadline(1000)))
				return 0;
		} else if (m.type == VOS_MSG_SPAWN && strcmp(name, "local:noproxy") == 0) {
			say(VOS_MSG_SPAWNED, m.proxy, -EAGAIN, 0, "no proxy today");
		} else if (m.type == VOS_MSG_SPAWN) {
			spawn(&m, &fds);
		} else if (m.type == VOS_MSG_RECRED) {
			say(VOS_MSG_RECRED, m.proxy, find(m.proxy) ? 0 : -ESRCH, 0, NULL);
		}
		vos_msg_close_fds(&fds);
	}
}
