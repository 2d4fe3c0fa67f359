/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that analyse an object share. */
#ifndef VOS_REWRITE_ANALYSE_IMPL_H
#define VOS_REWRITE_ANALYSE_IMPL_H

#include "analyse.h"

struct func {
	uint64_t lo, hi;
	struct vos_insn *insn;
	size_t n;
	const uint8_t *bytes;
	bool bounded;   /* lo and hi are a function's */
	bool unknown;   /* may jump where we cannot see */
	bool too_big;
	uint32_t last_bad; /* offset behind the last undecodable byte, 0: none */
	uint32_t first_bad;
};

struct site {
	uint64_t vaddr;
	uint64_t func;  /* lo of its function, which keys funcs */
	size_t index;
	enum vos_plan_reason why; /* refused before planning */
	bool leave; /* rt_sigreturn by its bytes */
	bool wants_pads;
	struct vos_range *pads;
	size_t npads;
};

struct list {
	uint64_t *v;
	size_t n, cap;
};

struct analyser {
	const struct vos_elf *e;
	struct vos_disasm *d;
	struct func **func; /* sorted by lo */
	size_t nfuncs, funcs_cap;
	struct site *site;
	size_t nsites, sites_cap;
	struct list hits, targets, fresh; /* fresh: found since targets was sorted */
	struct list calls;                /* where call rel32 and lea lead, by their bytes; filled when first needed */
	bool calls_known;
	uint8_t *bits; /* one per address: somebody may write there */
	uint64_t bits_lo, bits_n;
	uint64_t decoded_bytes;
	uint32_t not_sites, decoded;
	bool oom;
};

void vos_list_push(struct analyser *a, struct list *l, uint64_t v);
void vos_list_sort(struct list *l);

/* The decoded function that begins at lo, or NULL. */
struct func *vos_func_find(const struct analyser *a, uint64_t lo);
struct func *vos_func_add(struct analyser *a, uint64_t lo, uint64_t hi, bool bounded);
/* The instruction that covers an address of f. */
const struct vos_insn *vos_func_insn(const struct func *f, uint64_t addr);

/* Fills a->site, and a->func with their functions. */
void vos_sites_find(struct analyser *a);

#endif
