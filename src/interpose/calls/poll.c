/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * poll, ppoll, select and pselect6 over any mix of descriptors of this kernel and of domains.  Only native ones: the
 * kernel's call, untouched.  Else one request for each domain, with the native descriptors watched beside them.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <time.h>
#include "../entry/signal.h"
#include "net.h"

long vos_call_poll(struct vos_frame *f);
long vos_call_ppoll(struct vos_frame *f);
long vos_call_select(struct vos_frame *f);
long vos_call_pselect6(struct vos_frame *f);

#define SMALL 64u                    /* as many descriptors need no allocation */

uint64_t vos_net_now(void)
{
	struct timespec ts;

	vos_raw2(__NR_clock_gettime, CLOCK_MONOTONIC, VOS_PTR(&ts));
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the wait ------------------------------------------------------------------------------------------------------------ */

/* One descriptor to watch in one place; an epoll set with remote members is watched in several. */
struct spot {
	uint32_t index;              /* in the caller's array */
	uint32_t part;               /* which domain of the wait; NATIVE */
	int32_t  fd;
	short    events;
};
#define NATIVE (~0u)

struct part {
	struct vos_domain *d;
	struct vos_lane_client *lane;
	struct pollfd *wire;
	uint64_t off;
	uint32_t n;
	bool     begun;
	struct vos_pending p;
};

struct wait {
	struct pollfd *fds;          /* the caller's */
	uint32_t n;
	struct vos_ofd **ofd;        /* of fds[i]; NULL: native */
	struct spot *spot;
	uint32_t nspots;
	struct pollfd *native;
	uint32_t nnative;
	struct part part[VOS_DOMAINS_MAX];
	uint32_t nparts;
	bool     down;               /* a domain of somebody who waits for it is being rebooted */
};

static uint32_t part_of(struct wait *w, struct vos_domain *d)
{
	uint32_t i = 0;

	while (i < w->nparts && w->part[i].d != d)
		i++;
	if (i == w->nparts) {
		memset(&w->part[i], 0, sizeof w->part[i]);
		w->part[i].d = d;
		w->nparts++;
	}
	return i;
}

static void add(struct wait *w, uint32_t index, uint32_t part, int32_t fd, short events)
{
	w->spot[w->nspots++] = (struct spot){ index, part, fd, events };
	if (part == NATIVE)
		w->nnative++;
	else
		w->part[part].n++;
}

static void answer_dead(struct pollfd *p)
{
	p->revents = vos_poll_dead(p->events);
}

static long place_remote(struct wait *w, uint32_t i)
{
	struct vos_ofd *o = w->ofd[i];
	struct vos_lane_client *lane;
	int32_t rfd;
	uint32_t k;
	int r = 0;

	if (vos_ofd_stale(o) && !vos_sock_restorable(o)) {
		answer_dead(&w->fds[i]);
		return 0;
	}
	lane = vos_remote_lane_try(o->domain, &r);
	if (lane)
		r = vos_ofd_lane(o, &lane, &rfd);
	if (r == -VOS_ERESTARTSYS || r == -ENOMEM)
		return r;
	if (r < 0 && vos_sock_restorable(o) && atomic_load(&o->domain->state) != VOS_DOM_UP) {
		w->down = true;
		return 0;
	}
	if (r < 0) {
		answer_dead(&w->fds[i]);
		return 0;
	}
	k = part_of(w, o->domain);
	w->part[k].lane = lane;
	add(w, i, k, rfd, w->fds[i].events);
	return 0;
}

static long place_epoll(struct wait *w, uint32_t i)
{
	struct vos_epoll_part ep[VOS_DOMAINS_MAX];
	bool ready = false;
	uint32_t n = vos_epoll_parts(w->ofd[i], ep, &ready, &w->down);

	if (ready)
		w->fds[i].revents = w->fds[i].events & (POLLIN | POLLRDNORM);
	add(w, i, NATIVE, w->fds[i].fd, w->fds[i].events);
	for (uint32_t j = 0; j < n; j++) {
		uint32_t k = part_of(w, ep[j].d);

		w->part[k].lane = ep[j].lane;
		add(w, i, k, ep[j].rfd, w->fds[i].events & (POLLIN | POLLRDNORM));
	}
	return 0;
}

/* Where each descriptor is to be watched now: anew in each round, as a reboot changes it. */
static long place_all(struct wait *w)
{
	w->nspots = w->nnative = w->nparts = 0;
	w->down = false;
	for (uint32_t i = 0; i < w->n; i++) {
		struct pollfd *p = &w->fds[i];
		long r = 0;

		p->revents = 0;
		if (p->fd < 0)
			continue;
		if (!w->ofd[i]) {
			if (vos_fd_kind(vos_self()->proc, p->fd) == VOS_FDKIND_OWN)
				p->revents = POLLNVAL;
			else
				add(w, i, NATIVE, p->fd, p->events);
		} else if (w->ofd[i]->epoll) {
			r = place_epoll(w, i);
		} else {
			r = place_remote(w, i);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* The native part as the kernel sees it now. */
static void look_native(struct wait *w, bool ask)
{
	struct timespec zero = { 0, 0 };
	uint32_t k = 0;

	if (w->nnative == 0)
		return;
	if (ask && vos_raw6(__NR_ppoll, VOS_PTR(w->native), w->nnative, VOS_PTR(&zero), 0, 0, 0) <= 0)
		return;
	for (uint32_t i = 0; i < w->nspots; i++) {
		if (w->spot[i].part != NATIVE)
			continue;
		w->fds[w->spot[i].index].revents |= w->native[k++].revents;
	}
}

static void native_list(struct wait *w)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < w->nspots; i++)
		if (w->spot[i].part == NATIVE)
			w->native[k++] = (struct pollfd){ .fd = w->spot[i].fd, .events = w->spot[i].events };
}

static long begin_part(struct wait *w, uint32_t k, bool once)
{
	struct part *p = &w->part[k];
	struct vos_req req = { .op = __NR_poll };
	uint32_t j = 0;

	p->begun = false;
	if (!p->lane || p->n == 0)
		return 0;
	p->wire = vos_lane_alloc(p->lane, p->n * sizeof *p->wire, &p->off);
	if (!p->wire)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->nspots; i++)
		if (w->spot[i].part == k)
			p->wire[j++] = (struct pollfd){ .fd = w->spot[i].fd, .events = w->spot[i].events };
	req.arg[0] = p->off;
	req.arg[1] = p->n;
	req.arg[2] = (uint64_t)(once ? 0 : -1);
	memset(&p->p, 0, sizeof p->p);
	/* A domain that died just now: the next round sees it. */
	p->begun = vos_remote_begin(p->lane, &req, &p->p) == 0;
	return 0;
}

/* Ends what is under way and takes over what it saw.  True when a domain died or failed meanwhile. */
static bool finish_parts(struct wait *w)
{
	bool again = false;

	for (uint32_t k = 0; k < w->nparts; k++) {
		struct part *p = &w->part[k];
		uint32_t j = 0;

		if (p->begun) {
			if (!p->p.done)
				vos_remote_cancel(&p->p);
			if (p->p.cqe.res > 0) {
				for (uint32_t i = 0; i < w->nspots; i++)
					if (w->spot[i].part == k)
						w->fds[w->spot[i].index].revents |= ((volatile struct pollfd *)p->wire)[j++].revents;
			} else if (p->p.cqe.flags & VOS_CQE_DEAD) {
				again = true;
			}
		} else if (p->wire) {
			again = true;
		}
		if (p->wire)
			vos_lane_free(p->lane, p->wire);
		p->wire = NULL;
		p->begun = false;
	}
	return again;
}

static long count(const struct wait *w)
{
	long n = 0;

	for (uint32_t i = 0; i < w->n; i++)
		n += w->fds[i].revents != 0;
	return n;
}

/* One round.  > 0: ready; 0: time is up; -EAGAIN: again; else an error. */
static long wait_round(struct wait *w, uint64_t deadline)
{
	struct vos_pending *pending[VOS_DOMAINS_MAX];
	struct vos_wait rw = { .deadline_ns = deadline, .interruptible = true, .fds = w->native };
	bool once = deadline == 0, again;
	uint32_t under_way = 0;
	long r = place_all(w), err = 0;

	if (r < 0)
		return r;
	native_list(w);
	/* The kernel first: a look costs a fraction of what a request and its cancelling would. */
	look_native(w, true);
	if (count(w) > 0)
		once = true;
	for (uint32_t k = 0; k < w->nparts && err == 0; k++) {
		err = begin_part(w, k, once);
		if (w->part[k].begun)
			pending[under_way++] = &w->part[k].p;
	}
	if (err == 0 && once) {
		struct vos_wait all = { .deadline_ns = VOS_NEVER };

		/* Answers to requests that do not wait: all of them. */
		while (under_way) {
			int i = vos_remote_wait(pending, under_way, &all);

			if (i >= 0 && (uint32_t)i < under_way)
				pending[i] = pending[--under_way];
		}
		r = 0;
	} else if (err == 0) {
		rw.nfds = w->nnative;
		if (w->down && vos_net_now() + VOS_NET_RETRY_NS < deadline)
			rw.deadline_ns = vos_net_now() + VOS_NET_RETRY_NS;
		r = vos_remote_wait(pending, under_way, &rw);
	}
	again = finish_parts(w);
	if (err < 0)
		return err;
	if (!once)
		look_native(w, r != VOS_WAIT_NATIVE);
	if (count(w) > 0)
		return count(w);
	if (r == -VOS_ERESTARTSYS)
		return r;
	if ((r == -ETIMEDOUT && rw.deadline_ns == deadline) || (once && !again))
		return 0;
	return -EAGAIN;
}

long vos_poll_wait(struct pollfd *fds, uint32_t n, uint64_t deadline)
{
	struct vos_ofd *small_ofd[SMALL];
	struct spot small_spot[SMALL * 2];
	struct pollfd small_native[SMALL + VOS_WAIT_SPARE];
	struct wait w = { .fds = fds, .n = n, .ofd = small_ofd, .spot = small_spot, .native = small_native };
	uint32_t spots = n, sets = 0;
	long r;

	if (n > SMALL) {
		w.ofd = vos_alloc(n * sizeof *w.ofd);
		if (!w.ofd)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		w.ofd[i] = fds[i].fd >= 0 ? vos_fd_get((uint32_t)fds[i].fd) : NULL;
		sets += w.ofd[i] && w.ofd[i]->epoll;
	}
	spots += sets * VOS_DOMAINS_MAX;
	if (spots > SMALL * 2)
		w.spot = vos_alloc(spots * sizeof *w.spot);
	if (n > SMALL)
		w.native = vos_alloc((n + VOS_WAIT_SPARE) * sizeof *w.native);
	if (!w.spot || !w.native) {
		r = -ENOMEM;
	} else {
		do
			r = wait_round(&w, deadline);
		while (r == -EAGAIN);
	}
	for (uint32_t i = 0; i < n; i++)
		vos_ofd_put(w.ofd[i]);
	if (w.spot != small_spot)
		vos_free(w.spot);
	if (w.native != small_native)
		vos_free(w.native);
	if (w.ofd != small_ofd)
		vos_free(w.ofd);
	return r;
}

/* ---- time ------------------------------------------------------------------------------------------------------------------ */

/* A program's timespec as a deadline.  0: looks once.  -EINVAL. */
static long deadline_of(int64_t sec, int64_t nsec, uint64_t *ret)
{
	if (sec < 0 || nsec < 0 || nsec >= 1000000000)
		return -EINVAL;
	if (sec == 0 && nsec == 0)
		*ret = 0;
	else
		*ret = vos_net_deadline(vos_net_now(), sec > 1000000000 ? VOS_NEVER / 2 : (uint64_t)sec * 1000000000 + (uint64_t)nsec);
	return 0;
}

static uint64_t left_of(uint64_t deadline)
{
	uint64_t now = vos_net_now();

	return now < deadline ? deadline - now : 0;
}

/* What is left of a time-out goes back, as Linux does; a bad address does not spoil the call. */
static void put_left(uint64_t user, uint64_t deadline, bool timeval)
{
	uint64_t left;
	int64_t out[2];

	if (!user || deadline == 0 || deadline == VOS_NEVER)
		return;
	left = left_of(deadline);
	out[0] = (int64_t)(left / 1000000000);
	out[1] = (int64_t)(left % 1000000000) / (timeval ? 1000 : 1);
	(void)vos_copy_to_user(vos_uptr(user), out, sizeof out);
}

/* ---- poll, ppoll ------------------------------------------------------------------------------------------------------------- */

static bool any_routed(const struct pollfd *fds, uint32_t n)
{
	const struct vos_proc *p = vos_self()->proc;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t k = fds[i].fd < 0 ? VOS_FDKIND_NATIVE : vos_fd_kind(p, fds[i].fd);

		if (k != VOS_FDKIND_NATIVE && k != VOS_FDKIND_DIR)
			return true;
	}
	return false;
}

