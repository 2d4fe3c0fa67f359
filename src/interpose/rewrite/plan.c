/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The planner.  For a syscall instruction it looks for the cheapest way to put a jump in its place:
 *
 *   MOV   the instruction before is long enough (mov $nr,%eax): it moves into the stub, the jump takes its place
 *   PRE   a run of instructions before the syscall moves
 *   PAD   no room for five bytes, but for two: a short jump to a long jump in padding nearby
 *   POST  instructions after the syscall move too, and the program resumes in the stub
 *
 * A patch may not be entered but at its first byte.  So no jump target may lie inside it; a target at the first byte is
 * welcome.  Bytes of the patch behind the jump keep their old value where whole instructions remain (so that the bare
 * syscall of a mov+syscall stays one for whoever jumps to it unseen), and become int3 where one was cut.
 */
#include <string.h>

#include "plan.h"

/* lea x(%rip),%rcx ; jmp *slot(%rip) */
#define CALL_LEN 13

struct builder {
	const struct vos_plan_in *in;
	struct vos_plan *p;
	uint64_t patch;
	unsigned len, nfix, nmoved;
	bool ended; /* the moved code does not fall through */
	enum vos_plan_reason why;
};

static uint64_t insn_addr(const struct vos_plan_in *in, size_t i)
{
	return in->addr + in->insn[i].off;
}

static uint64_t insn_end(const struct vos_plan_in *in, size_t i)
{
	return insn_addr(in, i) + in->insn[i].len;
}

bool vos_plan_has(const uint64_t *sorted, size_t n, uint64_t addr)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (sorted[mid] < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && sorted[lo] == addr;
}

static bool is_target(const struct vos_plan_in *in, uint64_t addr)
{
	return vos_plan_has(in->targets, in->ntargets, addr);
}

static bool is_claimed(const struct vos_plan_in *in, uint64_t lo, uint64_t hi)
{
	size_t a = 0, b = in->nclaims;

	while (a < b) {
		size_t mid = a + (b - a) / 2;

		if (in->claims[mid].hi <= lo)
			a = mid + 1;
		else
			b = mid;
	}
	return a < in->nclaims && in->claims[a].lo < hi;
}

/* Is instruction i the one that runs after i-1, with nothing between? */
static bool follows(const struct vos_plan_in *in, size_t i)
{
	return i > 0 && in->insn[i - 1].off + in->insn[i - 1].len == in->insn[i].off;
}

static bool falls_through(const struct vos_insn *x)
{
	return x->kind != VOS_I_JMP && x->kind != VOS_I_JMP_IND && x->kind != VOS_I_RET && x->kind != VOS_I_STOP &&
	       x->kind != VOS_I_BAD;
}

static bool can_move(const struct vos_insn *x, bool before)
{
	if (!(x->flags & VOS_I_DETAIL))
		return false;
	switch (x->kind) {
	case VOS_I_PLAIN:
	case VOS_I_NOP:
	case VOS_I_JCC:
		return true;
	case VOS_I_JMP:
	case VOS_I_JMP_IND:
	case VOS_I_RET:
		return !before;
	default:
		/* A call would push an address of the stub; ud2, hlt and int3 are told apart by their address. */
		return false;
	}
}

/* The number in eax at the syscall, or -1: the last write to eax in the run that must have come before it. */
static int known_number(const struct vos_plan_in *in, size_t site)
{
	for (size_t i = site; i > 0 && site - i < VOS_PLAN_NEAR; i--) {
		const struct vos_insn *x = &in->insn[i - 1];
		const uint8_t *b = in->bytes + x->off;
		int32_t v;

		if (is_target(in, insn_addr(in, i)) || !follows(in, i) || !falls_through(x))
			return -1;
		if (!(x->flags & VOS_I_DETAIL) || x->kind == VOS_I_CALL || x->kind == VOS_I_FIXED || x->kind == VOS_I_SYSCALL)
			return -1;
		if (!(x->flags & VOS_I_RAX))
			continue;
		if (x->len == 5 && b[0] == 0xb8) {
			memcpy(&v, b + 1, 4);
		} else if (x->len == 7 && b[0] == 0x48 && b[1] == 0xc7 && b[2] == 0xc0) {
			memcpy(&v, b + 3, 4);
		} else if (x->len == 2 && (b[0] == 0x31 || b[0] == 0x33) && b[1] == 0xc0) {
			v = 0;
		} else if (x->len == 1 && b[0] == 0x58 && i >= 2 && follows(in, i - 1) && !is_target(in, insn_addr(in, i - 1)) &&
			   in->insn[i - 2].len == 2 && in->bytes[in->insn[i - 2].off] == 0x6a) {
			v = (int8_t)in->bytes[in->insn[i - 2].off + 1];
		} else {
			return -1;
		}
		return v < 0 ? -1 : v;
	}
	return -1;
}

