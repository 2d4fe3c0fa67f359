/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Session sockets, on which conversations are begun, and the conversations. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS     10000
#define WAIT_MS_MAX 60000
#define TALKS_MAX   2048   /* of one user */
#define A_TURN      32     /* messages of one session before the others have theirs */

struct session {
	struct session *next, **link;
	struct vos_source source;
	bool holds;
};
static struct session *sessions;
static unsigned holding;

/* ---- conversations --------------------------------------------------------------------------------------------------- */

void vos_talk_unwait(struct vos_talk *t)
{
	if (t->link) {
		*t->link = t->next;
		if (t->next)
			t->next->link = t->link;
	}
	t->link = NULL;
	t->next = NULL;
	vos_timer_clear(&t->timer);
}

/* An exported file on its way from process to process: see HOLD in PROTOCOL.md. */
static void tell_broker(struct vos_talk *t, int status)
{
	struct vos_msg m;

	vos_msg_init(&m, VOS_MSG_HOLD);
	m.status = status;
	memcpy(m.token, t->token, sizeof m.token);
	vos_dom_send(t->held, &m, NULL, 0);
}

static void drop_held(struct vos_talk *t)
{
	if (t->held_epoch && t->held->state == VOS_DOM_UP && t->held->epoch == t->held_epoch)
		tell_broker(t, 0);
	t->held_epoch = 0;
}

static void hold(struct vos_talk *t)
{
	if (t->held_epoch || t->dom->state != VOS_DOM_UP) {
		vos_talk_fail(t, t->held_epoch ? -EBUSY : -ENETDOWN, "nothing to hold in domain %s", t->dom->label);
		return;
	}
	t->held = t->dom;
	t->held_epoch = t->dom->epoch;
	memcpy(t->token, t->msg.token, sizeof t->token);
	tell_broker(t, 1);
	vos_talk_answer(t, &t->msg, NULL, 0);
}

void vos_talk_close(struct vos_talk *t)
{
	vos_talk_unwait(t);
	vos_introduce_given_up(t);
	vos_segment_release(t);
	drop_held(t);
	vos_close_strange(&t->fds);
	if (t->pipe >= 0)
		close(t->pipe);
	t->pipe = -1;
	t->quota->talks--;
	vos_loop_forget(&t->source);
	vos_loop_free(t);
}

static uint32_t answer_type(uint32_t type)
{
	switch (type) {
	case VOS_MSG_JOIN: return VOS_MSG_JOINED;
	case VOS_MSG_STATE:
	case VOS_MSG_CONTROL:
	case VOS_MSG_HOLD:
	case VOS_MSG_SHMAP: return type;
	default: return VOS_MSG_STATUS;
	}
}

void vos_talk_answer(struct vos_talk *t, struct vos_msg *answer, const int *fds, uint32_t nfds)
{
	vos_talk_unwait(t);
	vos_close_strange(&t->fds);
	t->busy = false;
	answer->type = answer_type(t->msg.type);
	/* The socket holds the few answers of an honest client; who lets it fill up does not want this one. */
	if (vos_msg_send(t->source.fd, answer, fds, nfds, 0))
		shutdown(t->source.fd, SHUT_RDWR); /* closed when the loop comes to it */
}

void vos_talk_fail(struct vos_talk *t, int status, const char *format, ...)
{
	struct vos_msg m;
	va_list ap;

	vos_msg_init(&m, VOS_MSG_STATUS);
	m.status = status;
	if (t->dom)
		m.epoch = t->dom->epoch;
	va_start(ap, format);
	vsnprintf(m.text, sizeof m.text, format, ap);
	va_end(ap);
	if (status)
		vos_chat("uid %u pid %d: %s", t->peer.uid, (int)t->peer.pid, m.text);
	vos_talk_answer(t, &m, NULL, 0);
}

static void too_late(struct vos_timer *timer)
{
	struct vos_talk *t = container_of(timer, struct vos_talk, timer);
	struct vos_dom *d = t->dom;

	vos_talk_unwait(t);
	switch (t->msg.type) {
	case VOS_MSG_CONTROL:
		vos_control_done(t, "not done in time");
		break;
	case VOS_MSG_SHMAP:
		vos_segment_release(t);
		vos_talk_fail(t, -EAGAIN, "who maps the file already does not get it filled");
		break;
	default:
		vos_talk_fail(t, -EAGAIN, "%s domain %s is not up yet%s%s", vos_kind_name(d->kind), d->label, d->why[0] ? ": " : "",
			      d->why);
	}
}

