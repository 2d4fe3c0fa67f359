/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory mapped from remote files.  A domain of this kernel hands the file over, and the kernel maps it: then nothing more is to
 * be done (vos_mapping_file()).  All else here is for domains elsewhere, whose files are copied.
 *
 * Private: anonymous memory that holds the file's bytes of the moment of the mmap.  Shared: the segment of the file, a memfd
 * that all processes of the session map, filled from the file once; what the program stores there is found by comparing with
 * a shadow and written back at msync, munmap, exec and exit, and before this process reads the file.  Pages past the end of the
 * file come from an empty memfd, so that touching them is SIGBUS.
 */
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "../dispatch/mapping.h"
#include "../dispatch/marshal.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../rt/rt.h"

#define PAGE 4096ULL

/* A remote file with shared mappings in this process. */
struct vos_mapfile {
	struct vos_mapfile *next;
	struct vos_domain *domain;
	uint64_t dev, ino;
	struct vos_ofd *writer;      /* the open file that write-back goes through; NULL: none was writable.  A reference */
	unsigned char *view;         /* the whole segment, mapped for ourselves */
	unsigned char *shadow;       /* what was written back or read last */
	uint64_t size;               /* of the file as we know it */
	uint64_t view_size;          /* of view and shadow: whole pages */
	int segment, hold;
	uint32_t maps;
};

/* One mapping, or what munmap has left of one. */
struct map {
	struct map *next;
	uint64_t addr, len, off;
	struct vos_mapfile *file;    /* shared; NULL: private */
	struct vos_ofd *ofd;         /* private: where the bytes come from.  A reference */
	bool readonly;               /* shared, through a descriptor that cannot write */
};

_Atomic uint32_t vos_mapping_count;
static _Atomic uint32_t lock;
static struct map *maps;
static struct vos_mapfile *files;

static long raw_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t off)
{
	return vos_raw6(__NR_mmap, (long)addr, (long)len, prot, flags, fd, (long)off);
}

