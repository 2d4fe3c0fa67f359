/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls with structs, strings and small buffers, by the args column.  Reads and writes: transfer.c. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "../uthread/uthread.h"
#include "../entry/user.h"
#include "marshal.h"
#include "marshal_impl.h"
#include "path.h"

static void *ptr(uint64_t user)
{
	return (void *)(uintptr_t)user;
}

void vos_raise(int sig)
{
	struct vos_carrier *c = vos_self();
	siginfo_t si;

	/* As the kernel sends it: from the process to itself.  Delivered on the way out of the runtime. */
	memset(&si, 0, sizeof si);
	si.si_signo = sig;
	si.si_code = SI_USER;
	si.si_pid = (pid_t)c->pid;
	si.si_uid = (uid_t)vos_raw0(__NR_getuid);
	if (c->thread->ut) {
		vos_ut_send(c->thread->ut, &si);
		return;
	}
	vos_raw4(__NR_rt_tgsigqueueinfo, c->pid, c->ktid, sig, VOS_PTR(&si));
}

bool vos_user_writable(uint64_t addr, uint64_t len)
{
	const uint64_t at[2] = { addr, addr + len - 1 };
	unsigned char c;

	for (unsigned i = 0; i < 2 && len; i++)
		if (vos_copy_from_user(&c, ptr(at[i]), 1) < 0 || vos_copy_to_user(ptr(at[i]), &c, 1) < 0)
			return false;
	return true;
}

/* One marshalled argument: lane memory that came from, or goes back to, the program. */
struct piece {
	unsigned char *mem;
	size_t size;
	uint64_t user;               /* 0: nothing goes back */
};

struct call {
	struct vos_lane_client *lane;
	struct vos_req req;
	struct piece piece[6];
	struct vos_path *path[2];    /* of the A_ATFD and A_PATH arguments, in order */
	unsigned paths;              /* of them that were put */
};

static long put_mem(struct call *c, unsigned i, size_t size)
{
	uint64_t off;

	/* A zero-length buffer still needs an offset that lies in the data area. */
	c->piece[i].mem = vos_lane_alloc(c->lane, size ? size : 1, &off);
	if (!c->piece[i].mem)
		return -ENOMEM;
	c->piece[i].size = size;
	c->req.arg[i] = off;
	return 0;
}

static long put_in(struct call *c, unsigned i, uint64_t user, size_t size)
{
	long r = put_mem(c, i, size);

	return r < 0 || size == 0 ? r : vos_copy_from_user(c->piece[i].mem, ptr(user), size);
}

static long put_string(struct call *c, unsigned i, uint64_t user)
{
	long r = put_mem(c, i, VOS_PATH_BYTES);

	if (r < 0)
		return r;
	return vos_strncpy_from_user((char *)c->piece[i].mem, ptr(user), VOS_PATH_BYTES);
}

/* Capacity in a value-result length argument: what the program wrote there, capped at what the lane can hold. */
static long put_length(struct call *c, unsigned i, uint64_t user)
{
	uint32_t len;

	if (user == 0) {
		c->req.arg[i] = VOS_NULL;
		return 0;
	}
	if (vos_copy_from_user(&len, ptr(user), sizeof len) < 0)
		return -EFAULT;
	if ((int32_t)len < 0)
		return -EINVAL;
	if (len > VOS_SMALL_MAX)
		len = VOS_SMALL_MAX;
	if (put_mem(c, i, sizeof len) < 0)
		return -ENOMEM;
	memcpy(c->piece[i].mem, &len, sizeof len);
	c->piece[i].user = user;
	return 0;
}

static uint32_t length_of(const struct call *c, unsigned i)
{
	uint32_t len;

	memcpy(&len, c->piece[i].mem, sizeof len);
	return len;
}

static uint64_t base_of(const struct vos_path *p)
{
	return p->base ? (uint64_t)(int64_t)p->base_rfd : (uint64_t)VOS_AT_ROOT;
}

static long put_path(struct call *c, unsigned i)
{
	const struct vos_path *p = c->path[c->paths++];
	long r = put_mem(c, i, p->itself ? 1 : p->len + 1U);

	if (r < 0)
		return r;
	if (p->itself)
		c->piece[i].mem[0] = 0;
	else
		memcpy(c->piece[i].mem, p->text, p->len + 1U);
	return 0;
}

