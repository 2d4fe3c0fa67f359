/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The only file that includes capstone.  What capstone 4 does not know (CET's instructions, which glibc uses) is
 * decoded by hand first.
 */
#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disasm.h"

struct vos_disasm {
	csh fast, full;
	cs_insn *insn, *dinsn;
};

struct vos_disasm *vos_disasm_new(void)
{
	struct vos_disasm *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &d->fast) != CS_ERR_OK || cs_open(CS_ARCH_X86, CS_MODE_64, &d->full) != CS_ERR_OK)
		goto fail;
	cs_option(d->full, CS_OPT_DETAIL, CS_OPT_ON);
	cs_option(d->full, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
	d->insn = cs_malloc(d->fast);
	d->dinsn = cs_malloc(d->full);
	if (d->insn && d->dinsn)
		return d;
fail:
	vos_disasm_free(d);
	return NULL;
}

void vos_disasm_free(struct vos_disasm *d)
{
	if (!d)
		return;
	if (d->insn)
		cs_free(d->insn, 1);
	if (d->dinsn)
		cs_free(d->dinsn, 1);
	if (d->fast)
		cs_close(&d->fast);
	if (d->full)
		cs_close(&d->full);
	free(d);
}

static bool is_legacy_prefix(uint8_t b)
{
	return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x2e || b == 0x36 || b == 0x3e ||
	       b == 0x26 || b == 0x64 || b == 0x65;
}

/* Offset of the opcode, behind prefixes. */
static unsigned opcode_at(const uint8_t *code, unsigned len)
{
	unsigned i = 0;

	while (i < len && is_legacy_prefix(code[i]))
		i++;
	if (i < len && (code[i] & 0xf0) == 0x40)
		i++;
	return i;
}

static uint64_t rel_target(const uint8_t *code, unsigned len, uint64_t addr, unsigned width)
{
	int32_t rel;

	if (width == 1)
		return addr + len + (int64_t)(int8_t)code[len - 1];
	memcpy(&rel, code + len - 4, 4);
	return addr + len + (int64_t)rel;
}

/* CET: endbr64 may not move (it marks a place); rdssp and incssp are plain. */
static bool decode_cet(const uint8_t *c, size_t len, struct vos_insn *ret)
{
	unsigned i;

	if (len < 4 || c[0] != 0xf3)
		return false;
	if (c[1] == 0x0f && c[2] == 0x1e && (c[3] == 0xfa || c[3] == 0xfb)) {
		ret->len = 4;
		ret->kind = VOS_I_FIXED;
		return true;
	}
	i = (c[1] & 0xf0) == 0x40 ? 2 : 1;
	if (len < i + 3 || c[i] != 0x0f)
		return false;
	if ((c[i + 1] == 0x1e && (c[i + 2] & 0xf8) == 0xc8) || (c[i + 1] == 0xae && (c[i + 2] & 0xf8) == 0xe8)) {
		ret->len = i + 3;
		ret->kind = VOS_I_FIXED; /* never next to a syscall: not worth moving */
		return true;
	}
	return false;
}

/* Length of modrm, sib and displacement at c; 0 when they do not fit. */
static unsigned modrm_len(const uint8_t *c, size_t len)
{
	unsigned n = 1, mod, rm;

	if (!len)
		return 0;
	mod = c[0] >> 6;
	rm = c[0] & 7;
	if (mod == 3)
		return 1;
	if (rm == 4) {
		if (len < 2)
			return 0;
		n = 2;
		rm = c[1] & 7;
	}
	if (mod == 1)
		n += 1;
	else if (mod == 2 || rm == 5)
		n += 4;
	return n;
}

/*
 * Vector instructions newer than capstone: VEX and EVEX have regular lengths, and that is all a sweep needs.  They are
 * never moved.
 */
static bool decode_vex(const uint8_t *c, size_t len, struct vos_insn *ret)
{
	unsigned op, map, m;

	if (len < 6 || (c[0] != 0xc4 && c[0] != 0xc5 && c[0] != 0x62))
		return false;
	op = c[0] == 0xc5 ? 2 : c[0] == 0xc4 ? 3 : 4;
	map = c[0] == 0xc5 ? 1 : c[0] == 0xc4 ? c[1] & 0x1f : c[1] & 7;
	if (map < 1 || (map > 3 && c[0] != 0x62) || map > 6)
		return false;
	if (map == 1 && c[op] == 0x77) { /* vzeroupper has no operands */
		ret->len = op + 1;
	} else {
		m = modrm_len(c + op + 1, len - op - 1);
		if (!m)
			return false;
		ret->len = op + 1 + m;
		if (map == 3 || (map == 1 && ((c[op] >= 0x70 && c[op] <= 0x73) || c[op] == 0xc2 ||
					      (c[op] >= 0xc4 && c[op] <= 0xc6))))
			ret->len++;
	}
	if (ret->len > len || ret->len > 15) {
		ret->len = 1;
		return false;
	}
	ret->kind = VOS_I_FIXED;
	return true;
}

