/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * read, write and their kin.  What is larger than the lane goes in pieces; a short piece, an error or a signal after the
 * first piece ends the call with what was moved, as a signal or a full buffer ends Linux's own.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "../calls/net.h"
#include "../entry/user.h"
#include "marshal.h"
#include "marshal_impl.h"

/* ---- iovecs ------------------------------------------------------------------------------------------------------------ */

static bool next_piece(struct vos_iter *it)
{
	if (vos_copy_from_user(&it->cur, (void *)(uintptr_t)it->iov, sizeof it->cur) < 0)
		return false;
	it->iov += sizeof it->cur;
	it->left_iov--;
	return true;
}

int vos_iter_init(struct vos_iter *it, uint64_t iov, uint64_t count)
{
	size_t sum = 0;

	if (count > IOV_MAX)
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) {
		struct iovec v;

		if (vos_copy_from_user(&v, (void *)(uintptr_t)(iov + i * sizeof v), sizeof v) < 0)
			return -EFAULT;
		if ((ssize_t)v.iov_len < 0)
			return -EINVAL;
		if (!vos_user_ok((uint64_t)(uintptr_t)v.iov_base, v.iov_len))
			return -EFAULT;
		sum = v.iov_len > VOS_RW_MAX - sum ? VOS_RW_MAX : sum + v.iov_len;
	}
	*it = (struct vos_iter){ .iov = iov, .left_iov = count, .left = sum };
	/* The first piece that holds anything: what a look at the buffer looks at. */
	while (it->left_iov && it->cur.iov_len == 0)
		if (!next_piece(it))
			return -EFAULT;
	return 0;
}

static void iter_one(struct vos_iter *it, uint64_t addr, uint64_t len)
{
	if (len > VOS_RW_MAX)
		len = VOS_RW_MAX;
	*it = (struct vos_iter){ .cur = { (void *)(uintptr_t)addr, len }, .left = len };
}

/* Bytes that can be read before the fault that copying n of them met: whole pages from there on, as Linux goes by. */
static size_t readable(unsigned char *dst, const unsigned char *src, size_t n)
{
	size_t done = 0;

	while (done < n) {
		size_t step = 4096 - ((uintptr_t)(src + done) & 4095);

		if (step > n - done)
			step = n - done;
		if (vos_copy_from_user(dst + done, src + done, step) < 0)
			break;
		done += step;
	}
	return done;
}

/* Moves through the program's pieces; the array is read again, so a program that rewrites it meanwhile harms only itself. */
static long iter_move(struct vos_iter *it, unsigned char *mem, size_t len, bool to)
{
	size_t done = 0;

	while (done < len && it->left) {
		size_t n = len - done;

		if (it->cur.iov_len == 0) {
			if (it->left_iov == 0)
				break;
			if (!next_piece(it))
				return done ? (long)done : -EFAULT;
			continue;
		}
		if (n > it->cur.iov_len)
			n = it->cur.iov_len;
		if (n > it->left)
			n = it->left;
		if (to) {
			if (vos_copy_to_user(it->cur.iov_base, mem + done, n) < 0)
				return done ? (long)done : -EFAULT;
		} else if (vos_copy_to_region(mem + done, it->cur.iov_base, n) < 0) {
			done += readable(mem + done, it->cur.iov_base, n);
			return done ? (long)done : -EFAULT;
		}
		it->cur.iov_base = (char *)it->cur.iov_base + n;
		it->cur.iov_len -= n;
		it->left -= n;
		done += n;
	}
	return (long)done;
}

long vos_iter_from(struct vos_iter *it, void *dst, size_t len)
{
	return iter_move(it, dst, len, false);
}

long vos_iter_to(struct vos_iter *it, const void *src, size_t len)
{
	return iter_move(it, (unsigned char *)(uintptr_t)src, len, true);
}

/* ---- RLIMIT_FSIZE ------------------------------------------------------------------------------------------------------- */

static _Atomic uint64_t file_size_limit;
static _Atomic uint32_t file_size_known;

void vos_file_size_limit_changed(void)
{
	atomic_store(&file_size_known, 0);
}

