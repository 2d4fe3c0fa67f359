/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting on an epoll set.  Only native members: the kernel's call.  Else native events are fetched without waiting, at
 * least every LOOK_TICKS, and the remote sets are asked; with nothing ready anywhere the thread waits for all at once.
 * Nothing is ever fetched that cannot be delivered in the same call: a request asks for no more events than there is room,
 * so what a cancelled one had taken already is delivered too, and no edge is lost.
 */
#include <limits.h>
#include "../entry/signal.h"
#include "epoll_impl.h"

long vos_call_epoll_wait(struct vos_frame *f);
long vos_call_epoll_pwait(struct vos_frame *f);
long vos_call_epoll_pwait2(struct vos_frame *f);

#define LOOK_TICKS 100000u           /* about 40 µs: how stale the view of the native members may be */
#define BATCH      256u              /* events of one remote request */
#define EVENT      sizeof(struct vos_epoll_event)

struct asked {
	struct vos_epoll_remote *part;
	struct vos_lane_client *lane;
	unsigned char *mem;
	uint32_t cap;                /* 0: asked only whether there is anything */
	bool     begun;
	struct vos_pending p;
};

struct round {
	struct vos_epoll *e;
	int      epfd;
	uint64_t user;               /* the program's array */
	uint32_t max, n;             /* its size; filled */
	struct asked ask[VOS_DOMAINS_MAX];
	uint32_t nasked;
	bool     died;
};

/* ---- native members ------------------------------------------------------------------------------------------------------- */

/* Takes the kick's events out of n at `user`; how many are left. */
static long without_kick(struct vos_epoll *e, uint64_t user, long n)
{
	long kept = 0;

	if (e->kick_fd < 0 && e->generation == 0)
		return n;
	for (long i = 0; i < n; i++) {
		struct vos_epoll_event ev;

		if (vos_copy_from_user(&ev, vos_uptr(user + (uint64_t)i * EVENT), EVENT) < 0)
			return n;
		if (ev.data == VOS_EPOLL_KICK)
			continue;
		if (kept != i && vos_copy_to_user(vos_uptr(user + (uint64_t)kept * EVENT), &ev, EVENT) < 0)
			return n;
		kept++;
	}
	return kept;
}

static long look_native(struct round *r)
{
	struct vos_epoll *e = r->e;
	uint64_t at = r->user + r->n * EVENT;
	long n;

	if (r->n == r->max)
		return 0;
	n = vos_raw6(__NR_epoll_pwait, r->epfd, (long)at, (long)(r->max - r->n), 0, 0, 8);
	e->native_look = vos_ticks();
	if (n <= 0)
		return n;
	n = without_kick(e, at, n);
	r->n += (uint32_t)n;
	e->remote_first = r->n == r->max;
	return n;
}

/* ---- members whose domain died ---------------------------------------------------------------------------------------------- */

static bool put_event(struct round *r, uint32_t events, uint64_t data)
{
	struct vos_epoll_event ev = { events, data };

	if (r->n == r->max || vos_copy_to_user(vos_uptr(r->user + r->n * EVENT), &ev, EVENT) < 0)
		return false;
	r->n++;
	return true;
}

static void tell_dead(struct round *r)
{
	struct vos_epoll *e = r->e;

	vos_epoll_locked();
	for (uint32_t i = 0; i < e->nbuckets && r->n < r->max; i++)
		for (struct vos_epoll_item *it = e->bucket[(i + e->turn) & (e->nbuckets - 1)]; it; it = it->next) {
			const struct vos_epoll *member = it->ofd->epoll;

			if (member && member->dead && (it->events & EPOLLIN))
				put_event(r, EPOLLIN, it->data);
			if (!it->dead || it->told)
				continue;
			if (put_event(r, EPOLLERR | EPOLLHUP | (it->events & (EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP)),
				      it->data))
				it->told = (it->events & (EPOLLET | EPOLLONESHOT)) != 0;
		}
	vos_epoll_unlocked();
}

/* ---- remote members --------------------------------------------------------------------------------------------------------- */

static long begin(struct round *r, struct asked *a, uint32_t cap, bool once)
{
	struct vos_req req = { .op = cap ? __NR_epoll_wait : __NR_poll };
	uint64_t off;
	struct pollfd pfd = { .fd = a->part->rfd, .events = POLLIN };

	a->cap = cap;
	a->begun = false;
	a->mem = vos_lane_alloc(a->lane, cap ? cap * EVENT : sizeof pfd, &off);
	if (!a->mem)
		return -ENOMEM;
	if (cap) {
		req.arg[0] = (uint64_t)a->part->rfd;
		req.arg[1] = off;
		req.arg[2] = cap;
		req.arg[3] = (uint64_t)(once ? 0 : -1);
	} else {
		memcpy(a->mem, &pfd, sizeof pfd);
		req.arg[0] = off;
		req.arg[1] = 1;
		req.arg[2] = (uint64_t)(once ? 0 : -1);
	}
	memset(&a->p, 0, sizeof a->p);
	a->begun = vos_remote_begin(a->lane, &req, &a->p) == 0;
	if (!a->begun)
		r->died = true;
	return 0;
}

