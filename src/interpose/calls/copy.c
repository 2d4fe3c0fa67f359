/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sendfile, splice and copy_file_range between this kernel and domains, or between two domains: bytes are pumped through the
 * lanes.  Nothing may be lost when only a part can be written: a file's position moves by what was written, a pipe or a
 * socket is looked into first and emptied by what was written.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "../dispatch/mapping.h"
#include "../dispatch/marshal.h"
#include "../dispatch/path.h"
#include "../dispatch/spin.h"
#include "../dispatch/table.h"
#include "../entry/user.h"
#include "../entry/window.h"

#define PIECE_MAX (256u << 10)

struct end {
	int fd;
	struct vos_ofd *o;           /* NULL: native */
	struct vos_lane_client *lane;
	int32_t rfd;
	uint32_t mode, flags;        /* st_mode; as F_GETFL tells */
	uint64_t user;               /* the program's offset; 0: the file's own position */
	uint64_t pos;                /* of regular files */
	bool at;                     /* read and written at pos */
};

static bool is(const struct end *e, uint32_t type)
{
	return (e->mode & S_IFMT) == type;
}

static long open_end(struct end *e, uint64_t fd, bool out)
{
	struct stat st;
	long r = 0;

	memset(e, 0, sizeof *e);
	e->fd = (int)fd;
	switch (vos_fd_kind(vos_proc_self(), (uint32_t)fd)) {
	case VOS_FDKIND_OWN:
		return -EBADF;
	case VOS_FDKIND_REMOTE:
		e->o = vos_fd_get(fd);
		if (!e->o)
			return -EBADF;
		e->mode = e->o->mode;
		e->flags = e->o->flags;
		break;
	default:
		r = vos_raw2(__NR_fstat, e->fd, VOS_PTR(&st));
		if (r == 0)
			r = vos_raw3(__NR_fcntl, e->fd, F_GETFL, 0);
		if (r < 0)
			return r;
		e->mode = st.st_mode;
		e->flags = (uint32_t)r;
	}
	if ((e->flags & O_PATH) || (!is(e, S_IFSOCK) && (e->flags & O_ACCMODE) == (out ? O_RDONLY : O_WRONLY)))
		return -EBADF;
	return e->o ? vos_ofd_lane(e->o, &e->lane, &e->rfd) : 0;
}

static long seek_end(struct end *e, int64_t off, int whence)
{
	return e->o ? vos_ofd_call(e->o, __NR_lseek, (uint64_t)off, (uint64_t)whence, 0, NULL) :
		      vos_raw3(__NR_lseek, e->fd, off, whence);
}

/* Where a regular file is to be read or written. */
static long place_end(struct end *e, uint64_t user)
{
	long r;

	e->user = user;
	if (user && is(e, S_IFIFO))
		return -ESPIPE;
	if (user && vos_get_user64(&e->pos, user) < 0)
		return -EFAULT;
	if (user && (int64_t)e->pos < 0)
		return -EINVAL;
	e->at = is(e, S_IFREG) || is(e, S_IFBLK);
	if (user || !e->at)
		return 0;
	r = seek_end(e, 0, SEEK_CUR);
	if (r < 0)
		return r;
	e->pos = (uint64_t)r;
	return 0;
}

/* The position that `moved` bytes leave behind. */
static long leave_end(struct end *e, uint64_t from)
{
	if (!e->at || e->pos == from)
		return 0;
	if (e->user)
		return vos_put_user64(e->user, e->pos);
	return seek_end(e, (int64_t)e->pos, SEEK_SET);
}

static long remote_io(struct end *e, unsigned op, uint64_t off, size_t len, uint32_t flags, uint16_t req_flags)
{
	struct vos_req req = { .op = (uint16_t)op, .flags = req_flags, .arg = { (uint64_t)e->rfd, off, len, e->pos, VOS_NULL, VOS_NULL } };

	if (op == __NR_recvfrom || op == __NR_sendto) {
		req.arg[3] = flags;
		req.arg[5] = op == __NR_sendto ? 0 : VOS_NULL;
	}
	return vos_remote_call(e->lane, &req, NULL);
}

