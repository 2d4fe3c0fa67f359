/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of an epoll set that lives in a domain: how it is made, made anew after a reboot, and what is registered in it. */
#include "epoll_impl.h"

long vos_epoll_remote_ctl(struct vos_lane_client *lane, int32_t set, int op, int32_t rfd, uint32_t events, uint64_t data)
{
	uint64_t arg[6] = { (uint64_t)set, (uint64_t)op, (uint64_t)rfd };
	struct vos_epoll_event ev = { events, data };

	return vos_net_call(lane, __NR_epoll_ctl, arg, 3, &ev, sizeof ev, 0, NULL);
}

long vos_epoll_item_rfd(struct vos_epoll_item *it, struct vos_epoll_remote *p, int32_t *ret)
{
	struct vos_lane_client *lane;
	struct vos_epoll_remote *q;
	long r;

	if (!it->ofd->epoll)
		return vos_ofd_lane(it->ofd, &lane, ret);
	vos_epoll_locked();
	q = vos_epoll_part_of(it->ofd->epoll, p->d, false);
	r = q && q->rfd >= 0 && q->epoch == p->epoch ? 0 : -ENOENT;
	if (r == 0)
		*ret = q->rfd;
	vos_epoll_unlocked();
	return r;
}

long vos_epoll_register(struct vos_epoll *e, struct vos_epoll_remote *p, struct vos_lane_client *lane, struct vos_epoll_item *it)
{
	int32_t rfd;
	long r = vos_epoll_item_rfd(it, p, &rfd);

	(void)e;
	if (r < 0)
		return it->ofd->epoll ? 0 : r; /* a set without members there: registered when it gets some */
	r = vos_epoll_remote_ctl(lane, p->rfd, EPOLL_CTL_ADD, rfd, it->events, it->data);
	if (it->ofd->epoll)
		return r == -EEXIST ? 0 : r;
	if (r == -EEXIST) {
		/* The same open file under another number of the program's: Linux keeps both, so it needs two names there too. */
		uint64_t arg[6] = { (uint64_t)rfd };

		r = vos_net_call(lane, VOS_OP_DUP, arg, 0, NULL, 0, 0, NULL);
		if (r < 0)
			return r;
		rfd = (int32_t)r;
		it->duplicate = true;
		r = vos_epoll_remote_ctl(lane, p->rfd, EPOLL_CTL_ADD, rfd, it->events, it->data);
		if (r < 0) {
			vos_net_close(lane, rfd);
			it->duplicate = false;
		}
	}
	if (r == 0) {
		it->rfd = rfd;
		it->epoch = p->epoch;
	}
	return r;
}

void vos_epoll_mark_dead(struct vos_epoll_item *it)
{
	if (it->dead)
		return;
	it->dead = true;
	it->told = false;
	it->epoch = 0;
	it->set->dead++;
}

void vos_epoll_part_down(struct vos_epoll *e, struct vos_epoll_remote *p)
{
	vos_epoll_locked();
	for (uint32_t i = 0; i < e->nbuckets; i++)
		for (struct vos_epoll_item *it = e->bucket[i]; it; it = it->next)
			if (it->ofd->domain == p->d && !it->busy && !vos_sock_restorable(it->ofd))
				vos_epoll_mark_dead(it);
	vos_epoll_unlocked();
}

/* The next member that is to be registered in p's new set.  Marked busy.  Under the lock. */
static struct vos_epoll_item *next_lost(struct vos_epoll *e, struct vos_epoll_remote *p, uint32_t *cursor)
{
	for (; *cursor < e->nbuckets; ++*cursor)
		for (struct vos_epoll_item *it = e->bucket[*cursor]; it; it = it->next) {
			if (it->dead || it->ofd->epoll || it->ofd->domain != p->d || it->epoch == p->epoch)
				continue;
			if (it->busy) {
				p->pending = true; /* whoever works on it may have missed the new set */
				continue;
			}
			it->busy = true;
			return it;
		}
	return NULL;
}

struct vos_epoll_item *vos_epoll_nth_watch(struct vos_ofd *o, uint32_t n)
{
	for (;;) {
		struct vos_epoll_item *it = atomic_load(&o->watch);

		for (uint32_t i = 0; it && i < n; i++)
			it = it->watch_next;
		if (!it || !it->busy) {
			if (it)
				it->busy = true;
			return it;
		}
		vos_epoll_pause();
	}
}

static long same(int fd, struct vos_ofd *o, void *arg)
{
	return o == arg ? fd + 1 : 0;
}