static bool over_limit(uint32_t n)
{
	struct rlimit64 rl = { 0, 0 };

	vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, VOS_PTR(&rl));
	return n > rl.rlim_cur;
}

#define ALL_NATIVE (-4096L - 1)      /* no result of a call: let the kernel do it */

/* The array at `user`: its copy in *ret (small, or allocated).  ALL_NATIVE, 0, or an error. */
static long take_fds(uint64_t user, uint32_t n, struct pollfd *small, struct pollfd **ret)
{
	struct pollfd *fds = small;
	long r;

	/* More than the limit allows: the kernel says so itself. */
	if (!vos_self()->proc->ndomains || n == 0 || n > VOS_FDS_MAX || (n > SMALL && over_limit(n)))
		return ALL_NATIVE;
	if (n > SMALL) {
		fds = vos_alloc(n * sizeof *fds);
		if (!fds)
			return -ENOMEM;
	}
	r = vos_copy_from_user(fds, vos_uptr(user), n * sizeof *fds);
	if (r == 0 && !any_routed(fds, n))
		r = ALL_NATIVE;
	if (r == 0)
		*ret = fds;
	else if (fds != small)
		vos_free(fds);
	return r;
}

static long put_fds(uint64_t user, uint32_t n, const struct pollfd *fds)
{
	/* revents alone: another thread may be rewriting the rest. */
	for (uint32_t i = 0; i < n; i++)
		if (vos_copy_to_user(vos_uptr(user + i * sizeof *fds + offsetof(struct pollfd, revents)), &fds[i].revents,
				     sizeof fds[i].revents) < 0)
			return -EFAULT;
	return 0;
}

