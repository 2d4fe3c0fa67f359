/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets: making them, connecting, accepting, messages, options. */
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include "servers/domain/exec.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif
#ifndef SO_ATTACH_REUSEPORT_EBPF
#define SO_ATTACH_REUSEPORT_EBPF 52
#endif
#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif

long vos_exec_socket(struct vos_proxy *p, struct vos_op *op)
{
	long fd;

	if (p->kind != VOS_KIND_NET || (op->a[0] != AF_INET && op->a[0] != AF_INET6))
		return -EAFNOSUPPORT;
	fd = vos_raw3(__NR_socket, op->a[0], op->a[1] | SOCK_CLOEXEC, op->a[2]);
	return vos_is_err(fd) ? fd : vos_rfd_add(p, (int)fd, O_RDWR, &op->aux);
}

static bool nonblocking(struct vos_op *op)
{
	long fl = vos_raw3(__NR_fcntl, op->fd, F_GETFL, 0);

	return fl < 0 || (fl & O_NONBLOCK);
}

/* ---- connect ---- */

static long connect_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	(void)p;
	(void)op;
	/* SO_SNDTIMEO ran out; the attempt goes on, as on Linux. */
	return res == -ETIME ? -EINPROGRESS : res;
}

long vos_exec_connect(struct vos_proxy *p, struct vos_op *op)
{
	long len = (int)op->a[2];
	long a[6] = { op->fd, VOS_PTR(op->addr), len };

	if (len < 0 || len > (long)sizeof op->addr)
		return -EINVAL;
	if (op->a[1])
		memcpy(op->addr, (void *)op->a[1], (size_t)len);
	if (p->rfd[op->fd].kind != VOS_RFD_SOCKET)
		return -ENOTSOCK;
	if (nonblocking(op))
		return vos_raw3(__NR_connect, op->fd, VOS_PTR(op->addr), len);
	vos_exec_limit(op, true);
	op->resume = connect_resume;
	return vos_wait_call(p, op, __NR_connect, a);
}

/* ---- accept ---- */

static long accept_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	struct vos_rfd *listener = op->fd >= 0 && !op->fd_private ? vos_rfd(p, op->fd) : NULL;
	bool linger = listener && (listener->flags & VOS_RFD_LINGER);
	uint32_t n;

	if (res == -ETIME)
		return -EAGAIN;
	if (vos_is_err(res))
		return res;
	res = vos_rfd_add(p, (int)res, O_RDWR, &op->aux);
	if (vos_is_err(res))
		return res;
	/* The accepted socket inherits it. */
	if (linger)
		p->rfd[res].flags |= VOS_RFD_LINGER;
	if (op->a[1]) {
		n = op->addr_len < op->lenp ? op->addr_len : op->lenp;
		memcpy((void *)op->a[1], op->addr, n < sizeof op->addr ? n : sizeof op->addr);
		op->lenp = op->addr_len;
	}
	return res;
}

static long accept_any(struct vos_proxy *p, struct vos_op *op, long flags)
{
	long a[6] = { op->fd, op->a[1] ? VOS_PTR(op->addr) : 0, op->a[1] ? VOS_PTR(&op->addr_len) : 0, flags | SOCK_CLOEXEC };

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	if (p->rfd[op->fd].kind != VOS_RFD_SOCKET)
		return -ENOTSOCK;
	op->addr_len = sizeof op->addr;
	if (nonblocking(op))
		return accept_resume(p, op, vos_raw4(__NR_accept4, a[0], a[1], a[2], a[3]));
	vos_exec_limit(op, false);
	op->resume = accept_resume;
	return vos_wait_call(p, op, __NR_accept4, a);
}

long vos_exec_accept4(struct vos_proxy *p, struct vos_op *op)
{
	return accept_any(p, op, (int)op->a[3]);
}

long vos_exec_accept(struct vos_proxy *p, struct vos_op *op)
{
	return accept_any(p, op, 0);
}

/* ---- sendmsg, recvmsg ---- */

