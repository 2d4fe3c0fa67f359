/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plan files that somebody else made: the checksum is made good, so that what lies behind it is reached. */
#include <stdlib.h>

#include "../unit/interpose/rewrite/consume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vos_plan_head *h = malloc(size + !size);
	struct vos_plan_id id = {0};
	uint64_t off, len;

	memcpy(h, data, size);
	if (size >= sizeof *h) {
		h->magic = VOS_PLAN_MAGIC;
		h->version = VOS_PLAN_VERSION;
		h->head_size = sizeof *h;
		h->size = size & ~7ull;
		h->checksum = vos_plan_checksum(h);
		/* As many of each kind as there are: found out by trying, as the check does. */
		if (h->sites_off <= h->size && h->nsites <= (h->size - h->sites_off) / sizeof(struct vos_plan_site)) {
			memset(h->count, 0, sizeof h->count);
			for (uint32_t i = 0; i < h->nsites && h->sites_off >= sizeof *h && h->sites_off % 8 == 0; i++)
				if (vos_plan_sites(h)[i].kind < VOS_PLAN_KINDS)
					h->count[vos_plan_sites(h)[i].kind]++;
			h->checksum = vos_plan_checksum(h);
		}
	}
	if (!vos_plan_check(h, size)) {
		if (!consume_plan(h))
			abort();
		vos_plan_is_for(h, &id);
	}
	vos_plan_elf_id(data, size, &id, &off, &len);
	vos_plan_note_id(data, size, &id);
	free(h);
	return 0;
}
