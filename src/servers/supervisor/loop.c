/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 64
#define CLOSERS_MAX 16

static int epoll_fd = -1;
static bool running;
static struct vos_timer *timers;

struct grave {
	struct grave *next;
	void *body;
};
static struct grave *graves;

uint64_t vos_now(void)
{
	return vos_msg_deadline(0);
}

int vos_loop_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	running = true;
	return epoll_fd < 0 ? -errno : 0;
}

int vos_loop_watch(struct vos_source *s)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = s };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) ? -errno : 0;
}

void vos_loop_forget(struct vos_source *s)
{
	if (s->fd < 0)
		return;
	/* Explicitly: a duplicate of it elsewhere would keep it in the set after close(). */
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	close(s->fd);
	s->fd = -1;
}

void vos_loop_free(void *p)
{
	struct grave *g = malloc(sizeof *g);

	if (!g)
		return; /* leaks a few bytes rather than risk a stale event */
	g->body = p;
	g->next = graves;
	graves = g;
}

void vos_timer_clear(struct vos_timer *t)
{
	if (t->at == 0)
		return;
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	t->at = 0;
}

void vos_timer_set(struct vos_timer *t, uint64_t ms, void (*fire)(struct vos_timer *))
{
	vos_timer_clear(t);
	t->at = vos_msg_deadline(ms);
	t->fire = fire;
	t->next = timers;
	t->link = &timers;
	if (timers)
		timers->link = &t->next;
	timers = t;
}

/* Fires what is due.  Milliseconds until the next, rounded up; -1: none. */
static int run_timers(void)
{
	for (;;) {
		struct vos_timer *first = NULL;
		uint64_t now = vos_now();

		for (struct vos_timer *t = timers; t; t = t->next)
			if (!first || t->at < first->at)
				first = t;
		if (!first)
			return -1;
		if (first->at > now) {
			uint64_t ms = (first->at - now + 999999) / 1000000;

			return ms > 60000 ? 60000 : (int)ms;
		}
		vos_timer_clear(first);
		first->fire(first);
	}
}

int vos_loop_turn(bool wait)
{
	struct epoll_event e[EVENTS];
	int ms = run_timers(), n = running ? epoll_wait(epoll_fd, e, EVENTS, wait ? ms : 0) : 0;

	for (int i = 0; i < n && running; i++) {
		struct vos_source *s = e[i].data.ptr;

		if (s->fd >= 0)
			s->ready(s, e[i].events);
	}
	while (graves) {
		struct grave *g = graves;

		graves = g->next;
		free(g->body);
		free(g);
	}
	return n;
}

void vos_loop_run(void)
{
	while (running)
		vos_loop_turn(true);
}

void vos_loop_stop(void)
{
	running = false;
}

static atomic_uint closers;

static void *closer(void *arg)
{
	close((int)(intptr_t)arg);
	atomic_fetch_sub(&closers, 1);
	return NULL;
}

static bool is_local_socket(int fd)
{
	int domain = 0;
	socklen_t len = sizeof domain;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

void vos_close_strange(struct vos_msg_fds *fds)
{
	for (uint32_t i = 0; i < fds->n; i++) {
		int fd = vos_msg_take(fds, i);
		pthread_t th;

		if (fd < 0)
			continue;
		if (is_local_socket(fd)) {
			close(fd);
			continue;
		}
		/* A lingering TCP socket, or a file of a FUSE server that does not answer, would hold up the loop. */
		if (atomic_fetch_add(&closers, 1) < CLOSERS_MAX &&
		    pthread_create(&th, NULL, closer, (void *)(intptr_t)fd) == 0) {
			pthread_detach(th);
			continue;
		}
		atomic_fetch_sub(&closers, 1);
		vos_say("%d descriptors of clients hang in close: one more is left open", CLOSERS_MAX);
	}
	fds->n = 0;
}

static void line(const char *format, va_list ap)
{
	struct pollfd p = { STDERR_FILENO, POLLOUT, 0 };
	char buf[1024];
	int n = snprintf(buf, sizeof buf, "virtuosd: "), m;

	m = vsnprintf(buf + n, sizeof buf - (size_t)n - 1, format, ap);
	if (m < 0)
		return;
	n = n + m >= (int)sizeof buf - 1 ? (int)sizeof buf - 2 : n + m;
	/* What a client chose to call itself must not make two lines of one. */
	for (int i = 0; i < n; i++)
		if ((unsigned char)buf[i] < ' ')
			buf[i] = '?';
	buf[n++] = '\n';
	/* A log that nobody reads must not hold up the loop: a line fits in what POLLOUT promises of a pipe. */
	if (poll(&p, 1, 0) != 1 || write(STDERR_FILENO, buf, (size_t)n) < 0)
		return;
}

void vos_say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	line(format, ap);
	va_end(ap);
}

void vos_chat(const char *format, ...)
{
	va_list ap;

	if (!vos_sup.verbose)
		return;
	va_start(ap, format);
	line(format, ap);
	va_end(ap);
}
