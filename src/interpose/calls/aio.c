/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux AIO (io_setup…) where control blocks may name remote descriptors.
 *
 * A program's context is a page of ours that stands for the kernel's: libaio and others look into the page behind a context
 * for completions when they find the kernel's magic there, and must not, as what stands there needs translating.
 *
 * A control block on a remote descriptor is carried out in io_submit(); Linux does the same for
 * buffered files and sockets.  Its completion then takes the kernel's way: a write of no bytes to /dev/null is submitted in its
 * place, with the same eventfd, so that waiting, counting, waking and order are the kernel's.  What comes out of io_getevents()
 * is translated back.  IOCB_CMD_POLL is the exception: it is looked after while some thread waits in io_getevents().
 */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include "net.h"

long vos_call_io_setup(struct vos_frame *f);
long vos_call_io_destroy(struct vos_frame *f);
long vos_call_io_submit(struct vos_frame *f);
long vos_call_io_cancel(struct vos_frame *f);
long vos_call_io_getevents(struct vos_frame *f);
long vos_call_io_pgetevents(struct vos_frame *f);
long vos_call_io_uring_setup(struct vos_frame *f);

/* Stands in the kernel's queue for a remote control block. */
struct proxy {
	struct iocb cb;              /* what the kernel was given; its address is the key */
	uint64_t user_cb;            /* the program's */
	uint64_t data;
	int64_t  res;
	struct proxy *next;
};

/* A poll on a remote descriptor that is not ready yet. */
struct poll {
	struct poll *next;
	uint64_t user_cb, data;
	int32_t  fd;
	short    events;
	bool     has_resfd;
	uint32_t resfd;
};

struct context {
	struct context *next;
	uint64_t id;                 /* the kernel's */
	void    *page;               /* the program's */
	_Atomic uint32_t refs;
	_Atomic uint32_t lock;       /* the lists */
	struct proxy *proxies;       /* in the kernel's queue */
	struct poll  *polls;
	int      null_fd;
};

static _Atomic uint32_t contexts_lock;
static struct context *contexts;
static uint32_t contexts_pid;        /* a forked child has none: the kernel gives it none */

static struct context *get(uint64_t ctx)
{
	struct context *c;

	vos_lock(&contexts_lock);
	c = contexts_pid == vos_self()->pid ? contexts : NULL;
	while (c && (uint64_t)(uintptr_t)c->page != ctx)
		c = c->next;
	if (c)
		atomic_fetch_add(&c->refs, 1);
	vos_unlock(&contexts_lock);
	return c;
}

static void put(struct context *c)
{
	struct proxy *p, *np;
	struct poll *q, *nq;

	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	for (p = c->proxies; p; p = np) {
		np = p->next;
		vos_free(p);
	}
	for (q = c->polls; q; q = nq) {
		nq = q->next;
		vos_free(q);
	}
	if (c->null_fd >= 0)
		vos_fd_disown(c->null_fd);
	vos_free(c);
}

static bool wanted(void)
{
	return vos_self()->proc->ndomains != 0;
}

/* The call with another context id. */
static long native_with(struct vos_frame *f, uint64_t id)
{
	struct vos_frame call = *f;

	call.rdi = id;
	return vos_native(&call);
}

/* ---- life of a context -------------------------------------------------------------------------------------------------- */

