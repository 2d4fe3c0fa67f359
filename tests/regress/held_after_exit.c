/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A child takes a lock and listens on a port, and exits; whoever waited for it must find both free, each time. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int lock(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLK, &l);
}

static int listen_on(struct sockaddr_in *a)
{
	socklen_t len = sizeof *a;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0 || bind(s, (struct sockaddr *)a, sizeof *a) || listen(s, 5) || getsockname(s, (struct sockaddr *)a, &len)) {
		perror("listen");
		return -1;
	}
	return s;
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd, s, status;

	if (argc != 2 || (fd = open(argv[1], O_RDWR | O_CREAT, 0600)) < 0 || (s = listen_on(&a)) < 0) {
		perror(argc == 2 ? argv[1] : "usage: held_after_exit FILE");
		return 1;
	}
	close(s);
	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0)
			_exit(lock(fd) || listen_on(&a) < 0);
		if (waitpid(pid, &status, 0) != pid || status) {
			printf("child %d: status %#x\n", i, status);
			return 1;
		}
		s = lock(fd) ? -2 : listen_on(&a);
		if (s < 0) {
			printf("round %d: %s is still held by a process that is gone\n", i, s == -2 ? "the lock" : "the port");
			return 1;
		}
		close(s);
		/* Any close gives the lock back. */
		close(open(argv[1], O_RDWR));
	}
	return 0;
}
