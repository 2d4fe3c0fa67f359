/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lane pingpong | wakeup           the bare machine: a shared word between two processes that spin; eventfds between two that sleep
 * lane null VIRTUOSD DIR           VOS_OP_NULL over a lane to a domain of its own: server awake, batches, server asleep
 *
 * A client of the protocol, as the runtime is one, without the interposer.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <transport/message.h>
#include <virtuos/lane.h>
#include <virtuos/transport.h>
#include "measure.h"

static void pin(int cpu)
{
	cpu_set_t set, have;

	/* On one processor both sides share it, and the figure says what that costs. */
	if (sched_getaffinity(0, sizeof have, &have) != 0 || CPU_COUNT(&have) < 2)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void nap_us(long us)
{
	struct timespec ts = { 0, us * 1000 };

	nanosleep(&ts, NULL);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* ---- the bare machine --------------------------------------------------------------------------------------------- */

struct words {
	_Alignas(64) _Atomic uint32_t ping;
	_Alignas(64) _Atomic uint32_t pong;
};

/* Waits as both sides of a lane do at first: pause, and now and then give the processor away. */
static void await(const _Atomic uint32_t *word, uint32_t value)
{
	for (unsigned spins = 1; atomic_load_explicit(word, memory_order_acquire) != value; spins++) {
		__builtin_ia32_pause();
		if (spins % 1024 == 0)
			sched_yield();
	}
}

static void do_pingpong(void *arg)
{
	struct words *w = arg;
	uint32_t next = atomic_load_explicit(&w->ping, memory_order_relaxed) + 1;

	atomic_store_explicit(&w->ping, next, memory_order_release);
	await(&w->pong, next);
}

static void pingpong(void)
{
	struct words *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (w == MAP_FAILED)
		die("mmap");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		pin(1);
		for (uint32_t next = 1;; next++) {
			await(&w->ping, next);
			atomic_store_explicit(&w->pong, next, memory_order_release);
		}
	}
	pin(0);
	figure("pingpong", fastest(do_pingpong, w));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void pass(int fd, uint64_t *count)
{
	if (read(fd, count, sizeof *count) != sizeof *count)
		die("read");
}

static void ring(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof one) != sizeof one)
		die("write");
}

/* Round trip by two eventfds, each side asleep when it is rung: median of single trips. */
static void wakeup(void)
{
	int there = eventfd(0, EFD_CLOEXEC), back = eventfd(0, EFD_CLOEXEC);
	double took[200];
	uint64_t count;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		pin(1);
		for (;;) {
			pass(there, &count);
			ring(back);
		}
	}
	pin(0);
	for (int i = 0; i < 200; i++) {
		uint64_t t;

		nap_us(1000);
		t = now_ns();
		ring(there);
		pass(back, &count);
		took[i] = (double)(now_ns() - t);
	}
	qsort(took, 200, sizeof took[0], by_value);
	figure("wakeup", took[100]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- a lane ------------------------------------------------------------------------------------------------------- */

struct client {
	struct vos_transport t;
	struct vos_lane_view view;
	unsigned long rings;
};

static int start_supervisor(const char *virtuosd)
{
	int pair[2];
	char fd_arg[32], pid_arg[32];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair");
	snprintf(fd_arg, sizeof fd_arg, "--session-fd=%d", pair[1]);
	snprintf(pid_arg, sizeof pid_arg, "--session=%d", (int)getpid());
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		fcntl(pair[1], F_SETFD, 0);
		execl(virtuosd, virtuosd, "--private", fd_arg, pid_arg, (char *)NULL);
		die(virtuosd);
	}
	close(pair[1]);
	return pair[0];
}

static void failed(const char *what, int r, const char *text)
{
	fprintf(stderr, "lane: %s: %s%s%s\n", what, strerror(-r), text && *text ? ": " : "", text ? text : "");
	exit(1);
}

