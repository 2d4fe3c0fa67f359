/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding the sites of an object and the jump targets around them.
 *
 *  1. Search the executable segments for the bytes 0f 05.
 *  2. Decode the function around each hit (bounds from .eh_frame, else from symbols).  A hit that is no instruction is
 *     forgotten.  Without bounds, sweeps from many starting points must agree.
 *  3. Jump targets: all direct branches of the decoded functions, landing pads, jump tables, symbols, relocations.
 *     From everywhere else: any bytes that could be a branch into the neighbourhood of a site (or into padding that is to
 *     be used) are candidates; a candidate is dropped only when its own function, decoded, shows no such branch.
 *  4. Plan (plan.c), in two rounds, so that nobody takes instructions that another site needs more.
 *
 * So a target is missed only where code forms an address by arithmetic that no compiler emits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyse_impl.h"

#define WINDOW        32u         /* bytes around a site that a patch may touch */
#define MAX_TABLE     4096u
#define REACH         130         /* of a short jump, from its first byte */

static bool is_exec(const struct vos_elf *e, uint64_t vaddr)
{
	const struct vos_seg *s = vos_elf_seg(e, vaddr);

	return s && s->exec;
}

/* ---- targets ---- */

static void watched_target(void *ctx, uint64_t addr)
{
	struct analyser *a = ctx;

	if (addr - a->bits_lo < a->bits_n && a->bits[(addr - a->bits_lo) / 8] >> (addr & 7) & 1)
		vos_list_push(a, &a->fresh, addr);
}

/* Reads the table at base as 4-byte offsets from it; all that point to code are targets.  How many there were. */
static unsigned read_table(struct analyser *a, uint64_t base)
{
	uint64_t left;
	const uint8_t *p = vos_elf_at(a->e, base, 4, &left);
	unsigned n = 0;

	for (; p && left >= 4 && n < MAX_TABLE; p += 4, left -= 4, n++) {
		int32_t rel;

		memcpy(&rel, p, 4);
		if (!is_exec(a->e, base + (int64_t)rel))
			break;
		vos_list_push(a, &a->fresh, base + (int64_t)rel);
	}
	return n;
}

/* movslq (base,index,4),reg: the load of a jump table's entry. */
static bool is_table_load(const uint8_t *c, unsigned len)
{
	return len >= 4 && (c[0] & 0xf8) == 0x48 && c[1] == 0x63 && (c[2] & 7) == 4 && c[2] >> 6 != 3 && c[3] >> 6 == 2;
}

/* An indirect jump whose targets could be labels of this function that no relocation shows. */
static bool is_table_jump(const struct func *f, size_t i)
{
	const uint8_t *c = f->bytes + f->insn[i].off;
	unsigned len = f->insn[i].len, at = 0;

	while (at + 1 < len && c[at] != 0xff)
		at++;
	if (at + 1 >= len || c[at + 1] >> 6 != 3)
		return false; /* through memory: 8-byte entries, which relocations (or final addresses) show */
	for (size_t back = i; back-- > 0 && i - back <= 16;)
		if (is_table_load(f->bytes + f->insn[back].off, f->insn[back].len))
			return true;
	return false;
}

static void collect_targets(struct analyser *a, struct func *f)
{
	bool tables = false;
	unsigned entries = 0;

	vos_list_push(a, &a->fresh, f->lo);
	for (size_t i = 0; i < f->n; i++) {
		const struct vos_insn *x = &f->insn[i];

		if (x->kind == VOS_I_JCC || x->kind == VOS_I_JMP || x->kind == VOS_I_CALL || x->kind == VOS_I_LOOP ||
		    x->flags & VOS_I_RIP_LEA)
			vos_list_push(a, &a->fresh, x->target);
		if (x->kind == VOS_I_JMP_IND && is_table_jump(f, i))
			tables = true;
		if (x->kind == VOS_I_JMP_IND && a->e->nseg == 1 && !a->e->table && !a->e->nfde)
			f->unknown = true; /* raw code: its tables are not here */
	}
	for (size_t i = 0; tables && i < f->n; i++)
		if (f->insn[i].flags & VOS_I_RIP_LEA && !is_exec(a->e, f->insn[i].target))
			entries += read_table(a, f->insn[i].target);
	if ((tables && !entries) || !f->bounded)
		f->unknown = true;
}

/* ---- branches from elsewhere ---- */

static void watch(struct analyser *a, uint64_t lo, uint64_t hi)
{
	for (uint64_t x = lo; x < hi; x++)
		if (x - a->bits_lo < a->bits_n)
			a->bits[(x - a->bits_lo) / 8] |= 1u << (x & 7);
}