static long put_argument(struct call *c, const struct vos_call *row, const uint64_t *arg, unsigned i)
{
	unsigned param = VOS_ARG_PARAM(row->arg[i]);
	size_t cap;
	long r;

	switch (VOS_ARG_KIND(row->arg[i])) {
	case VOS_A_NONE:
		return 0;
	case VOS_A_INT:
		c->req.arg[i] = (uint32_t)arg[i];
		return 0;
	case VOS_A_IN:
		if ((int64_t)arg[param] < 0 || arg[param] > vos_lane_max(c->lane) / 2)
			return -E2BIG; /* larger than any value that the kernel takes here; see transfer.c for data */
		if (arg[i] == 0 && arg[param] != 0)
			return -EFAULT;
		return put_in(c, i, arg[i], arg[param]);
	case VOS_A_OUT:
		cap = arg[param] < vos_lane_max(c->lane) / 2 ? arg[param] : vos_lane_max(c->lane) / 2;
		c->req.arg[param] = cap;
		c->piece[i].user = arg[i];
		/* What a directory gave is gone: find a bad buffer before. */
		if ((c->req.op == __NR_getdents64 || c->req.op == __NR_getdents) && !vos_user_writable(arg[i], cap))
			return -EFAULT;
		return put_mem(c, i, cap);
	case VOS_A_INS:
	case VOS_A_OUTS:
	case VOS_A_IOS:
		if (arg[i] == 0 && VOS_ARG_KIND(row->arg[i]) != VOS_A_OUTS) {
			c->req.arg[i] = VOS_NULL;
			return 0;
		}
		if (VOS_ARG_KIND(row->arg[i]) == VOS_A_OUTS)
			r = put_mem(c, i, param);
		else
			r = put_in(c, i, arg[i], param);
		if (VOS_ARG_KIND(row->arg[i]) != VOS_A_INS)
			c->piece[i].user = arg[i] ? arg[i] : 1; /* NULL: -EFAULT, when the call itself has succeeded */
		return r;
	case VOS_A_OUTL:
		if (arg[i] == 0 || arg[param] == 0) {
			/* getpeername(fd, NULL, …) faults; recvfrom with a NULL address wants none. */
			c->req.arg[i] = c->req.arg[param] = VOS_NULL;
			return arg[i] ? -EFAULT : 0;
		}
		r = put_length(c, param, arg[param]);
		if (r < 0)
			return r;
		c->piece[i].user = arg[i];
		return put_mem(c, i, length_of(c, param));
	case VOS_A_LENP: /* belongs to its A_OUTL, which came before */
		return 0;
	case VOS_A_ATFD:
		c->req.arg[i] = base_of(c->path[c->paths]);
		return 0;
	case VOS_A_PATH:
		return put_path(c, i);
	case VOS_A_CSTR:
		return put_string(c, i, arg[i]);
	default:
		/* A capacity was written by the buffer before it. */
		if (VOS_ARG_KIND(row->arg[i]) != VOS_A_CAP)
			c->req.arg[i] = arg[i];
		return 0;
	}
}

/* The results' way back.  `res` is the call's. */
static long take_argument(struct call *c, const struct vos_call *row, unsigned i, long res)
{
	const struct piece *p = &c->piece[i];
	unsigned param = VOS_ARG_PARAM(row->arg[i]);
	uint32_t len;

	if (!p->mem || !p->user)
		return 0;
	switch (VOS_ARG_KIND(row->arg[i])) {
	case VOS_A_OUT:
		if ((size_t)res > p->size) /* a size was asked for (capacity 0): nothing was written */
			return p->size == 0 ? 0 : -EIO;
		return res ? vos_copy_to_user(ptr(p->user), p->mem, (size_t)res) : 0;
	case VOS_A_OUTS:
	case VOS_A_IOS:
		return vos_copy_to_user(p->user == 1 ? NULL : ptr(p->user), p->mem, p->size);
	case VOS_A_OUTL:
		/* Copied out of the region once, and only what fits is believed. */
		len = length_of(c, param);
		if (len > p->size)
			len = (uint32_t)p->size;
		return len ? vos_copy_to_user(ptr(p->user), p->mem, len) : 0;
	case VOS_A_LENP:
		len = length_of(c, i);
		return vos_copy_to_user(ptr(p->user), &len, sizeof len);
	default:
		return 0;
	}
}

