/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * .eh_frame_hdr, .eh_frame and .gcc_except_table (LSB core specification, DWARF exception header encodings).  A cursor
 * that runs over its end becomes bad and yields zeroes, so that callers check once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eh_frame.h"

#define DW_EH_PE_omit 0xff

struct cursor {
	const struct vos_elf *e;
	const uint8_t *p, *end;
	uint64_t vaddr; /* of p */
	bool bad;
};

static void skip(struct cursor *c, uint64_t n)
{
	if (c->bad || n > (uint64_t)(c->end - c->p)) {
		c->bad = true;
		return;
	}
	c->p += n;
	c->vaddr += n;
}

static uint64_t get(struct cursor *c, unsigned n)
{
	uint64_t v = 0;

	if (c->bad || n > (uint64_t)(c->end - c->p)) {
		c->bad = true;
		return 0;
	}
	memcpy(&v, c->p, n);
	skip(c, n);
	return v;
}

static uint64_t get_uleb(struct cursor *c)
{
	uint64_t v = 0, b;
	unsigned shift = 0;

	do {
		b = get(c, 1);
		if (shift < 64)
			v |= (b & 0x7f) << shift;
		shift += 7;
	} while (b & 0x80 && !c->bad);
	return v;
}

/* A pointer in one of the encodings linkers use; anything else makes the cursor bad. */
static uint64_t get_encoded(struct cursor *c, uint8_t enc, uint64_t datarel)
{
	uint64_t at = c->vaddr, v;

	switch (enc & 0x0f) {
	case 0x00: case 0x04: case 0x0c:
		v = get(c, 8);
		break;
	case 0x01:
		v = get_uleb(c);
		break;
	case 0x02:
		v = get(c, 2);
		break;
	case 0x03:
		v = get(c, 4);
		break;
	case 0x0a:
		v = (uint64_t)(int64_t)(int16_t)get(c, 2);
		break;
	case 0x0b:
		v = (uint64_t)(int64_t)(int32_t)get(c, 4);
		break;
	default:
		c->bad = true;
		return 0;
	}
	if (!v && (enc & 0x0f) != 0x01)
		return 0;
	switch (enc & 0x70) {
	case 0x00:
		break;
	case 0x10:
		v += at;
		break;
	case 0x30:
		v += datarel;
		break;
	default:
		c->bad = true;
	}
	if (enc & 0x80)
		c->bad = true; /* indirect: the word it points to is not relocated yet */
	return c->bad ? 0 : v;
}

static bool cursor_at(const struct vos_elf *e, uint64_t vaddr, struct cursor *ret)
{
	uint64_t left;
	const uint8_t *p = vos_elf_at(e, vaddr, 1, &left);

	*ret = (struct cursor){e, p, p ? p + left : p, vaddr, !p};
	return p;
}

/* Limits the cursor to the entry it stands at; false at a terminator or at nonsense. */
static bool enter_entry(struct cursor *c)
{
	uint64_t len = get(c, 4);

	if (len == 0xffffffff)
		len = get(c, 8);
	if (c->bad || !len || len > (uint64_t)(c->end - c->p))
		return false;
	c->end = c->p + len;
	return true;
}

struct cie {
	uint8_t fde_enc, lsda_enc;
	bool sized;  /* 'z': augmentation data have a length */
	bool signal; /* 'S' */
};

static bool read_cie(const struct vos_elf *e, uint64_t vaddr, struct cie *ret)
{
	struct cursor c;
	char aug[8] = {0};
	uint8_t version;
	unsigned n = 0;

	*ret = (struct cie){.lsda_enc = DW_EH_PE_omit};
	if (!cursor_at(e, vaddr, &c) || !enter_entry(&c) || get(&c, 4) != 0)
		return false;
	version = get(&c, 1);
	if (version != 1 && version != 3)
		return false;
	do {
		if (n == sizeof aug)
			return false;
		aug[n] = get(&c, 1);
	} while (aug[n++] && !c.bad);
	get_uleb(&c);
	get_uleb(&c); /* a signed one, but as long */
	if (version == 1)
		get(&c, 1);
	else
		get_uleb(&c);
	if (!aug[0])
		return !c.bad;
	if (aug[0] != 'z')
		return false;
	ret->sized = true;
	get_uleb(&c);
	for (n = 1; aug[n]; n++) {
		switch (aug[n]) {
		case 'R':
			ret->fde_enc = get(&c, 1);
			break;
		case 'L':
			ret->lsda_enc = get(&c, 1);
			break;
		case 'P': {
			uint8_t enc = get(&c, 1);

			get_encoded(&c, enc & 0x0f, 0);
			break;
		}
		case 'S':
			ret->signal = true;
			break;
		case 'B':
			break;
		default:
			return false;
		}
	}
	return !c.bad;
}

/* The FDE at an address.  False when it is none, or covers nothing. */
static bool read_fde(const struct vos_elf *e, uint64_t vaddr, struct vos_fde *ret)
{
	struct cursor c;
	struct cie cie;
	uint64_t at, back, len;

	if (!cursor_at(e, vaddr, &c) || !enter_entry(&c))
		return false;
	at = c.vaddr;
	back = get(&c, 4);
	if (c.bad || !back || !read_cie(e, at - back, &cie))
		return false;
	ret->lo = get_encoded(&c, cie.fde_enc, 0);
	len = get_encoded(&c, cie.fde_enc & 0x0f, 0);
	if (c.bad || !len || ret->lo + len < ret->lo || !vos_elf_at(e, ret->lo, len, NULL))
		return false;
	ret->hi = ret->lo + len;
	ret->lsda = 0;
	ret->lsda_bad = false;
	ret->signal = cie.signal;
	if (cie.lsda_enc != DW_EH_PE_omit) {
		if (cie.sized)
			get_uleb(&c);
		ret->lsda = get_encoded(&c, cie.lsda_enc, 0);
		ret->lsda_bad = c.bad;
	}
	return true;
}

