/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that clients have mapped shared.  The memory of such a mapping is a memfd in the client's kernel, which the proxies of the
 * same user hear of: what one of them writes to the file it writes there too, what it reads it takes from there, and when a
 * client dies its proxy brings to the file what the client had stored.  Clients can write the memfd, and change its size, at any
 * time: it is read and written, never mapped.  The broker takes all rights from a memfd that nobody maps any more.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "servers/common/channel.h"
#include "servers/domain/domain.h"

#define PIECE 65536u
#define PAGE  4096u

struct vos_shared {
	struct vos_shared *next;
	uint64_t dev, ino;
	int fd;              /* the memfd */
	int writer;          /* the client's descriptor for writing back, as far as it still is one; -1 */
};

static struct vos_shared *find(struct vos_proxy *p, uint64_t dev, uint64_t ino)
{
	struct vos_shared *s = p->shared;

	while (s && (s->dev != dev || s->ino != ino))
		s = s->next;
	return s;
}

/* fd is open on the file of s. */
static bool is_of(struct vos_proxy *p, int fd, const struct vos_shared *s, struct stat *st)
{
	struct vos_rfd *r = vos_rfd(p, fd);

	return r && r->kind == VOS_RFD_FILE && !vos_raw2(__NR_fstat, fd, VOS_PTR(st)) && st->st_dev == s->dev && st->st_ino == s->ino;
}

/* Pages of the memory that differ go to the file. */
static void write_back(struct vos_proxy *p, struct vos_shared *s)
{
	static unsigned char mem[PIECE], file[PIECE];
	struct stat st, now;
	uint64_t end;

	if (s->writer < 0 || !is_of(p, s->writer, s, &st) || vos_raw2(__NR_fstat, s->fd, VOS_PTR(&now)))
		return;
	end = (uint64_t)(st.st_size < now.st_size ? st.st_size : now.st_size);
	for (uint64_t at = 0; at < end; at += PIECE) {
		size_t n = end - at < PIECE ? (size_t)(end - at) : PIECE;

		if (vos_raw4(__NR_pread64, s->fd, VOS_PTR(mem), (long)n, (long)at) != (long)n ||
		    vos_raw4(__NR_pread64, s->writer, VOS_PTR(file), (long)n, (long)at) != (long)n)
			return;
		for (size_t i = 0; i < n; i += PAGE) {
			size_t k = n - i < PAGE ? n - i : PAGE;

			if (memcmp(mem + i, file + i, k) != 0)
				vos_raw4(__NR_pwrite64, s->writer, VOS_PTR(mem + i), (long)k, (long)(at + i));
		}
	}
}

static void forget(struct vos_proxy *p, struct vos_shared *s)
{
	struct vos_shared **at = &p->shared;

	write_back(p, s);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	close(s->fd);
	free(s);
}

/* The segment of the file that fd is open on, while anybody maps it. */
static struct vos_shared *of(struct vos_proxy *p, int fd, struct stat *st)
{
	struct vos_rfd *r = vos_rfd(p, fd);
	struct vos_shared *s;
	struct stat mem;

	if (!r || r->kind != VOS_RFD_FILE || vos_raw2(__NR_fstat, fd, VOS_PTR(st)))
		return NULL;
	s = find(p, st->st_dev, st->st_ino);
	if (s && (vos_raw2(__NR_fstat, s->fd, VOS_PTR(&mem)) || !(mem.st_mode & 0777))) {
		forget(p, s);
		return NULL;
	}
	return s;
}

/* [off, off + len) of the file is new; fd reads it, or the writer does. */
static void take_over(struct vos_shared *s, int fd, uint64_t off, uint64_t len)
{
	static unsigned char buf[PIECE];

	while (len) {
		size_t n = len < PIECE ? (size_t)len : PIECE;
		long r = vos_raw4(__NR_pread64, fd, VOS_PTR(buf), (long)n, (long)off);

		if (r == -EBADF && s->writer >= 0 && fd != s->writer)
			r = vos_raw4(__NR_pread64, fd = s->writer, VOS_PTR(buf), (long)n, (long)off);
		if (r <= 0 || vos_raw4(__NR_pwrite64, s->fd, VOS_PTR(buf), r, (long)off) != r)
			return;
		off += (uint64_t)r;
		len -= (uint64_t)r;
	}
}