long vos_call_io_setup(struct vos_frame *f)
{
	struct vos_frame call = *f;
	uint64_t id = 0, page;
	struct context *c;
	long r;

	if (!wanted())
		return vos_native(f);
	if (vos_copy_from_user(&id, vos_uptr(f->rsi), sizeof id) < 0)
		return -EFAULT;
	if (id != 0)
		return -EINVAL;
	c = vos_alloc(sizeof *c);
	if (!c)
		return -ENOMEM;
	r = vos_raw6(__NR_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vos_is_err(r)) {
		vos_free(c);
		return -ENOMEM;
	}
	page = (uint64_t)r;
	call.rsi = (uint64_t)(uintptr_t)&id;
	r = vos_native(&call);
	if (r == 0 && vos_copy_to_user(vos_uptr(f->rsi), &page, sizeof page) < 0) {
		vos_raw1(__NR_io_destroy, (long)id);
		r = -EFAULT;
	}
	if (r < 0) {
		vos_raw2(__NR_munmap, (long)page, 4096);
		vos_free(c);
		return r;
	}
	c->id = id;
	c->page = vos_uptr(page);
	c->refs = 1;
	c->null_fd = -1;
	vos_lock(&contexts_lock);
	if (contexts_pid != vos_self()->pid) {
		contexts = NULL;
		contexts_pid = vos_self()->pid;
	}
	c->next = contexts;
	contexts = c;
	vos_unlock(&contexts_lock);
	return 0;
}

long vos_call_io_destroy(struct vos_frame *f)
{
	struct context *c = get(f->rdi), **at;
	bool ours = false;
	long r;

	if (!c)
		return wanted() ? -EINVAL : vos_native(f);
	vos_lock(&contexts_lock);
	for (at = &contexts; *at && *at != c; at = &(*at)->next)
		;
	if (*at) {
		*at = c->next;
		ours = true; /* two threads may destroy it at once: the other gets EINVAL */
	}
	vos_unlock(&contexts_lock);
	if (!ours) {
		put(c);
		return -EINVAL;
	}
	r = vos_raw1(__NR_io_destroy, (long)c->id);
	vos_raw2(__NR_munmap, VOS_PTR(c->page), 4096);
	put(c);
	put(c);
	return r;
}

/* ---- submitting ---------------------------------------------------------------------------------------------------------- */

static int null_fd(struct context *c)
{
	int fd, own;

	vos_lock(&c->lock);
	if (c->null_fd < 0) {
		fd = (int)vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR("/dev/null"), O_WRONLY | O_CLOEXEC, 0);
		own = fd < 0 ? fd : vos_fd_own(fd, false);
		if (fd >= 0 && own < 0)
			vos_raw1(__NR_close, fd);
		c->null_fd = own;
	}
	fd = c->null_fd;
	vos_unlock(&c->lock);
	return fd;
}

/* Queues the completion of a remote control block. */
static long complete(struct context *c, const struct iocb *cb, uint64_t user_cb, int64_t res)
{
	struct proxy *p = vos_alloc(sizeof *p);
	struct iocb *list[1];
	int fd = null_fd(c);
	long r;

	if (!p)
		return -ENOMEM;
	if (fd < 0) {
		vos_free(p);
		return -EAGAIN;
	}
	p->cb = (struct iocb){
		.aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_fildes = (uint32_t)fd,
		.aio_flags = cb->aio_flags & IOCB_FLAG_RESFD,
		.aio_resfd = cb->aio_resfd,
	};
	p->user_cb = user_cb;
	p->data = cb->aio_data;
	p->res = res;
	/* In the list before the kernel has it: another thread may fetch it at once. */
	vos_lock(&c->lock);
	p->next = c->proxies;
	c->proxies = p;
	vos_unlock(&c->lock);
	list[0] = &p->cb;
	r = vos_raw3(__NR_io_submit, (long)c->id, 1, VOS_PTR(list));
	if (r != 1) {
		struct proxy **at;

		vos_lock(&c->lock);
		for (at = &c->proxies; *at && *at != p; at = &(*at)->next)
			;
		if (*at)
			*at = p->next;
		vos_unlock(&c->lock);
		vos_free(p);
		return r < 0 ? r : -EAGAIN;
	}
	return 0;
}