static void join(struct client *c, const char *virtuosd, const char *dir)
{
	int session = start_supervisor(virtuosd), pair[2], r;
	static struct vos_msg m;
	struct vos_msg_fds fds;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair");
	vos_msg_init(&m, VOS_MSG_CALL);
	r = vos_msg_send(session, &m, &pair[1], 1, vos_msg_deadline(5000));
	if (r)
		failed("CALL", r, NULL);
	close(pair[1]);
	vos_msg_init(&m, VOS_MSG_JOIN);
	vos_msg_text(m.domain, sizeof m.domain, "local");
	vos_msg_text(m.text, sizeof m.text, dir);
	m.kind = VOS_KIND_STORE;
	m.geo.lanes = 1;
	m.geo.slots = 64;
	m.geo.data_stride = 65536;
	m.aux[0] = 10000;
	r = vos_msg_send(pair[0], &m, NULL, 0, vos_msg_deadline(5000));
	if (r == 0)
		r = vos_msg_recv(pair[0], &m, &fds, vos_msg_deadline(15000));
	if (r)
		failed("JOIN", r, NULL);
	if (m.status)
		failed("JOIN", m.status, m.text);
	c->t.ops = &vos_transport_local;
	c->t.geo = m.geo;
	c->t.region_fd = vos_msg_take(&fds, 0);
	c->t.doorbell_fd = vos_msg_take(&fds, 1);
	c->t.wake_fd = vos_msg_take(&fds, 2);
	c->t.control_fd = vos_msg_take(&fds, 3);
	r = c->t.ops->attach(&c->t, true);
	if (r)
		failed("attach", r, NULL);
	vos_lane_view_init(&c->view, c->t.base, &c->t.geo, 0);
	atomic_store(&vos_region_client(c->t.base)->lanes_used, 1);
}

static void push(struct client *c)
{
	struct vos_req req = { .user = 1, .op = VOS_OP_NULL };
	int r = vos_sq_push(&c->view, &req);

	if (r)
		failed("push", r, NULL);
}

static void notify(struct client *c)
{
	if (vos_server_take_sleep(vos_region_server(c->t.base))) {
		c->rings++;
		c->t.ops->ring_server(&c->t);
	}
}

static void reap(struct client *c)
{
	struct vos_cqe cqe;
	int r;

	for (unsigned spins = 1; (r = vos_cq_pop(&c->view, &cqe)) == 0; spins++) {
		__builtin_ia32_pause();
		if (spins % 1024 == 0) {
			sched_yield();
			if (spins % (1024 * 1024) == 0 && c->t.ops->peer_dead(&c->t))
				failed("wait", -EPIPE, "the domain died");
		}
	}
	if (r < 0 || cqe.res != 0)
		failed("reap", r < 0 ? r : (int)cqe.res, NULL);
}

static void do_null(void *arg)
{
	push(arg);
	notify(arg);
	reap(arg);
}

#define BATCH 32

static void do_batch(void *arg)
{
	for (int i = 0; i < BATCH; i++)
		push(arg);
	notify(arg);
	for (int i = 0; i < BATCH; i++)
		reap(arg);
}

static void null(const char *virtuosd, const char *dir)
{
	struct client c = { .rings = 0 };
	double took[200];
	int n = 0;

	join(&c, virtuosd, dir);
	/* Only now: the domain would have inherited it and shared this processor. */
	pin(0);
	figure("null", fastest(do_null, &c));
	figure("null_batch", fastest(do_batch, &c) / BATCH);
	/* Single trips after a pause in which the server falls asleep; those that found it awake do not count. */
	for (int i = 0; i < 1000 && n < 200; i++) {
		unsigned long before = c.rings;
		uint64_t t;

		nap_us(2000 + i % 10 * 1000);
		t = now_ns();
		do_null(&c);
		t = now_ns() - t;
		if (c.rings > before)
			took[n++] = (double)t;
	}
	if (n == 0)
		failed("doorbell", -EAGAIN, "the server never slept");
	qsort(took, (size_t)n, sizeof took[0], by_value);
	figure("doorbell", took[n / 2]);
	c.t.ops->detach(&c.t);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "pingpong") == 0)
		pingpong();
	else if (argc == 2 && strcmp(argv[1], "wakeup") == 0)
		wakeup();
	else if (argc == 4 && strcmp(argv[1], "null") == 0)
		null(argv[2], argv[3]);
	else {
		fprintf(stderr, "Usage: lane pingpong | lane wakeup | lane null VIRTUOSD DIR\n");
		return 2;
	}
	return 0;
}
