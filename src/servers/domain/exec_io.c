/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and writing.  Everything is first tried without waiting; what would wait is parked on the descriptor's readiness or
 * given to the engine, and goes on when that answers.  Whether the open file is non-blocking, and its time limits, are asked
 * only when it would wait: the file may be shared with other proxies, which change them.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include "servers/domain/exec.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

#define FALSE_WAKES 16u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void vos_exec_limit(struct vos_op *op, bool send)
{
	struct timeval tv = { 0, 0 };
	socklen_t len = sizeof tv;
	uint64_t now;

	op->timeout_ns = 0;
	if (op->deadline_ns == 0) {
		if (vos_raw6(__NR_getsockopt, op->fd, SOL_SOCKET, send ? SO_SNDTIMEO : SO_RCVTIMEO, VOS_PTR(&tv), VOS_PTR(&len), 0) ||
		    (!tv.tv_sec && !tv.tv_usec))
			return;
		op->deadline_ns = now_ns() + (uint64_t)tv.tv_sec * 1000000000u + (uint64_t)tv.tv_usec * 1000u;
	}
	now = now_ns();
	op->timeout_ns = op->deadline_ns > now ? op->deadline_ns - now : 1;
}

long vos_exec_wait(struct vos_proxy *p, struct vos_op *op, uint32_t events)
{
	long fl;

	if (op->req_flags & VOS_REQ_NOWAIT)
		return -EAGAIN;
	if (op->fd < 0)
		return -EBADF;
	fl = vos_raw3(__NR_fcntl, op->fd, F_GETFL, 0);
	if (fl < 0 || (fl & O_NONBLOCK))
		return -EAGAIN;
	vos_exec_limit(op, events & POLLOUT);
	vos_rfd_hold(p, op);
	/*
	 * A socket with something in its error queue polls ready for ever and gives nothing.  Readiness then tells nothing: look
	 * again now and then instead.
	 */
	if (op->false_done != op->done)
		op->false_wakes = 0;
	op->false_done = op->done;
	if (op->false_wakes++ >= FALSE_WAKES) {
		struct timespec *ts = (void *)op->ts;
		long a[6] = { CLOCK_MONOTONIC, 0, VOS_PTR(ts) };

		if (op->deadline_ns && now_ns() >= op->deadline_ns)
			return -EAGAIN;
		*ts = (struct timespec){ 0, 2000000 };
		return vos_wait_worker(p, op, __NR_clock_nanosleep, a);
	}
	return vos_wait_poll(p, op, op->fd, events);
}

/*
 * A datagram socket that was shut down for reading is ready for ever and yet has nothing: without waiting the kernel answers
 * EAGAIN, but who waits is told the end.
 */
void vos_exec_hung_up(struct vos_op *op, long events)
{
	op->stage = events & POLLRDHUP ? VOS_STAGE_SHUT : 0;
}

/* The result of something that has moved op->done bytes and now got `err`. */
static long moved(struct vos_op *op, long err)
{
	return op->done ? (long)op->done : err;
}

/* What a resumed wait means: 0 to try again, else the result. */
static long woken(struct vos_op *op, long res)
{
	if (res == -ETIME)
		return moved(op, -EAGAIN);
	if (vos_is_err(res))
		return moved(op, res);
	return 0;
}

/* ---- files and streams: read, pread64, readv, preadv, preadv2 and their writing sisters ---- */

/* op->a here: descriptor, address, length, offset (-1: the file's own), RWF flags. */
struct rw {
	bool write;
	unsigned char *buf;
	size_t len;
	long off, flags;
};

static struct rw rw_of(struct vos_op *op)
{
	struct rw x = { .buf = (unsigned char *)op->a[1], .len = (size_t)op->a[2], .off = -1, .flags = 0 };

	switch (op->nr) {
	case __NR_pwrite64:
	case __NR_pwritev:
	case __NR_pread64:
	case __NR_preadv:
		x.off = op->a[3];
		break;
	case __NR_preadv2:
	case __NR_pwritev2:
		x.off = op->a[3];
		x.flags = (int)op->a[5];
		break;
	}
	x.write = op->nr == __NR_write || op->nr == __NR_pwrite64 || op->nr == __NR_writev || op->nr == __NR_pwritev ||
		  op->nr == __NR_pwritev2;
	return x;
}

