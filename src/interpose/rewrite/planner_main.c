/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtuos-planner: plans how the syscall instructions of objects are replaced, and fills the plan cache.
 *
 * Started by hand, by the launcher, and by the runtime inside a program that has no plan yet; the last gives it nothing
 * but file descriptors and an environment of a few words, and waits for it with a deadline.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plan_out.h"

struct options {
	const char *out, *cache_dir;
	bool print, memory, stats, no_cache;
	int fd, out_fd;
	uint64_t base;
};

static const char usage[] =
	"usage: virtuos-planner [OPTION]... OBJECT...\n"
	"       virtuos-planner --memory --base=ADDR [--fd=N] [OPTION]...\n"
	"Finds the syscall instructions of programs and libraries and plans their replacement.\n"
	"  --cache-dir=DIR  keep plans there (default: $VIRTUOS_CACHE, or the user's cache directory)\n"
	"  --no-cache       keep no plans\n"
	"  --out=FILE       write the plan of one object there\n"
	"  --out-fd=N       write all plans to this descriptor, each at a multiple of 4096 bytes\n"
	"  --print          list the plans\n"
	"  --stats          one line an object: sites by kind, time\n"
	"  --memory         plan raw code, read from standard input or from --fd\n"
	"  --base=ADDR      the address of the raw code\n";

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int deliver(const struct options *o, const struct vos_plan_id *id, const void *plan, size_t size)
{
	static const char zeros[VOS_PLAN_ALIGN];
	char name[VOS_PLAN_NAME_MAX];
	int r = 0, fd;

	if (o->out_fd >= 0) {
		r = vos_plan_write(o->out_fd, plan, size);
		if (!r && size % VOS_PLAN_ALIGN)
			r = vos_plan_write(o->out_fd, zeros, VOS_PLAN_ALIGN - size % VOS_PLAN_ALIGN);
	}
	if (!r && o->out) {
		fd = open(o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		r = vos_plan_write(fd, plan, size);
		if (close(fd) && !r)
			r = -errno;
	}
	if (!r && o->cache_dir) {
		vos_plan_name(id, name);
		r = vos_plan_store(o->cache_dir, name, plan, size);
	}
	return r;
}

static void print_stats(const char *name, const struct vos_analysis *a, double ms)
{
	unsigned count[VOS_PLAN_KINDS] = {0};

	for (size_t i = 0; i < a->nplans; i++)
		count[a->plan[i].site.kind]++;
	printf("%s: %zu sites", name, a->nplans);
	for (int k = 0; k < VOS_PLAN_KINDS; k++)
		printf(", %s %u", vos_plan_kind_name(k), count[k]);
	printf("; %u other byte pairs; %u instructions decoded; %.1f ms\n", a->not_sites, a->decoded, ms);
}

static int plan(const struct options *o, const char *name, const struct vos_elf *e, struct vos_disasm *d, double start)
{
	struct vos_analysis a;
	void *file;
	size_t size;
	int r = vos_analyse(e, d, &a);

	if (r)
		return r;
	if (o->print)
		vos_plan_print(stdout, &a, d);
	r = vos_plan_build(&a, &e->id, &file, &size);
	if (!r) {
		r = deliver(o, &e->id, file, size);
		free(file);
	}
	if (o->stats)
		print_stats(name, &a, now_ms() - start);
	vos_analysis_finish(&a);
	return r;
}

static int plan_object(const struct options *o, const char *path, struct vos_disasm *d)
{
	double start = now_ms();
	struct vos_elf e;
	struct stat st;
	void *map;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0) {
		close(fd);
		return -ENOEXEC;
	}
	/* A copy-on-write view: someone may truncate or rewrite the file, which can cost us a signal but nothing worse. */
	map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return -errno;
	r = vos_elf_open(&e, map, st.st_size);
	if (!r) {
		e.id.key = vos_plan_key(st.st_dev, st.st_ino, st.st_size,
					st.st_mtim.tv_sec * 1000000000ull + st.st_mtim.tv_nsec);
		r = plan(o, path, &e, d, start);
		vos_elf_close(&e);
	}
	munmap(map, st.st_size);
	return r;
}

