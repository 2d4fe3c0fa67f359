/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtuos-enter: brings the runtime into a program that the dynamic loader cannot bring it into: a statically linked one, and one
 * of a domain, whose own libraries may lie there too.  exec (calls/exec.c) runs it in the program's place, with the program's
 * arguments and environment and VIRTUOS_ENTER (virtuos/env.h).  It maps program and dynamic loader as the
 * kernel would, corrects what the kernel wrote on the stack about them, brings the runtime up, and jumps.
 */
#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <virtuos/env.h>
#include "../rt/rt.h"
#include "bringup.h"
#include "exe.h"

#define PAGE      4096UL
#define DOWN(x)   ((x) & ~(PAGE - 1))
#define UP(x)     DOWN((x) + PAGE - 1)
#define PHDRS_MAX 64

uint64_t vos_loader_main(uint64_t *stack);

/* The program on the way in. */
struct image {
	int fd;
	const char *path;            /* as it was executed */
	char *exe;                   /* where it lies; NULL: the kernel knows */
	Elf64_Ehdr e;
	Elf64_Phdr ph[PHDRS_MAX];
	uint64_t bias;
};

_Noreturn static void give_up(const struct image *m, const char *why, long err)
{
	vos_say("%s: %s (error %ld)", m->path ? m->path : "virtuos-enter", why, -err);
	for (;;)
		vos_raw1(SYS_exit_group, 126);
}

/* A position-independent program has to move itself first; no pointer in data is valid before. */
static void relocate_self(void)
{
	extern const Elf64_Dyn _DYNAMIC[] __attribute__((visibility("hidden")));
	extern const char __ehdr_start[] __attribute__((visibility("hidden")));
	uint64_t base = (uint64_t)(uintptr_t)__ehdr_start, rela = 0, size = 0;

	for (const Elf64_Dyn *d = _DYNAMIC; d->d_tag != DT_NULL; d++) {
		if (d->d_tag == DT_RELA)
			rela = base + d->d_un.d_ptr;
		else if (d->d_tag == DT_RELASZ)
			size = d->d_un.d_val;
	}
	for (const Elf64_Rela *r = (void *)rela; (uint64_t)(uintptr_t)r < rela + size; r++)
		if (ELF64_R_TYPE(r->r_info) == R_X86_64_RELATIVE)
			*(uint64_t *)(base + r->r_offset) = base + (uint64_t)r->r_addend;
}

static int protection(const Elf64_Phdr *p)
{
	return (p->p_flags & PF_R ? PROT_READ : 0) | (p->p_flags & PF_W ? PROT_WRITE : 0) | (p->p_flags & PF_X ? PROT_EXEC : 0);
}

static void read_headers(struct image *m)
{
	long n = vos_raw4(SYS_pread64, m->fd, VOS_PTR(&m->e), sizeof m->e, 0);

	if (n != (long)sizeof m->e || memcmp(m->e.e_ident, ELFMAG, SELFMAG) != 0 || m->e.e_phnum > PHDRS_MAX ||
	    m->e.e_phentsize != sizeof m->ph[0])
		give_up(m, "not a program that can be entered", -ENOEXEC);
	n = vos_raw4(SYS_pread64, m->fd, VOS_PTR(m->ph), m->e.e_phnum * sizeof m->ph[0], (long)m->e.e_phoff);
	if (n != (long)(m->e.e_phnum * sizeof m->ph[0]))
		give_up(m, "its program headers cannot be read", n < 0 ? n : -ENOEXEC);
}

/* Room for all segments; for a fixed program just the check that it is free. */
static void make_room(struct image *m)
{
	uint64_t lo = ~0ULL, hi = 0, align = PAGE, at;
	long r;

	for (unsigned i = 0; i < m->e.e_phnum; i++) {
		const Elf64_Phdr *p = &m->ph[i];

		if (p->p_type != PT_LOAD)
			continue;
		lo = DOWN(p->p_vaddr) < lo ? DOWN(p->p_vaddr) : lo;
		hi = UP(p->p_vaddr + p->p_memsz) > hi ? UP(p->p_vaddr + p->p_memsz) : hi;
		if (p->p_align > align && !(p->p_align & (p->p_align - 1)))
			align = p->p_align;
	}
	if (hi <= lo || align > 1UL << 30)
		give_up(m, "it has nothing to load", -ENOEXEC);
	if (m->e.e_type == ET_EXEC) {
		r = vos_raw6(SYS_mmap, (long)lo, (long)(hi - lo), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			     MAP_FIXED_NOREPLACE, -1, 0);
		if (vos_is_err(r))
			give_up(m, "its fixed address is taken", r);
		return;
	}
	r = vos_raw6(SYS_mmap, 0, (long)(hi - lo + align), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vos_is_err(r))
		give_up(m, "no room for it in memory", r);
	at = ((uint64_t)r + align - 1) & ~(align - 1);
	if (at > (uint64_t)r)
		vos_raw2(SYS_munmap, r, (long)(at - (uint64_t)r));
	if ((uint64_t)r + align > at)
		vos_raw2(SYS_munmap, (long)(at + hi - lo), (long)((uint64_t)r + align - at));
	m->bias = at - lo;
}

