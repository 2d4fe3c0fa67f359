/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Allocates payload memory of a lane: a buddy system of VOS_HEAP_BLOCKS blocks whose books are kept outside the region, so
 * that a server that scribbles cannot harm them.  Freed small blocks are kept aside unmerged: a call that allocates and
 * frees costs a push and a pop.  One thread at a time.
 */
#ifndef VOS_HEAP_H
#define VOS_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define VOS_HEAP_BLOCKS 4096u
#define VOS_HEAP_ORDERS 13u    /* 2^0 .. 2^12 blocks */
#define VOS_HEAP_ASIDE  5u     /* orders below this are kept aside */
#define VOS_HEAP_KEEP   8u     /* so many of each */

struct vos_heap {
	uint32_t shift;               /* a block is 1 << shift bytes, at least 64 */
	uint32_t blocks;              /* a power of two, at most VOS_HEAP_BLOCKS */
	uint32_t used;                /* allocations alive */
	uint16_t aside[VOS_HEAP_ASIDE][VOS_HEAP_KEEP];
	uint8_t  naside[VOS_HEAP_ASIDE];
	uint16_t head[VOS_HEAP_ORDERS]; /* free lists; 0: empty, else block + 1 */
	uint8_t  state[VOS_HEAP_BLOCKS]; /* of the first block: order | FREE or USED or ASIDE */
	uint16_t next[VOS_HEAP_BLOCKS], prev[VOS_HEAP_BLOCKS];
};

/* `size`: bytes of the area; what is above its highest power of two is not used. */
void vos_heap_init(struct vos_heap *h, uint64_t size);
/* The offset of `len` bytes (0 counts as 1), or -1. */
int64_t vos_heap_alloc(struct vos_heap *h, uint64_t len);
/* The offset must be one that vos_heap_alloc() gave: 0; -1 and nothing done when it is not. */
int vos_heap_free(struct vos_heap *h, uint64_t off);
static inline uint64_t vos_heap_size(const struct vos_heap *h)
{
	return (uint64_t)h->blocks << h->shift;
}

#endif
