/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The unwind tables of a small object made by hand, and of damaged ones. */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "interpose/rewrite/analyse.h"

/*
 * One file, one executable segment at address 0: headers, code at 0x400 (three functions and a gap), .eh_frame_hdr at 0x600,
 * .eh_frame at 0x700, an exception table at 0x900.
 */
struct image {
	_Alignas(8) uint8_t b[0x1000];
	size_t hdr, frame, end;
};

static void put32(struct image *m, size_t at, uint32_t v)
{
	memcpy(m->b + at, &v, 4);
}

static size_t put_fde(struct image *m, size_t at, size_t cie, uint32_t lo, uint32_t len, uint32_t lsda)
{
	put32(m, at, 17);
	put32(m, at + 4, (uint32_t)(at + 4 - cie));
	put32(m, at + 8, lo - (uint32_t)(at + 8));
	put32(m, at + 12, len);
	m->b[at + 16] = 4;
	put32(m, at + 17, lsda ? lsda - (uint32_t)(at + 17) : 0);
	return at + 21;
}

static struct image *make(void)
{
	static const uint8_t cie[] = {0, 0, 0, 0, 1, 'z', 'L', 'R', 0, 1, 0x78, 16, 2, 0x1b, 0x1b};
	static const uint8_t pads[] = {0xff, 0xff, 0x01, 4, 0, 4, 0x12, 0};
	static const uint32_t func[3][2] = {{0x400, 0x20}, {0x420, 0x10}, {0x440, 0x20}};
	struct image *m = calloc(1, sizeof *m);
	Elf64_Ehdr eh = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1}, .e_type = ET_DYN,
			 .e_machine = EM_X86_64, .e_version = 1, .e_phoff = 64, .e_ehsize = 64, .e_phentsize = 56,
			 .e_phnum = 2};
	Elf64_Phdr ph[2] = {
		{.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = 0x1000, .p_memsz = 0x1000, .p_align = 0x1000},
		{.p_type = PT_GNU_EH_FRAME, .p_offset = 0x600, .p_vaddr = 0x600, .p_filesz = 12 + 24},
	};
	size_t at = 0x700;

	memcpy(m->b, &eh, sizeof eh);
	memcpy(m->b + 64, ph, sizeof ph);
	put32(m, at, sizeof cie);
	memcpy(m->b + at + 4, cie, sizeof cie);
	at += 4 + sizeof cie;
	m->hdr = 0x600;
	memcpy(m->b + 0x600, "\x01\x1b\x03\x3b", 4);
	put32(m, 0x604, 0x700 - 0x604);
	put32(m, 0x608, 3);
	for (unsigned i = 0; i < 3; i++) {
		put32(m, 0x60c + i * 8, func[i][0] - 0x600);
		put32(m, 0x610 + i * 8, (uint32_t)at - 0x600);
		at = put_fde(m, at, 0x700, func[i][0], func[i][1], i == 1 ? 0x900 : 0);
	}
	m->end = at;
	memcpy(m->b + 0x900, pads, sizeof pads);
	memset(m->b + 0x400, 0x90, 0x80);
	memcpy(m->b + 0x400, "\xb8\x27\0\0\0\x0f\x05\xc3", 8);
	memcpy(m->b + 0x440, "\xb8\x27\0\0\0\x0f\x05\xc3", 8);
	return m;
}

static void note_pad(void *ctx, uint64_t addr)
{
	*(uint64_t *)ctx = addr;
}

Test(elf, functions)
{
	struct image *m = make();
	struct vos_elf e;
	struct vos_fde f;
	uint64_t lo, hi, pad = 0;

	cr_assert_eq(vos_elf_open(&e, m->b, sizeof m->b), 0);
	cr_assert(e.table);
	cr_assert_eq(e.ntable, 3);
	for (uint64_t a = 0x400; a < 0x430; a++) {
		cr_assert(vos_elf_fde(&e, a, &f), "%lx", (long)a);
		cr_assert_eq(f.lo, a < 0x420 ? 0x400 : 0x420);
		cr_assert_not(vos_elf_gap(&e, a, &lo, &hi));
	}
	for (uint64_t a = 0x430; a < 0x440; a++) {
		cr_assert_not(vos_elf_fde(&e, a, &f));
		cr_assert(vos_elf_gap(&e, a, &lo, &hi));
		cr_assert(lo == 0x430 && hi == 0x440);
	}
	cr_assert_not(vos_elf_fde(&e, 0x460, &f));
	cr_assert_not(vos_elf_fde(&e, 0x3ff, &f));
	cr_assert_not(vos_elf_fde(&e, ~0ull, &f));
	cr_assert(vos_elf_gap(&e, 0, &lo, &hi) && lo == 0 && hi == 0x400);
	cr_assert(vos_elf_gap(&e, 0xfff, &lo, &hi) && lo == 0x460 && hi == 0x1000);
	cr_assert_not(vos_elf_gap(&e, 0x1000, &lo, &hi));
	cr_assert(vos_elf_fde(&e, 0x420, &f) && f.lsda == 0x900);
	cr_assert(vos_elf_landing_pads(&e, &f, note_pad, &pad));
	cr_assert_eq(pad, 0x420 + 0x12);
	vos_elf_close(&e);
	free(m);
}

