/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The planner proper: a pure function from decoded instructions to a plan for one syscall site.  It reads no file,
 * keeps no state, allocates nothing, and knows nothing of capstone or ELF.
 */
#ifndef VOS_REWRITE_PLAN_H
#define VOS_REWRITE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan_file.h"

enum vos_insn_kind {
	VOS_I_PLAIN = 0, /* means the same wherever it lies, apart from a rip-relative operand */
	VOS_I_NOP,
	VOS_I_INT3,
	VOS_I_SYSCALL,
	VOS_I_JCC,      /* conditional jump, rel8 or rel32 */
	VOS_I_JMP,      /* jmp rel8 or rel32 */
	VOS_I_JMP_IND,
	VOS_I_RET,
	VOS_I_CALL,     /* call rel32 */
	VOS_I_LOOP,     /* a direct branch that has no rel32 form: jrcxz, loop, xbegin */
	VOS_I_STOP,     /* ud2, hlt: never goes on */
	VOS_I_FIXED,    /* means something only where it is: indirect call, int, sysenter, endbr64 */
	VOS_I_BAD,      /* could not be decoded; one byte long */
};

/* Flags; those after DETAIL are valid only with it. */
#define VOS_I_DETAIL   1u
#define VOS_I_RIP      2u /* has a rip-relative operand: disp_off, target */
#define VOS_I_RAX      4u /* writes eax, or part of it */
#define VOS_I_RIP_LEA  8u /* lea x(%rip): target; known without DETAIL */

struct vos_insn {
	uint32_t off; /* from the start of the code */
	uint8_t len, kind, flags;
	uint8_t disp_off; /* of the rip-relative displacement in the instruction */
	uint64_t target;  /* of a direct branch or a rip-relative operand */
};

struct vos_range {
	uint64_t lo, hi; /* [lo, hi) */
};

/* What a site's plan is made from.  Nothing of it is changed but claims. */
struct vos_plan_in {
	const uint8_t *bytes; /* of the code: a function, or a run of instructions known to be decoded rightly */
	uint64_t addr;        /* of bytes[0] */
	const struct vos_insn *insn; /* all its instructions; those within VOS_PLAN_NEAR of the site have DETAIL */
	size_t ninsn;
	/* Sorted addresses that may be reached other than from the instruction before. */
	const uint64_t *targets;
	size_t ntargets;
	bool unknown_targets; /* there may be more targets, at the start of any instruction */
	/* Sorted, disjoint runs of padding that nothing executes and nothing jumps into. */
	const struct vos_range *pads;
	size_t npads;
	/* Sorted, disjoint ranges that other plans write to. */
	const struct vos_range *claims;
	size_t nclaims;
	bool no_post; /* first pass: do not take instructions that another site's preceding run may need */
};

#define VOS_PLAN_NEAR 10u /* instructions before and after a site that the planner may look at */

struct vos_plan {
	struct vos_plan_site site; /* stub and fix are not set yet */
	uint8_t stub[VOS_PLAN_MAX_STUB];
	struct vos_plan_fix fix[VOS_PLAN_MAX_FIX];
};

/*
 * Plans the site at insn[index].  Always succeeds: what cannot be planned is VOS_PLAN_REFUSED with a reason.
 */
void vos_plan_site(const struct vos_plan_in *in, size_t index, struct vos_plan *ret);

/* A refusal for a site that never got as far as vos_plan_site(). */
void vos_plan_refuse(uint64_t vaddr, enum vos_plan_reason why, struct vos_plan *ret);

/* Is addr in the sorted list? */
bool vos_plan_has(const uint64_t *sorted, size_t n, uint64_t addr);

const char *vos_plan_kind_name(unsigned kind);
const char *vos_plan_why_name(unsigned why);

#endif