/* What is left of it. */
static long rest(struct vos_op *op, const struct rw *x)
{
	/* In integers: nothing at all may be asked for at NULL, and at offsets that only the kernel judges. */
	op->iov.iov_base = (void *)((uintptr_t)x->buf + op->done);
	op->iov.iov_len = x->len - op->done;
	return VOS_PTR(&op->iov);
}

static long offset(const struct vos_op *op, const struct rw *x)
{
	return x->off == -1 ? -1 : (long)((unsigned long)x->off + op->done);
}

static long now_or_not(struct vos_proxy *p, struct vos_op *op, const struct rw *x, long extra)
{
	long iov = rest(op, x), res;
	unsigned char *to = op->iov.iov_base, *far = x->write ? NULL : vos_far_buffer(p, op->iov.iov_len);

	if (far)
		op->iov.iov_base = far;
	res = vos_raw6(x->write ? __NR_pwritev2 : __NR_preadv2, op->a[0], iov, 1, offset(op, x), 0, x->flags | extra);
	if (far && res > 0)
		vos_far_copy(to, far, (size_t)res);
	return res;
}

static long rw_resume(struct vos_proxy *p, struct vos_op *op, long res);

/* The engine does the rest of it, waiting as long as it takes. */
static long rw_async(struct vos_proxy *p, struct vos_op *op, const struct rw *x)
{
	long a[6] = { op->fd_private ? op->fd : op->a[0], rest(op, x), 1, offset(op, x), 0, x->flags };

	if ((op->req_flags & VOS_REQ_NOWAIT) && op->done == 0)
		return -EAGAIN;
	op->resume = rw_resume;
	return vos_wait_call(p, op, x->write ? __NR_pwritev2 : __NR_preadv2, a);
}

static long rw_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	struct rw x = rw_of(op);

	(void)p;
	if (vos_is_err(res))
		return moved(op, res);
	op->done += (size_t)res;
	/* A blocking write to a pipe goes on until all is written; a read gives what there was. */
	if (x.write && res > 0 && op->done < x.len && !op->cancelled)
		return rw_async(p, op, &x);
	return (long)op->done;
}

static long rw_file(struct vos_proxy *p, struct vos_op *op, struct vos_rfd *r, struct rw *x)
{
	long res;

	if (x->write) {
		if ((r->flags & VOS_RFD_SYNC) || (x->flags & (RWF_DSYNC | RWF_SYNC)))
			return rw_async(p, op, x);
		return now_or_not(p, op, x, 0);
	}
	if ((r->flags & VOS_RFD_NO_NOWAIT) || (x->flags & RWF_NOWAIT))
		return now_or_not(p, op, x, 0);
	do {
		res = now_or_not(p, op, x, RWF_NOWAIT);
		if (res == -EAGAIN)
			return rw_async(p, op, x);
		if (res == -EOPNOTSUPP) {
			r->flags |= VOS_RFD_NO_NOWAIT;
			return now_or_not(p, op, x, 0);
		}
		if (res <= 0)
			return moved(op, res);
		op->done += (size_t)res;
		/* Short: the end of the file, or the end of what is in memory. */
	} while (op->done < x->len);
	return (long)op->done;
}

static long rw_stream(struct vos_proxy *p, struct vos_op *op, struct vos_rfd *r, struct rw *x)
{
	long fl, res = -EAGAIN;

	if (!x->len)
		return now_or_not(p, op, x, 0);
	if (!(r->flags & VOS_RFD_NO_NOWAIT)) {
		res = now_or_not(p, op, x, RWF_NOWAIT);
		if (res == -EOPNOTSUPP)
			r->flags |= VOS_RFD_NO_NOWAIT;
		else if (res != -EAGAIN && !(x->write && res > 0 && (size_t)res < x->len))
			return res;
		if (res > 0)
			op->done = (size_t)res;
	}
	fl = vos_raw3(__NR_fcntl, op->a[0], F_GETFL, 0);
	if (fl < 0 || (fl & O_NONBLOCK) || (x->flags & RWF_NOWAIT))
		return op->done ? (long)op->done : now_or_not(p, op, x, 0);
	return rw_async(p, op, x);
}

/* ---- sockets ---- */

static long sock_write(struct vos_proxy *p, struct vos_op *op, unsigned char *buf, size_t len, long flags, const void *to,
		       long tolen);
static long sock_read(struct vos_proxy *p, struct vos_op *op, unsigned char *buf, size_t len, long flags);