static bool add_fix(struct builder *b, unsigned at, unsigned end, uint16_t kind, uint64_t target)
{
	if (b->nfix == VOS_PLAN_MAX_FIX)
		return false;
	b->p->fix[b->nfix++] = (struct vos_plan_fix){.target = target, .at = at, .end = end, .kind = kind};
	return true;
}

static bool emit(struct builder *b, const void *bytes, unsigned n)
{
	if (b->len + n > VOS_PLAN_MAX_STUB)
		return false;
	memcpy(b->p->stub + b->len, bytes, n);
	b->len += n;
	return true;
}

static bool emit_branch(struct builder *b, const uint8_t *op, unsigned nop, uint64_t target)
{
	uint8_t code[6] = {0};

	memcpy(code, op, nop);
	if (!emit(b, code, nop + 4))
		return false;
	return add_fix(b, b->len - 4, b->len, VOS_FIX_OBJECT, target);
}

/* Moves one instruction into the stub. */
static bool move_insn(struct builder *b, size_t i)
{
	const struct vos_insn *x = &b->in->insn[i];
	const uint8_t *code = b->in->bytes + x->off;
	unsigned start = b->len;

	if (b->nmoved == VOS_PLAN_MAX_MOVED)
		return false;
	b->p->site.moved_at[b->nmoved] = start;
	b->p->site.moved_from[b->nmoved++] = insn_addr(b->in, i) - b->patch;
	if (x->kind == VOS_I_JCC) {
		/* 7x rel8 and 0f 8x rel32, behind prefixes that only hint: the condition is in the low half. */
		uint8_t cc = x->len >= 6 && code[x->len - 6] == 0x0f ? code[x->len - 5] & 15 : code[x->len - 2] & 15;

		return emit_branch(b, (uint8_t[]){0x0f, 0x80 | cc}, 2, x->target);
	}
	if (x->kind == VOS_I_JMP) {
		b->ended = true;
		return emit_branch(b, (uint8_t[]){0xe9}, 1, x->target);
	}
	if (!falls_through(x))
		b->ended = true;
	if (!emit(b, code, x->len))
		return false;
	if (x->flags & VOS_I_RIP) {
		memset(b->p->stub + start + x->disp_off, 0, 4);
		return add_fix(b, start + x->disp_off, b->len, VOS_FIX_OBJECT, x->target);
	}
	return true;
}

/* What the patch looks like when only its first jump_len bytes are needed. */
static void draw_patch(struct builder *b, size_t first, size_t end, unsigned jump_len)
{
	struct vos_plan_site *s = &b->p->site;

	s->jump_len = jump_len;
	s->patch = b->patch;
	s->patch_len = insn_end(b->in, end - 1) - b->patch;
	memcpy(s->orig, b->in->bytes + b->in->insn[first].off, s->patch_len);
	memcpy(s->repl, s->orig, s->patch_len);
	for (size_t i = first; i < end; i++) {
		unsigned at = b->in->insn[i].off - b->in->insn[first].off;

		if (at < jump_len && at + b->in->insn[i].len > jump_len)
			memset(s->repl + jump_len, 0xcc, at + b->in->insn[i].len - jump_len);
	}
	s->repl[0] = jump_len == 5 ? 0xe9 : 0xeb;
	memset(s->repl + 1, 0, jump_len - 1);
}

/*
 * Builds the stub for a patch over the instructions [first, end), with the syscall at index site, and the jump.
 * False with b->why set when something cannot move.
 */