/* Copies the struct and checks its parts.  SCM_RIGHTS means nothing to these families: the kernel skips it. */
static int take_wire(struct vos_proxy *p, struct vos_op *op, struct msghdr *ret, struct iovec *iov)
{
	struct vos_wire_msg *w = &op->wire;

	op->wire_at = vos_validate_range(p, op->lane, (uint64_t)op->a[1], sizeof *w);
	if (!op->wire_at)
		return -EFAULT;
	memcpy(w, op->wire_at, sizeof *w);
	memset(ret, 0, sizeof *ret);
	if (w->name_len && w->name_off != VOS_NULL) {
		ret->msg_name = vos_validate_range(p, op->lane, w->name_off, w->name_len);
		ret->msg_namelen = w->name_len;
		if (!ret->msg_name)
			return -EFAULT;
	}
	if (w->control_len && w->control_off != VOS_NULL) {
		ret->msg_control = vos_validate_range(p, op->lane, w->control_off, w->control_len);
		ret->msg_controllen = w->control_len;
		if (!ret->msg_control)
			return -EFAULT;
	}
	iov->iov_base = w->data_len ? vos_validate_range(p, op->lane, w->data_off, w->data_len) : (void *)w;
	iov->iov_len = w->data_len;
	if (!iov->iov_base)
		return -EFAULT;
	ret->msg_iov = iov;
	ret->msg_iovlen = 1;
	return 0;
}

static long send_more(struct vos_proxy *p, struct vos_op *op, struct msghdr *h)
{
	struct iovec *iov = h->msg_iov;
	unsigned char *base = iov->iov_base;
	long flags = (int)op->a[2], n;

	if (h->msg_namelen > INT_MAX)
		return -EINVAL;
	for (;;) {
		iov->iov_base = base + op->done;
		iov->iov_len = op->wire.data_len - op->done;
		/* Ancillary data goes with the first byte. */
		if (op->done)
			h->msg_control = NULL, h->msg_controllen = 0;
		n = vos_raw3(__NR_sendmsg, op->fd, VOS_PTR(h), flags | MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n == -EAGAIN)
			break;
		if (vos_is_err(n))
			return op->done ? (long)op->done : n;
		op->done += (size_t)n;
		if (op->done >= op->wire.data_len || n == 0)
			return (long)op->done;
	}
	n = flags & MSG_DONTWAIT ? -EAGAIN : vos_exec_wait(p, op, POLLOUT);
	return vos_is_err(n) && op->done ? (long)op->done : n;
}

/* The copy of the struct is checked already; the addresses are made again from it. */
static void again(struct vos_proxy *p, struct vos_op *op, struct msghdr *h, struct iovec *iov)
{
	unsigned char *data = p->lane[op->lane].view.data;
	struct vos_wire_msg *w = &op->wire;

	memset(h, 0, sizeof *h);
	if (w->name_len && w->name_off != VOS_NULL)
		h->msg_name = data + w->name_off, h->msg_namelen = w->name_len;
	if (w->control_len && w->control_off != VOS_NULL)
		h->msg_control = data + w->control_off, h->msg_controllen = w->control_len;
	iov->iov_base = w->data_len ? (void *)(data + w->data_off) : (void *)w;
	iov->iov_len = w->data_len;
	h->msg_iov = iov;
	h->msg_iovlen = 1;
}

typedef long more_fn(struct vos_proxy *p, struct vos_op *op, struct msghdr *h);

static long go_on(struct vos_proxy *p, struct vos_op *op, long res, more_fn *more)
{
	struct msghdr h;
	struct iovec iov;

	if (vos_is_err(res))
		return op->done ? (long)op->done : res == -ETIME ? -EAGAIN : res;
	again(p, op, &h, &iov);
	return more(p, op, &h);
}

static long begin(struct vos_proxy *p, struct vos_op *op, long (*resume)(struct vos_proxy *, struct vos_op *, long), more_fn *more)
{
	struct msghdr h;
	struct iovec iov;
	long r;

	if (p->rfd[op->fd].kind != VOS_RFD_SOCKET)
		return -ENOTSOCK;
	r = take_wire(p, op, &h, &iov);
	if (r)
		return r;
	op->resume = resume;
	return more(p, op, &h);
}

static long send_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	return go_on(p, op, res, send_more);
}

long vos_exec_sendmsg(struct vos_proxy *p, struct vos_op *op)
{
	return begin(p, op, send_resume, send_more);
}

