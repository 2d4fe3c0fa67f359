/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plans are applied to this very process: to libc, to the loader, and to functions.S.  Everything is done by a stand-in for
 * vos_entry that makes the calls itself.
 *
 * usage: apply PLANNER CACHE-DIR
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adverse.h"

void test_entry(void);
extern volatile unsigned long test_calls, test_resume;

typedef long fn(long);
fn f_mov, f_pre, f_rip, f_rip_imm, f_jcc, f_pad, f_post, f_post_jump, f_post_ret, f_two, f_loop, f_end, f_xor, f_straddle;
void f_all_resume(void);

struct regs {
	unsigned long rbx, rbp, r12, r13, r14, r15, rsi, rdx, r8, r9, r10, rdi, rcx, r11, red8, red128, rsp, flags;
};
long f_all(struct regs *r);

static int failures;

#define CHECK(what, ...) do { if (!(what)) { failures++; printf("FAIL %s:%d: %s: ", __FILE__, __LINE__, #what); \
	printf(" " __VA_ARGS__); putchar('\n'); } } while (0)

static const struct {
	const char *name;
	fn *f;
	unsigned calls;
	bool pid;
} cases[] = {
	{"mov", f_mov, 1, true}, {"pre", f_pre, 1, true}, {"rip", f_rip, 1, true}, {"rip_imm", f_rip_imm, 1, true},
	{"jcc", f_jcc, 1, true}, {"pad", f_pad, 1, true}, {"post", f_post, 1, true}, {"post_jump", f_post_jump, 1, true},
	{"post_ret", f_post_ret, 1, true}, {"two", f_two, 2, true}, {"loop", f_loop, 3, true}, {"end", f_end, 0, false},
	{"xor", f_xor, 1, false}, {"straddle", f_straddle, 1, true},
};

static void run_cases(bool patched)
{
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		unsigned long before = test_calls, pid;
		long r = cases[i].f(1);
		unsigned long calls = test_calls - before;

		pid = syscall(SYS_getpid);
		if (cases[i].pid)
			CHECK((unsigned long)r == pid, "%s gave %ld", cases[i].name, r);
		CHECK(calls == (patched ? cases[i].calls : 0), "%s made %lu calls", cases[i].name, calls);
	}
	CHECK(f_xor(1) == -EBADF);
	CHECK(f_jcc(-1) == -1);
}

static void run_registers(bool patched)
{
	struct regs r, want;
	unsigned long *v = (unsigned long *)&r;

	for (unsigned i = 0; i < sizeof r / sizeof *v; i++)
		v[i] = 0x1111111111111111ul * (i + 1);
	r.flags = 0xcd7; /* carry, parity, adjust, zero, sign, direction, overflow */
	want = r;
	want.rcx = (unsigned long)f_all_resume;
	want.red8 = 0x1234567;
	want.red128 = 0x7654321;
	want.rsp = 0;
	f_all(&r);
	/* r11 holds the flags, as the kernel leaves them there. */
	CHECK((r.r11 & 0xcd7) == 0xcd7 || patched, "r11 %lx", r.r11);
	want.r11 = r.r11;
	CHECK((r.flags & 0xcd5) == 0xcd5, "flags %lx", r.flags);
	want.flags = r.flags;
	CHECK(!memcmp(&r, &want, sizeof r));
	for (unsigned i = 0; i < sizeof r / sizeof *v; i++)
		if (v[i] != ((unsigned long *)&want)[i])
			printf("     register %u: %lx, not %lx\n", i, v[i], ((unsigned long *)&want)[i]);
}

static void *thread(void *arg)
{
	return (void *)((long)arg + (getppid() > 0));
}

static void on_signal(int sig)
{
	(void)sig;
}

/* libc after it was patched. */
static void run_libc(void)
{
	unsigned long before = test_calls;
	char buf[64] = "";
	int fds[2], status = -1;
	pthread_t t;
	void *ret;
	pid_t pid;
	FILE *f;

	CHECK(!pipe(fds) && write(fds[1], "hello", 5) == 5 && read(fds[0], buf, sizeof buf) == 5 && !strcmp(buf, "hello"));
	pid = fork();
	if (!pid)
		_exit(41);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 41);
	pid = vfork();
	if (!pid)
		_exit(42);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 42);
	CHECK(!pthread_create(&t, NULL, thread, (void *)41) && !pthread_join(t, &ret) && ret == (void *)42);
	CHECK(system("exit 43") == 43 << 8);
	f = fopen("/proc/self/status", "r");
	CHECK(f && fgets(buf, sizeof buf, f) && !strncmp(buf, "Name:", 5));
	if (f)
		fclose(f);
	signal(SIGUSR1, on_signal);
	CHECK(!raise(SIGUSR1));
	CHECK(open("/nonexistent", O_RDONLY) == -1 && errno == ENOENT);
	CHECK(test_calls - before > 20, "%lu calls", test_calls - before);
}