static bool build(struct builder *b, size_t first, size_t site, size_t end, unsigned jump_len)
{
	static const uint8_t lea[7] = {0x48, 0x8d, 0x0d}, jmp[6] = {0xff, 0x25};
	struct vos_plan_site *s = &b->p->site;
	unsigned resume_at;

	b->patch = insn_addr(b->in, first);
	b->len = b->nfix = b->nmoved = 0;
	b->ended = false;
	b->why = VOS_WHY_UNMOVABLE;
	if (insn_end(b->in, end - 1) - b->patch > VOS_PLAN_MAX_PATCH)
		return false;
	for (size_t i = first; i < end; i++)
		if (i != site && !can_move(&b->in->insn[i], i < site))
			return false;
	for (size_t i = first; i < site; i++)
		if (!move_insn(b, i))
			return false;
	s->call_at = b->len;
	if (!emit(b, lea, sizeof lea))
		return false;
	resume_at = b->len;
	if (!emit(b, jmp, sizeof jmp) || !add_fix(b, b->len - 4, b->len, VOS_FIX_ENTRY, 0))
		return false;
	s->flags = 0;
	if (end == site + 1) {
		s->resume = insn_end(b->in, site);
		if (!add_fix(b, resume_at - 4, resume_at, VOS_FIX_OBJECT, s->resume))
			return false;
	} else {
		int32_t rel = b->len - resume_at;

		memcpy(b->p->stub + resume_at - 4, &rel, 4);
		s->resume = b->len;
		s->flags = VOS_SITE_RESUME_IN_STUB;
		for (size_t i = site + 1; i < end; i++)
			if (!move_insn(b, i))
				return false;
		if (!b->ended && !emit_branch(b, (uint8_t[]){0xe9}, 1, insn_end(b->in, end - 1)))
			return false;
	}
	s->stub_len = b->len;
	s->nfix = b->nfix;
	s->nmoved = b->nmoved;
	draw_patch(b, first, end, jump_len);
	b->why = VOS_WHY_NONE;
	return true;
}

/*
 * How far before the site a patch may begin: the first index of a run of movable instructions that has no target
 * behind its first byte.  want: stop as soon as the run with the syscall has this many bytes.
 */
static size_t run_before(const struct vos_plan_in *in, size_t site, unsigned want, enum vos_plan_reason *ret_why)
{
	uint64_t end = insn_end(in, site);
	size_t i = site;

	*ret_why = VOS_WHY_NONE;
	while (end - insn_addr(in, i) < want) {
		if (is_target(in, insn_addr(in, i))) {
			*ret_why = VOS_WHY_TARGET;
			break;
		}
		if (!follows(in, i) || site - i >= VOS_PLAN_MAX_MOVED) {
			*ret_why = VOS_WHY_ROOM;
			break;
		}
		if (!can_move(&in->insn[i - 1], true)) {
			*ret_why = falls_through(&in->insn[i - 1]) ? VOS_WHY_UNMOVABLE : VOS_WHY_ROOM;
			break;
		}
		/* With unknown labels only the jump's own instruction is safe: no label lies inside an instruction. */
		if (in->unknown_targets && i < site) {
			*ret_why = VOS_WHY_UNKNOWN;
			break;
		}
		if (is_claimed(in, insn_addr(in, i - 1), end)) {
			*ret_why = VOS_WHY_OVERLAP;
			break;
		}
		i--;
	}
	return i;
}

static bool plan_before(struct builder *b, size_t site)
{
	const struct vos_plan_in *in = b->in;
	enum vos_plan_reason why;
	size_t first = run_before(in, site, 5, &why);

	if (why != VOS_WHY_NONE) {
		b->why = why;
		return false;
	}
	/* Shorter than five bytes and nothing known about labels: the syscall itself could be one. */
	if (in->unknown_targets && in->insn[first].len < 5) {
		b->why = VOS_WHY_UNKNOWN;
		return false;
	}
	if (!build(b, first, site, site + 1, 5))
		return false;
	b->p->site.kind = first + 1 == site && known_number(in, site) >= 0 && in->insn[first].flags & VOS_I_RAX ?
			  VOS_PLAN_MOV : VOS_PLAN_PRE;
	return true;
}