static long poll_common(uint64_t user, uint32_t n, struct pollfd *small, struct pollfd *fds, uint64_t deadline)
{
	long r = vos_poll_wait(fds, n, deadline);

	if (r >= 0 && put_fds(user, n, fds) < 0)
		r = -EFAULT;
	if (fds != small)
		vos_free(fds);
	/* Linux never restarts these after a handler, whatever SA_RESTART says. */
	return r == -VOS_ERESTARTSYS ? -EINTR : r;
}

long vos_call_poll(struct vos_frame *f)
{
	struct pollfd small[SMALL], *fds;
	uint32_t n = (uint32_t)f->rsi;
	int ms = (int)f->rdx;
	uint64_t deadline = VOS_NEVER;
	long r = take_fds(f->rdi, n, small, &fds);

	if (r == ALL_NATIVE)
		return vos_native(f);
	if (r < 0)
		return r;
	if (ms >= 0)
		deadline = ms ? vos_net_now() + (uint64_t)ms * 1000000u : 0;
	return poll_common(f->rdi, n, small, fds, deadline);
}

long vos_call_ppoll(struct vos_frame *f)
{
	struct pollfd small[SMALL], *fds;
	uint32_t n = (uint32_t)f->rsi;
	uint64_t deadline = VOS_NEVER;
	struct vos_sig_masked mask;
	int64_t ts[2];
	long r = take_fds(f->rdi, n, small, &fds);

	if (r == ALL_NATIVE)
		return vos_native(f);
	if (r < 0)
		return r;
	if (f->rdx) {
		r = vos_copy_from_user(ts, vos_uptr(f->rdx), sizeof ts);
		if (r == 0)
			r = deadline_of(ts[0], ts[1], &deadline);
	}
	if (r == 0)
		r = vos_sig_mask_begin(&mask, f->r10, f->r8);
	if (r < 0) {
		if (fds != small)
			vos_free(fds);
		return r;
	}
	r = poll_common(f->rdi, n, small, fds, deadline);
	put_left(f->rdx, deadline, false);
	vos_sig_mask_end(&mask);
	return r;
}

