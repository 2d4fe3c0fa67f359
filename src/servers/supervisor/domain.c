/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a domain: start, heartbeat, death, reboot.
 *
 *	DOWN --start--> STARTING --STATUS 0--> UP
 *	 ^                  |                   |
 *	 |            STATUS < 0, late      exit, hung, protocol broken
 *	 +--- nothing left -+------ kill ------+
 *
 * A domain is started again only when nothing of it is left: a proxy that still holds a listening port would
 * make the next one's bind fail.
 */
#include "backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define START_MS      10000
#define REAP_LOOK_MS  2
#define REAP_MAX_MS   5000   /* a process in an uninterruptible wait may outlive its SIGKILL */
#define GRACE_MS      500    /* for a broker to end by itself */
#define BACKOFF_MAX   5000
#define BACKOFF_SERVED 400   /* for one that does come up each time */
#define CRASHES_ODD   3     /* so many lives in a row that never served: it is broken */
#define CRASHES_MAX   12     /* in a row, with back-off: about half a minute */
#define GOOD_MS       10000  /* a domain that lived so long starts with a clean slate */
#define SERVED_MS     50     /* it came up and did some work */
#define GIVEN_UP_MS   30000
#define NO_SUCH       "no such domain; this machine has: local, and for net local:NETNS"

struct vos_dom *vos_doms;

const char *vos_kind_name(uint32_t kind)
{
	return kind == VOS_KIND_NET ? "net" : kind == VOS_KIND_STORE ? "store" : "any";
}

const char *vos_dom_state_name(const struct vos_dom *d)
{
	static const char *const names[] = { "starting", "up", "down", "stopped" };

	return names[d->state];
}

static const struct vos_backend *const backends[] = {
	&vos_backend_local,
};

/* The one whose name stands before the ':'. */
static const struct vos_backend *backend_of(const char *name)
{
	size_t n = strcspn(name, ":");

	for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++)
		if (strlen(backends[i]->name) == n && strncmp(backends[i]->name, name, n) == 0)
			return backends[i];
	return NULL;
}

struct vos_dom *vos_dom_get(uint32_t kind, const char *name, const char *root, int *ret_status, const char **ret_why)
{
	const struct vos_backend *backend;
	struct vos_dom *d;

	if (kind != VOS_KIND_NET && kind != VOS_KIND_STORE) {
		*ret_status = -EINVAL;
		*ret_why = "a domain is of kind net or store";
		return NULL;
	}
	backend = backend_of(name);
	if (!backend || !backend->has(kind, name, ret_why)) {
		*ret_status = -ENOENT;
		if (!backend)
			*ret_why = strncmp(name, "xen:", 4) == 0 ? "this virtuosd was built without Xen" : NO_SUCH;
		return NULL;
	}
	if (kind == VOS_KIND_NET)
		root = "";
	else if (root[0] != '/') {
		*ret_status = -EINVAL;
		*ret_why = "the directory of a storage domain must be absolute";
		return NULL;
	}
	for (d = vos_doms; d; d = d->next)
		if (d->kind == kind && strcmp(d->name, name) == 0 && strcmp(d->root, root) == 0)
			return d;
	d = calloc(1, sizeof *d);
	if (d) {
		d->root = strdup(root);
		if (asprintf(&d->label, kind == VOS_KIND_NET ? "%s" : "%s:%s", name, root) < 0)
			d->label = NULL;
	}
	if (!d || !d->root || !d->label) {
		if (d) {
			free(d->root);
			free(d->label);
		}
		free(d);
		*ret_status = -ENOMEM;
		*ret_why = "the supervisor is out of memory";
		return NULL;
	}
	d->backend = backend;
	d->kind = kind;
	strcpy(d->name, name);
	d->state = VOS_DOM_DOWN;
	d->broker.fd = -1;
	d->next = vos_doms;
	vos_doms = d;
	return d;
}

