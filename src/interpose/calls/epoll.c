/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Epoll sets: what they are made of, and epoll_ctl.  Waiting: epoll_wait.c.  epoll_impl.h tells the idea and the locks. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include "epoll_impl.h"

long vos_call_epoll_create(struct vos_frame *f);
long vos_call_epoll_create1(struct vos_frame *f);
long vos_call_epoll_ctl(struct vos_frame *f);

_Atomic uint32_t vos_epoll_lock;

/* ---- sets and items ------------------------------------------------------------------------------------------------------ */

struct vos_epoll *vos_epoll_new(void)
{
	struct vos_epoll *e = vos_alloc(sizeof *e);

	if (!e)
		return NULL;
	e->kick_fd = -1;
	return e;
}

static uint32_t slot_of(const struct vos_epoll *e, int fd)
{
	return (uint32_t)fd & (e->nbuckets - 1);
}

static struct vos_epoll_item *find(struct vos_epoll *e, int fd, const struct vos_ofd *o)
{
	struct vos_epoll_item *it = e->nbuckets ? e->bucket[slot_of(e, fd)] : NULL;

	while (it && (it->fd != fd || it->ofd != o))
		it = it->next;
	return it;
}

/* Room for one more item.  Under the lock. */
static int grow(struct vos_epoll *e)
{
	uint32_t n = e->nbuckets ? e->nbuckets * 2 : 16;
	struct vos_epoll_item **bucket, **old = e->bucket;
	uint32_t nold = e->nbuckets;

	if (e->nitems < e->nbuckets)
		return 0;
	bucket = vos_alloc(n * sizeof *bucket);
	if (!bucket)
		return e->nbuckets ? 0 : -ENOMEM;
	e->bucket = bucket;
	e->nbuckets = n;
	for (uint32_t i = 0; i < nold; i++) {
		struct vos_epoll_item *it = old[i], *next;

		for (; it; it = next) {
			next = it->next;
			it->next = bucket[slot_of(e, it->fd)];
			bucket[slot_of(e, it->fd)] = it;
		}
	}
	vos_free(old);
	return 0;
}

static void link_item(struct vos_epoll *e, struct vos_epoll_item *it)
{
	uint32_t s = slot_of(e, it->fd);

	it->next = e->bucket[s];
	e->bucket[s] = it;
	e->nitems++;
	if (it->ofd->epoll)
		e->sets++;
	it->watch_next = atomic_load(&it->ofd->watch);
	atomic_store(&it->ofd->watch, it);
}

static void unlink_item(struct vos_epoll_item *it)
{
	struct vos_epoll *e = it->set;
	struct vos_epoll_item **at = &e->bucket[slot_of(e, it->fd)], *head = atomic_load(&it->ofd->watch);

	while (*at != it)
		at = &(*at)->next;
	*at = it->next;
	e->nitems--;
	if (it->dead)
		e->dead--;
	if (it->ofd->epoll)
		e->sets--;
	if (head == it) {
		atomic_store(&it->ofd->watch, it->watch_next);
	} else {
		while (head->watch_next != it)
			head = head->watch_next;
		head->watch_next = it->watch_next;
	}
}

struct vos_epoll_remote *vos_epoll_part_of(struct vos_epoll *e, struct vos_domain *d, bool make)
{
	uint32_t n = e->nparts;

	for (uint32_t i = 0; i < n; i++)
		if (e->part[i].d == d)
			return &e->part[i];
	if (!make || n == VOS_DOMAINS_MAX)
		return NULL;
	e->part[n] = (struct vos_epoll_remote){ .d = d, .rfd = -1 };
	e->nparts = n + 1;
	return &e->part[n];
}

/* ---- waiters -------------------------------------------------------------------------------------------------------------- */

uint32_t vos_epoll_enter(struct vos_epoll *e)
{
	uint32_t g;

	vos_spin_lock(&e->wait_lock);
	e->waiters++;
	g = e->generation;
	vos_spin_unlock(&e->wait_lock);
	return g;
}

void vos_epoll_leave(struct vos_epoll *e, int epfd, uint32_t generation)
{
	int kick = -1;

	vos_spin_lock(&e->wait_lock);
	if (generation == e->generation) {
		e->waiters--;
	} else if (--e->old_waiters == 0) {
		kick = e->kick_fd;
		e->kick_fd = -1;
		if (kick >= 0)
			vos_raw4(__NR_epoll_ctl, epfd, EPOLL_CTL_DEL, kick, 0);
	}
	vos_spin_unlock(&e->wait_lock);
	if (kick >= 0)
		vos_fd_disown(kick);
}