/* Carries out what the control block says, as the call that it resembles. */
static int64_t carry_out(struct vos_ofd *o, const struct iocb *cb)
{
	struct vos_frame call = { .rdi = cb->aio_fildes, .rsi = cb->aio_buf, .rdx = cb->aio_nbytes, .r10 = (uint64_t)cb->aio_offset };
	/* A stream has no offset, and Linux then ignores the block's. */
	bool stream = o->net != NULL;
	long r;

	switch (cb->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
		call.rax = stream ? __NR_read : __NR_pread64;
		break;
	case IOCB_CMD_PWRITE:
		call.rax = stream ? __NR_write : __NR_pwrite64;
		break;
	case IOCB_CMD_PREADV:
		call.rax = stream ? __NR_readv : __NR_preadv2;
		call.r9 = (uint32_t)cb->aio_rw_flags;
		break;
	case IOCB_CMD_PWRITEV:
		call.rax = stream ? __NR_writev : __NR_pwritev2;
		call.r9 = (uint32_t)cb->aio_rw_flags;
		break;
	case IOCB_CMD_FSYNC:
		call.rax = __NR_fsync;
		break;
	default:
		call.rax = __NR_fdatasync;
		break;
	}
	r = vos_marshal_call(&call, o);
	return r == -VOS_ERESTARTSYS ? -EINTR : r;
}

static long submit_poll(struct context *c, const struct iocb *cb, uint64_t user_cb)
{
	struct pollfd p = { .fd = (int)cb->aio_fildes, .events = (short)cb->aio_buf };
	struct poll *q;

	if ((uint16_t)cb->aio_buf != cb->aio_buf || cb->aio_offset || cb->aio_nbytes || cb->aio_rw_flags)
		return -EINVAL;
	if (vos_poll_wait(&p, 1, 0) > 0)
		return complete(c, cb, user_cb, (uint16_t)p.revents);
	q = vos_alloc(sizeof *q);
	if (!q)
		return -ENOMEM;
	q->user_cb = user_cb;
	q->data = cb->aio_data;
	q->fd = (int)cb->aio_fildes;
	q->events = p.events;
	q->has_resfd = cb->aio_flags & IOCB_FLAG_RESFD;
	q->resfd = cb->aio_resfd;
	vos_lock(&c->lock);
	q->next = c->polls;
	c->polls = q;
	vos_unlock(&c->lock);
	return 0;
}

static long submit_remote(struct context *c, struct vos_ofd *o, const struct iocb *cb, uint64_t user_cb)
{
	uint32_t key = 0;
	long r;

	if (cb->aio_reserved2 || (cb->aio_flags & ~(uint32_t)(IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO)))
		return -EINVAL;
	if ((int64_t)cb->aio_nbytes < 0)
		return -EINVAL;
	/* Whatever a remote descriptor is, it is no eventfd. */
	if ((cb->aio_flags & IOCB_FLAG_RESFD) && vos_fd_kind(vos_self()->proc, (int)cb->aio_resfd) != VOS_FDKIND_NATIVE)
		return -EINVAL;
	switch (cb->aio_lio_opcode) {
	case IOCB_CMD_POLL:
		return submit_poll(c, cb, user_cb);
	case IOCB_CMD_FSYNC:
	case IOCB_CMD_FDSYNC:
		if (cb->aio_buf || cb->aio_offset || cb->aio_nbytes || cb->aio_rw_flags)
			return -EINVAL;
		if (o->net)
			return -EINVAL;
		break;
	case IOCB_CMD_PREAD:
	case IOCB_CMD_PREADV:
		if ((o->flags & O_ACCMODE) == O_WRONLY)
			return -EBADF;
		break;
	case IOCB_CMD_PWRITE:
	case IOCB_CMD_PWRITEV:
		if ((o->flags & O_ACCMODE) == O_RDONLY)
			return -EBADF;
		break;
	default:
		return -EINVAL;
	}
	/* The kernel writes its key into the block, and io_cancel looks for it. */
	if (vos_copy_to_user(vos_uptr(user_cb + offsetof(struct iocb, aio_key)), &key, sizeof key) < 0)
		return -EFAULT;
	r = carry_out(o, cb);
	return complete(c, cb, user_cb, r);
}

