/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See mapfile.h.  All but vos_mapfile_read() is called under the lock of mapping.c, and one process of a segment at a time works on it. */
#include "mapfile.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <virtuos/msg.h>
#include "../dispatch/marshal.h"
#include "../rt/rt.h"

#define PAGE   4096ULL
#define PIECE  65536u
#define SPARSE (1u << 20)  /* from this size on, looking for holes pays */
#define RUNS   8u          /* of changed bytes in a page; more of them are stored as one */
#define TURNS  2000u       /* ms to wait for another process: one that was stopped holds up nobody for ever */

/* Under the lock of mapping.c. */
static unsigned char now[PIECE], old[PIECE];

/* ---- out of files ------------------------------------------------------------------------------------------------------------ */

/* Where bytes go; false: no further. */
typedef bool put_fn(void *arg, const unsigned char *p, uint64_t off, size_t n);

long vos_mapfile_stat(struct vos_ofd *o, struct stat *st)
{
	uint64_t arg[6] = { 0 };

	return vos_ofd_call_buf(o, __NR_fstat, arg, 1, st, 0, sizeof *st, NULL);
}

/* Not to be interrupted: a page that is half there helps nobody, and regular files do not wait long. */
static long call(struct vos_lane_client *lane, struct vos_req *req)
{
	long r;

	do
		r = vos_remote_call(lane, req, NULL);
	while (r == -VOS_ERESTARTSYS);
	return r;
}

static long seek(struct vos_lane_client *lane, int64_t rfd, uint64_t at, int whence)
{
	struct vos_req req = { .op = __NR_lseek, .arg = { (uint64_t)rfd, at, (uint64_t)whence } };

	return call(lane, &req);
}

/* Hands [off, end) to put; the bytes lie where the server can change them. */
static long read_range(struct vos_lane_client *lane, int64_t rfd, uint64_t off, uint64_t end, put_fn *put, void *arg)
{
	long r = 1;

	while (r > 0 && off < end) {
		size_t n = end - off < vos_transfer_max(lane) ? (size_t)(end - off) : vos_transfer_max(lane);
		struct vos_req req = { .op = __NR_pread64, .arg = { (uint64_t)rfd, 0, n, off } };
		void *buf = vos_lane_alloc(lane, n, &req.arg[1]);

		if (!buf)
			return -ENOMEM;
		r = call(lane, &req);
		if (r > (long)n || (r > 0 && !put(arg, buf, off, (size_t)r)))
			r = -EIO;
		vos_lane_free(lane, buf);
		if (r > 0)
			off += (uint64_t)r;
	}
	return r < 0 ? r : 0;
}

/* Hands what lies in [off, off+len) of o to put, holes left out where that is cheap. */
static long read_data(struct vos_ofd *o, uint64_t off, uint64_t len, put_fn *put, void *arg)
{
	struct vos_req req = { .op = VOS_OP_REOPEN, .arg = { 0, O_RDONLY } };
	uint64_t end = off + len;
	struct vos_lane_client *lane;
	int32_t rfd;
	long r = vos_ofd_lane(o, &lane, &rfd), mine = -1;

	if (r < 0)
		return r;
	/* An open file of our own: looking for holes moves its offset. */
	req.arg[0] = (uint64_t)rfd;
	if (len >= SPARSE)
		mine = call(lane, &req);
	if (mine < 0)
		return read_range(lane, rfd, off, end, put, arg);
	while (off < end) {
		long from = seek(lane, mine, off, SEEK_DATA), to;

		if (from == -ENXIO || (from >= 0 && (uint64_t)from >= end))
			break;
		if (from < (long)off)
			from = (long)off;
		to = seek(lane, mine, (uint64_t)from, SEEK_HOLE);
		if (to <= from || (uint64_t)to > end)
			to = (long)end;
		r = read_range(lane, mine, (uint64_t)from, (uint64_t)to, put, arg);
		if (r < 0)
			break;
		off = (uint64_t)to;
	}
	req = (struct vos_req){ .op = __NR_close, .arg = { (uint64_t)mine } };
	call(lane, &req);
	return r < 0 ? r : 0;
}

static bool zero(const unsigned char *p, size_t n)
{
	while (n >= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		if (v)
			return false;
		p += 8;
		n -= 8;
	}
	while (n--)
		if (*p++)
			return false;
	return true;
}

