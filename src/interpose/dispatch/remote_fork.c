/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections through fork, vfork, exec and changes of credentials.
 *
 * fork: the proxy forks first, over a JOIN that names it; so the child's descriptors are there under the same numbers when
 * the child is.  vfork: the child works with its parent's connections (same memory, a copy of the descriptor table), and
 * the proxy is forked only when the child execs.  exec: the connections themselves stay open.
 */
#include <fcntl.h>
#include <virtuos/msg.h>
#include "fdmap.h"
#include "remote_impl.h"

#define FORK_MS        5000
#define FORK_AGAIN_NS  1000000000ull
#define FILL_MS        65000 /* longer than the supervisor lets anybody wait for a segment */

static bool alive(struct vos_conn *c)
{
	if (!c)
		return false;
	vos_conn_look(c);
	return !vos_conn_dead(c);
}

/*
 * A fork of c's proxy.  NULL and 0 when c is dead, and so are all its descriptors, here and in whoever was to have the fork: that
 * is no reason for the program's fork or exec to fail.
 */
static int fork_proxy(struct vos_proc *p, struct vos_domain *d, struct vos_conn *c, struct vos_conn **ret)
{
	uint64_t until = vos_remote_now() + FORK_AGAIN_NS;
	int r;

	for (;;) {
		r = vos_join(p, d, c, FORK_MS, false, ret);
		if (r == 0 || !alive(c))
			return 0;
		/* The supervisor knows of its end before we do. */
		if (r == -ESRCH) {
			vos_conn_died(c, -EPIPE);
			return 0;
		}
		/* It may be only the fork that died, or the domain is just dying. */
		if ((r != -EIO && r != -ENETDOWN) || vos_remote_now() > until)
			return r;
	}
}

/* ---- fork ------------------------------------------------------------------------------------------------------------- */

static void unlock_domains(struct vos_proc *p, uint32_t n)
{
	while (n-- > 0)
		vos_unlock(&p->domain[n]->lock);
}

static void close_conns(struct vos_fork_conns *f)
{
	for (unsigned i = 0; i < VOS_DOMAINS_MAX; i++) {
		if (f->conn[i])
			vos_conn_free(f->conn[i]);
		f->conn[i] = NULL;
	}
}

int vos_remote_fork_prepare(struct vos_proc *p, uint32_t mask, struct vos_fork_conns *f)
{
	uint32_t locked;
	int r = 0;

	memset(f, 0, sizeof *f);
	for (locked = 0; locked < p->ndomains && r == 0; locked++) {
		struct vos_domain *d = p->domain[locked];
		struct vos_conn *c;

		/* Until _parent or _child, nobody joins or takes a lane: the copy of the process is whole. */
		r = vos_domain_lock(d, true);
		if (r)
			break;
		c = vos_conn_of(p, d);
		if (!(mask & 1u << locked) || !alive(c))
			continue;
		r = fork_proxy(p, d, c, &f->conn[locked]);
	}
	if (r == 0)
		return 0;
	close_conns(f);
	unlock_domains(p, locked);
	return r == -VOS_ERESTARTSYS ? r : -EAGAIN;
}

void vos_remote_fork_parent(struct vos_proc *p, struct vos_fork_conns *f)
{
	/* The child has descriptors of its own to the same; when there is no child, the forked proxies see the end here. */
	close_conns(f);
	unlock_domains(p, p->ndomains);
}

/* In a child: a connection of the parent's.  Its mapping was not inherited (MADV_DONTFORK). */
static void forget(struct vos_conn *c)
{
	c->t.base = NULL;
	vos_conn_free(c);
}

/* A change of credentials at a time: setuid() of a threaded program is a call of each thread, and a proxy takes one at once. */
static _Atomic uint32_t recred_lock;

void vos_remote_fork_child(struct vos_proc *p, struct vos_fork_conns *f)
{
	struct vos_carrier *me = vos_self();
	struct vos_remote_proc *own = p->remote;

	memset(me->lane, 0, sizeof me->lane);
	memset(&me->remote, 0, sizeof me->remote);
	p->remote = NULL;
	recred_lock = 0;
	for (uint32_t i = 0; i < p->ndomains; i++) {
		struct vos_domain *d = p->domain[i];
		struct vos_conn *c = f->conn[i];

		f->conn[i] = NULL;
		if (own && own->own[i])
			forget(own->own[i]);
		if (d->conn)
			forget(d->conn);
		d->conn = NULL;
		d->lock = 0;
		d->restorer = NULL;
		atomic_store(&d->state, VOS_DOM_NEW);
		if (!c)
			continue;
		/* A failure here leaves the descriptors of this domain stale: as if it had died. */
		if (c->t.ops->attach(&c->t, true) || vos_conn_own(c)) {
			vos_conn_free(c);
			atomic_store(&d->epoch, 0);
			continue;
		}
		d->conn = c;
		atomic_store(&d->epoch, c->epoch);
		atomic_store(&d->state, VOS_DOM_UP);
	}
	vos_free(own);
}