static int plan_memory(const struct options *o, struct vos_disasm *d)
{
	double start = now_ms();
	size_t size = 0, cap = 1 << 16;
	char *code = malloc(cap);
	struct vos_elf e;
	int r = code ? 0 : -ENOMEM;

	while (!r) {
		ssize_t n = read(o->fd, code + size, cap - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		size += n;
		if (size > 1u << 30)
			r = -EFBIG;
		if (size == cap) {
			void *p = realloc(code, cap *= 2);

			if (p)
				code = p;
			else
				r = -ENOMEM;
		}
	}
	if (!r) {
		vos_elf_memory(&e, code, size, o->base);
		r = plan(o, "memory", &e, d, start);
	}
	free(code);
	return r;
}

static bool number(const char *s, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(s, &end, 0);
	return !errno && *s && *s != '-' && !*end;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "virtuos-planner: %s: %s\n", what, why);
	return 2;
}

static int read_options(int argc, char **argv, struct options *o)
{
	enum { OUT = 1, CACHE, NO_CACHE, OUT_FD, PRINT, STATS, MEMORY, BASE, FD, HELP };
	static const struct option opts[] = {
		{"out", 1, NULL, OUT}, {"cache-dir", 1, NULL, CACHE}, {"no-cache", 0, NULL, NO_CACHE},
		{"out-fd", 1, NULL, OUT_FD}, {"print", 0, NULL, PRINT}, {"stats", 0, NULL, STATS},
		{"memory", 0, NULL, MEMORY}, {"base", 1, NULL, BASE}, {"fd", 1, NULL, FD}, {"help", 0, NULL, HELP}, {0},
	};
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case OUT:
			o->out = optarg;
			break;
		case CACHE:
			o->cache_dir = optarg;
			break;
		case NO_CACHE:
			o->no_cache = true;
			break;
		case PRINT:
			o->print = true;
			break;
		case STATS:
			o->stats = true;
			break;
		case MEMORY:
			o->memory = true;
			break;
		case BASE:
			if (!number(optarg, &o->base))
				return fail(optarg, "not an address");
			break;
		case OUT_FD:
		case FD:
			if (!number(optarg, &v) || v > 1 << 30)
				return fail(optarg, "not a file descriptor");
			*(c == FD ? &o->fd : &o->out_fd) = v;
			break;
		case HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (o->memory ? optind != argc : optind == argc) {
		fputs(usage, stderr);
		return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {.fd = 0, .out_fd = -1};
	static char dir[4096];
	struct vos_disasm *d;
	sigset_t none;
	int r, bad = 0;

	/* The runtime starts us with all signals blocked. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	r = read_options(argc, argv, &o);
	if (r)
		return r;
	if (o.no_cache || o.memory) {
		o.cache_dir = NULL;
	} else if (o.cache_dir) {
		r = vos_plan_check_dir(o.cache_dir);
		if (r)
			return fail(o.cache_dir, r == -EPERM ? "must be yours and not writable by others" : strerror(-r));
	} else if (!o.out && !o.print && !o.stats) {
		r = vos_plan_cache_dir(dir, sizeof dir);
		if (!r)
			o.cache_dir = dir;
		else if (o.out_fd < 0)
			return fail("no cache directory", strerror(-r));
	}
	d = vos_disasm_new();
	if (!d)
		return fail("capstone", "cannot be initialised");
	if (o.memory) {
		r = plan_memory(&o, d);
		if (r)
			bad = fail("memory", strerror(-r));
	}
	for (int i = optind; i < argc; i++) {
		r = plan_object(&o, argv[i], d);
		if (r)
			bad = fail(argv[i], r == -ENOEXEC ? "not an x86-64 ELF program or library" : strerror(-r));
	}
	vos_disasm_free(d);
	return bad ? 1 : 0;
}
