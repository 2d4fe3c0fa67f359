/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory mapped from remote files.  A domain of this kernel hands the file over, and the kernel maps it: then nothing more is to
 * be done (vos_mapping_file()).  All else here is for domains elsewhere, whose files are copied.
 *
 * Private: anonymous memory that holds the file's bytes of the moment of the mmap.  Shared: the segment of the file, which all
 * processes of the session map (mapfile.h); what is stored there goes to the file at msync, munmap, exec and exit, and before this
 * process reads the file.  Pages past the end of the file come from an empty memfd, so that touching them is SIGBUS.
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
#include "mapfile.h"

#define PAGE 4096ULL

/* One mapping, or what munmap has left of one. */
struct map {
	struct map *next;
	uint64_t addr, len, off;
	struct vos_mapfile *file;    /* shared; NULL: private */
	struct vos_ofd *ofd;         /* private: where the bytes come from.  A reference */
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

static struct vos_mapfile *file_find(struct vos_domain *d, uint64_t dev, uint64_t ino)
{
	struct vos_mapfile *m;

	for (m = files; m && !(m->domain == d && m->dev == dev && m->ino == ino); m = m->next)
		;
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

	if (m && m->maps == 1)
		vos_mapfile_write_back(m, 0, ~0ULL);
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
			vos_mapfile_free(n->file);
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
			vos_mapfile_write_back(n->file, n->off + (from - n->addr), n->off + (to - n->addr));
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
	mem = raw_mmap(0, body ? body : PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vos_is_err(mem)) {
		vos_free(n);
		return mem;
	}
	r = vos_mapfile_read(o, (void *)mem, off, have);
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
	if (!m) {
		m = vos_mapfile_new(o, st, &r);
		if (m) {
			m->next = files;
			files = m;
		}
	} else if ((uint64_t)st->st_size != m->size) {
		r = vos_mapfile_take_over(m, 0, 0);
	}
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
	map_add(n);
	vos_unlock(&lock);
	return r;
fail:
	if (m && m->maps == 0) {
		files = m->next; /* it was put first */
		vos_unlock(&lock);
		vos_mapfile_free(m);
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
	r = vos_mapfile_stat(o, &st);
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
			long r = vos_mapfile_write_back(n->file, n->off + (from - n->addr), n->off + (to - n->addr));

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
			if (n->file || from >= to || vos_mapfile_stat(n->ofd, &st) < 0 || off >= (uint64_t)st.st_size)
				continue;
			if (to - from > (uint64_t)st.st_size - off)
				to = from + ((uint64_t)st.st_size - off);
			*ret = vos_raw3(__NR_mprotect, (long)from, (long)pages(to - from), PROT_READ | PROT_WRITE);
			if (*ret == 0)
				*ret = vos_mapfile_read(n->ofd, (void *)from, off, to - from);
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
		vos_mapfile_write_back(m, 0, ~0ULL);
	vos_unlock(&lock);
}

/* Under the lock: the file of o when it has shared mappings here. */
static struct vos_mapfile *file_of(struct vos_ofd *o)
{
	struct stat st;

	if (!files || !o->domain || (o->mode & S_IFMT) != S_IFREG)
		return NULL;
	if (o->ino == 0) {
		if (vos_mapfile_stat(o, &st) < 0)
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
		vos_mapfile_write_back(m, 0, ~0ULL);
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
	/* Appended: the end of the file, and what others have put there since we looked. */
	if (m && off == VOS_MAPPING_END && vos_mapfile_stat(o, &st) >= 0) {
		off = (uint64_t)st.st_size - len < m->size ? (uint64_t)st.st_size - len : m->size;
		len = ~0ULL;
	}
	if (m)
		vos_mapfile_take_over(m, off, len);
	vos_unlock(&lock);
}

void vos_mapping_truncated(struct vos_domain *d)
{
	vos_lock(&lock);
	for (struct vos_mapfile *m = files; m; m = m->next)
		if (m->domain == d)
			vos_mapfile_take_over(m, 0, 0);
	vos_unlock(&lock);
}

void vos_mapping_after(struct vos_ofd *o, unsigned nr, const uint64_t arg[6], long r)
{
	int64_t pos;

	if (r < 0 || (o->mode & S_IFMT) != S_IFREG)
		return;
	switch (nr) {
	case __NR_ftruncate:
		vos_mapping_written(o, 0, 0);
		break;
	case __NR_fallocate:
		/* FALLOC_FL_COLLAPSE_RANGE and its like move all that comes behind. */
		vos_mapping_written(o, arg[2], arg[1] & ~3ULL ? ~0ULL : arg[3]);
		break;
	case __NR_pwrite64:
	case __NR_pwritev:
		vos_mapping_written(o, o->flags & O_APPEND ? VOS_MAPPING_END : arg[3], (uint64_t)r);
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
	for (struct vos_mapfile *m = files; m; m = m->next) {
		m->forked = true;
		vos_ofd_ref(m->reader);
		if (m->writer)
			vos_ofd_ref(m->writer);
	}
}
