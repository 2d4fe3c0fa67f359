/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disassembler as the planner sees it.  Only disasm_capstone.c knows which library does the work.
 */
#ifndef VOS_REWRITE_DISASM_H
#define VOS_REWRITE_DISASM_H

#include "plan.h"

struct vos_disasm;

/* NULL when the library cannot be had.  One thread at a time may use a disassembler. */
struct vos_disasm *vos_disasm_new(void);
void vos_disasm_free(struct vos_disasm *d);

/*
 * Decodes one instruction at code (of which len bytes may be read; len > 0), which lies at addr and offset off.  Always
 * fills *ret: what cannot be decoded is one VOS_I_BAD byte.
 */
void vos_disasm_one(struct vos_disasm *d, const uint8_t *code, size_t len, uint64_t addr, uint32_t off,
		    struct vos_insn *ret);

/* Adds what VOS_I_DETAIL promises to an instruction decoded before. */
void vos_disasm_detail(struct vos_disasm *d, const uint8_t *code, uint64_t addr, struct vos_insn *insn);

/* Text of an instruction for --print, AT&T syntax.  Returns its length in bytes, 0 when undecodable. */
size_t vos_disasm_text(struct vos_disasm *d, const uint8_t *code, size_t len, uint64_t addr, char *buf, size_t size);

#endif
