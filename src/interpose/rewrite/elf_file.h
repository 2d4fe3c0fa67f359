/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the planner needs to know of an ELF object.  The object is hostile: nothing in it is used before it is checked
 * against the size of the file, and no address arithmetic may wrap unseen.
 */
#ifndef VOS_REWRITE_ELF_FILE_H
#define VOS_REWRITE_ELF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan.h"

struct vos_seg {
	uint64_t vaddr, off, filesz, memsz;
	bool exec, write;
};

struct vos_fde {
	uint64_t lo, hi;
	uint64_t lsda; /* 0: none */
	bool lsda_bad; /* it has one, but it cannot be told where */
	bool signal;   /* a signal trampoline: lo is one byte before its code */
};

struct vos_elf {
	const uint8_t *map;
	size_t size;
	bool fixed; /* ET_EXEC: addresses in data are final and have no relocations */
	struct vos_seg seg[VOS_PLAN_MAX_SEGS];
	unsigned nseg;
	uint64_t lo, hi; /* what the segments span */
	uint64_t entry;
	struct vos_plan_id id;

	/* The binary search table of .eh_frame_hdr: pairs of sdata4 relative to hdr; NULL when there is none. */
	const uint8_t *table;
	uint64_t hdr;
	size_t ntable;
	/* Without one: the FDEs of .eh_frame, sorted; owned. */
	struct vos_fde *fde;
	size_t nfde;

	struct {
		const uint8_t *sym;
		size_t n;
	} symtab[2]; /* .dynsym and .symtab, in any order */
	uint64_t rela, rela_size, relr, relr_size;
	const uint8_t *sections; /* headers, or NULL */
	unsigned nsections;
};

/* 0, -ENOEXEC when it is no x86-64 ELF object with segments, -ENOMEM.  Keeps map; vos_elf_close() frees the rest. */
int vos_elf_open(struct vos_elf *e, const void *map, size_t size);
/* Raw code instead of an object: one executable segment, no tables. */
void vos_elf_memory(struct vos_elf *e, const void *code, size_t size, uint64_t base);
void vos_elf_close(struct vos_elf *e);

/* The bytes at an address, or NULL unless all of them are in the file.  *ret_left: how many follow in the segment. */
const uint8_t *vos_elf_at(const struct vos_elf *e, uint64_t vaddr, uint64_t len, uint64_t *ret_left);
const struct vos_seg *vos_elf_seg(const struct vos_elf *e, uint64_t vaddr);

/*
 * Does a section header say that these bytes are data?  Old linkers put .rodata into the executable segment.  False also
 * when there are no section headers.
 */
bool vos_elf_is_data(const struct vos_elf *e, uint64_t addr);

/* The FDE that covers addr.  False when there is none, or none that makes sense. */
bool vos_elf_fde(const struct vos_elf *e, uint64_t addr, struct vos_fde *ret);

/*
 * The code around addr that no FDE covers: *ret_lo is the end of the FDE before it (or of the segment's start), *ret_hi
 * the start of the next.  False when an FDE covers it.
 */
bool vos_elf_gap(const struct vos_elf *e, uint64_t addr, uint64_t *ret_lo, uint64_t *ret_hi);

/* Calls fn(ctx, address) for each value of a function or label symbol, and for each code address among relocations. */
void vos_elf_code_pointers(const struct vos_elf *e, void (*fn)(void *ctx, uint64_t addr), void *ctx);

/* The symbol that covers addr best: the nearest function symbol at or before it, up to its size or the next symbol. */
bool vos_elf_symbol(const struct vos_elf *e, uint64_t addr, uint64_t *ret_lo, uint64_t *ret_hi);

/* Calls fn for each landing pad of a function.  False when the table cannot be read to its end. */
bool vos_elf_landing_pads(const struct vos_elf *e, const struct vos_fde *f, void (*fn)(void *ctx, uint64_t addr),
			  void *ctx);

#endif