struct memory {
	unsigned char *mem;
	uint64_t off;
};

static bool put_memory(void *arg, const unsigned char *p, uint64_t off, size_t n)
{
	struct memory *m = arg;

	while (n) {
		size_t k = PAGE - off % PAGE < n ? PAGE - off % PAGE : n;

		if (!zero(p, k))
			memcpy(m->mem + (off - m->off), p, k);
		p += k;
		off += k;
		n -= k;
	}
	return true;
}

long vos_mapfile_read(struct vos_ofd *o, unsigned char *mem, uint64_t off, uint64_t len)
{
	struct memory m = { mem, off };

	return read_data(o, off, len, put_memory, &m);
}

/* ---- segments ------------------------------------------------------------------------------------------------------------------ */

static bool write_all(int fd, const unsigned char *p, size_t n, uint64_t off)
{
	while (n) {
		long r = vos_raw4(__NR_pwrite64, fd, VOS_PTR(p), (long)n, (long)off);

		if (r <= 0)
			return false;
		p += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	return true;
}

/* n bytes, those that are not there being zero. */
static void read_all(int fd, unsigned char *p, size_t n, uint64_t off)
{
	long r;

	while (n && (r = vos_raw4(__NR_pread64, fd, VOS_PTR(p), (long)n, (long)off)) > 0) {
		p += r;
		off += (uint64_t)r;
		n -= (size_t)r;
	}
	memset(p, 0, n);
}

struct into {
	struct vos_mapfile *m;
	bool fresh;                  /* all is zero */
};

static bool put_segment(void *arg, const unsigned char *p, uint64_t off, size_t n)
{
	const struct into *to = arg;

	while (n) {
		size_t unit = to->fresh ? (size_t)PAGE : PIECE, k = unit - off % unit < n ? unit - off % unit : n;

		/* Both are to hold the very same: the server can change what p points to. */
		memcpy(now, p, k);
		if (!(to->fresh && zero(now, k)) &&
		    (!write_all(to->m->segment, now, k, off) || !write_all(to->m->shadow, now, k, off)))
			return false;
		p += k;
		off += k;
		n -= k;
	}
	return true;
}

/* One process of a segment at a time; the death of one ends its turn. */
static void turn_begin(struct vos_mapfile *m)
{
	const struct timespec ms = { 0, 1000000 };
	char name[32];
	long fd;

	if (m->forked && m->turn >= 0) {
		vos_fd_disown(m->turn);
		m->turn = -1;
	}
	m->forked = false;
	if (m->turn < 0) {
		vos_fmt(name, sizeof name, "/proc/self/fd/%d", m->segment);
		fd = vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR(name), O_RDWR | O_CLOEXEC, 0);
		if (fd < 0)
			return;
		m->turn = vos_fd_own((int)fd, NULL);
		if (m->turn < 0) {
			vos_raw1(__NR_close, fd);
			return;
		}
	}
	for (unsigned i = 0; i < TURNS && vos_raw2(__NR_flock, m->turn, LOCK_EX | LOCK_NB); i++)
		vos_raw2(__NR_nanosleep, VOS_PTR(&ms), 0);
}

static void turn_end(struct vos_mapfile *m)
{
	if (m->turn >= 0)
		vos_raw2(__NR_flock, m->turn, LOCK_UN);
}

/* In turn.  The segment ends where the file does: pages past it are SIGBUS for everybody, and what a shorter file cut off is zero. */
static long resize(struct vos_mapfile *m)
{
	const int both[2] = { m->shadow, m->segment };
	struct stat st, mem;
	long r = vos_mapfile_stat(m->reader, &st);

	if (r < 0)
		return r;
	m->size = (uint64_t)st.st_size;
	for (unsigned i = 0; i < 2; i++)
		if (vos_raw2(__NR_fstat, both[i], VOS_PTR(&mem)) == 0 && mem.st_size != st.st_size)
			r = vos_raw2(__NR_ftruncate, both[i], st.st_size);
	return r;
}

static uint64_t seek_here(int fd, uint64_t at, int whence)
{
	long r = vos_raw3(__NR_lseek, fd, (long)at, whence);

	return r < 0 ? ~0ULL : (uint64_t)r;
}

