/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An echo server as people write them, in three ways: an epoll loop, a poll loop, a thread for each connection.  It knows
 * nothing of domains.  Any error on a connection closes it; an error on the listener ends the server, as it would in life.
 * Usage: server epoll|poll|threads PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* True when the connection goes on. */
static int echo(int fd, int flags)
{
	char buf[4096];
	ssize_t n = recv(fd, buf, sizeof buf, flags), done = 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return 0;
	while (done < n) {
		ssize_t k = send(fd, buf + done, (size_t)(n - done), MSG_NOSIGNAL);

		if (k < 0 && errno == EAGAIN)
			continue;
		if (k < 0)
			return 0;
		done += k;
	}
	return 1;
}

static int take(int listener)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		die("accept");
	return fd;
}

static void epoll_loop(int listener)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, got[64];
	int ep = epoll_create1(0);

	if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) < 0)
		die("epoll_ctl");
	for (;;) {
		int n = epoll_wait(ep, got, 64, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			int fd = got[i].data.fd;

			if (fd == listener) {
				while ((fd = take(listener)) >= 0) {
					fcntl(fd, F_SETFL, O_NONBLOCK);
					ev = (struct epoll_event){ .events = EPOLLIN, .data.fd = fd };
					/* It may have died between the two calls. */
					if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
						close(fd);
				}
			} else if ((got[i].events & (EPOLLERR | EPOLLHUP)) || !echo(fd, 0)) {
				close(fd);
			}
		}
	}
}

static void poll_loop(int listener)
{
	struct pollfd p[1024];
	unsigned n = 1;

	p[0] = (struct pollfd){ listener, POLLIN, 0 };
	for (;;) {
		if (poll(p, n, -1) < 0 && errno != EINTR)
			die("poll");
		for (unsigned i = n - 1; i >= 1; i--)
			if (p[i].revents && ((p[i].revents & (POLLERR | POLLHUP)) || !echo(p[i].fd, MSG_DONTWAIT))) {
				close(p[i].fd);
				p[i] = p[--n];
			}
		if (p[0].revents & (POLLERR | POLLHUP | POLLNVAL))
			die("listener");
		if ((p[0].revents & POLLIN) && n < 1024) {
			int fd = take(listener);

			if (fd >= 0)
				p[n++] = (struct pollfd){ fd, POLLIN, 0 };
		}
	}
}

static void *serve(void *arg)
{
	int fd = (int)(long)arg;

	while (echo(fd, 0))
		;
	close(fd);
	return NULL;
}

static void thread_loop(int listener)
{
	for (;;) {
		int fd = take(listener);
		pthread_t t;

		if (fd < 0)
			continue;
		if (pthread_create(&t, NULL, serve, (void *)(long)fd))
			die("pthread_create");
		pthread_detach(t);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (argc < 3)
		return 2;
	a.sin_port = htons((unsigned short)atoi(argv[2]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 128) < 0)
		die("listen");
	if (argv[1][0] == 'e') {
		fcntl(listener, F_SETFL, O_NONBLOCK);
		epoll_loop(listener);
	} else if (argv[1][0] == 'p') {
		poll_loop(listener);
	} else {
		thread_loop(listener);
	}
	return 0;
}