static unsigned pairs_left(const char *name)
{
	struct vos_rewrite_stats s;
	unsigned left = 0;

	for (unsigned i = 0; vos_rewrite_stats(i, &s); i++)
		if (s.lo != s.hi && strstr(s.name, name))
			left += s.fallback;
	return left;
}

static void show_stats(void)
{
	struct vos_rewrite_stats s;

	for (unsigned i = 0; vos_rewrite_stats(i, &s); i++) {
		if (s.lo == s.hi)
			continue;
		printf("%s:", s.name);
		for (unsigned k = 0; k < VOS_PLAN_KINDS; k++)
			printf(" %u", s.kind[k]);
		printf(", fallback %u\n", s.fallback);
	}
}

/* Code that appears later, as a JIT makes it. */
static void run_anon(void)
{
	static const unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
	unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long before;
	unsigned left = vos_rewrite_sites_left();
	int n;

	for (int i = 0; i < 12; i++)
		memcpy(p + i * 48, code, sizeof code);
	n = vos_rewrite_anon(p, 4096);
	CHECK(n == 0, "%d left", n);
	CHECK(!mprotect(p, 4096, PROT_READ | PROT_EXEC));
	before = test_calls;
	CHECK(((long (*)(void))(void *)p)() == getpid());
	CHECK(test_calls == before + 2, "%lu calls", test_calls - before);
	/* The same again, as a JIT does when it has added something. */
	CHECK(!mprotect(p, 4096, PROT_READ | PROT_WRITE));
	memcpy(p + 2048, code, sizeof code);
	n = vos_rewrite_protect(p, 4096, PROT_READ | PROT_EXEC);
	CHECK(n == 0, "%d left", n);
	CHECK(!mprotect(p, 4096, PROT_READ | PROT_EXEC));
	before = test_calls;
	CHECK(((long (*)(void))(void *)(p + 2048))() == getpid());
	CHECK(((long (*)(void))(void *)(p + 48))() == getpid());
	CHECK(test_calls == before + 4, "%lu calls", test_calls - before);
	/* Code that must stay writable is not patched: the fallback is needed. */
	CHECK(vos_rewrite_protect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 1);
	CHECK(vos_rewrite_sites_left() == left + 1);
	vos_rewrite_unmapped(p, 4096);
	munmap(p, 4096);
	CHECK(vos_rewrite_sites_left() == left);
}

/* The object that a function is in: its file, and its code's offset and length there. */
static int own_code(const void *fn_in_it, uint64_t *ret_off, size_t *ret_len)
{
	char line[512], path[256];
	FILE *f = fopen("/proc/self/maps", "r");
	int fd = -1;

	while (f && fd < 0 && fgets(line, sizeof line, f)) {
		unsigned long lo, hi, off;

		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %255s", &lo, &hi, &off, path) != 4)
			continue;
		if (lo > (unsigned long)fn_in_it || (unsigned long)fn_in_it >= hi)
			continue;
		*ret_off = off;
		*ret_len = hi - lo;
		fd = open(path, O_RDONLY);
	}
	if (f)
		fclose(f);
	return fd;
}

/* As dlopen does it: the file is mapped once more, patched before it can run, and goes away again. */
static void run_mapped(void)
{
	size_t len = 0;
	uint64_t off = 0;
	int fd = own_code((void *)f_mov, &off, &len), n;
	unsigned long in = ((unsigned long)f_mov & 4095), before;
	unsigned char *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, (off_t)off), was[8];

	CHECK(fd >= 0 && p != MAP_FAILED);
	n = vos_rewrite_mapped(p, len, fd, off);
	CHECK(n == 0, "%d left", n);
	CHECK(!mprotect(p, len, PROT_READ | PROT_EXEC));
	CHECK(p[in] == 0xe9);
	before = test_calls;
	CHECK(((long (*)(void))(void *)(p + in))() == getpid() && test_calls == before + 2);
	CHECK(vos_rewrite_protect(p, len, PROT_READ | PROT_EXEC) == 0);
	/* The file afresh over it: what was known about the old mapping is forgotten. */
	vos_rewrite_unmapped(p, len);
	CHECK(mmap(p, len, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, (off_t)off) == p && p[in] == 0xb8);
	CHECK(vos_rewrite_mapped(p, len, fd, off) == 0 && p[in] == 0xe9);
	vos_rewrite_unmapped(p, len);
	munmap(p, len);

	/* mprotect fails half-way: a page that cannot be made writable lies in the range. */
	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, (off_t)off);
	CHECK(p != MAP_FAILED && len > 8192);
	CHECK(mmap(p + 4096, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)off + 4096) == p + 4096);
	memcpy(was, p + in, sizeof was);
	n = vos_rewrite_mapped(p, len, fd, off);
	CHECK(n > 0, "%d", n);
	CHECK(!memcmp(was, p + in, sizeof was));
	CHECK(mprotect(p, len, PROT_READ | PROT_EXEC) == 0 && ((long (*)(void))(void *)(p + in))() == getpid());
	vos_rewrite_unmapped(p, len);
	munmap(p, len);
	CHECK(vos_rewrite_sites_left() == 0, "%u", vos_rewrite_sites_left());
	close(fd);
}