/* Room for five bytes that a short jump at `from` reaches, or 0. */
static uint64_t find_pad(const struct vos_plan_in *in, uint64_t from)
{
	uint64_t best = 0, best_far = ~0ull;

	for (size_t i = 0; i < in->npads; i++) {
		for (uint64_t at = in->pads[i].lo; at + 5 <= in->pads[i].hi; at++) {
			int64_t rel = (int64_t)(at - (from + 2));
			uint64_t far = rel < 0 ? -rel : rel;

			if (rel < -128 || rel > 127 || far >= best_far || is_claimed(in, at, at + 5))
				continue;
			best = at;
			best_far = far;
		}
	}
	return best;
}

/* A short jump at the syscall itself, or at the longest run before it that has no target inside. */
static bool plan_pad(struct builder *b, size_t site)
{
	const struct vos_plan_in *in = b->in;
	struct vos_plan_site *s = &b->p->site;
	uint64_t at = insn_addr(in, site), pad = find_pad(in, at);

	if (!pad) {
		b->why = VOS_WHY_ROOM;
		return false;
	}
	if (is_claimed(in, at, at + 2)) {
		b->why = VOS_WHY_OVERLAP;
		return false;
	}
	if (!build(b, site, site, site + 1, 2))
		return false;
	s->repl[1] = (uint8_t)(pad - (at + 2));
	s->pad = pad;
	/* pad_orig is filled in by the caller, who has the bytes outside of the function. */
	s->kind = VOS_PLAN_PAD;
	return true;
}

static bool plan_after(struct builder *b, size_t site)
{
	const struct vos_plan_in *in = b->in;
	enum vos_plan_reason why;
	size_t first = run_before(in, site, 5, &why), end = site + 1;

	if (in->unknown_targets) {
		b->why = VOS_WHY_UNKNOWN;
		return false;
	}
	while (insn_end(in, end - 1) - insn_addr(in, first) < 5) {
		if (end == in->ninsn || !follows(in, end) || end - first >= VOS_PLAN_MAX_MOVED) {
			b->why = VOS_WHY_ROOM;
			return false;
		}
		if (is_target(in, insn_addr(in, end))) {
			b->why = VOS_WHY_TARGET;
			return false;
		}
		if (!can_move(&in->insn[end], false)) {
			b->why = VOS_WHY_UNMOVABLE;
			return false;
		}
		end++;
		if (!falls_through(&in->insn[end - 1]) && insn_end(in, end - 1) - insn_addr(in, first) < 5) {
			b->why = VOS_WHY_ROOM;
			return false;
		}
	}
	if (is_claimed(in, insn_addr(in, first), insn_end(in, end - 1))) {
		b->why = VOS_WHY_OVERLAP;
		return false;
	}
	if (!build(b, first, site, end, 5))
		return false;
	b->p->site.kind = VOS_PLAN_POST;
	return true;
}

void vos_plan_refuse(uint64_t vaddr, enum vos_plan_reason why, struct vos_plan *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->site.vaddr = vaddr;
	ret->site.kind = VOS_PLAN_REFUSED;
	ret->site.why = why;
	ret->site.nr = -1;
}

void vos_plan_site(const struct vos_plan_in *in, size_t site, struct vos_plan *ret)
{
	struct builder b = {.in = in, .p = ret};
	uint64_t vaddr = insn_addr(in, site);
	enum vos_plan_reason why;
	int nr = known_number(in, site);

	memset(ret, 0, sizeof *ret);
	ret->site.vaddr = vaddr;
	ret->site.nr = nr;
	if (nr == 15) {
		ret->site.kind = VOS_PLAN_LEAVE;
		return;
	}
	if (plan_before(&b, site))
		return;
	why = b.why; /* the first reason is the most telling one */
	if (plan_pad(&b, site))
		return;
	if (!in->no_post && plan_after(&b, site))
		return;
	if (why == VOS_WHY_ROOM)
		why = b.why;
	vos_plan_refuse(vaddr, why, ret);
	ret->site.nr = nr;
}

const char *vos_plan_kind_name(unsigned kind)
{
	static const char *const name[] = {"leave", "mov", "pre", "pad", "post", "refused"};

	return kind < VOS_PLAN_KINDS ? name[kind] : "?";
}

const char *vos_plan_why_name(unsigned why)
{
	static const char *const name[] = {"", "jump target inside", "jump targets unknown", "instruction cannot move",
					   "no room", "another patch there", "not surely an instruction", "undecodable code before"};

	return why < VOS_WHYS ? name[why] : "?";
}