/* ---- vfork -------------------------------------------------------------------------------------------------------------- */

int vos_remote_vfork(struct vos_proc *child, struct vos_proc *parent)
{
	struct vos_remote_proc *own = vos_alloc(sizeof *own);

	if (!own)
		return -ENOMEM;
	own->made = own->since = vos_conn_made();
	if (parent->remote) {
		own->made = parent->remote->made;
		for (unsigned i = 0; i < VOS_DOMAINS_MAX; i++) {
			own->own[i] = parent->remote->own[i];
			if (own->own[i])
				atomic_fetch_add(&own->own[i]->refs, 1);
		}
	}
	child->remote = own;
	return 0;
}

/* In the parent: the numbers of the child's descriptors mean others here, or nothing. */
void vos_remote_vfork_done(struct vos_proc *child)
{
	struct vos_remote_proc *own = child->remote;

	for (struct vos_carrier *c = child->carriers; c; c = c->next)
		vos_remote_carrier_gone(c);
	for (unsigned i = 0; own && i < VOS_DOMAINS_MAX; i++) {
		/* A nested child's copy of what its parent still uses is only given back. */
		if (own->own[i] && own->own[i]->made > own->since)
			vos_conn_abandon(own->own[i]);
		if (own->own[i])
			vos_conn_put(own->own[i]);
		/* The new image has these; in this table they never were. */
		if (own->forked[i]) {
			vos_conn_abandon(own->forked[i]);
			vos_conn_free(own->forked[i]);
		}
	}
	vos_free(own);
	child->remote = NULL;
}

/* ---- exec ----------------------------------------------------------------------------------------------------------------- */

static void keep_open(struct vos_conn *c, bool keep)
{
	const int fd[] = { c->t.region_fd, c->t.doorbell_fd, c->t.wake_fd, c->t.control_fd };

	for (unsigned i = 0; i < 4; i++)
		vos_raw3(__NR_fcntl, fd[i], F_SETFD, keep ? 0 : FD_CLOEXEC);
}

void vos_remote_exec_undo(struct vos_proc *p, struct vos_exec_conns *x)
{
	for (uint32_t i = 0; i < x->n; i++) {
		uint32_t k = x->saved[i].index;
		struct vos_conn *c = vos_conn_of(p, p->domain[k]);

		if (!x->forked.conn[k] && c && c->epoch == x->saved[i].epoch)
			keep_open(c, false);
		if (x->forked.conn[k]) {
			vos_conn_free(x->forked.conn[k]);
			p->remote->forked[k] = NULL;
		}
		x->forked.conn[k] = NULL;
	}
	x->n = 0;
	if (p->session_fd >= 0)
		vos_raw3(__NR_fcntl, p->session_fd, F_SETFD, FD_CLOEXEC);
}

static int save_one(struct vos_proc *p, struct vos_exec_conns *x, struct vos_domain *d)
{
	uint32_t i = d->index;
	struct vos_conn *c = vos_conn_of(p, d);
	int r;

	if (!alive(c))
		return 0;
	if (p->remote && !p->remote->own[i]) {
		/* The parent goes on with its proxy, the new image with a fork of it. */
		r = fork_proxy(p, d, c, &x->forked.conn[i]);
		if (r || !x->forked.conn[i])
			return r;
		c = p->remote->forked[i] = x->forked.conn[i];
	}
	keep_open(c, true);
	x->saved[x->n++] = (struct vos_conn_saved){
		.index = i, .transport = "", .epoch = c->epoch, .proxy = c->proxy, .geo = c->t.geo, .region_fd = c->t.region_fd,
		.doorbell_fd = c->t.doorbell_fd, .wake_fd = c->t.wake_fd, .control_fd = c->t.control_fd };
	vos_msg_text(x->saved[x->n - 1].transport, sizeof x->saved[0].transport, c->t.ops->name);
	return 0;
}