/* Blocks [from, to) are the kernel's: their pointers lie in `user`.  How many it took, or an error for the first. */
static long submit_native(struct context *c, uint64_t user, long from, long to)
{
	return from == to ? 0 : vos_raw3(__NR_io_submit, (long)c->id, to - from, (long)(user + (uint64_t)from * 8));
}

long vos_call_io_submit(struct vos_frame *f)
{
	struct context *c = get(f->rdi);
	long n = (long)f->rsi, done = 0, from = 0, r = 0;

	if (!c)
		return wanted() ? -EINVAL : vos_native(f);
	if (n < 0)
		r = -EINVAL;
	for (long i = 0; r == 0 && i < n; i++) {
		struct vos_ofd *o;
		struct iocb cb;
		uint64_t at;

		if (vos_copy_from_user(&at, vos_uptr(f->rdx + (uint64_t)i * 8), sizeof at) < 0 ||
		    vos_copy_from_user(&cb, vos_uptr(at), sizeof cb) < 0) {
			r = -EFAULT;
			break;
		}
		o = vos_fd_get(cb.aio_fildes);
		if (o && o->epoll) {
			vos_ofd_put(o);
			o = NULL;
		}
		if (!o)
			continue;
		/* What came before goes first. */
		r = submit_native(c, f->rdx, from, i);
		if (r >= 0) {
			done += r;
			r = r == i - from ? submit_remote(c, o, &cb, at) : 1;
		}
		vos_ofd_put(o);
		if (r == 0)
			done++;
		from = i + 1;
	}
	if ((r == 0 || r == -EFAULT) && from < n) {
		/* A bad pointer further on: the kernel says so itself. */
		long last = submit_native(c, f->rdx, from, n);

		if (last >= 0)
			done += last;
		r = last < 0 ? last : 0;
	}
	put(c);
	return done ? done : r < 0 ? r : 0;
}

/* ---- completions ---------------------------------------------------------------------------------------------------------- */

/* The n events at `user` as the program is to see them. */
static void translate(struct context *c, uint64_t user, long n)
{
	for (long i = 0; i < n; i++) {
		uint64_t at = user + (uint64_t)i * sizeof(struct io_event);
		struct io_event ev;
		struct proxy **pp, *p;

		if (vos_copy_from_user(&ev, vos_uptr(at), sizeof ev) < 0)
			return;
		vos_lock(&c->lock);
		for (pp = &c->proxies; *pp && (uint64_t)(uintptr_t)&(*pp)->cb != ev.obj; pp = &(*pp)->next)
			;
		p = *pp;
		if (p)
			*pp = p->next;
		vos_unlock(&c->lock);
		if (!p)
			continue;
		ev = (struct io_event){ .data = p->data, .obj = p->user_cb, .res = p->res };
		vos_free(p);
		(void)vos_copy_to_user(vos_uptr(at), &ev, sizeof ev);
	}
}

#define POLLS 64u

/* Polls that became ready are completed.  Waits at most until the deadline for one. */
static long look_after_polls(struct context *c, uint64_t deadline)
{
	struct pollfd fds[POLLS];
	struct poll *ready = NULL, **at, *q;
	uint32_t n = 0;
	long r;

	vos_lock(&c->lock);
	for (q = c->polls; q && n < POLLS; q = q->next)
		fds[n++] = (struct pollfd){ .fd = q->fd, .events = q->events };
	vos_unlock(&c->lock);
	r = vos_poll_wait(fds, n, deadline);
	if (r <= 0)
		return r;
	vos_lock(&c->lock);
	for (at = &c->polls; (q = *at);) {
		uint32_t i = 0;

		while (i < n && (fds[i].fd != q->fd || fds[i].events != q->events || !fds[i].revents))
			i++;
		if (i == n) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		q->events = fds[i].revents;
		q->next = ready;
		ready = q;
	}
	vos_unlock(&c->lock);
	for (; ready; ready = q) {
		struct iocb cb = {
			.aio_data = ready->data, .aio_flags = ready->has_resfd ? IOCB_FLAG_RESFD : 0, .aio_resfd = ready->resfd,
		};

		q = ready->next;
		complete(c, &cb, ready->user_cb, (uint16_t)ready->events);
		vos_free(ready);
	}
	return r;
}

