/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acknowledged write PORT FILE     SET seq:1 1, SET seq:2 2, … one at a time, each only after the last was acknowledged; a
 *                                  lost connection is made again.  Ends with SIGTERM, and writes to FILE how many were
 *                                  acknowledged, how often it connected again, and the longest time without an answer (ms)
 * acknowledged check PORT FILE     reads back every key that FILE counts; exit code 1 when one is missing or wrong
 *
 * An ordinary Redis client, never interposed: what it was told is what a user was told.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS    10000 /* a server that is silent for so long counts as lost */
#define RECONNECT_MS 60000 /* and one that cannot be reached for so long as gone */

static volatile sig_atomic_t stopping;

static void stop(int sig)
{
	(void)sig;
	stopping = 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int dial(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

/* One command and its one answer, up to two lines: 0, or -1 when the connection is no good any more. */
static int ask(int fd, const char *command, char *answer, size_t size)
{
	size_t len = strlen(command), got = 0;
	uint64_t deadline = now_ms() + ANSWER_MS;

	if (send(fd, command, len, MSG_NOSIGNAL) != (ssize_t)len)
		return -1;
	while (got + 1 < size) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = now_ms();
		ssize_t n;

		if (now >= deadline || (poll(&p, 1, (int)(deadline - now)) < 0 && errno != EINTR))
			return -1;
		if (!p.revents)
			continue;
		n = recv(fd, answer + got, size - 1 - got, 0);
		if (n <= 0)
			return -1;
		got += (size_t)n;
		answer[got] = '\0';
		/* "+OK\r\n", "$-1\r\n", or "$5\r\nvalue\r\n". */
		if (got >= 2 && strcmp(answer + got - 2, "\r\n") == 0 &&
		    (answer[0] != '$' || answer[1] == '-' || strstr(answer, "\r\n") != answer + got - 2))
			return 0;
	}
	return -1;
}

static int write_all(int port, const char *file)
{
	unsigned long acknowledged = 0, reconnects = 0;
	uint64_t last = now_ms(), gap = 0;
	struct sigaction sa = { .sa_handler = stop };
	char command[128], answer[256];
	int fd = -1;
	FILE *f;

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	while (!stopping) {
		if (fd < 0) {
			fd = dial(port);
			if (fd < 0) {
				struct timespec pause = { 0, 2000000 };

				if (now_ms() - last > RECONNECT_MS)
					break;
				nanosleep(&pause, NULL);
				continue;
			}
			reconnects++;
		}
		/* Not acknowledged means asked for again: the count is of what the server said OK to. */
		snprintf(command, sizeof command, "SET seq:%lu %lu\r\n", acknowledged + 1, acknowledged + 1);
		if (ask(fd, command, answer, sizeof answer) != 0) {
			close(fd);
			fd = -1;
			continue;
		}
		if (strcmp(answer, "+OK\r\n") != 0) {
			fprintf(stderr, "acknowledged: the server answered: %s", answer);
			return 1;
		}
		acknowledged++;
		if (now_ms() - last > gap)
			gap = now_ms() - last;
		last = now_ms();
		/* How far it is, for whoever watches: one line, always whole. */
		if (acknowledged % 64 == 0) {
			snprintf(answer, sizeof answer, "%12lu\n", acknowledged);
			if (pwrite(STDOUT_FILENO, answer, strlen(answer), 0) < 0)
				perror("acknowledged: progress");
		}
	}
	f = fopen(file, "w");
	if (!f || fprintf(f, "%lu %lu %llu\n", acknowledged, reconnects ? reconnects - 1 : 0, (unsigned long long)gap) < 0 ||
	    fclose(f) != 0) {
		perror(file);
		return 1;
	}
	if (!stopping)
		fprintf(stderr, "acknowledged: the server could not be reached for %d seconds\n", RECONNECT_MS / 1000);
	return !stopping;
}

static int check_all(int port, const char *file)
{
	unsigned long count = 0, bad = 0;
	char command[128], answer[256], want[128], value[64];
	FILE *f = fopen(file, "r");
	int fd = dial(port);

	if (!f || fscanf(f, "%lu", &count) != 1 || fd < 0) {
		perror(!f ? file : fd < 0 ? "connect" : file);
		return 1;
	}
	fclose(f);
	for (unsigned long i = 1; i <= count; i++) {
		snprintf(command, sizeof command, "GET seq:%lu\r\n", i);
		snprintf(value, sizeof value, "%lu", i);
		snprintf(want, sizeof want, "$%zu\r\n%s\r\n", strlen(value), value);
		if (ask(fd, command, answer, sizeof answer) != 0) {
			fprintf(stderr, "acknowledged: the connection was lost at %lu of %lu\n", i, count);
			return 1;
		}
		if (strcmp(answer, want) != 0)
			bad++;
	}
	close(fd);
	printf("%lu of %lu\n", count - bad, count);
	return bad != 0;
}

int main(int argc, char **argv)
{
	int port = argc == 4 ? atoi(argv[2]) : 0;

	if (port > 0 && strcmp(argv[1], "write") == 0)
		return write_all(port, argv[3]);
	if (port > 0 && strcmp(argv[1], "check") == 0)
		return check_all(port, argv[3]);
	fprintf(stderr, "Usage: acknowledged write|check PORT FILE\n");
	return 2;
}
