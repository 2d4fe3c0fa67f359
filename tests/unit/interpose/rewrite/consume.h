/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a checked plan as the runtime does, with each access checked once more.  Shared by the unit test and the fuzzer.
 */
#ifndef TEST_REWRITE_CONSUME_H
#define TEST_REWRITE_CONSUME_H

#include <stdbool.h>
#include <string.h>

#include "interpose/rewrite/plan_file.h"

static inline bool consume_inside(const struct vos_plan_head *h, const void *p, size_t n)
{
	size_t at = (size_t)((const char *)p - (const char *)h);

	return at <= h->size && n <= h->size - at;
}

/* False when something reaches outside of the plan, or would make the runtime write outside of the mapping. */
static inline bool consume_plan(const struct vos_plan_head *h)
{
	const struct vos_plan_site *s = vos_plan_sites(h);
	uint8_t stub[VOS_PLAN_MAX_STUB];

	for (uint32_t i = 0; i < h->nsegs; i++)
		if (!consume_inside(h, &vos_plan_segs(h)[i], sizeof(struct vos_plan_seg)))
			return false;
	for (uint32_t i = 0; i < h->nsites; i++) {
		const struct vos_plan_fix *f = vos_plan_fixes(h) + s[i].fix;

		if (!consume_inside(h, &s[i], sizeof *s))
			return false;
		if (s[i].kind == VOS_PLAN_LEAVE || s[i].kind == VOS_PLAN_REFUSED)
			continue;
		if (s[i].stub_len > sizeof stub || !consume_inside(h, vos_plan_stubs(h) + s[i].stub, s[i].stub_len))
			return false;
		memcpy(stub, vos_plan_stubs(h) + s[i].stub, s[i].stub_len);
		for (unsigned k = 0; k < s[i].nfix; k++)
			if (!consume_inside(h, &f[k], sizeof *f) || f[k].at + 4u > s[i].stub_len || f[k].end > s[i].stub_len)
				return false;
		for (unsigned k = 0; k < s[i].nmoved; k++)
			if (k >= VOS_PLAN_MAX_MOVED || s[i].moved_at[k] >= s[i].stub_len)
				return false;
		if (s[i].patch_len > VOS_PLAN_MAX_PATCH || s[i].patch_len < 2 || s[i].jump_len > s[i].patch_len)
			return false;
		if (s[i].patch < h->vaddr_lo || s[i].patch + s[i].patch_len > h->vaddr_hi)
			return false;
	}
	return true;
}

#endif
