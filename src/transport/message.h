/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending and receiving struct vos_msg with descriptors over a SOCK_SEQPACKET socket.  Both sides of every control
 * channel use this one implementation; it enters no libc, allocates nothing and never waits past its deadline.
 */
#ifndef VOS_TRANSPORT_MESSAGE_H
#define VOS_TRANSPORT_MESSAGE_H

#include <stdint.h>
#include <virtuos/msg.h>

#define VOS_MSG_FDS_MAX 8u

/* Descriptors that came with a message; the receiver owns them.  Unused entries are -1. */
struct vos_msg_fds {
	uint32_t n;
	int      fd[VOS_MSG_FDS_MAX];
};

/* A message of `type`, all else zero. */
void vos_msg_init(struct vos_msg *m, uint32_t type);

/*
 * 0 when `len` bytes are one whole message whose magic, version and type are known, whose strings end and whose counts
 * are in range.  -EPROTO otherwise; -EPROTONOSUPPORT when only the version is another.
 */
int vos_msg_check(const struct vos_msg *m, uint64_t len);

/* Copies s into a field of `size` bytes, cut to fit, always terminated. */
void vos_msg_text(char *field, uint32_t size, const char *s);

/* Nanoseconds of CLOCK_MONOTONIC now, plus `ms`. */
uint64_t vos_msg_deadline(uint64_t ms);

/*
 * 0; -ETIMEDOUT when the socket was full until deadline_ns (CLOCK_MONOTONIC; 0: do not wait); -EPIPE, -ECONNRESET when the
 * peer is gone.  Never raises SIGPIPE.  The descriptors stay the caller's.
 */
int vos_msg_send(int sock, const struct vos_msg *m, const int *fds, uint32_t nfds, uint64_t deadline_ns);

/*
 * One message into *ret and its descriptors (close-on-exec) into *ret_fds.  0; -ETIMEDOUT (deadline 0: nothing there);
 * -EPIPE when the peer has closed; -EPROTO, -EPROTONOSUPPORT for a message that vos_msg_check() refuses or whose descriptors
 * were cut: all of them are closed then.  *ret is scratch on failure.  A signal does not end the wait.
 */
int vos_msg_recv(int sock, struct vos_msg *ret, struct vos_msg_fds *ret_fds, uint64_t deadline_ns);

/* Closes what is left; a descriptor that the receiver keeps is taken out with vos_msg_take(). */
void vos_msg_close_fds(struct vos_msg_fds *fds);
int  vos_msg_take(struct vos_msg_fds *fds, uint32_t i);

#endif
