/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a test gives up rather than frees stays reachable to its process's end, so that a leak checker speaks of the product. */
#pragma once
#include <stdlib.h>

struct kept {
	struct kept *next;
	void *what;
};

static inline void *kept(void *what)
{
	static struct kept *all;
	struct kept *k = malloc(sizeof *k);

	if (k) {
		k->what = what;
		k->next = __atomic_exchange_n(&all, k, __ATOMIC_ACQ_REL);
	}
	return what;
}