/* Two pipe ends of our own, to look into a pipe without emptying it. */
static struct { _Atomic uint32_t lock; int fd[2]; uint32_t pid; } peek;

static long peek_pipe(int fd, void *mem, size_t len, bool nonblock)
{
	long n;

	/* Waits for data without taking any: tee() below is made under a lock and must not wait. */
	if (!nonblock) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		n = vos_window6(__NR_poll, (uint64_t)VOS_PTR(&p), 1, (uint64_t)-1, 0, 0, 0);
		if (n < 0)
			return n;
	}
	vos_spin_lock(&peek.lock);
	if (peek.pid != vos_self()->pid) { /* also after a fork: the parent goes on using the pipe that came along */
		int p[2];

		n = vos_raw2(__NR_pipe2, VOS_PTR(p), O_CLOEXEC | O_NONBLOCK);
		if (n < 0)
			goto out;
		if (peek.pid) {
			vos_fd_disown(peek.fd[0]);
			vos_fd_disown(peek.fd[1]);
		}
		vos_fd_own(p[0], &peek.fd[0]);
		vos_fd_own(p[1], &peek.fd[1]);
		peek.pid = vos_self()->pid;
	}
	n = vos_raw4(__NR_tee, fd, peek.fd[1], (long)(len < 65536 ? len : 65536), 2 /* SPLICE_F_NONBLOCK */);
	if (n > 0)
		n = vos_raw3(__NR_read, peek.fd[0], VOS_PTR(mem), n);
out:
	vos_spin_unlock(&peek.lock);
	return n;
}

/* Up to len bytes into mem (of the lane of `lane_of`, at off), not taken yet where that is possible. */
static long read_end(struct end *in, void *mem, uint64_t off, size_t len, bool nonblock)
{
	if (in->o && is(in, S_IFSOCK))
		return remote_io(in, __NR_recvfrom, off, len, MSG_PEEK | (nonblock ? MSG_DONTWAIT : 0), 0);
	if (in->o)
		return remote_io(in, in->at ? __NR_pread64 : __NR_read, off, len, 0, nonblock ? VOS_REQ_NOWAIT : 0);
	if (in->at)
		return vos_raw4(__NR_pread64, in->fd, VOS_PTR(mem), (long)len, (long)in->pos);
	if (is(in, S_IFIFO))
		return peek_pipe(in->fd, mem, len, nonblock);
	if (is(in, S_IFSOCK))
		return vos_window6(__NR_recvfrom, (uint64_t)in->fd, (uint64_t)VOS_PTR(mem), len,
				   MSG_PEEK | (nonblock ? MSG_DONTWAIT : 0), 0, 0);
	return vos_window6(__NR_read, (uint64_t)in->fd, (uint64_t)VOS_PTR(mem), len, 0, 0, 0);
}

/* n bytes that were looked at are taken. */
static void take_end(struct end *in, void *mem, uint64_t off, size_t n)
{
	if (in->at) {
		in->pos += n;
		return;
	}
	while (n) {
		long r = -EINVAL;

		if (in->o && is(in, S_IFSOCK))
			r = remote_io(in, __NR_recvfrom, off, n, MSG_DONTWAIT, 0);
		else if (!in->o && is(in, S_IFIFO))
			r = vos_raw3(__NR_read, in->fd, VOS_PTR(mem), (long)n);
		else if (!in->o && is(in, S_IFSOCK))
			r = vos_raw6(__NR_recvfrom, in->fd, VOS_PTR(mem), (long)n, MSG_DONTWAIT, 0, 0);
		if (r <= 0)
			return;
		n -= (size_t)r;
	}
}

static long write_end(struct end *out, const void *mem, uint64_t off, size_t len)
{
	if (out->o)
		return remote_io(out, out->at ? __NR_pwrite64 : __NR_write, off, len, 0, 0);
	if (out->at)
		return vos_raw4(__NR_pwrite64, out->fd, VOS_PTR(mem), (long)len, (long)out->pos);
	return vos_window6(__NR_write, (uint64_t)out->fd, (uint64_t)VOS_PTR(mem), len, 0, 0, 0);
}

