/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections: joined on first use, given up when the domain dies, joined again, and what each thread has of them.
 *
 * d->lock is held while a thread joins, which may take seconds; so it is taken in slices that a signal ends.
 */
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include "../uthread/uthread.h"
#include "fdmap.h"
#include "remote_impl.h"

/* Landed by their rooms; absent in unit tests. */
__attribute__((weak)) void vos_domain_restored(struct vos_domain *d);
__attribute__((weak)) long vos_cwd_sync_umask(struct vos_domain *d);
__attribute__((weak)) uint64_t vos_fd_limit_lift(void);
__attribute__((weak)) void vos_fd_limit_restore(uint64_t soft);

#define SLICE_NS 20000000
#define TRY_MS   1

static _Atomic uint64_t last_made;

/* ---- locks that a signal may end ------------------------------------------------------------------------------------ */

static void nap_on(_Atomic uint32_t *word, uint32_t value)
{
	struct timespec ts = { 0, SLICE_NS };

	vos_raw4(__NR_futex, VOS_PTR(word), FUTEX_WAIT_PRIVATE, value, VOS_PTR(&ts));
}

int vos_domain_lock(struct vos_domain *d, bool interruptible)
{
	uint32_t zero = 0;

	if (atomic_compare_exchange_strong(&d->lock, &zero, 1))
		return 0;
	/* The protocol of vos_lock(), so that vos_unlock() wakes. */
	while (atomic_exchange(&d->lock, 2) != 0) {
		nap_on(&d->lock, 2);
		if (interruptible && vos_signalled())
			return -VOS_ERESTARTSYS;
	}
	return 0;
}

static int try_lock(struct vos_domain *d)
{
	uint32_t zero = 0;

	return atomic_compare_exchange_strong(&d->lock, &zero, 1) ? 0 : -EAGAIN;
}

/* ---- death ------------------------------------------------------------------------------------------------------------ */

void vos_conn_died(struct vos_conn *c, int why)
{
	uint32_t alive = 0;

	if (!atomic_compare_exchange_strong(&c->dead, &alive, (uint32_t)-why))
		return;
	if (why == -EPROTO)
		vos_say("domain %s broke the protocol: its connection is given up", c->d->name);
	else
		vos_note("domain %s, epoch %lu: gone", c->d->name, c->epoch);
	if (c->d->conn == c)
		atomic_store(&c->d->state, VOS_DOM_DOWN);
	/* Release: pairs with the acquire in connect_domain(), whose UP must come after this DOWN. */
	atomic_store_explicit(&c->told, 1, memory_order_release);
	/* A proxy that is alive all the same learns that it has lost its client. */
	vos_raw2(__NR_shutdown, c->t.control_fd, SHUT_RDWR);
	for (uint32_t i = 0; i < c->nlanes; i++) {
		struct vos_lane *lane = vos_region_lane(c->t.base, &c->t.geo, i);
		uint32_t mode = vos_lane_take_sleep(lane);

		if (mode)
			c->t.ops->wake_lane(&c->t, lane, mode);
	}
}

void vos_conn_look(struct vos_conn *c)
{
	if (vos_conn_dead(c))
		return;
	if (atomic_load_explicit(&vos_region_server(c->t.base)->state, memory_order_acquire) == VOS_SERVER_DEAD ||
	    c->t.ops->peer_dead(&c->t))
		vos_conn_died(c, -EPIPE);
}

/* ---- connections ------------------------------------------------------------------------------------------------------- */