uint64_t vos_file_size_limit(void)
{
	struct rlimit rl;

	/* Asked once, and again when the program has set it; another process that sets ours is not noticed. */
	if (!atomic_load_explicit(&file_size_known, memory_order_acquire)) {
		if (vos_raw4(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, VOS_PTR(&rl)) < 0)
			return RLIM_INFINITY;
		atomic_store(&file_size_limit, rl.rlim_cur);
		atomic_store_explicit(&file_size_known, 1, memory_order_release);
	}
	return atomic_load_explicit(&file_size_limit, memory_order_relaxed);
}

/* ---- the calls --------------------------------------------------------------------------------------------------------- */

/* What a call says, in one form for all. */
struct transfer {
	struct vos_iter it;
	bool in;                     /* from the program: a write */
	bool at;                     /* with an offset of its own */
	uint16_t op;                 /* on the wire: the scalar form wherever one exists */
	uint64_t pos;
	uint32_t flags;              /* RWF_* or MSG_* */
	bool discard;                /* MSG_TRUNC on a stream */
	bool whole;                  /* a datagram */
	uint64_t addr, addrlen;      /* sendto: of the program; recvfrom: both are addresses */
};

bool vos_transfer_is(unsigned nr)
{
	switch (nr) {
	case __NR_read: case __NR_write: case __NR_pread64: case __NR_pwrite64: case __NR_readv: case __NR_writev:
	case __NR_preadv: case __NR_pwritev: case __NR_preadv2: case __NR_pwritev2: case __NR_sendto: case __NR_recvfrom:
		return true;
	default:
		return false;
	}
}

static int understand(struct transfer *t, unsigned nr, const uint64_t arg[6])
{
	*t = (struct transfer){ .op = (uint16_t)nr };
	t->in = nr == __NR_write || nr == __NR_pwrite64 || nr == __NR_writev || nr == __NR_pwritev || nr == __NR_pwritev2 ||
		nr == __NR_sendto;
	switch (nr) {
	case __NR_pread64:
	case __NR_pwrite64:
		t->at = true;
		t->pos = arg[3];
		break;
	case __NR_preadv:
	case __NR_pwritev:
		t->at = true;
		t->pos = arg[3];
		t->op = t->in ? __NR_pwrite64 : __NR_pread64;
		break;
	case __NR_preadv2:
	case __NR_pwritev2:
		t->at = arg[3] != ~0ULL;
		t->pos = arg[3];
		t->flags = (uint32_t)arg[5];
		if (t->flags == 0)
			t->op = t->at ? (t->in ? __NR_pwrite64 : __NR_pread64) : (t->in ? __NR_write : __NR_read);
		break;
	case __NR_readv:
		t->op = __NR_read;
		break;
	case __NR_writev:
		t->op = __NR_write;
		break;
	case __NR_sendto:
	case __NR_recvfrom:
		t->flags = (uint32_t)arg[3];
		t->addr = arg[4];
		t->addrlen = arg[5];
		break;
	}
	if (t->at && (int64_t)t->pos < 0)
		return -EINVAL;
	if (nr == __NR_readv || nr == __NR_writev || nr == __NR_preadv || nr == __NR_pwritev || nr == __NR_preadv2 ||
	    nr == __NR_pwritev2)
		return vos_iter_init(&t->it, arg[1], arg[2]);
	if ((int64_t)arg[2] < 0 && nr != __NR_sendto && nr != __NR_recvfrom)
		return -EINVAL;
	if (!vos_user_ok(arg[1], arg[2] < VOS_RW_MAX ? arg[2] : VOS_RW_MAX))
		return -EFAULT;
	iter_one(&t->it, arg[1], arg[2]);
	return 0;
}

/* Socket addresses, in lane memory of their own for the length of the call. */
struct address {
	unsigned char *mem;          /* the length word first, then the bytes */
	uint32_t cap;
};
#define ADDRESS_AT 8

