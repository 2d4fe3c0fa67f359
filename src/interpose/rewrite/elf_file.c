/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF: segments, symbols, relocations, notes.  The unwind tables are in eh_frame.c.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eh_frame.h"
#include "elf_file.h"

static const uint8_t *file_at(const struct vos_elf *e, uint64_t off, uint64_t len)
{
	if (off > e->size || len > e->size - off)
		return NULL;
	return e->map + off;
}

const struct vos_seg *vos_elf_seg(const struct vos_elf *e, uint64_t vaddr)
{
	for (unsigned i = 0; i < e->nseg; i++)
		if (vaddr >= e->seg[i].vaddr && vaddr - e->seg[i].vaddr < e->seg[i].memsz)
			return &e->seg[i];
	return NULL;
}

const uint8_t *vos_elf_at(const struct vos_elf *e, uint64_t vaddr, uint64_t len, uint64_t *ret_left)
{
	const struct vos_seg *s = vos_elf_seg(e, vaddr);
	uint64_t in;

	if (!s)
		return NULL;
	in = vaddr - s->vaddr;
	if (in > s->filesz || len > s->filesz - in)
		return NULL;
	if (ret_left)
		*ret_left = s->filesz - in;
	return e->map + s->off + in;
}

static bool add_seg(struct vos_elf *e, const Elf64_Phdr *ph)
{
	struct vos_seg *s = &e->seg[e->nseg];

	if (e->nseg == VOS_PLAN_MAX_SEGS || !file_at(e, ph->p_offset, ph->p_filesz) || ph->p_memsz < ph->p_filesz ||
	    ph->p_vaddr + ph->p_memsz < ph->p_vaddr)
		return false;
	*s = (struct vos_seg){ph->p_vaddr, ph->p_offset, ph->p_filesz, ph->p_memsz, ph->p_flags & PF_X, ph->p_flags & PF_W};
	if (!e->nseg || s->vaddr < e->lo)
		e->lo = s->vaddr;
	if (s->vaddr + s->memsz > e->hi)
		e->hi = s->vaddr + s->memsz;
	e->nseg++;
	return true;
}

static void read_dynamic(struct vos_elf *e, const Elf64_Phdr *ph)
{
	const uint8_t *p = file_at(e, ph->p_offset, ph->p_filesz);

	for (uint64_t i = 0; p && i + sizeof(Elf64_Dyn) <= ph->p_filesz; i += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;

		memcpy(&d, p + i, sizeof d);
		switch (d.d_tag) {
		case DT_NULL:
			return;
		case DT_RELA:
			e->rela = d.d_un.d_ptr;
			break;
		case DT_RELASZ:
			e->rela_size = d.d_un.d_val;
			break;
		case 36: /* DT_RELR */
			e->relr = d.d_un.d_ptr;
			break;
		case 35: /* DT_RELRSZ */
			e->relr_size = d.d_un.d_val;
			break;
		}
	}
}

static void read_sections(struct vos_elf *e, const Elf64_Ehdr *eh, uint64_t *ret_frame, uint64_t *ret_frame_size)
{
	const uint8_t *sh = file_at(e, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(Elf64_Shdr));
	unsigned nsym = 0;

	if (!sh || eh->e_shentsize != sizeof(Elf64_Shdr))
		return;
	e->sections = sh;
	e->nsections = eh->e_shnum;
	for (unsigned i = 0; i < eh->e_shnum; i++) {
		Elf64_Shdr s, str;
		const uint8_t *names;

		memcpy(&s, sh + i * sizeof s, sizeof s);
		if ((s.sh_type == SHT_SYMTAB || s.sh_type == SHT_DYNSYM) && nsym < 2 && s.sh_entsize == sizeof(Elf64_Sym)) {
			e->symtab[nsym].sym = file_at(e, s.sh_offset, s.sh_size);
			e->symtab[nsym].n = e->symtab[nsym].sym ? s.sh_size / sizeof(Elf64_Sym) : 0;
			nsym++;
		}
		if (eh->e_shstrndx >= eh->e_shnum || !(s.sh_flags & SHF_ALLOC))
			continue;
		memcpy(&str, sh + eh->e_shstrndx * sizeof str, sizeof str);
		if (s.sh_name > str.sh_size || str.sh_size - s.sh_name < sizeof ".eh_frame")
			continue;
		names = file_at(e, str.sh_offset, str.sh_size);
		if (names && !memcmp(names + s.sh_name, ".eh_frame", sizeof ".eh_frame")) {
			*ret_frame = s.sh_addr;
			*ret_frame_size = s.sh_size;
		}
	}
}

int vos_elf_open(struct vos_elf *e, const void *map, size_t size)
{
	uint64_t note_off, note_len, hdr = 0, hdr_size = 0, frame = 0, frame_size = 0;
	const uint8_t *notes;
	Elf64_Ehdr eh;

	memset(e, 0, sizeof *e);
	e->map = map;
	e->size = size;
	if (vos_plan_elf_id(map, size, &e->id, &note_off, &note_len))
		return -ENOEXEC;
	e->id.size = size;
	notes = file_at(e, note_off, note_len);
	if (!e->id.build_id_len && notes)
		vos_plan_note_id(notes, note_len, &e->id);
	memcpy(&eh, map, sizeof eh);
	if (eh.e_type != ET_DYN && eh.e_type != ET_EXEC)
		return -ENOEXEC;
	e->fixed = eh.e_type == ET_EXEC;
	e->entry = eh.e_entry;
	if (!file_at(e, eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr)))
		return -ENOEXEC;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, (const char *)map + eh.e_phoff + i * sizeof ph, sizeof ph);
		if (ph.p_type == PT_LOAD && ph.p_memsz && !add_seg(e, &ph))
			return -ENOEXEC;
		if (ph.p_type == PT_GNU_EH_FRAME) {
			hdr = ph.p_vaddr;
			hdr_size = ph.p_filesz;
		}
		if (ph.p_type == PT_DYNAMIC)
			read_dynamic(e, &ph);
	}
	if (!e->nseg || e->hi - e->lo > 1u << 30)
		return -ENOEXEC;
	read_sections(e, &eh, &frame, &frame_size);
	return vos_eh_open(e, hdr, hdr_size, frame, frame_size);
}