static long rw_socket(struct vos_proxy *p, struct vos_op *op, struct rw *x)
{
	/* pread answers -ESPIPE; a read of nothing answers 0 without a look at the socket. */
	if (x->off != -1 || x->flags || (!x->len && !x->write))
		return now_or_not(p, op, x, RWF_NOWAIT);
	if (x->write)
		return sock_write(p, op, x->buf, x->len, 0, NULL, 0);
	return sock_read(p, op, x->buf, x->len, 0);
}

static long read_or_write(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_rfd *r = vos_rfd(p, op->a[0]);
	struct rw x = rw_of(op);

	/* The flat form of preadv2 knows "the file's own offset"; pread64 and preadv have no such value. */
	if (x.off < 0 && op->nr != __NR_preadv2 && op->nr != __NR_pwritev2 && x.off != -1)
		return -EINVAL;
	if (x.off == -1 && (op->nr == __NR_pread64 || op->nr == __NR_pwrite64 || op->nr == __NR_preadv || op->nr == __NR_pwritev))
		return -EINVAL;
	switch (r->kind) {
	case VOS_RFD_FILE:
		return rw_file(p, op, r, &x);
	case VOS_RFD_SOCKET:
		return rw_socket(p, op, &x);
	case VOS_RFD_STREAM:
		return rw_stream(p, op, r, &x);
	default:
		/* EISDIR, EBADF, EINVAL: the kernel's own. */
		return now_or_not(p, op, &x, 0);
	}
}

long vos_exec_read(struct vos_proxy *p, struct vos_op *op)     { return read_or_write(p, op); }
long vos_exec_pread64(struct vos_proxy *p, struct vos_op *op)  { return read_or_write(p, op); }
long vos_exec_readv(struct vos_proxy *p, struct vos_op *op)    { return read_or_write(p, op); }
long vos_exec_preadv(struct vos_proxy *p, struct vos_op *op)   { return read_or_write(p, op); }
long vos_exec_preadv2(struct vos_proxy *p, struct vos_op *op)  { return read_or_write(p, op); }
long vos_exec_write(struct vos_proxy *p, struct vos_op *op)    { return read_or_write(p, op); }
long vos_exec_pwrite64(struct vos_proxy *p, struct vos_op *op) { return read_or_write(p, op); }
long vos_exec_writev(struct vos_proxy *p, struct vos_op *op)   { return read_or_write(p, op); }
long vos_exec_pwritev(struct vos_proxy *p, struct vos_op *op)  { return read_or_write(p, op); }
long vos_exec_pwritev2(struct vos_proxy *p, struct vos_op *op) { return read_or_write(p, op); }

static long sock_write_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	res = woken(op, res);
	if (res)
		return res;
	if (op->nr == __NR_sendto)
		return sock_write(p, op, (unsigned char *)op->a[1], (size_t)op->a[2], (int)op->a[3], (void *)op->a[4], op->a[5]);
	return sock_write(p, op, (unsigned char *)op->a[1], (size_t)op->a[2], 0, NULL, 0);
}

static long sock_write(struct vos_proxy *p, struct vos_op *op, unsigned char *buf, size_t len, long flags, const void *to,
		       long tolen)
{
	long n;

	for (;;) {
		n = vos_raw6(__NR_sendto, op->fd, (long)((uintptr_t)buf + op->done), (long)(len - op->done),
			     flags | MSG_DONTWAIT | MSG_NOSIGNAL, VOS_PTR(to), tolen);
		if (n == -EAGAIN)
			break;
		if (vos_is_err(n))
			return moved(op, n);
		op->done += (size_t)n;
		if (op->done >= len || n == 0)
			return (long)op->done;
	}
	if (flags & MSG_DONTWAIT)
		return moved(op, -EAGAIN);
	op->resume = sock_write_resume;
	n = vos_exec_wait(p, op, POLLOUT);
	return n == VOS_PENDING ? n : moved(op, n);
}

/* recvfrom's address: the kernel writes the private length; bytes go out by the capacity that was read once. */
static void give_address(struct vos_op *op)
{
	uint32_t n = op->addr_len < op->lenp ? op->addr_len : op->lenp;

	if (!op->a[4])
		return;
	if (n > sizeof op->addr)
		n = sizeof op->addr;
	memcpy((void *)op->a[4], op->addr, n);
	op->lenp = op->addr_len;
}

