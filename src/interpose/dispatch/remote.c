/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client side of lanes: requests out, completions in, and the wait between.
 *
 *	begin --push--> [ring?]     wait: reap, look and pause, look and yield, publish asleep, reap once more, sleep
 *
 * A completion names its request by a word that this side chose: slot and serial number.  It is compared with the word
 * that the slot holds; what a server makes up reaches no pointer.
 */
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include "../uthread/uthread.h"
#include "fdmap.h"
#include "remote_impl.h"

#define SLICE_NS       50000000ull   /* a futex sleep does not see the death of the peer: look so often */
#define SLICE_MAX_NS   400000000ull  /* a thread that has slept long looks less often; the first to look wakes all */
#define CANCEL_NS      5000000000ull /* a server answers a cancel at once, or it hangs */
#define END_NS         120000000000ull /* and what was cancelled ends, but for a disk that does not answer */

static void lock(struct vos_lane_client *l)
{
	if (l->shared)
		vos_lock(&l->lock);
}

static void unlock(struct vos_lane_client *l)
{
	if (l->shared)
		vos_unlock(&l->lock);
}

/* Gives the connection back when that was the last hold on the lane.  Takes the lock off. */
static void unhold(struct vos_lane_client *l)
{
	bool idle = --l->held == 0 && vos_lane_idle(l);

	unlock(l);
	if (idle)
		vos_conn_put(l->conn);
}

struct vos_domain *vos_lane_domain(const struct vos_lane_client *l)
{
	return l->conn->d;
}

uint64_t vos_lane_epoch(const struct vos_lane_client *l)
{
	return l->conn->epoch;
}

void *vos_lane_alloc(struct vos_lane_client *l, size_t len, uint64_t *ret_off)
{
	int64_t off;

	lock(l);
	off = vos_heap_alloc(&l->heap, len);
	if (off >= 0)
		l->held++;
	unlock(l);
	if (off < 0)
		return NULL;
	*ret_off = (uint64_t)off;
	return l->v.data + off;
}

void vos_lane_free(struct vos_lane_client *l, void *p)
{
	if (!p)
		return;
	lock(l);
	if (vos_heap_free(&l->heap, (uint64_t)((unsigned char *)p - l->v.data)))
		vos_panic("payload memory freed twice");
	unhold(l);
}

size_t vos_lane_max(const struct vos_lane_client *l)
{
	/* A quarter: what others hold of a lane is rarely more than one such piece. */
	return (size_t)vos_heap_size(&l->heap) / 4;
}

/* ---- completions ------------------------------------------------------------------------------------------------------ */

static void complete(struct vos_lane_client *l, uint32_t i)
{
	struct vos_pending *p = l->slot[i].p;

	l->slot[i].p = NULL;
	l->free_slot[l->nfree++] = (uint16_t)i;
	l->held--;
	if (p->waiter) {
		struct vos_uthread *u = p->waiter;

		p->waiter = NULL;
		/* Release: as below, when there are several carriers. */
		atomic_store_explicit(&p->done, 1, memory_order_release);
		vos_ut_ready(u);
		return;
	}
	/* Release: its waiter may be another thread of a shared lane, and the memory is its own again after this store. */
	atomic_store_explicit(&p->done, 1, memory_order_release);
}

/* All that is there.  With the lane's lock. */
static void reap(struct vos_lane_client *l)
{
	struct vos_cqe cqe;
	int r;

	if (vos_conn_dead(l->conn)) {
		for (uint32_t i = 0; i < l->v.slots; i++) {
			if (l->slot[i].p) {
				l->slot[i].p->cqe = (struct vos_cqe){
					.user = l->slot[i].user, .flags = VOS_CQE_DEAD,
					.res = l->conn->d->kind == VOS_KIND_NET ? -ECONNRESET : -EIO };
				complete(l, i);
			}
		}
		return;
	}
	while ((r = vos_cq_pop(&l->v, &cqe)) == 1) {
		uint32_t i = (uint32_t)cqe.user & 0xffff;

		if (i >= l->v.slots || !l->slot[i].p || l->slot[i].user != cqe.user) {
			/* One that the image before exec was waiting for? */
			if (l->orphans) {
				l->orphans--;
				continue;
			}
			r = -EPROTO;
			break;
		}
		if (cqe.res < -4095) {
			r = -EPROTO;
			break;
		}
		cqe.flags &= VOS_CQE_ESCAPE;
		l->slot[i].p->cqe = cqe;
		complete(l, i);
	}
	if (r < 0) {
		vos_conn_died(l->conn, r);
		reap(l);
	}
}

