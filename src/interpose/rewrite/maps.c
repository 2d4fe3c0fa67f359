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

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

int vos_maps_read(struct vos_maps *m)
{
	long fd, n = -ENOMEM;

	*m = (struct vos_maps){.cap = FIRST_SIZE};
	fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR("/proc/self/maps"), O_RDONLY | O_CLOEXEC, 0);
	if (vos_is_err(fd))
		return (int)fd;
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
			vos_pages_free(m->buf, m->cap);
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

void *vos_maps_near(struct vos_maps *m, uint64_t lo, uint64_t hi, size_t size)
{
	uint64_t tried = 0; /* distance of the last try: the next is farther */

	for (unsigned attempt = 0; attempt < 64; attempt++) {
		uint64_t best = 0, best_far = ~0ull, prev = 0;
		bool grows = false, more = true;
		size_t pos = 0;
		struct vos_map x;
		long r;

		while (more) {
			uint64_t at, far;

			more = vos_maps_next(m, &pos, &x);
			if (!more)
				x = (struct vos_map){.lo = 1ull << 47, .hi = 1ull << 47, .path = "[stack]"};
			if (x.lo >= 1ull << 47)
				x.lo = 1ull << 47;
			at = x.lo > prev ? place(prev, x.lo, grows, !strcmp(x.path, "[stack]"), lo, hi, size) : 0;
			far = at > lo ? at - lo : lo - at;
			if (at && far > tried && far < best_far) {
				best = at;
				best_far = far;
			}
			prev = x.hi;
			/* The program break is behind the program's own mappings, or [heap] shows where it went. */
			grows = !strcmp(x.path, "[heap]") || x.hi < 1ull << 46;
		}
		if (!best)
			return NULL;
		r = vos_raw6(SYS_mmap, (long)best, (long)size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (r == (long)best)
			return (void *)best;
		if (!vos_is_err(r)) /* a kernel that does not know the flag */
			vos_raw2(SYS_munmap, r, (long)size);
		else if (r != -EEXIST && r != -EPERM && r != -EINVAL)
			return NULL;
		tried = best_far;
	}
	return NULL;
}