/* The next part of [at, end) where segment or shadow hold anything. */
static bool next_data(const struct vos_mapfile *m, uint64_t at, uint64_t end, uint64_t *ret_from, uint64_t *ret_to)
{
	uint64_t a = seek_here(m->segment, at, SEEK_DATA), b = seek_here(m->shadow, at, SEEK_DATA), from = a < b ? a : b, to;

	if (from >= end)
		return false;
	to = seek_here(a <= b ? m->segment : m->shadow, from, SEEK_HOLE);
	*ret_from = from;
	*ret_to = to > end || to <= from ? end : to;
	return true;
}

static long store(struct vos_ofd *o, const unsigned char *p, size_t len, uint64_t off)
{
	struct vos_lane_client *lane;
	int32_t rfd;
	long r = vos_ofd_lane(o, &lane, &rfd);

	while (r >= 0 && len) {
		size_t n = len < vos_transfer_max(lane) ? len : vos_transfer_max(lane);
		struct vos_req req = { .op = __NR_pwrite64, .arg = { (uint64_t)rfd, 0, n, off } };
		void *buf = vos_lane_alloc(lane, n, &req.arg[1]);

		if (!buf)
			return -ENOMEM;
		memcpy(buf, p, n);
		r = call(lane, &req);
		vos_lane_free(lane, buf);
		if (r == 0 || r > (long)n)
			r = -EIO;
		if (r > 0) {
			p += r;
			off += (uint64_t)r;
			len -= (size_t)r;
		}
	}
	return r < 0 ? r : 0;
}

/* A write-back under way: bytes [from, to) of the piece at `base`, which is in `now`. */
struct back {
	struct vos_mapfile *m;
	uint64_t base;
	size_t from, to;
	bool sized;                  /* the file's size was looked at */
	long err;
};

static void flush(struct back *b)
{
	struct vos_mapfile *m = b->m;
	uint64_t off = b->base + b->from;
	size_t n = b->to - b->from;
	long r;

	if (n == 0)
		return;
	b->from = b->to = 0;
	/* A write must not lengthen what another has made shorter. */
	if (!b->sized && (r = resize(m)) < 0) {
		b->err = r;
		return;
	}
	b->sized = true;
	if (off >= m->size)
		return;
	if (n > m->size - off)
		n = (size_t)(m->size - off);
	r = store(m->writer, now + (off - b->base), n, off);
	/* The file first: whoever dies in between leaves a store too many, not one too few. */
	if (r < 0)
		b->err = r;
	else
		write_all(m->shadow, now + (off - b->base), n, off);
}

static void changed(struct back *b, size_t from, size_t to)
{
	if (b->to != from)
		flush(b);
	if (b->from == b->to)
		b->from = from;
	b->to = to;
}

/* The bytes of a page that the file has not got, and no others: those may have been written by somebody else meanwhile. */
static void compare_page(struct back *b, size_t at, size_t len)
{
	size_t run[RUNS][2], n = 0, i = 0, last = 0;

	while (i < len) {
		size_t from;

		while (i < len && now[at + i] == old[at + i])
			i++;
		if (i == len)
			break;
		from = i;
		while (i < len && now[at + i] != old[at + i])
			i++;
		last = i;
		if (n < RUNS) {
			run[n][0] = from;
			run[n][1] = i;
		}
		n++;
	}
	if (n > RUNS) {
		changed(b, at + run[0][0], at + last);
		return;
	}
	for (size_t k = 0; k < n; k++)
		changed(b, at + run[k][0], at + run[k][1]);
}

static long write_back(struct vos_mapfile *m, uint64_t from, uint64_t to)
{
	struct back b = { .m = m };
	uint64_t at, end;

	if (!m->writer)
		return 0;
	if (to > m->size)
		to = m->size;
	for (uint64_t pos = from; pos < to && next_data(m, pos, to, &at, &end); pos = end) {
		for (; at < end; at += PIECE) {
			size_t n = end - at < PIECE ? (size_t)(end - at) : PIECE;

			read_all(m->segment, now, n, at);
			read_all(m->shadow, old, n, at);
			b.base = at;
			for (size_t i = 0; i < n; i += PAGE) {
				size_t k = n - i < PAGE ? n - i : (size_t)PAGE;

				if (memcmp(now + i, old + i, k) != 0)
					compare_page(&b, i, k);
			}
			flush(&b);
		}
	}
	return b.err;
}