static void load_segment(struct image *m, const Elf64_Phdr *p)
{
	uint64_t start = m->bias + p->p_vaddr, file_end = start + p->p_filesz, end = start + p->p_memsz;
	int prot = protection(p);
	long r = 0;

	if (p->p_filesz)
		r = vos_raw6(SYS_mmap, (long)DOWN(start), (long)(UP(file_end) - DOWN(start)), prot, MAP_PRIVATE | MAP_FIXED, m->fd,
			     (long)DOWN(p->p_offset));
	if (vos_is_err(r))
		give_up(m, "a segment cannot be mapped", r);
	/* To the end of the page, as the kernel does: ld.so's first allocator takes what lies behind its data for zeroes. */
	if (end > file_end && (prot & PROT_WRITE) && p->p_filesz)
		memset((void *)file_end, 0, UP(file_end) - file_end);
	if (UP(end) > UP(file_end) || !p->p_filesz) {
		uint64_t from = p->p_filesz ? UP(file_end) : DOWN(start);

		r = vos_raw6(SYS_mmap, (long)from, (long)(UP(end) - from), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (vos_is_err(r))
			give_up(m, "no memory for its data", r);
	}
}

static void map(struct image *m)
{
	read_headers(m);
	make_room(m);
	for (unsigned i = 0; i < m->e.e_phnum; i++)
		if (m->ph[i].p_type == PT_LOAD)
			load_segment(m, &m->ph[i]);
}

/* `base`: of the dynamic loader, or 0. */
static void correct_auxv(const struct image *m, uint64_t base, Elf64_auxv_t *a)
{
	uint64_t phdr = 0;

	for (unsigned i = 0; i < m->e.e_phnum; i++)
		if (m->ph[i].p_type == PT_LOAD && m->e.e_phoff >= m->ph[i].p_offset &&
		    m->e.e_phoff < m->ph[i].p_offset + m->ph[i].p_filesz) {
			phdr = m->bias + m->ph[i].p_vaddr + m->e.e_phoff - m->ph[i].p_offset;
			break;
		}
	for (; a->a_type != AT_NULL; a++)
		switch (a->a_type) {
		case AT_PHDR: a->a_un.a_val = phdr; break;
		case AT_PHENT: a->a_un.a_val = sizeof(Elf64_Phdr); break;
		case AT_PHNUM: a->a_un.a_val = m->e.e_phnum; break;
		case AT_BASE: a->a_un.a_val = base; break;
		case AT_ENTRY: a->a_un.a_val = m->bias + m->e.e_entry; break;
		case AT_EXECFN: a->a_un.a_val = (uint64_t)(uintptr_t)m->path; break;
		}
}

/* The words of VIRTUOS_ENTER, which leaves the environment here. */
static void take_word(struct image *m, struct image *loader, char **envp)
{
	char **to = envp;

	for (; *envp; envp++) {
		const char *w = *envp;
		uint64_t part[3] = { 0 };
		unsigned n = 0;

		if (strncmp(w, VOS_ENV_ENTER "=", strlen(VOS_ENV_ENTER) + 1) != 0) {
			*to++ = *envp;
			continue;
		}
		w += strlen(VOS_ENV_ENTER);
		do
			w++;
		while (vos_number(&w, &part[n]) && part[n] <= INT32_MAX && *w == ',' && ++n < 3);
		if (*w++ != ':' || part[2] > strlen(w))
			continue;
		m->fd = (int)part[0];
		loader->fd = (int)part[1] - 1;
		m->exe = part[2] ? vos_strdup(w) : NULL;
		if (m->exe)
			m->exe[part[2]] = 0;
		loader->path = m->path = vos_strdup(w + part[2]);
	}
	*to = NULL;
}

/* Nothing may stand between the environment and the auxiliary vector: static programs walk from one to the other. */
static void close_gap(char **envp, Elf64_auxv_t *old)
{
	size_t n = 1;
	char **e = envp;

	while (old[n - 1].a_type != AT_NULL)
		n++;
	while (*e)
		e++;
	memmove(e + 1, old, n * sizeof *old);
}

/* The entry point of the program.  `stack`: as the kernel left it, argc first. */
uint64_t vos_loader_main(uint64_t *stack)
{
	static struct image m = { .fd = -1 }, loader = { .fd = -1 };
	static char exe[4096];
	struct vos_start s;
	Elf64_auxv_t *auxv;
	char **argv, **envp, **e, link[64];
	long n;
	bool wanted;

	relocate_self();
	argv = (char **)(stack + 1);
	envp = argv + stack[0] + 1;
	for (e = envp; *e; e++)
		;
	auxv = (void *)(e + 1);
	take_word(&m, &loader, envp);
	if (!m.path) {
		vos_say("virtuos-enter is run by VirtuOS itself, for programs that it cannot be loaded into: use virtuos run -- PROGRAM");
		vos_raw1(SYS_exit_group, 125);
	}
	map(&m);
	if (loader.fd >= 0) {
		map(&loader);
		vos_raw1(SYS_close, loader.fd);
	}
	vos_fmt(link, sizeof link, "/proc/self/fd/%d", m.fd);
	n = m.exe ? 0 : vos_raw3(SYS_readlink, VOS_PTR(link), VOS_PTR(exe), sizeof exe - 1);
	vos_exe_set(m.exe ? m.exe : n > 0 ? exe : m.path);
	vos_raw1(SYS_close, m.fd);
	correct_auxv(&m, loader.fd >= 0 ? loader.bias : 0, auxv);
	close_gap(envp, auxv);
	vos_raw2(SYS_prctl, PR_SET_NAME, VOS_PTR(strrchr(m.path, '/') ? strrchr(m.path, '/') + 1 : m.path));

	wanted = vos_start_find(&s, (int)stack[0], argv, envp) && vos_start_wanted(&s);
	auxv = (Elf64_auxv_t *)(uintptr_t)s.auxv;
	if (wanted)
		vos_start_all(&s);
	close_gap(envp, auxv);
	return loader.fd >= 0 ? loader.bias + loader.e.e_entry : m.bias + m.e.e_entry;
}