/* Ends all requests and delivers what they fetched.  0 or -EFAULT. */
static long finish(struct round *r)
{
	long err = 0;

	for (uint32_t i = 0; i < r->nasked; i++) {
		struct asked *a = &r->ask[i];
		int64_t n;

		if (a->begun) {
			if (!a->p.done)
				vos_remote_cancel(&a->p);
			n = a->p.cqe.res;
			if (a->p.cqe.flags & VOS_CQE_DEAD) {
				r->died = true;
			} else if (n < 0 && n != -ECANCELED && n != -EINTR) {
				err = n;
			} else if (a->cap && n > 0 && n <= a->cap) {
				if (vos_copy_to_user(vos_uptr(r->user + r->n * EVENT), a->mem, (size_t)n * EVENT) < 0)
					err = -EFAULT;
				else
					r->n += (uint32_t)n;
			}
		}
		if (a->mem)
			vos_lane_free(a->lane, a->mem);
		a->mem = NULL;
		a->begun = false;
	}
	return err;
}

/* The live remote sets.  0 or an error that ends the call. */
static long gather(struct round *r)
{
	struct vos_epoll *e = r->e;
	uint32_t n = e->nparts;

	r->nasked = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct vos_epoll_remote *p = &e->part[(i + e->turn) % n];
		struct asked *a = &r->ask[r->nasked];
		long err = 0;

		if (atomic_load(&p->d->state) == VOS_DOM_DOWN)
			vos_epoll_part_down(e, p);
		err = vos_epoll_part_up(e, p, &a->lane);
		if (err == -VOS_ERESTARTSYS || err == -ENOMEM)
			return err;
		if (err < 0) {
			r->died = true;
			continue;
		}
		r->died |= p->pending;
		a->part = p;
		r->nasked++;
	}
	e->turn++;
	return 0;
}

/* How much the i-th of n requests may fetch so that all fits. */
static uint32_t share(const struct round *r, uint32_t i)
{
	uint32_t room = r->max - r->n, n = r->nasked, each = room / n;

	if (each == 0)
		return i < room;
	if (i == 0)
		each += room % n;
	return each < BATCH ? each : BATCH;
}

static long ask_once(struct round *r)
{
	struct vos_pending *pending[VOS_DOMAINS_MAX];
	struct vos_wait all = { .deadline_ns = VOS_NEVER };
	uint32_t n = 0, room = r->max - r->n;
	long err = 0;

	if (room == 0)
		return 0;
	for (uint32_t i = 0; i < r->nasked && err == 0; i++) {
		uint32_t cap = share(r, i);

		r->ask[i].mem = NULL;
		r->ask[i].begun = false;
		if (cap == 0)
			continue;
		err = begin(r, &r->ask[i], cap, true);
		if (r->ask[i].begun)
			pending[n++] = &r->ask[i].p;
	}
	while (n) {
		int k = vos_remote_wait(pending, n, &all);

		if (k >= 0 && (uint32_t)k < n)
			pending[k] = pending[--n];
	}
	if (finish(r) < 0 && err == 0 && r->n == 0)
		err = -EFAULT;
	return err;
}

/* One turn.  > 0: so many events; 0: time is up; -EAGAIN: again; else an error. */
static long turn(struct round *r, uint64_t deadline)
{
	struct vos_pending *pending[VOS_DOMAINS_MAX];
	struct pollfd native[1 + VOS_WAIT_SPARE];
	struct vos_wait w = { .deadline_ns = deadline, .interruptible = true, .fds = native, .nfds = 1 };
	struct vos_epoll *e = r->e;
	bool once = deadline == 0, looked = false;
	uint32_t n = 0;
	long err, got;

	r->n = 0;
	r->died = false;
	err = gather(r);
	if (err < 0)
		return err;
	if (e->dead || e->sets)
		tell_dead(r);
	once |= r->n != 0;
	if (e->natives && !e->remote_first && (once || r->nasked == 0 || vos_ticks() - e->native_look > LOOK_TICKS)) {
		err = look_native(r);
		looked = true;
		if (err < 0 && err != -EINTR && r->n == 0)
			return err;
		once |= r->n != 0;
	}
	if (once) {
		err = r->nasked ? ask_once(r) : 0;
		if (err == 0 && e->natives && !looked) {
			e->remote_first = false;
			look_native(r);
		}
		if (r->n || err < 0)
			return r->n ? (long)r->n : err;
		return r->died && deadline ? -EAGAIN : 0;
	}
	e->remote_first = false;
	for (uint32_t i = 0; i < r->nasked; i++) {
		r->ask[i].mem = NULL;
		r->ask[i].begun = false;
	}
	for (uint32_t i = 0; i < r->nasked && err >= 0; i++) {
		err = begin(r, &r->ask[i], share(r, i), false);
		if (r->ask[i].begun)
			pending[n++] = &r->ask[i].p;
	}
	native[0] = (struct pollfd){ .fd = r->epfd, .events = POLLIN };
	if (r->died) {
		/* A domain is being rebooted: look again soon. */
		uint64_t soon = vos_net_now() + VOS_NET_RETRY_NS;

		if (soon < deadline)
			w.deadline_ns = soon;
	}
	got = err < 0 ? 0 : vos_remote_wait(pending, n, &w);
	err = finish(r) < 0 && r->n == 0 ? -EFAULT : err < 0 ? err : 0;
	if (got == VOS_WAIT_NATIVE && r->n < r->max)
		look_native(r);
	if (r->n)
		return (long)r->n;
	if (err < 0)
		return err;
	if (got == -VOS_ERESTARTSYS)
		return got;
	return got == -ETIMEDOUT && w.deadline_ns == deadline ? 0 : -EAGAIN;
}

