/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets: which are remote, how they come to be, and what is remembered of them for the day their domain is rebooted.
 * Internet sockets follow the policy's `net`; all other families (UNIX, NETLINK, PACKET…) stay with this kernel.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include "net.h"

#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif

long vos_call_socket(struct vos_frame *f);
long vos_call_accept(struct vos_frame *f);
long vos_call_accept4(struct vos_frame *f);
long vos_call_connect(struct vos_frame *f);
long vos_call_bind(struct vos_frame *f);
long vos_call_listen(struct vos_frame *f);
long vos_call_shutdown(struct vos_frame *f);
long vos_call_setsockopt(struct vos_frame *f);
long vos_call_getsockopt(struct vos_frame *f);

/* The domain of new internet sockets, or NULL: native. */
static struct vos_domain *net_domain(void)
{
	struct vos_proc *p = vos_self()->proc;

	for (uint32_t i = 0; i < p->ndomains; i++)
		if (p->domain[i] && p->domain[i]->kind == VOS_KIND_NET)
			return p->domain[i];
	return NULL;
}

long vos_net_call(struct vos_lane_client *lane, unsigned op, uint64_t arg[6], unsigned at, void *buf, size_t in_len, size_t out_len,
		  struct vos_cqe *ret_cqe)
{
	struct vos_req req = { .op = (uint16_t)op };
	struct vos_pending p = { 0 }, *pp = &p;
	struct vos_wait w = { .deadline_ns = VOS_NEVER };
	size_t room = in_len > out_len ? in_len : out_len;
	void *mem = NULL;
	int r;

	memcpy(req.arg, arg, sizeof req.arg);
	if (buf) {
		mem = vos_lane_alloc(lane, room ? room : 1, &req.arg[at]);
		if (!mem)
			return -ENOMEM;
		memcpy(mem, buf, in_len);
	}
	r = vos_remote_begin(lane, &req, &p);
	if (r < 0) {
		p.cqe.res = vos_domain_error(vos_lane_domain(lane));
		p.cqe.flags = VOS_CQE_DEAD;
	} else {
		while (vos_remote_wait(&pp, 1, &w) != 0)
			;
	}
	if (buf) {
		if (p.cqe.res >= 0)
			memcpy(buf, mem, out_len);
		vos_lane_free(lane, mem);
	}
	if (ret_cqe)
		*ret_cqe = p.cqe;
	return p.cqe.res;
}

void vos_net_close(struct vos_lane_client *lane, int32_t rfd)
{
	uint64_t arg[6] = { (uint64_t)rfd };

	vos_net_call(lane, __NR_close, arg, 0, NULL, 0, 0, NULL);
}

/* ---- what is remembered --------------------------------------------------------------------------------------------- */

struct opt_head {
	int32_t  level, name;
	uint32_t len;
};

/* A remote descriptor that is a socket; NULL and *ret: the answer for what is none, or 1: native. */
static struct vos_ofd *socket_of(struct vos_frame *f, long *ret)
{
	struct vos_ofd *o = vos_fd_get(f->rdi);

	*ret = 1;
	if (!o || o->epoll) {
		vos_ofd_put(o);
		return NULL;
	}
	if (o->net)
		return o;
	vos_ofd_put(o);
	*ret = -ENOTSOCK;
	return NULL;
}

static void mem_free(struct vos_sock_mem *m)
{
	if (m)
		vos_free(m->opts);
	vos_free(m);
}

/* The socket became a conversation: nothing of it is to be restored. */
static void forget(struct vos_sock *s)
{
	struct vos_sock_mem *m;

	vos_lock(&s->lock);
	m = s->mem;
	s->mem = NULL;
	vos_unlock(&s->lock);
	mem_free(m);
}

/* Options that add to a set rather than replace a value. */
static bool opt_adds(int level, int name)
{
	switch (level) {
	case IPPROTO_IP:
		return name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP || name == IP_ADD_SOURCE_MEMBERSHIP ||
		       name == IP_DROP_SOURCE_MEMBERSHIP || name == IP_BLOCK_SOURCE || name == IP_UNBLOCK_SOURCE ||
		       (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP);
	case IPPROTO_IPV6:
		return name == IPV6_ADD_MEMBERSHIP || name == IPV6_DROP_MEMBERSHIP ||
		       (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP);
	default:
		return false;
	}
}

