/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local transport: a sealed memfd, a futex in each lane, two eventfds, and a socket pair whose HUP is the death of
 * the peer.  The same code serves both sides; it enters no libc.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <virtuos/err.h>
#include <virtuos/raw.h>
#include <virtuos/transport.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* 0 when geo is what vos_region_layout() makes of its own counts: then no offset in it leads outside the region. */
static int check_geo(const struct vos_region_geo *g)
{
	struct vos_region_geo own;

	if (vos_region_layout(g->lanes, g->slots, g->data_stride, &own))
		return -EPROTO;
	if (own.size != g->size || own.lane_off != g->lane_off || own.lane_stride != g->lane_stride ||
	    own.data_off != g->data_off || own.data_stride != g->data_stride)
		return -EPROTO;
	return 0;
}

static int local_attach(struct vos_transport *t, bool client)
{
	struct stat st;
	long r = check_geo(&t->geo);

	(void)client;
	t->base = 0;
	if (r)
		return (int)r;
	r = vos_raw2(__NR_fstat, t->region_fd, VOS_PTR(&st));
	if (r)
		return (int)r;
	/* Without the seals the peer could shrink the file under us, and the next load would be a SIGBUS. */
	r = vos_raw3(__NR_fcntl, t->region_fd, F_GET_SEALS, 0);
	if ((uint64_t)st.st_size != t->geo.size || r < 0 || (r & SEALS) != SEALS)
		return -EPROTO;
	r = vos_raw6(__NR_mmap, 0, (long)t->geo.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, t->region_fd, 0);
	if (vos_is_err(r))
		return (int)r;
	/* A forked child gets a region of its own; in this one it could only break its parent's rings. */
	vos_raw3(__NR_madvise, r, (long)t->geo.size, MADV_DONTFORK);
	t->base = (void *)r;
	return 0;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		vos_raw1(__NR_close, *fd);
	*fd = -1;
}

static void local_detach(struct vos_transport *t)
{
	if (t->base)
		vos_raw2(__NR_munmap, VOS_PTR(t->base), (long)t->geo.size);
	t->base = 0;
	shut(&t->region_fd);
	shut(&t->doorbell_fd);
	shut(&t->wake_fd);
	shut(&t->control_fd);
}

static void ring(int fd)
{
	const uint64_t one = 1;

	/* Non-blocking: a full counter is readable already, which is all that a ring means. */
	vos_raw3(__NR_write, fd, VOS_PTR(&one), sizeof one);
}

static void local_ring_server(struct vos_transport *t)
{
	ring(t->doorbell_fd);
}

static void local_wake_lane(struct vos_transport *t, struct vos_lane *lane, uint32_t mode)
{
	if (mode & VOS_ASLEEP_FUTEX)
		vos_raw6(__NR_futex, VOS_PTR(&lane->asleep), FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
	if (mode & VOS_ASLEEP_FD)
		ring(t->wake_fd);
}

static int local_sleep_lane(struct vos_transport *t, struct vos_lane *lane, uint32_t word, uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	long r;

	(void)t;
	/* -EAGAIN: woken, or another sleeper of a shared lane has published; both are looked at again by the caller. */
	r = vos_raw6(__NR_futex, VOS_PTR(&lane->asleep), FUTEX_WAIT, word, VOS_PTR(&ts), 0, 0);
	return r == -EINTR || r == -ETIMEDOUT ? (int)r : 0;
}

static void local_drain(struct vos_transport *t, int fd)
{
	uint64_t count;

	(void)t;
	vos_raw3(__NR_read, fd, VOS_PTR(&count), sizeof count);
}

static bool local_peer_dead(struct vos_transport *t)
{
	struct pollfd p = { .fd = t->control_fd, .events = POLLRDHUP, .revents = 0 };
	struct timespec none = { 0, 0 };

	return vos_raw6(__NR_ppoll, VOS_PTR(&p), 1, VOS_PTR(&none), 0, 8, 0) > 0 &&
	       (p.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL));
}

/* One descriptor: room for no second, which the kernel would hand out as well. */
union one_fd {
	struct cmsghdr head;
	unsigned char  bytes[CMSG_SPACE(sizeof(int))];
};

static int local_give_file(struct vos_transport *t, uint64_t tag, int fd)
{
	union one_fd c = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd) } };
	struct iovec iov = { &tag, sizeof tag };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
	long r;

	*(int *)(void *)CMSG_DATA(&c.head) = fd;
	do
		r = vos_raw3(__NR_sendmsg, t->control_fd, VOS_PTR(&h), MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r == -EINTR);
	return r == (long)sizeof tag ? 0 : r == -ETOOMANYREFS ? -EAGAIN : vos_is_err(r) ? (int)r : -EIO;
}

static int local_take_file(struct vos_transport *t, uint64_t *ret_tag)
{
	union one_fd c;
	uint64_t tag = 0;
	struct iovec iov = { &tag, sizeof tag };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c };
	int fd = -1;
	long r;

	do {
		h.msg_controllen = CMSG_LEN(sizeof fd);
		r = vos_raw3(__NR_recvmsg, t->control_fd, VOS_PTR(&h), MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (r == -EINTR);
	if (vos_is_err(r))
		return (int)r;
	if (h.msg_controllen >= CMSG_LEN(sizeof fd) && c.head.cmsg_level == SOL_SOCKET && c.head.cmsg_type == SCM_RIGHTS)
		fd = *(const int *)(const void *)CMSG_DATA(&c.head);
	if (r == 0 && fd < 0)
		return -EPIPE;
	if (r == (long)sizeof tag && fd < 0 && (h.msg_flags & MSG_CTRUNC))
		return -EMFILE;
	if (r != (long)sizeof tag || fd < 0 || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		shut(&fd);
		return -EPROTO;
	}
	*ret_tag = tag;
	return fd;
}

const struct vos_transport_ops vos_transport_local = {
	.name = "local",
	.attach = local_attach,
	.detach = local_detach,
	.ring_server = local_ring_server,
	.wake_lane = local_wake_lane,
	.sleep_lane = local_sleep_lane,
	.drain = local_drain,
	.peer_dead = local_peer_dead,
	.give_file = local_give_file,
	.take_file = local_take_file,
};
