/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets after a reboot of their domain.  What is configuration comes back by itself, on demand: vos_ofd_lane() calls
 * vos_sock_revive() when somebody uses a socket of an older epoch.  So only a process that goes on using a listener listens
 * again, and one that merely inherited it takes no connections away.  Conversations answer ECONNRESET until they are closed.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <time.h>
#include "net.h"

struct opt_head {
	int32_t  level, name;
	uint32_t len;
};

bool vos_sock_restorable(const struct vos_ofd *o)
{
	const struct vos_sock *s = o->net;

	return s && s->mem;
}

static long set_int(struct vos_lane_client *lane, int32_t rfd, int name, int value)
{
	uint64_t arg[6] = { (uint64_t)rfd, SOL_SOCKET, (uint64_t)name, 0, sizeof value, 0 };

	return vos_net_call(lane, __NR_setsockopt, arg, 3, &value, sizeof value, 0, NULL);
}

int vos_sock_opt(const struct vos_sock_mem *m, int name)
{
	for (uint32_t at = 0; at < m->opts_len;) {
		struct opt_head h;
		int v;

		memcpy(&h, m->opts + at, sizeof h);
		if (h.level == SOL_SOCKET && h.name == name && h.len >= sizeof v) {
			memcpy(&v, m->opts + at + sizeof h, sizeof v);
			return v;
		}
		at += (uint32_t)sizeof h + h.len;
	}
	return 0;
}

static void replay_options(struct vos_lane_client *lane, int32_t rfd, const struct vos_sock_mem *m)
{
	for (uint32_t at = 0; at < m->opts_len;) {
		struct opt_head h;
		uint64_t arg[6] = { (uint64_t)rfd };

		memcpy(&h, m->opts + at, sizeof h);
		arg[1] = (uint64_t)h.level;
		arg[2] = (uint64_t)h.name;
		arg[4] = h.len;
		/* An option that cannot be set any more (a group left, an interface gone) must not cost the socket. */
		vos_net_call(lane, __NR_setsockopt, arg, 3, m->opts + at + sizeof h, h.len, 0, NULL);
		at += (uint32_t)sizeof h + h.len;
	}
}

/*
 * The old socket may still be dying in the old domain, and its connections linger in TIME_WAIT: reuse the address, and have
 * patience.  SO_REUSEPORT stays set: other processes that share the listening socket bind it again as well.
 */
#define BIND_TRIES 200
static long bind_again(struct vos_lane_client *lane, int32_t rfd, struct vos_sock_mem *m, int type)
{
	struct timespec pause = { 0, 5000000 };
	long r = -EADDRINUSE;

	set_int(lane, rfd, SO_REUSEADDR, 1);
	if (type == SOCK_STREAM)
		set_int(lane, rfd, SO_REUSEPORT, 1);
	for (int i = 0; i < BIND_TRIES && r == -EADDRINUSE; i++) {
		uint64_t arg[6] = { (uint64_t)rfd, 0, m->addr_len };

		if (i)
			vos_raw4(__NR_clock_nanosleep, CLOCK_MONOTONIC, 0, VOS_PTR(&pause), 0);
		r = vos_net_call(lane, __NR_bind, arg, 1, m->addr, m->addr_len, 0, NULL);
	}
	if (type != SOCK_STREAM && !vos_sock_opt(m, SO_REUSEADDR))
		set_int(lane, rfd, SO_REUSEADDR, 0);
	return r;
}

