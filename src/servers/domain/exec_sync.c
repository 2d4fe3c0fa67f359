/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls on descriptors that end soon, or that a worker or the ring ends. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "servers/domain/exec.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK  36
#define F_OFD_SETLK  37
#define F_OFD_SETLKW 38
#endif

/* More than this is copied by a worker. */
#define COPY_HERE (256u << 10)

static long plain(struct vos_proxy *p, struct vos_op *op, long res)
{
	(void)p;
	(void)op;
	return res;
}

long vos_exec_close(struct vos_proxy *p, struct vos_op *op)
{
	int fd = op->fd;

	op->fd = -1;
	return vos_rfd_close(p, op, fd);
}

long vos_exec_fsync(struct vos_proxy *p, struct vos_op *op)
{
	op->resume = plain;
	return vos_wait_call(p, op, __NR_fsync, op->a);
}

long vos_exec_fdatasync(struct vos_proxy *p, struct vos_op *op)
{
	op->resume = plain;
	return vos_wait_call(p, op, __NR_fdatasync, op->a);
}

/* ---- locks: tried first, so that a worker is needed only for one that has to wait ---- */

long vos_exec_flock(struct vos_proxy *p, struct vos_op *op)
{
	long r = vos_raw2(__NR_flock, op->fd, op->a[1] | LOCK_NB);

	if (r != -EWOULDBLOCK || (op->a[1] & LOCK_NB))
		return r;
	if (op->req_flags & VOS_REQ_NOWAIT)
		return -EAGAIN;
	op->resume = plain;
	return vos_wait_worker(p, op, __NR_flock, op->a);
}

/*
 * Whose process a proxy is, for F_GETLK in another one: memory that all proxies of the domain share, written by whoever takes a
 * lock.  By the low bits of the proxy's process number: the numbers that live at one time lie close together.
 */
#define HOLDERS 16384u
static _Atomic uint64_t *holders;

void vos_exec_locks_prepare(void)
{
	void *m = mmap(NULL, HOLDERS * sizeof *holders, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	/* Without it F_GETLK names proxies. */
	holders = m == MAP_FAILED ? NULL : m;
}

/* The client says it of itself: all that it can spoil is what is told about its own locks. */
static void holds(uint32_t client)
{
	uint32_t own = (uint32_t)vos_raw0(__NR_getpid);

	if (holders && client)
		atomic_store_explicit(&holders[own % HOLDERS], (uint64_t)own << 32 | client, memory_order_relaxed);
}

static pid_t holder(pid_t pid)
{
	uint64_t known;

	/* A description's lock has no process. */
	if (!holders || pid <= 0)
		return pid;
	known = atomic_load_explicit(&holders[(uint32_t)pid % HOLDERS], memory_order_relaxed);
	return known >> 32 == (uint32_t)pid ? (pid_t)known : pid;
}

static long lock(struct vos_proxy *p, struct vos_op *op, long cmd)
{
	long try = cmd == F_SETLKW ? F_SETLK : cmd == F_OFD_SETLKW ? F_OFD_SETLK : cmd, r;
	unsigned char *at = vos_validate_range(p, op->lane, (uint64_t)op->a[2], sizeof(struct flock));
	long a[6] = { op->fd, cmd, VOS_PTR(op->in[0]) };
	struct flock *fl;

	if (!at)
		return -EFAULT;
	memcpy(op->in[0], at, sizeof(struct flock));
	fl = (void *)op->in[0];
	if (try == F_SETLK && fl->l_type != F_UNLCK)
		holds((uint32_t)op->a[3]);
	r = vos_raw3(__NR_fcntl, op->fd, try, VOS_PTR(fl));
	if (!r && (cmd == F_GETLK || cmd == F_OFD_GETLK)) {
		if (fl->l_type != F_UNLCK)
			fl->l_pid = holder(fl->l_pid);
		memcpy(at, fl, sizeof *fl);
	}
	if (try == cmd || (r != -EAGAIN && r != -EACCES))
		return r;
	if (op->req_flags & VOS_REQ_NOWAIT)
		return -EAGAIN;
	op->resume = plain;
	return vos_wait_worker(p, op, __NR_fcntl, a);
}

long vos_exec_fcntl(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_rfd *r = vos_rfd(p, op->fd);
	long cmd = op->a[1], res;

	if (r->kind == VOS_RFD_PATH && cmd != F_GETFL)
		return -EBADF;
	switch (cmd) {
	case F_GETFL:
	case F_GETPIPE_SZ:
	case F_SETPIPE_SZ:
	case F_GET_SEALS:
	case 1028: /* F_CREATED_QUERY, Linux 6.12 */
		return vos_raw3(__NR_fcntl, op->fd, cmd, op->a[2]);
	case F_SETFL:
		/* SIGIO would go to this process. */
		res = vos_raw3(__NR_fcntl, op->fd, cmd, op->a[2] & ~(long)O_ASYNC);
		if (!res) {
			res = vos_raw3(__NR_fcntl, op->fd, F_GETFL, 0);
			r->flags = (uint8_t)((r->flags & ~VOS_RFD_SYNC) | ((res & (O_DIRECT | O_DSYNC)) ? VOS_RFD_SYNC : 0));
			res = 0;
		}
		return res;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return lock(p, op, cmd);
	}
	return -EINVAL;
}

/* ---- copying between two of the client's files ---- */

long vos_exec_sendfile(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_rfd *out = vos_rfd(p, op->a[0]);

	/* op->in[] is the op's own, so a worker may write the offset back into it. */
	if ((uint64_t)op->a[3] <= COPY_HERE && out->kind == VOS_RFD_FILE)
		return vos_raw4(__NR_sendfile, op->a[0], op->a[1], op->a[2], op->a[3]);
	op->resume = plain;
	return vos_wait_worker(p, op, __NR_sendfile, op->a);
}

long vos_exec_copy_file_range(struct vos_proxy *p, struct vos_op *op)
{
	if ((uint64_t)op->a[4] <= COPY_HERE)
		return vos_raw6(__NR_copy_file_range, op->a[0], op->a[1], op->a[2], op->a[3], op->a[4], op->a[5]);
	op->resume = plain;
	return vos_wait_worker(p, op, __NR_copy_file_range, op->a);
}