static long put_address(const struct transfer *t, struct vos_lane_client *lane, struct vos_req *req, struct address *a)
{
	uint32_t len = 0;
	uint64_t off;

	req->arg[4] = VOS_NULL;
	req->arg[5] = t->in ? 0 : VOS_NULL;
	if (t->addr == 0)
		return 0;
	if (t->in) {
		len = (uint32_t)t->addrlen;
		if (len > sizeof(struct sockaddr_storage))
			return -EINVAL;
	} else if (t->addrlen == 0 || vos_copy_from_user(&len, (void *)(uintptr_t)t->addrlen, sizeof len) < 0) {
		return -EFAULT;
	} else if ((int32_t)len < 0) {
		return -EINVAL;
	}
	a->cap = len > sizeof(struct sockaddr_storage) ? sizeof(struct sockaddr_storage) : len;
	a->mem = vos_lane_alloc(lane, ADDRESS_AT + sizeof(struct sockaddr_storage), &off);
	if (!a->mem)
		return -ENOMEM;
	*(volatile uint32_t *)(void *)a->mem = a->cap;
	req->arg[4] = off + ADDRESS_AT;
	req->arg[5] = t->in ? a->cap : off;
	return t->in && len ? vos_copy_from_user(a->mem + ADDRESS_AT, (void *)(uintptr_t)t->addr, len) : 0;
}

static long take_address(const struct transfer *t, const struct address *a)
{
	uint32_t len, n;

	if (!a->mem || t->in)
		return 0;
	len = *(volatile uint32_t *)(void *)a->mem;
	n = len < a->cap ? len : a->cap;
	if (n && vos_copy_to_user((void *)(uintptr_t)t->addr, a->mem + ADDRESS_AT, n) < 0)
		return -EFAULT;
	return vos_copy_to_user((void *)(uintptr_t)t->addrlen, &len, sizeof len);
}

/* One piece of at most `max` bytes: bytes moved or a negative errno; *ret_short when the call ends with it. */
static long piece(struct transfer *t, struct vos_ofd *o, struct vos_lane_client *lane, int32_t rfd, size_t max, bool first,
		  bool *ret_short)
{
	struct vos_req req = { .op = t->op };
	struct address addr = { 0 };
	size_t len = t->it.left < max ? t->it.left : max;
	unsigned char *mem = vos_lane_alloc(lane, len ? len : 1, &req.arg[1]);
	bool faulted = false;
	long r, n;

	*ret_short = true;
	if (!mem)
		return -ENOMEM;
	req.arg[0] = (uint64_t)rfd;
	req.arg[2] = len;
	if (t->op == __NR_sendto || t->op == __NR_recvfrom) {
		req.arg[3] = t->flags;
		r = put_address(t, lane, &req, &addr);
	} else {
		req.arg[3] = t->at ? t->pos : ~0ULL;
		req.arg[5] = t->flags;
		r = 0;
	}
	if (r >= 0 && t->in && len) {
		r = vos_iter_from(&t->it, mem, len);
		/* A fault in the middle: what could be read is written, as Linux does; but half a datagram is none. */
		if (r >= 0 && (size_t)r < len && t->whole)
			r = -EFAULT;
		if (r >= 0 && (size_t)r < len) {
			req.arg[2] = len = (size_t)r;
			faulted = true;
		}
		vos_self()->remote.bytes_out += len;
	}
	/* What follows the first piece of a read from a stream must not wait: a read ends when there is something. */
	if (!first && !t->in && (o->mode & S_IFMT) != S_IFREG && !(t->op == __NR_recvfrom && (t->flags & MSG_WAITALL)))
		req.flags = VOS_REQ_NOWAIT;
	if (r >= 0)
		r = vos_remote_call(lane, &req, NULL);
	if (r >= 0 && !t->in) {
		/* MSG_TRUNC tells the true length of a datagram, which may be more than came. */
		n = (size_t)r < len ? r : (long)len;
		if (t->discard) {
			/* A stream's data are thrown away, and nothing is written. */
			t->it.left -= (size_t)n;
		} else if (n) {
			n = vos_iter_to(&t->it, mem, (size_t)n);
			vos_self()->remote.bytes_in += (uint64_t)(n > 0 ? n : 0);
		}
		if (n < 0 || take_address(t, &addr) < 0)
			r = -EFAULT;
		else if (n < r && (size_t)n < len)
			r = n;
		*ret_short = (size_t)r != len;
	} else if (r >= 0) {
		if ((size_t)r > len)
			r = -EIO;
		*ret_short = faulted || (size_t)r != len;
	}
	if (addr.mem)
		vos_lane_free(lane, addr.mem);
	vos_lane_free(lane, mem);
	return r;
}

