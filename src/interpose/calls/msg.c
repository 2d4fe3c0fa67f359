/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sendmsg, recvmsg and their many-message forms, on sockets of a domain; and the way past them for native sockets, where
 * control data may carry remote descriptors (scm.c).
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/un.h>
#include "net.h"

long vos_call_sendmsg(struct vos_frame *f);
long vos_call_recvmsg(struct vos_frame *f);
long vos_call_sendmmsg(struct vos_frame *f);
long vos_call_recvmmsg(struct vos_frame *f);

#define WIRE_HEAD 64u                /* struct vos_wire_msg, rounded up to a line */
#define WIRE_NAME 128u               /* struct sockaddr_storage: the kernel takes and gives no longer name */
#define IOV_MAX_KERNEL 1024u
#define CONTROL_MAX 65536u           /* above net.core.optmem_max's usual 128 KiB / 2; the kernel answers ENOBUFS there */

static inline size_t round_up8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* A struct msghdr as the program gave it, checked as the kernel checks it. */
static long take_header(uint64_t user, struct msghdr *h)
{
	if (vos_copy_from_user(h, vos_uptr(user), sizeof *h) < 0)
		return -EFAULT;
	if (!h->msg_name)
		h->msg_namelen = 0;
	if ((int32_t)h->msg_namelen < 0)
		return -EINVAL;
	if (h->msg_iovlen > IOV_MAX_KERNEL)
		return -EMSGSIZE;
	return 0;
}

/* ---- sending ------------------------------------------------------------------------------------------------------------ */

/* The wire message of one piece, in lane memory. */
struct piece {
	struct vos_lane_client *lane;
	unsigned char *mem;
	uint64_t off;
	size_t control, data;        /* offsets within mem */
};

static long piece_get(struct piece *p, struct vos_lane_client *lane, size_t control_len, size_t data_len)
{
	p->lane = lane;
	p->control = WIRE_HEAD + WIRE_NAME;
	p->data = p->control + round_up8(control_len);
	p->mem = vos_lane_alloc(lane, p->data + data_len, &p->off);
	return p->mem ? 0 : -ENOMEM;
}

/* The most data that fits into a piece. */
static size_t piece_max(struct vos_lane_client *lane, size_t control_len)
{
	size_t max = vos_lane_max(lane), head = WIRE_HEAD + WIRE_NAME + round_up8(control_len);

	return max > head ? max - head : 0;
}

static void piece_header(struct piece *p, size_t name_len, size_t control_len, size_t skip, size_t data_len)
{
	struct vos_wire_msg w = {
		.name_off = p->off + WIRE_HEAD,
		.name_len = (uint32_t)name_len,
		.control_off = p->off + p->control,
		.control_len = (uint32_t)control_len,
		.data_off = p->off + p->data + skip,
		.data_len = data_len,
	};

	memcpy(p->mem, &w, sizeof w);
}

static long piece_call(struct piece *p, unsigned op, int32_t rfd, unsigned flags, struct vos_cqe *ret_cqe)
{
	struct vos_req req = { .op = (uint16_t)op };

	req.arg[0] = (uint64_t)rfd;
	req.arg[1] = p->off;
	req.arg[2] = flags;
	*ret_cqe = (struct vos_cqe){ 0 };
	return vos_remote_call(p->lane, &req, ret_cqe);
}


/*
 * One message.  A stream's longer than a lane goes in pieces, and a blocking socket takes all of it, as on Linux.
 */