static void fail(struct vos_dom *d, int status, const char *why)
{
	d->error = status;
	vos_msg_text(d->why, sizeof d->why, why);
	d->want = false;
	vos_say("%s domain %s: %s", vos_kind_name(d->kind), d->label, why);
}

static void late_start(struct vos_timer *timer)
{
	vos_dom_kill(container_of(timer, struct vos_dom, timer), "did not come up in time");
}

static void hung_up(struct vos_timer *timer)
{
	vos_dom_kill(container_of(timer, struct vos_dom, timer), "closed its socket");
}

static void start(struct vos_dom *d)
{
	int sock, r;

	d->epoch++;
	d->starts[d->nstarts++ % 5] = vos_now();
	r = d->backend->start(d, &sock);
	if (r) {
		d->pid = 0;
		fail(d, r, r == -EAGAIN ? "cannot fork" : strerror(-r));
		return;
	}
	d->broker = (struct vos_source){ sock, vos_dom_broker_ready };
	d->state = VOS_DOM_STARTING;
	d->beat = d->beat_answered = 0;
	vos_timer_set(&d->timer, START_MS, late_start);
	vos_chat("%s domain %s: starting, epoch %llu, pid %d", vos_kind_name(d->kind), d->label,
		 (unsigned long long)d->epoch, (int)d->pid);
	r = vos_loop_watch(&d->broker);
	if (r)
		vos_dom_kill(d, "its socket cannot be watched");
}

/* Five starts within a second are a loop: wait longer before each one that follows. */
static uint64_t pause_before_start(struct vos_dom *d)
{
	uint64_t oldest = d->starts[d->nstarts % 5];

	if (d->backoff_ms == 0) {
		if (d->nstarts < 5 || vos_now() - oldest > 1000000000u)
			return 0;
		d->backoff_ms = 100;
		vos_say("%s domain %s: died 5 times within a second; starting it more slowly", vos_kind_name(d->kind), d->label);
		return d->backoff_ms;
	}
	d->backoff_ms = d->backoff_ms * 2 > BACKOFF_MAX ? BACKOFF_MAX : d->backoff_ms * 2;
	/* Slowly enough not to burn a machine, not so slowly that one who waits for it gives up. */
	if (d->crashes < CRASHES_ODD && d->backoff_ms > BACKOFF_SERVED)
		d->backoff_ms = BACKOFF_SERVED;
	return d->backoff_ms;
}

static void start_due(struct vos_timer *timer)
{
	struct vos_dom *d = container_of(timer, struct vos_dom, timer);

	if (d->want && d->state == VOS_DOM_DOWN && !d->reaping) {
		start(d);
		if (d->error)
			vos_talk_domain_moved(d);
	}
}

void vos_dom_want(struct vos_dom *d, bool by_hand)
{
	if (vos_sup.ending || d->state == VOS_DOM_STARTING || d->state == VOS_DOM_UP)
		return;
	if (d->state == VOS_DOM_STOPPED) {
		if (!by_hand)
			return;
		d->state = VOS_DOM_DOWN;
	}
	if (by_hand) {
		d->crashes = 0;
		d->backoff_ms = 0;
	} else if (d->want || d->reaping) {
		d->want = true;
		return; /* on its way */
	} else if (d->crashes >= CRASHES_MAX && vos_now() - d->starts[(d->nstarts + 4) % 5] < GIVEN_UP_MS * 1000000ull) {
		return; /* d->error says so */
	}
	d->error = 0;
	d->want = true;
	if (d->reaping)
		return;
	/* A root that is missing is asked for again by each new client: no faster than a crash loop. */
	vos_timer_set(&d->timer, d->nstarts < 5 || by_hand || vos_now() - d->starts[d->nstarts % 5] > 1000000000u ? 0 : 200,
		      start_due);
}