/* ---- select, pselect6 --------------------------------------------------------------------------------------------------------- */

#define IN_EVENTS   (POLLIN | POLLRDNORM | POLLRDBAND)
#define OUT_EVENTS  (POLLOUT | POLLWRNORM | POLLWRBAND)
#define IN_READY    (IN_EVENTS | POLLHUP | POLLERR)
#define OUT_READY   (OUT_EVENTS | POLLERR)

struct sets {
	uint32_t n, words;
	uint64_t user[3];
	uint64_t *bits[3];           /* in, out, ex: asked for */
	uint64_t *mem;
	uint64_t small[3 * (FD_SETSIZE / 64)];
};

static bool set_has(const uint64_t *set, uint32_t fd)
{
	return set[fd / 64] >> (fd % 64) & 1;
}

/* Copies the sets.  ALL_NATIVE, 0, or an error; *ret_fds is how many descriptors are in them. */
static long take_sets(struct vos_frame *f, struct sets *s, uint32_t *ret_fds)
{
	const struct vos_proc *p = vos_self()->proc;
	bool routed = false;
	uint32_t fds = 0;

	if ((int)f->rdi <= 0 || !p->ndomains)
		return ALL_NATIVE;
	s->n = (uint32_t)f->rdi < VOS_FDS_MAX ? (uint32_t)f->rdi : VOS_FDS_MAX;
	s->words = (s->n + 63) / 64;
	s->user[0] = f->rsi;
	s->user[1] = f->rdx;
	s->user[2] = f->r10;
	s->mem = s->small;
	if (s->words > FD_SETSIZE / 64) {
		s->mem = vos_alloc(3 * s->words * sizeof *s->mem);
		if (!s->mem)
			return -ENOMEM;
	}
	for (unsigned k = 0; k < 3; k++) {
		s->bits[k] = s->mem + k * s->words;
		memset(s->bits[k], 0, s->words * sizeof *s->mem);
		if (s->user[k] && vos_copy_from_user(s->bits[k], vos_uptr(s->user[k]), s->words * sizeof *s->mem) < 0) {
			if (s->mem != s->small)
				vos_free(s->mem);
			return -EFAULT;
		}
	}
	for (uint32_t w = 0; w < s->words; w++) {
		uint64_t all = s->bits[0][w] | s->bits[1][w] | s->bits[2][w];

		while (all) {
			uint32_t fd = w * 64 + (uint32_t)__builtin_ctzll(all);
			uint8_t kind;

			all &= all - 1;
			if (fd >= s->n)
				break;
			kind = vos_fd_kind(p, fd);
			routed |= kind != VOS_FDKIND_NATIVE && kind != VOS_FDKIND_DIR;
			fds++;
		}
	}
	*ret_fds = fds;
	if (!routed && s->mem != s->small)
		vos_free(s->mem);
	return routed ? 0 : ALL_NATIVE;
}

