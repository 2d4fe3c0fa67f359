/* Code that appears, changes and goes: generated at run time, loaded late, writable and executable, straddling pages. */
#include "check.h"
#include <dlfcn.h>

#define PAGE 4096

/* mov $nr, %eax; syscall; ret */
static int emit(unsigned char *p, int nr)
{
	static const unsigned char form[] = { 0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3 };

	memcpy(p, form, sizeof form);
	memcpy(p + 1, &nr, 4);
	return sizeof form;
}

static long run(void *code, long a, long b, long c)
{
	return ((long (*)(long, long, long))code)(a, b, c);
}

static unsigned char *area(size_t n, int prot)
{
	void *p = mmap(NULL, n, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void written_then_made_executable(void)
{
	unsigned char *p = area(PAGE, PROT_READ | PROT_WRITE);
	char b[16];
	int fd = make_file("f", "0123456789"), s[2];

	emit(p, SYS_getpid);
	emit(p + 64, SYS_read);
	emit(p + 128, SYS_write);
	OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	tcp_pair(s);
	for (int i = 0; i < 3; i++) {
		EQ(run(p, 0, 0, 0), getpid());
		EQ(run(p + 128, s[0], (long)"abc", 3), 3);
		EQ(run(p + 64, s[1], (long)b, 16), 3);
	}
	EQ(run(p + 64, fd, (long)b, 16), 10);
	CHECK(memcmp(b, "0123456789", 10) == 0);
	EQ(run(p + 64, -1, (long)b, 16), -EBADF);
	pid_t pid = fork();
	if (pid == 0) {
		EQ(run(p, 0, 0, 0), getpid());
		OK(lseek(fd, 0, SEEK_SET));
		EQ(run(p + 64, fd, (long)b, 4), 4);
		_exit(0);
	}
	wait_ok(pid);
}

static void writable_and_executable(void)
{
	/* A JIT that never changes protections: the same place, another call each time. */
	unsigned char *p = area(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	char b[16];
	int fd = make_file("f", "0123456789");

	for (int i = 0; i < 20; i++) {
		emit(p, SYS_getpid);
		EQ(run(p, 0, 0, 0), getpid());
		emit(p, SYS_getppid);
		EQ(run(p, 0, 0, 0), getppid());
		emit(p, SYS_lseek);
		EQ(run(p, fd, i % 10, SEEK_SET), i % 10);
		emit(p, SYS_read);
		EQ(run(p, fd, (long)b, 1), 1);
		EQ(b[0], '0' + i % 10);
	}
	/* Its bytes are what the program wrote. */
	unsigned char want[8];
	emit(want, SYS_read);
	CHECK(memcmp(p, want, 8) == 0);
}

static void toggled(void)
{
	unsigned char *p = area(2 * PAGE, PROT_READ | PROT_WRITE);
	char b[4];
	int fd = make_file("f", "0123456789");

	for (int i = 0; i < 15; i++) {
		OK(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
		memset(p, 0xcc, PAGE);
		emit(p + i * 8, i % 2 ? SYS_read : SYS_getpid);
		OK(mprotect(p, 2 * PAGE, PROT_READ | PROT_EXEC));
		if (i % 2) {
			OK(lseek(fd, i % 10, SEEK_SET));
			EQ(run(p + i * 8, fd, (long)b, 1), 1);
			EQ(b[0], '0' + i % 10);
		} else {
			EQ(run(p + i * 8, 0, 0, 0), getpid());
		}
	}
}

static void straddling_two_pages(void)
{
	unsigned char *p = area(2 * PAGE, PROT_READ | PROT_WRITE);
	char b[4];
	int fd = make_file("f", "0123456789");

	/* 0f on the first page, 05 on the second; then the pages made executable one after the other. */
	for (int order = 0; order < 3; order++) {
		OK(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE));
		emit(p + PAGE - 6, SYS_read);
		if (order == 0) {
			OK(mprotect(p, 2 * PAGE, PROT_READ | PROT_EXEC));
		} else {
			OK(mprotect(p + (order == 1 ? 0 : PAGE), PAGE, PROT_READ | PROT_EXEC));
			OK(mprotect(p + (order == 1 ? PAGE : 0), PAGE, PROT_READ | PROT_EXEC));
		}
		OK(lseek(fd, order, SEEK_SET));
		EQ(run(p + PAGE - 6, fd, (long)b, 2), 2);
		EQ(b[0], '0' + order);
	}
	/* At the very end of a page, with nothing behind it. */
	unsigned char *q = area(2 * PAGE, PROT_READ | PROT_WRITE);
	OK(munmap(q + PAGE, PAGE));
	emit(q + PAGE - 8, SYS_getpid);
	OK(mprotect(q, PAGE, PROT_READ | PROT_EXEC));
	EQ(run(q + PAGE - 8, 0, 0, 0), getpid());
	q = area(PAGE, PROT_READ | PROT_WRITE);
	emit(q, SYS_getpid);
	OK(mprotect(q, PAGE, PROT_READ | PROT_EXEC));
	EQ(run(q, 0, 0, 0), getpid());
}

static void address_used_again(void)
{
	unsigned char *p = area(PAGE, PROT_READ | PROT_WRITE), *q;
	char b[4];
	int fd = make_file("f", "0123456789");

	emit(p, SYS_getpid);
	OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	EQ(run(p, 0, 0, 0), getpid());
	OK(munmap(p, PAGE));
	q = mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (q == MAP_FAILED)
		q = area(PAGE, PROT_READ | PROT_WRITE);
	for (int i = 0; i < 8; i++)
		EQ(q[i], 0);
	emit(q, SYS_read);
	OK(mprotect(q, PAGE, PROT_READ | PROT_EXEC));
	EQ(run(q, fd, (long)b, 4), 4);
	/* Mapped over without an munmap; and moved. */
	CHECK(mmap(q, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == q);
	emit(q, SYS_getppid);
	EQ(run(q, 0, 0, 0), getppid());
	OK(mprotect(q, PAGE, PROT_READ | PROT_EXEC));
	EQ(run(q, 0, 0, 0), getppid());
	unsigned char *to = area(PAGE, PROT_NONE);
	CHECK(mremap(q, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	EQ(run(to, 0, 0, 0), getppid());
}

static void from_a_memfd(void)
{
	/* The same pages twice: written through one mapping, run through the other. */
	char b[4];
	int m = OK(memfd_create("jit", MFD_CLOEXEC)), fd = make_file("f", "0123456789");

	OK(ftruncate(m, PAGE));
	unsigned char *w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0), *x = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, m, 0);
	CHECK(w != MAP_FAILED && x != MAP_FAILED);
	emit(w, SYS_getpid);
	EQ(run(x, 0, 0, 0), getpid());
	emit(w, SYS_read);
	EQ(run(x, fd, (long)b, 2), 2);
	CHECK(memcmp(b, "01", 2) == 0);
	unsigned char want[8];
	emit(want, SYS_read);
	CHECK(memcmp(w, want, 8) == 0);
}

static void code_in_a_file(void)
{
	/* A file of TEST_DIR mapped executable, private and shared. */
	unsigned char page[PAGE] = { 0 };
	int fd = OK(open("code", O_RDWR | O_CREAT, 0755));

	emit(page + 16, SYS_getpid);
	EQ(write(fd, page, PAGE), PAGE);
	unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(run(p + 16, 0, 0, 0), getpid());
	/* The file keeps its bytes. */
	unsigned char back[PAGE];
	EQ(pread(fd, back, PAGE, 0), PAGE);
	CHECK(memcmp(page, back, PAGE) == 0);
}

static void library_loaded_late(void)
{
	char path[PATH_MAX + 16], b[8];
	int fd = make_file("f", "0123456789");

	if (system("command -v cc gcc > /dev/null 2>&1"))
		skip("needs a C compiler");
	make_file("late.c",
		  "long late_read(int fd, void *p, long n) { long r; asm volatile(\"syscall\" : \"=a\"(r) : \"a\"(0L), \"D\"((long)fd), \"S\"(p), \"d\"(n) : \"rcx\", \"r11\", \"memory\"); return r; }\n"
		  "long late_getpid(void) { long r; asm volatile(\"mov $39, %%eax; syscall\" : \"=a\"(r) : : \"rcx\", \"r11\"); return r; }\n"
		  "static long at_start; __attribute__((constructor)) static void start(void) { at_start = late_getpid(); }\n"
		  "long late_start(void) { return at_start; }\n");
	EQ(system("gcc -O2 -w -shared -fPIC -o late.so late.c"), 0);
	snprintf(path, sizeof path, "%s/late.so", check_dir);
	for (int i = 0; i < 3; i++) {
		void *h = dlopen(path, i ? RTLD_NOW : RTLD_LAZY);
		if (!h)
			FAIL("dlopen: %s", dlerror());
		long (*rd)(int, void *, long) = dlsym(h, "late_read");
		long (*pid)(void) = dlsym(h, "late_getpid"), (*start)(void) = dlsym(h, "late_start");
		EQ(pid(), getpid());
		EQ(start(), getpid());
		OK(lseek(fd, i, SEEK_SET));
		EQ(rd(fd, b, 2), 2);
		EQ(b[0], '0' + i);
		EQ(rd(-1, b, 2), -EBADF);
		EQ(dlclose(h), 0);
	}
}

static unsigned char *shared_code;
static volatile int stop;
static volatile long rounds;
static void *runs_it(void *arg)
{
	while (!stop) {
		long r = run(shared_code, 0, 0, 0);
		if (r != getpid() && r != getppid())
			FAIL("the code returned %ld", r);
		rounds++;
	}
	return NULL;
}

static void changed_while_another_runs_it(void)
{
	/* The number is rewritten, one aligned byte, under a thread that executes the page. */
	pthread_t t;

	shared_code = area(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	/* 3 bytes of padding, so that the number's low byte is aligned. */
	emit(shared_code, SYS_getpid);
	P0(pthread_create(&t, NULL, runs_it, NULL));
	for (int i = 0; i < 2000; i++)
		__atomic_store_n(&shared_code[1], i % 2 ? SYS_getpid : SYS_getppid, __ATOMIC_SEQ_CST);
	/* Other code of the same page made and run meanwhile. */
	for (int i = 0; i < 200; i++) {
		emit(shared_code + 512, SYS_getppid);
		EQ(run(shared_code + 512, 0, 0, 0), getppid());
		emit(shared_code + 1024 + i * 8, SYS_getpid);
		EQ(run(shared_code + 1024 + i * 8, 0, 0, 0), getpid());
	}
	while (rounds < 100)
		sched_yield();
	stop = 1;
	P0(pthread_join(t, NULL));
}

static void protections_changed_under_a_runner(void)
{
	/* Half the area runs while the other half is written and made executable again. */
	pthread_t t;
	unsigned char *p = area(4 * PAGE, PROT_READ | PROT_WRITE);

	emit(p, SYS_getpid);
	OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	shared_code = p;
	P0(pthread_create(&t, NULL, runs_it, NULL));
	for (int i = 0; i < 100; i++) {
		unsigned char *q = p + PAGE * (1 + i % 3);
		OK(mprotect(q, PAGE, PROT_READ | PROT_WRITE));
		emit(q, i % 2 ? SYS_getppid : SYS_getpid);
		OK(mprotect(q, PAGE, PROT_READ | PROT_EXEC));
		EQ(run(q, 0, 0, 0), i % 2 ? getppid() : getpid());
	}
	while (rounds < 100)
		sched_yield();
	stop = 1;
	P0(pthread_join(t, NULL));
}

static void bytes_that_only_look_like_it(void)
{
	/* 0f 05 inside an immediate: mov $0x050f, %eax; ret.  And as data on an executable page. */
	unsigned char *p = area(PAGE, PROT_READ | PROT_WRITE);
	static const unsigned char imm[] = { 0xb8, 0x0f, 0x05, 0x00, 0x00, 0xc3 };
	static const unsigned char data[] = { 0x0f, 0x05, 0x0f, 0x05, 0x90, 0x90, 0x0f, 0x05 };

	memcpy(p, imm, sizeof imm);
	memcpy(p + 64, data, sizeof data);
	OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	EQ(run(p, 0, 0, 0), 0x050f);
	CHECK(memcmp(p, imm, sizeof imm) == 0);
	CHECK(memcmp(p + 64, data, sizeof data) == 0);
	EQ(run(p, 0, 0, 0), 0x050f);
}

static void jump_into_the_middle(void)
{
	/* A loop whose target is the syscall itself: only the mov before it may not be merged with it. */
	static const unsigned char form[] = {
		0x31, 0xdb,			    /* xor ebx, ebx  (saved below) */
		0xb8, 39, 0, 0, 0,		    /* mov eax, getpid */
		0x0f, 0x05,			    /* 1: syscall */
		0xff, 0xc3,			    /* inc ebx */
		0xb8, 110, 0, 0, 0,		    /* mov eax, getppid */
		0x83, 0xfb, 3,			    /* cmp ebx, 3 */
		0x7c, 0xf2,			    /* jl 1b */
		0xb8, 39, 0, 0, 0,		    /* mov eax, getpid */
		0xeb, 0x02,			    /* jmp 2f */
		0x90, 0x90, 0x0f, 0x05,		    /* 2: syscall */
		0x5b, 0xc3,			    /* pop rbx; ret */
	};
	unsigned char *p = area(PAGE, PROT_READ | PROT_WRITE);

	p[0] = 0x53; /* push rbx */
	memcpy(p + 1, form, sizeof form);
	OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	for (int i = 0; i < 3; i++)
		EQ(run(p, 0, 0, 0), getpid());
}

/* A mapping that may be run and not read, with bytes in it that look like a call. */
static void code_that_cannot_be_read(void)
{
	static const unsigned char text[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3 }; /* mov $getpid,%eax; syscall; ret */
	int fd = OK(open("text", O_RDWR | O_CREAT, 0700));
	long (*f)(void);

	EQ(write(fd, text, sizeof text), (ssize_t)sizeof text);
	f = mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE, fd, 0);
	CHECK(f != MAP_FAILED);
	EQ(f(), getpid());
	OK(munmap(f, 4096));
	f = mmap(NULL, 4096, PROT_EXEC, MAP_SHARED, fd, 0);
	CHECK(f != MAP_FAILED);
	EQ(f(), getpid());
	OK(munmap(f, 4096));
	OK(close(fd));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(written_then_made_executable), CASE(writable_and_executable), CASE(toggled), CASE(straddling_two_pages),
	CASE(address_used_again), CASE(from_a_memfd), CASE(code_in_a_file), CASE(library_loaded_late), CASE(changed_while_another_runs_it),
	CASE(protections_changed_under_a_runner), CASE(bytes_that_only_look_like_it), CASE(jump_into_the_middle), CASE(code_that_cannot_be_read),
};
CHECK_MAIN(cases)
