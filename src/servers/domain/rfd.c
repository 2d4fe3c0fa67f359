/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's descriptors.  A remote number is the number in this process; the table says which numbers are the client's, so
 * the proxy's own can stay low.  (High ones would cost: the kernel's table grows to the highest number, and each fork of
 * the proxy copies it.)
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "servers/domain/domain.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

static int grow(struct vos_proxy *p, uint32_t fd)
{
	uint32_t size = p->rfd_size ? p->rfd_size : 64;
	struct vos_rfd *t;

	while (size <= fd)
		size *= 2;
	t = realloc(p->rfd, size * sizeof *t);
	if (!t)
		return -ENOMEM;
	memset(t + p->rfd_size, 0, (size - p->rfd_size) * sizeof *t);
	p->rfd = t;
	p->rfd_size = size;
	return 0;
}

long vos_rfd_add(struct vos_proxy *p, int fd, int flags, uint32_t *ret_mode)
{
	struct vos_rfd *r;
	struct stat st;
	long err = 0;

	if ((uint32_t)fd >= p->rfd_size)
		err = grow(p, (uint32_t)fd);
	if (!err)
		err = vos_raw2(__NR_fstat, fd, VOS_PTR(&st));
	if (!err && flags == -1) {
		flags = (int)vos_raw3(__NR_fcntl, fd, F_GETFL, 0);
		if (flags < 0)
			err = flags;
	}
	if (err) {
		vos_raw1(__NR_close, fd);
		return err;
	}
	r = &p->rfd[fd];
	memset(r, 0, sizeof *r);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:  r->kind = VOS_RFD_FILE; break;
	/* A block device's pages behave as a file's. */
	case S_IFBLK:  r->kind = VOS_RFD_FILE; break;
	case S_IFDIR:  r->kind = VOS_RFD_DIR; break;
	case S_IFSOCK: r->kind = VOS_RFD_SOCKET; break;
	case S_IFIFO:
	case S_IFCHR:  r->kind = VOS_RFD_STREAM; break;
	default:       r->kind = VOS_RFD_STREAM; break;
	}
	if (flags & O_PATH)
		r->kind = VOS_RFD_PATH;
	if (flags & (O_DIRECT | O_DSYNC))
		r->flags |= VOS_RFD_SYNC;
	*ret_mode = st.st_mode;
	return fd;
}

void vos_rfd_hold(struct vos_proxy *p, struct vos_op *op)
{
	if (op->fd_held || op->fd_private || op->fd < 0)
		return;
	p->rfd[op->fd].waiting++;
	op->fd_held = true;
}

void vos_rfd_release(struct vos_proxy *p, struct vos_op *op)
{
	if (op->fd_held)
		p->rfd[op->fd].waiting--;
	op->fd_held = false;
	if (op->fd_private)
		vos_raw1(__NR_close, op->fd);
	op->fd_private = false;
}

/* Requests that wait on fd go on with the open file, as a blocked call on Linux does, not with what the number means next. */
static void detach_waiters(struct vos_proxy *p, int fd)
{
	for (uint32_t i = 0; i < p->lanes; i++) {
		for (struct vos_op *op = p->lane[i].ops; op; op = op->next) {
			if (!op->fd_held || op->fd != fd)
				continue;
			p->rfd[fd].waiting--;
			op->fd_held = false;
			/* The ring has the file already, and closing a duplicate later would drop its POSIX locks. */
			if (p->rfd[fd].kind == VOS_RFD_FILE) {
				op->fd = -1;
				continue;
			}
			op->fd = (int)vos_raw3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, 0);
			op->fd_private = op->fd >= 0;
		}
	}
}

long vos_rfd_close(struct vos_proxy *p, struct vos_op *op, int fd)
{
	struct vos_rfd *r = vos_rfd(p, fd);
	long a[6] = { fd };

	if (!r)
		return -EBADF;
	p->engine->flush(p);
	if (r->waiting)
		detach_waiters(p, fd);
	r->kind = VOS_RFD_FREE;
	if (r->flags & VOS_RFD_LINGER)
		return vos_wait_worker(p, op, __NR_close, a);
	return vos_raw1(__NR_close, fd);
}

void vos_rfd_drop(struct vos_proxy *p, int fd)
{
	struct linger l;
	socklen_t len = sizeof l;

	/* A process that exits does not wait for what lingers; a time of 0 still resets. */
	if ((p->rfd[fd].flags & VOS_RFD_LINGER) && !getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len) && l.l_linger) {
		l.l_onoff = 0;
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	}
	p->rfd[fd].kind = VOS_RFD_FREE;
	vos_raw1(__NR_close, fd);
}

static void close_gap(unsigned from, unsigned to)
{
	if (from <= to)
		vos_raw3(__NR_close_range, from, to, 0);
}

void vos_rfd_sweep(struct vos_proxy *p, const int *keep, unsigned nkeep)
{
	unsigned next = 0, k = 0;

	/* Merge of two ascending lists: the client's numbers and ours. */
	for (unsigned fd = 0; fd < p->rfd_size || k < nkeep; fd++) {
		bool own = false;

		while (k < nkeep && keep[k] <= (int)fd) {
			own |= keep[k] == (int)fd;
			k++;
		}
		if (!own && (fd >= p->rfd_size || p->rfd[fd].kind == VOS_RFD_FREE))
			continue;
		if (fd)
			close_gap(next, fd - 1);
		next = fd + 1;
	}
	close_gap(next, ~0u);
}