/* One piece: bytes moved, 0 at the end, negative errno. */
static long pump_piece(struct end *in, struct end *out, size_t len, bool nonblock)
{
	void *from = NULL, *to = NULL;
	uint64_t from_off = 0, to_off = 0;
	long n = -ENOMEM, w;

	if (in->o) {
		from = vos_lane_alloc(in->lane, len, &from_off);
		if (!from)
			return -ENOMEM;
	}
	if (out->o) {
		to = vos_lane_alloc(out->lane, len, &to_off);
		if (!to)
			goto out;
	}
	n = read_end(in, in->o ? from : to, from_off, len, nonblock);
	if (n > (long)len)
		n = -EIO;
	if (n <= 0)
		goto out;
	if (in->o && out->o)
		memcpy(to, from, (size_t)n);
	w = write_end(out, out->o ? to : from, to_off, (size_t)n);
	if (w > n)
		w = -EIO;
	if (w > 0) {
		take_end(in, in->o ? from : to, from_off, (size_t)w);
		if (out->at) {
			if (out->o)
				vos_mapping_written(out->o, out->pos, (uint64_t)w);
			out->pos += (uint64_t)w;
		}
	} else if (w == -EPIPE && out->o) {
		vos_raise_sigpipe();
	}
	n = w;
out:
	if (from)
		vos_lane_free(in->lane, from);
	if (to)
		vos_lane_free(out->lane, to);
	return n;
}

static size_t piece_max(const struct end *e)
{
	return e->o && vos_transfer_max(e->lane) < PIECE_MAX ? vos_transfer_max(e->lane) : PIECE_MAX;
}

/* `once`: what is there now is enough, as for splice; else until count, as for a file. */
static long pump(struct end *in, struct end *out, uint64_t count, bool once, bool nonblock)
{
	uint64_t in_from = in->pos, out_from = out->pos, total = 0;
	size_t max = piece_max(in) < piece_max(out) ? piece_max(in) : piece_max(out);
	long r = 0, left;

	if (count > VOS_RW_MAX)
		count = VOS_RW_MAX;
	if (in->o && in->at && vos_mapping_any())
		vos_mapping_flush(in->o);
	while (total < count) {
		size_t len = count - total < max ? (size_t)(count - total) : max;

		r = pump_piece(in, out, len, nonblock || (once && total));
		if (r <= 0)
			break;
		total += (uint64_t)r;
		/* A short piece from a file is its end, and from anything else all that there is. */
		if ((size_t)r < len && (once || !in->at || !out->at))
			break;
	}
	/* Positions move also when the last piece failed. */
	left = leave_end(in, in_from);
	if (left >= 0)
		left = leave_end(out, out_from);
	if (left < 0)
		return left;
	return total ? (long)total : r;
}

static void close_ends(struct end *a, struct end *b)
{
	vos_ofd_put(a->o);
	vos_ofd_put(b->o);
}

static long open_ends(struct end *in, uint64_t in_fd, struct end *out, uint64_t out_fd)
{
	long r = open_end(in, in_fd, false);

	memset(out, 0, sizeof *out);
	return r < 0 ? r : open_end(out, out_fd, true);
}

/* From where the program says (or the ends stand) to where it says. */
static long carry(struct end *in, uint64_t in_at, struct end *out, uint64_t out_at, uint64_t len, bool splice, bool nonblock)
{
	long r = place_end(in, in_at);

	if (r >= 0)
		r = place_end(out, out_at);
	return r < 0 ? r : pump(in, out, len, splice, nonblock);
}

static bool both_native(uint64_t a, uint64_t b)
{
	const struct vos_proc *p = vos_proc_self();

	return vos_fd_kind(p, (uint32_t)a) != VOS_FDKIND_REMOTE && vos_fd_kind(p, (uint32_t)b) != VOS_FDKIND_REMOTE &&
	       vos_fd_kind(p, (uint32_t)a) != VOS_FDKIND_OWN && vos_fd_kind(p, (uint32_t)b) != VOS_FDKIND_OWN;
}