/* A library that was replaced while it is in use.  Only root can still look at it. */
static void run_deleted(void)
{
	char copy[] = "/tmp/vos-deleted-XXXXXX", cmd[512];
	Dl_info info;
	int fd = mkstemp(copy), n;
	uint64_t off = 0;
	size_t len = 0;
	void *p;

	CHECK(fd >= 0 && dladdr((void *)f_mov, &info));
	snprintf(cmd, sizeof cmd, "cp %s %s", info.dli_fname, copy);
	CHECK(!system(cmd) && !unlink(copy));
	close(own_code((void *)f_mov, &off, &len));
	/* cp has written into the file that fd holds. */
	p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, (off_t)off);
	CHECK(p != MAP_FAILED);
	n = vos_rewrite_mapped(p, len, -1, 0);
	CHECK(geteuid() ? n >= 0 : n == 0, "%d left", n);
	vos_rewrite_unmapped(p, len);
	munmap(p, len);
	close(fd);
}

static void run_places(void)
{
	struct vos_rewrite_place at;
	const unsigned char *p = (const unsigned char *)f_rip;
	int rel;
	unsigned long stub;

	CHECK(p[0] == 0xe9);
	memcpy(&rel, p + 1, 4);
	stub = (unsigned long)p + 5 + rel;
	CHECK(vos_rewrite_site_of(stub, &at) && at.where == VOS_REWRITE_BEFORE && at.rip == (unsigned long)p &&
	      at.site == (unsigned long)p + 6 && at.resume == at.site + 2 && !at.rcx_lost);
	CHECK(vos_rewrite_site_of(stub + 6, &at) && at.rip == at.site && !at.rcx_lost);
	CHECK(vos_rewrite_site_of(stub + 13, &at) && at.rip == at.site && at.rcx_lost);
	CHECK(!vos_rewrite_site_of((unsigned long)p, &at));
	CHECK(!vos_rewrite_site_of((unsigned long)&stub, &at));
	f_post(1);
	CHECK(vos_rewrite_site_of(test_resume, &at) && at.where == VOS_REWRITE_AFTER && at.rip == (unsigned long)f_post + 9 &&
	      at.site == (unsigned long)f_post + 7, "%lx %lx", at.rip, at.site);
}

int main(int argc, char **argv)
{
	struct vos_rewrite_cfg cfg = {.entry = (void *)test_entry, .own = (void *)main};
	char *env[] = {NULL, NULL};
	unsigned long before;
	int r;

	if (argc != 3)
		return 2;
	cfg.planner = argv[1];
	if (asprintf(&env[0], "VIRTUOS_CACHE=%s", argv[2]) < 0)
		return 2;
	cfg.envp = env;
	run_cases(false);
	run_registers(false);
	failures += run_adverse(&cfg);
	r = vos_rewrite_init(&cfg);
	CHECK(r == 0, "%d", r);
	CHECK(vos_rewrite_sites_left() == 0, "%u", vos_rewrite_sites_left());
	show_stats();
	run_cases(true);
	run_registers(true);
	run_libc();
	run_anon();
	run_mapped();
	run_deleted();
	run_places();
	CHECK(pairs_left("libc.so") == 0);
	/* dlopen maps code of its own accord here, where nobody hooks mmap; what matters is that it still works. */
	before = test_calls;
	CHECK(dlopen("libm.so.6", RTLD_NOW));
	CHECK(test_calls > before);
	printf("%lu calls by way of stubs, %d failures\n", test_calls, failures);
	return failures ? 1 : 0;
}