static uint64_t position(int fd, long moved)
{
	return (uint64_t)(vos_raw3(__NR_lseek, fd, 0, SEEK_CUR) - moved);
}

void vos_shared_after(struct vos_proxy *p, struct vos_op *op, long res)
{
	struct vos_shared *s;
	int fd = op->fd;
	struct stat st;
	uint64_t off, len = (uint64_t)res;

	switch (op->nr) {
	case __NR_read: case __NR_readv: case __NR_pread64: case __NR_preadv: case __NR_preadv2:
	case __NR_write: case __NR_writev: case __NR_pwrite64: case __NR_pwritev: case __NR_pwritev2:
	case __NR_ftruncate: case __NR_fallocate:
		break;
	case __NR_sendfile:
		fd = (int)op->a[0];
		break;
	case __NR_copy_file_range:
		fd = (int)op->a[2];
		break;
	default:
		return;
	}
	s = fd < 0 ? NULL : of(p, fd, &st);
	if (!s)
		return;
	switch (op->nr) {
	case __NR_ftruncate:
		vos_raw2(__NR_ftruncate, s->fd, st.st_size);
		return;
	case __NR_fallocate:
		off = (uint64_t)op->a[2];
		len = (uint64_t)op->a[3];
		break;
	case __NR_copy_file_range:
		off = op->a[3] ? (uint64_t)(*(int64_t *)op->a[3] - res) : position(fd, res);
		break;
	case __NR_pread64: case __NR_preadv: case __NR_pwrite64: case __NR_pwritev:
		off = (uint64_t)op->a[3];
		break;
	case __NR_preadv2: case __NR_pwritev2:
		off = op->a[3] == -1 ? position(fd, res) : (uint64_t)op->a[3];
		break;
	default:
		off = position(fd, res);
	}
	switch (op->nr) {
	case __NR_read: case __NR_readv: case __NR_pread64: case __NR_preadv: case __NR_preadv2:
		vos_raw4(__NR_pread64, s->fd, op->a[1], res, (long)off);
		return;
	}
	/* A client that writes its own mapping back: the memory is newer by now. */
	if (!(op->req_flags & VOS_REQ_MAPPED))
		take_over(s, fd, off, len);
}

static uint64_t memory(int fd)
{
	struct stat st;

	return vos_raw2(__NR_fstat, fd, VOS_PTR(&st)) ? 0 : st.st_ino;
}

void vos_shared_message(struct vos_proxy *p, const struct vos_msg *m, int fd)
{
	struct vos_shared *s = find(p, m->aux[0], m->aux[1]);

	if (m->aux[2] != VOS_SHARED_MAPPED) {
		/* While it is being written back elsewhere, the memory is what counts. */
		if (s && memory(s->fd) == m->aux[3]) {
			if (m->aux[2] == VOS_SHARED_FREE)
				write_back(p, s);
			s->writer = -1;
			if (m->aux[2] == VOS_SHARED_GONE)
				forget(p, s);
		}
		if (m->aux[2] == VOS_SHARED_FREE)
			vos_msg_send(p->channel, m, NULL, 0, vos_msg_deadline(1000));
	} else {
		/* The end of an earlier one was not heard. */
		if (s && fd >= 0 && memory(s->fd) != memory(fd)) {
			forget(p, s);
			s = NULL;
		}
		if (!s && fd >= 0) {
			s = malloc(sizeof *s);
			if (s) {
				*s = (struct vos_shared){ p->shared, m->aux[0], m->aux[1], fd, -1 };
				p->shared = s;
				fd = -1;
			}
		}
		if (s && m->aux[3])
			s->writer = (int)(m->aux[3] - 1);
	}
	if (fd >= 0)
		close(fd);
}

void vos_shared_end(struct vos_proxy *p)
{
	for (struct vos_shared *s = p->shared; s; s = s->next)
		write_back(p, s);
}

unsigned vos_shared_fds(const struct vos_proxy *p, int *ret)
{
	unsigned n = 0;

	for (const struct vos_shared *s = p->shared; s; s = s->next, n++)
		if (ret)
			ret[n] = s->fd;
	return n;
}