static long send_remote(struct vos_ofd *o, uint64_t user, unsigned flags)
{
	bool stream = vos_sock_is_stream(o), wait = !(flags & MSG_DONTWAIT) && !(o->flags & O_NONBLOCK);
	struct vos_lane_client *lane;
	struct vos_iter it;
	struct msghdr h;
	struct vos_cqe cqe;
	size_t name_len, control_len, max, sent = 0;
	int32_t rfd;
	long r = take_header(user, &h);

	if (r < 0)
		return r;
	name_len = h.msg_namelen < WIRE_NAME ? h.msg_namelen : WIRE_NAME;
	control_len = h.msg_control ? h.msg_controllen : 0;
	if (control_len > CONTROL_MAX)
		return -ENOBUFS;
	r = vos_iter_init(&it, (uint64_t)(uintptr_t)h.msg_iov, h.msg_iovlen);
	if (r < 0)
		return r;
	r = vos_ofd_lane(o, &lane, &rfd);
	if (r < 0)
		return r;
	max = piece_max(lane, control_len);
	if (it.left > max && !stream)
		return -EMSGSIZE;
	do {
		size_t len = it.left < max ? it.left : max, done = 0;
		struct piece p;

		r = piece_get(&p, lane, control_len, len);
		if (r < 0)
			break;
		if (vos_copy_from_user(p.mem + WIRE_HEAD, h.msg_name, name_len) < 0 ||
		    vos_copy_from_user(p.mem + p.control, h.msg_control, control_len) < 0) {
			r = -EFAULT;
		} else {
			long got = len ? vos_iter_from(&it, p.mem + p.data, len) : 0;

			/* A stream sends what could be read before the bad address. */
			r = got < 0 || ((size_t)got < len && !stream) ? -EFAULT : 0;
			if (got >= 0)
				len = (size_t)got;
		}
		while (r >= 0) {
			piece_header(&p, name_len, sent ? 0 : control_len, done, len - done);
			r = piece_call(&p, __NR_sendmsg, rfd, flags & ~(unsigned)MSG_ZEROCOPY, &cqe);
			if (r < 0)
				break;
			if ((size_t)r > len - done)
				r = (long)(len - done);
			done += (size_t)r;
			sent += (size_t)r;
			if (done == len || !stream || !wait || r == 0)
				break;
		}
		vos_lane_free(lane, p.mem);
		if (r < 0 || done < len)
			break;
	} while (it.left && stream);
	if (sent)
		return (long)sent;
	if (r == -EPIPE && stream && !(flags & MSG_NOSIGNAL))
		vos_raise_sigpipe();
	if (r == -VOS_ERESTARTSYS)
		r = vos_sock_interrupted(o, VOS_SOCK_SNDTIMEO);
	return r;
}

/* ---- receiving ---------------------------------------------------------------------------------------------------------- */

/* The parts of a received message other than its data go back to the program. */
static long give_back(struct piece *p, uint64_t user, const struct msghdr *h, size_t name_cap, size_t control_cap, unsigned flags,
		      uint32_t *ret_flags)
{
	struct vos_wire_msg w;
	uint32_t name_len;
	uint64_t control_len;

	memcpy(&w, p->mem, sizeof w);
	name_len = w.name_len < WIRE_NAME ? w.name_len : WIRE_NAME;
	control_len = w.control_len < control_cap ? w.control_len : control_cap;
	w.msg_flags |= flags & MSG_CMSG_CLOEXEC;
	if (h->msg_name) {
		size_t n = name_len < h->msg_namelen ? name_len : h->msg_namelen;

		if (n > name_cap)
			n = name_cap;
		if (vos_copy_to_user(h->msg_name, p->mem + WIRE_HEAD, n) < 0 ||
		    vos_copy_to_user(vos_uptr(user + offsetof(struct msghdr, msg_namelen)), &name_len, sizeof name_len) < 0)
			return -EFAULT;
	}
	if (control_len && vos_copy_to_user(h->msg_control, p->mem + p->control, control_len) < 0)
		return -EFAULT;
	if (vos_copy_to_user(vos_uptr(user + offsetof(struct msghdr, msg_flags)), &w.msg_flags, sizeof w.msg_flags) < 0 ||
	    vos_copy_to_user(vos_uptr(user + offsetof(struct msghdr, msg_controllen)), &control_len, sizeof control_len) < 0)
		return -EFAULT;
	*ret_flags = w.msg_flags;
	return 0;
}