void vos_remote_reap(struct vos_lane_client *l)
{
	lock(l);
	reap(l);
	unlock(l);
}

/* ---- submission ------------------------------------------------------------------------------------------------------- */

/* With the lock.  Keeps `room` slots free. */
static int submit(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p, uint32_t room)
{
	struct vos_carrier *c = vos_self();
	struct vos_req r = *req;
	uint32_t i;
	int err;

	if (vos_conn_dead(l->conn))
		return -EPIPE;
	if (l->nfree <= room)
		return -EAGAIN;
	i = l->free_slot[--l->nfree];
	r.user = ++l->serial << 16 | i;
	p->lane = l;
	p->slot = i;
	p->user = r.user;
	p->op = r.op;
	p->waiter = NULL;
	p->since = vos_ticks();
	atomic_store_explicit(&p->done, 0, memory_order_relaxed);
	l->slot[i].p = p;
	l->slot[i].user = r.user;
	/* The ring cannot be full: it has as many entries as there are slots. */
	err = vos_sq_push(&l->v, &r);
	if (err) {
		l->slot[i].p = NULL;
		l->free_slot[l->nfree++] = (uint16_t)i;
		vos_conn_died(l->conn, -EPROTO);
		return -EPROTO;
	}
	l->held++;
	c->remote.submits++;
	if (vos_server_take_sleep(vos_region_server(l->conn->t.base))) {
		c->remote.doorbells++;
		l->conn->t.ops->ring_server(&l->conn->t);
	}
	return 0;
}

static void doze(uint64_t ns)
{
	struct timespec ts = { 0, (long)ns };

	if (vos_ut_self()) {
		vos_ut_sleep(ns);
		return;
	}
	vos_raw2(__NR_nanosleep, VOS_PTR(&ts), 0);
}

