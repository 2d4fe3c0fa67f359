/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the remote_*.c files share: connections and lanes as the client keeps them, outside the region. */
#ifndef VOS_REMOTE_IMPL_H
#define VOS_REMOTE_IMPL_H

#include <virtuos/msg.h>
#include "../rt/rt.h"
#include "../runtime.h"
#include "heap.h"
#include "transport/message.h"

/* What a connection asks for.  Carriers have a lane each as long as there are any; later ones share. */
#define VOS_WISH_LANES  32u
#define VOS_WISH_SLOTS  256u
#define VOS_WISH_DATA   (1u << 20)
#define VOS_CANCEL_ROOM 8u     /* slots kept for cancels */
#define VOS_FILES_WAITING 16u

/* How long a request of one kind takes, learnt; see spin.c. */
struct vos_spinner {
	struct {
		uint32_t ns;           /* expected; VOS_SPIN_LONG: it slept last time */
		uint32_t waits;
	} op[64];
	uint64_t crowded;              /* ticks until which others want the cores: no yielding */
};

struct vos_slot {
	struct vos_pending *p;         /* NULL: free */
	uint64_t user;                 /* its word on the wire: what a completion must echo to reach p */
};

/*
 * A lane.  One that is not shared belongs to the thread of its carrier.  A shared one is worked on under `lock`; its threads
 * reap for each other.
 */
struct vos_lane_client {
	struct vos_conn *conn;
	struct vos_lane_view v;
	uint32_t index;
	bool     shared;
	bool     ready;                /* the rest of this struct is initialised */
	bool     active;               /* counted in conn->refs: has users, or memory or requests of theirs */
	bool     foreign;              /* requests of the image before exec are still under way: not to be used */
	_Atomic uint32_t lock;
	uint32_t users;                /* carriers; under domain->lock */
	uint32_t held;                 /* allocations and requests */
	uint32_t nfree;
	uint32_t orphans;              /* requests of the image before exec */
	uint64_t serial;
	int      poll_fd;              /* epoll set of wake (edge) and control (HUP); -1 before the first FD sleep */
	struct vos_spinner spin;
	uint16_t free_slot[VOS_SLOTS_MAX];
	struct vos_slot slot[VOS_SLOTS_MAX];
	struct vos_heap heap;
};

/* One connection to one proxy.  Freed when the domain has another and no lane of it is active. */
struct vos_conn {
	struct vos_domain *d;
	struct vos_transport t;
	uint64_t epoch;                /* see struct vos_domain */
	uint64_t proxy;                /* the supervisor's name for it */
	uint64_t made;                 /* serial number among the connections of this memory */
	_Atomic uint32_t dead;
	_Atomic uint32_t told;         /* and the domain's state says so */
	_Atomic uint32_t refs;
	uint32_t nlanes, exclusive;    /* lanes; the first so many are for one carrier each */
	uint32_t lanes_used;
	size_t   size;                 /* of this mapping */
	bool     owned;                /* its descriptors were made the runtime's own (vos_fd_own) */
	_Atomic uint32_t files_lock;   /* remote_file.c: files that were handed over and wait for the thread that asked */
	uint32_t nfiles;
	struct { uint64_t tag; int fd; } file[VOS_FILES_WAITING];
	struct vos_lane_client lane[];
};

/* A vfork child's own connections: see remote_fork.c. */
struct vos_remote_proc {
	uint64_t made;                 /* connections of the domains made later are not in the child's descriptor table */
	uint64_t since;                /* those in own[] made later are its own, earlier ones its parent's */
	struct vos_conn *own[VOS_DOMAINS_MAX];
	struct vos_conn *forked[VOS_DOMAINS_MAX]; /* for the image that it is about to exec */
};

/* ---- spin.c ------------------------------------------------------------------------------------------------------- */

