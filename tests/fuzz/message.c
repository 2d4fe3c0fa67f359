/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages that somebody else sent: what vos_msg_recv() lets pass is whole, and what it refuses leaves no descriptor behind. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2], spare = -1;
	static unsigned char bytes[sizeof(struct vos_msg) + 256];
	union { struct cmsghdr h; char room[CMSG_SPACE(16 * sizeof(int))]; } c;
	struct iovec iov = { bytes, 0 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct vos_msg_fds fds;
	struct vos_msg m;
	unsigned nfds;
	int free_before, free_after;

	if (spare < 0) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			abort();
		spare = dup(0);
	}
	if (size < 2)
		return 0;
	free_before = dup(0);
	close(free_before);
	nfds = data[0] % 17;
	/* A sound message with the input laid over it somewhere, or the input alone. */
	iov.iov_len = sizeof m;
	vos_msg_init((struct vos_msg *)(void *)bytes, VOS_MSG_JOIN);
	if (data[1] & 1) {
		size_t at = (size_t)(data[1] >> 1) * 64 % sizeof m;
		size_t n = size - 2 < sizeof m - at ? size - 2 : sizeof m - at;

		memcpy(bytes + at, data + 2, n);
	} else {
		iov.iov_len = size - 2 < sizeof bytes ? size - 2 : sizeof bytes;
		memcpy(bytes, data + 2, iov.iov_len);
	}
	if (nfds) {
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (unsigned i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(&c.h) + i * sizeof(int), &spare, sizeof(int));
		h.msg_control = &c;
		h.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	if (sendmsg(pair[0], &h, MSG_DONTWAIT) < 0)
		abort();
	if (vos_msg_recv(pair[1], &m, &fds, 0) == 0) {
		if (!memchr(m.domain, 0, sizeof m.domain) || !memchr(m.text, 0, sizeof m.text) || m.ngroups > VOS_GROUPS_MAX ||
		    m.type == 0 || m.type >= VOS_MSG_END || fds.n != nfds || nfds > VOS_MSG_FDS_MAX)
			abort();
		vos_msg_close_fds(&fds);
	} else if (fds.n) {
		abort();
	}
	/* No descriptor is left: the next one has the number of the first that was free. */
	free_after = dup(0);
	close(free_after);
	if (free_after != free_before)
		abort();
	return 0;
}
