/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads map, patch, run and unmap code side by side, while signals look up places in stubs that come and go.
 *
 * usage: concurrent PLANNER CACHE-DIR LIBRARY   (its f_mov is called)
 */
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "interpose/rewrite/apply.h"

void test_entry(void);
extern volatile unsigned long test_calls, test_resume;

#define THREADS 4
#define ROUNDS  200

static int lib;
static uint64_t code_off, code_len, f_mov_off;
static _Atomic unsigned bad, looked, found, finished;
static _Atomic uint64_t some_stub;

/* Where the code lies in the file, and f_mov in it. */
static void read_library(const char *path)
{
	static const uint8_t f_mov[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
	struct stat st;
	uint8_t *map, *at;
	Elf64_Ehdr eh;

	lib = open(path, O_RDONLY);
	if (lib < 0 || fstat(lib, &st))
		exit(2);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, lib, 0);
	memcpy(&eh, map, sizeof eh);
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, map + eh.e_phoff + i * sizeof ph, sizeof ph);
		if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
			continue;
		code_off = ph.p_offset & ~4095ull;
		code_len = (ph.p_offset - code_off + ph.p_filesz + 4095) & ~4095ull;
		at = memmem(map + ph.p_offset, ph.p_filesz, f_mov, sizeof f_mov);
		f_mov_off = at ? (uint64_t)(at - map) - code_off : 0;
	}
	munmap(map, (size_t)st.st_size);
}

static void look(int sig)
{
	struct vos_rewrite_place at;

	(void)sig;
	looked++;
	found += vos_rewrite_site_of(some_stub, &at);
}

static void *work(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint8_t *p = mmap(NULL, code_len, PROT_READ, MAP_PRIVATE, lib, (off_t)code_off);
		int32_t rel;

		if (p == MAP_FAILED || vos_rewrite_mapped(p, code_len, lib, code_off) ||
		    mprotect(p, code_len, PROT_READ | PROT_EXEC)) {
			bad++;
			continue;
		}
		memcpy(&rel, p + f_mov_off + 1, 4);
		some_stub = (uint64_t)p + f_mov_off + 5 + (uint64_t)(int64_t)rel;
		if (((long (*)(long))(void *)(p + f_mov_off))(1) != getpid())
			bad++;
		raise(SIGUSR1);
		vos_rewrite_unmapped(p, code_len);
		munmap(p, code_len);
	}
	finished++;
	return NULL;
}

int main(int argc, char **argv)
{
	struct vos_rewrite_cfg cfg = {.entry = (void *)test_entry, .own = (void *)main, .planner = argv[1]};
	struct itimerval often = {{0, 1000}, {0, 1000}};
	char env[512], *envp[] = {env, NULL};
	struct vos_rewrite_place at;
	pthread_t t[THREADS];

	if (argc != 4)
		return 2;
	snprintf(env, sizeof env, "VIRTUOS_CACHE=%s", argv[2]);
	cfg.envp = envp;
	read_library(argv[3]);
	if (vos_rewrite_init(&cfg) || vos_rewrite_sites_left())
		return 1;
	signal(SIGUSR1, look);
	signal(SIGPROF, look);
	setitimer(ITIMER_PROF, &often, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, work, NULL))
			return 1;
	while (finished < THREADS)
		found += vos_rewrite_site_of(some_stub, &at);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	printf("%u lookups by signals, %u hits, %u bad, %u left\n", looked, found, bad, vos_rewrite_sites_left());
	return bad || !found || vos_rewrite_sites_left() ? 1 : 0;
}