static bool same_domain(const struct end *a, const struct end *b)
{
	return a->o && b->o && a->o->domain == b->o->domain;
}

long vos_call_sendfile(struct vos_frame *f)
{
	struct end in, out;
	long r;

	if (both_native(vos_arg(f, 0), vos_arg(f, 1)))
		return vos_native(f);
	r = open_ends(&in, vos_arg(f, 1), &out, vos_arg(f, 0));
	if (r < 0)
		goto out;
	vos_self()->counts_remote[__NR_sendfile]++;
	r = -EINVAL;
	if ((int64_t)vos_arg(f, 3) < 0 || !(is(&in, S_IFREG) || is(&in, S_IFBLK)) || is(&out, S_IFDIR))
		goto out;
	if (same_domain(&in, &out)) {
		uint64_t arg[6] = { 0, (uint64_t)in.rfd, vos_arg(f, 2), vos_arg(f, 3) };

		if (vos_mapping_any())
			vos_mapping_flush(in.o);
		r = vos_marshal_call_as(__NR_sendfile, arg, out.o, NULL);
		goto out;
	}
	r = carry(&in, vos_arg(f, 2), &out, 0, vos_arg(f, 3), false, false);
out:
	close_ends(&in, &out);
	return r;
}

long vos_call_copy_file_range(struct vos_frame *f)
{
	struct end in, out;
	long r;

	if (both_native(vos_arg(f, 0), vos_arg(f, 2)))
		return vos_native(f);
	r = open_ends(&in, vos_arg(f, 0), &out, vos_arg(f, 2));
	if (r < 0)
		goto out;
	vos_self()->counts_remote[__NR_copy_file_range]++;
	r = is(&in, S_IFDIR) || is(&out, S_IFDIR) ? -EISDIR : -EINVAL;
	if (vos_arg(f, 5) || !is(&in, S_IFREG) || !is(&out, S_IFREG))
		goto out;
	r = -EBADF;
	if (out.flags & O_APPEND)
		goto out;
	if (same_domain(&in, &out)) {
		uint64_t arg[6] = { 0, vos_arg(f, 1), (uint64_t)out.rfd, vos_arg(f, 3), vos_arg(f, 4), 0 };

		if (vos_mapping_any()) {
			vos_mapping_flush(in.o);
			vos_mapping_flush(out.o);
		}
		r = vos_marshal_call_as(__NR_copy_file_range, arg, in.o, NULL);
		if (vos_mapping_any())
			vos_mapping_written(out.o, 0, ~0ULL);
		goto out;
	}
	r = carry(&in, vos_arg(f, 1), &out, vos_arg(f, 3), vos_arg(f, 4), false, false);
out:
	close_ends(&in, &out);
	return r;
}

long vos_call_splice(struct vos_frame *f)
{
	struct end in, out;
	uint32_t flags = (uint32_t)vos_arg(f, 5);
	bool nonblock;
	long r;

	if (both_native(vos_arg(f, 0), vos_arg(f, 2)))
		return vos_native(f);
	r = open_ends(&in, vos_arg(f, 0), &out, vos_arg(f, 2));
	if (r < 0)
		goto out;
	vos_self()->counts_remote[__NR_splice]++;
	r = -EINVAL;
	if ((flags & ~0xfU) || (!is(&in, S_IFIFO) && !is(&out, S_IFIFO)))
		goto out;
	if (out.flags & O_APPEND)
		goto out;
	/* O_NONBLOCK of the pipe counts as well as the flag. */
	nonblock = flags & 2;
	if (!nonblock && !in.o && is(&in, S_IFIFO))
		nonblock = in.flags & O_NONBLOCK;
	r = carry(&in, vos_arg(f, 1), &out, vos_arg(f, 3), vos_arg(f, 4), true, nonblock);
out:
	close_ends(&in, &out);
	return r;
}

/* Both ends are pipes of one kernel, or it is no tee. */
long vos_call_tee(struct vos_frame *f)
{
	return both_native(vos_arg(f, 0), vos_arg(f, 1)) ? vos_native(f) : -EINVAL;
}