struct vos_conn *vos_conn_new(struct vos_domain *d, const struct vos_msg *m, struct vos_msg_fds *fds, bool attach,
			      int *ret_err)
{
	const struct vos_transport_ops *ops = vos_transport_by_name(m->domain);
	struct vos_conn *c;
	size_t size;
	int r;

	if (!ops) {
		vos_say("domain %s is reached over '%s', which this libvirtuos.so does not know", d->name, m->domain);
		*ret_err = -EPROTO;
		return NULL;
	}
	if (fds->n != 4 || m->geo.lanes == 0 || m->geo.lanes > VOS_LANES_MAX || m->geo.slots > VOS_SLOTS_MAX ||
	    m->geo.slots <= VOS_CANCEL_ROOM) {
		*ret_err = -EPROTO;
		return NULL;
	}
	size = sizeof *c + m->geo.lanes * sizeof c->lane[0];
	c = vos_pages(size);
	if (!c) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	c->size = size;
	c->d = d;
	/* The supervisor never uses the name of a proxy again: so it names this connection, and a fork inherits it. */
	c->epoch = m->proxy;
	c->proxy = m->proxy;
	c->nlanes = m->geo.lanes;
	/* A quarter of the lanes is for the threads that are too many for one each. */
	c->exclusive = c->nlanes - (c->nlanes + 3) / 4;
	c->refs = 1;
	c->made = atomic_fetch_add(&last_made, 1) + 1;
	c->t = (struct vos_transport){ .ops = ops, .geo = m->geo,
		.region_fd = vos_msg_take(fds, 0), .doorbell_fd = vos_msg_take(fds, 1),
		.wake_fd = vos_msg_take(fds, 2), .control_fd = vos_msg_take(fds, 3) };
	r = attach ? c->t.ops->attach(&c->t, true) : 0;
	if (r) {
		c->t.ops->detach(&c->t);
		vos_pages_free(c, size);
		*ret_err = r;
		return NULL;
	}
	return c;
}

