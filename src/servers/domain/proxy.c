/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process that serves one client process: how it comes up, loops, sleeps, forks and ends. */
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "servers/common/channel.h"
#include "servers/domain/domain.h"

/*
 * How long an idle proxy looks before it sleeps.  A sleep and a wake across cores cost 60-80 µs, so looking for about that
 * long is never more than twice the best choice.  It yields in between: on few cores the client needs this one to run.
 */
#define SPIN_NS      60000u
#define SPIN_ROUNDS  32u
#define CROWD_NS     30000u
#define CROWDED_NS   5000000u
#define SHORT_NS     2000u   /* on crowded cores */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A line for a person goes to the broker, which still has a stderr. */
static void tell_broker(struct vos_proxy *p, int status, const char *text)
{
	struct vos_msg m;

	vos_msg_init(&m, VOS_MSG_STATUS);
	m.status = status;
	m.proxy = p->id;
	m.pid = (uint32_t)getpid();
	if (text)
		vos_msg_text(m.text, sizeof m.text, text);
	vos_msg_send(p->channel, &m, NULL, 0, 0);
}

void vos_proxy_end(struct vos_proxy *p, int status, const char *format, ...)
{
	char text[512];
	va_list ap;

	if (format) {
		va_start(ap, format);
		vsnprintf(text, sizeof text, format, ap);
		va_end(ap);
		tell_broker(p, -EPROTO, text);
	}
	if (p->t.base) {
		/* A courtesy: the truth is the end of the control socket. */
		atomic_store(&vos_region_server(p->t.base)->state, VOS_SERVER_DEAD);
		for (uint32_t i = 0; i < p->lanes; i++) {
			struct vos_lane *lane = vos_region_lane(p->t.base, &p->t.geo, i);
			uint32_t mode = vos_lane_take_sleep(lane);

			if (mode)
				p->t.ops->wake_lane(&p->t, lane, mode);
		}
	}
	_exit(status);
}

/* Ends with the broker, also when that is killed. */
static void tie_to_broker(struct vos_proxy *p)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It may have died before the line above. */
	if (getppid() != p->broker)
		_exit(0);
}

/* What a proxy needs anew after a fork: everything that belongs to its client alone. */
static int bring_up(struct vos_proxy *p, const struct vos_msg *spawn, const int fds[4], int channel)
{
	int r;

	p->id = spawn->proxy;
	p->channel = channel;
	p->channel_ready = false;
	p->t.ops = &vos_transport_local;
	p->t.geo = spawn->geo;
	p->t.region_fd = fds[0];
	p->t.doorbell_fd = fds[1];
	p->t.wake_fd = fds[2];
	p->t.control_fd = fds[3];
	r = p->t.ops->attach(&p->t, false);
	if (!r)
		r = vos_serve_init(p);
	if (!r)
		r = vos_worker_init(p);
	if (r)
		return r;
	p->engine = &vos_engine_uring;
	r = p->cfg->no_uring ? -ENOSYS : p->engine->init(p);
	if (r) {
		p->engine->finish(p);
		p->engine = &vos_engine_poll;
		vos_log("no io_uring (%s): waiting with ppoll and threads", strerror(-r));
		r = p->engine->init(p);
	}
	return r;
}

static void loop(struct vos_proxy *p) __attribute__((noreturn));

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* The child of a fork of this proxy.  Only this thread exists; workers and their calls were the parent's. */
static void forked(struct vos_proxy *p, const struct vos_msg *m, struct vos_msg_fds *fds)
{
	int got[4], keep[10], n = 0, r;

	tie_to_broker(p);
	vos_serve_forget(p);
	p->engine->finish(p);
	vos_worker_finish(p, true);
	vos_serve_finish(p);
	/* Not mapped here (MADV_DONTFORK). */
	p->t.base = NULL;
	p->t.ops->detach(&p->t);
	close(p->channel);
	for (int i = 0; i < 4; i++)
		got[i] = vos_msg_take(fds, (uint32_t)i);
	for (int i = 0; i < 4; i++)
		keep[n++] = got[i];
	keep[n++] = vos_msg_take(fds, 4);
	p->channel = keep[4];
	keep[n++] = 2;
	if (p->root_fd >= 0)
		keep[n++] = p->root_fd;
	if (p->cwd_fd >= 0)
		keep[n++] = p->cwd_fd;
	qsort(keep, (size_t)n, sizeof keep[0], by_number);
	vos_rfd_sweep(p, keep, (unsigned)n);
	for (uint32_t fd = 0; fd < p->rfd_size; fd++)
		p->rfd[fd].waiting = 0;
	r = bring_up(p, m, got, p->channel);
	if (r) {
		tell_broker(p, r, "the forked proxy could not start");
		_exit(1);
	}
	atomic_store(&vos_region_server(p->t.base)->state, VOS_SERVER_UP);
	tell_broker(p, 0, NULL);
}

/*
 * A sibling of this proxy with its descriptors, offsets, cwd and umask.  CLONE_PARENT makes it the broker's child, so that it
 * outlives this one and is reaped there.  glibc's fork would do no more for us: no other thread enters libc.
 */
