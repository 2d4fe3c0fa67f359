/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "servers/common/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

int vos_channel_pair(int ret_fd[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fd) ? -errno : 0;
}

static int address(const char *path, struct sockaddr_un *a)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof a->sun_path)
		return -ENAMETOOLONG;
	strcpy(a->sun_path, path);
	return 0;
}

int vos_channel_listen(const char *path, mode_t mode)
{
	struct sockaddr_un a;
	struct stat st;
	int r = address(path, &a), fd, probe;

	if (r)
		return r;
	/* A socket that nobody listens on any more is left over from a killed supervisor; a live one is not ours to take. */
	probe = vos_channel_connect(path, 0);
	if (probe >= 0) {
		close(probe);
		return -EADDRINUSE;
	}
	if (probe == -ECONNREFUSED && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The mode is set before listen(), so nobody connects while it is still the umask's. */
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || chmod(path, mode) || listen(fd, 128)) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int vos_channel_connect(const char *path, int ms)
{
	struct sockaddr_un a;
	uint64_t deadline = vos_msg_deadline((uint64_t)(ms > 0 ? ms : 0));
	int r = address(path, &a), fd;

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&a, sizeof a)) {
		r = -errno;
		/* A UNIX socket answers EAGAIN when the queue is full and offers nothing to poll for. */
		if (r != -EAGAIN || vos_msg_deadline(0) >= deadline) {
			close(fd);
			return r;
		}
		poll(NULL, 0, 5);
	}
	return fd;
}

int vos_channel_peer(int sock, struct vos_channel_peer *ret)
{
	struct ucred u;
	struct vos_channel_peer p = { 0 };
	socklen_t len = sizeof u;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &u, &len))
		return -errno;
	p.pid = u.pid;
	p.uid = u.uid;
	p.gid = u.gid;
	len = sizeof p.groups;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, p.groups, &len))
		return errno == ERANGE ? -E2BIG : -errno;
	p.ngroups = len / sizeof(gid_t);
	*ret = p;
	return 0;
}

void vos_channel_creds(struct vos_msg *m, const struct vos_channel_peer *peer)
{
	m->pid = (uint32_t)peer->pid;
	m->uid = peer->uid;
	m->gid = peer->gid;
	m->ngroups = peer->ngroups;
	for (uint32_t i = 0; i < peer->ngroups; i++)
		m->groups[i] = peer->groups[i];
}

int vos_channel_answer(int sock, uint32_t type, int status, const char *format, ...)
{
	struct vos_msg m;
	va_list ap;

	vos_msg_init(&m, type);
	m.status = status;
	if (format) {
		va_start(ap, format);
		vsnprintf(m.text, sizeof m.text, format, ap);
		va_end(ap);
	}
	return vos_msg_send(sock, &m, NULL, 0, 0);
}