void vos_talk_wait(struct vos_talk *t, struct vos_talk **list)
{
	uint64_t now = vos_now();

	vos_talk_unwait(t);
	t->next = *list;
	t->link = list;
	if (t->next)
		t->next->link = &t->next;
	*list = t;
	vos_timer_set(&t->timer, t->deadline > now ? (t->deadline - now) / 1000000 : 0, too_late);
}

void vos_talk_go(struct vos_talk *t)
{
	struct vos_dom *d = t->dom;

	vos_talk_unwait(t);
	if (d->state == VOS_DOM_UP) {
		if (t->msg.type == VOS_MSG_JOIN)
			vos_introduce(t);
		else if (t->msg.type == VOS_MSG_RECRED)
			vos_introduce_recred(t);
		else
			vos_talk_fail(t, 0, "up");
	} else if (d->state == VOS_DOM_STOPPED) {
		vos_talk_fail(t, -ENETDOWN, "%s domain %s was stopped ('virtuos domain start' starts it)", vos_kind_name(d->kind),
			      d->label);
	} else if (d->error && !d->want) {
		vos_talk_fail(t, d->error, "%s domain %s: %s", vos_kind_name(d->kind), d->label, d->why);
	} else {
		vos_talk_wait(t, &d->waiters);
	}
}

static bool watcher_done(const struct vos_talk *t)
{
	const struct vos_dom *d = t->dom;

	if (t->until_down)
		return d->pid == 0;
	return d->state == VOS_DOM_UP || (d->error && !d->want && d->pid == 0);
}

void vos_talk_domain_moved(struct vos_dom *d)
{
	struct vos_talk *list = d->waiters, *next;

	/* Taken off first: going on may put one back. */
	d->waiters = NULL;
	if (list)
		list->link = &list;
	while (list)
		vos_talk_go(list);
	for (struct vos_talk *t = d->watchers; t; t = next) {
		next = t->next;
		if (watcher_done(t)) {
			vos_talk_unwait(t);
			vos_control_done(t, !t->until_down && d->state != VOS_DOM_UP ? d->why : NULL);
		}
	}
}

/* A request that names a domain. */
static void about_domain(struct vos_talk *t)
{
	uint64_t ms = t->msg.aux[0] == 0 || t->msg.type != VOS_MSG_JOIN ? WAIT_MS : t->msg.aux[0];
	const char *why = "";
	int status = -EINVAL;

	if (vos_sup.uid != 0 && t->peer.uid != vos_sup.uid) {
		vos_talk_fail(t, -EACCES, "this supervisor serves user %u only", vos_sup.uid);
		return;
	}
	/* A HOLD about a socket has other things to say there. */
	t->dom = vos_dom_get(t->msg.kind, t->msg.domain, t->msg.type == VOS_MSG_HOLD && t->msg.kind == VOS_KIND_NET ? "" : t->msg.text,
			     &status, &why);
	if (!t->dom) {
		vos_talk_fail(t, status, "domain %s: %s", t->msg.domain, why);
		return;
	}
	if (t->msg.type == VOS_MSG_SHMAP) {
		vos_segment(t);
		return;
	}
	if (t->msg.type == VOS_MSG_HOLD) {
		hold(t);
		return;
	}
	t->deadline = vos_msg_deadline(ms > WAIT_MS_MAX ? WAIT_MS_MAX : ms);
	if (t->msg.type == VOS_MSG_RECRED && t->dom->state != VOS_DOM_UP) {
		vos_talk_fail(t, -ESRCH, "domain %s is not up", t->dom->label);
		return;
	}
	vos_dom_want(t->dom, false);
	vos_talk_go(t);
}

static void take_request(struct vos_talk *t)
{
	t->busy = true;
	t->dom = NULL;
	if (vos_sup.ending) {
		vos_talk_fail(t, -ESHUTDOWN, "the supervisor is ending");
		return;
	}
	switch (t->msg.type) {
	case VOS_MSG_JOIN:
	case VOS_MSG_RECRED:
	case VOS_MSG_STATE:
	case VOS_MSG_SHMAP:
	case VOS_MSG_HOLD:
		about_domain(t);
		break;
	case VOS_MSG_CONTROL:
		vos_control(t);
		break;
	default:
		vos_talk_fail(t, -EPROTO, "message %u is none of a client's", t->msg.type);
	}
}