static void list_sets(const struct sets *s, struct pollfd *fds)
{
	uint32_t k = 0;

	for (uint32_t w = 0; w < s->words; w++) {
		uint64_t all = s->bits[0][w] | s->bits[1][w] | s->bits[2][w];

		while (all) {
			uint32_t fd = w * 64 + (uint32_t)__builtin_ctzll(all);

			all &= all - 1;
			if (fd >= s->n)
				return;
			fds[k++] = (struct pollfd){
				.fd = (int)fd,
				.events = (short)((set_has(s->bits[0], fd) ? IN_EVENTS : 0) | (set_has(s->bits[1], fd) ? OUT_EVENTS : 0) |
						  (set_has(s->bits[2], fd) ? POLLPRI : 0)),
			};
		}
	}
}

/* Turns what poll saw into sets, in place; the number of bits, or -EBADF. */
static long make_sets(struct sets *s, const struct pollfd *fds, uint32_t n)
{
	long bits = 0;

	for (uint32_t i = 0; i < n; i++)
		if (fds[i].fd >= 0 && (fds[i].revents & POLLNVAL))
			return -EBADF;
	for (unsigned k = 0; k < 3; k++) {
		static const short ready[3] = { IN_READY, OUT_READY, POLLPRI };
		static const short asked[3] = { POLLIN, POLLOUT, POLLPRI };

		memset(s->bits[k], 0, s->words * sizeof *s->mem);
		for (uint32_t i = 0; i < n; i++) {
			if (fds[i].fd < 0 || !(fds[i].events & asked[k]) || !(fds[i].revents & ready[k]))
				continue;
			s->bits[k][fds[i].fd / 64] |= 1ULL << (fds[i].fd % 64);
			bits++;
		}
	}
	return bits;
}