void vos_epoll_kick(struct vos_epoll *e, int epfd)
{
	struct vos_epoll_event ev = { EPOLLIN, VOS_EPOLL_KICK };
	int fd = -1;
	bool used = false;

	/* Made outside the lock; most kicks need none. */
	if (e->waiters && e->kick_fd < 0) {
		fd = (int)vos_raw2(__NR_eventfd2, 1, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd >= 0) {
			int own = vos_fd_own(fd, false);

			if (own < 0)
				vos_raw1(__NR_close, fd);
			fd = own;
		}
	}
	vos_spin_lock(&e->wait_lock);
	if (e->waiters && (e->kick_fd >= 0 || fd >= 0)) {
		e->old_waiters += e->waiters;
		e->waiters = 0;
		e->generation++;
		if (e->kick_fd < 0) {
			e->kick_fd = fd;
			used = true;
			vos_raw4(__NR_epoll_ctl, epfd, EPOLL_CTL_ADD, fd, VOS_PTR(&ev));
		}
	}
	vos_spin_unlock(&e->wait_lock);
	if (fd >= 0 && !used)
		vos_fd_disown(fd);
}

/* ---- the end of members and sets ------------------------------------------------------------------------------------------------ */

static void close_duplicate(const struct vos_domain *d, int32_t rfd, uint64_t epoch)
{
	struct vos_lane_client *lane;
	int err = 0;

	/* With its domain gone there is nothing to close. */
	if (d->epoch != epoch || atomic_load(&d->state) != VOS_DOM_UP)
		return;
	lane = vos_remote_lane((struct vos_domain *)(uintptr_t)d, &err);
	if (lane && vos_lane_epoch(lane) == epoch)
		vos_net_close(lane, rfd);
}

static void item_free(struct vos_epoll_item *it)
{
	if (it->duplicate && it->epoch)
		close_duplicate(it->ofd->domain, it->rfd, it->epoch);
	vos_free(it);
}

void vos_epoll_forget(struct vos_ofd *o)
{
	for (;;) {
		struct vos_epoll_item *it;

		vos_epoll_locked();
		it = vos_epoll_nth_watch(o, 0);
		if (it)
			unlink_item(it);
		vos_epoll_unlocked();
		if (!it)
			return;
		item_free(it);
	}
}

static void set_release(struct vos_ofd *o)
{
	struct vos_epoll *e = o->epoll;

	if (!e)
		return;
	for (uint32_t i = 0; i < e->nbuckets;) {
		struct vos_epoll_item *it;

		vos_epoll_locked();
		it = e->bucket[i];
		while (it && it->busy) {
			vos_epoll_pause();
			it = e->bucket[i];
		}
		if (it)
			unlink_item(it);
		vos_epoll_unlocked();
		if (it)
			item_free(it);
		else
			i++;
	}
	for (uint32_t i = 0; i < e->nparts; i++)
		if (e->part[i].rfd >= 0)
			close_duplicate(e->part[i].d, e->part[i].rfd, e->part[i].epoch);
	if (e->kick_fd >= 0)
		vos_fd_disown(e->kick_fd);
	o->epoll = NULL;
	vos_free(e->bucket);
	vos_free(e->saved);
	vos_free(e);
}

const struct vos_ofd_family vos_epoll_family = {
	.id = VOS_FAMILY_EPOLL,
	.fdkind = VOS_FDKIND_EPOLL,
	.release = set_release,
	.save = vos_epoll_save,
	.load = vos_epoll_load,
};

void vos_epoll_init(void)
{
	vos_ofd_family_add(&vos_epoll_family);
}

/* ---- fork: only the caller lives on in the child, so nothing is under way there ------------------------------------------------- */

void vos_epoll_fork_prepare(void)
{
	vos_epoll_locked();
}

void vos_epoll_fork_parent(void)
{
	vos_epoll_unlocked();
}

static long calm(int fd, struct vos_ofd *o, void *arg)
{
	struct vos_epoll *e = o->epoll;

	(void)fd;
	(void)arg;
	if (o->net)
		((struct vos_sock *)o->net)->lock = 0;
	if (!e)
		return 0;
	for (uint32_t i = 0; i < e->nbuckets; i++)
		for (struct vos_epoll_item *it = e->bucket[i]; it; it = it->next)
			it->busy = false;
	for (uint32_t i = 0; i < e->nparts; i++)
		e->part[i].busy = false;
	e->wait_lock = 0;
	e->waiters = e->old_waiters = 0;
	e->generation++;
	if (e->kick_fd >= 0)
		vos_fd_disown(e->kick_fd);
	e->kick_fd = -1;
	return 0;
}

