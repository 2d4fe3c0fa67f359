/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which of the byte pairs 0f 05 are syscall instructions.
 */
#include <stdlib.h>
#include <string.h>

#include "analyse_impl.h"

#define MAX_FUNCTION  (8u << 20)  /* a larger one is not decoded: its sites are refused */
#define MAX_DECODE    (256u << 20)

void vos_list_push(struct analyser *a, struct list *l, uint64_t v)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 1024;
		void *p = realloc(l->v, cap * sizeof *l->v);

		if (!p) {
			a->oom = true;
			return;
		}
		l->v = p;
		l->cap = cap;
	}
	l->v[l->n++] = v;
}

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return a < b ? -1 : a > b;
}

void vos_list_sort(struct list *l)
{
	size_t n = 0;

	if (l->n)
		qsort(l->v, l->n, sizeof *l->v, by_value);
	for (size_t i = 0; i < l->n; i++)
		if (!n || l->v[n - 1] != l->v[i])
			l->v[n++] = l->v[i];
	l->n = n;
}

/* ---- functions ---- */

static size_t func_slot(const struct analyser *a, uint64_t lo)
{
	size_t x = 0, y = a->nfuncs;

	while (x < y) {
		size_t mid = x + (y - x) / 2;

		if (a->func[mid]->lo < lo)
			x = mid + 1;
		else
			y = mid;
	}
	return x;
}

struct func *vos_func_find(const struct analyser *a, uint64_t lo)
{
	size_t i = func_slot(a, lo);

	return i < a->nfuncs && a->func[i]->lo == lo ? a->func[i] : NULL;
}

static void decode(struct analyser *a, struct func *f)
{
	uint64_t len = f->hi - f->lo;
	size_t cap = len / 4 + 16;
	uint32_t off = 0;

	f->bytes = vos_elf_at(a->e, f->lo, len, NULL);
	if (!f->bytes || len > MAX_FUNCTION || a->decoded_bytes + len > MAX_DECODE) {
		f->too_big = true;
		return;
	}
	a->decoded_bytes += len;
	f->insn = malloc(cap * sizeof *f->insn);
	while (f->insn && off < len) {
		struct vos_insn *x;

		if (f->n == cap) {
			void *p = realloc(f->insn, (cap = cap * 3 / 2 + 16) * sizeof *f->insn);

			if (!p)
				break;
			f->insn = p;
		}
		x = &f->insn[f->n++];
		vos_disasm_one(a->d, f->bytes + off, len - off, f->lo + off, off, x);
		if (x->kind == VOS_I_BAD) {
			if (!f->last_bad)
				f->first_bad = off;
			f->last_bad = off + 1;
		}
		off += x->len;
	}
	a->decoded += f->n;
	if (off < len)
		a->oom = true;
}

struct func *vos_func_add(struct analyser *a, uint64_t lo, uint64_t hi, bool bounded)
{
	size_t at = func_slot(a, lo);
	struct func *f;

	if (a->nfuncs == a->funcs_cap) {
		size_t cap = a->funcs_cap ? a->funcs_cap * 2 : 256;
		void *p = realloc(a->func, cap * sizeof *a->func);

		if (!p) {
			a->oom = true;
			return NULL;
		}
		a->func = p;
		a->funcs_cap = cap;
	}
	f = calloc(1, sizeof *f);
	if (!f) {
		a->oom = true;
		return NULL;
	}
	f->lo = lo;
	f->hi = hi;
	f->bounded = bounded;
	decode(a, f);
	memmove(&a->func[at + 1], &a->func[at], (a->nfuncs - at) * sizeof *a->func);
	a->func[at] = f;
	a->nfuncs++;
	return f;
}

/* The instruction that covers an address of f. */
const struct vos_insn *vos_func_insn(const struct func *f, uint64_t addr)
{
	size_t x = 0, y = f->n;

	while (x < y) {
		size_t mid = x + (y - x) / 2;

		if (f->lo + f->insn[mid].off + f->insn[mid].len <= addr)
			x = mid + 1;
		else
			y = mid;
	}
	return x < f->n ? &f->insn[x] : NULL;
}

/* ---- sites ---- */

static void fresh_target(void *ctx, uint64_t addr)
{
	struct analyser *a = ctx;

	vos_list_push(a, &a->fresh, addr);
}

static void find_hits(struct analyser *a)
{
	for (unsigned i = 0; i < a->e->nseg; i++) {
		const struct vos_seg *s = &a->e->seg[i];
		const uint8_t *p = a->e->map + s->off, *end = p + s->filesz, *at = p;

		if (!s->exec)
			continue;
		while (end - at >= 2 && (at = memmem(at, end - at, "\x0f\x05", 2))) {
			vos_list_push(a, &a->hits, s->vaddr + (at - p));
			at += 2;
		}
	}
	vos_list_sort(&a->hits);
}