int vos_remote_exec_prepare(struct vos_proc *p, uint32_t mask, struct vos_exec_conns *x)
{
	int r = 0;

	x->n = 0;
	memset(&x->forked, 0, sizeof x->forked);
	if (p->session_fd >= 0)
		vos_raw3(__NR_fcntl, p->session_fd, F_SETFD, 0);
	for (uint32_t i = 0; i < p->ndomains && r == 0; i++)
		if (mask & 1u << i)
			r = save_one(p, x, p->domain[i]);
	if (r)
		vos_remote_exec_undo(p, x);
	return r;
}

/*
 * The lanes as the image before left them.  Our own words in the region say where: the server can write them too, but
 * whatever they say leads to no pointer.  Requests of threads that exec ended may still be under way, and their
 * server writes into the data area: such a lane is cancelled as a whole and not used before all have ended.
 */
static void resume_lanes(struct vos_conn *c)
{
	uint32_t used = atomic_load(&vos_region_client(c->t.base)->lanes_used);

	c->lanes_used = used > c->nlanes ? c->nlanes : used;
	for (uint32_t i = 0; i < c->lanes_used; i++) {
		struct vos_lane_client *l = &c->lane[i];
		struct vos_req req = { .user = 0xffff, .op = VOS_OP_CANCEL, .arg = { VOS_NULL } };

		vos_lane_ready(c, i);
		l->v.sq = atomic_load(&l->v.lane->sq_tail);
		l->v.cq = atomic_load(&l->v.lane->cq_head);
		l->v.seen = l->v.sq - l->v.slots; /* unknown: look */
		vos_lane_take_sleep(l->v.lane);
		l->orphans = l->v.sq - l->v.cq;
		l->foreign = l->orphans != 0;
		if (l->orphans && l->orphans < l->v.slots && vos_sq_push(&l->v, &req) == 0) {
			l->orphans++;
			if (vos_server_take_sleep(vos_region_server(c->t.base)))
				c->t.ops->ring_server(&c->t);
		}
	}
}

static int adopt(struct vos_proc *p, const struct vos_conn_saved *s)
{
	struct vos_domain *d = s->index < p->ndomains ? p->domain[s->index] : NULL;
	struct vos_msg_fds fds = { .n = 4, .fd = { s->region_fd, s->doorbell_fd, s->wake_fd, s->control_fd, -1, -1, -1, -1 } };
	struct vos_conn *c;
	struct vos_msg m;
	int r = -EPROTO;

	vos_msg_init(&m, VOS_MSG_JOINED);
	m.proxy = s->proxy;
	m.geo = s->geo;
	vos_msg_text(m.domain, sizeof m.domain, s->transport);
	c = d && !d->conn ? vos_conn_new(d, &m, &fds, true, &r) : NULL;
	vos_msg_close_fds(&fds);
	if (!c)
		return r;
	c->epoch = s->epoch;
	r = vos_conn_own(c);
	if (r) {
		vos_conn_free(c);
		return r;
	}
	resume_lanes(c);
	d->conn = c;
	atomic_store(&d->epoch, c->epoch);
	atomic_store(&d->state, VOS_DOM_UP);
	return 0;
}

int vos_remote_exec_adopt(struct vos_proc *p, const struct vos_conn_saved *saved, uint32_t n)
{
	int first = 0;

	for (uint32_t i = 0; i < n; i++) {
		int r = adopt(p, &saved[i]);

		first = first ? first : r;
	}
	return first;
}

/* ---- credentials, segments -------------------------------------------------------------------------------------------------- */

static int ask_about(struct vos_proc *p, struct vos_domain *d, struct vos_msg *m, uint32_t type, const int *fds, uint32_t nfds,
		     struct vos_msg_fds *ret_fds, int *ret_sock)
{
	uint64_t aux[4] = { m->aux[0], m->aux[1], m->aux[2], m->aux[3] };
	uint64_t proxy = m->proxy;
	int r;

	vos_msg_init(m, type);
	m->kind = d->kind;
	m->proxy = proxy;
	memcpy(m->aux, aux, sizeof aux);
	vos_msg_text(m->domain, sizeof m->domain, d->name);
	vos_msg_text(m->text, sizeof m->text, d->kind == VOS_KIND_STORE ? d->root : "");
	r = vos_session_ask(p, m, fds, nfds, ret_fds, vos_msg_deadline(type == VOS_MSG_SHMAP ? FILL_MS : FORK_MS), false,
			    ret_sock);
	return r ? r : m->status;
}