/* Under s->lock. */
static void opt_store(struct vos_sock_mem *m, int level, int name, const void *val, uint32_t len)
{
	struct opt_head h = { level, name, len };
	uint32_t at = 0;

	while (!opt_adds(level, name) && at < m->opts_len) {
		struct opt_head old;

		memcpy(&old, m->opts + at, sizeof old);
		if (old.level == level && old.name == name) {
			uint32_t whole = (uint32_t)sizeof old + old.len;

			memmove(m->opts + at, m->opts + at + whole, m->opts_len - at - whole);
			m->opts_len = (uint16_t)(m->opts_len - whole);
			break;
		}
		at += (uint32_t)sizeof old + old.len;
	}
	if (m->opts_len + sizeof h + len > VOS_SOCK_OPTS_MAX)
		return;
	if (m->opts_len + sizeof h + len > m->opts_cap) {
		uint32_t cap = m->opts_cap ? m->opts_cap : 64;
		unsigned char *grown;

		while (cap < m->opts_len + sizeof h + len)
			cap *= 2;
		grown = vos_realloc(m->opts, cap);
		if (!grown)
			return;
		m->opts = grown;
		m->opts_cap = (uint16_t)cap;
	}
	memcpy(m->opts + m->opts_len, &h, sizeof h);
	memcpy(m->opts + m->opts_len + sizeof h, val, len);
	m->opts_len = (uint16_t)(m->opts_len + sizeof h + len);
}

static void remember_opt(struct vos_sock *s, int level, int name, const void *val, uint32_t len)
{
	vos_lock(&s->lock);
	if (s->mem)
		opt_store(s->mem, level, name, val, len);
	vos_unlock(&s->lock);
}

static void sock_release(struct vos_ofd *o)
{
	struct vos_sock *s = o->net;

	if (!s)
		return;
	mem_free(s->mem);
	vos_free(s);
	o->net = NULL;
}

static const struct vos_ofd_family sock_family = {
	.id = VOS_FAMILY_NET,
	.fdkind = VOS_FDKIND_REMOTE,
	.release = sock_release,
	.revive = vos_sock_revive,
	.save = vos_sock_save,
	.load = vos_sock_load,
};

void vos_sock_adopt(struct vos_ofd *o, const void *saved, size_t len)
{
	if (vos_sock_load(o, saved, len) == 0 && o->net)
		o->family = &sock_family;
}

void vos_sock_init(void)
{
	vos_ofd_family_add(&sock_family);
}

struct vos_ofd *vos_sock_ofd(struct vos_domain *d, int32_t rfd, uint32_t mode, uint32_t flags, int family, int type, int protocol,
			     bool fresh)
{
	struct vos_ofd *o = vos_ofd_new(d, rfd, mode, O_RDWR | (flags & O_NONBLOCK));
	struct vos_sock *s;

	if (!o)
		return NULL;
	s = vos_alloc(sizeof *s);
	if (!s) {
		/* The caller closes rfd, so the ofd must not. */
		atomic_store(&o->rfd, -1);
		vos_ofd_put(o);
		return NULL;
	}
	s->family = family;
	s->type = type & 0xf;
	s->protocol = protocol;
	if (fresh) {
		s->mem = vos_alloc(sizeof *s->mem);
		if (s->mem)
			s->mem->backlog = -1;
	}
	o->net = s;
	o->family = &sock_family;
	o->is_dgram = s->type != SOCK_STREAM;
	return o;
}

/* ---- making them ------------------------------------------------------------------------------------------------------ */

#define SOCKET_TRIES 3