int vos_conn_own(struct vos_conn *c)
{
	int *all[] = { &c->t.region_fd, &c->t.doorbell_fd, &c->t.wake_fd, &c->t.control_fd };

	c->owned = true;
	for (unsigned i = 0; i < 4; i++) {
		int r = vos_fd_own(*all[i], all[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

void vos_conn_free(struct vos_conn *c)
{
	int *all[] = { &c->t.region_fd, &c->t.doorbell_fd, &c->t.wake_fd, &c->t.control_fd };

	for (uint32_t i = 0; i < c->nlanes; i++)
		if (c->lane[i].ready && c->lane[i].poll_fd >= 0)
			vos_fd_disown(c->lane[i].poll_fd);
	while (c->nfiles)
		vos_raw1(__NR_close, c->file[--c->nfiles].fd);
	for (unsigned i = 0; c->owned && i < 4; i++) {
		vos_fd_disown(*all[i]);
		*all[i] = -1;
	}
	c->t.ops->detach(&c->t);
	vos_pages_free(c, c->size);
}

void vos_conn_abandon(struct vos_conn *c)
{
	c->owned = false;
	c->t.region_fd = c->t.doorbell_fd = c->t.wake_fd = c->t.control_fd = -1;
}

uint64_t vos_conn_made(void)
{
	return atomic_load(&last_made);
}

void vos_conn_put(struct vos_conn *c)
{
	if (atomic_fetch_sub(&c->refs, 1) == 1)
		vos_conn_free(c);
}

static bool usable(struct vos_conn *c)
{
	return c && !vos_conn_dead(c);
}

struct vos_conn *vos_conn_of(struct vos_proc *p, struct vos_domain *d)
{
	struct vos_remote_proc *r = p->remote;

	if (!r)
		return d->conn;
	if (r->own[d->index])
		return r->own[d->index];
	return d->conn && d->conn->made <= r->made ? d->conn : NULL;
}

/* ---- joining ------------------------------------------------------------------------------------------------------------- */

static int kind_error(const struct vos_domain *d)
{
	return d->kind == VOS_KIND_NET ? -ENETDOWN : -EIO;
}

static void say_once(struct vos_domain *d, const char *text)
{
	if (__atomic_exchange_n(&d->said, 1, __ATOMIC_RELAXED) == 0)
		vos_say("%s", text);
}

static void say_no_memory(struct vos_domain *d, const char *whose)
{
	char text[200];

	vos_fmt(text, sizeof text, "%s has no memory for the %u MiB that this program and the domain %s share: raise 'ulimit -v'",
		whose, (unsigned)((VOS_WISH_LANES * (uint64_t)VOS_WISH_DATA >> 20) + 2), d->name);
	say_once(d, text);
}

static int join(struct vos_proc *p, struct vos_domain *d, struct vos_conn *fork_of, uint64_t ms, bool interruptible,
		struct vos_conn **ret)
{
	uint64_t end = vos_msg_deadline(ms);
	struct vos_conn *c;
	struct vos_msg m;
	struct vos_msg_fds fds;
	int r;

	for (;;) {
		uint64_t now = vos_remote_now();

		vos_msg_init(&m, VOS_MSG_JOIN);
		m.kind = d->kind;
		m.geo.lanes = VOS_WISH_LANES;
		m.geo.slots = VOS_WISH_SLOTS;
		m.geo.data_stride = VOS_WISH_DATA;
		if (vos_ut_on) {
			/* One carrier: few lanes, each for as many requests as there can be. */
			m.geo.lanes = 4;
			m.geo.slots = VOS_SLOTS_MAX;
			m.geo.data_stride = 4 * VOS_WISH_DATA;
		}
		m.fork_of = fork_of ? fork_of->proxy : 0;
		m.aux[0] = end > now ? (end - now) / 1000000 + 1 : 1;
		vos_msg_text(m.domain, sizeof m.domain, d->name);
		vos_msg_text(m.text, sizeof m.text, d->kind == VOS_KIND_STORE ? d->root : "");
		/* Beyond what the supervisor waits for the domain there are the seconds for the proxy. */
		r = vos_session_ask(p, &m, fork_of ? &fork_of->t.region_fd : NULL, fork_of != NULL, &fds, end + 6000000000ull,
				    interruptible, NULL);
		if (r == -EPIPE)
			say_once(d, "the supervisor is gone: its domains cannot be reached any more");
		if (r == -EPIPE || r == -ETIMEDOUT || r == -EPROTO || r == -EPROTONOSUPPORT)
			return kind_error(d);
		if (r)
			return r;
		if (m.type != VOS_MSG_JOINED || m.status > 0) {
			vos_msg_close_fds(&fds);
			return kind_error(d);
		}
		if (m.status == 0)
			break;
		vos_msg_close_fds(&fds);
		if (fork_of)
			return m.status;
		/* The domain died between: once more, while there is time. */
		if (m.status == -ETIMEDOUT || m.status == -ESRCH || m.status == -EAGAIN) {
			if (vos_remote_now() < end)
				continue;
			return -EAGAIN;
		}
		if (m.status == -ENOMEM)
			say_no_memory(d, "the domain");
		else
			say_once(d, m.text[0] ? m.text : d->name);
		switch (m.status) {
		case -EACCES:
		case -EPERM:
		case -ENOMEM:
			return m.status;
		case -ENOENT:
		case -ENOTDIR:
			return d->kind == VOS_KIND_STORE ? m.status : kind_error(d);
		default:
			return kind_error(d);
		}
	}
	c = vos_conn_new(d, &m, &fds, fork_of == NULL, &r);
	vos_msg_close_fds(&fds);
	if (!c && r == -ENOMEM)
		say_no_memory(d, "the program");
	if (!c)
		return r == -EPROTO ? kind_error(d) : r;
	if (fork_of)
		c->epoch = fork_of->epoch;
	d->said = 0;
	*ret = c;
	return 0;
}

int vos_join(struct vos_proc *p, struct vos_domain *d, struct vos_conn *fork_of, uint64_t ms, bool interruptible,
	     struct vos_conn **ret)
{
	uint64_t soft = vos_fd_limit_lift ? vos_fd_limit_lift() : 0;
	int r = join(p, d, fork_of, ms, interruptible, ret);

	if (r == 0 && vos_remote_cred_joined(p, d, *ret) < 0) {
		vos_conn_free(*ret);
		*ret = NULL;
		r = kind_error(d);
	}
	if (soft)
		vos_fd_limit_restore(soft);
	return r;
}

/* ---- lanes ----------------------------------------------------------------------------------------------------------------- */

void vos_lane_ready(struct vos_conn *c, uint32_t index)
{
	struct vos_lane_client *l = &c->lane[index];

	l->conn = c;
	l->index = index;
	l->shared = index >= c->exclusive;
	l->poll_fd = -1;
	vos_lane_view_init(&l->v, c->t.base, &c->t.geo, l->index);
	l->nfree = 0;
	for (uint32_t i = l->v.slots; i-- > 0;)
		l->free_slot[l->nfree++] = (uint16_t)i;
	/* So that no word of an image before exec, or of the parent of a fork, is ours. */
	l->serial = vos_ticks() & 0xffffffffffffull >> 8;
	vos_heap_init(&l->heap, c->t.geo.data_stride);
	l->ready = true;
}

bool vos_lane_idle(struct vos_lane_client *l)
{
	if (!l->active || l->users || l->held)
		return false;
	l->active = false;
	return true;
}

/* With d->lock. */
static struct vos_lane_client *take_lane(struct vos_conn *c)
{
	struct vos_lane_client *best = NULL;
	bool shared;

	if (vos_ut_many())
		c->exclusive = 0;
	for (uint32_t i = 0; i < c->nlanes; i++) {
		struct vos_lane_client *l = &c->lane[i];

		if (l->foreign) {
			vos_remote_reap(l);
			l->foreign = l->orphans != 0 && !vos_conn_dead(c);
			if (l->foreign)
				continue;
		}
		if (i < c->exclusive) {
			if (l->active)
				continue;
			best = l;
			break;
		}
		if (!best || l->users < best->users)
			best = l;
	}
	if (!best)
		return NULL;
	shared = best >= &c->lane[c->exclusive];
	if (shared)
		vos_lock(&best->lock);
	if (!best->ready)
		vos_lane_ready(c, (uint32_t)(best - c->lane));
	best->users++;
	if (!best->active) {
		best->active = true;
		atomic_fetch_add(&c->refs, 1);
	}
	if (shared)
		vos_unlock(&best->lock);
	if (best->index >= c->lanes_used) {
		c->lanes_used = best->index + 1;
		atomic_store(&vos_region_client(c->t.base)->lanes_used, c->lanes_used);
	}
	return best;
}

/* With d->lock. */
static void release_lane(struct vos_lane_client *l)
{
	bool idle;

	if (l->shared)
		vos_lock(&l->lock);
	l->users--;
	idle = vos_lane_idle(l);
	if (l->shared)
		vos_unlock(&l->lock);
	if (idle)
		vos_conn_put(l->conn);
}

void vos_remote_carrier_gone(struct vos_carrier *c)
{
	for (unsigned i = 0; i < VOS_DOMAINS_MAX; i++) {
		struct vos_lane_client *l = c->lane[i];

		if (!l)
			continue;
		c->lane[i] = NULL;
		vos_domain_lock(l->conn->d, false);
		struct vos_domain *d = l->conn->d;
		release_lane(l);
		vos_unlock(&d->lock);
	}
}

/* Joins, with d->lock.  *ret_again: it had been joined before, and died. */
static int connect_domain(struct vos_carrier *c, struct vos_domain *d, bool wait, struct vos_conn **ret, bool *ret_again)
{
	struct vos_remote_proc *own = c->proc->remote;
	struct vos_conn *old = own ? own->own[d->index] : d->conn, *conn;
	int r = vos_join(c->proc, d, NULL, wait ? VOS_REJOIN_MS : TRY_MS, true, &conn);

	c->remote.joins++;
	if (r == -EAGAIN && wait) {
		say_once(d, "the domain is not up");
		r = kind_error(d);
	}
	if (r)
		return r;
	r = vos_conn_own(conn);
	if (r) {
		vos_conn_free(conn);
		return -ENOMEM;
	}
	if (own) {
		own->own[d->index] = conn;
	} else {
		*ret_again = d->epoch != 0;
		/* Who found it dead is another thread, which may have been put aside just there. */
		while (old && !atomic_load_explicit(&old->told, memory_order_acquire))
			vos_raw0(__NR_sched_yield);
		d->conn = conn;
		/* Release: who sees the new epoch sees the connection; descriptors of the old one are stale from here on. */
		atomic_store_explicit(&d->epoch, conn->epoch, memory_order_release);
	}
	if (old)
		vos_conn_put(old);
	vos_spin_init();
	*ret = conn;
	return 0;
}

static struct vos_lane_client *slow(struct vos_carrier *c, struct vos_domain *d, bool wait, int *ret_err)
{
	struct vos_lane_client *l = c->lane[d->index];
	struct vos_conn *conn;
	bool fresh = false, again = false;
	int r = wait ? vos_domain_lock(d, true) : try_lock(d);

	if (r) {
		*ret_err = r;
		return NULL;
	}
	if (l) {
		c->lane[d->index] = NULL;
		release_lane(l);
	}
	/* Another thread makes the listeners anew: theirs first, or ours would find them missing. */
	while (atomic_load(&d->state) == VOS_DOM_RESTORING && d->restorer != c) {
		vos_unlock(&d->lock);
		if (!wait) {
			*ret_err = -EAGAIN;
			return NULL;
		}
		nap_on(&d->state, VOS_DOM_RESTORING);
		r = vos_signalled() ? -VOS_ERESTARTSYS : vos_domain_lock(d, true);
		if (r) {
			*ret_err = r;
			return NULL;
		}
	}
	conn = vos_conn_of(c->proc, d);
	if (conn)
		vos_conn_look(conn);
	if (!usable(conn)) {
		r = connect_domain(c, d, wait, &conn, &again);
		fresh = r == 0;
	}
	l = r ? NULL : take_lane(conn);
	if (!l)
		*ret_err = r ? r : -ENOMEM;
	else
		c->lane[d->index] = l;
	if (fresh && !c->proc->remote) {
		/* A restorer whose domain died under it goes on restoring; see below. */
		if (d->restorer != c)
			atomic_store(&d->state, again && l ? VOS_DOM_RESTORING : VOS_DOM_UP);
		else
			again = false;
		if (again && l)
			d->restorer = c;
	}
	vos_unlock(&d->lock);
	if (!l)
		return NULL;
	if (fresh && d->kind == VOS_KIND_STORE && vos_cwd_sync_umask)
		vos_cwd_sync_umask(d);
	if (again) {
		uint64_t epoch;

		do {
			epoch = atomic_load(&d->epoch);
			if (vos_domain_restored)
				vos_domain_restored(d);
		} while (epoch != atomic_load(&d->epoch));
		vos_domain_lock(d, false);
		d->restorer = NULL;
		atomic_store(&d->state, usable(d->conn) ? VOS_DOM_UP : VOS_DOM_DOWN);
		vos_raw3(__NR_futex, VOS_PTR(&d->state), FUTEX_WAKE_PRIVATE, 0x7fffffff);
		vos_unlock(&d->lock);
		/* Restoring may have joined once more. */
		l = c->lane[d->index];
		if (!l)
			*ret_err = kind_error(d);
	}
	return l;
}

/* A join waits, and is for one carrier. */
static struct vos_lane_client *stay_and_join(struct vos_domain *d, bool wait, int *ret_err)
{
	struct vos_lane_client *l;

	vos_ut_stay();
	l = slow(vos_self(), d, wait, ret_err);
	vos_ut_stayed();
	return l;
}

void vos_remote_share_lanes(struct vos_proc *p)
{
	for (uint32_t i = 0; i < p->ndomains; i++) {
		struct vos_conn *c = p->domain[i]->conn;

		if (!c)
			continue;
		c->exclusive = 0;
		for (uint32_t k = 0; k < c->nlanes; k++)
			c->lane[k].shared = true;
	}
}

struct vos_lane_client *vos_remote_lane(struct vos_domain *d, int *ret_err)
{
	struct vos_carrier *c = vos_self();
	struct vos_lane_client *l = c->lane[d->index];

	if (__builtin_expect(l && !vos_conn_dead(l->conn), 1))
		return l;
	return stay_and_join(d, true, ret_err);
}

struct vos_lane_client *vos_remote_lane_try(struct vos_domain *d, int *ret_err)
{
	struct vos_carrier *c = vos_self();
	struct vos_lane_client *l = c->lane[d->index];

	if (l && !vos_conn_dead(l->conn))
		return l;
	return stay_and_join(d, false, ret_err);
}