/* Exec makes the ids for the file system the effective ones again, so only the program's own call can part them. */
static bool fs_ids_set;

void vos_remote_fs_ids_set(void)
{
	fs_ids_set = true;
}

/* The ids for the file system, which no socket tells of.  Whether they are others than the effective ones. */
static bool fs_ids(uint64_t ret[2])
{
	/* Not asked for without need: a program's seccomp filter may not know these calls. */
	if (!fs_ids_set)
		return false;
	ret[0] = (uint32_t)vos_raw1(__NR_setfsuid, -1);
	ret[1] = (uint32_t)vos_raw1(__NR_setfsgid, -1);
	return ret[0] != (uint32_t)vos_raw0(__NR_geteuid) || ret[1] != (uint32_t)vos_raw0(__NR_getegid);
}

static int recred(struct vos_proc *p, struct vos_domain *d, struct vos_conn *c)
{
	struct vos_msg_fds fds = { 0 };
	struct vos_msg m;
	int r;

	m.proxy = c->proxy;
	memset(m.aux, 0, sizeof m.aux);
	m.aux[0] = fs_ids(&m.aux[1]);
	r = ask_about(p, d, &m, VOS_MSG_RECRED, &c->t.region_fd, 1, &fds, NULL);
	vos_msg_close_fds(&fds);
	return r;
}

int vos_remote_cred_joined(struct vos_proc *p, struct vos_domain *d, struct vos_conn *c)
{
	uint64_t ids[2];

	return fs_ids(ids) ? recred(p, d, c) : 0;
}

int vos_remote_recred(struct vos_proc *p)
{
	int first = 0;

	vos_lock(&recred_lock);
	for (uint32_t i = 0; i < p->ndomains; i++) {
		struct vos_domain *d = p->domain[i];
		struct vos_conn *c = vos_conn_of(p, d);
		int r;

		if (!alive(c))
			continue;
		r = recred(p, d, c);
		/* Rather no access than that of somebody else. */
		if (r < 0 && alive(c)) {
			vos_say("domain %s did not take the new credentials (error %d): its connection is given up", d->name, -r);
			vos_conn_died(c, -EPIPE);
			first = first ? first : r;
		}
	}
	vos_unlock(&recred_lock);
	return first;
}

int vos_remote_segment(struct vos_domain *d, uint64_t dev, uint64_t ino, uint64_t size, struct vos_segment *ret)
{
	struct vos_proc *p = vos_self()->proc;
	int sock = -1, own[3], n = 0, r;
	struct vos_msg_fds fds;
	struct vos_msg m;

	m.proxy = 0;
	m.aux[0] = dev;
	m.aux[1] = ino;
	m.aux[2] = size;
	m.aux[3] = 0;
	r = ask_about(p, d, &m, VOS_MSG_SHMAP, NULL, 0, &fds, &sock);
	if (sock < 0)
		return r;
	if (r == 0 && fds.n != 2)
		r = -EPROTO;
	for (; r >= 0 && n < 3; n++) {
		r = vos_fd_own(n < 2 ? fds.fd[n] : sock, NULL);
		if (r < 0)
			break;
		own[n] = r;
		if (n < 2)
			fds.fd[n] = -1;
		else
			sock = -1;
	}
	vos_msg_close_fds(&fds);
	if (sock >= 0)
		vos_raw1(__NR_close, sock);
	if (r < 0) {
		while (n--)
			vos_fd_disown(own[n]);
		return r;
	}
	*ret = (struct vos_segment){ own[0], own[1], own[2], (uint32_t)m.aux[1] };
	return 0;
}

void vos_remote_segment_filled(struct vos_domain *d, int hold)
{
	struct vos_msg_fds fds;
	struct vos_msg m;

	vos_msg_init(&m, VOS_MSG_SHMAP);
	m.kind = d->kind;
	m.aux[3] = 1;
	vos_msg_text(m.domain, sizeof m.domain, d->name);
	vos_msg_text(m.text, sizeof m.text, d->root);
	if (vos_msg_send(hold, &m, NULL, 0, vos_msg_deadline(FORK_MS)) == 0 &&
	    vos_msg_recv(hold, &m, &fds, vos_msg_deadline(FORK_MS)) == 0)
		vos_msg_close_fds(&fds);
}