static long recv_remote(struct vos_ofd *o, uint64_t user, unsigned flags, uint32_t *ret_flags)
{
	bool stream = vos_sock_is_stream(o);
	/* Linux throws the data of a stream away with MSG_TRUNC and writes nothing. */
	bool discard = stream && (flags & MSG_TRUNC) && !(flags & MSG_ERRQUEUE);
	bool whole = stream && (flags & MSG_WAITALL) && !(flags & (MSG_PEEK | MSG_ERRQUEUE));
	struct vos_iter it;
	struct msghdr h;
	size_t control_cap, total = 0;
	long r = take_header(user, &h);

	if (r < 0)
		return r;
	control_cap = h.msg_control ? h.msg_controllen : 0;
	if (control_cap > CONTROL_MAX)
		control_cap = CONTROL_MAX;
	r = vos_iter_init(&it, (uint64_t)(uintptr_t)h.msg_iov, h.msg_iovlen);
	if (r < 0)
		return r;
	for (;;) {
		struct vos_lane_client *lane;
		struct vos_cqe cqe;
		struct piece p;
		size_t max, cap;
		int32_t rfd;

		r = vos_ofd_lane(o, &lane, &rfd);
		if (r < 0)
			break;
		max = piece_max(lane, control_cap);
		cap = it.left < max ? it.left : max;
		r = piece_get(&p, lane, control_cap, cap);
		if (r < 0)
			break;
		piece_header(&p, WIRE_NAME, control_cap, 0, cap);
		r = piece_call(&p, __NR_recvmsg, rfd, flags & ~(unsigned)MSG_CMSG_CLOEXEC, &cqe);
		if (r >= 0) {
			size_t valid = (size_t)r < cap ? (size_t)r : cap;

			if (discard)
				it.left -= valid;
			else if (valid && vos_iter_to(&it, p.mem + p.data, valid) != (long)valid)
				r = -EFAULT;
			if (r >= 0 && total == 0 && give_back(&p, user, &h, WIRE_NAME, control_cap, flags, ret_flags) < 0)
				r = -EFAULT;
		}
		vos_lane_free(lane, p.mem);
		/* A datagram socket that comes back by itself goes on waiting: what died was no conversation of its. */
		if (r == -ECONNRESET && (cqe.flags & VOS_CQE_DEAD) && vos_sock_restorable(o) && total == 0) {
			if ((flags & MSG_DONTWAIT) || (o->flags & O_NONBLOCK)) {
				r = -EAGAIN;
				break;
			}
			continue;
		}
		if (r <= 0)
			break;
		total += (size_t)r;
		/* A short piece is no end: what follows may be an error, a signal or the stream's end, and says so itself. */
		if (!whole || it.left == 0)
			break;
	}
	if (total)
		return (long)total;
	if (r == -VOS_ERESTARTSYS)
		r = vos_sock_interrupted(o, VOS_SOCK_RCVTIMEO);
	return r;
}

/* ---- native sockets: control data may name remote descriptors ----------------------------------------------------------- */

static bool anything_remote(void)
{
	return vos_self()->proc->ndomains != 0;
}

/* sendmsg natively, with f's registers and the header at `user`. */
static long send_native(struct vos_frame *f, uint64_t user, uint64_t flags)
{
	struct vos_frame call = *f;
	unsigned char small[1024], *control = small;
	int fds[VOS_SCM_MAX];
	struct sockaddr_un name;
	struct msghdr h;
	long n = 0, r;

	call.rax = __NR_sendmsg;
	call.rsi = user;
	call.rdx = flags;
	if (!anything_remote() || vos_copy_from_user(&h, vos_uptr(user), sizeof h) < 0)
		return vos_native(&call);
	if (h.msg_name) {
		r = vos_unix_address(f->rdi, (uint64_t)(uintptr_t)h.msg_name, h.msg_namelen, &name, &h.msg_namelen);
		if (r < 0)
			return r;
		if (r == 0) {
			h.msg_name = &name;
			call.rsi = (uint64_t)(uintptr_t)&h;
		}
	}
	if (!h.msg_control || h.msg_controllen < sizeof(struct cmsghdr) || h.msg_controllen > CONTROL_MAX)
		return vos_native(&call);
	if (h.msg_controllen > sizeof small) {
		control = vos_alloc(h.msg_controllen);
		if (!control)
			return -ENOBUFS;
	}
	r = vos_copy_from_user(control, h.msg_control, h.msg_controllen);
	if (r == 0)
		r = n = vos_scm_out(control, h.msg_controllen, fds);
	if (r >= 0) {
		/* Nothing remote in it: as it was. */
		if (n > 0) {
			h.msg_control = control;
			call.rsi = (uint64_t)(uintptr_t)&h;
		}
		r = vos_native(&call);
		for (long i = 0; i < n; i++)
			vos_raw1(__NR_close, fds[i]);
	}
	if (control != small)
		vos_free(control);
	return r;
}

/* After a native recvmsg. */
static void look_in(uint64_t user)
{
	struct msghdr h;

	if (vos_copy_from_user(&h, vos_uptr(user), sizeof h) == 0 && h.msg_control && h.msg_controllen >= sizeof(struct cmsghdr))
		vos_scm_in((uint64_t)(uintptr_t)h.msg_control, h.msg_controllen);
}

/* ---- the calls -------------------------------------------------------------------------------------------------------------- */