int vos_remote_begin(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p)
{
	for (uint64_t ns = 1000;; ns = ns < 1000000 ? ns * 2 : ns) {
		int r;

		lock(l);
		r = submit(l, req, p, VOS_CANCEL_ROOM);
		if (r == -EAGAIN) {
			reap(l);
			r = submit(l, req, p, VOS_CANCEL_ROOM);
		}
		unlock(l);
		if (r != -EAGAIN)
			return r;
		/* More threads wait on a shared lane than it has slots: until one of them has its answer. */
		vos_conn_look(l->conn);
		doze(ns);
	}
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------- */

struct waiting {
	struct vos_pending **p;
	uint32_t n, nlanes;
	struct vos_lane_client *lane[VOS_DOMAINS_MAX];
	struct vos_wait *w;
	uint32_t quiet;                /* sleeps in a row that ended with nothing */
};

static int done_of(const struct waiting *x)
{
	for (uint32_t i = 0; i < x->n; i++)
		if (atomic_load_explicit(&x->p[i]->done, memory_order_acquire))
			return (int)i;
	return -1;
}

/* A cheap look, without the lock: whether reaping could change anything. */
static bool stirs(const struct waiting *x)
{
	for (uint32_t i = 0; i < x->nlanes; i++) {
		struct vos_lane_client *l = x->lane[i];

		if (vos_conn_dead(l->conn))
			return true;
		if (!l->shared) {
			if (vos_cq_peek(&l->v))
				return true;
			continue;
		}
		/* The private index is another thread's to move, who may have reaped for us as well. */
		if (atomic_load_explicit(&l->v.lane->cq_tail, memory_order_acquire) !=
			    atomic_load_explicit(&l->v.lane->cq_head, memory_order_relaxed) || done_of(x) >= 0)
			return true;
	}
	return false;
}

static int reap_all(const struct waiting *x)
{
	for (uint32_t i = 0; i < x->nlanes; i++)
		vos_remote_reap(x->lane[i]);
	return done_of(x);
}

/* Looks for a while, a uthread until another can run.  The index of a request that is done, or -1. */
static int look(const struct waiting *x, bool *ret_slept)
{
	const bool uthread = vos_ut_self() != NULL;
	struct vos_carrier *c = vos_self();
	struct vos_pending *first = x->p[0];
	struct vos_spin_plan plan = vos_spin_plan(&first->lane->spin, first->op);
	uint64_t start = vos_ticks(), spent = 0;
	int r;

	*ret_slept = false;
	while (spent < plan.pause) {
		for (unsigned i = 0; i < 8; i++) {
			if (stirs(x) && (r = reap_all(x)) >= 0)
				goto found;
			__builtin_ia32_pause();
		}
		if (uthread && vos_ut_runnable())
			return -1;
		spent = vos_ticks() - start;
	}
	while (spent < plan.yield && !vos_signalled()) {
		uint64_t before = spent;

		c->remote.yields++;
		vos_raw0(__NR_sched_yield);
		if (stirs(x) && (r = reap_all(x)) >= 0)
			goto found;
		if (uthread && vos_ut_runnable())
			return -1;
		spent = vos_ticks() - start;
		vos_spin_yielded(&first->lane->spin, spent - before);
	}
	*ret_slept = true;
	return -1;
found:
	c->remote.spins++;
	vos_spin_learn(&first->lane->spin, first->op, vos_ticks() - first->since, false);
	return r;
}

/* The set through which this lane's FD sleeps hear of wakes: every lane has its own, so that none takes another's. */
static int poll_set(struct vos_lane_client *l)
{
	struct vos_transport *t = &l->conn->t;
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET, .data.u32 = 0 };
	struct epoll_event control = { .events = EPOLLRDHUP, .data.u32 = 1 };
	long fd;

	/* A vfork child shares the lane with its parent but not the table of descriptors. */
	if (vos_self()->proc->remote)
		return -1;
	lock(l);
	fd = l->poll_fd;
	if (fd < 0) {
		fd = vos_raw1(__NR_epoll_create1, EPOLL_CLOEXEC);
		if (fd >= 0 && (vos_raw4(__NR_epoll_ctl, fd, EPOLL_CTL_ADD, t->wake_fd, VOS_PTR(&wake)) ||
				vos_raw4(__NR_epoll_ctl, fd, EPOLL_CTL_ADD, t->control_fd, VOS_PTR(&control)))) {
			vos_raw1(__NR_close, fd);
			fd = -ENOMEM;
		}
		if (fd >= 0) {
			l->poll_fd = (int)fd;
			if (vos_fd_own((int)fd, &l->poll_fd) >= 0)
				fd = l->poll_fd;
		}
	}
	unlock(l);
	return (int)fd;
}

static uint64_t time_left(const struct vos_wait *w)
{
	uint64_t now;

	if (w->deadline_ns == VOS_NEVER)
		return VOS_NEVER;
	now = vos_remote_now();
	return w->deadline_ns > now ? w->deadline_ns - now : 0;
}

static uint64_t slice(const struct waiting *x, uint64_t left)
{
	uint64_t ns = SLICE_NS;

	/* It has waited for a second: let it look less often. */
	if (x->quiet > 20)
		ns = SLICE_MAX_NS;
	return left < ns ? left : ns;
}

static void unpublish(struct vos_lane_client *l)
{
	/*
	 * Only the lane's owner may take the word back: on a shared lane it may be another thread's by now.  What stands there too
	 * long costs the server one wake.
	 */
	if (!l->shared)
		vos_lane_take_sleep(l->v.lane);
}

/* One slice of sleep on the word of the only lane.  As done_of(). */
static int sleep_futex(struct waiting *x, uint64_t left)
{
	struct vos_lane_client *l = x->lane[0];
	struct vos_transport *t = &l->conn->t;
	uint32_t word = vos_lane_publish_sleep(l->v.lane, VOS_ASLEEP_FUTEX);
	int r, how = 0;

	/* The last look, and the last look for a signal: one that comes later takes the word away, and the sleep ends at once. */
	r = reap_all(x);
	if (r < 0 && !(x->w->interruptible && vos_signalled()) && !(vos_ut_self() && vos_ut_runnable())) {
		vos_self()->remote.sleeps++;
		how = t->ops->sleep_lane(t, l->v.lane, word, slice(x, left));
	}
	unpublish(l);
	if (how == -ETIMEDOUT) {
		x->quiet++;
		vos_conn_look(l->conn);
	}
	return r >= 0 ? r : reap_all(x);
}