/* Without the search table the same functions are found, if sections say where .eh_frame is. */
Test(elf, no_search_table)
{
	struct image *m = make();
	struct vos_elf e;
	struct vos_fde f;
	Elf64_Shdr sh[3] = {{0}};
	Elf64_Ehdr *eh = (void *)m->b;

	m->b[0x603] = 0xff;
	sh[1] = (Elf64_Shdr){.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC, .sh_addr = 0x700, .sh_offset = 0x700,
			     .sh_size = m->end - 0x700};
	sh[2] = (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = 0xb00, .sh_size = 32};
	memcpy(m->b + 0xb01, ".eh_frame", 10);
	memcpy(m->b + 0xa00, sh, sizeof sh);
	eh->e_shoff = 0xa00;
	eh->e_shentsize = sizeof *sh;
	eh->e_shnum = 3;
	eh->e_shstrndx = 2;
	cr_assert_eq(vos_elf_open(&e, m->b, sizeof m->b), 0);
	cr_assert_null(e.table);
	cr_assert_eq(e.nfde, 3);
	cr_assert(vos_elf_fde(&e, 0x425, &f) && f.lo == 0x420 && f.hi == 0x430);
	vos_elf_close(&e);
	free(m);
}

static void analyse(const uint8_t *b, size_t n, struct vos_disasm *d)
{
	struct vos_analysis a;
	struct vos_elf e;

	if (vos_elf_open(&e, b, n))
		return;
	cr_assert_eq(vos_analyse(&e, d, &a), 0);
	vos_analysis_finish(&a);
	vos_elf_close(&e);
}

Test(elf, sites)
{
	struct vos_disasm *d = vos_disasm_new();
	struct image *m = make();
	struct vos_analysis a;
	struct vos_elf e;

	cr_assert_eq(vos_elf_open(&e, m->b, sizeof m->b), 0);
	cr_assert_eq(vos_analyse(&e, d, &a), 0);
	cr_assert_eq(a.nplans, 2);
	cr_assert(a.plan[0].site.kind == VOS_PLAN_MOV && a.plan[1].site.vaddr == 0x445);
	vos_analysis_finish(&a);
	vos_elf_close(&e);
	free(m);
	vos_disasm_free(d);
}

/* Nothing of this may crash or hang; run it under ASan to be sure that nothing is read that should not be. */
Test(elf, damaged, .timeout = 50)
{
	static const uint8_t values[] = {0, 1, 4, 0x0c, 0x1b, 0x3b, 0x7f, 0x80, 0xff};
	struct vos_disasm *d = vos_disasm_new();
	struct image *m = make();

	for (size_t i = 0; i < 0x910; i++) {
		if (i == 180)
			i = 0x5fc;
		for (unsigned v = 0; v < sizeof values; v++) {
			uint8_t old = m->b[i];

			m->b[i] = values[v];
			analyse(m->b, sizeof m->b, d);
			m->b[i] = old;
		}
	}
	free(m);
	vos_disasm_free(d);
}

Test(elf, truncated, .timeout = 50)
{
	struct vos_disasm *d = vos_disasm_new();
	struct image *m = make();

	for (size_t n = 0; n < sizeof m->b; n += 7) {
		uint8_t *copy = malloc(n + !n);

		memcpy(copy, m->b, n);
		analyse(copy, n, d);
		free(copy);
	}
	free(m);
	vos_disasm_free(d);
}

/* A real object with one byte wrong, many times. */
Test(elf, damaged_loader, .timeout = 50)
{
	struct vos_disasm *d = vos_disasm_new();
	int fd = open("/lib64/ld-linux-x86-64.so.2", O_RDONLY);
	struct stat st;
	uint8_t *map;

	cr_assert(fd >= 0 && !fstat(fd, &st));
	srandom(8);
	for (int i = 0; i < 60; i++) {
		map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		cr_assert_neq(map, MAP_FAILED);
		/* Half of them in the headers. */
		for (int k = 0; k < 20; k++)
			map[random() % (i % 2 ? st.st_size : 0x400)] = random();
		analyse(map, st.st_size, d);
		munmap(map, st.st_size);
	}
	close(fd);
	vos_disasm_free(d);
}
