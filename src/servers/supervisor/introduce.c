/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Introductions: regions, proxies, and what one user may have of them. */
#include "backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SPAWN_MS   5000
#define LANES_MAX  64u
#define SLOTS_MAX  256u
#define DATA_MAX   (4u << 20)

static struct vos_quota *quotas;
static uint64_t last_id;

struct vos_quota *vos_quota_of(uid_t uid)
{
	struct vos_quota *q;

	for (q = quotas; q; q = q->next)
		if (q->uid == uid)
			return q;
	q = calloc(1, sizeof *q);
	if (q) {
		q->uid = uid;
		q->next = quotas;
		quotas = q;
	}
	return q;
}

static void drop(struct vos_prx *p)
{
	struct vos_prx **link = &p->dom->proxies;

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	p->quota->regions--;
	p->quota->bytes -= p->bytes;
	vos_timer_clear(&p->timer);
	vos_local_close(&p->conn);
	if (p->talk)
		p->talk->prx = NULL;
	free(p);
}

static struct vos_prx *find(struct vos_dom *d, uint64_t id)
{
	struct vos_prx *p = d->proxies;

	while (p && p->id != id)
		p = p->next;
	return p;
}

/*
 * The proxy that the message names, when its region's descriptor came along: who has it is the client, whatever became of
 * the process that joined.
 */
static struct vos_prx *claimed(struct vos_talk *t, uint64_t id)
{
	struct vos_prx *p = find(t->dom, id);
	struct stat st;

	if (!p || t->fds.n != 1 || fstat(t->fds.fd[0], &st) || st.st_dev != p->region_dev || st.st_ino != p->region_ino)
		return NULL;
	return p;
}

static void late_spawn(struct vos_timer *timer)
{
	struct vos_prx *p = container_of(timer, struct vos_prx, timer);
	struct vos_talk *t = p->talk;

	/* The record stays until GONE: a proxy that was made too late sees its control socket closed, and ends. */
	vos_local_close(&p->conn);
	p->talk = NULL;
	if (t) {
		t->prx = NULL;
		vos_talk_fail(t, -ETIMEDOUT, "domain %s does not answer", p->dom->label);
	}
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p * 2 <= n)
		p *= 2;
	return p;
}

/* What the client wishes, within bounds. */
static int layout(const struct vos_region_geo *wish, struct vos_region_geo *ret)
{
	uint32_t lanes = wish->lanes == 0 ? 1 : wish->lanes > LANES_MAX ? LANES_MAX : wish->lanes;
	uint32_t slots = wish->slots == 0 ? 1 : wish->slots > SLOTS_MAX ? SLOTS_MAX : power_of_two(wish->slots);
	uint64_t data = wish->data_stride == 0 ? VOS_PAGE : wish->data_stride > DATA_MAX ? DATA_MAX : wish->data_stride;

	return vos_region_layout(lanes, slots, data, ret);
}

static int make(struct vos_talk *t, struct vos_prx *p)
{
	struct stat st;
	int r = p->dom->backend->connect(p->dom, &p->geo, &p->conn);

	if (r)
		return r;
	if (fstat(p->conn.region, &st))
		return -errno;
	p->region_dev = st.st_dev;
	p->region_ino = st.st_ino;
	p->bytes = p->geo.size;
	p->uid = t->peer.uid;
	p->client = t->peer.pid;
	return 0;
}

void vos_introduce(struct vos_talk *t)
{
	struct vos_dom *d = t->dom;
	struct vos_quota *q = vos_quota_of(t->peer.uid);
	struct vos_prx *of = NULL, *p;
	struct vos_msg m;
	int r;

	if (t->msg.fork_of) {
		of = claimed(t, t->msg.fork_of);
		if (!of) {
			vos_talk_fail(t, find(d, t->msg.fork_of) ? -EPERM : -ESRCH, "no such proxy of this caller in domain %s",
				      d->label);
			return;
		}
		if (of->uid != t->peer.uid && t->peer.uid != 0) {
			vos_talk_fail(t, -EPERM, "that proxy in domain %s is another user's", d->label);
			return;
		}
	}
	p = q ? calloc(1, sizeof *p) : NULL;
	if (!p) {
		vos_talk_fail(t, -ENOMEM, "the supervisor is out of memory");
		return;
	}
	p->conn = (struct vos_local_conn){ -1, -1, -1, -1, -1 };
	p->dom = d;
	r = layout(&t->msg.geo, &p->geo);
	if (r || q->regions >= vos_sup.max_regions || p->geo.size > vos_sup.max_bytes - q->bytes) {
		free(p);
		vos_talk_fail(t, r ? r : -EDQUOT, "user %u has %u regions of %llu MiB in all: no more are allowed", t->peer.uid,
			      q->regions, (unsigned long long)(q->bytes >> 20));
		return;
	}
	r = make(t, p);
	if (r) {
		vos_local_close(&p->conn);
		free(p);
		vos_talk_fail(t, r, "cannot make a region: %s", strerror(-r));
		return;
	}
	/* Names of proxies outlive a supervisor in its clients' heads: start where no earlier one can have come to. */
	if (last_id == 0)
		last_id = (uint64_t)time(NULL) << 24;
	p->id = ++last_id;
	p->quota = q;
	p->talk = t;
	t->prx = p;
	p->next = d->proxies;
	d->proxies = p;
	q->regions++;
	q->bytes += p->bytes;

	vos_msg_init(&m, VOS_MSG_SPAWN);
	m.kind = d->kind;
	m.epoch = d->epoch;
	m.proxy = p->id;
	m.fork_of = of ? of->id : 0;
	m.geo = p->geo;
	vos_channel_creds(&m, &t->peer);
	memcpy(m.domain, d->name, sizeof m.domain);
	vos_timer_set(&p->timer, SPAWN_MS, late_spawn);
	r = vos_dom_send(d, &m, (int[]){ p->conn.region, p->conn.doorbell, p->conn.wake, p->conn.control_proxy }, 4);
	/* -ETIMEDOUT: the broker does not read.  Any other failure has killed the domain, and p with it. */
	if (r == -ETIMEDOUT) {
		t->prx = NULL;
		p->talk = NULL;
		drop(p);
		vos_talk_fail(t, -ETIMEDOUT, "domain %s does not answer", d->label);
	}
}

