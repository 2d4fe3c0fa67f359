/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of what runs each call, the generic ways, and the operations that are no system calls. */
#define VOS_CALLS_TABLE
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include "servers/domain/exec.h"
#include "transport/message.h"

/* Bounded and without a path: as it stands. */
static long direct(struct vos_proxy *p, struct vos_op *op)
{
	(void)p;
	return vos_raw6(op->nr, op->a[0], op->a[1], op->a[2], op->a[3], op->a[4], op->a[5]);
}

static long plain(struct vos_proxy *p, struct vos_op *op, long res)
{
	(void)p;
	(void)op;
	return res;
}

static long on_worker(struct vos_proxy *p, struct vos_op *op)
{
	op->resume = plain;
	return vos_wait_worker(p, op, op->nr, op->a);
}

#define FN_X_NONE(n)   NULL
#define FN_X_DIRECT(n) direct
#define FN_X_WORKER(n) on_worker
#define FN_X_READ(n)   vos_exec_##n
#define FN_X_WRITE(n)  vos_exec_##n
#define FN_X_PATH(n)   vos_exec_##n
#define FN_X_OWN(n)    vos_exec_##n

static vos_exec_fn *const table[VOS_NR_END] = {
#define VOS_SYSCALL(n, r, s, b, x, a, t, o) [__NR_##n] = FN_##x(n),
#include <virtuos/syscalls.def>
#undef VOS_SYSCALL
};

long vos_exec(struct vos_proxy *p, struct vos_op *op)
{
	vos_exec_fn *fn = table[op->nr];

	return fn ? fn(p, op) : -ENOSYS;
}

/* ---- asking the engine ---- */

long vos_wait_poll(struct vos_proxy *p, struct vos_op *op, int fd, uint32_t events)
{
	int r = op->cancelled ? -ECANCELED : p->engine->poll(p, op, fd, events);

	return r ? r : VOS_PENDING;
}

long vos_wait_call(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6])
{
	int r;

	if (op->cancelled)
		return -ECANCELED;
	if (op->fd >= 0)
		vos_rfd_hold(p, op);
	r = p->engine->call(p, op, nr, a);
	return r ? r : VOS_PENDING;
}

long vos_wait_worker(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6])
{
	int r;

	if (op->cancelled)
		return -ECANCELED;
	if (!op->resume)
		op->resume = plain;
	r = vos_worker_call(p, op, nr, a);
	return r ? r : VOS_PENDING;
}

long vos_wait_both(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6], int fd, uint32_t events)
{
	int r;

	if (op->cancelled)
		return -ECANCELED;
	/* The worker first: it has begun nothing when the poll cannot be asked for and it is stopped again. */
	r = vos_worker_call(p, op, nr, a);
	if (r)
		return r;
	r = p->engine->poll(p, op, fd, events);
	op->wait_mode = VOS_OP_WAIT_BOTH;
	return r ? vos_wait_enough(p, op) : VOS_PENDING;
}

long vos_wait_enough(struct vos_proxy *p, struct vos_op *op)
{
	op->enough = true;
	if (op->on_worker)
		vos_worker_cancel(p, op);
	else
		p->engine->cancel(p, op);
	return VOS_PENDING;
}

/* ---- operations beside the system calls ---- */

static long op_path(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req)
{
	int32_t fd = (int32_t)req->arg[0];
	unsigned char *out = vos_validate_range(p, op->lane, req->arg[1], req->arg[2]);
	long n;

	if (fd == VOS_AT_CWD)
		fd = p->cwd_fd;
	else if (fd == VOS_AT_ROOT)
		fd = p->root_fd;
	else if (!vos_rfd(p, fd))
		return -EBADF;
	if (fd < 0)
		return -EBADF;
	if (!out)
		return -EFAULT;
	n = vos_path_name(p, fd, p->path[0], sizeof p->path[0]);
	if (n < 0)
		return n;
	/* The NUL too, so that the client has a string. */
	if ((uint64_t)n >= req->arg[2])
		return -ERANGE;
	memcpy(out, p->path[0], (size_t)n + 1);
	return n;
}

/* Questions to the broker at a time. */
#define BROKER_ASKED 8u

static long broker_answered(struct vos_proxy *p, struct vos_op *op, long res)
{
	int fd = op->tmp_fd;

	op->tmp_fd = -1;
	if (vos_is_err(res))
		return res;
	if (op->nr == VOS_OP_IMPORT)
		return fd < 0 ? -EIO : vos_rfd_add(p, fd, -1, &op->aux);
	memcpy(op->iov.iov_base, op->in[0], 16);
	return 0;
}

