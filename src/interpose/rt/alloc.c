/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime's allocator: classes of powers of two with free lists over chunks from mmap, never given back; larger
 * blocks are mappings of their own.  One lock: allocation is not on the call path.
 */
#include <errno.h>
#include <sys/mman.h>
#include <virtuos/err.h>
#include <virtuos/raw.h>
#include "rt.h"

#define CLASS_MIN   5 /* 32 bytes */
#define CLASS_MAX   15 /* 32 KiB */
#define CHUNK       (256u << 10)
#define MAGIC       0x564f5341u

/* In front of every block. */
struct head {
	uint64_t size;       /* of a mapping: all of it; else of the block with its head */
	uint32_t cls;        /* 0: a mapping */
	uint32_t magic;
};
_Static_assert(sizeof(struct head) == 16, "keeps blocks aligned");

struct spare { struct head h; struct spare *next; };

static _Atomic uint32_t lock;
static struct spare *spares[CLASS_MAX + 1];
/* The first chunk needs no mapping of its own. */
static _Alignas(16) unsigned char first_chunk[CHUNK];
static unsigned char *chunk = first_chunk, *chunk_end = first_chunk + CHUNK;

void *vos_pages(size_t n)
{
	long r = vos_raw6(SYS_mmap, 0, (long)n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return vos_is_err(r) ? NULL : (void *)r;
}

void vos_pages_free(void *p, size_t n)
{
	if (p)
		vos_raw2(SYS_munmap, VOS_PTR(p), (long)n);
}

static struct head *take(unsigned cls)
{
	size_t size = (size_t)1 << cls;
	struct head *h;

	vos_lock(&lock);
	if (spares[cls]) {
		h = &spares[cls]->h;
		spares[cls] = spares[cls]->next;
		vos_unlock(&lock);
		memset(h, 0, size);
		return h;
	}
	if ((size_t)(chunk_end - chunk) < size) {
		/* What is left of the old chunk becomes spare blocks. */
		for (unsigned c = CLASS_MAX; c >= CLASS_MIN; c--)
			while ((size_t)(chunk_end - chunk) >= (size_t)1 << c) {
				struct spare *s = (void *)chunk;

				s->next = spares[c];
				spares[c] = s;
				chunk += (size_t)1 << c;
			}
		chunk = vos_pages(CHUNK);
		chunk_end = chunk ? chunk + CHUNK : NULL;
		if (!chunk) {
			vos_unlock(&lock);
			return NULL;
		}
	}
	h = (void *)chunk;
	chunk += size;
	vos_unlock(&lock);
	return h;
}

void *vos_alloc(size_t n)
{
	struct head *h;
	unsigned cls;

	if (n > SIZE_MAX - 8192)
		return NULL;
	n += sizeof *h;
	if (n > (size_t)1 << CLASS_MAX) {
		n = (n + 4095) & ~(size_t)4095;
		h = vos_pages(n);
		if (!h)
			return NULL;
		h->size = n;
		h->cls = 0;
	} else {
		for (cls = CLASS_MIN; (size_t)1 << cls < n; cls++)
			;
		h = take(cls);
		if (!h)
			return NULL;
		h->size = (size_t)1 << cls;
		h->cls = cls;
	}
	h->magic = MAGIC;
	return h + 1;
}

void vos_free(void *p)
{
	struct head *h = p;

	if (!p)
		return;
	h--;
	VOS_ASSERT(h->magic == MAGIC);
	h->magic = 0;
	if (h->cls == 0) {
		vos_pages_free(h, h->size);
	} else {
		struct spare *s = (void *)h;

		vos_lock(&lock);
		s->next = spares[h->cls];
		spares[h->cls] = s;
		vos_unlock(&lock);
	}
}

void *vos_realloc(void *p, size_t n)
{
	size_t old = p ? ((struct head *)p - 1)->size - sizeof(struct head) : 0;
	void *q;

	if (p && n <= old)
		return p;
	q = vos_alloc(n);
	if (q && p) {
		memcpy(q, p, old);
		vos_free(p);
	}
	return q;
}

char *vos_strdup(const char *s)
{
	size_t n = strlen(s) + 1;
	char *d = vos_alloc(n);

	if (d)
		memcpy(d, s, n);
	return d;
}

void vos_alloc_fork_prepare(void)
{
	vos_lock(&lock);
}

void vos_alloc_fork_done(void)
{
	vos_unlock(&lock);
}