static long wait_mixed(struct vos_epoll *e, int epfd, uint64_t user, uint32_t max, uint64_t deadline)
{
	struct round r = { .e = e, .epfd = epfd, .user = user, .max = max };
	long n;

	do {
		uint32_t g = vos_epoll_enter(e);

		n = turn(&r, deadline);
		vos_epoll_leave(e, epfd, g);
	} while (n == -EAGAIN);
	/* Never restarted, whatever SA_RESTART says. */
	return n == -VOS_ERESTARTSYS ? -EINTR : n;
}

uint32_t vos_epoll_parts(struct vos_ofd *o, struct vos_epoll_part part[VOS_DOMAINS_MAX], bool *ret_ready, bool *ret_down)
{
	struct vos_epoll *e = o->epoll;
	uint32_t n = 0;

	vos_epoll_resolve(e);
	for (uint32_t i = 0; i < e->nparts; i++) {
		struct vos_epoll_remote *p = &e->part[i];
		struct vos_lane_client *lane;

		if (atomic_load(&p->d->state) == VOS_DOM_DOWN)
			vos_epoll_part_down(e, p);
		if (vos_epoll_part_up(e, p, &lane) == 0)
			part[n++] = (struct vos_epoll_part){ p->d, lane, p->rfd };
		else
			*ret_down = true;
	}
	*ret_ready = e->dead != 0;
	return n;
}

/* ---- the calls ---------------------------------------------------------------------------------------------------------------- */

/*
 * timeout_ns: VOS_NEVER, 0, or how long.  `mask`: address of a signal mask, or 0.
 */
static long wait_common(struct vos_frame *f, uint64_t timeout_ns, uint64_t mask, uint64_t mask_size)
{
	struct vos_ofd *o = vos_fd_get(f->rdi);
	struct vos_sig_masked m;
	struct vos_epoll *e = o ? o->epoll : NULL;
	uint64_t deadline;
	long r;

	if (!e) {
		r = o ? -EINVAL : vos_native(f);
		vos_ofd_put(o);
		return r;
	}
	vos_epoll_resolve(e);
	deadline = timeout_ns == 0 || timeout_ns == VOS_NEVER ? timeout_ns : 1;
	if (e->nparts == 0) {
		uint32_t g;

		/* The way back needs the time only if a first remote member arrives meanwhile. */
		if (deadline == 1)
			deadline = vos_net_deadline(vos_net_now(), timeout_ns);
		g = vos_epoll_enter(e);
		r = e->nparts == 0 ? vos_native(f) : -EAGAIN;
		vos_epoll_leave(e, (int)f->rdi, g);
		if (r > 0 && (r = without_kick(e, f->rsi, r)) == 0)
			r = -EAGAIN;
		if (r != -EAGAIN) {
			vos_ofd_put(o);
			return r;
		}
	}
	if ((int)f->rdx <= 0 || (uint32_t)f->rdx > INT_MAX / EVENT) {
		vos_ofd_put(o);
		return -EINVAL;
	}
	if (deadline == 1)
		deadline = vos_net_deadline(vos_net_now(), timeout_ns);
	r = vos_sig_mask_begin(&m, mask, mask_size);
	if (r == 0) {
		r = wait_mixed(e, (int)f->rdi, f->rsi, (uint32_t)f->rdx, deadline);
		vos_sig_mask_end(&m);
	}
	vos_ofd_put(o);
	return r;
}

static uint64_t of_ms(int ms)
{
	return ms < 0 ? VOS_NEVER : (uint64_t)ms * 1000000u;
}

long vos_call_epoll_wait(struct vos_frame *f)
{
	return wait_common(f, of_ms((int)f->r10), 0, 0);
}

long vos_call_epoll_pwait(struct vos_frame *f)
{
	return wait_common(f, of_ms((int)f->r10), f->r8, f->r9);
}

long vos_call_epoll_pwait2(struct vos_frame *f)
{
	uint64_t ns = VOS_NEVER;
	int64_t ts[2];

	if (f->r10) {
		if (vos_copy_from_user(ts, vos_uptr(f->r10), sizeof ts) < 0)
			return -EFAULT;
		if (ts[0] < 0 || ts[1] < 0 || ts[1] >= 1000000000)
			return -EINVAL;
		ns = ts[0] > 1000000000 ? VOS_NEVER / 2 : (uint64_t)ts[0] * 1000000000 + (uint64_t)ts[1];
	}
	return wait_common(f, ns, f->r8, f->r9);
}