/* One sleep in poll, with native descriptors.  As done_of(), or VOS_WAIT_NATIVE. */
static int sleep_poll(struct waiting *x, uint64_t left)
{
	struct pollfd spare[VOS_WAIT_SPARE], *fds = x->w->fds ? x->w->fds : spare;
	uint32_t n = x->w->fds ? x->w->nfds : 0, nsets = 0;
	struct timespec ts;
	long ready = 0;
	int r;

	for (uint32_t i = 0; i < x->nlanes; i++) {
		int fd = poll_set(x->lane[i]);

		/* Without a set (no descriptor is left): short slices instead. */
		fds[n + nsets++] = (struct pollfd){ .fd = fd < 0 ? -1 : fd, .events = POLLIN };
		if (fd < 0 && left > 1000000)
			left = 1000000;
		vos_lane_publish_sleep(x->lane[i]->v.lane, VOS_ASLEEP_FD);
	}
	r = reap_all(x);
	/* A signal that comes after this look rings `wake`.  Without a lane there is nothing to ring: short slices. */
	if (nsets == 0 && left > SLICE_NS)
		left = SLICE_NS;
	if (r >= 0 || (x->w->interruptible && vos_signalled()) || (vos_ut_self() && vos_ut_runnable()))
		left = 0;
	else
		vos_self()->remote.sleeps++;
	if (left > 3600 * 1000000000ull)
		left = 3600 * 1000000000ull;
	ts.tv_sec = (time_t)(left / 1000000000u);
	ts.tv_nsec = (long)(left % 1000000000u);
	if (left || n)
		ready = vos_raw6(__NR_ppoll, VOS_PTR(fds), n + nsets, VOS_PTR(&ts), 0, 8, 0);
	for (uint32_t i = 0; i < x->nlanes; i++) {
		struct epoll_event e[4];
		long k;

		unpublish(x->lane[i]);
		if (ready <= 0 || !fds[n + i].revents)
			continue;
		ready--;
		k = vos_raw4(__NR_epoll_wait, fds[n + i].fd, VOS_PTR(e), 4, 0);
		for (long j = 0; j < k; j++)
			if (e[j].data.u32 == 1)
				vos_conn_died(x->lane[i]->conn, -EPIPE);
	}
	if (r < 0)
		r = reap_all(x);
	/* What is left of the count are native ones. */
	return r >= 0 ? r : ready > 0 ? VOS_WAIT_NATIVE : -1;
}

/* ---- uthreads: the wait is a park, and the carrier looks for all of them ------------------------------------------------ */

bool vos_lane_busy(const struct vos_lane_client *l)
{
	return l->held != 0;
}

void vos_remote_poll_lanes(void)
{
	struct vos_lane_client *lane[VOS_DOMAINS_MAX];
	uint32_t n = vos_ut_lanes(lane, VOS_DOMAINS_MAX);

	for (uint32_t i = 0; i < n; i++)
		if (vos_cq_peek(&lane[i]->v) || vos_conn_dead(lane[i]->conn))
			vos_remote_reap(lane[i]);
}

