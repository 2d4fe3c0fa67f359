/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * echo threads | epoll             a server on a free port of 127.0.0.1, which it prints; ends with its standard input
 * echo load PORT CONNECTIONS MS    a load generator: each connection sends 64 bytes, awaits them, sends again.  Never interposed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "measure.h"

#define SIZE 64

static void no_delay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* ---- servers ------------------------------------------------------------------------------------------------------ */

static int listen_anywhere(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 1024) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		die("listen");
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

/* The server's end is the end of its standard input, whatever becomes of the one that started it. */
static void *watch_input(void *arg)
{
	char c;

	(void)arg;
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	exit(0);
}

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[SIZE];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (write(fd, buf, (size_t)n) != n)
			break;
	close(fd);
	return NULL;
}

static void threads(int listener)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t t;

		if (fd < 0)
			continue;
		no_delay(fd);
		if (pthread_create(&t, &attr, serve_one, (void *)(intptr_t)fd) != 0)
			close(fd);
	}
}

static void events(int listener)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, ready[128];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	char buf[SIZE];

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) != 0)
		die("epoll");
	for (;;) {
		int n = epoll_wait(ep, ready, 128, -1);

		for (int i = 0; i < n; i++) {
			int fd = ready[i].data.fd;
			ssize_t got;

			if (fd == listener) {
				fd = accept(listener, NULL, NULL);
				if (fd < 0)
					continue;
				no_delay(fd);
				ev.data.fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
				continue;
			}
			got = read(fd, buf, sizeof buf);
			if (got <= 0 || write(fd, buf, (size_t)got) != got)
				close(fd);
		}
	}
}

/* ---- load --------------------------------------------------------------------------------------------------------- */

/* Log-linear histogram: 16 steps to each power of two of nanoseconds. */
static unsigned long histogram[64 * 16];

static void count(uint64_t ns)
{
	unsigned top = ns < 16 ? 4 : 63 - (unsigned)__builtin_clzll(ns);

	histogram[top * 16 + (ns >> (top - 4)) % 16]++;
}

static double percentile(unsigned long total, double part)
{
	unsigned long seen = 0, want = (unsigned long)((double)total * part);

	for (unsigned i = 0; i < 64 * 16; i++) {
		seen += histogram[i];
		if (seen > want)
			return (double)((16ull + i % 16) << (i / 16 - 4)) / 1000;
	}
	return 0;
}

static void load(int port, int connections, int ms)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event ev = { .events = EPOLLIN }, ready[256];
	int ep = epoll_create1(EPOLL_CLOEXEC), *fds = calloc((size_t)connections, sizeof *fds);
	uint64_t *sent = calloc((size_t)connections, sizeof *sent), start, now, end, warm;
	unsigned long done = 0;
	char buf[SIZE];

	if (!fds || !sent || ep < 0)
		die("load");
	memset(buf, 'e', sizeof buf);
	for (int i = 0; i < connections; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&a, sizeof a) != 0)
			die("connect");
		no_delay(fds[i]);
		ev.data.u32 = (uint32_t)i;
		if (epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev) != 0)
			die("epoll_ctl");
	}
	now = now_ns();
	for (int i = 0; i < connections; i++) {
		sent[i] = now;
		if (write(fds[i], buf, SIZE) != SIZE)
			die("write");
	}
	warm = start = now + (uint64_t)ms * 200000; /* the first fifth does not count */
	end = now + (uint64_t)ms * 1000000;
	while (now < end) {
		int n = epoll_wait(ep, ready, 256, 1000);

		if (n == 0) {
			fprintf(stderr, "load: no answer within a second\n");
			exit(1);
		}
		now = now_ns();
		for (int i = 0; i < n; i++) {
			uint32_t k = ready[i].data.u32;
			ssize_t got = recv(fds[k], buf, SIZE, MSG_WAITALL);

			if (got != SIZE)
				die("the server closed a connection");
			if (now >= warm) {
				done++;
				count(now - sent[k]);
			}
			sent[k] = now_ns();
			if (write(fds[k], buf, SIZE) != SIZE)
				die("write");
		}
	}
	figure("per_second", (double)done * 1e9 / (double)(now - start));
	figure("p50_us", percentile(done, 0.50));
	figure("p99_us", percentile(done, 0.99));
}

int main(int argc, char **argv)
{
	struct rlimit lim;
	pthread_t t;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	if (argc == 5 && strcmp(argv[1], "load") == 0) {
		load(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	} else if (argc == 2 && (strcmp(argv[1], "threads") == 0 || strcmp(argv[1], "epoll") == 0)) {
		int listener = listen_anywhere();

		if (pthread_create(&t, NULL, watch_input, NULL) != 0)
			die("pthread_create");
		if (argv[1][0] == 't')
			threads(listener);
		else
			events(listener);
	} else {
		fprintf(stderr, "Usage: echo threads | echo epoll | echo load PORT CONNECTIONS MS\n");
		return 2;
	}
	return 0;
}