/*
 * The ids that the caller says he uses for the file system.  A socket does not tell them; root could take any, and another
 * has his own uid only.
 */
static bool own_fs_ids(const struct vos_talk *t, struct vos_msg *m)
{
	if (!t->msg.aux[0])
		return true;
	if (t->peer.uid != 0)
		return t->msg.aux[1] == t->peer.uid;
	if (t->msg.aux[1] >= UINT32_MAX || t->msg.aux[2] >= UINT32_MAX)
		return false;
	m->uid = (uint32_t)t->msg.aux[1];
	m->gid = (uint32_t)t->msg.aux[2];
	return true;
}

void vos_introduce_recred(struct vos_talk *t)
{
	struct vos_prx *p = claimed(t, t->msg.proxy);
	struct vos_msg m;

	if (!p || p->talk || !p->up) {
		vos_talk_fail(t, p ? -EBUSY : -ESRCH, "no such proxy of this caller in domain %s", t->dom->label);
		return;
	}
	/* Anybody may be given what he is; what a proxy was before does not come back by itself. */
	vos_msg_init(&m, VOS_MSG_RECRED);
	m.kind = t->dom->kind;
	m.proxy = p->id;
	vos_channel_creds(&m, &t->peer);
	if (!own_fs_ids(t, &m)) {
		vos_talk_fail(t, -EPERM, "user %u says to act on files as user %llu", t->peer.uid, (unsigned long long)t->msg.aux[1]);
		return;
	}
	p->talk = t;
	t->prx = p;
	vos_timer_set(&p->timer, SPAWN_MS, late_spawn);
	if (vos_dom_send(t->dom, &m, NULL, 0) == -ETIMEDOUT) {
		vos_timer_clear(&p->timer);
		p->talk = NULL;
		t->prx = NULL;
		vos_talk_fail(t, -ETIMEDOUT, "domain %s does not answer", t->dom->label);
	}
}

static void spawned(struct vos_dom *d, struct vos_prx *p, const struct vos_msg *m)
{
	struct vos_talk *t = p->talk;
	struct vos_msg answer;

	vos_timer_clear(&p->timer);
	if (m->status < 0) {
		if (t) {
			t->prx = NULL;
			p->talk = NULL;
			vos_talk_fail(t, m->status, "%s", m->text[0] ? m->text : strerror(-m->status));
		}
		drop(p);
		return;
	}
	p->up = true;
	p->pid = (pid_t)m->pid;
	p->talk = NULL;
	if (t) {
		vos_msg_init(&answer, VOS_MSG_JOINED);
		answer.kind = d->kind;
		vos_msg_text(answer.domain, sizeof answer.domain, d->backend->name);
		answer.epoch = d->epoch;
		answer.proxy = p->id;
		answer.geo = p->geo;
		answer.pid = m->pid;
		t->prx = NULL;
		vos_talk_answer(t, &answer,
				(int[]){ p->conn.region, p->conn.doorbell, p->conn.wake, p->conn.control_client }, 4);
	}
	/* The client and the proxy have theirs: when either ends, the other sees it. */
	vos_local_close(&p->conn);
}

int vos_introduce_message(struct vos_dom *d, const struct vos_msg *m)
{
	struct vos_prx *p = find(d, m->proxy);
	struct vos_talk *t;

	if (!p || (m->type != VOS_MSG_GONE && m->status > 0))
		return -EPROTO;
	switch (m->type) {
	case VOS_MSG_SPAWNED:
		if (p->up)
			return -EPROTO;
		spawned(d, p, m);
		return 0;
	case VOS_MSG_RECRED:
		t = p->talk;
		if (!p->up)
			return -EPROTO;
		vos_timer_clear(&p->timer);
		p->talk = NULL;
		if (m->status == 0)
			p->uid = t ? t->peer.uid : p->uid;
		if (t) {
			t->prx = NULL;
			vos_talk_fail(t, m->status, "%s", m->text);
		}
		return 0;
	default:
		t = p->talk;
		if (t) {
			t->prx = NULL;
			p->talk = NULL;
			vos_talk_fail(t, -ENETDOWN, "the proxy in domain %s ended", d->label);
		}
		drop(p);
		return 0;
	}
}

void vos_introduce_died(struct vos_dom *d)
{
	while (d->proxies) {
		struct vos_prx *p = d->proxies;
		struct vos_talk *t = p->talk;
		bool again = t && t->msg.type == VOS_MSG_JOIN && !t->msg.fork_of;

		p->talk = NULL;
		if (t)
			t->prx = NULL;
		drop(p);
		if (again)
			vos_talk_go(t);
		else if (t)
			vos_talk_fail(t, -ESRCH, "domain %s died", d->label);
	}
}

void vos_introduce_given_up(struct vos_talk *t)
{
	struct vos_prx *p = t->prx;

	if (!p)
		return;
	p->talk = NULL;
	t->prx = NULL;
	/* A JOIN: the proxy sees the end of its control socket.  A RECRED goes on without a listener. */
	if (!p->up)
		vos_local_close(&p->conn);
}