void vos_elf_memory(struct vos_elf *e, const void *code, size_t size, uint64_t base)
{
	memset(e, 0, sizeof *e);
	e->map = code;
	e->size = size;
	e->id.size = size;
	e->seg[0] = (struct vos_seg){.vaddr = base, .filesz = size, .memsz = size, .exec = true};
	e->nseg = 1;
	e->lo = base;
	e->hi = base + size;
}

void vos_elf_close(struct vos_elf *e)
{
	free(e->fde);
	e->fde = NULL;
}

bool vos_elf_is_data(const struct vos_elf *e, uint64_t addr)
{
	for (unsigned i = 0; i < e->nsections; i++) {
		Elf64_Shdr s;

		memcpy(&s, e->sections + i * sizeof s, sizeof s);
		if (s.sh_flags & SHF_ALLOC && addr >= s.sh_addr && addr - s.sh_addr < s.sh_size)
			return !(s.sh_flags & SHF_EXECINSTR);
	}
	return false;
}

static void report_word(const struct vos_elf *e, uint64_t at, void (*fn)(void *, uint64_t), void *ctx)
{
	const uint8_t *w = vos_elf_at(e, at, 8, NULL);
	uint64_t v;

	if (!w)
		return;
	memcpy(&v, w, 8);
	fn(ctx, v);
}

/* DT_RELR: an address, then bitmaps of the 63 words behind it (generic ABI). */
static void relr_pointers(const struct vos_elf *e, void (*fn)(void *, uint64_t), void *ctx)
{
	const uint8_t *p = vos_elf_at(e, e->relr, e->relr_size, NULL);
	uint64_t where = 0, v;

	for (uint64_t i = 0; p && i + 8 <= e->relr_size; i += 8) {
		memcpy(&v, p + i, 8);
		if (!(v & 1)) {
			report_word(e, v, fn, ctx);
			where = v + 8;
			continue;
		}
		for (unsigned bit = 0; bit < 63; bit++)
			if (v >> (bit + 1) & 1)
				report_word(e, where + bit * 8, fn, ctx);
		where += 63 * 8;
	}
}

void vos_elf_code_pointers(const struct vos_elf *e, void (*fn)(void *ctx, uint64_t addr), void *ctx)
{
	const uint8_t *p = vos_elf_at(e, e->rela, e->rela_size, NULL);

	for (int t = 0; t < 2; t++)
		for (size_t i = 0; i < e->symtab[t].n; i++) {
			Elf64_Sym s;

			memcpy(&s, e->symtab[t].sym + i * sizeof s, sizeof s);
			if (s.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(s.st_info) != STT_TLS)
				fn(ctx, s.st_value);
		}
	for (uint64_t i = 0; p && i + sizeof(Elf64_Rela) <= e->rela_size; i += sizeof(Elf64_Rela)) {
		Elf64_Rela r;

		memcpy(&r, p + i, sizeof r);
		fn(ctx, r.r_addend);
	}
	if (e->relr_size)
		relr_pointers(e, fn, ctx);
	/* At a fixed address the pointers of jump tables need no relocation: any aligned word may be one. */
	for (unsigned s = 0; e->fixed && s < e->nseg; s++) {
		const struct vos_seg *g = &e->seg[s];
		uint64_t v;

		if (g->exec)
			continue;
		for (uint64_t i = -g->vaddr & 7; i + 8 <= g->filesz; i += 8) {
			memcpy(&v, e->map + g->off + i, 8);
			if (v - e->lo < e->hi - e->lo)
				fn(ctx, v);
		}
	}
}

bool vos_elf_symbol(const struct vos_elf *e, uint64_t addr, uint64_t *ret_lo, uint64_t *ret_hi)
{
	const struct vos_seg *g = vos_elf_seg(e, addr);
	uint64_t lo = 0, hi = g ? g->vaddr + g->filesz : 0;

	for (int t = 0; g && t < 2; t++)
		for (size_t i = 0; i < e->symtab[t].n; i++) {
			Elf64_Sym s;

			memcpy(&s, e->symtab[t].sym + i * sizeof s, sizeof s);
			if (s.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(s.st_info) == STT_TLS || s.st_value < g->vaddr)
				continue;
			if (s.st_value <= addr && s.st_value >= lo &&
			    (ELF64_ST_TYPE(s.st_info) == STT_FUNC || ELF64_ST_TYPE(s.st_info) == STT_NOTYPE))
				lo = s.st_value;
			if (s.st_value > addr && s.st_value < hi)
				hi = s.st_value;
		}
	if (!lo)
		return false;
	*ret_lo = lo;
	*ret_hi = hi;
	return true;
}