/* Only a stream has an "all" to wait for. */
static bool is_stream(struct vos_op *op)
{
	int type = 0;
	socklen_t len = sizeof type;

	return !vos_raw6(__NR_getsockopt, op->fd, SOL_SOCKET, SO_TYPE, VOS_PTR(&type), VOS_PTR(&len), 0) && type == SOCK_STREAM;
}

static long sock_read_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	long events = res;

	res = woken(op, res);
	if (res)
		return res;
	vos_exec_hung_up(op, events);
	return sock_read(p, op, (unsigned char *)op->a[1], (size_t)op->a[2], op->nr == __NR_recvfrom ? (int)op->a[3] : 0);
}

static long sock_read(struct vos_proxy *p, struct vos_op *op, unsigned char *buf, size_t len, long flags)
{
	bool all = (flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL && is_stream(op);
	bool from = op->nr == __NR_recvfrom && op->a[4];
	long n;

	do {
		unsigned char *to = (unsigned char *)((uintptr_t)buf + op->done), *far = vos_far_buffer(p, len - op->done);

		op->addr_len = sizeof op->addr;
		n = vos_raw6(__NR_recvfrom, op->fd, VOS_PTR(far ? far : to), (long)(len - op->done),
			     (flags & ~MSG_WAITALL) | MSG_DONTWAIT, from ? VOS_PTR(op->addr) : 0, from ? VOS_PTR(&op->addr_len) : 0);
		if (far && n > 0)
			vos_far_copy(to, far, (size_t)n < len - op->done ? (size_t)n : len - op->done);
		if (n == -EAGAIN)
			break;
		if (vos_is_err(n))
			return moved(op, n);
		if (from)
			give_address(op);
		/* A datagram is a whole; MSG_TRUNC may say more than fitted. */
		if (n == 0 || !all || op->done + (size_t)n >= len)
			return (long)op->done + n;
		op->done += (size_t)n;
	} while (all);
	if (flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB))
		return moved(op, -EAGAIN);
	if (op->stage == VOS_STAGE_SHUT)
		return (long)op->done;
	op->resume = sock_read_resume;
	n = vos_exec_wait(p, op, POLLIN | POLLRDHUP);
	return n == VOS_PENDING ? n : moved(op, n);
}

static long plain(struct vos_proxy *p, struct vos_op *op, long res)
{
	(void)p;
	(void)op;
	return res;
}

long vos_exec_sendto(struct vos_proxy *p, struct vos_op *op)
{
	long flags = (int)op->a[3];

	if (p->rfd[op->fd].kind != VOS_RFD_SOCKET)
		return -ENOTSOCK;
	/* Connects and sends in one: no way to try that without waiting. */
	if (flags & MSG_FASTOPEN) {
		op->a[3] = flags | MSG_NOSIGNAL;
		op->resume = plain;
		if (op->a[4] && op->a[5] >= 0 && op->a[5] <= (long)sizeof op->addr) {
			memcpy(op->addr, (void *)op->a[4], (size_t)op->a[5]);
			op->a[4] = VOS_PTR(op->addr);
		}
		return vos_wait_worker(p, op, __NR_sendto, op->a);
	}
	return sock_write(p, op, (unsigned char *)op->a[1], (size_t)op->a[2], flags, (void *)op->a[4], op->a[5]);
}

static long peek_resume(struct vos_proxy *p, struct vos_op *op, long res)
{
	(void)p;
	if (!vos_is_err(res))
		give_address(op);
	return res;
}

long vos_exec_recvfrom(struct vos_proxy *p, struct vos_op *op)
{
	long flags = (int)op->a[3];

	if (p->rfd[op->fd].kind != VOS_RFD_SOCKET)
		return -ENOTSOCK;
	/* Readiness does not tell when so many bytes can be peeked at. */
	if ((flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT)) == (MSG_WAITALL | MSG_PEEK)) {
		long a[6] = { op->a[0], op->a[1], op->a[2], flags, op->a[4] ? VOS_PTR(op->addr) : 0,
			      op->a[4] ? VOS_PTR(&op->addr_len) : 0 };

		op->addr_len = sizeof op->addr;
		op->resume = peek_resume;
		return vos_wait_worker(p, op, __NR_recvfrom, a);
	}
	return sock_read(p, op, (unsigned char *)op->a[1], (size_t)op->a[2], flags);
}
