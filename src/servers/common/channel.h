/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets of the servers' control channels.  The messages themselves are sent and received with transport/message.h
 * (vos_msg_send, vos_msg_recv: deadlines, descriptors, all checks of form), which the client uses as well.
 */
#ifndef VOS_SERVERS_CHANNEL_H
#define VOS_SERVERS_CHANNEL_H

#include <sys/types.h>
#include "transport/message.h"

/* Who stands at the other end of a UNIX socket, as the kernel tells it. */
struct vos_channel_peer {
	pid_t    pid;
	uid_t    uid;
	gid_t    gid;
	uint32_t ngroups;
	gid_t    groups[VOS_GROUPS_MAX];
};

/* A SOCK_SEQPACKET pair, close-on-exec.  0 or negative errno. */
int vos_channel_pair(int ret_fd[2]);

/* A listening SOCK_SEQPACKET socket at `path` (a stale one is replaced), mode `mode`: its fd or negative errno. */
int vos_channel_listen(const char *path, mode_t mode);

/* A connection to `path`: its fd or negative errno.  Waits at most `ms` for room in the listener's queue. */
int vos_channel_connect(const char *path, int ms);

/* 0 or negative errno; -E2BIG when the peer has more than VOS_GROUPS_MAX supplementary groups. */
int vos_channel_peer(int sock, struct vos_channel_peer *ret);

/* Fills m's uid, gid, pid and groups. */
void vos_channel_creds(struct vos_msg *m, const struct vos_channel_peer *peer);

/* A plain answer: type, status, and one formatted line in `text` (NULL: none).  As vos_msg_send() without waiting. */
int vos_channel_answer(int sock, uint32_t type, int status, const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