static uint64_t pages(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------------- */

/* Reads [off, off+len) of o into mem; 0 or negative errno.  What lies past the end stays as it is. */
static long fill(struct vos_ofd *o, unsigned char *mem, uint64_t off, uint64_t len)
{
	struct vos_lane_client *lane;
	int32_t rfd;
	long r = vos_ofd_lane(o, &lane, &rfd);

	while (r >= 0 && len) {
		size_t n = len < vos_transfer_max(lane) ? (size_t)len : vos_transfer_max(lane);
		struct vos_req req = { .op = __NR_pread64, .arg = { (uint64_t)rfd, 0, n, off } };
		void *buf = vos_lane_alloc(lane, n, &req.arg[1]);

		if (!buf)
			return -ENOMEM;
		do
			r = vos_remote_call(lane, &req, NULL);
		while (r == -VOS_ERESTARTSYS); /* a page that is half there helps nobody; regular files do not wait long */
		if (r > (long)n)
			r = -EIO;
		if (r > 0) {
			memcpy(mem, buf, (size_t)r);
			mem += r;
			off += (uint64_t)r;
			len -= (uint64_t)r;
		}
		vos_lane_free(lane, buf);
		if (r == 0)
			break;
	}
	return r < 0 ? r : 0;
}

static long store(struct vos_ofd *o, const unsigned char *mem, uint64_t off, uint64_t len)
{
	struct vos_lane_client *lane;
	int32_t rfd;
	long r = vos_ofd_lane(o, &lane, &rfd);

	while (r >= 0 && len) {
		size_t n = len < vos_transfer_max(lane) ? (size_t)len : vos_transfer_max(lane);
		struct vos_req req = { .op = __NR_pwrite64, .arg = { (uint64_t)rfd, 0, n, off } };
		void *buf = vos_lane_alloc(lane, n, &req.arg[1]);

		if (!buf)
			return -ENOMEM;
		memcpy(buf, mem, n);
		do
			r = vos_remote_call(lane, &req, NULL);
		while (r == -VOS_ERESTARTSYS);
		vos_lane_free(lane, buf);
		if (r == 0 || r > (long)n)
			r = -EIO;
		if (r > 0) {
			mem += r;
			off += (uint64_t)r;
			len -= (uint64_t)r;
		}
	}
	return r < 0 ? r : 0;
}

static long stat_of(struct vos_ofd *o, struct stat *st)
{
	uint64_t arg[6] = { 0 };

	return vos_ofd_call_buf(o, __NR_fstat, arg, 1, st, 0, sizeof *st, NULL);
}

/* ---- files with shared mappings ---------------------------------------------------------------------------------------------- */

/* Under the lock.  The pages of [from, to) that the program has changed go to the file. */
static long write_back(struct vos_mapfile *m, uint64_t from, uint64_t to)
{
	long err = 0;

	if (!m->writer || !m->shadow)
		return 0;
	if (to > m->size)
		to = m->size;
	for (uint64_t at = from & ~(PAGE - 1); at < to;) {
		uint64_t end = at;
		long r;

		while (end < to && memcmp(m->view + end, m->shadow + end, end + PAGE < to ? PAGE : to - end) != 0)
			end += PAGE;
		if (end == at) {
			at += PAGE;
			continue;
		}
		/* The shadow first: what the program stores meanwhile is found the next time. */
		memcpy(m->shadow + at, m->view + at, end - at);
		r = store(m->writer, m->shadow + at, at, (end < to ? end : to) - at);
		if (r < 0)
			err = r;
		at = end;
	}
	return err;
}

/* Under the lock.  view and shadow cover the file as large as it is now. */
static long resize(struct vos_mapfile *m, uint64_t size)
{
	uint64_t want = pages(size ? size : 1);
	long view, shadow;
	struct stat st;

	if (want > m->view_size) {
		view = raw_mmap(0, want, PROT_READ | PROT_WRITE, MAP_SHARED, m->segment, 0);
		if (vos_is_err(view))
			return view;
		shadow = raw_mmap(0, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (vos_is_err(shadow)) {
			vos_raw2(__NR_munmap, view, (long)want);
			return shadow;
		}
		if (m->view) {
			memcpy((void *)shadow, m->shadow, m->view_size);
			vos_raw2(__NR_munmap, VOS_PTR(m->view), (long)m->view_size);
			vos_raw2(__NR_munmap, VOS_PTR(m->shadow), (long)m->view_size);
		}
		m->view = (void *)view;
		m->shadow = (void *)shadow;
		m->view_size = want;
	}
	m->size = size;
	/* The segment ends where the file does: pages past it are SIGBUS for everybody, and what a shorter file cut off is zero. */
	if (vos_raw2(__NR_fstat, m->segment, VOS_PTR(&st)) == 0 && (uint64_t)st.st_size != size)
		vos_raw2(__NR_ftruncate, m->segment, (long)size);
	return 0;
}

static void file_free(struct vos_mapfile *m)
{
	if (m->view)
		vos_raw2(__NR_munmap, VOS_PTR(m->view), (long)m->view_size);
	if (m->shadow)
		vos_raw2(__NR_munmap, VOS_PTR(m->shadow), (long)m->view_size);
	if (m->segment >= 0)
		vos_fd_disown(m->segment);
	if (m->hold >= 0)
		vos_fd_disown(m->hold);
	vos_ofd_put(m->writer);
	vos_free(m);
}

static struct vos_mapfile *file_find(struct vos_domain *d, uint64_t dev, uint64_t ino)
{
	struct vos_mapfile *m;

	for (m = files; m && !(m->domain == d && m->dev == dev && m->ino == ino); m = m->next)
		;
	return m;
}

/* Without a supervisor's segment the file is still coherent in this process and its children. */
static int own_segment(int *ret_fd, bool *ret_fresh)
{
	long fd = vos_raw2(__NR_memfd_create, VOS_PTR("virtuos-shared"), MFD_CLOEXEC);

	if (fd < 0)
		return (int)fd;
	fd = vos_fd_own((int)fd, NULL);
	*ret_fd = (int)fd;
	*ret_fresh = true;
	return fd < 0 ? (int)fd : 0;
}

static struct vos_mapfile *file_make(struct vos_ofd *o, const struct stat *st, long *ret_err)
{
	struct vos_mapfile *m = vos_alloc(sizeof *m);
	uint64_t size = (uint64_t)st->st_size;
	bool fresh = false;

	if (!m) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	m->domain = o->domain;
	m->dev = st->st_dev;
	m->ino = st->st_ino;
	m->segment = m->hold = -1;
	*ret_err = vos_remote_segment(o->domain, m->dev, m->ino, pages(size), &m->segment, &m->hold, &fresh);
	if (*ret_err < 0)
		*ret_err = own_segment(&m->segment, &fresh);
	if (*ret_err >= 0)
		*ret_err = resize(m, size);
	if (*ret_err >= 0 && fresh)
		*ret_err = fill(o, m->view, 0, size);
	if (*ret_err < 0) {
		file_free(m);
		return NULL;
	}
	memcpy(m->shadow, m->view, pages(size));
	m->next = files;
	files = m;
	return m;
}

/* ---- the list ------------------------------------------------------------------------------------------------------------------ */

static void map_add(struct map *n)
{
	n->next = maps;
	maps = n;
	atomic_fetch_add(&vos_mapping_count, 1);
	if (n->file)
		n->file->maps++;
}

/* Under the lock; the ofd to be put and the file to be freed afterwards go to the caller's list. */
static void map_gone(struct map *n, struct map **dead)
{
	struct vos_mapfile *m = n->file;

	atomic_fetch_sub(&vos_mapping_count, 1);
	n->next = *dead;
	*dead = n;
	if (m && --m->maps == 0) {
		struct vos_mapfile **at = &files;

		while (*at != m)
			at = &(*at)->next;
		*at = m->next;
	} else {
		n->file = NULL;
	}
}

static void bury(struct map *dead)
{
	while (dead) {
		struct map *n = dead;

		dead = n->next;
		if (n->file)
			file_free(n->file);
		vos_ofd_put(n->ofd);
		vos_free(n);
	}
}

void vos_mapping_unmap(uint64_t addr, uint64_t len)
{
	uint64_t end = addr + pages(len);
	struct map *dead = NULL, **at;

	if (!vos_mapping_any() || end <= addr)
		return;
	vos_lock(&lock);
	for (at = &maps; *at;) {
		struct map *n = *at;
		uint64_t from = n->addr > addr ? n->addr : addr, to = n->addr + n->len < end ? n->addr + n->len : end;

		if (from >= to) {
			at = &n->next;
			continue;
		}
		if (n->file)
			write_back(n->file, n->off + (from - n->addr), n->off + (to - n->addr));
		if (from > n->addr && to < n->addr + n->len) {
			/* A hole: the upper part becomes a mapping of its own. */
			struct map *up = vos_alloc(sizeof *up);

			if (up) {
				*up = *n;
				up->addr = to;
				up->len = n->addr + n->len - to;
				up->off = n->off + (to - n->addr);
				if (up->ofd)
					vos_ofd_ref(up->ofd);
				map_add(up);
			}
			n->len = from - n->addr;
		} else if (from > n->addr) {
			n->len = from - n->addr;
		} else if (to < n->addr + n->len) {
			n->len -= to - n->addr;
			n->off += to - n->addr;
			n->addr = to;
		} else {
			*at = n->next;
			map_gone(n, &dead);
			continue;
		}
		at = &n->next;
	}
	vos_unlock(&lock);
	bury(dead);
}

void vos_mapping_moved(uint64_t from, uint64_t from_len, uint64_t to, uint64_t to_len)
{
	if (!vos_mapping_any())
		return;
	vos_lock(&lock);
	for (struct map *n = maps; n; n = n->next) {
		if (n->addr < from || n->addr >= from + pages(from_len))
			continue;
		n->addr = to + (n->addr - from);
		/* The piece at the end of what was moved grows or shrinks with it. */
		if (n->addr + n->len - to == pages(from_len) || n->addr + n->len > to + pages(to_len))
			n->len = to + pages(to_len) - n->addr;
	}
	vos_unlock(&lock);
}

/* ---- mmap ---------------------------------------------------------------------------------------------------------------------- */

/* [at, at+len) becomes pages that do not exist. */
static long past_end(uint64_t at, uint64_t len, int prot)
{
	long fd = vos_raw2(__NR_memfd_create, VOS_PTR("virtuos-end"), MFD_CLOEXEC), r;

	if (fd < 0)
		return fd;
	r = raw_mmap(at, len, prot, MAP_PRIVATE | MAP_FIXED, (int)fd, 0);
	vos_raw1(__NR_close, fd);
	return r;
}

static long map_private(struct vos_ofd *o, uint64_t addr, uint64_t len, int prot, int flags, uint64_t off, uint64_t size)
{
	uint64_t whole = pages(len), have = off < size ? size - off : 0, body;
	int place = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT | MAP_GROWSDOWN);
	struct map *n = vos_alloc(sizeof *n);
	long mem, r;

	if (!n)
		return -ENOMEM;
	if (have > whole)
		have = whole;
	body = pages(have);
	/* Filled elsewhere first: until the bytes are there, what lies at addr stays as it is. */
	mem = raw_mmap(0, body ? body : PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vos_is_err(mem)) {
		vos_free(n);
		return mem;
	}
	r = fill(o, (void *)mem, off, have);
	if (r >= 0 && body)
		r = vos_raw3(__NR_mprotect, mem, (long)body, prot);
	if (r < 0) {
		vos_raw2(__NR_munmap, mem, (long)(body ? body : PAGE));
		vos_free(n);
		return r;
	}
	if (flags & MAP_FIXED)
		vos_mapping_unmap(addr, whole);
	r = raw_mmap(addr, whole, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | place, -1, 0);
	if (vos_is_err(r)) {
		vos_raw2(__NR_munmap, mem, (long)(body ? body : PAGE));
		vos_free(n);
		return r;
	}
	addr = (uint64_t)r;
	if (body)
		vos_raw6(__NR_mremap, mem, (long)body, (long)body, MREMAP_MAYMOVE | MREMAP_FIXED, (long)addr, 0);
	else
		vos_raw2(__NR_munmap, mem, PAGE);
	if (body < whole)
		past_end(addr + body, whole - body, prot);
	n->addr = addr;
	n->len = whole;
	n->off = off;
	n->ofd = o;
	vos_ofd_ref(o);
	vos_lock(&lock);
	map_add(n);
	vos_unlock(&lock);
	return (long)addr;
}

/* The segment through a descriptor that cannot write: the kernel then refuses PROT_WRITE by itself, now and later. */
static long read_only(int fd)
{
	char name[32];

	vos_fmt(name, sizeof name, "/proc/self/fd/%d", fd);
	return vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR(name), O_RDONLY | O_CLOEXEC, 0);
}