long vos_call_socket(struct vos_frame *f)
{
	int family = (int)f->rdi, type = (int)f->rsi, protocol = (int)f->rdx, fd, err = 0;
	struct vos_domain *d = family == AF_INET || family == AF_INET6 ? net_domain() : NULL;
	struct vos_req req = { .op = __NR_socket };
	struct vos_lane_client *lane;
	struct vos_cqe cqe;
	struct vos_ofd *o;
	long r;

	if (!d)
		return vos_native(f);
	if (type & ~(0xf | SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	fd = vos_fd_reserve(0, type & SOCK_CLOEXEC ? O_CLOEXEC : 0);
	if (fd < 0)
		return fd;
	req.arg[0] = (uint64_t)family;
	req.arg[1] = (uint64_t)(type & ~SOCK_CLOEXEC);
	req.arg[2] = (uint64_t)protocol;
	/* One that died with its domain is none: no program expects a reset of what it has not got yet. */
	for (unsigned tries = 0;; tries++) {
		lane = vos_remote_lane(d, &err);
		if (!lane) {
			vos_fd_cancel(fd);
			return err;
		}
		cqe = (struct vos_cqe){ 0 };
		r = vos_remote_call(lane, &req, &cqe);
		if (r >= 0 || !(cqe.flags & VOS_CQE_DEAD))
			break;
		r = -ENETDOWN;
		if (tries == SOCKET_TRIES)
			break;
	}
	if (r < 0) {
		vos_fd_cancel(fd);
		return r;
	}
	o = vos_sock_ofd(d, (int32_t)r, cqe.aux, (uint32_t)type & O_NONBLOCK, family, type, protocol, true);
	if (!o) {
		vos_net_close(lane, (int32_t)r);
		vos_fd_cancel(fd);
		return -ENOMEM;
	}
	vos_fd_commit(fd, o);
	return fd;
}

/*
 * One accept.  A listener that waits when its domain dies goes on waiting: the domain is rebooted, vos_ofd_lane() revives the
 * socket, and the next connection arrives as if nothing had been.  Linux never answers ECONNRESET here, so it always means
 * that.  A listener that does not come back although its domain did answers ENETDOWN, which accept(2) tells programs to expect.
 */
#define ACCEPT_TRIES 20
static long accept_one(struct vos_ofd *o, uint64_t addr, uint64_t lenp, unsigned flags, struct vos_cqe *ret_cqe)
{
	uint64_t arg[6] = { 0, addr, lenp, flags & SOCK_NONBLOCK, 0, 0 };

	for (unsigned tries = 0; tries < ACCEPT_TRIES; tries++) {
		struct timespec pause = { 0, 5000000 };
		long r;
		int err = 0;

		*ret_cqe = (struct vos_cqe){ .res = -1 };
		r = vos_marshal_call_as(__NR_accept4, arg, o, ret_cqe);
		if (r != -ECONNRESET || !vos_sock_restorable(o))
			return r;
		/* It had waited: this was a life of the domain's own. */
		if (ret_cqe->flags & VOS_CQE_DEAD)
			tries = 0;
		if ((o->flags & O_NONBLOCK) && atomic_load(&o->domain->state) != VOS_DOM_UP)
			return -EAGAIN;
		if (!vos_remote_lane(o->domain, &err))
			return err;
		if (tries)
			vos_raw4(__NR_clock_nanosleep, CLOCK_MONOTONIC, 0, VOS_PTR(&pause), 0);
	}
	return -ENETDOWN;
}

static long accept_common(struct vos_frame *f, unsigned flags)
{
	struct vos_ofd *o, *n;
	struct vos_lane_client *lane;
	struct vos_cqe cqe;
	struct vos_sock *s;
	int32_t rfd;
	int fd, err;
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_native(f) : r;
	s = o->net;
	if (flags & ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK)) {
		vos_ofd_put(o);
		return -EINVAL;
	}
	/* The number first: with EMFILE the connection stays in the backlog, as on Linux. */
	fd = vos_fd_reserve(0, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0);
	if (fd < 0) {
		vos_ofd_put(o);
		return fd;
	}
	r = accept_one(o, f->rsi, f->rdx, flags, &cqe);
	if (r == -VOS_ERESTARTSYS)
		r = vos_sock_interrupted(o, VOS_SOCK_RCVTIMEO);
	if (r < 0) {
		/* Accepted, but its address could not be written: Linux drops the connection too. */
		if (cqe.res >= 0 && vos_ofd_lane(o, &lane, &rfd) == 0)
			vos_net_close(lane, (int32_t)cqe.res);
		goto fail;
	}
	n = vos_sock_ofd(o->domain, (int32_t)r, cqe.aux, flags & O_NONBLOCK, s->family, s->type, s->protocol, false);
	if (!n) {
		err = vos_ofd_lane(o, &lane, &rfd);
		if (err == 0)
			vos_net_close(lane, (int32_t)r);
		r = -ENOMEM;
		goto fail;
	}
	vos_fd_commit(fd, n);
	vos_ofd_put(o);
	return fd;
fail:
	vos_fd_cancel(fd);
	vos_ofd_put(o);
	return r;
}

long vos_call_accept(struct vos_frame *f)
{
	return accept_common(f, 0);
}

long vos_call_accept4(struct vos_frame *f)
{
	return accept_common(f, (unsigned)f->r10);
}

/* ---- addresses ---------------------------------------------------------------------------------------------------------- */

/* The address that the socket has got.  Its length, or negative errno. */
static long own_name(struct vos_ofd *o, unsigned char addr[128])
{
	struct {
		unsigned char addr[128];
		uint32_t len;
	} *mem;
	struct vos_req req = { .op = __NR_getsockname };
	struct vos_pending p = { 0 }, *pp = &p;
	struct vos_wait w = { .deadline_ns = VOS_NEVER };
	struct vos_lane_client *lane;
	uint64_t off;
	int32_t rfd;
	long r = vos_ofd_lane(o, &lane, &rfd);

	if (r < 0)
		return r;
	mem = vos_lane_alloc(lane, sizeof *mem, &off);
	if (!mem)
		return -ENOMEM;
	mem->len = sizeof mem->addr;
	req.arg[0] = (uint64_t)rfd;
	req.arg[1] = off;
	req.arg[2] = off + sizeof mem->addr;
	r = vos_remote_begin(lane, &req, &p);
	if (r == 0) {
		while (vos_remote_wait(&pp, 1, &w) != 0)
			;
		r = p.cqe.res;
	}
	if (r >= 0) {
		uint32_t len = *(volatile uint32_t *)&mem->len;

		r = len <= sizeof mem->addr ? (long)len : -EPROTO;
		if (r > 0)
			memcpy(addr, mem->addr, (size_t)r);
	}
	vos_lane_free(lane, mem);
	return r;
}

static void remember_own_name(struct vos_ofd *o)
{
	struct vos_sock *s = o->net;
	unsigned char addr[128];
	long len = own_name(o, addr);

	vos_lock(&s->lock);
	if (len > 0 && s->mem) {
		memcpy(s->mem->addr, addr, (size_t)len);
		s->mem->addr_len = (uint16_t)len;
	}
	vos_unlock(&s->lock);
}

long vos_call_bind(struct vos_frame *f)
{
	struct vos_ofd *o;
	struct vos_sock *s;
	uint32_t len = (uint32_t)f->rdx;
	struct sockaddr_in in;
	unsigned char addr[128];
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_unix_bind(f) : r;
	r = vos_marshal_call(f, o);
	s = o->net;
	if (r == 0 && s && s->mem && len <= sizeof addr && vos_copy_from_user(addr, vos_uptr(f->rsi), len) == 0) {
		/* sin_port and sin6_port lie at the same place.  Port 0: the kernel chose one, and that is the one to come back. */
		memcpy(&in, addr, len < sizeof in ? len : sizeof in);
		if (len < 4 || in.sin_port == 0) {
			remember_own_name(o);
		} else {
			vos_lock(&s->lock);
			if (s->mem) {
				memcpy(s->mem->addr, addr, len);
				s->mem->addr_len = (uint16_t)len;
			}
			vos_unlock(&s->lock);
		}
	}
	vos_ofd_put(o);
	return r;
}

/*
 * Connections that die with the domain linger in TIME_WAIT, and without SO_REUSEADDR on the listener that they came from the
 * address could not be bound again for a minute.  On a listening socket the option does nothing else; what getsockopt()
 * answers is the program's own setting.
 */
static void allow_rebinding(struct vos_ofd *o)
{
	uint64_t arg[6] = { 0, SOL_SOCKET, SO_REUSEADDR, 0, sizeof(int), 0 };
	struct vos_lane_client *lane;
	struct vos_sock *s = o->net;
	int32_t rfd;
	int on = 1;
	bool set;

	vos_lock(&s->lock);
	set = !s->mem || vos_sock_opt(s->mem, SO_REUSEADDR);
	vos_unlock(&s->lock);
	if (set || vos_ofd_lane(o, &lane, &rfd) < 0)
		return;
	arg[0] = (uint64_t)rfd;
	vos_net_call(lane, __NR_setsockopt, arg, 3, &on, sizeof on, 0, NULL);
}

long vos_call_listen(struct vos_frame *f)
{
	struct vos_ofd *o;
	struct vos_sock *s;
	bool unnamed = false;
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_native(f) : r;
	r = vos_marshal_call(f, o);
	s = o->net;
	if (r == 0 && s) {
		vos_lock(&s->lock);
		if (s->mem) {
			s->mem->backlog = (int)f->rsi < 0 ? SOMAXCONN : (int)f->rsi;
			unnamed = s->mem->addr_len == 0;
		}
		vos_unlock(&s->lock);
		if (unnamed)
			remember_own_name(o);
		allow_rebinding(o);
	}
	vos_ofd_put(o);
	return r;
}

long vos_call_connect(struct vos_frame *f)
{
	struct vos_ofd *o;
	struct vos_sock *s;
	uint32_t len = (uint32_t)f->rdx;
	unsigned char addr[128];
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_unix_connect(f) : r;
	r = vos_marshal_call(f, o);
	s = o->net;
	if (s && s->mem) {
		if (vos_sock_is_stream(o)) {
			/* Cut short by a signal it goes on connecting, as on Linux. */
			if (r == 0 || r == -EINPROGRESS || r == -VOS_ERESTARTSYS || r == -EALREADY || r == -EISCONN)
				forget(s);
		} else if (r == 0 && len <= sizeof addr && vos_copy_from_user(addr, vos_uptr(f->rsi), len) == 0) {
			uint16_t family = 0;

			memcpy(&family, addr, len < 2 ? len : 2);
			vos_lock(&s->lock);
			if (s->mem) {
				memcpy(s->mem->peer, addr, len);
				s->mem->peer_len = family == AF_UNSPEC ? 0 : (uint16_t)len;
			}
			vos_unlock(&s->lock);
		}
	}
	if (r == -VOS_ERESTARTSYS)
		r = vos_sock_interrupted(o, VOS_SOCK_SNDTIMEO);
	vos_ofd_put(o);
	return r;
}

long vos_call_shutdown(struct vos_frame *f)
{
	struct vos_ofd *o;
	struct vos_sock *s;
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_native(f) : r;
	r = vos_marshal_call(f, o);
	s = o->net;
	if (r == 0 && s) {
		vos_lock(&s->lock);
		/* A listener that is shut down for reading has ended. */
		if (s->mem && (int)f->rsi != SHUT_WR)
			s->mem->backlog = -1;
		vos_unlock(&s->lock);
	}
	vos_ofd_put(o);
	return r;
}

/* ---- options -------------------------------------------------------------------------------------------------------------- */

/* SO_ATTACH_FILTER and its like: the program's struct points to the instructions, which travel flat in its place. */
static long attach_filter(struct vos_frame *f, struct vos_ofd *o)
{
	int name = (int)f->rdx;
	struct sock_fprog prog;
	struct vos_lane_client *lane;
	uint64_t arg[6] = { 0, SOL_SOCKET, (uint64_t)name, 0, 0, 0 };
	struct vos_sock *s = o->net;
	void *code;
	size_t bytes;
	int32_t rfd;
	long r;

	if ((uint32_t)f->r8 != sizeof prog)
		return -EINVAL;
	if (vos_copy_from_user(&prog, vos_uptr(f->r10), sizeof prog) < 0)
		return -EFAULT;
	if (prog.len == 0 || prog.len > BPF_MAXINSNS || !prog.filter)
		return -EINVAL;
	bytes = prog.len * sizeof(struct sock_filter);
	code = vos_alloc(bytes);
	if (!code)
		return -ENOMEM;
	r = vos_copy_from_user(code, prog.filter, bytes);
	if (r == 0)
		r = vos_ofd_lane(o, &lane, &rfd);
	if (r == 0) {
		arg[0] = (uint64_t)rfd;
		arg[4] = bytes;
		r = vos_net_call(lane, __NR_setsockopt, arg, 3, code, bytes, 0, NULL);
	}
	if (r == 0 && s)
		remember_opt(s, SOL_SOCKET, name, code, (uint32_t)bytes);
	vos_free(code);
	return r;
}

static void remember_option(struct vos_frame *f, struct vos_sock *s)
{
	int level = (int)f->rsi, name = (int)f->rdx;
	uint32_t len = (uint32_t)f->r8;
	unsigned char val[512];
	struct timeval tv;

	if (len > sizeof val || vos_copy_from_user(val, vos_uptr(f->r10), len) < 0)
		return;
	if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == SO_RCVTIMEO_NEW || name == SO_SNDTIMEO_NEW) &&
	    len >= sizeof tv) {
		unsigned bit = name == SO_RCVTIMEO || name == SO_RCVTIMEO_NEW ? VOS_SOCK_RCVTIMEO : VOS_SOCK_SNDTIMEO;

		memcpy(&tv, val, sizeof tv);
		if (tv.tv_sec || tv.tv_usec)
			atomic_fetch_or(&s->timeouts, bit);
		else
			atomic_fetch_and(&s->timeouts, ~bit);
	}
	if (s->mem)
		remember_opt(s, level, name, val, len);
}