void vos_epoll_fork_child(struct vos_proc *p)
{
	vos_epoll_unlocked();
	vos_fdmap_each(p, calm, NULL);
}

/* ---- epoll_create, epoll_ctl ------------------------------------------------------------------------------------------------------ */

static long create(struct vos_frame *f)
{
	long fd = vos_native(f);
	struct vos_epoll *e;
	struct vos_ofd *o;

	if (fd < 0 || !vos_self()->proc->ndomains)
		return fd;
	e = vos_epoll_new();
	o = e ? vos_ofd_new(NULL, -1, 0600, O_RDWR) : NULL;
	if (!o) {
		vos_free(e);
		vos_raw1(__NR_close, fd);
		return -ENOMEM;
	}
	e->ofd = o;
	o->epoll = e;
	o->family = &vos_epoll_family;
	vos_fd_adopt((int)fd, o);
	return fd;
}

long vos_call_epoll_create(struct vos_frame *f)
{
	return create(f);
}

long vos_call_epoll_create1(struct vos_frame *f)
{
	return create(f);
}

/* The item of (fd, o), busy by the caller; NULL. */
static struct vos_epoll_item *take_item(struct vos_epoll *e, int fd, struct vos_ofd *o)
{
	struct vos_epoll_item *it;

	vos_epoll_locked();
	while ((it = find(e, fd, o)) && it->busy)
		vos_epoll_pause();
	if (it)
		it->busy = true;
	vos_epoll_unlocked();
	return it;
}

static void put_item(struct vos_epoll_item *it)
{
	vos_epoll_locked();
	it->busy = false;
	vos_epoll_unlocked();
}

static void drop_item(struct vos_epoll_item *it)
{
	vos_epoll_locked();
	unlink_item(it);
	vos_epoll_unlocked();
	item_free(it);
}

/* A new item, busy, in the lists.  0, -EEXIST, -ENOMEM. */
static long new_item(struct vos_epoll *e, int fd, struct vos_ofd *o, const struct vos_epoll_event *ev, struct vos_epoll_item **ret)
{
	struct vos_epoll_item *it = vos_alloc(sizeof *it);
	long r = 0;

	if (!it)
		return -ENOMEM;
	*it = (struct vos_epoll_item){ .set = e, .ofd = o, .fd = fd, .rfd = -1, .events = ev->events, .data = ev->data, .busy = true };
	vos_epoll_locked();
	if (find(e, fd, o))
		r = -EEXIST;
	else
		r = grow(e);
	if (r == 0)
		link_item(e, it);
	vos_epoll_unlocked();
	if (r < 0)
		vos_free(it);
	else
		*ret = it;
	return r;
}

void vos_epoll_adopt_item(struct vos_epoll *e, const struct vos_epoll_item *as, struct vos_ofd *o)
{
	struct vos_epoll_event ev = { as->events, as->data };
	struct vos_epoll_item *it;

	if (new_item(e, as->fd, o, &ev, &it) < 0)
		return;
	vos_epoll_locked();
	it->rfd = as->rfd;
	it->epoch = as->epoch;
	it->duplicate = as->duplicate;
	if (as->dead)
		vos_epoll_mark_dead(it);
	it->busy = false;
	vos_epoll_unlocked();
}

/* Whether an answer means that the domain is gone, not that the call was wrong. */
static bool gone(const struct vos_ofd *o, long r)
{
	return r < 0 && (r == vos_domain_error(o->domain) || r == -ENETDOWN || r == -EIO || r == -EAGAIN);
}

/*
 * A set that was inherited through fork or exec is shared with other processes, whose changes only the remote set knows.  So
 * before EEXIST or ENOENT is answered it is asked.
 */
static long ask_set(struct vos_epoll *e, struct vos_ofd *o, int op, int32_t rfd, const struct vos_epoll_event *ev,
		    struct vos_epoll_remote **ret)
{
	struct vos_epoll_remote *p;
	struct vos_lane_client *lane, *l;

	vos_epoll_locked();
	p = vos_epoll_part_of(e, o->domain, false);
	vos_epoll_unlocked();
	if (!p || vos_ofd_stale(o) || p->epoch != o->epoch || vos_epoll_part_up(e, p, &lane) < 0)
		return -ENOENT;
	if (rfd < 0 && vos_ofd_lane(o, &l, &rfd) < 0)
		return -ENOENT;
	*ret = p;
	return vos_epoll_remote_ctl(lane, p->rfd, op, rfd, ev->events, ev->data);
}