static long map_shared(struct vos_ofd *o, uint64_t addr, uint64_t len, int prot, int flags, uint64_t off, const struct stat *st)
{
	bool writable = (o->flags & O_ACCMODE) == O_RDWR;
	struct map *n = vos_alloc(sizeof *n);
	struct vos_mapfile *m;
	long r = 0, fd;

	if (!n)
		return -ENOMEM;
	if (flags & MAP_FIXED)
		vos_mapping_unmap(addr, len);
	vos_lock(&lock);
	m = file_find(o->domain, st->st_dev, st->st_ino);
	if (!m)
		m = file_make(o, st, &r);
	else if ((uint64_t)st->st_size != m->size)
		r = resize(m, (uint64_t)st->st_size);
	if (r >= 0 && writable && !m->writer) {
		m->writer = o;
		vos_ofd_ref(o);
	}
	if (r < 0)
		goto fail;
	fd = writable ? m->segment : read_only(m->segment);
	if (fd < 0)
		fd = m->segment;
	r = raw_mmap(addr, len, prot, flags, (int)fd, off);
	if (fd != m->segment)
		vos_raw1(__NR_close, fd);
	if (vos_is_err(r))
		goto fail;
	n->addr = (uint64_t)r;
	n->len = pages(len);
	n->off = off;
	n->file = m;
	n->readonly = !writable;
	map_add(n);
	vos_unlock(&lock);
	return r;
fail:
	if (m && m->maps == 0) {
		files = m->next; /* file_make() put it first */
		vos_unlock(&lock);
		file_free(m);
	} else {
		vos_unlock(&lock);
	}
	vos_free(n);
	return r;
}