static void add_site(struct analyser *a, uint64_t vaddr, const struct func *f, size_t index, enum vos_plan_reason why)
{
	if (a->nsites == a->sites_cap) {
		size_t cap = a->sites_cap ? a->sites_cap * 2 : 256;
		void *p = realloc(a->site, cap * sizeof *a->site);

		if (!p) {
			a->oom = true;
			return;
		}
		a->site = p;
		a->sites_cap = cap;
	}
	a->site[a->nsites++] = (struct site){.vaddr = vaddr, .func = f ? f->lo : 0, .index = index, .why = why};
}

/*
 * After undecodable bytes a sweep may be out of step.  It is in step again if branches of the function lead to two
 * different places between them and the hit, and to no place where no instruction of the sweep begins.
 */
static bool in_step(const struct func *f, uint32_t hit)
{
	uint32_t bad = 0, first = 0;
	unsigned good = 0;

	if (!f->last_bad || f->first_bad > hit)
		return true;
	for (size_t i = 0; i < f->n && f->insn[i].off < hit; i++)
		if (f->insn[i].kind == VOS_I_BAD)
			bad = f->insn[i].off + 1;
	for (size_t i = 0; i < f->n; i++) {
		const struct vos_insn *x = &f->insn[i], *t;
		uint64_t off = x->target - f->lo;

		if ((x->kind != VOS_I_JCC && x->kind != VOS_I_JMP) || x->target < f->lo || off > hit || off < bad)
			continue;
		t = vos_func_insn(f, x->target);
		if (!t || t->off != off)
			return false;
		if (!good || off != first)
			good++;
		first = off;
	}
	return good >= 2;
}

static void judge_hit(struct analyser *a, uint64_t hit, struct func *f)
{
	const struct vos_insn *x = vos_func_insn(f, hit);
	uint32_t off = hit - f->lo;

	if (f->too_big || !x) {
		add_site(a, hit, NULL, 0, VOS_WHY_UNSURE);
		return;
	}
	if (x->kind == VOS_I_SYSCALL && x->off + x->len == off + 2) {
		enum vos_plan_reason why = x->len != 2 ? VOS_WHY_UNMOVABLE : VOS_WHY_NONE;

		add_site(a, hit, f, x - f->insn, in_step(f, off) ? why : VOS_WHY_BAD_CODE);
		return;
	}
	if (in_step(f, off))
		a->not_sites++;
	else
		add_site(a, hit, NULL, 0, VOS_WHY_UNSURE);
}

static void find_calls(struct analyser *a)
{
	if (a->calls_known)
		return;
	a->calls_known = true;
	for (unsigned i = 0; i < a->e->nseg; i++) {
		const struct vos_seg *s = &a->e->seg[i];
		const uint8_t *p = a->e->map + s->off, *end = p + s->filesz, *at = p;

		while (s->exec && end - at >= 5 && (at = memchr(at, 0xe8, end - at - 4))) {
			uint64_t target;
			int32_t rel;

			memcpy(&rel, at + 1, 4);
			target = s->vaddr + (at - p) + 5 + (int64_t)rel;
			if (target - s->vaddr < s->filesz)
				vos_list_push(a, &a->calls, target);
			at++;
		}
	}
	for (unsigned i = 0; i < a->e->nseg; i++) {
		const struct vos_seg *s = &a->e->seg[i];
		const uint8_t *p = a->e->map + s->off, *end = p + s->filesz, *at = p;

		while (s->exec && end - at >= 6 && (at = memchr(at, 0x8d, end - at - 5))) {
			uint64_t target;
			int32_t rel;

			memcpy(&rel, at + 2, 4);
			target = s->vaddr + (at - p) + 6 + (int64_t)rel;
			if ((at[1] & 0xc7) == 5 && target - s->vaddr < s->filesz)
				vos_list_push(a, &a->calls, target);
			at++;
		}
	}
	if (a->e->entry)
		vos_list_push(a, &a->calls, a->e->entry);
	vos_list_sort(&a->calls);
}

enum verdict { SAYS_NOTHING, SAYS_SITE, SAYS_NO };

/*
 * What a sweep from start makes of the hit.  *ret_cuts: where it saw instructions begin in the 32 bytes before, which is what
 * a patch would touch.
 */
static enum verdict sweep(struct analyser *a, uint64_t start, uint64_t hit, uint32_t *ret_cuts)
{
	uint64_t at = start, left;
	const uint8_t *p = vos_elf_at(a->e, start, 1, &left);
	struct vos_insn x;