static long add_again(struct vos_epoll *e, int fd, struct vos_ofd *o, const struct vos_epoll_event *ev)
{
	struct vos_epoll_item *it = take_item(e, fd, o);
	struct vos_epoll_remote *p;
	long r = -EEXIST;

	if (!it)
		return -EEXIST;
	if (it->epoch && !it->dead && ask_set(e, o, EPOLL_CTL_ADD, it->rfd, ev, &p) == 0) {
		it->events = ev->events;
		it->data = ev->data;
		r = 0;
	}
	put_item(it);
	return r;
}

static long change_unknown(struct vos_epoll *e, int op, int fd, struct vos_ofd *o, const struct vos_epoll_event *ev)
{
	struct vos_epoll_item *it;
	struct vos_epoll_remote *p;
	bool known = false;
	long r;

	/* Under another number the open file is a member of ours: this one is none. */
	vos_epoll_locked();
	for (it = atomic_load(&o->watch); it; it = it->watch_next)
		known |= it->set == e;
	vos_epoll_unlocked();
	if (known)
		return -ENOENT;
	r = ask_set(e, o, op, -1, ev, &p);
	if (r < 0)
		return r == -EBADF ? -ENOENT : r;
	if (op == EPOLL_CTL_MOD && new_item(e, fd, o, ev, &it) == 0) {
		it->epoch = p->epoch;
		it->rfd = o->rfd;
		put_item(it);
	}
	return 0;
}

static long add_remote(struct vos_epoll *e, int epfd, int fd, struct vos_ofd *o, struct vos_epoll_event *ev)
{
	bool over = vos_ofd_stale(o) && !vos_sock_restorable(o), first, lost;
	struct vos_epoll_item *it;
	struct vos_epoll_remote *p;
	struct vos_lane_client *lane = NULL;
	long r = new_item(e, fd, o, ev, &it);

	if (r == -EEXIST)
		return add_again(e, fd, o, ev);
	if (r < 0)
		return r;
	vos_epoll_locked();
	p = vos_epoll_part_of(e, o->domain, false);
	first = !p;
	if (!p)
		p = vos_epoll_part_of(e, o->domain, true);
	vos_epoll_unlocked();
	r = p ? 0 : -ENOSPC;
	if (r == 0 && !over)
		r = vos_epoll_part_up(e, p, &lane);
	if (r == 0 && !over)
		r = vos_epoll_register(e, p, lane, it);
	lost = over || gone(o, r);
	if (r < 0 && !lost) {
		drop_item(it);
		return r;
	}
	vos_epoll_locked();
	/* A dead connection may be watched: it reports its hang-up, as on Linux. */
	if (lost && !vos_sock_restorable(o))
		vos_epoll_mark_dead(it);
	else if (lost)
		p->pending = true;
	it->busy = false;
	vos_epoll_unlocked();
	if (first || lost)
		vos_epoll_kick(e, epfd);
	return 0;
}

static long change_remote(struct vos_epoll *e, int op, int fd, struct vos_ofd *o, struct vos_epoll_event *ev)
{
	struct vos_epoll_item *it;
	struct vos_epoll_remote *p;
	struct vos_lane_client *lane;
	bool live;
	long r = 0;

	it = take_item(e, fd, o);
	if (!it)
		return change_unknown(e, op, fd, o, ev);
	vos_epoll_locked();
	p = vos_epoll_part_of(e, o->domain, false);
	vos_epoll_unlocked();
	live = p && !it->dead && it->epoch == atomic_load(&o->domain->epoch) && !vos_ofd_stale(o);
	if (live) {
		r = vos_epoll_part_up(e, p, &lane);
		if (r == 0 && it->epoch == p->epoch)
			r = vos_epoll_remote_ctl(lane, p->rfd, op, it->rfd, ev->events, ev->data);
		if (r == -ENOENT) {
			/* A process that shares the set has removed it. */
			drop_item(it);
			return r;
		}
		if (r < 0 && !gone(o, r)) {
			put_item(it);
			return r;
		}
	}
	if (op == EPOLL_CTL_DEL) {
		drop_item(it);
		return 0;
	}
	vos_epoll_locked();
	it->events = ev->events;
	it->data = ev->data;
	it->told = false;
	if (!live && !vos_sock_restorable(o))
		vos_epoll_mark_dead(it);
	it->busy = false;
	vos_epoll_unlocked();
	/* What was busy while its set was made anew is registered by the next wait. */
	return 0;
}

