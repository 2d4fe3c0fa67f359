/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the families of sockets and of waiting share: socket.c msg.c poll.c epoll.c aio.c scm.c restore.c.
 */
#ifndef VOS_NET_H
#define VOS_NET_H

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "../dispatch/fdmap.h"
#include "../dispatch/marshal.h"
#include "../entry/user.h"
#include "../rt/rt.h"
#include "../runtime.h"

static inline void *vos_uptr(uint64_t a)
{
	return (void *)(uintptr_t)a;
}

/* ---- sockets (socket.c, restore.c) --------------------------------------------------------------------------------- */

#define VOS_SOCK_OPTS_MAX 2048       /* bytes of remembered options: more are not restored */

/*
 * What brings a socket back after its domain was rebooted: configuration.  A conversation (a connection) has none of it.
 * Options lie as {level, name, len, bytes…}, in the order in which they were first set.
 */
struct vos_sock_mem {
	int32_t  backlog;            /* -1: does not listen */
	uint16_t addr_len;           /* 0: not bound */
	uint16_t peer_len;           /* datagrams: connected to */
	uint16_t opts_len, opts_cap;
	unsigned char *opts;
	unsigned char addr[128], peer[128];
};

/* In vos_ofd.net of every socket of a domain. */
struct vos_sock {
	_Atomic uint32_t lock;       /* mem and what it holds; a revival under way */
	int32_t  family, type, protocol;
	_Atomic uint32_t timeouts;   /* VOS_SOCK_RCVTIMEO…: a signal then ends a wait with EINTR, never a restart */
	struct vos_sock_mem *mem;    /* NULL: a conversation */
};
enum { VOS_SOCK_RCVTIMEO = 1, VOS_SOCK_SNDTIMEO = 2 };

static inline bool vos_sock_is_stream(const struct vos_ofd *o)
{
	const struct vos_sock *s = o->net;

	return !s || s->type == SOCK_STREAM;
}

/* A wait on socket o was cut short by a signal: -VOS_ERESTARTSYS, or -EINTR where Linux does not restart. */
static inline long vos_sock_interrupted(const struct vos_ofd *o, unsigned which)
{
	const struct vos_sock *s = o->net;

	return s && (s->timeouts & which) ? -EINTR : -VOS_ERESTARTSYS;
}

/* An ofd for a socket of d, with memory when `fresh` (made by socket(2)), without for a conversation.  NULL: no memory. */
struct vos_ofd *vos_sock_ofd(struct vos_domain *d, int32_t rfd, uint32_t mode, uint32_t flags, int family, int type, int protocol,
			     bool fresh);
/* Closes a remote descriptor that got no ofd. */
void vos_net_close(struct vos_lane_client *lane, int32_t rfd);
/*
 * One request with scalars and at most one buffer, not interruptible: for steps that must not be half done.  buf (runtime memory,
 * may be NULL) stands at arg[at]; in_len bytes go, out_len come back.  The raw result; ret_cqe may be NULL.
 */
long vos_net_call(struct vos_lane_client *lane, unsigned op, uint64_t arg[6], unsigned at, void *buf, size_t in_len, size_t out_len,
		  struct vos_cqe *ret_cqe);
/* The remembered value of an int option of SOL_SOCKET; 0 when it was never set.  Under s->lock. */
int vos_sock_opt(const struct vos_sock_mem *m, int name);
/* restore.c: the family's revive (fdmap.h). */
int vos_sock_revive(struct vos_ofd *o, struct vos_lane_client *lane);
/* Whether o comes back by itself after a reboot: waits on it then go on. */
bool vos_sock_restorable(const struct vos_ofd *o);
long vos_sock_save(struct vos_ofd *o, void *buf, size_t cap);
int vos_sock_load(struct vos_ofd *o, const void *buf, size_t len);

/* Whether o belongs to a life of its domain that is over. */
static inline bool vos_ofd_stale(const struct vos_ofd *o)
{
	return atomic_load(&o->domain->state) == VOS_DOM_DOWN || atomic_load(&o->epoch) != atomic_load(&o->domain->epoch);
}

/* An ofd that came from elsewhere, with what its save() wrote there. */
void vos_sock_adopt(struct vos_ofd *o, const void *saved, size_t len);

/* ---- native sockets with a name (unix.c): bind and connect of whatever is not remote ---------------------------------- */

long vos_unix_bind(struct vos_frame *f);
long vos_unix_connect(struct vos_frame *f);
struct sockaddr_un;
/* The address at `user`, to be sent to: 0 and another that stands for it, 1 when it is to be used as it is, or an error. */
long vos_unix_address(uint64_t fd, uint64_t user, uint32_t len, struct sockaddr_un *ret, uint32_t *ret_len);

/* ---- waiting (poll.c) ----------------------------------------------------------------------------------------------- */

/* Between two looks at a domain that is down. */
#define VOS_NET_RETRY_NS 5000000u

/* The time of the monotonic clock, ns. */
uint64_t vos_net_now(void);
/* A deadline from now; saturates. */
static inline uint64_t vos_net_deadline(uint64_t now, uint64_t ns)
{
	return now + ns < now ? VOS_NEVER - 1 : now + ns;
}
/* What a poll of a dead connection answers, as Linux does for one that was reset. */
static inline short vos_poll_dead(short events)
{
	return (short)(POLLERR | POLLHUP | (events & (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP)));
}
/*
 * poll(2) over runtime memory.  The number of ready ones; -VOS_ERESTARTSYS, -ENOMEM.  deadline 0: looks once.
 */
long vos_poll_wait(struct pollfd *fds, uint32_t n, uint64_t deadline_ns);

/* ---- epoll (epoll.c) -------------------------------------------------------------------------------------------------- */

/* A remote set behind an epoll descriptor. */
struct vos_epoll_part {
	struct vos_domain *d;
	struct vos_lane_client *lane;
	int32_t rfd;
};
/*
 * For poll(2) of an epoll descriptor: its live remote sets (at most VOS_DOMAINS_MAX); *ret_ready is set when it has something to
 * report already, *ret_down when a domain of it is being rebooted.
 */
uint32_t vos_epoll_parts(struct vos_ofd *o, struct vos_epoll_part part[VOS_DOMAINS_MAX], bool *ret_ready,
			 bool *ret_down);

/* Bring-up and fork (net_room.c). */
void vos_sock_init(void);
void vos_epoll_init(void);
void vos_epoll_fork_prepare(void);
void vos_epoll_fork_parent(void);
void vos_epoll_fork_child(struct vos_proc *p);

/* ---- descriptors over UNIX sockets (scm.c) ------------------------------------------------------------------------------ */

/*
 * sendmsg on a native socket whose control data (runtime memory, in place) may name remote descriptors: each is replaced by a
 * socket that tells the receiving runtime.  The sockets made are in ret_fds (at most 253): close them after the send.  Their
 * number, or negative errno.
 */
#define VOS_SCM_MAX 253
long vos_scm_out(unsigned char *control, size_t len, int ret_fds[VOS_SCM_MAX]);
/* The descriptors in control data just received natively, at `control` in the program: those that stand for remote ones become so. */
void vos_scm_in(uint64_t control, uint64_t len);

#endif