static bool counts(const struct pollfd *p)
{
	return (p->revents & POLLNVAL) || ((p->events & POLLIN) && (p->revents & IN_READY)) ||
	       ((p->events & POLLOUT) && (p->revents & OUT_READY)) || (p->events & p->revents & POLLPRI);
}

static long select_common(struct sets *s, uint32_t n, uint64_t deadline)
{
	struct pollfd small[SMALL], *fds = small;
	long r;

	if (n > SMALL) {
		fds = vos_alloc(n * sizeof *fds);
		if (!fds) {
			r = -ENOMEM;
			goto out;
		}
	}
	list_sets(s, fds);
	for (;;) {
		bool real = false;

		r = vos_poll_wait(fds, n, deadline);
		if (r <= 0)
			break;
		/* A hang-up ends a poll but is no answer to who asked for writing alone: watch the others on. */
		for (uint32_t i = 0; i < n; i++)
			real |= fds[i].fd >= 0 && counts(&fds[i]);
		if (real)
			break;
		for (uint32_t i = 0; i < n; i++)
			if (fds[i].revents)
				fds[i].fd = -1;
	}
	if (r >= 0)
		r = make_sets(s, fds, n);
	for (unsigned k = 0; k < 3 && r >= 0; k++)
		if (s->user[k] && vos_copy_to_user(vos_uptr(s->user[k]), s->bits[k], s->words * sizeof *s->mem) < 0)
			r = -EFAULT;
out:
	if (fds != small)
		vos_free(fds);
	if (s->mem != s->small)
		vos_free(s->mem);
	return r == -VOS_ERESTARTSYS ? -EINTR : r;
}

long vos_call_select(struct vos_frame *f)
{
	struct sets s;
	uint64_t deadline = VOS_NEVER;
	uint32_t n = 0;
	int64_t tv[2];
	long r = take_sets(f, &s, &n);

	if (r == ALL_NATIVE)
		return vos_native(f);
	if (r == 0 && f->r8) {
		r = vos_copy_from_user(tv, vos_uptr(f->r8), sizeof tv);
		/* More than a second of microseconds is allowed here. */
		if (r == 0)
			r = tv[1] < 0 ? -EINVAL : deadline_of(tv[0] + tv[1] / 1000000, tv[1] % 1000000 * 1000, &deadline);
		if (r < 0 && s.mem != s.small)
			vos_free(s.mem);
	}
	if (r < 0)
		return r;
	r = select_common(&s, n, deadline);
	put_left(f->r8, deadline, true);
	return r;
}

long vos_call_pselect6(struct vos_frame *f)
{
	struct sets s;
	struct vos_sig_masked mask;
	uint64_t deadline = VOS_NEVER, sig[2] = { 0, 0 };
	uint32_t n = 0;
	int64_t ts[2];
	long r = take_sets(f, &s, &n);

	if (r == ALL_NATIVE)
		return vos_native(f);
	if (r < 0)
		return r;
	if (f->r9)
		r = vos_copy_from_user(sig, vos_uptr(f->r9), sizeof sig);
	if (r == 0 && f->r8) {
		r = vos_copy_from_user(ts, vos_uptr(f->r8), sizeof ts);
		if (r == 0)
			r = deadline_of(ts[0], ts[1], &deadline);
	}
	if (r == 0)
		r = vos_sig_mask_begin(&mask, sig[0], sig[1]);
	if (r < 0) {
		if (s.mem != s.small)
			vos_free(s.mem);
		return r;
	}
	r = select_common(&s, n, deadline);
	put_left(f->r8, deadline, false);
	vos_sig_mask_end(&mask);
	return r;
}