static bool is_watched(const struct analyser *a, uint64_t x)
{
	return x - a->bits_lo < a->bits_n && a->bits[(x - a->bits_lo) / 8] >> (x & 7) & 1;
}

/* Bytes at src could be a branch to target.  Are they? */
static void candidate(struct analyser *a, uint64_t src, uint64_t target)
{
	const struct vos_insn *x;
	struct vos_fde fde;
	struct func *f;

	if (vos_plan_has(a->targets.v, a->targets.n, target))
		return;
	if (vos_elf_fde(a->e, src, &fde)) {
		f = vos_func_find(a, fde.lo);
		if (!f)
			f = vos_func_add(a, fde.lo, fde.hi, true);
		x = f && !f->too_big && !f->last_bad ? vos_func_insn(f, src) : NULL;
		if (x && x->target != target)
			return;
	}
	vos_list_push(a, &a->fresh, target);
}

static void scan_near(struct analyser *a)
{
	enum { NO, REL32, TWO, LEA };
	uint8_t class[256] = {[0xe8] = REL32, [0xe9] = REL32, [0x0f] = TWO, [0x8d] = LEA};

	for (unsigned i = 0; i < a->e->nseg; i++) {
		const struct vos_seg *s = &a->e->seg[i];
		const uint8_t *p = a->e->map + s->off;
		uint64_t n = s->filesz;

		if (!s->exec)
			continue;
		for (uint64_t k = 0; k + 5 <= n; k++) {
			uint64_t end;
			int32_t rel;

			switch (class[p[k]]) {
			case NO:
				continue;
			case REL32:
				end = k + 5;
				break;
			case TWO:
				if ((p[k + 1] & 0xf0) != 0x80 || k + 6 > n)
					continue;
				end = k + 6;
				break;
			default:
				if ((p[k + 1] & 0xc7) != 0x05 || k + 6 > n)
					continue;
				end = k + 6;
			}
			memcpy(&rel, p + end - 4, 4);
			if (is_watched(a, s->vaddr + end + (int64_t)rel))
				candidate(a, s->vaddr + k, s->vaddr + end + (int64_t)rel);
		}
		/* At fixed addresses an immediate may be a label's. */
		for (uint64_t k = 0; a->e->fixed && k + 4 <= n; k++) {
			uint32_t v;

			memcpy(&v, p + k, 4);
			if (v - (uint32_t)a->bits_lo < a->bits_n && is_watched(a, v))
				candidate(a, s->vaddr + k, v);
		}
	}
}

/* Short jumps from outside of the function: hand-written code may have them. */
static void scan_short(struct analyser *a, uint64_t around, const struct func *f)
{
	uint64_t left;

	for (uint64_t src = around - WINDOW - REACH; src < around + WINDOW + REACH; src++) {
		const uint8_t *p;
		uint64_t target;

		if ((src >= f->lo && src < f->hi) || !(p = vos_elf_at(a->e, src, 2, &left)) || !is_exec(a->e, src))
			continue;
		if ((p[0] & 0xf0) != 0x70 && p[0] != 0xeb && (p[0] & 0xfc) != 0xe0)
			continue;
		target = src + 2 + (int64_t)(int8_t)p[1];
		if (is_watched(a, target) && target >= around - WINDOW - REACH && target < around + WINDOW + REACH)
			candidate(a, src, target);
	}
}

/* ---- padding ---- */

static bool only_padding(struct analyser *a, uint64_t lo, uint64_t hi)
{
	const uint8_t *p = vos_elf_at(a->e, lo, hi - lo, NULL);
	struct vos_insn x;

	for (uint64_t at = lo; p && at < hi; at += x.len) {
		vos_disasm_one(a->d, p + (at - lo), hi - at, at, 0, &x);
		if (x.kind != VOS_I_NOP && x.kind != VOS_I_INT3)
			return false;
	}
	return p;
}

static void add_pad(struct analyser *a, struct site *s, uint64_t lo, uint64_t hi)
{
	void *p;

	if (hi - lo < 5 || hi - lo > 256)
		return;
	p = realloc(s->pads, (s->npads + 1) * sizeof *s->pads);
	if (!p) {
		a->oom = true;
		return;
	}
	s->pads = p;
	s->pads[s->npads++] = (struct vos_range){lo, hi};
	watch(a, lo, hi);
}