/* Where a write without an offset of its own will go. */
static int64_t write_position(struct vos_ofd *o, const struct transfer *t)
{
	uint64_t none[6] = { 0 };
	struct stat st;

	if (t->at && !(o->flags & O_APPEND))
		return (int64_t)t->pos;
	if (!(o->flags & O_APPEND))
		return vos_ofd_call(o, __NR_lseek, 0, SEEK_CUR, 0, NULL);
	return vos_ofd_call_buf(o, __NR_fstat, none, 1, &st, 0, sizeof st, NULL) < 0 ? -1 : st.st_size;
}

/* RLIMIT_FSIZE is the program's, and the proxy has another: a write ends at it, and one that begins there is a signal. */
static long file_limit(struct vos_ofd *o, struct transfer *t)
{
	uint64_t limit = vos_file_size_limit();
	int64_t pos;

	if (limit == RLIM_INFINITY || t->it.left == 0)
		return 0;
	pos = write_position(o, t);
	if (pos < 0)
		return 0;
	if ((uint64_t)pos >= limit) {
		vos_raise(SIGXFSZ);
		return -EFBIG;
	}
	if (t->it.left > limit - (uint64_t)pos)
		t->it.left = limit - (uint64_t)pos;
	return 0;
}

/*
 * A buffer that cannot take the data is found before the data is taken from a stream or the position moved.  At the end of
 * a file there is nothing to put anywhere, and no fault.
 */
static long bad_buffer(struct vos_ofd *o, const struct transfer *t)
{
	uint64_t none[6] = { 0 };
	struct stat st;
	int64_t pos;

	if ((o->mode & S_IFMT) != S_IFREG)
		return -EFAULT;
	pos = t->at ? (int64_t)t->pos : vos_ofd_call(o, __NR_lseek, 0, SEEK_CUR, 0, NULL);
	if (pos < 0)
		return pos;
	if (vos_ofd_call_buf(o, __NR_fstat, none, 1, &st, 0, sizeof st, NULL) >= 0 && pos >= st.st_size)
		return 0;
	return -EFAULT;
}

long vos_transfer(unsigned nr, const uint64_t arg[6], struct vos_ofd *o)
{
	bool dgram = false, ended, sock = (o->mode & S_IFMT) == S_IFSOCK;
	struct vos_lane_client *lane;
	struct transfer t;
	size_t total = 0;
	int32_t rfd;
	long r = understand(&t, nr, arg);

	if (r < 0)
		return r;
	r = vos_ofd_lane(o, &lane, &rfd);
	if (r < 0)
		return r;
	if (vos_mapping_any() && (o->mode & S_IFMT) == S_IFREG)
		vos_mapping_flush(o);
	if (t.in && (o->mode & S_IFMT) == S_IFREG) {
		r = file_limit(o, &t);
		if (r < 0)
			return r;
	}
	if (sock)
		t.discard = t.op == __NR_recvfrom && (t.flags & MSG_TRUNC) && !vos_ofd_is_dgram(o);
	/* The first byte only: whether the rest can be taken shows when there is a rest. */
	if (!t.in && !t.discard && t.it.left && t.it.cur.iov_len && (t.flags & MSG_PEEK) == 0 &&
	    !vos_user_writable((uint64_t)(uintptr_t)t.it.cur.iov_base, 1)) {
		if ((o->flags & O_ACCMODE) == O_WRONLY)
			return -EBADF;
		return bad_buffer(o, &t);
	}
	if (sock)
		dgram = vos_ofd_is_dgram(o) || (t.flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE));
	t.whole = dgram;
	if (dgram && t.in && t.it.left > vos_transfer_max(lane))
		return -EMSGSIZE;
	do {
		r = piece(&t, o, lane, rfd, vos_transfer_max(lane), total == 0, &ended);
		if (r < 0)
			break;
		total += (size_t)r;
		t.pos += (uint64_t)r;
	} while (!ended && t.it.left && !dgram);
	/* After a first piece the call has a result; its end is told to the next one, as Linux does. */
	if (r < 0 && total == 0) {
		if (r == -EPIPE && t.in && !(t.op == __NR_sendto && (t.flags & MSG_NOSIGNAL)))
			vos_raise_sigpipe();
		if (sock && r == -VOS_ERESTARTSYS)
			r = vos_sock_interrupted(o, t.in ? VOS_SOCK_SNDTIMEO : VOS_SOCK_RCVTIMEO);
		return r;
	}
	return (long)total;
}
