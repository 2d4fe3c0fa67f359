/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include "interpose/dispatch/heap.h"

TestSuite(heap, .timeout = 30);

static struct vos_heap h;

Test(heap, gives_all_and_takes_all_back)
{
	static const uint64_t sizes[] = { 4096, 5000, 65536, 1 << 20, 3 << 20, 4 << 20 };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		vos_heap_init(&h, sizes[i]);
		uint64_t size = vos_heap_size(&h);

		cr_assert_leq(size, sizes[i]);
		cr_assert_gt(size * 2, sizes[i]);
		cr_assert_eq(vos_heap_alloc(&h, size + 1), -1);
		cr_assert_eq(vos_heap_alloc(&h, ~0ull), -1);
		for (int round = 0; round < 3; round++) {
			int64_t whole = vos_heap_alloc(&h, size);

			cr_assert_eq(whole, 0);
			cr_assert_eq(vos_heap_alloc(&h, 1), -1);
			cr_assert_eq(vos_heap_free(&h, 0), 0);
		}
		cr_assert_eq(h.used, 0);
	}
}

Test(heap, random_allocations_never_overlap)
{
	enum { N = 300 };
	static unsigned char owner[1 << 20];
	int64_t off[N];
	uint64_t len[N];
	unsigned seed = 4711;

	memset(off, 0xff, sizeof off);
	vos_heap_init(&h, sizeof owner);
	for (int step = 0; step < 200000; step++) {
		unsigned i = (unsigned)rand_r(&seed) % N;

		if (off[i] >= 0) {
			for (uint64_t k = 0; k < len[i]; k += 61)
				cr_assert_eq(owner[(uint64_t)off[i] + k], i % 255 + 1);
			memset(owner + off[i], 0, len[i]);
			cr_assert_eq(vos_heap_free(&h, (uint64_t)off[i]), 0);
			off[i] = -1;
		} else {
			len[i] = 1 + (uint64_t)(rand_r(&seed) % (rand_r(&seed) % 8 ? 600 : 40000));
			off[i] = vos_heap_alloc(&h, len[i]);
			if (off[i] < 0)
				continue;
			cr_assert_eq(off[i] % 64, 0);
			cr_assert_leq((uint64_t)off[i] + len[i], sizeof owner);
			cr_assert_eq(owner[off[i]], 0);
			cr_assert_eq(owner[(uint64_t)off[i] + len[i] - 1], 0);
			memset(owner + off[i], (int)(i % 255 + 1), len[i]);
		}
	}
	for (unsigned i = 0; i < N; i++)
		if (off[i] >= 0)
			cr_assert_eq(vos_heap_free(&h, (uint64_t)off[i]), 0);
	cr_assert_eq(vos_heap_alloc(&h, sizeof owner), 0, "all has merged again");
}

Test(heap, wrong_frees_are_refused)
{
	vos_heap_init(&h, 65536);
	int64_t a = vos_heap_alloc(&h, 1000);

	cr_assert_eq(vos_heap_free(&h, (uint64_t)a + 64), -1);
	cr_assert_eq(vos_heap_free(&h, 1 << 30), -1);
	cr_assert_eq(vos_heap_free(&h, (uint64_t)a), 0);
	cr_assert_eq(vos_heap_free(&h, (uint64_t)a), -1, "twice");
}