long vos_mapfile_write_back(struct vos_mapfile *m, uint64_t from, uint64_t to)
{
	long r;

	if (!m->writer)
		return 0;
	turn_begin(m);
	r = write_back(m, from, to);
	turn_end(m);
	return r;
}

long vos_mapfile_take_over(struct vos_mapfile *m, uint64_t off, uint64_t len)
{
	struct into to = { m, false };
	long r;

	turn_begin(m);
	r = resize(m);
	if (r >= 0 && off < m->size) {
		if (len > m->size - off)
			len = m->size - off;
		/* Whole: what became a hole is to be zero. */
		if (len) {
			struct vos_lane_client *lane;
			int32_t rfd;

			r = vos_ofd_lane(m->reader, &lane, &rfd);
			if (r >= 0)
				r = read_range(lane, rfd, off, off + len, put_segment, &to);
		}
	}
	turn_end(m);
	return r;
}

/* ---- their life ------------------------------------------------------------------------------------------------------------------ */

void vos_mapfile_free(struct vos_mapfile *m)
{
	const int all[4] = { m->segment, m->shadow, m->turn, m->hold };

	for (unsigned i = 0; i < 4; i++)
		if (all[i] >= 0)
			vos_fd_disown(all[i]);
	vos_ofd_put(m->reader);
	vos_ofd_put(m->writer);
	vos_free(m);
}

static int own_memory(void)
{
	long fd = vos_raw2(__NR_memfd_create, VOS_PTR("virtuos-shared"), MFD_CLOEXEC);
	int own;

	if (fd < 0)
		return (int)fd;
	own = vos_fd_own((int)fd, NULL);
	if (own < 0)
		vos_raw1(__NR_close, fd);
	return own;
}

/* Without a supervisor's segment the file is still coherent in this process and its children. */
static int own_segment(struct vos_segment *s)
{
	*s = (struct vos_segment){ own_memory(), -1, -1, VOS_SHMAP_FRESH };
	if (s->fd < 0)
		return s->fd;
	s->shadow = own_memory();
	return s->shadow < 0 ? s->shadow : 0;
}

static long fill(struct vos_mapfile *m, uint32_t made)
{
	struct into to = { m, true };
	long r = 0;

	if (made == VOS_SHMAP_LEFT) {
		/* What a killed process had stored; whoever cannot write leaves it to one who can. */
		if (!m->writer)
			return 0;
		r = write_back(m, 0, ~0ULL);
	}
	/* Whatever the killed one had begun; nobody has it mapped. */
	if (r >= 0)
		r = vos_raw2(__NR_ftruncate, m->segment, 0);
	if (r >= 0)
		r = vos_raw2(__NR_ftruncate, m->shadow, 0);
	if (r >= 0)
		r = resize(m);
	return r < 0 ? r : read_data(m->reader, 0, m->size, put_segment, &to);
}

struct vos_mapfile *vos_mapfile_new(struct vos_ofd *o, const struct stat *st, long *ret_err)
{
	uint64_t size = (uint64_t)st->st_size;
	struct vos_mapfile *m = vos_alloc(sizeof *m);
	struct vos_segment s = { -1, -1, -1, 0 };
	long r;

	if (!m) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	*m = (struct vos_mapfile){ .domain = o->domain, .dev = st->st_dev, .ino = st->st_ino, .size = size, .reader = o, .turn = -1 };
	vos_ofd_ref(o);
	if ((o->flags & O_ACCMODE) == O_RDWR) {
		m->writer = o;
		vos_ofd_ref(o);
	}
	r = vos_remote_segment(o->domain, m->dev, m->ino, (size + PAGE) & ~(PAGE - 1), &s);
	if (r < 0 && r != -EAGAIN)
		r = own_segment(&s);
	m->segment = s.fd;
	m->shadow = s.shadow;
	m->hold = s.hold;
	if (r >= 0 && s.made != VOS_SHMAP_READY) {
		r = fill(m, s.made);
		if (r >= 0 && m->hold >= 0)
			vos_remote_segment_filled(m->domain, m->hold);
	} else if (r >= 0) {
		turn_begin(m);
		r = resize(m);
		turn_end(m);
	}
	if (r < 0) {
		*ret_err = r;
		vos_mapfile_free(m);
		return NULL;
	}
	return m;
}