long vos_call_setsockopt(struct vos_frame *f)
{
	struct vos_ofd *o;
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_native(f) : r;
	r = 1;
	if ((int)f->rsi == SOL_SOCKET) {
		switch ((int)f->rdx) {
		case SO_ATTACH_FILTER:
		case SO_ATTACH_REUSEPORT_CBPF:
			r = attach_filter(f, o);
			break;
		case SO_ATTACH_BPF:
		case SO_ATTACH_REUSEPORT_EBPF:
			r = -EBADF; /* a program of this kernel means nothing to the other */
			break;
		case SO_ZEROCOPY:
			/* The pages would be the region's, whose life is not the program's to end. */
			r = -EOPNOTSUPP;
			break;
		default:
			break;
		}
	}
	if (r == 1) {
		r = vos_marshal_call(f, o);
		if (r == 0 && o->net)
			remember_option(f, o->net);
	}
	vos_ofd_put(o);
	return r;
}

static long answer_int(struct vos_frame *f, int value)
{
	uint32_t len;

	if (vos_copy_from_user(&len, vos_uptr(f->r8), sizeof len) < 0)
		return -EFAULT;
	if ((int32_t)len < 0)
		return -EINVAL;
	len = len < sizeof value ? len : (uint32_t)sizeof value;
	if (vos_copy_to_user(vos_uptr(f->r10), &value, len) < 0 || vos_copy_to_user(vos_uptr(f->r8), &len, sizeof len) < 0)
		return -EFAULT;
	return 0;
}