/* A set as a member: the kernel has done its part; now each domain. */
static void ctl_set(struct vos_epoll *e, int epfd, int op, int fd, struct vos_ofd *o, struct vos_epoll_event *ev)
{
	struct vos_epoll *member = o->epoll;
	struct vos_epoll_item *it = NULL;
	bool first = false;

	if (op == EPOLL_CTL_ADD) {
		if (new_item(e, fd, o, ev, &it) < 0)
			return;
	} else {
		it = take_item(e, fd, o);
		if (!it)
			return;
		it->events = ev->events;
		it->data = ev->data;
	}
	for (uint32_t i = 0; i < member->nparts; i++) {
		struct vos_domain *d = member->part[i].d;
		struct vos_epoll_remote *p;
		struct vos_lane_client *lane;
		int32_t rfd;

		vos_epoll_locked();
		p = vos_epoll_part_of(e, d, false);
		first |= !p;
		if (!p)
			p = vos_epoll_part_of(e, d, true);
		vos_epoll_unlocked();
		if (!p || vos_epoll_part_up(e, p, &lane) < 0)
			continue;
		if (op == EPOLL_CTL_ADD)
			vos_epoll_register(e, p, lane, it);
		else if (vos_epoll_item_rfd(it, p, &rfd) == 0)
			vos_epoll_remote_ctl(lane, p->rfd, op, rfd, ev->events, ev->data);
	}
	if (op == EPOLL_CTL_DEL)
		drop_item(it);
	else
		put_item(it);
	if (first)
		vos_epoll_kick(e, epfd);
}

static long ctl_remote(struct vos_epoll *e, struct vos_frame *f, struct vos_ofd *o)
{
	int op = (int)f->rsi, fd = (int)f->rdx;
	struct vos_epoll_event ev = { 0, 0 };

	if (op != EPOLL_CTL_DEL && vos_copy_from_user(&ev, vos_uptr(f->r10), sizeof ev) < 0)
		return -EFAULT;
	if (o->flags & O_PATH)
		return -EBADF;
	if (S_ISREG(o->mode) || S_ISDIR(o->mode))
		return -EPERM;
	ev.events &= ~(uint32_t)EPOLLWAKEUP; /* suspend is this machine's affair */
	switch (op) {
	case EPOLL_CTL_ADD:
		return add_remote(e, (int)f->rdi, fd, o, &ev);
	case EPOLL_CTL_MOD:
		if (ev.events & EPOLLEXCLUSIVE)
			return -EINVAL;
		return change_remote(e, op, fd, o, &ev);
	case EPOLL_CTL_DEL:
		return change_remote(e, op, fd, o, &ev);
	default:
		return -EINVAL;
	}
}

/*
 * A remote descriptor is to be watched by what is no set of ours: none at all (EBADF, EINVAL), or one that we did not see
 * being made (EINVAL).  The kernel must not be asked about the placeholder, so it is asked about the set itself.
 */
static long no_set(struct vos_frame *f)
{
	struct vos_frame call = *f;
	long r;

	call.rdx = f->rdi;
	r = vos_native(&call);
	return r == -EBADF || r == -EFAULT ? r : -EINVAL;
}

long vos_call_epoll_ctl(struct vos_frame *f)
{
	struct vos_ofd *set = vos_fd_get(f->rdi), *o;
	struct vos_epoll_event ev = { 0, 0 };
	long r;

	if (!set || !set->epoll) {
		r = set ? -EINVAL : vos_fd_kind(vos_self()->proc, (int)f->rdx) == VOS_FDKIND_REMOTE ? no_set(f) : vos_native(f);
		vos_ofd_put(set);
		return r;
	}
	vos_epoll_resolve(set->epoll);
	o = vos_fd_get(f->rdx);
	if (o && !o->epoll) {
		r = ctl_remote(set->epoll, f, o);
	} else if (vos_fd_kind(vos_self()->proc, (int)f->rdx) == VOS_FDKIND_OWN) {
		r = -EBADF;
	} else {
		if (o && (int)f->rsi != EPOLL_CTL_DEL && vos_copy_from_user(&ev, vos_uptr(f->r10), sizeof ev) < 0)
			r = -EFAULT;
		else
			r = vos_native(f);
		if (r == 0 && (int)f->rsi == EPOLL_CTL_ADD)
			((struct vos_epoll *)set->epoll)->natives = 1;
		if (r == 0 && o)
			ctl_set(set->epoll, (int)f->rdi, (int)f->rsi, (int)f->rdx, o, &ev);
	}
	vos_ofd_put(o);
	vos_ofd_put(set);
	return r;
}