/* Some descriptor of an epoll set. */
static int number_of(struct vos_ofd *o)
{
	return (int)vos_fdmap_each(vos_self()->proc, same, o) - 1;
}

/* e has a new remote set in p's domain: the sets that e is a member of must watch it. */
static void tell_parents(struct vos_epoll *e, struct vos_epoll_remote *p)
{
	struct vos_epoll_item *it;

	for (uint32_t n = 0; e->ofd; n++) {
		struct vos_epoll_remote *up;
		struct vos_lane_client *lane;

		vos_epoll_locked();
		it = vos_epoll_nth_watch(e->ofd, n);
		if (!it) {
			vos_epoll_unlocked();
			return;
		}
		up = vos_epoll_part_of(it->set, p->d, true);
		vos_epoll_unlocked();
		if (up && vos_epoll_part_up(it->set, up, &lane) == 0) {
			vos_epoll_register(it->set, up, lane, it);
			vos_epoll_kick(it->set, number_of(it->set->ofd));
		}
		vos_epoll_locked();
		it->busy = false;
		vos_epoll_unlocked();
	}
}

/* Members that are sets, once p exists.  Under no lock. */
static void register_sets(struct vos_epoll *e, struct vos_epoll_remote *p, struct vos_lane_client *lane)
{
	for (uint32_t i = 0; i < e->nbuckets && e->sets; i++) {
		struct vos_epoll_item *it;

		vos_epoll_locked();
		it = i < e->nbuckets ? e->bucket[i] : NULL;
		while (it && (!it->ofd->epoll || it->busy))
			it = it->next;
		if (it)
			it->busy = true;
		vos_epoll_unlocked();
		if (!it)
			continue;
		vos_epoll_register(e, p, lane, it);
		vos_epoll_locked();
		it->busy = false;
		vos_epoll_unlocked();
	}
}

/* A listener that could not be brought back so often will not come: the program is told. */
#define TRIES 50u

static void rebuild(struct vos_epoll *e, struct vos_epoll_remote *p, struct vos_lane_client *lane)
{
	uint32_t cursor = 0;

	p->pending = false;
	for (;;) {
		struct vos_epoll_item *it;
		bool comes;
		long r = -ECONNRESET;

		vos_epoll_locked();
		it = next_lost(e, p, &cursor);
		vos_epoll_unlocked();
		if (!it)
			break;
		it->duplicate = false;
		comes = vos_sock_restorable(it->ofd);
		if (comes || it->ofd->epoch == p->epoch)
			r = vos_epoll_register(e, p, lane, it);
		vos_epoll_locked();
		it->busy = false;
		if (r >= 0) {
			it->tries = 0;
		} else if (comes && it->tries++ < TRIES) {
			/* The domain died again, or its old life still holds the address: the next round tries anew. */
			p->pending = true;
			cursor++;
		} else {
			vos_epoll_mark_dead(it);
		}
		vos_epoll_unlocked();
	}
}

long vos_epoll_part_up(struct vos_epoll *e, struct vos_epoll_remote *p, struct vos_lane_client **ret_lane)
{
	uint64_t arg[6] = { 0 };
	struct vos_lane_client *lane;
	bool fresh = false;
	long rfd;
	int err = 0;

	for (;;) {
		lane = vos_remote_lane_try(p->d, &err);
		if (!lane)
			return err;
		vos_epoll_locked();
		if (!p->busy)
			break;
		vos_epoll_pause();
		vos_epoll_unlocked();
	}
	if (p->rfd >= 0 && p->epoch == vos_lane_epoch(lane) && !p->pending) {
		vos_epoll_unlocked();
		*ret_lane = lane;
		return 0;
	}
	p->busy = true;
	vos_epoll_unlocked();
	rfd = p->rfd;
	if (rfd < 0 || p->epoch != vos_lane_epoch(lane)) {
		rfd = vos_net_call(lane, __NR_epoll_create1, arg, 0, NULL, 0, 0, NULL);
		fresh = true;
	}
	if (rfd >= 0) {
		p->rfd = (int32_t)rfd;
		p->epoch = vos_lane_epoch(lane);
		rebuild(e, p, lane);
	}
	vos_epoll_locked();
	p->busy = false;
	vos_epoll_unlocked();
	if (rfd < 0)
		return rfd;
	if (e->sets && fresh)
		register_sets(e, p, lane);
	if (fresh && e->ofd && atomic_load(&e->ofd->watch))
		tell_parents(e, p);
	*ret_lane = lane;
	return 0;
}