/* A listener's SO_REUSEADDR as the program set it: see allow_rebinding(). */
static bool own_reuseaddr(struct vos_ofd *o, int *ret)
{
	struct vos_sock *s = o->net;
	bool listens = false;

	if (!s)
		return false;
	vos_lock(&s->lock);
	if (s->mem && s->mem->backlog >= 0) {
		listens = true;
		*ret = vos_sock_opt(s->mem, SO_REUSEADDR) != 0;
	}
	vos_unlock(&s->lock);
	return listens;
}

long vos_call_getsockopt(struct vos_frame *f)
{
	struct vos_ofd *o;
	int level = (int)f->rsi, name = (int)f->rdx, value;
	long r;

	o = socket_of(f, &r);
	if (!o)
		return r == 1 ? vos_native(f) : r;
	if (level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE) {
		vos_ofd_put(o);
		return -ENOPROTOOPT; /* it maps the receive queue into the caller: memory that does not cross domains */
	}
	if (level == SOL_SOCKET && name == SO_REUSEADDR && own_reuseaddr(o, &value)) {
		r = answer_int(f, value);
		vos_ofd_put(o);
		return r;
	}
	r = vos_marshal_call(f, o);
	/* The connection died with its domain: that is the socket's error, not the call's. */
	if (r == -ECONNRESET && level == SOL_SOCKET && name == SO_ERROR)
		r = answer_int(f, ECONNRESET);
	vos_ofd_put(o);
	return r;
}