/* Nothing can run and requests are under way: looks (unless the caller just has), then sleeps, at most ns. */
void vos_remote_idle(uint64_t ns, bool spin)
{
	static struct vos_spinner spinner;
	struct vos_carrier *c = vos_self();
	struct vos_wait w = { .deadline_ns = VOS_NEVER, .interruptible = true };
	struct waiting x = { .w = &w };
	struct vos_spin_plan plan = vos_spin_plan(&spinner, 0);
	uint64_t start = vos_ticks(), spent = 0;

	x.nlanes = vos_ut_lanes(x.lane, VOS_DOMAINS_MAX);
	if (x.nlanes == 0)
		return; /* another carrier has just taken the last completion */
	while (spin && spent < plan.yield) {
		if (stirs(&x)) {
			reap_all(&x);
			if (vos_ut_runnable()) {
				c->remote.spins++;
				vos_spin_learn(&spinner, 0, vos_ticks() - start, false);
				return;
			}
		}
		if (vos_signalled())
			return;
		if (spent < plan.pause) {
			for (unsigned i = 0; i < 8; i++)
				__builtin_ia32_pause();
			spent = vos_ticks() - start;
		} else {
			uint64_t before = spent;

			c->remote.yields++;
			vos_raw0(__NR_sched_yield);
			spent = vos_ticks() - start;
			vos_spin_yielded(&spinner, spent - before);
		}
	}
	if (spin)
		vos_spin_learn(&spinner, 0, 0, true);
	if (x.nlanes == 1)
		sleep_futex(&x, ns);
	else
		sleep_poll(&x, ns);
}

static int wait_parked(struct waiting *x)
{
	struct vos_uthread *u = vos_ut_self();
	struct vos_wait *w = x->w;
	struct vos_ut_job job = { .nr = __NR_ppoll };
	bool watching = false, slept = false;
	long why = 0;
	int r;

	if (w->nfds) {
		struct timespec none = { 0, 0 };

		if (vos_raw6(__NR_ppoll, VOS_PTR(w->fds), w->nfds, VOS_PTR(&none), 0, 8, 0) > 0)
			return VOS_WAIT_NATIVE;
		if (time_left(w) == 0)
			return -ETIMEDOUT;
		job.a[0] = (uint64_t)VOS_PTR(w->fds);
		job.a[1] = w->nfds;
		job.a[4] = 8;
		watching = vos_ut_job_start(&job) == 0;
	}
	/* Nobody else can run: as a thread of its own would wait.  Woken by itself, it costs no switch. */
	if (x->n && !w->nfds && !vos_ut_runnable()) {
		r = look(x, &slept);
		if (r >= 0)
			return r;
	}
	for (uint32_t i = 0; i < x->n; i++)
		x->p[i]->waiter = u;
	vos_ut_remote_waits(1);
	if (slept)
		vos_ut_looked();
	for (;;) {
		r = reap_all(x);
		if (r >= 0)
			break;
		if (watching && job.done) {
			r = VOS_WAIT_NATIVE;
			break;
		}
		if (why < 0) {
			r = (int)why;
			break;
		}
		why = vos_ut_park(w->deadline_ns, w->interruptible);
		if (why == -VOS_ERESTARTSYS && !w->interruptible)
			why = 0;
	}
	vos_ut_remote_waits(-1);
	for (uint32_t i = 0; i < x->n; i++)
		x->p[i]->waiter = NULL;
	while (watching && !job.done) {
		vos_ut_job_cancel(&job);
		vos_ut_park(vos_remote_now() + 1000000, false);
	}
	if (watching && job.result > 0 && r == -ETIMEDOUT)
		r = VOS_WAIT_NATIVE;
	if (r == VOS_WAIT_NATIVE && job.result < 0)
		r = -VOS_ERESTARTSYS;
	if (slept && r >= 0 && r < (int)x->n)
		vos_spin_learn(&x->p[r]->lane->spin, x->p[r]->op, 0, true);
	return r;
}

int vos_remote_wait(struct vos_pending **p, uint32_t n, struct vos_wait *w)
{
	struct waiting x = { .p = p, .n = n, .w = w };
	bool slept = false;
	int r;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = 0;

		while (k < x.nlanes && x.lane[k] != p[i]->lane)
			k++;
		if (k == x.nlanes) {
			if (k == VOS_DOMAINS_MAX)
				return -EINVAL;
			x.lane[x.nlanes++] = p[i]->lane;
		}
	}
	r = reap_all(&x);
	if (r < 0 && vos_ut_self())
		return wait_parked(&x);
	if (r < 0 && n && time_left(w))
		r = look(&x, &slept);
	while (r < 0) {
		uint64_t left;

		if (w->interruptible && vos_signalled())
			return -VOS_ERESTARTSYS;
		left = time_left(w);
		if (left == 0 && !w->nfds)
			return -ETIMEDOUT;
		r = x.nlanes == 1 && !w->nfds ? sleep_futex(&x, left) : sleep_poll(&x, left);
		if (left == 0 && r < 0)
			return -ETIMEDOUT;
	}
	if (slept && r < (int)n)
		vos_spin_learn(&p[r]->lane->spin, p[r]->op, 0, true);
	return r;
}