static int by_start(const void *a, const void *b)
{
	const struct vos_fde *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* Without a search table (static programs of old linkers): reads all FDEs. */
static int read_all(struct vos_elf *e, uint64_t frame, uint64_t size)
{
	size_t cap = 0;
	uint64_t pos = 0;

	if (!vos_elf_at(e, frame, size, NULL))
		return 0;
	while (pos < size) {
		struct cursor c;
		struct vos_fde f;

		if (!cursor_at(e, frame + pos, &c) || !enter_entry(&c))
			break;
		if (get(&c, 4) && read_fde(e, frame + pos, &f)) {
			if (e->nfde == cap) {
				void *p = realloc(e->fde, (cap = cap ? cap * 2 : 256) * sizeof f);

				if (!p)
					return -ENOMEM;
				e->fde = p;
			}
			e->fde[e->nfde++] = f;
		}
		pos = c.vaddr - frame + (c.end - c.p);
	}
	if (e->nfde)
		qsort(e->fde, e->nfde, sizeof *e->fde, by_start);
	return 0;
}

int vos_eh_open(struct vos_elf *e, uint64_t hdr, uint64_t hdr_size, uint64_t frame, uint64_t frame_size)
{
	struct cursor c;
	uint8_t version, frame_enc, count_enc, table_enc;
	uint64_t n;

	if (!hdr || !vos_elf_at(e, hdr, hdr_size, NULL) || !cursor_at(e, hdr, &c))
		return read_all(e, frame, frame_size);
	c.end = c.p + hdr_size;
	version = get(&c, 1);
	frame_enc = get(&c, 1);
	count_enc = get(&c, 1);
	table_enc = get(&c, 1);
	get_encoded(&c, frame_enc, hdr);
	n = get_encoded(&c, count_enc, hdr);
	if (c.bad || version != 1 || table_enc != 0x3b || n > (uint64_t)(c.end - c.p) / 8)
		return read_all(e, frame, frame_size);
	e->table = c.p;
	e->ntable = n;
	e->hdr = hdr;
	return 0;
}

static void entry_at(const struct vos_elf *e, size_t i, uint64_t *ret_lo, uint64_t *ret_fde)
{
	int32_t v[2];

	memcpy(v, e->table + i * 8, 8);
	*ret_lo = e->hdr + (int64_t)v[0];
	*ret_fde = e->hdr + (int64_t)v[1];
}

/* How many functions begin at or before addr. */
static size_t count_upto(const struct vos_elf *e, uint64_t addr)
{
	size_t lo = 0, hi = e->table ? e->ntable : e->nfde;
	uint64_t start, fde;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (e->table)
			entry_at(e, mid, &start, &fde);
		else
			start = e->fde[mid].lo;
		if (start <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool nth_fde(const struct vos_elf *e, size_t i, struct vos_fde *ret)
{
	uint64_t lo, fde;

	if (!e->table) {
		*ret = e->fde[i];
		return true;
	}
	entry_at(e, i, &lo, &fde);
	/* The table and the entry must say the same, or neither is believed. */
	return read_fde(e, fde, ret) && ret->lo == lo;
}

bool vos_elf_fde(const struct vos_elf *e, uint64_t addr, struct vos_fde *ret)
{
	size_t n = count_upto(e, addr);
	struct vos_fde f;

	if (!n || !nth_fde(e, n - 1, &f) || addr >= f.hi)
		return false;
	*ret = f;
	return true;
}

bool vos_elf_gap(const struct vos_elf *e, uint64_t addr, uint64_t *ret_lo, uint64_t *ret_hi)
{
	const struct vos_seg *s = vos_elf_seg(e, addr);
	size_t n = count_upto(e, addr), all = e->table ? e->ntable : e->nfde;
	uint64_t lo, hi, start, fde;
	struct vos_fde f;

	if (!s)
		return false;
	lo = s->vaddr;
	hi = s->vaddr + s->filesz;
	if (n) {
		if (!nth_fde(e, n - 1, &f) || addr < f.hi)
			return false;
		if (f.hi > lo)
			lo = f.hi;
	}
	if (n < all) {
		if (e->table)
			entry_at(e, n, &start, &fde);
		else
			start = e->fde[n].lo;
		if (start < hi)
			hi = start;
	}
	if (addr < lo || addr >= hi)
		return false;
	*ret_lo = lo;
	*ret_hi = hi;
	return true;
}

bool vos_elf_landing_pads(const struct vos_elf *e, const struct vos_fde *f, void (*fn)(void *ctx, uint64_t addr),
			  void *ctx)
{
	struct cursor c;
	uint64_t start = f->lo, len;
	uint8_t enc;

	if (f->lsda_bad)
		return false;
	if (!f->lsda)
		return true;
	if (!cursor_at(e, f->lsda, &c))
		return false;
	enc = get(&c, 1);
	if (enc != DW_EH_PE_omit)
		start = get_encoded(&c, enc, 0);
	enc = get(&c, 1);
	if (enc != DW_EH_PE_omit)
		get_uleb(&c);
	enc = get(&c, 1);
	len = get_uleb(&c);
	if (c.bad || len > (uint64_t)(c.end - c.p))
		return false;
	c.end = c.p + len;
	while (c.p < c.end && !c.bad) {
		uint64_t pad;

		get_encoded(&c, enc, 0);
		get_encoded(&c, enc, 0);
		pad = get_encoded(&c, enc, 0);
		get_uleb(&c);
		if (!c.bad && pad)
			fn(ctx, start + pad);
	}
	return !c.bad;
}