/* Padding within reach of a short jump at the site: between functions, and behind jumps inside the site's own. */
static void find_pads(struct analyser *a, struct site *s, const struct func *f)
{
	uint64_t lo = s->vaddr - 126, hi = s->vaddr + 129 + 5, glo, ghi;
	struct vos_fde fde;

	for (uint64_t x = f->hi; x < hi;) {
		if (vos_elf_gap(a->e, x, &glo, &ghi)) {
			if (ghi - glo <= 256 && only_padding(a, glo, ghi))
				add_pad(a, s, glo, ghi);
			x = ghi;
		} else if (vos_elf_fde(a->e, x, &fde)) {
			x = fde.hi;
		} else {
			break;
		}
	}
	for (uint64_t x = f->lo - 1; x >= lo && x < f->lo;) {
		if (vos_elf_gap(a->e, x, &glo, &ghi)) {
			if (ghi - glo <= 256 && only_padding(a, glo, ghi))
				add_pad(a, s, glo, ghi);
			x = glo - 1;
		} else if (vos_elf_fde(a->e, x, &fde)) {
			x = fde.lo - 1;
		} else {
			break;
		}
	}
	for (size_t i = 1; i < f->n; i++) {
		size_t j = i;
		unsigned k = f->insn[i - 1].kind;

		if (k != VOS_I_JMP && k != VOS_I_RET && k != VOS_I_JMP_IND && k != VOS_I_STOP)
			continue;
		while (j < f->n && (f->insn[j].kind == VOS_I_NOP || f->insn[j].kind == VOS_I_INT3))
			j++;
		if (j > i && f->lo + f->insn[j - 1].off >= lo && f->lo + f->insn[i].off < hi)
			add_pad(a, s, f->lo + f->insn[i].off, f->lo + f->insn[j - 1].off + f->insn[j - 1].len);
	}
}

/* ---- planning ---- */

struct round {
	struct vos_plan *plan;
	struct vos_range *claim;
	size_t nclaims;
};

static void claim(struct round *r, uint64_t lo, uint64_t hi)
{
	size_t at = r->nclaims;

	while (at && r->claim[at - 1].lo > lo)
		at--;
	memmove(&r->claim[at + 1], &r->claim[at], (r->nclaims - at) * sizeof *r->claim);
	r->claim[at] = (struct vos_range){lo, hi};
	r->nclaims++;
}

static int by_lo(const void *x, const void *y)
{
	const struct vos_range *a = x, *b = y;

	return a->lo < b->lo ? -1 : a->lo > b->lo;
}

/* Drops padding that somebody jumps into; sorts the rest. */
static size_t usable_pads(const struct analyser *a, struct site *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->npads; i++) {
		bool hit = false;

		for (uint64_t x = s->pads[i].lo; x < s->pads[i].hi && !hit; x++)
			hit = vos_plan_has(a->targets.v, a->targets.n, x);
		if (!hit)
			s->pads[n++] = s->pads[i];
	}
	s->npads = n;
	if (n)
		qsort(s->pads, n, sizeof *s->pads, by_lo);
	return n;
}

static void plan_one(struct analyser *a, struct round *r, size_t i, bool last)
{
	struct site *s = &a->site[i];
	struct func *f = vos_func_find(a, s->func);
	struct vos_plan *p = &r->plan[i];
	struct vos_plan_in in;
	size_t lo, hi;

	if (s->leave) {
		vos_plan_refuse(s->vaddr, VOS_WHY_NONE, p);
		p->site.kind = VOS_PLAN_LEAVE;
		p->site.nr = 15;
		return;
	}
	if (s->why != VOS_WHY_NONE || !f) {
		vos_plan_refuse(s->vaddr, s->why ? s->why : VOS_WHY_UNSURE, p);
		return;
	}
	lo = s->index > VOS_PLAN_NEAR ? s->index - VOS_PLAN_NEAR : 0;
	hi = f->n - s->index > VOS_PLAN_NEAR ? s->index + VOS_PLAN_NEAR : f->n;
	for (size_t k = lo; k < hi; k++)
		vos_disasm_detail(a->d, f->bytes + f->insn[k].off, f->lo + f->insn[k].off, &f->insn[k]);
	in = (struct vos_plan_in){
		.bytes = f->bytes, .addr = f->lo, .insn = f->insn, .ninsn = f->n,
		.targets = a->targets.v, .ntargets = a->targets.n, .unknown_targets = f->unknown,
		.claims = r->claim, .nclaims = r->nclaims, .no_post = !last,
	};
	if (last) {
		in.npads = usable_pads(a, s);
		in.pads = s->pads;
	}
	vos_plan_site(&in, s->index, p);
	if (p->site.kind == VOS_PLAN_PAD)
		memcpy(p->site.pad_orig, vos_elf_at(a->e, p->site.pad, 5, NULL), 5);
	if (p->site.patch_len)
		claim(r, p->site.patch, p->site.patch + p->site.patch_len);
	if (p->site.kind == VOS_PLAN_PAD)
		claim(r, p->site.pad, p->site.pad + 5);
}

