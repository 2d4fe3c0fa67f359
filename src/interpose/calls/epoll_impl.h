/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An epoll set that may have remote members: a real epoll descriptor of this kernel, which holds the native members, and
 * this side object, which holds the remote ones and, for each domain that has any, a set in that domain.
 *
 * Members carry the program's own data word in both places, so events pass straight through, and a forked process that
 * shares the remote set understands them.
 *
 * Locks.  vos_epoll_lock guards lists and the fields of items and parts; it is never held across a remote call.  An item or a part
 * on which a remote call is under way is `busy`; others wait for that.  set->wait_lock guards the waiters' counters.
 */
#ifndef VOS_EPOLL_IMPL_H
#define VOS_EPOLL_IMPL_H

#include "../dispatch/spin.h"
#include "net.h"

struct vos_epoll;

/* A remote member, or an epoll set as a member (which also is a native one). */
struct vos_epoll_item {
	struct vos_epoll_item *next;       /* in the bucket */
	struct vos_epoll_item *watch_next; /* of the same ofd */
	struct vos_epoll *set;
	struct vos_ofd *ofd;         /* no reference: vos_epoll_forget() ends the item before the ofd is gone */
	int32_t  fd;                 /* the number it was added under: half of the key */
	int32_t  rfd;                /* under which it is registered; a duplicate when the ofd's own was taken */
	uint64_t epoch;              /* of that registration; 0: none */
	uint32_t events;
	uint64_t data;
	bool     busy;               /* a remote call about it is under way */
	bool     dead;               /* its domain died under it: says so until it is removed */
	bool     duplicate;          /* rfd is the item's own */
	bool     told;               /* edge or one-shot: its death was reported */
	uint8_t  tries;              /* at bringing it back */
};

struct vos_epoll_remote {
	struct vos_domain *d;
	int32_t  rfd;                /* -1: none */
	uint64_t epoch;              /* of rfd */
	bool     busy;               /* being made, or made anew after a reboot */
	bool     pending;            /* a member that comes back by itself has not come yet */
};

struct vos_epoll {
	struct vos_ofd *ofd;         /* the epoll descriptor's own; no reference */
	struct vos_epoll_item **bucket;
	uint32_t nbuckets, nitems;
	uint32_t dead;               /* items whose domain died under them and that say so */
	uint32_t sets;               /* items that are epoll sets */
	struct vos_epoll_remote part[VOS_DOMAINS_MAX];
	_Atomic uint32_t nparts;
	_Atomic uint32_t natives;    /* native members were added (they leave unseen, by close) */
	uint64_t native_look;        /* ticks of the last look at them */
	uint32_t turn;               /* which part comes first: fairness */
	bool     remote_first;       /* the native members filled the last answer */
	_Atomic uint32_t wait_lock;
	uint32_t waiters, old_waiters, generation;
	int      kick_fd;            /* -1; else a readable eventfd in the native set: old waiters must look again */
	void    *saved;              /* exec: members not yet looked up (epoll_exec.c) */
	size_t   saved_len;
};

extern _Atomic uint32_t vos_epoll_lock;

static inline void vos_epoll_locked(void)
{
	vos_spin_lock(&vos_epoll_lock);
}

static inline void vos_epoll_unlocked(void)
{
	vos_spin_unlock(&vos_epoll_lock);
}

/* Lets the holder of a busy item or part go on.  Under the lock; gives it up meanwhile. */
static inline void vos_epoll_pause(void)
{
	vos_epoll_unlocked();
	vos_raw0(__NR_sched_yield);
	vos_epoll_locked();
}

/* The data word of the kick; no program's (it would have to guess it). */
#define VOS_EPOLL_KICK 0x7652544f534b434bULL

/* epoll_event as it lies in memory and on the wire: packed. */
struct vos_epoll_event {
	uint32_t events;
	uint64_t data;
} __attribute__((packed));

static inline uint64_t vos_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

/* Part of domain d, made when `make`; NULL. Under vos_epoll_lock. */
struct vos_epoll_remote *vos_epoll_part_of(struct vos_epoll *e, struct vos_domain *d, bool make);
/*
 * The part's remote set exists and is of the domain's present life: makes it, and after a reboot registers the members that
 * came back; the others are marked dead.  0; the lane's error.  Called without the lock.
 */
long vos_epoll_part_up(struct vos_epoll *e, struct vos_epoll_remote *p, struct vos_lane_client **ret_lane);
/* Registers an item that is busy by the caller.  Without the lock. */
long vos_epoll_register(struct vos_epoll *e, struct vos_epoll_remote *p, struct vos_lane_client *lane, struct vos_epoll_item *it);
/* The domain is down: members that will not come back say so from now on.  Without the lock. */
void vos_epoll_part_down(struct vos_epoll *e, struct vos_epoll_remote *p);
/* Waiters that do not know of a new part wake up; epfd is any descriptor of the set. */
void vos_epoll_kick(struct vos_epoll *e, int epfd);
/* A waiter comes and goes; the generation it saw. */
uint32_t vos_epoll_enter(struct vos_epoll *e);
void vos_epoll_leave(struct vos_epoll *e, int epfd, uint32_t generation);
/* Members that came through exec are looked up now. */
void vos_epoll_resolve(struct vos_epoll *e);
/* The n-th item that watches o, made busy; NULL.  Under the lock. */
struct vos_epoll_item *vos_epoll_nth_watch(struct vos_ofd *o, uint32_t n);
/* One remote epoll_ctl. */
long vos_epoll_remote_ctl(struct vos_lane_client *lane, int32_t set, int op, int32_t rfd, uint32_t events, uint64_t data);
/* The remote descriptor that stands for the item in domain p->d: the ofd's, or the remote set of a member that is a set. */
long vos_epoll_item_rfd(struct vos_epoll_item *it, struct vos_epoll_remote *p, int32_t *ret);
/* The item's domain died under it: it says so from now on.  Under the lock. */
void vos_epoll_mark_dead(struct vos_epoll_item *it);
void vos_epoll_adopt_item(struct vos_epoll *e, const struct vos_epoll_item *as, struct vos_ofd *o);
long vos_epoll_save(struct vos_ofd *o, void *buf, size_t cap);
int vos_epoll_load(struct vos_ofd *o, const void *buf, size_t len);
struct vos_epoll *vos_epoll_new(void);
extern const struct vos_ofd_family vos_epoll_family;

#endif
