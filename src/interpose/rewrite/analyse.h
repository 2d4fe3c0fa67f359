/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From an object to the plans of all its syscall sites. */
#ifndef VOS_REWRITE_ANALYSE_H
#define VOS_REWRITE_ANALYSE_H

#include "disasm.h"
#include "elf_file.h"

struct vos_analysis {
	const struct vos_elf *elf;
	struct vos_plan *plan; /* sorted by address; owned */
	size_t nplans;
	uint32_t not_sites;    /* byte pairs 0f 05 that are no instruction */
	uint32_t decoded;      /* instructions decoded, for --print */
};

/* 0 or -ENOMEM. *ret is to be given to vos_analysis_finish(). */
int vos_analyse(const struct vos_elf *e, struct vos_disasm *d, struct vos_analysis *ret);
void vos_analysis_finish(struct vos_analysis *a);

#endif