long vos_call_sendmsg(struct vos_frame *f)
{
	struct vos_ofd *o = vos_fd_get(f->rdi);
	long r;

	if (!o)
		return send_native(f, f->rsi, f->rdx);
	r = o->net ? send_remote(o, f->rsi, (unsigned)f->rdx) : -ENOTSOCK;
	vos_ofd_put(o);
	return r;
}

long vos_call_recvmsg(struct vos_frame *f)
{
	struct vos_ofd *o = vos_fd_get(f->rdi);
	uint32_t out;
	long r;

	if (!o) {
		r = vos_native(f);
		if (r >= 0 && anything_remote())
			look_in(f->rsi);
		return r;
	}
	r = o->net ? recv_remote(o, f->rsi, (unsigned)f->rdx, &out) : -ENOTSOCK;
	vos_ofd_put(o);
	return r;
}

#define MMSG_SIZE sizeof(struct mmsghdr)

static long put_len(uint64_t mmsg, long r)
{
	uint32_t len = (uint32_t)r;

	return vos_copy_to_user(vos_uptr(mmsg + offsetof(struct mmsghdr, msg_len)), &len, sizeof len);
}

long vos_call_sendmmsg(struct vos_frame *f)
{
	struct vos_ofd *o = vos_fd_get(f->rdi);
	uint32_t n = (uint32_t)f->rdx;
	unsigned flags = (unsigned)f->r10;
	uint32_t sent = 0;
	long r = 0;

	if (!o && !anything_remote())
		return vos_native(f);
	if (o && !o->net) {
		vos_ofd_put(o);
		return -ENOTSOCK;
	}
	if (n > IOV_MAX_KERNEL)
		n = IOV_MAX_KERNEL;
	if (n == 0 && !o)
		return vos_native(f);
	for (; sent < n; sent++) {
		uint64_t at = f->rsi + sent * MMSG_SIZE;

		r = o ? send_remote(o, at, flags) : send_native(f, at, flags);
		if (r >= 0 && put_len(at, r) < 0)
			r = -EFAULT;
		if (r < 0)
			break;
	}
	vos_ofd_put(o);
	return sent ? (long)sent : r;
}

long vos_call_recvmmsg(struct vos_frame *f)
{
	struct vos_ofd *o = vos_fd_get(f->rdi);
	uint32_t n = (uint32_t)f->rdx, got = 0, out = 0;
	unsigned flags = (unsigned)f->r10;
	uint64_t deadline = VOS_NEVER;
	struct timespec ts;
	long r = 0;

	if (!o) {
		r = vos_native(f);
		for (long i = 0; i < r && anything_remote(); i++)
			look_in(f->rsi + (uint64_t)i * MMSG_SIZE);
		return r;
	}
	if (!o->net) {
		vos_ofd_put(o);
		return -ENOTSOCK;
	}
	if (f->r8) {
		r = vos_copy_from_user(&ts, vos_uptr(f->r8), sizeof ts);
		if (r == 0 && (ts.tv_sec < 0 || (uint64_t)ts.tv_nsec >= 1000000000))
			r = -EINVAL;
		if (r < 0) {
			vos_ofd_put(o);
			return r;
		}
		deadline = vos_net_deadline(vos_net_now(), (uint64_t)ts.tv_sec > 1ULL << 33 ? VOS_NEVER / 2 :
					    (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
	}
	if (n > IOV_MAX_KERNEL)
		n = IOV_MAX_KERNEL;
	while (got < n) {
		uint64_t at = f->rsi + got * MMSG_SIZE, now;

		r = recv_remote(o, at, flags & ~(unsigned)MSG_WAITFORONE, &out);
		if (r >= 0 && put_len(at, r) < 0)
			r = -EFAULT;
		if (r < 0)
			break;
		got++;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		/* The kernel looks at its timeout between messages only, and so do we. */
		if (deadline != VOS_NEVER) {
			now = vos_net_now();
			ts = now < deadline ? (struct timespec){ (long)((deadline - now) / 1000000000), (long)((deadline - now) % 1000000000) } :
					      (struct timespec){ 0, 0 };
			if (now >= deadline)
				break;
		}
		if (out & MSG_OOB)
			break;
	}
	if (f->r8 && got && vos_copy_to_user(vos_uptr(f->r8), &ts, sizeof ts) < 0)
		r = -EFAULT;
	vos_ofd_put(o);
	return got ? (long)got : r;
}