int vos_mapping_file(struct vos_ofd *o, int flags)
{
	struct vos_lane_client *lane;
	int32_t rfd;
	int r;

	if ((o->mode & S_IFMT) != S_IFREG || (o->flags & O_PATH) || vos_mmap_remote)
		return -EOPNOTSUPP;
	r = vos_ofd_lane(o, &lane, &rfd);
	if (r >= 0)
		r = vos_remote_file(lane, rfd);
	/* No descriptor is free: a private copy needs none.  A shared one would not be one with the mappings of others. */
	if (r == -EMFILE)
		r = (flags & 0xf) == MAP_PRIVATE ? -EOPNOTSUPP : -ENFILE;
	return r;
}

long vos_mapping_mmap(struct vos_frame *f, struct vos_ofd *o)
{
	uint64_t addr = vos_arg(f, 0), len = vos_arg(f, 1), off = vos_arg(f, 5);
	int prot = (int)vos_arg(f, 2), flags = (int)vos_arg(f, 3), type = flags & 0xf;
	struct stat st;
	long r;

	vos_self()->counts_remote[__NR_mmap]++;
	if (len == 0 || (off & (PAGE - 1)) || off + len < off)
		return -EINVAL;
	if (o->flags & O_PATH)
		return -EBADF;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (type == MAP_SHARED_VALIDATE && (flags & MAP_SYNC))
		return -EOPNOTSUPP;
	if ((o->flags & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	if (type != MAP_PRIVATE && (prot & PROT_WRITE) && (o->flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	if ((o->mode & S_IFMT) != S_IFREG)
		return -ENODEV;
	if (vos_mapping_any())
		vos_mapping_flush(o);
	r = stat_of(o, &st);
	if (r < 0)
		return r;
	if (type == MAP_PRIVATE)
		return map_private(o, addr, len, prot, flags, off, (uint64_t)st.st_size);
	return map_shared(o, addr, len, prot, (flags & ~0xf) | MAP_SHARED, off, &st);
}

int vos_mapping_may_protect(uint64_t addr, uint64_t len, int prot)
{
	(void)addr;
	(void)len;
	(void)prot;
	return 0; /* the kernel knows: read_only() */
}

/* ---- keeping file and memory alike ------------------------------------------------------------------------------------------------ */

int vos_mapping_msync(uint64_t addr, uint64_t len, int flags, long *ret)
{
	uint64_t end = addr + pages(len);
	int found = 0;
	long err = 0;

	if (!vos_mapping_any())
		return 0;
	vos_lock(&lock);
	for (struct map *n = maps; n; n = n->next) {
		uint64_t from = n->addr > addr ? n->addr : addr, to = n->addr + n->len < end ? n->addr + n->len : end;

		if (from >= to)
			continue;
		found = 1;
		if (n->file) {
			long r = write_back(n->file, n->off + (from - n->addr), n->off + (to - n->addr));

			if (r >= 0 && (flags & MS_SYNC) && n->file->writer)
				r = vos_ofd_call(n->file->writer, __NR_fdatasync, 0, 0, 0, NULL);
			if (r < 0)
				err = r;
		}
	}
	vos_unlock(&lock);
	/* Gaps and bad flags are this kernel's to find. */
	*ret = vos_raw3(__NR_msync, (long)addr, (long)len, flags);
	if (*ret == 0 && err < 0)
		*ret = err;
	return found;
}

int vos_mapping_madvise(uint64_t addr, uint64_t len, int advice, long *ret)
{
	uint64_t end = addr + pages(len);
	int found = 0;

	if (!vos_mapping_any() || advice != MADV_DONTNEED)
		return 0;
	vos_lock(&lock);
	for (struct map *n = maps; n; n = n->next)
		found |= !n->file && n->addr < end && addr < n->addr + n->len;
	if (found) {
		*ret = vos_raw3(__NR_madvise, (long)addr, (long)len, advice);
		for (struct map *n = maps; n && *ret == 0; n = n->next) {
			uint64_t from = n->addr > addr ? n->addr : addr, to = n->addr + n->len < end ? n->addr + n->len : end;
			struct stat st;
			uint64_t off = n->off + (from - n->addr);

			/* Dropped private pages come back as the file's; written where they were dropped, if they may be. */
			if (n->file || from >= to || stat_of(n->ofd, &st) < 0 || off >= (uint64_t)st.st_size)
				continue;
			if (to - from > (uint64_t)st.st_size - off)
				to = from + ((uint64_t)st.st_size - off);
			*ret = vos_raw3(__NR_mprotect, (long)from, (long)pages(to - from), PROT_READ | PROT_WRITE);
			if (*ret == 0)
				*ret = fill(n->ofd, (void *)from, off, to - from);
		}
	}
	vos_unlock(&lock);
	return found;
}

void vos_mapping_flush_all(void)
{
	if (!vos_mapping_any())
		return;
	vos_lock(&lock);
	for (struct vos_mapfile *m = files; m; m = m->next)
		write_back(m, 0, m->size);
	vos_unlock(&lock);
}

/* Under the lock: the file of o when it has shared mappings here. */
static struct vos_mapfile *file_of(struct vos_ofd *o)
{
	struct stat st;

	if (!files || !o->domain || (o->mode & S_IFMT) != S_IFREG)
		return NULL;
	if (o->ino == 0) {
		if (stat_of(o, &st) < 0)
			return NULL;
		o->dev = st.st_dev;
		o->ino = st.st_ino;
	}
	return file_find(o->domain, o->dev, o->ino);
}

void vos_mapping_flush(struct vos_ofd *o)
{
	struct vos_mapfile *m;

	if (!vos_mapping_any())
		return;
	vos_lock(&lock);
	m = file_of(o);
	if (m)
		write_back(m, 0, m->size);
	vos_unlock(&lock);
}

void vos_mapping_written(struct vos_ofd *o, uint64_t off, uint64_t len)
{
	struct vos_mapfile *m;
	struct stat st;

	if (!vos_mapping_any())
		return;
	vos_lock(&lock);
	m = file_of(o);
	if (m && stat_of(o, &st) >= 0) {
		if ((uint64_t)st.st_size != m->size)
			resize(m, (uint64_t)st.st_size);
		if (off < m->size) {
			if (len > m->size - off)
				len = m->size - off;
			/* Through a descriptor that can read: the writer of the mapping, which was opened for both. */
			if (len && fill(m->writer ? m->writer : o, m->view + off, off, len) >= 0)
				memcpy(m->shadow + off, m->view + off, len);
		}
	}
	vos_unlock(&lock);
}

void vos_mapping_after(struct vos_ofd *o, unsigned nr, const uint64_t arg[6], long r)
{
	int64_t pos;

	if (r < 0 || (o->mode & S_IFMT) != S_IFREG)
		return;
	switch (nr) {
	case __NR_ftruncate:
	case __NR_fallocate:
		vos_mapping_written(o, 0, nr == __NR_fallocate ? ~0ULL : 0);
		break;
	case __NR_pwrite64:
	case __NR_pwritev:
		vos_mapping_written(o, o->flags & O_APPEND ? 0 : arg[3], o->flags & O_APPEND ? ~0ULL : (uint64_t)r);
		break;
	case __NR_write:
	case __NR_writev:
	case __NR_pwritev2:
		if (r == 0)
			break;
		pos = nr == __NR_pwritev2 && arg[3] != ~0ULL ? (int64_t)arg[3] + r :
							       vos_ofd_call(o, __NR_lseek, 0, SEEK_CUR, 0, NULL);
		if (pos >= r)
			vos_mapping_written(o, (uint64_t)(pos - r), (uint64_t)r);
		break;
	default:
		break;
	}
}

void vos_mapping_fork_child(void)
{
	/* vos_fdmap_fork_child() counted descriptors only; and nobody holds the lock in the child. */
	lock = 0;
	for (struct map *n = maps; n; n = n->next)
		if (n->ofd)
			vos_ofd_ref(n->ofd);
	for (struct vos_mapfile *m = files; m; m = m->next)
		if (m->writer)
			vos_ofd_ref(m->writer);
}