/* Sends the questions that fit: the answers must have room in our socket, for the broker does not wait. */
static void ask_more(struct vos_proxy *p)
{
	while (p->broker_unasked && p->broker_asked < BROKER_ASKED) {
		struct vos_op *op = p->broker_unasked;
		bool export = op->nr == VOS_OP_EXPORT;
		struct vos_msg m;

		vos_msg_init(&m, export ? VOS_MSG_EXPORT : VOS_MSG_IMPORT);
		m.proxy = p->id;
		if (!export)
			memcpy(m.token, op->in[0], sizeof m.token);
		/* Of a descriptor that was closed meanwhile the broker gets none, and says so. */
		if (vos_msg_send(p->channel, &m, &op->fd, export && op->fd >= 0, vos_msg_deadline(1000)))
			vos_proxy_end(p, 1, "the broker takes no questions");
		p->broker_unasked = op->wnext;
		p->broker_asked++;
	}
}

static long ask_broker(struct vos_proxy *p, struct vos_op *op)
{
	/* Answers come in the order of the questions. */
	op->wait_mode = VOS_OP_WAIT_BROKER;
	op->resume = broker_answered;
	op->wnext = NULL;
	if (op->fd >= 0)
		vos_rfd_hold(p, op);
	if (p->broker_last)
		p->broker_last->wnext = op;
	else
		p->broker_ops = op;
	p->broker_last = op;
	if (!p->broker_unasked)
		p->broker_unasked = op;
	ask_more(p);
	return VOS_PENDING;
}

void vos_exec_broker(struct vos_proxy *p, const struct vos_msg *m, int fd)
{
	struct vos_op *op = p->broker_ops;

	if (!op) {
		if (fd >= 0)
			close(fd);
		return;
	}
	p->broker_ops = op->wnext;
	if (!p->broker_ops)
		p->broker_last = NULL;
	p->broker_asked--;
	ask_more(p);
	op->tmp_fd = fd;
	memcpy(op->in[0], m->token, 16);
	vos_serve_resume(p, op, m->status);
}

static long op_export(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req)
{
	op->iov.iov_base = vos_validate_range(p, op->lane, req->arg[1], 16);
	if (!vos_rfd(p, (int32_t)req->arg[0]))
		return -EBADF;
	if (!op->iov.iov_base)
		return -EFAULT;
	op->fd = (int32_t)req->arg[0];
	return ask_broker(p, op);
}

static long op_import(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req)
{
	unsigned char *at = vos_validate_range(p, op->lane, req->arg[0], 16);

	if (!at)
		return -EFAULT;
	memcpy(op->in[0], at, 16);
	return ask_broker(p, op);
}

long vos_exec_own(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req)
{
	int32_t fd = (int32_t)req->arg[0];

	if (req->flags & ~VOS_REQ_NOWAIT)
		return -EINVAL;
	switch (req->op) {
	case VOS_OP_NULL:
		return 0;
	case VOS_OP_CANCEL:
		return vos_serve_cancel(p, op->lane, req->arg[0]);
	case VOS_OP_PATH:
		return op_path(p, op, req);
	case VOS_OP_REOPEN:
		if (!vos_rfd(p, fd))
			return -EBADF;
		return vos_exec_open_any(p, op, fd, NULL, (uint32_t)req->arg[1], 0, 0);
	case VOS_OP_EXPORT:
		return op_export(p, op, req);
	case VOS_OP_IMPORT:
		return op_import(p, op, req);
	case VOS_OP_RECRED:
		/* Requests of one lane run in their order, and the change came over the channel before this: see RECRED. */
		return 0;
	case VOS_OP_FILE: {
		struct vos_rfd *r = vos_rfd(p, fd);

		if (!r)
			return -EBADF;
		/* Regular files alone: a directory would lead to all others. */
		if (r->kind != VOS_RFD_FILE)
			return -ENODEV;
		return p->t.ops->give_file ? p->t.ops->give_file(&p->t, req->arg[1], fd) : -EOPNOTSUPP;
	}
	case VOS_OP_LEAVE:
		/* What holds open files in the ring goes first; whoever hears of the exit may bind or lock the same at once. */
		for (uint32_t i = 0; i < p->lanes; i++)
			vos_serve_cancel(p, i, VOS_NULL);
		p->engine->flush(p);
		for (uint32_t n = 0; n < p->rfd_size; n++)
			if (p->rfd[n].kind != VOS_RFD_FREE)
				vos_rfd_drop(p, (int)n);
		return 0;
	case VOS_OP_DUP: {
		struct vos_rfd *r = vos_rfd(p, fd);
		uint8_t kind, flags;
		long n;

		if (!r)
			return -EBADF;
		kind = r->kind;
		flags = r->flags;
		n = vos_raw3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, 0);
		if (vos_is_err(n))
			return n;
		n = vos_rfd_add(p, (int)n, kind == VOS_RFD_PATH ? O_PATH : 0, &op->aux);
		if (!vos_is_err(n)) {
			p->rfd[n].kind = kind;
			p->rfd[n].flags = flags;
		}
		return n;
	}
	}
	return -ENOSYS;
}