static inline uint64_t vos_ticks(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

struct vos_spin_plan {
	uint64_t pause;                /* ticks to look without giving the core up */
	uint64_t yield;                /* ticks, from the start, to look and yield */
};
void vos_spin_init(void);
/* How to wait for a request of this op that was submitted now. */
struct vos_spin_plan vos_spin_plan(struct vos_spinner *s, uint16_t op);
/* It came after so many ticks of looking, or did not come (slept). */
void vos_spin_learn(struct vos_spinner *s, uint16_t op, uint64_t ticks, bool slept);

/* A yield that brought nothing took so many ticks. */
void vos_spin_yielded(struct vos_spinner *s, uint64_t ticks);

uint64_t vos_remote_now(void);

/* ---- remote_join.c ------------------------------------------------------------------------------------------------ */

/* The domain behind the connection is dead: -EPIPE (its end) or -EPROTO (a breach).  Wakes all that sleep on it. */
void vos_conn_died(struct vos_conn *c, int why);
/* Looks at what the peer and the kernel say; calls vos_conn_died(). */
void vos_conn_look(struct vos_conn *c);
static inline bool vos_conn_dead(struct vos_conn *c)
{
	return atomic_load_explicit(&c->dead, memory_order_acquire) != 0;
}
void vos_conn_put(struct vos_conn *c);
/*
 * Of what the supervisor sent; takes the descriptors over.  `attach`: maps the region (else the caller's child will).  NULL and
 * *ret_err.
 */
struct vos_conn *vos_conn_new(struct vos_domain *d, const struct vos_msg *m, struct vos_msg_fds *fds, bool attach,
			      int *ret_err);
/* The serial number of the latest connection of this memory. */
uint64_t vos_conn_made(void);
/* Its descriptors are not in this process's table: they are forgotten, not closed. */
void vos_conn_abandon(struct vos_conn *c);
/* Makes its descriptors the runtime's own in this process's table.  0 or negative errno. */
int  vos_conn_own(struct vos_conn *c);
void vos_conn_free(struct vos_conn *c);
/* The lane's state when first used by this image. */
void vos_lane_ready(struct vos_conn *c, uint32_t index);
/* Called with the lane's lock when it is shared: gives the connection back when nothing holds the lane. */
bool vos_lane_idle(struct vos_lane_client *l);
/* The connection that this process uses for d, dead or alive, or NULL. */
struct vos_conn *vos_conn_of(struct vos_proc *p, struct vos_domain *d);
int vos_domain_lock(struct vos_domain *d, bool interruptible);
/*
 * JOIN (fork_of: NULL or a connection whose proxy is to fork), waiting at most ms for the domain.  0 or negative errno; -EAGAIN when
 * it was not up by then but is on its way.
 */
/* A new connection: its proxy knows the effective ids; it is told the ids for the file system where those differ. */
int vos_remote_cred_joined(struct vos_proc *p, struct vos_domain *d, struct vos_conn *c);
int vos_join(struct vos_proc *p, struct vos_domain *d, struct vos_conn *fork_of, uint64_t ms, bool interruptible,
	     struct vos_conn **ret);

/* ---- remote_session.c --------------------------------------------------------------------------------------------- */

/* Opens a conversation and says m: its socket, or negative errno (-EPIPE: no supervisor). */
int vos_session_begin(struct vos_proc *p, const struct vos_msg *m, const int *fds, uint32_t nfds);
/*
 * One exchange with the supervisor.  0 when an answer came (whatever its status), in *m and *ret_fds; negative errno: none
 * did (-ETIMEDOUT, -VOS_ERESTARTSYS, -EPIPE: the supervisor is gone).  ret_sock: keeps the conversation open.
 */
int vos_session_ask(struct vos_proc *p, struct vos_msg *m, const int *fds, uint32_t nfds, struct vos_msg_fds *ret_fds,
		    uint64_t deadline_ns, bool interruptible, int *ret_sock);

/* ---- remote.c ------------------------------------------------------------------------------------------------------ */

void vos_remote_reap(struct vos_lane_client *l);
/* Whether a signal wants the thread's attention. */
static inline bool vos_signalled(void)
{
	return atomic_load_explicit(&vos_self()->thread->sig_pending, memory_order_acquire) != 0;
}

#endif