static void classify(const cs_insn *in, struct vos_insn *r)
{
	const uint8_t *c = in->bytes;
	unsigned op = opcode_at(c, r->len);

	switch (in->id) {
	case X86_INS_SYSCALL:
		r->kind = VOS_I_SYSCALL;
		return;
	case X86_INS_NOP:
		r->kind = VOS_I_NOP;
		return;
	case X86_INS_INT3:
		r->kind = VOS_I_INT3;
		return;
	case X86_INS_JAE: case X86_INS_JA: case X86_INS_JBE: case X86_INS_JB: case X86_INS_JE: case X86_INS_JGE:
	case X86_INS_JG: case X86_INS_JLE: case X86_INS_JL: case X86_INS_JNE: case X86_INS_JNO: case X86_INS_JNP:
	case X86_INS_JNS: case X86_INS_JO: case X86_INS_JP: case X86_INS_JS:
		r->kind = VOS_I_JCC;
		r->target = rel_target(c, r->len, in->address, c[op] == 0x0f ? 4 : 1);
		return;
	case X86_INS_JCXZ: case X86_INS_JECXZ: case X86_INS_JRCXZ:
	case X86_INS_LOOP: case X86_INS_LOOPE: case X86_INS_LOOPNE:
		r->kind = VOS_I_LOOP;
		r->target = rel_target(c, r->len, in->address, 1);
		return;
	case X86_INS_XBEGIN:
		r->kind = VOS_I_LOOP;
		r->target = rel_target(c, r->len, in->address, 4);
		return;
	case X86_INS_JMP:
		if (c[op] == 0xe9 || c[op] == 0xeb) {
			r->kind = VOS_I_JMP;
			r->target = rel_target(c, r->len, in->address, c[op] == 0xe9 ? 4 : 1);
		} else {
			r->kind = VOS_I_JMP_IND;
		}
		return;
	case X86_INS_LJMP:
		r->kind = VOS_I_JMP_IND;
		return;
	case X86_INS_CALL:
		r->kind = VOS_I_FIXED;
		if (c[op] == 0xe8) {
			r->kind = VOS_I_CALL;
			r->target = rel_target(c, r->len, in->address, 4);
		}
		return;
	case X86_INS_RET: case X86_INS_RETF: case X86_INS_RETFQ: case X86_INS_IRET: case X86_INS_IRETD: case X86_INS_IRETQ:
		r->kind = VOS_I_RET;
		return;
	case X86_INS_HLT: case X86_INS_UD2:
		r->kind = VOS_I_STOP;
		return;
	case X86_INS_LCALL: case X86_INS_INT: case X86_INS_INT1: case X86_INS_INTO: case X86_INS_SYSENTER:
	case X86_INS_SYSEXIT: case X86_INS_SYSRET: case X86_INS_XEND: case X86_INS_XABORT: case X86_INS_RSM:
		r->kind = VOS_I_FIXED;
		return;
	case X86_INS_LEA:
		if (op + 6 <= r->len && c[op] == 0x8d && (c[op + 1] & 0xc7) == 0x05) {
			r->flags |= VOS_I_RIP_LEA;
			r->target = rel_target(c, r->len, in->address, 4);
		}
		return;
	default:
		return;
	}
}

void vos_disasm_one(struct vos_disasm *d, const uint8_t *code, size_t len, uint64_t addr, uint32_t off,
		    struct vos_insn *ret)
{
	const uint8_t *p = code;
	size_t n = len;
	uint64_t a = addr;

	*ret = (struct vos_insn){.off = off, .len = 1, .kind = VOS_I_BAD};
	if (decode_cet(code, len, ret))
		return;
	if (!cs_disasm_iter(d->fast, &p, &n, &a, d->insn) || d->insn->size == 0 || d->insn->size > 15) {
		decode_vex(code, len, ret);
		return;
	}
	ret->len = d->insn->size;
	ret->kind = VOS_I_PLAIN;
	classify(d->insn, ret);
}

static bool writes_rax(struct vos_disasm *d)
{
	cs_regs r, w;
	uint8_t nr, nw;

	if (cs_regs_access(d->full, d->dinsn, r, &nr, w, &nw) != CS_ERR_OK)
		return true;
	for (unsigned i = 0; i < nw; i++)
		if (w[i] == X86_REG_RAX || w[i] == X86_REG_EAX || w[i] == X86_REG_AX || w[i] == X86_REG_AL || w[i] == X86_REG_AH)
			return true;
	return false;
}

void vos_disasm_detail(struct vos_disasm *d, const uint8_t *code, uint64_t addr, struct vos_insn *insn)
{
	const uint8_t *p = code;
	size_t n = insn->len;
	uint64_t a = addr;
	const cs_x86 *x;

	if (insn->flags & VOS_I_DETAIL || insn->kind == VOS_I_BAD)
		return;
	if (!cs_disasm_iter(d->full, &p, &n, &a, d->dinsn) || d->dinsn->size != insn->len)
		return; /* without DETAIL the planner does not touch it */
	insn->flags |= VOS_I_DETAIL;
	if (writes_rax(d))
		insn->flags |= VOS_I_RAX;
	x = &d->dinsn->detail->x86;
	for (unsigned i = 0; i < x->op_count; i++) {
		if (x->operands[i].type != X86_OP_MEM)
			continue;
		if (x->operands[i].mem.base == X86_REG_EIP) {
			insn->kind = VOS_I_FIXED; /* would wrap at 4 GiB: no compiler emits it */
		} else if (x->operands[i].mem.base == X86_REG_RIP) {
			if (x->encoding.disp_size != 4 || x->encoding.disp_offset == 0 || x->encoding.disp_offset + 4 > insn->len) {
				insn->kind = VOS_I_FIXED;
				continue;
			}
			insn->flags |= VOS_I_RIP;
			insn->disp_off = x->encoding.disp_offset;
			insn->target = addr + insn->len + x->operands[i].mem.disp;
		}
	}
}

size_t vos_disasm_text(struct vos_disasm *d, const uint8_t *code, size_t len, uint64_t addr, char *buf, size_t size)
{
	const uint8_t *p = code;
	uint64_t a = addr;

	if (!cs_disasm_iter(d->full, &p, &len, &a, d->dinsn)) {
		snprintf(buf, size, "(bad)");
		return 0;
	}
	snprintf(buf, size, "%s%s%s", d->dinsn->mnemonic, *d->dinsn->op_str ? " " : "", d->dinsn->op_str);
	return d->dinsn->size;
}
