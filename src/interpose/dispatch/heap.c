/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "heap.h"

enum { USED = 0x40, FREE = 0x80, ASIDE = 0xc0, KIND = 0xc0, ORDER = 0x3f };

static void list_add(struct vos_heap *h, uint32_t block, uint32_t order)
{
	uint16_t first = h->head[order];

	h->state[block] = (uint8_t)(order | FREE);
	h->next[block] = first;
	h->prev[block] = 0;
	if (first)
		h->prev[first - 1] = (uint16_t)(block + 1);
	h->head[order] = (uint16_t)(block + 1);
}

static void list_take(struct vos_heap *h, uint32_t block, uint32_t order)
{
	if (h->prev[block])
		h->next[h->prev[block] - 1] = h->next[block];
	else
		h->head[order] = h->next[block];
	if (h->next[block])
		h->prev[h->next[block] - 1] = h->prev[block];
	h->state[block] = 0;
}

void vos_heap_init(struct vos_heap *h, uint64_t size)
{
	uint32_t top = 63 - (uint32_t)__builtin_clzll(size);
	uint32_t order;

	h->shift = top > 12 + 6 ? top - 12 : 6;
	h->blocks = 1u << (top - h->shift);
	h->used = 0;
	for (uint32_t i = 0; i < VOS_HEAP_ASIDE; i++)
		h->naside[i] = 0;
	for (uint32_t i = 0; i < VOS_HEAP_ORDERS; i++)
		h->head[i] = 0;
	for (uint32_t i = 0; i < VOS_HEAP_BLOCKS; i++)
		h->state[i] = 0;
	order = 31 - (uint32_t)__builtin_clz(h->blocks);
	list_add(h, 0, order);
}

static void merge(struct vos_heap *h, uint32_t block, uint32_t order)
{
	while ((1u << order) < h->blocks) {
		uint32_t buddy = block ^ (1u << order);

		if (h->state[buddy] != (order | FREE))
			break;
		list_take(h, buddy, order);
		h->state[block] = 0;
		block &= ~(1u << order);
		order++;
	}
	list_add(h, block, order);
}

static int64_t split(struct vos_heap *h, uint32_t order)
{
	uint32_t at = order, block;

	while (at < VOS_HEAP_ORDERS && h->head[at] == 0)
		at++;
	if (at == VOS_HEAP_ORDERS)
		return -1;
	block = h->head[at] - 1u;
	list_take(h, block, at);
	while (at > order) {
		at--;
		list_add(h, block + (1u << at), at);
	}
	h->state[block] = (uint8_t)(order | USED);
	return (int64_t)block;
}

int64_t vos_heap_alloc(struct vos_heap *h, uint64_t len)
{
	uint64_t blocks = len == 0 ? 1 : ((len - 1) >> h->shift) + 1;
	uint32_t order;
	int64_t block;

	if (blocks > h->blocks)
		return -1;
	order = blocks == 1 ? 0 : 32 - (uint32_t)__builtin_clz((uint32_t)blocks - 1);
	if (order < VOS_HEAP_ASIDE && h->naside[order]) {
		block = h->aside[order][--h->naside[order]];
		h->state[block] = (uint8_t)(order | USED);
	} else {
		block = split(h, order);
		if (block < 0) {
			/* What was kept aside may merge into what is wanted. */
			for (uint32_t o = 0; o < VOS_HEAP_ASIDE; o++)
				while (h->naside[o])
					merge(h, h->aside[o][--h->naside[o]], o);
			block = split(h, order);
		}
	}
	if (block < 0)
		return -1;
	h->used++;
	return block << h->shift;
}

int vos_heap_free(struct vos_heap *h, uint64_t off)
{
	uint64_t block = off >> h->shift;
	uint32_t order;

	if (block >= h->blocks || (h->state[block] & KIND) != USED)
		return -1;
	order = h->state[block] & ORDER;
	h->used--;
	if (order < VOS_HEAP_ASIDE && h->naside[order] < VOS_HEAP_KEEP) {
		h->state[block] = (uint8_t)(order | ASIDE);
		h->aside[order][h->naside[order]++] = (uint16_t)block;
	} else {
		merge(h, (uint32_t)block, order);
	}
	return 0;
}