/* Nothing of it is left: next life. */
static void gone(struct vos_dom *d)
{
	d->reaping = false;
	d->pid = 0;
	vos_timer_clear(&d->timer);
	if (vos_sup.ending || d->state == VOS_DOM_STOPPED || !d->want) {
		vos_talk_domain_moved(d);
		if (vos_sup.ending && vos_dom_all_gone())
			vos_loop_stop();
		return;
	}
	if (d->crashes >= CRASHES_MAX) {
		fail(d, -ENETDOWN, "keeps dying; given up ('virtuos domain start' tries again)");
		vos_talk_domain_moved(d);
		return;
	}
	d->restarts++;
	vos_timer_set(&d->timer, pause_before_start(d), start_due);
}

/* Broker and proxies are being killed: look whether any is left. */
static void step_down(struct vos_timer *timer)
{
	struct vos_dom *d = container_of(timer, struct vos_dom, timer);

	if (d->backend->left(d)) {
		uint64_t since = vos_now() - d->down_since;

		if (d->graceful && since > GRACE_MS * 1000000ull) {
			d->graceful = false;
			d->backend->kill(d);
		}
		if (since < REAP_MAX_MS * 1000000ull) {
			vos_timer_set(&d->timer, REAP_LOOK_MS, step_down);
			return;
		}
		vos_say("%s domain %s: some of its processes do not end; going on without them", vos_kind_name(d->kind),
			d->label);
	}
	gone(d);
}

static void take_down(struct vos_dom *d, bool graceful)
{
	if (d->state != VOS_DOM_STOPPED)
		d->state = VOS_DOM_DOWN;
	d->reaping = true;
	d->graceful = graceful;
	d->down_since = vos_now();
	vos_introduce_died(d);
	vos_timer_set(&d->timer, graceful ? REAP_LOOK_MS : 0, step_down);
}

void vos_dom_kill(struct vos_dom *d, const char *why)
{
	bool was_up = d->state == VOS_DOM_UP;

	if (d->pid == 0 || d->reaping)
		return;
	d->backend->kill(d);
	/* A start that failed has said why. */
	if (!vos_sup.ending && !d->error)
		vos_say("%s domain %s, epoch %llu: %s", vos_kind_name(d->kind), d->label, (unsigned long long)d->epoch, why);
	vos_loop_forget(&d->broker);
	vos_timer_clear(&d->timer);
	if (was_up && vos_now() - d->up_since > GOOD_MS * 1000000ull) {
		d->crashes = 0;
		d->backoff_ms = 0;
	}
	/* One that came up and served was not broken in itself: it may be killed as often as somebody likes. */
	if (was_up && vos_now() - d->up_since > SERVED_MS * 1000000ull)
		d->crashes = 0;
	else if (!d->error)
		d->crashes++;
	take_down(d, false);
}

void vos_dom_release(struct vos_dom *d)
{
	d->want = false;
	if (d->pid == 0 || d->reaping)
		return;
	vos_loop_forget(&d->broker);
	take_down(d, true);
}

void vos_dom_child(pid_t pid, int status)
{
	for (struct vos_dom *d = vos_doms; d; d = d->next) {
		char why[128];

		if (d->pid != pid || d->reaping)
			continue;
		if (d->state == VOS_DOM_STARTING && WIFEXITED(status) && WEXITSTATUS(status) == 127) {
			snprintf(why, sizeof why, "cannot run virtuos-domain: not found beside virtuosd");
			fail(d, -ENETDOWN, why);
		} else if (WIFSIGNALED(status))
			snprintf(why, sizeof why, "killed by signal %d", WTERMSIG(status));
		else
			snprintf(why, sizeof why, "ended with status %d", WEXITSTATUS(status));
		/* The last words of a broker that could not start may still be in its socket. */
		if (d->broker.fd >= 0)
			vos_dom_broker_ready(&d->broker, EPOLLIN);
		vos_dom_kill(d, why);
	}
}