static void talk_ready(struct vos_source *s, uint32_t events)
{
	struct vos_talk *t = container_of(s, struct vos_talk, source);
	struct vos_msg *m = &t->msg, spare;
	struct vos_msg_fds fds;
	int r;

	(void)events;
	/* A client with a request under way has nothing to say: a message then is a breach, the end of file a change of mind. */
	if (t->busy)
		m = &spare;
	r = vos_msg_recv(s->fd, m, &fds, 0);
	if (r == -ETIMEDOUT)
		return;
	if (r == 0 && !t->busy) {
		vos_close_strange(&t->fds);
		t->fds = fds;
		take_request(t);
		return;
	}
	if (r == 0)
		vos_close_strange(&fds);
	if (r == -EPROTONOSUPPORT && !t->busy)
		vos_channel_answer(s->fd, VOS_MSG_STATUS, r, "this virtuosd speaks version %u of the protocol", VOS_MSG_VERSION);
	if (t->pipe >= 0 && r == -EPIPE) {
		/* A command goes on without its talk: who gave it reads the pipe. */
		vos_loop_forget(&t->source);
		return;
	}
	if (r != -EPIPE && r != -ECONNRESET)
		vos_chat("uid %u pid %d broke the protocol", t->peer.uid, (int)t->peer.pid);
	vos_talk_close(t);
}

/* ---- sessions ----------------------------------------------------------------------------------------------------------- */

static bool is_channel(int fd)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof domain;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != AF_UNIX)
		return false;
	len = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

/* A CALL: takes the descriptor out when it begins a conversation. */
static void begin(struct vos_msg_fds *fds)
{
	struct vos_channel_peer peer;
	struct vos_quota *q;
	struct vos_talk *t;

	if (fds->n != 1 || !is_channel(fds->fd[0]) || vos_channel_peer(fds->fd[0], &peer))
		return;
	q = vos_quota_of(peer.uid);
	if (!q || q->talks >= TALKS_MAX) {
		vos_channel_answer(fds->fd[0], VOS_MSG_STATUS, -EDQUOT, "user %u talks to the supervisor too much", peer.uid);
		return;
	}
	t = calloc(1, sizeof *t);
	if (!t)
		return;
	t->source = (struct vos_source){ vos_msg_take(fds, 0), talk_ready };
	t->peer = peer;
	t->quota = q;
	t->pipe = -1;
	q->talks++;
	if (vos_loop_watch(&t->source))
		vos_talk_close(t);
}

static void session_over(struct session *s)
{
	bool holds = s->holds;

	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	vos_loop_forget(&s->source);
	vos_loop_free(s);
	if (holds && --holding == 0)
		vos_supervisor_end("the last process of the session is gone");
}

static void session_ready(struct vos_source *src, uint32_t events)
{
	struct session *s = container_of(src, struct session, source);

	(void)events;
	for (int i = 0; i < A_TURN; i++) {
		struct vos_msg m;
		struct vos_msg_fds fds;
		int r = vos_msg_recv(src->fd, &m, &fds, 0);

		if (r == -ETIMEDOUT)
			return;
		if (r == 0 && m.type == VOS_MSG_CALL)
			begin(&fds);
		if (r == 0) {
			vos_close_strange(&fds);
			continue;
		}
		/* Many processes share the socket: rubbish from one must not end it for the others. */
		if (r == -EPROTO || r == -EPROTONOSUPPORT)
			continue;
		session_over(s);
		return;
	}
}

int vos_session_open(int fd, bool holds)
{
	struct session *s;
	int r;

	if (!is_channel(fd)) {
		close(fd);
		return -ENOTSOCK;
	}
	s = calloc(1, sizeof *s);
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->source = (struct vos_source){ fd, session_ready };
	s->holds = holds;
	s->next = sessions;
	s->link = &sessions;
	if (sessions)
		sessions->link = &s->next;
	sessions = s;
	holding += holds;
	r = vos_loop_watch(&s->source);
	if (r) {
		s->holds = false;
		holding -= holds;
		session_over(s);
	}
	return r;
}

static void listener_ready(struct vos_source *s, uint32_t events)
{
	(void)events;
	for (int i = 0; i < A_TURN; i++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
		struct vos_channel_peer peer;

		if (fd < 0)
			return;
		/* A private supervisor is its user's alone, and root's. */
		if (vos_sup.private && (vos_channel_peer(fd, &peer) || (peer.uid != 0 && peer.uid != vos_sup.uid))) {
			close(fd);
			continue;
		}
		vos_session_open(fd, false);
	}
}

int vos_session_listen(int fd)
{
	static struct vos_source listeners[2];
	static unsigned n;

	if (n == 2)
		return -ENOSPC;
	listeners[n] = (struct vos_source){ fd, listener_ready };
	return vos_loop_watch(&listeners[n++]);
}