	*ret_cuts = 0;
	if (!p)
		return SAYS_NOTHING;
	while (at < hit) {
		if (hit - at <= 32)
			*ret_cuts |= 1u << (hit - at - 1);
		vos_disasm_one(a->d, p + (at - start), left - (at - start), at, 0, &x);
		a->decoded++;
		/* Nobody adds al to (rax) at its full length: these are zeros. */
		if (x.kind == VOS_I_BAD || (p[at - start] == 0 && x.len == 2 && p[at - start + 1] == 0))
			return SAYS_NOTHING;
		at += x.len;
		if (at > hit)
			return x.kind == VOS_I_SYSCALL && at == hit + 2 ? SAYS_SITE : SAYS_NO;
	}
	return SAYS_SITE;
}

/*
 * Tables that lie among code (libcrypto's).  Random bytes do not decode for long: when no sweep gets through the half
 * kilobyte before the hit, nor one through what follows it, these are data.
 */
static bool looks_like_data(struct analyser *a, uint64_t hit, uint64_t lo, uint64_t hi)
{
	uint32_t cuts;

	if (hit - lo < 544 || hi - hit < 256)
		return false;
	for (uint64_t s = hit - 544; s < hit - 512; s++)
		if (sweep(a, s, hit, &cuts) != SAYS_NOTHING)
			return false;
	return sweep(a, hit, hit + 256, &cuts) == SAYS_NOTHING;
}

/*
 * The nearest place before the hit where code begins behind fill: an aligned byte behind a dozen zeros (more than an
 * instruction ends in), or behind int3s.  0: none near.
 */
static uint64_t behind_fill(const struct analyser *a, uint64_t hit, uint64_t lo)
{
	uint64_t from = hit - lo > 16384 ? hit - 16384 : lo;
	const uint8_t *p = vos_elf_at(a->e, from, hit - from, NULL);

	for (uint64_t at = hit & ~7ull; p && at >= from + 12; at -= 8) {
		const uint8_t *c = p + (at - from);
		bool fill = c[-1] == 0xcc && c[-2] == 0xcc && c[0] != 0xcc;

		if (!fill && c[0]) {
			fill = true;
			for (unsigned i = 1; i <= 12; i++)
				fill = fill && !c[-(int)i];
		}
		if (fill)
			return at;
	}
	return 0;
}

/*
 * Code of which nothing is known.  Where calls lead, functions begin, and so they do behind fill: the nearest two calls must agree (one,
 * if it leads to an aligned address), or what is behind the fill is asked.  Without either, sweeps from all starts in a range before the hit must agree, also on what
 * stands before the hit.
 */
/*
 * Memory that is no object holds code without any bounds, and data among it.  What decodes as a call there is one for sure only
 * where its number is loaded right before it; that is also what every emitter of calls writes.
 */
static bool judge_raw(struct analyser *a, uint64_t hit, uint64_t lo, uint64_t hi)
{
	const uint8_t *p = hit - lo >= 5 ? vos_elf_at(a->e, hit - 5, 7, NULL) : NULL;
	struct func *f;

	if (!p || p[0] != 0xb8 || p[2] > 1 || p[3] || p[4])
		return false;
	f = vos_func_find(a, hit - 5);
	if (!f)
		f = vos_func_add(a, hit - 5, hi - hit < 64 ? hi : hit + 64, false);
	if (f)
		judge_hit(a, hit, f);
	return true;
}