static void fork_proxy(struct vos_proxy *p, const struct vos_msg *m, struct vos_msg_fds *fds)
{
	long pid;

	if (fds->n != 5)
		return;
	p->engine->flush(p);
	pid = vos_raw6(__NR_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0, 0);
	if (pid == 0) {
		forked(p, m, fds);
		return;
	}
	if (vos_is_err(pid)) {
		struct vos_msg answer;

		vos_msg_init(&answer, VOS_MSG_SPAWNED);
		answer.proxy = m->proxy;
		answer.status = (int)pid;
		vos_msg_send(p->channel, &answer, NULL, 0, 0);
	}
}

static void take_message(struct vos_proxy *p)
{
	static struct vos_msg m;
	struct vos_msg_fds fds;
	struct vos_creds c = { 0 };
	int r = vos_msg_recv(p->channel, &m, &fds, 0);

	if (r == -ETIMEDOUT) {
		p->channel_ready = false;
		return;
	}
	/* The broker is gone. */
	if (r)
		vos_proxy_end(p, 0, NULL);
	switch (m.type) {
	case VOS_MSG_SPAWN:
		fork_proxy(p, &m, &fds);
		break;
	case VOS_MSG_EXPORT:
	case VOS_MSG_IMPORT:
		vos_exec_broker(p, &m, fds.n ? vos_msg_take(&fds, 0) : -1);
		break;
	case VOS_MSG_BEAT:
		vos_msg_send(p->channel, &m, NULL, 0, 0);
		break;
	case VOS_MSG_RECRED:
		c.uid = m.uid;
		c.gid = m.gid;
		c.ngroups = m.ngroups;
		memcpy(c.groups, m.groups, sizeof c.groups);
		m.status = vos_sandbox_recred(p, &c);
		vos_msg_send(p->channel, &m, NULL, 0, 0);
		break;
	}
	vos_msg_close_fds(&fds);
}

static void loop(struct vos_proxy *p)
{
	uint64_t idle_since = 0, crowded = 0, now;

	for (;;) {
		struct vos_region_server *s = vos_region_server(p->t.base);
		uint32_t n;

		if (p->channel_ready) {
			take_message(p);
			continue;
		}
		atomic_store_explicit(&s->beat, atomic_load_explicit(&s->beat, memory_order_relaxed) + 1,
				      memory_order_relaxed);
		n = vos_serve_turn(p);
		n += (uint32_t)p->engine->turn(p, false);
		/* A word of the broker counts as work too: the turn that saw it must not be the last before a sleep. */
		if (n || p->channel_ready) {
			idle_since = 0;
			continue;
		}
		if (!idle_since)
			idle_since = now_ns();
		if (now_ns() - idle_since < SPIN_NS) {
			unsigned i;

			for (i = 0; i < SPIN_ROUNDS && !vos_serve_ready(p); i++)
				__builtin_ia32_pause();
			if (i < SPIN_ROUNDS)
				continue;
			now = now_ns();
			if (now > crowded) {
				sched_yield();
				/*
				 * Others want this core, and a yield gives it to them for milliseconds; one that sleeps is woken as soon
				 * as there is work.  So a yield that took long and brought nothing is the last for a while.
				 */
				if (now_ns() - now > CROWD_NS && !vos_serve_ready(p))
					crowded = now + CROWDED_NS;
				continue;
			}
			if (now - idle_since < SHORT_NS)
				continue;
		}
		vos_server_publish_sleep(s);
		if (!vos_serve_ready(p))
			p->engine->turn(p, true);
		atomic_store_explicit(&s->asleep, 0, memory_order_relaxed);
		idle_since = 0;
	}
}

/* Descriptors of the broker that a proxy must not have: all but these. */
static void keep_only(struct vos_proxy *p, const int fds[4])
{
	int keep[] = { 2, fds[0], fds[1], fds[2], fds[3], p->channel };

	qsort(keep, 6, sizeof keep[0], by_number);
	vos_rfd_sweep(p, keep, 6);
}

void vos_proxy_main(const struct vos_domain_cfg *cfg, const struct vos_msg *spawn, const int fds[4], int channel)
{
	static struct vos_proxy proxy;
	struct vos_proxy *p = &proxy;
	char text[256] = "";
	sigset_t none;
	int r;

	p->cfg = cfg;
	p->kind = spawn->kind;
	p->id = spawn->proxy;
	p->channel = channel;
	p->root_fd = p->cwd_fd = -1;
	p->broker = getppid();
	p->creds.uid = spawn->uid;
	p->creds.gid = spawn->gid;
	p->creds.ngroups = spawn->ngroups;
	memcpy(p->creds.groups, spawn->groups, sizeof p->creds.groups);
	keep_only(p, fds);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGCHLD, SIG_DFL);
	/* -EPIPE travels; whose signal it is, the client knows. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	r = vos_sandbox_enter(p, spawn->text, text, sizeof text);
	if (!r) {
		tie_to_broker(p);
		r = bring_up(p, spawn, fds, channel);
	}
	if (!r)
		r = vos_sandbox_filter(p);
	if (r) {
		tell_broker(p, r, text[0] ? text : strerror(-r));
		_exit(1);
	}
	umask(022);
	atomic_store(&vos_region_server(p->t.base)->state, VOS_SERVER_UP);
	tell_broker(p, 0, NULL);
	loop(p);
}