#define SLICE_NS 1000000u

/* io_getevents with remote polls about: both are looked at in turns. */
static long wait_with_polls(struct vos_frame *f, struct context *c, uint64_t deadline)
{
	long min = (long)f->rsi, max = (long)f->rdx, got = 0, r = 0;
	struct timespec zero = { 0, 0 };

	while (got < max) {
		uint64_t now = vos_net_now();

		r = vos_raw6(__NR_io_getevents, (long)c->id, 0, max - got, (long)(f->r10 + (uint64_t)got * sizeof(struct io_event)),
			     VOS_PTR(&zero), 0);
		if (r < 0)
			break;
		translate(c, f->r10 + (uint64_t)got * sizeof(struct io_event), r);
		got += r;
		if (got >= min || now >= deadline)
			break;
		r = look_after_polls(c, now + SLICE_NS < deadline ? now + SLICE_NS : deadline);
		if (r < 0)
			break;
	}
	if (got)
		return got;
	return r == -VOS_ERESTARTSYS ? -EINTR : r < 0 ? r : 0;
}

static long get_events(struct vos_frame *f)
{
	struct context *c = get(f->rdi);
	uint64_t deadline = VOS_NEVER;
	int64_t ts[2];
	long r;

	if (!c)
		return wanted() ? -EINVAL : vos_native(f);
	if (c->polls && (long)f->rsi >= 0 && (long)f->rdx >= (long)f->rsi) {
		r = 0;
		if (f->r8) {
			r = vos_copy_from_user(ts, vos_uptr(f->r8), sizeof ts);
			if (r == 0 && (ts[0] < 0 || ts[1] < 0 || ts[1] >= 1000000000))
				r = -EINVAL;
			if (r == 0)
				deadline = vos_net_deadline(vos_net_now(), ts[0] > 1000000000 ? VOS_NEVER / 2 :
							    (uint64_t)ts[0] * 1000000000 + (uint64_t)ts[1]);
		}
		if (r == 0)
			r = wait_with_polls(f, c, deadline);
	} else {
		r = native_with(f, c->id);
		if (r > 0)
			translate(c, f->r10, r);
	}
	put(c);
	return r;
}

long vos_call_io_getevents(struct vos_frame *f)
{
	return get_events(f);
}

long vos_call_io_pgetevents(struct vos_frame *f)
{
	return get_events(f);
}

long vos_call_io_cancel(struct vos_frame *f)
{
	struct context *c = get(f->rdi);
	struct poll **at, *q;
	struct iocb cb;
	long r;

	if (!c)
		return wanted() ? -EINVAL : vos_native(f);
	vos_lock(&c->lock);
	for (at = &c->polls; *at && (*at)->user_cb != f->rsi; at = &(*at)->next)
		;
	q = *at;
	if (q)
		*at = q->next;
	vos_unlock(&c->lock);
	if (q) {
		/* As Linux does for a poll: its event arrives in the queue, with nothing in it. */
		cb = (struct iocb){ .aio_data = q->data, .aio_flags = q->has_resfd ? IOCB_FLAG_RESFD : 0, .aio_resfd = q->resfd };
		r = complete(c, &cb, q->user_cb, 0);
		vos_free(q);
		r = r < 0 ? r : -EINPROGRESS;
	} else {
		r = native_with(f, c->id);
	}
	put(c);
	return r;
}

/* ---- io_uring ---------------------------------------------------------------------------------------------------------------- */

long vos_call_io_uring_setup(struct vos_frame *f)
{
	/*
	 * Its requests are made in shared memory, where nobody could tell remote descriptors from others.  Programs take their other
	 * path on ENOSYS, as on a kernel without it.
	 */
	return wanted() ? -ENOSYS : vos_native(f);
}