static void judge_unbounded(struct analyser *a, uint64_t hit, uint64_t lo, uint64_t hi)
{
	const bool raw = a->e->nseg == 1 && !a->e->table && !a->e->nfde;
	uint64_t from = hit - lo > 160 ? hit - 160 : lo, to = hit - from > 96 ? hit - 96 : from, start = 0, fill;
	unsigned says[3] = {0};
	uint32_t cuts, common = 0;
	bool bounded = false, differ = false;
	struct func *f;
	size_t i;

	if (raw && judge_raw(a, hit, lo, hi))
		return;
	find_calls(a);
	fill = behind_fill(a, hit, lo);
	for (i = a->calls.n; i > 0 && a->calls.v[i - 1] > hit; i--)
		if (a->calls.v[i - 1] < hi)
			hi = a->calls.v[i - 1];
	for (; i > 0 && says[1] + says[2] < 2 && a->calls.v[i - 1] >= lo && a->calls.v[i - 1] > fill &&
	       hit - a->calls.v[i - 1] < 16384; i--) {
		/* An aligned one is no accident: it needs no second. */
		says[sweep(a, a->calls.v[i - 1], hit, &cuts)] += a->calls.v[i - 1] % 16 ? 1 : 2;
		start = start ? start : a->calls.v[i - 1];
	}
	if (fill && says[1] + says[2] < 2) {
		says[sweep(a, fill, hit, &cuts)]++;
		start = start ? start : fill;
		bounded = says[1] + says[2] > 0;
	}
	if (!bounded && says[1] + says[2] < 2) {
		start = 0;
		for (uint64_t s = from; s <= to; s++) {
			enum verdict v = sweep(a, s, hit, &cuts);

			says[v]++;
			if (v != SAYS_SITE)
				continue;
			differ = differ || (start && cuts != common);
			common = cuts;
			if (!start)
				start = s;
		}
	} else {
		bounded = true;
	}
	if ((!says[SAYS_SITE] && says[SAYS_NO]) || (!bounded && looks_like_data(a, hit, lo, hi))) {
		a->not_sites++;
		return;
	}
	if (raw || says[SAYS_NO] || !says[SAYS_SITE] || differ) {
		add_site(a, hit, NULL, 0, VOS_WHY_UNSURE);
		return;
	}
	f = vos_func_find(a, start);
	if (!f)
		f = vos_func_add(a, start, bounded || hi - hit < 64 ? hi : hit + 64, bounded);
	if (f)
		judge_hit(a, hit, f);
}

/*
 * A gap that the function before it falls into is a part of it: glibc ends the FDE of clone before its syscall, because
 * in the child it would be wrong.
 */
static struct func *continued(struct analyser *a, uint64_t lo, uint64_t hi)
{
	struct vos_fde fde;
	struct func *f;
	unsigned k;

	if (!vos_elf_fde(a->e, lo - 1, &fde) || fde.hi != lo || fde.signal)
		return NULL;
	f = vos_func_find(a, fde.lo);
	if (!f)
		f = vos_func_add(a, fde.lo, fde.hi, true);
	if (!f || !f->n || f->too_big || f->last_bad || f->hi > lo)
		return f && f->hi >= hi ? f : NULL;
	k = f->insn[f->n - 1].kind;
	/* A call at the end does not return. */
	if (k == VOS_I_JMP || k == VOS_I_JMP_IND || k == VOS_I_RET || k == VOS_I_STOP || k == VOS_I_CALL || k == VOS_I_FIXED)
		return NULL;
	if (hi - lo > 256)
		return NULL;
	f->hi = hi;
	f->n = 0;
	free(f->insn);
	decode(a, f);
	return f;
}

/* mov $15,%eax (or %rax) before a syscall: rt_sigreturn, whatever the unwind tables say (glibc's begin a byte early). */
static bool is_sigreturn(const struct analyser *a, uint64_t hit)
{
	const uint8_t *p = vos_elf_at(a->e, hit - 7, 9, NULL);

	return (p && !memcmp(p, "\x48\xc7\xc0\x0f\0\0\0", 7)) ||
	       ((p = vos_elf_at(a->e, hit - 5, 7, NULL)) && !memcmp(p, "\xb8\x0f\0\0\0", 5));
}

void vos_sites_find(struct analyser *a)
{
	find_hits(a);
	for (size_t i = 0; i < a->hits.n; i++) {
		uint64_t hit = a->hits.v[i], lo = 0, hi = 0, slo, shi;
		struct vos_fde fde;
		struct func *f;
		bool has_fde = vos_elf_fde(a->e, hit, &fde), known;

		if (vos_elf_is_data(a->e, hit)) {
			a->not_sites++;
			continue;
		}
		if (is_sigreturn(a, hit)) {
			add_site(a, hit, NULL, 0, VOS_WHY_NONE);
			a->site[a->nsites - 1].leave = true;
			continue;
		}
		if (has_fde) {
			lo = fde.lo + fde.signal;
			hi = fde.hi;
		} else if (!vos_elf_gap(a->e, hit, &lo, &hi)) {
			add_site(a, hit, NULL, 0, VOS_WHY_UNSURE);
			continue;
		}
		if (!has_fde && (f = continued(a, lo, hi))) {
			judge_hit(a, hit, f);
			continue;
		}
		if (!has_fde && vos_elf_symbol(a->e, hit, &slo, &shi) && slo >= lo) {
			lo = slo;
			hi = shi < hi ? shi : hi;
		} else if (!has_fde) {
			judge_unbounded(a, hit, lo, hi);
			continue;
		}
		f = vos_func_find(a, lo);
		known = f;
		if (!f)
			f = vos_func_add(a, lo, hi, true);
		if (!f)
			return;
		if (!known && has_fde && !vos_elf_landing_pads(a->e, &fde, fresh_target, a))
			f->unknown = true;
		judge_hit(a, hit, f);
	}
}

