/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mapped in this process, and where there is room. */
#include <fcntl.h>
#include <sys/mman.h>

#include "apply_impl.h"

#define FIRST_SIZE (64u << 10)
#define MAX_SIZE   (64u << 20)
#define PAGE       4096ull
/* A rel32 reaches 2 GiB; less what lies inside stub and object. */
#define REACH      ((2ull << 30) - (1u << 20))
#define LOWEST     (64ull << 10) /* the default vm.mmap_min_addr */
#define TOP        (1ull << 47)  /* behind what a process can map without asking for more */
#define PROGRAMS   (0x7000ull << 32) /* below this, programs and their heaps; above, libraries and stacks */

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

int vos_maps_read(struct vos_maps *m)
{
	return vos_maps_read_into(m, NULL, FIRST_SIZE);
}

int vos_maps_read_into(struct vos_maps *m, char *buf, size_t cap)
{
	long fd, n = -ENOMEM;

	*m = (struct vos_maps){.buf = buf, .cap = cap, .lent = buf};
	fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR("/proc/self/maps"), O_RDONLY | O_CLOEXEC, 0);
	if (vos_is_err(fd))
		return (int)fd;
	if (!buf)
		m->buf = vos_pages(m->cap);
	while (m->buf) {
		n = vos_raw3(SYS_read, fd, VOS_PTR(m->buf + m->len), (long)(m->cap - m->len - 1));
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		m->len += (size_t)n;
		if (m->cap - m->len < 2 * PAGE) {
			char *bigger = m->cap < MAX_SIZE ? vos_pages(m->cap * 4) : NULL;

			if (bigger)
				memcpy(bigger, m->buf, m->len);
			if (!m->lent)
				vos_pages_free(m->buf, m->cap);
			m->lent = false;
			m->buf = bigger;
			m->cap *= 4;
		}
	}
	vos_raw1(SYS_close, fd);
	if (!m->buf)
		return -ENOMEM;
	if (vos_is_err(n)) {
		vos_maps_free(m);
		return (int)n;
	}
	return 0;
}

void vos_maps_free(struct vos_maps *m)
{
	if (!m->lent)
		vos_pages_free(m->buf, m->cap);
	*m = (struct vos_maps){0};
}

static uint64_t hex(const char **p)
{
	uint64_t v = 0;

	for (;; (*p)++) {
		char c = **p;

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return v;
	}
}

bool vos_maps_next(struct vos_maps *m, size_t *pos, struct vos_map *ret)
{
	const char *p = m->buf + *pos;
	char *end;
	uint64_t v = 0;

	if (*pos >= m->len)
		return false;
	end = memchr(p, '\n', m->len - *pos);
	if (!end) /* a line parsed before ends with NUL */
		end = memchr(p, 0, m->len - *pos + 1);
	else if (memchr(p, 0, (size_t)(end - p)))
		end = memchr(p, 0, (size_t)(end - p));
	*end = 0;
	*pos = (size_t)(end - m->buf) + 1;
	ret->lo = hex(&p);
	p += *p == '-';
	ret->hi = hex(&p);
	p += *p == ' ';
	ret->whole_lo = ret->lo;
	ret->whole_hi = ret->hi;
	ret->prot = 0;
	ret->shared = false;
	for (; *p && *p != ' '; p++) {
		ret->prot |= *p == 'r' ? PROT_READ : *p == 'w' ? PROT_WRITE : *p == 'x' ? PROT_EXEC : 0;
		ret->shared |= *p == 's';
	}
	p += *p == ' ';
	ret->off = hex(&p);
	while (*p == ' ')
		p++;
	while (*p && *p != ' ') /* the device */
		p++;
	while (*p == ' ')
		p++;
	for (; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	ret->ino = v;
	while (*p == ' ')
		p++;
	ret->path = p;
	ret->head = NULL;
	return true;
}

/* Where in the gap [lo, hi) would stubs for an object lie best?  0: nowhere. */
static uint64_t place(uint64_t lo, uint64_t hi, bool lo_grows, bool hi_grows, uint64_t olo, uint64_t ohi, uint64_t size)
{
	uint64_t min = ohi > REACH ? ohi - REACH : 0, max = olo + REACH, at;

	if (lo < LOWEST)
		lo = LOWEST;
	/* The heap grows behind the program, a stack below itself: stay away from those ends. */
	if (lo_grows)
		lo += hi - lo > 4 * size ? (hi - lo) / 2 : 0;
	if (hi_grows)
		hi -= hi - lo > 4 * size ? (hi - lo) / 2 : 0;
	if (lo < min)
		lo = (min + PAGE - 1) & ~(PAGE - 1);
	if (hi > max)
		hi = max & ~(PAGE - 1);
	if (hi <= lo || hi - lo < size)
		return 0;
	at = hi <= olo ? hi - size : lo;
	return lo_grows && hi <= olo ? hi - size : at;
}

/* Maps at exactly this address, or not at all. */
static long map_at(uint64_t at, size_t size)
{
	long r = vos_raw6(SYS_mmap, (long)at, (long)size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);

	if (vos_is_err(r) || r == (long)at)
		return r;
	vos_raw2(SYS_munmap, r, (long)size); /* a kernel that does not know the flag */
	return -EEXIST;
}

/* The gap nearest to [lo, hi) that is farther than *tried. */
static uint64_t find_gap(struct vos_maps *m, uint64_t lo, uint64_t hi, size_t size, uint64_t *tried)
{
	uint64_t best = 0, best_far = ~0ull, prev = 0;
	bool grows = false, more = true;
	size_t pos = 0;
	struct vos_map x;

	while (more) {
		uint64_t at, far;

		more = vos_maps_next(m, &pos, &x);
		if (!more)
			x = (struct vos_map){.lo = TOP, .hi = TOP, .path = "[stack]"};
		if (x.lo > TOP)
			x.lo = TOP;
		at = x.lo > prev ? place(prev, x.lo, grows, !strcmp(x.path, "[stack]"), lo, hi, size) : 0;
		far = at > lo ? at - lo : lo - at;
		if (at && far > *tried && far < best_far) {
			best = at;
			best_far = far;
		}
		prev = x.hi;
		/* The program break is behind the program's own mappings, or [heap] shows where it went. */
		grows = !strcmp(x.path, "[heap]") || x.hi < PROGRAMS;
	}
	*tried = best_far;
	return best;
}

void *vos_maps_near(uint64_t lo, uint64_t hi, size_t size)
{
	uint64_t tried = 0, at;
	struct vos_maps m;
	long r = -EEXIST;

	/* Where the kernel puts libraries there is room for it nearby, as a rule. */
	if (lo >= PROGRAMS) {
		r = vos_raw6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (!vos_is_err(r) && ((uint64_t)r + REACH < hi || (uint64_t)r > lo + REACH)) {
			vos_raw2(SYS_munmap, r, (long)size);
			r = -EEXIST;
		}
	}
	if (vos_is_err(r) && !vos_maps_read(&m)) {
		for (unsigned i = 0; i < 64 && vos_is_err(r); i++) {
			at = find_gap(&m, lo, hi, size, &tried);
			if (!at)
				break;
			r = map_at(at, size);
			if (r == -ENOMEM)
				break;
		}
		vos_maps_free(&m);
	}
	return vos_is_err(r) ? NULL : (void *)r;
}
