/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects that somebody else made, through the whole planner: what it plans must be a sound plan file. */
#include <errno.h>
#include <stdlib.h>

#include "interpose/rewrite/plan_out.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vos_disasm *d;
	struct vos_analysis a;
	struct vos_elf e;
	size_t len;
	void *plan;

	if (!d)
		d = vos_disasm_new();
	if (!size || size > 1 << 20)
		return 0;
	/* Raw code, as a JIT's, or an object. */
	if (data[0] == 'J')
		vos_elf_memory(&e, data + 1, size - 1, 0x10000);
	else if (vos_elf_open(&e, data, size))
		return 0;
	if (!vos_analyse(&e, d, &a)) {
		int r = vos_plan_build(&a, &e.id, &plan, &len);

		if (!r)
			free(plan);
		else if (a.nplans < 1000)
			abort(); /* the planner made what the runtime would refuse */
		vos_analysis_finish(&a);
	}
	vos_elf_close(&e);
	return 0;
}