/* Under s->lock. */
static long remake(struct vos_ofd *o, struct vos_sock *s, struct vos_lane_client *lane)
{
	struct vos_sock_mem *m = s->mem;
	uint64_t arg[6] = { (uint64_t)s->family, (uint64_t)s->type | (o->flags & O_NONBLOCK), (uint64_t)s->protocol };
	long rfd = vos_net_call(lane, __NR_socket, arg, 0, NULL, 0, 0, NULL), r = 0;

	if (rfd < 0)
		return rfd;
	replay_options(lane, (int32_t)rfd, m);
	if (m->addr_len)
		r = bind_again(lane, (int32_t)rfd, m, s->type);
	if (r == 0 && m->backlog >= 0) {
		uint64_t larg[6] = { (uint64_t)rfd, (uint64_t)m->backlog };

		r = vos_net_call(lane, __NR_listen, larg, 0, NULL, 0, 0, NULL);
	}
	if (r == 0 && m->peer_len) {
		uint64_t carg[6] = { (uint64_t)rfd, 0, m->peer_len };

		r = vos_net_call(lane, __NR_connect, carg, 1, m->peer, m->peer_len, 0, NULL);
	}
	if (r < 0) {
		vos_net_close(lane, (int32_t)rfd);
		return r;
	}
	vos_ofd_rebind(o, (int32_t)rfd, vos_lane_epoch(lane));
	return 0;
}

int vos_sock_revive(struct vos_ofd *o, struct vos_lane_client *lane)
{
	struct vos_sock *s = o->net;
	long r = -ECONNRESET;

	if (!s)
		return -ECONNRESET;
	vos_lock(&s->lock);
	if (atomic_load(&o->epoch) == vos_lane_epoch(lane))
		r = 0; /* another thread was faster */
	else if (s->mem)
		r = remake(o, s, lane);
	vos_unlock(&s->lock);
	return r == 0 ? 0 : -ECONNRESET;
}

/* Nothing to do at the moment of the rejoin: see above. */
void vos_domain_restored(struct vos_domain *d)
{
	(void)d;
}

/* ---- exec ---------------------------------------------------------------------------------------------------------------- */

struct saved {
	int32_t  family, type, protocol;
	uint32_t timeouts, has_mem;
	struct vos_sock_mem mem;     /* opts follows as bytes; the pointer in here means nothing */
};

long vos_sock_save(struct vos_ofd *o, void *buf, size_t cap)
{
	struct vos_sock *s = o->net;
	struct saved h = { 0 };
	size_t opts = 0;

	if (!s)
		return 0;
	vos_lock(&s->lock);
	h.family = s->family;
	h.type = s->type;
	h.protocol = s->protocol;
	h.timeouts = s->timeouts;
	if (s->mem) {
		h.has_mem = 1;
		h.mem = *s->mem;
		opts = s->mem->opts_len;
		if (sizeof h + opts > cap)
			h.mem.opts_len = opts = 0;
		memcpy((char *)buf + sizeof h, s->mem->opts, opts);
	}
	vos_unlock(&s->lock);
	h.mem.opts = NULL;
	memcpy(buf, &h, sizeof h);
	return (long)(sizeof h + opts);
}

int vos_sock_load(struct vos_ofd *o, const void *buf, size_t len)
{
	struct saved h;
	struct vos_sock *s;

	if (len == 0)
		return 0;
	if (len < sizeof h)
		return -EPROTO;
	memcpy(&h, buf, sizeof h);
	if (h.mem.opts_len > len - sizeof h || h.mem.opts_len > VOS_SOCK_OPTS_MAX)
		return -EPROTO;
	s = vos_alloc(sizeof *s);
	if (!s)
		return -ENOMEM;
	s->family = h.family;
	s->type = h.type;
	o->is_dgram = s->type != SOCK_STREAM;
	s->protocol = h.protocol;
	s->timeouts = h.timeouts;
	if (h.has_mem) {
		s->mem = vos_alloc(sizeof *s->mem);
		if (s->mem) {
			*s->mem = h.mem;
			s->mem->opts = NULL;
			s->mem->opts_cap = 0;
			if (h.mem.opts_len) {
				s->mem->opts = vos_alloc(h.mem.opts_len);
				if (s->mem->opts) {
					memcpy(s->mem->opts, (const char *)buf + sizeof h, h.mem.opts_len);
					s->mem->opts_cap = h.mem.opts_len;
				} else {
					s->mem->opts_len = 0;
				}
			}
		}
	}
	o->net = s;
	return 0;
}