void vos_remote_kick(struct vos_carrier *c)
{
	for (unsigned i = 0; i < VOS_DOMAINS_MAX; i++) {
		struct vos_lane_client *l = c->lane[i];
		uint32_t mode;

		if (!l)
			continue;
		/* The thread may be about to sleep on the value that this takes away.  Others of a shared lane look again as well. */
		mode = vos_lane_take_sleep(l->v.lane);
		if (mode)
			l->conn->t.ops->wake_lane(&l->conn->t, l->v.lane, mode);
	}
}

/* ---- the usual shapes --------------------------------------------------------------------------------------------------- */

void vos_remote_cancel(struct vos_pending *p)
{
	struct vos_lane_client *l = p->lane;
	struct vos_req req = { .op = VOS_OP_CANCEL, .arg = { p->user } };
	struct vos_pending c, *both[2] = { p, &c };
	struct vos_wait w = { .deadline_ns = vos_remote_now() + CANCEL_NS };
	int r;

	do {
		lock(l);
		reap(l);
		r = atomic_load(&p->done) ? 0 : submit(l, &req, &c, 0);
		if (r || atomic_load(&p->done))
			atomic_store(&c.done, 1);
		else
			vos_self()->remote.cancels++;
		unlock(l);
		if (r == -EAGAIN)
			doze(100000);
	} while (r == -EAGAIN && vos_remote_now() < w.deadline_ns);
	while (!atomic_load(&p->done) || !atomic_load(&c.done)) {
		bool answered = atomic_load(&c.done) != 0;

		r = answered ? vos_remote_wait(both, 1, &w) : vos_remote_wait(both + 1, 1, &w);
		if (r == -ETIMEDOUT) {
			vos_say("domain %s does not answer a cancel: its connection is given up", l->conn->d->name);
			vos_conn_died(l->conn, -EPROTO);
		} else if (!answered) {
			w.deadline_ns = vos_remote_now() + END_NS;
		}
	}
}

long vos_remote_call(struct vos_lane_client *l, struct vos_req *req, struct vos_cqe *ret_cqe)
{
	struct vos_pending p, *one = &p;
	struct vos_wait w = { .deadline_ns = VOS_NEVER, .interruptible = true };
	struct vos_cqe cqe;

	if (vos_remote_begin(l, req, &p)) {
		cqe = (struct vos_cqe){ .res = l->conn->d->kind == VOS_KIND_NET ? -ECONNRESET : -EIO, .flags = VOS_CQE_DEAD };
	} else {
		req->user = p.user;
		if (vos_remote_wait(&one, 1, &w) < 0) {
			vos_remote_cancel(&p);
			if (p.cqe.res == -ECANCELED)
				p.cqe.res = -VOS_ERESTARTSYS;
		}
		cqe = p.cqe;
	}
	if (ret_cqe)
		*ret_cqe = cqe;
	return (long)cqe.res;
}

/* The exit of a domain's client is waited for so long; a domain that hangs does not hang the exit. */
#define LEAVE_NS 1000000000u

void vos_remote_leave(struct vos_proc *proc)
{
	for (uint32_t i = 0; i < proc->ndomains; i++) {
		struct vos_domain *d = proc->domain[i];
		struct vos_conn *c = vos_conn_of(proc, d);
		struct vos_req req = { .op = VOS_OP_LEAVE };
		struct vos_pending p, *one = &p;
		struct vos_wait w = { .interruptible = false };
		struct vos_lane_client *l;
		int err;

		if (!c || vos_conn_dead(c))
			continue;
		l = vos_remote_lane(d, &err);
		if (!l || vos_remote_begin(l, &req, &p))
			continue;
		w.deadline_ns = vos_remote_now() + LEAVE_NS;
		/* p lies on a stack that stays until the process is gone. */
		vos_remote_wait(&one, 1, &w);
	}
}