int vos_dom_send(struct vos_dom *d, const struct vos_msg *m, const int *fds, uint32_t nfds)
{
	int r = d->broker.fd < 0 ? -EPIPE : vos_msg_send(d->broker.fd, m, fds, nfds, 0);

	/* A full socket is a broker that does not read: its heartbeat will tell. */
	if (r && r != -ETIMEDOUT)
		vos_dom_kill(d, "its socket is broken");
	return r;
}

static void beat(struct vos_timer *timer)
{
	struct vos_dom *d = container_of(timer, struct vos_dom, timer);
	struct vos_msg m;

	if (d->beat_answered < d->beat && vos_now() - d->beat_since > vos_sup.hung_ms * 1000000ull) {
		vos_dom_kill(d, "hangs: no heartbeat");
		return;
	}
	vos_msg_init(&m, VOS_MSG_BEAT);
	if (d->beat_answered == d->beat)
		d->beat_since = vos_now();
	m.aux[0] = ++d->beat;
	vos_timer_set(&d->timer, vos_sup.beat_ms, beat);
	vos_dom_send(d, &m, NULL, 0);
}

static void came_up(struct vos_dom *d)
{
	d->state = VOS_DOM_UP;
	d->up_since = vos_now();
	d->error = 0;
	vos_chat("%s domain %s: up, epoch %llu, pid %d", vos_kind_name(d->kind), d->label, (unsigned long long)d->epoch,
		 (int)d->pid);
	vos_timer_set(&d->timer, vos_sup.beat_ms, beat);
	vos_talk_domain_moved(d);
}

static int take_message(struct vos_dom *d, const struct vos_msg *m)
{
	switch (m->type) {
	case VOS_MSG_STATUS:
		if (d->state != VOS_DOM_STARTING || m->status > 0)
			return -EPROTO;
		if (m->status == 0) {
			came_up(d);
			return 0;
		}
		fail(d, m->status, m->text[0] ? m->text : strerror(-m->status));
		return 0;
	case VOS_MSG_BEAT:
		/* Only a number that was sent, and none twice: a broker cannot bank beats. */
		if (m->aux[0] <= d->beat_answered || m->aux[0] > d->beat)
			return -EPROTO;
		d->beat_answered = m->aux[0];
		if (d->beat_answered < d->beat)
			d->beat_since = vos_now();
		return 0;
	case VOS_MSG_SPAWNED:
	case VOS_MSG_RECRED:
	case VOS_MSG_GONE:
		return d->state == VOS_DOM_UP ? vos_introduce_message(d, m) : -EPROTO;
	default:
		return -EPROTO;
	}
}

void vos_dom_broker_ready(struct vos_source *s, uint32_t events)
{
	struct vos_dom *d = container_of(s, struct vos_dom, broker);

	(void)events;
	/* A bounded number a turn, so that a broker that floods does not starve the others. */
	for (int i = 0; i < 64 && d->broker.fd >= 0; i++) {
		struct vos_msg m;
		struct vos_msg_fds fds;
		int r = vos_msg_recv(d->broker.fd, &m, &fds, 0);

		if (r == -ETIMEDOUT)
			return;
		if (r == 0 && fds.n) {
			vos_close_strange(&fds);
			r = -EPROTO;
		}
		if (r == 0)
			r = take_message(d, &m);
		if (r == -EPIPE || r == -ECONNRESET) {
			/* Its exit status, which tells more, comes with SIGCHLD; should it only have closed the socket, the timer ends it. */
			vos_loop_forget(&d->broker);
			vos_timer_set(&d->timer, 200, hung_up);
			return;
		}
		if (r) {
			vos_dom_kill(d, "broke the protocol of brokers");
			return;
		}
	}
}

bool vos_dom_all_gone(void)
{
	for (struct vos_dom *d = vos_doms; d; d = d->next)
		if (d->pid != 0)
			return false;
	return true;
}