static long recv_more(struct vos_proxy *p, struct vos_op *op, struct msghdr *h)
{
	struct vos_wire_msg *w = &op->wire, out;
	long flags = (int)op->a[2], n;
	bool all = false;
	int type = 0;
	socklen_t len = sizeof type;

	if ((flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL)
		all = !vos_raw6(__NR_getsockopt, op->fd, SOL_SOCKET, SO_TYPE, VOS_PTR(&type), VOS_PTR(&len), 0) &&
		      type == SOCK_STREAM;
	for (;;) {
		struct iovec *iov = h->msg_iov;
		unsigned char *base = iov->iov_base;

		size_t room = w->data_len - op->done;
		unsigned char *far = vos_far_buffer(p, room);

		iov->iov_base = far ? far : base + op->done;
		iov->iov_len = room;
		n = vos_raw3(__NR_recvmsg, op->fd, VOS_PTR(h), (flags & ~MSG_WAITALL) | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		iov->iov_base = base;
		if (vos_is_err(n))
			break;
		if (far)
			vos_far_copy(base + op->done, far, (size_t)n < room ? (size_t)n : room);
		op->done += (size_t)n;
		if (n == 0 || !all || op->done >= w->data_len)
			goto got;
	}
	if (n != -EAGAIN || (flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB))) {
		if (!op->done)
			return n;
	} else {
		n = op->stage == VOS_STAGE_SHUT ? 0 : vos_exec_wait(p, op, POLLIN | POLLRDHUP);
		if (n == VOS_PENDING || (!op->done && n))
			return n;
	}
got:
	out = *w;
	out.name_len = h->msg_name ? h->msg_namelen : 0;
	out.control_len = h->msg_control ? (uint32_t)h->msg_controllen : 0;
	out.msg_flags = (uint32_t)h->msg_flags & ~(uint32_t)MSG_CMSG_CLOEXEC;
	memcpy(op->wire_at, &out, sizeof out);
	return (long)op->done;
}

static long recv_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	if (!vos_is_err(res))
		vos_exec_hung_up(op, res);
	return go_on(p, op, res, recv_more);
}

long vos_exec_recvmsg(struct vos_proxy *p, struct vos_op *op)
{
	return begin(p, op, recv_resume, recv_more);
}

/* ---- options ---- */

/*
 * Options whose value holds an address of the caller's memory, or a length in units other than bytes: executed here they would
 * read or write this process.  SO_ZEROCOPY would pin the lane's buffers, which are reused before the notice comes.
 */
static bool refused(long level, long name)
{
	switch (level) {
	case SOL_SOCKET:
		return name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF || name == SO_ATTACH_REUSEPORT_CBPF ||
		       name == SO_ATTACH_REUSEPORT_EBPF || name == SO_ZEROCOPY;
	case IPPROTO_IP: /* ip_tables, arp_tables, ebtables */
		return (name >= 64 && name < 70) || (name >= 96 && name < 100) || name >= 128;
	case IPPROTO_IPV6: /* ip6_tables; 66 and 67 are IPV6_RECVTCLASS and IPV6_TCLASS */
		return name == 64 || name == 65 || name == 68 || name == 69 || name >= 128;
	case IPPROTO_TCP:
		return name == TCP_ZEROCOPY_RECEIVE;
	}
	return false;
}

/* On the wire the instructions stand flat in place of the struct that points to them. */
static long attach_filter(struct vos_op *op)
{
	size_t len = (uint32_t)op->a[4];
	struct sock_fprog prog = { .len = (unsigned short)(len / sizeof(struct sock_filter)) };

	if (len == 0 || len % sizeof(struct sock_filter) || len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EINVAL;
	/* The kernel copies the program before it checks it. */
	prog.filter = (struct sock_filter *)op->a[3];
	return vos_raw6(__NR_setsockopt, op->fd, SOL_SOCKET, op->a[2], VOS_PTR(&prog), sizeof prog, 0);
}

long vos_exec_setsockopt(struct vos_proxy *p, struct vos_op *op)
{
	long r;

	if (op->a[1] == SOL_SOCKET && (op->a[2] == SO_ATTACH_FILTER || op->a[2] == SO_ATTACH_REUSEPORT_CBPF))
		return attach_filter(op);
	if (refused(op->a[1], op->a[2]))
		return -ENOPROTOOPT;
	r = vos_raw6(__NR_setsockopt, op->fd, op->a[1], op->a[2], op->a[3], (int)op->a[4], 0);
	if (!r && op->a[1] == SOL_SOCKET && op->a[2] == SO_LINGER)
		p->rfd[op->fd].flags |= VOS_RFD_LINGER;
	return r;
}

long vos_exec_getsockopt(struct vos_proxy *p, struct vos_op *op)
{
	(void)p;
	if (refused(op->a[1], op->a[2]))
		return -ENOPROTOOPT;
	return vos_raw6(__NR_getsockopt, op->fd, op->a[1], op->a[2], op->a[3], op->a[4], 0);
}