/* c->lane is set; the first A_FD, if any, is rfd. */
static long perform(struct call *c, unsigned nr, const uint64_t arg[6], int32_t rfd, struct vos_cqe *ret_cqe)
{
	const struct vos_call *row = &vos_calls[nr];
	struct vos_cqe cqe = { 0 };
	bool at = false;
	long r = 0;

	c->req.op = (uint16_t)nr;
	for (unsigned i = 0; i < 6; i++) {
		at |= VOS_ARG_KIND(row->arg[i]) == VOS_A_ATFD;
		if (VOS_ARG_KIND(row->arg[i]) == VOS_A_CAP)
			c->req.arg[i] = arg[i];
	}
	for (unsigned i = 0, fds = 0; i < 6 && r >= 0; i++) {
		if (VOS_ARG_KIND(row->arg[i]) == VOS_A_FD && fds++ == 0)
			c->req.arg[i] = (uint64_t)rfd;
		else
			r = put_argument(c, row, arg, i);
	}
	if (c->path[0] && !at)
		c->req.arg[5] = base_of(c->path[0]);
	if (r >= 0)
		r = vos_remote_call(c->lane, &c->req, &cqe);
	if (r >= 0)
		for (unsigned i = 0; i < 6; i++)
			if (take_argument(c, row, i, r) < 0)
				r = -EFAULT;
	if (ret_cqe)
		*ret_cqe = cqe;
	for (unsigned i = 0; i < 6; i++)
		if (c->piece[i].mem)
			vos_lane_free(c->lane, c->piece[i].mem);
	return r;
}

long vos_marshal_call_as(unsigned nr, const uint64_t arg[6], struct vos_ofd *o, struct vos_cqe *ret_cqe)
{
	struct call c;
	int32_t rfd;
	long r;

	memset(&c, 0, sizeof c);
	r = vos_ofd_lane(o, &c.lane, &rfd);
	return r < 0 ? r : perform(&c, nr, arg, rfd, ret_cqe);
}

static long path_base(struct vos_path *p, struct vos_lane_client **lane)
{
	int err = 0;

	if (!p)
		return 0;
	if (p->base)
		return vos_ofd_lane(p->base, lane, &p->base_rfd);
	*lane = vos_remote_lane(p->domain, &err);
	return *lane ? 0 : err;
}

long vos_path_send(unsigned nr, const uint64_t arg[6], struct vos_path *a, struct vos_path *b, struct vos_cqe *ret_cqe)
{
	struct call c;
	long r;

	memset(&c, 0, sizeof c);
	c.path[0] = a;
	c.path[1] = b;
	r = path_base(a, &c.lane);
	if (r >= 0)
		r = path_base(b, &c.lane);
	if (r < 0)
		return r;
	a->epoch = vos_lane_epoch(c.lane);
	return perform(&c, nr, arg, -1, ret_cqe);
}

long vos_marshal_call(struct vos_frame *f, struct vos_ofd *o)
{
	unsigned nr = (unsigned)f->rax;
	uint64_t arg[6];
	long r;

	vos_self()->counts_remote[nr]++;
	for (unsigned i = 0; i < 6; i++)
		arg[i] = vos_arg(f, i);
	if ((nr == __NR_ftruncate || nr == __NR_fallocate) && (o->mode & S_IFMT) == S_IFREG &&
	    (nr == __NR_ftruncate ? arg[1] : arg[2] + arg[3]) > vos_file_size_limit() && (int64_t)arg[1] >= 0) {
		vos_raise(SIGXFSZ);
		r = -EFBIG;
	} else if (vos_transfer_is(nr))
		r = vos_transfer(nr, arg, o);
	else
		r = vos_marshal_call_as(nr, arg, o, NULL);
	if (vos_mapping_any())
		vos_mapping_after(o, nr, arg, r);
	return r;
}

long vos_ofd_call(struct vos_ofd *o, unsigned op, uint64_t a1, uint64_t a2, uint64_t a3, struct vos_cqe *ret_cqe)
{
	struct vos_req req = { .op = (uint16_t)op, .arg = { 0, a1, a2, a3 } };
	struct vos_lane_client *lane;
	int32_t rfd;
	int err = vos_ofd_lane(o, &lane, &rfd);

	if (err < 0)
		return err;
	req.arg[0] = (uint64_t)rfd;
	return vos_remote_call(lane, &req, ret_cqe);
}

long vos_ofd_call_buf(struct vos_ofd *o, unsigned op, const uint64_t arg[6], unsigned at, void *buf, size_t in_len,
		      size_t out_len, struct vos_cqe *ret_cqe)
{
	struct vos_req req = { .op = (uint16_t)op };
	size_t size = in_len > out_len ? in_len : out_len;
	struct vos_lane_client *lane;
	int32_t rfd;
	void *mem;
	long r = vos_ofd_lane(o, &lane, &rfd);

	if (r < 0)
		return r;
	memcpy(req.arg, arg, sizeof req.arg);
	req.arg[0] = (uint64_t)rfd;
	mem = vos_lane_alloc(lane, size ? size : 1, &req.arg[at]);
	if (!mem)
		return -ENOMEM;
	memcpy(mem, buf, in_len);
	r = vos_remote_call(lane, &req, ret_cqe);
	if (r >= 0)
		memcpy(buf, mem, out_len);
	vos_lane_free(lane, mem);
	return r;
}