static void plan_all(struct analyser *a, struct round *r)
{
	r->nclaims = 0;
	for (size_t i = 0; i < a->nsites; i++)
		plan_one(a, r, i, false);
	for (size_t i = 0; i < a->nsites; i++)
		if (r->plan[i].site.kind == VOS_PLAN_REFUSED && a->site[i].why == VOS_WHY_NONE)
			plan_one(a, r, i, true);
}

static void merge_fresh(struct analyser *a)
{
	for (size_t i = 0; i < a->fresh.n; i++)
		vos_list_push(a, &a->targets, a->fresh.v[i]);
	a->fresh.n = 0;
	vos_list_sort(&a->targets);
}

static bool need_pads(struct analyser *a, const struct round *r)
{
	bool some = false;

	for (size_t i = 0; i < a->nsites; i++) {
		struct site *s = &a->site[i];
		struct func *f = vos_func_find(a, s->func);

		if (s->wants_pads || s->why != VOS_WHY_NONE || !f || r->plan[i].site.kind == VOS_PLAN_LEAVE ||
		    (r->plan[i].site.kind != VOS_PLAN_REFUSED && r->plan[i].site.kind != VOS_PLAN_POST))
			continue;
		s->wants_pads = true;
		if (f->bounded) {
			find_pads(a, s, f);
			some = some || s->npads;
		}
	}
	return some;
}

static void search_targets(struct analyser *a)
{
	vos_elf_code_pointers(a->e, watched_target, a);
	merge_fresh(a);
	scan_near(a);
	for (size_t i = 0; i < a->nsites; i++) {
		struct func *f = vos_func_find(a, a->site[i].func);

		if (f)
			scan_short(a, a->site[i].vaddr, f);
	}
	merge_fresh(a);
}

static void release(struct analyser *a)
{
	for (size_t i = 0; i < a->nfuncs; i++) {
		free(a->func[i]->insn);
		free(a->func[i]);
	}
	for (size_t i = 0; i < a->nsites; i++)
		free(a->site[i].pads);
	free(a->func);
	free(a->site);
	free(a->hits.v);
	free(a->targets.v);
	free(a->fresh.v);
	free(a->calls.v);
	free(a->bits);
}

int vos_analyse(const struct vos_elf *e, struct vos_disasm *d, struct vos_analysis *ret)
{
	struct analyser a = {.e = e, .d = d};
	struct round r = {0};
	uint64_t hi = 0;

	memset(ret, 0, sizeof *ret);
	ret->elf = e;
	vos_sites_find(&a);
	a.bits_lo = ~0ull;
	for (unsigned i = 0; i < e->nseg; i++) {
		if (!e->seg[i].exec)
			continue;
		if (e->seg[i].vaddr < a.bits_lo)
			a.bits_lo = e->seg[i].vaddr & ~7ull;
		if (e->seg[i].vaddr + e->seg[i].filesz > hi)
			hi = e->seg[i].vaddr + e->seg[i].filesz;
	}
	a.bits_n = hi > a.bits_lo ? hi - a.bits_lo : 0;
	a.bits = calloc(1, a.bits_n / 8 + 1);
	r.plan = calloc(a.nsites + 1, sizeof *r.plan);
	r.claim = calloc(a.nsites * 2 + 1, sizeof *r.claim);
	if (!a.bits || !r.plan || !r.claim || a.nsites > VOS_PLAN_MAX_SITES)
		a.oom = true;
	if (!a.oom && a.nsites) {
		for (size_t i = 0; i < a.nfuncs; i++)
			collect_targets(&a, a.func[i]);
		for (size_t i = 0; i < a.nsites; i++)
			watch(&a, a.site[i].vaddr - WINDOW, a.site[i].vaddr + 2 + WINDOW);
		/* Once with what the functions themselves show, to see who will need padding: looking around is dear. */
		merge_fresh(&a);
		plan_all(&a, &r);
		need_pads(&a, &r);
		search_targets(&a);
		plan_all(&a, &r);
		if (need_pads(&a, &r)) {
			search_targets(&a);
			plan_all(&a, &r);
		}
	}
	ret->plan = r.plan;
	ret->nplans = a.nsites;
	ret->not_sites = a.not_sites;
	ret->decoded = a.decoded;
	free(r.claim);
	release(&a);
	if (!a.oom)
		return 0;
	vos_analysis_finish(ret);
	return -ENOMEM;
}

void vos_analysis_finish(struct vos_analysis *a)
{
	free(a->plan);
	a->plan = NULL;
	a->nplans = 0;
}
