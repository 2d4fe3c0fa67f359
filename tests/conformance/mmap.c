/* Mapping files: private and shared, edges, coherence with read and write, between processes, through fork. */
#include "check.h"
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define PAGE 4096

static char *map(int fd, size_t n, int prot, int flags, off_t at)
{
	void *p = mmap(NULL, n, prot, flags, fd, at);

	CHECK(p != MAP_FAILED);
	return p;
}

static sigjmp_buf trap;
static volatile int trap_signal, trap_code;
static void *volatile trap_address;
static void on_trap(int sig, siginfo_t *si, void *uc)
{
	trap_signal = sig;
	trap_code = si->si_code;
	trap_address = si->si_addr;
	siglongjmp(trap, 1);
}

/* The signal that touching p raises, or 0. */
static int touching(volatile char *p, bool store)
{
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

	OK(sigaction(SIGSEGV, &sa, NULL));
	OK(sigaction(SIGBUS, &sa, NULL));
	trap_signal = 0;
	if (sigsetjmp(trap, 1) == 0) {
		if (store)
			*p = 'T';
		else
			(void)*p;
	}
	return trap_signal;
}

static int big_file(const char *name, size_t n, uint64_t seed)
{
	char *b = malloc(n);
	int fd = OK(open(name, O_RDWR | O_CREAT, 0644));

	fill(b, n, seed, 0);
	EQ(write(fd, b, n), n);
	free(b);
	return fd;
}

static void private_reading(void)
{
	int fd = big_file("f", 5 * PAGE + 100, 1);
	char *p = map(fd, 5 * PAGE + 100, PROT_READ, MAP_PRIVATE, 0);

	/* Closing the file leaves the mapping. */
	OK(close(fd));
	expect(p, 5 * PAGE + 100, 1, 0);
	for (int i = 100; i < PAGE; i++)
		EQ(p[5 * PAGE + i], 0);
	OK(munmap(p, 5 * PAGE + 100));
	fd = OK(open("f", O_RDONLY));
	p = map(fd, PAGE, PROT_READ, MAP_PRIVATE, 2 * PAGE);
	expect(p, PAGE, 1, 2 * PAGE);
	OK(unlink("f"));
	p = map(fd, 2 * PAGE, PROT_READ, MAP_SHARED, 3 * PAGE);
	expect(p, 2 * PAGE, 1, 3 * PAGE);
}

static void private_writing(void)
{
	char b[16];
	int fd = make_file("f", "0123456789"), ro = OK(open("f", O_RDONLY));
	char *p = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0), *q = map(ro, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);

	memcpy(p, "PRIVATE", 7);
	memcpy(q, "q", 1);
	EQ(pread(fd, b, 10, 0), 10);
	CHECK(memcmp(b, "0123456789", 10) == 0);
	OK(msync(p, PAGE, MS_SYNC));
	CHECK(strcmp(slurp("f"), "0123456789") == 0);
	CHECK(memcmp(p, "PRIVATE789", 10) == 0 && memcmp(q, "q123456789", 10) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(memcmp(p, "PRIVATE789", 10) == 0);
		p[0] = 'c';
		_exit(0);
	}
	wait_ok(pid);
	EQ(p[0], 'P');
}

static void shared_writing(void)
{
	char b[16];
	int fd = big_file("f", 3 * PAGE, 2), other = OK(open("f", O_RDONLY));
	char *p = map(fd, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	expect(p, 3 * PAGE, 2, 0);
	memcpy(p + PAGE - 3, "across", 6);
	OK(msync(p, 3 * PAGE, MS_SYNC));
	EQ(pread(other, b, 6, PAGE - 3), 6);
	CHECK(memcmp(b, "across", 6) == 0);
	memcpy(p + 2 * PAGE, "unmapped", 8);
	OK(munmap(p, 3 * PAGE));
	EQ(pread(other, b, 8, 2 * PAGE), 8);
	CHECK(memcmp(b, "unmapped", 8) == 0);
	/* What was not touched stays as it was. */
	char *all = malloc(3 * PAGE);
	EQ(pread(other, all, 3 * PAGE, 0), 3 * PAGE);
	expect(all, PAGE - 3, 2, 0);
	expect(all + PAGE + 3, PAGE - 3, 2, PAGE + 3);
	ERR(msync(p + 1, PAGE, MS_SYNC), EINVAL);
	ERR(msync(p, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	p = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	p[7] = 'E';
	/* The end of the process writes back as well. */
	pid_t pid = fork();
	if (pid == 0) {
		char *q = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, PAGE);
		q[100] = 'Z';
		_exit(0);
	}
	wait_ok(pid);
	OK(msync(p, PAGE, MS_SYNC));
	EQ(pread(other, b, 1, PAGE + 100), 1);
	EQ(b[0], 'Z');
	EQ(pread(other, b, 1, 7), 1);
	EQ(b[0], 'E');
}

static void writes_reach_the_mapping(void)
{
	int fd = big_file("f", 4 * PAGE, 3);
	char *p = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	expect(p, 4 * PAGE, 3, 0);
	EQ(pwrite(fd, "by write", 8, PAGE + 10), 8);
	OK(msync(p, 4 * PAGE, MS_SYNC | MS_INVALIDATE));
	CHECK(memcmp(p + PAGE + 10, "by write", 8) == 0);
	p[PAGE + 10] = 'B';
	OK(msync(p, 4 * PAGE, MS_SYNC));
	char b[8];
	EQ(pread(fd, b, 8, PAGE + 10), 8);
	CHECK(memcmp(b, "By write", 8) == 0);
}

static void coherent_at_once(void)
{
	/* Linux has one page cache: no msync is needed either way. */
	int fd = big_file("f", PAGE, 4);
	char b[4], *p = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), *q = map(fd, PAGE, PROT_READ, MAP_SHARED, 0);

	for (int i = 0; i < 50; i++) {
		p[i] = 'm';
		EQ(q[i], 'm');
		EQ(pread(fd, b, 1, i), 1);
		EQ(b[0], 'm');
		EQ(pwrite(fd, "w", 1, i), 1);
		EQ(p[i], 'w');
		EQ(q[i], 'w');
	}
}

static void edges(void)
{
	int fd = make_file("f", "0123456789");
	char *p = map(fd, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), b[16];

	EQ(touching(p + PAGE - 1, true), 0);
	EQ(touching(p + PAGE, false), SIGBUS);
	EQ(trap_code, BUS_ADRERR);
	CHECK(trap_address == p + PAGE);
	EQ(touching(p + 2 * PAGE + 5, true), SIGBUS);
	/* Writing past the end in the last page does not lengthen the file. */
	p[12] = 'x';
	OK(msync(p, PAGE, MS_SYNC));
	EQ(lseek(fd, 0, SEEK_END), 10);
	EQ(pread(fd, b, 16, 0), 10);
	/* A file that grows gives the pages. */
	OK(ftruncate(fd, 2 * PAGE + 1));
	EQ(touching(p + PAGE, true), 0);
	EQ(touching(p + 2 * PAGE, false), 0);
	EQ(p[2 * PAGE], 0);
	OK(ftruncate(fd, 5));
	EQ(touching(p + PAGE, false), SIGBUS);
	EQ(touching(p, false), 0);
	EQ(p[4], '4');
	EQ(p[5], 0);
}

static void refusals(void)
{
	int fd = make_file("f", "0123456789"), ro = OK(open("f", O_RDONLY)), wo = OK(open("f", O_WRONLY)), d = OK(open(".", O_RDONLY));

	ERR((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
	ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, wo, 0), EACCES);
	ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0), EACCES);
	ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL);
	ERR((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0), EINVAL);
	ERR((long)mmap(NULL, PAGE, PROT_READ, 0, fd, 0), EINVAL);
	ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
	ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, d, 0), ENODEV);
	int s[2];
	udp_pair(s);
	ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, s[0], 0), ENODEV);
	char *p = map(ro, PAGE, PROT_READ, MAP_SHARED, 0);
	ERR(mprotect(p, PAGE, PROT_READ | PROT_WRITE), EACCES);
	EQ(touching(p, true), SIGSEGV);
	EQ(trap_code, SEGV_ACCERR);
}

static void parts(void)
{
	int fd = big_file("f", 6 * PAGE, 6);
	char *p = map(fd, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	/* Unmap the middle, protect a piece. */
	p[2 * PAGE] = 'U';
	OK(munmap(p + 2 * PAGE, 2 * PAGE));
	EQ(touching(p + 2 * PAGE, false), SIGSEGV);
	EQ(trap_code, SEGV_MAPERR);
	expect(p, 2 * PAGE, 6, 0);
	expect(p + 4 * PAGE, 2 * PAGE, 6, 4 * PAGE);
	char b[1];
	EQ(pread(fd, b, 1, 2 * PAGE), 1);
	EQ(b[0], 'U');
	OK(mprotect(p + PAGE, PAGE, PROT_READ));
	EQ(touching(p + PAGE, true), SIGSEGV);
	EQ(touching(p, true), 0);
	OK(mprotect(p + PAGE, PAGE, PROT_NONE));
	EQ(touching(p + PAGE, false), SIGSEGV);
	OK(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE));
	EQ(touching(p + PAGE, true), 0);
	/* Anonymous memory over a piece of the mapping, and the file again over that. */
	CHECK(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
	EQ(p[PAGE], 0);
	EQ(p[0], 'T');
	CHECK(mmap(p + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 5 * PAGE) == p + PAGE);
	expect(p + PAGE, PAGE, 6, 5 * PAGE);
	OK(munmap(p, 6 * PAGE));
}

static void moved_and_grown(void)
{
	int fd = big_file("f", 8 * PAGE, 7);
	char *p = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), *q;

	q = mremap(p, 2 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	expect(q, 6 * PAGE, 7, 0);
	q[5 * PAGE] = 'M';
	q = mremap(q, 6 * PAGE, PAGE, 0);
	CHECK(q != MAP_FAILED);
	expect(q, PAGE, 7, 0);
	char b[1], *area = map(-1, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	EQ(pread(fd, b, 1, 5 * PAGE), 1);
	EQ(b[0], 'M');
	q[0] = 'X';
	CHECK(mremap(q, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + PAGE) == area + PAGE);
	EQ(area[PAGE], 'X');
	expect(area + PAGE + 1, PAGE - 1, 7, 1);
	EQ(touching(q, false), SIGSEGV);
}

static void as_buffers(void)
{
	/* The mapping as the buffer of calls: not yet touched pages must come in. */
	int fd = big_file("f", 8 * PAGE, 8), out = OK(open("out", O_RDWR | O_CREAT, 0644)), p[2], s[2];
	char *m = map(fd, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), *v = map(fd, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0), b[2 * PAGE];

	EQ(write(out, v + 10, 3 * PAGE), 3 * PAGE);
	EQ(pread(out, b, 2 * PAGE, 0), 2 * PAGE);
	expect(b, 2 * PAGE, 8, 10);
	OK(pipe(p));
	EQ(write(p[1], v + 4 * PAGE, PAGE), PAGE);
	EQ(read(p[0], m + 6 * PAGE, PAGE), PAGE);
	expect(m + 6 * PAGE, PAGE, 8, 4 * PAGE);
	tcp_pair(s);
	EQ(write(s[0], v + 5 * PAGE, PAGE), PAGE);
	EQ(recv(s[1], m, PAGE, MSG_WAITALL), PAGE);
	expect(m, PAGE, 8, 5 * PAGE);
	OK(msync(m, 8 * PAGE, MS_SYNC));
	EQ(pread(fd, b, PAGE, 0), PAGE);
	expect(b, PAGE, 8, 5 * PAGE);
	/* A path and a struct in mapped memory. */
	strcpy(v + 7 * PAGE, "out");
	struct stat *st = (void *)(v + 3 * PAGE);
	OK(stat(v + 7 * PAGE, st));
	EQ(st->st_size, 3 * PAGE);
	struct iovec *iov = (void *)(v + 2 * PAGE);
	iov[0] = (struct iovec){ v + 7 * PAGE + 100, 100 };
	EQ(writev(out, iov, 1), 100);
	/* From the file into its own mapping. */
	EQ(pread(fd, m + PAGE, PAGE, 5 * PAGE), PAGE);
	expect(m + PAGE, PAGE, 8, 5 * PAGE);
}

static void bad_mappings_as_buffers(void)
{
	int fd = make_file("f", "0123456789"), out = OK(open("out", O_RDWR | O_CREAT, 0644));
	char *p = map(fd, 3 * PAGE, PROT_READ, MAP_PRIVATE, 0);

	ERR(write(out, p + PAGE, 10), EFAULT);
	ERR(read(fd, p, 10), EFAULT);
	EQ(write(out, p, PAGE), PAGE);
}

static void two_processes(void)
{
	/* A spin-wait conversation through a shared mapping made separately by each side. */
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(ftruncate(fd, PAGE));
	pid_t pid = fork();
	if (pid == 0) {
		int mine = OK(open("f", O_RDWR));
		volatile int *p = (void *)map(mine, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
		for (int i = 1; i < 200; i += 2) {
			while (p[0] != i)
				sched_yield();
			p[0] = i + 1;
		}
		_exit(0);
	}
	volatile int *p = (void *)map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	for (int i = 0; i < 200; i += 2) {
		while (p[0] != i)
			sched_yield();
		p[0] = i + 1;
	}
	wait_ok(pid);
}

static void through_fork(void)
{
	int fd = big_file("f", 2 * PAGE, 9);
	char *s = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), *v = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);

	pid_t pid = fork();
	if (pid == 0) {
		/* Neither page was touched before the fork. */
		expect(v + PAGE, PAGE, 9, PAGE);
		s[PAGE + 1] = 'C';
		v[PAGE + 2] = 'V';
		_exit(0);
	}
	wait_ok(pid);
	EQ(s[PAGE + 1], 'C');
	CHECK(v[PAGE + 2] != 'V' || pattern(9, PAGE + 2) == 'V');
	s[0] = 'P';
	pid = fork();
	if (pid == 0) {
		EQ(s[0], 'P');
		OK(munmap(s, 2 * PAGE));
		_exit(0);
	}
	wait_ok(pid);
	EQ(s[0], 'P');
}

static void large_and_random(void)
{
	const size_t n = 6 << 20;
	int fd = big_file("f", n, 10);
	unsigned char *p = (void *)map(fd, n, PROT_READ, MAP_PRIVATE, 0);

	for (unsigned i = 0, x = 12345; i < 3000; i++) {
		x = x * 1103515245 + 12345;
		size_t at = x % n;
		EQ(p[at], pattern(10, at));
	}
	OK(madvise(p, n, MADV_SEQUENTIAL));
	OK(madvise(p, n, MADV_WILLNEED));
	expect(p, n, 10, 0);
	OK(madvise(p, n, MADV_DONTNEED));
	expect(p + 12345, 100000, 10, 12345);
	unsigned char vec[6];
	OK(mincore(p, 6 * PAGE, vec));
}

static void *toucher(void *arg)
{
	unsigned char *p = arg;

	for (int i = 0; i < 256; i++)
		EQ(p[i * PAGE + 5], pattern(11, i * PAGE + 5));
	return NULL;
}

static void threads_touch_together(void)
{
	int fd = big_file("f", 256 * PAGE, 11);
	unsigned char *p = (void *)map(fd, 256 * PAGE, PROT_READ, MAP_PRIVATE, 0);
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		P0(pthread_create(&t[i], NULL, toucher, p));
	for (int i = 0; i < 4; i++)
		P0(pthread_join(t[i], NULL));
}

static void shown_in_maps(void)
{
	char line[5000], want[PATH_MAX + 8];
	int fd = big_file("f", PAGE, 12), found = 0;
	char *p = map(fd, PAGE, PROT_READ, MAP_PRIVATE, 0);
	FILE *f = fopen("/proc/self/maps", "r");

	CHECK(f);
	sprintf(want, "%lx-", (long)p);
	while (fgets(line, sizeof line, f))
		found += strncmp(line, want, strlen(want)) == 0;
	EQ(found, 1);
}

/* The child ends as told; whatever way, what it stored is the file's. */
static void end_by(int how)
{
	if (how == 0)
		_exit(0);
	if (how == 1)
		kill(getpid(), SIGKILL);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

static void killed_with_stores(void)
{
	int fd = make_file("f", ""), p[2];
	char b[8] = "";

	OK(ftruncate(fd, 3 * PAGE));
	OK(pipe(p));
	pid_t pid = fork();
	if (pid == 0) {
		char *m = map(OK(open("f", O_RDWR)), 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

		memcpy(m + 5000, "stored", 6);
		EQ(write(p[1], "x", 1), 1);
		pause();
	}
	EQ(read(p[0], b, 1), 1);
	/* Seen by a reader without a mapping, at once. */
	EQ(pread(fd, b, 6, 5000), 6);
	CHECK(memcmp(b, "stored", 6) == 0);
	kill(pid, SIGKILL);
	wait_status(pid);
	/* And there afterwards. */
	memset(b, 0, sizeof b);
	EQ(pread(fd, b, 6, 5000), 6);
	CHECK(memcmp(b, "stored", 6) == 0);
}

static void one_after_another(void)
{
	/* Each is the only one with a mapping; the next comes when it has hardly gone. */
	int fd = make_file("f", ""), *p;

	OK(ftruncate(fd, 2 * PAGE));
	OK(close(fd));
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			p = (void *)map(OK(open("f", O_RDWR)), 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
			EQ(p[0], i);
			EQ(p[1024], 7 * i);
			p[0]++;
			p[1024] += 7;
			if (i % 6 < 3)
				OK(munmap(p, 2 * PAGE));
			end_by(i % 3);
		}
		wait_status(pid);
	}
}

static void others_write(void)
{
	int fd = make_file("f", "0123456789"), p[2], q[2];
	char b[1];

	OK(pipe(p));
	OK(pipe(q));
	/* A process that never maps the file. */
	pid_t pid = fork();
	if (pid == 0) {
		int mine = OK(open("f", O_RDWR));

		EQ(read(p[0], b, 1), 1);
		EQ(pwrite(mine, "AB", 2, 2), 2);
		EQ(write(q[1], "x", 1), 1);
		EQ(read(p[0], b, 1), 1);
		OK(lseek(mine, 8, SEEK_SET));
		EQ(write(mine, "CDEF", 4), 4);
		EQ(write(q[1], "x", 1), 1);
		EQ(read(p[0], b, 1), 1);
		/* What a truncation cut off stays away. */
		OK(truncate("f", 3));
		OK(truncate("f", 6));
		EQ(write(q[1], "x", 1), 1);
		EQ(read(p[0], b, 1), 1);
		OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
		EQ(pwrite(mine, "z", 1, 1), 1);
		EQ(write(q[1], "x", 1), 1);
		_exit(0);
	}
	char *m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	m[0] = 'x';
	EQ(write(p[1], "x", 1), 1);
	EQ(read(q[0], b, 1), 1);
	CHECK(memcmp(m, "x1AB456789", 10) == 0);
	m[1] = 'y';
	EQ(write(p[1], "x", 1), 1);
	EQ(read(q[0], b, 1), 1);
	CHECK(memcmp(m, "xyAB4567CDEF", 12) == 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(read(q[0], b, 1), 1);
	CHECK(memcmp(m, "xyA\0\0\0\0", 7) == 0);
	m[3] = 'v';
	EQ(write(p[1], "x", 1), 1);
	EQ(read(q[0], b, 1), 1);
	CHECK(memcmp(m, "\0z\0\0", 4) == 0);
	m[0] = 'w';
	wait_ok(pid);
	OK(munmap(m, PAGE));
	CHECK(strcmp(slurp("f"), "wz") == 0);
}

static void neighbours(void)
{
	/* Everybody has bytes of the same page, stored or written; nobody's get lost, whoever maps when. */
	enum { WHO = 4, ROUNDS = 60 };
	int fd = make_file("f", "");

	OK(ftruncate(fd, PAGE));
	pid_t pid[WHO];
	for (int w = 0; w < WHO; w++) {
		pid[w] = fork();
		if (pid[w] == 0) {
			int mine = OK(open("f", O_RDWR));

			for (int i = 1; i <= ROUNDS; i++) {
				volatile int *m = (void *)map(mine, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
				int n = i;

				__atomic_fetch_add(&m[100], 1, __ATOMIC_SEQ_CST);
				if (w % 2)
					m[w] = i;
				else
					EQ(pwrite(mine, &n, sizeof n, w * sizeof n), sizeof n);
				EQ(m[w], i);
				n = 0;
				EQ(pread(mine, &n, sizeof n, w * sizeof n), sizeof n);
				EQ(n, i);
				OK(munmap((void *)m, PAGE));
			}
			end_by(w % 2);
		}
	}
	for (int w = 0; w < WHO; w++)
		wait_status(pid[w]);
	int got[101];
	EQ(pread(fd, got, sizeof got, 0), sizeof got);
	for (int w = 0; w < WHO; w++)
		EQ(got[w], ROUNDS);
	EQ(got[100], WHO * ROUNDS);
}

static void truncated_by_another(void)
{
	int fd = big_file("f", 3 * PAGE, 13);
	char *m = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	m[2 * PAGE] = 'g';
	pid_t pid = fork();
	if (pid == 0) {
		OK(truncate("f", PAGE + 10));
		_exit(0);
	}
	wait_ok(pid);
	EQ(touching(m + PAGE, false), 0);
	EQ(m[PAGE + 10], 0);
	EQ(touching(m + 2 * PAGE, false), SIGBUS);
	OK(ftruncate(fd, 4 * PAGE));
	EQ(touching(m + 3 * PAGE, true), 0);
	EQ(m[2 * PAGE], 0);
	OK(munmap(m, 4 * PAGE));
	EQ(lseek(fd, 0, SEEK_END), 4 * PAGE);
}

static void killed_at_random(void)
{
	/* Whatever was stored before a death, others see it: those that live, and the next. */
	enum { WHO = 4, ROUNDS = 12 };
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	volatile int *done = (void *)map(-1, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, 0), *m;
	unsigned x = 4711;

	OK(ftruncate(fd, 2 * PAGE));
	OK(close(fd));
	for (int round = 0; round < ROUNDS; round++) {
		pid_t pid[WHO];

		for (int w = 0; w < WHO; w++) {
			pid[w] = fork();
			if (pid[w] == 0) {
				fd = OK(open("f", O_RDWR));
				for (;;) {
					m = (void *)map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
					CHECK(m[5 * w] >= done[w] && m[1024 + w] >= done[w]);
					m[5 * w] = m[1024 + w] = m[5 * w] + 1;
					done[w] = m[5 * w];
					OK(munmap((void *)m, 2 * PAGE));
				}
			}
		}
		for (int w = 0; w < WHO; w++) {
			x = x * 1103515245 + 12345;
			for (int until = done[w] + (x >> 16) % 8; done[w] < until;)
				sched_yield();
			OK(kill(pid[w], SIGKILL));
		}
		for (int w = 0; w < WHO; w++)
			EQ(WTERMSIG(wait_status(pid[w])), SIGKILL);
	}
	m = (void *)map(OK(open("f", O_RDWR)), 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	for (int w = 0; w < WHO; w++)
		CHECK(m[5 * w] >= done[w] && m[1024 + w] >= done[w]);
}

static void sparse(void)
{
	/* Costs what its data cost, in time and on the disk. */
	const off_t size = (off_t)2 << 30, at[] = { 5, 700000000, 1500000000, size - 1 };
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	struct stat st;
	char b[1];

	OK(ftruncate(fd, size));
	EQ(pwrite(fd, "a", 1, 700000001), 1);
	OK(lseek(fd, 77, SEEK_SET));
	char *m = map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	char *v = map(fd, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	for (int i = 0; i < 4; i++) {
		EQ(m[at[i]], 0);
		EQ(v[at[i]], 0);
		m[at[i]] = 'A' + i;
		v[at[i] ^ 2] = 'v';
	}
	EQ(m[700000001], 'a');
	EQ(v[700000001], 'a');
	OK(msync(m, size, MS_SYNC));
	OK(munmap(m, size));
	for (int i = 0; i < 4; i++) {
		EQ(pread(fd, b, 1, at[i]), 1);
		EQ(b[0], 'A' + i);
	}
	EQ(lseek(fd, 0, SEEK_CUR), 77);
	OK(fstat(fd, &st));
	EQ(st.st_size, size);
	CHECK(st.st_blocks * 512 < 4 << 20);
	OK(munmap(v, size));
}

static void *mapper(void *arg)
{
	int i = *(int *)arg, fd;
	char name[16], want[16];

	sprintf(name, "t%d", i);
	sprintf(want, "of thread %d", i);
	fd = make_file(name, want);
	for (int k = 0; k < 100; k++) {
		char *p = map(fd, PAGE, PROT_READ | PROT_WRITE, k % 2 ? MAP_SHARED : MAP_PRIVATE, 0);

		CHECK(strcmp(p, want) == 0);
		OK(munmap(p, PAGE));
	}
	OK(close(fd));
	return NULL;
}

static void threads_map_together(void)
{
	pthread_t t[6];
	int n[6];

	for (int i = 0; i < 6; i++) {
		n[i] = i;
		P0(pthread_create(&t[i], NULL, mapper, &n[i]));
	}
	for (int i = 0; i < 6; i++)
		P0(pthread_join(t[i], NULL));
}

static void without_descriptors(void)
{
	/* A mapping needs none. */
	int fd = make_file("f", "0123456789");
	struct rlimit rl, low;

	OK(getrlimit(RLIMIT_NOFILE, &rl));
	low = rl;
	low.rlim_cur = fd + 1;
	OK(setrlimit(RLIMIT_NOFILE, &low));
	while (dup(fd) >= 0)
		;
	EQ(errno, EMFILE);
	char *p = map(fd, PAGE, PROT_READ, MAP_PRIVATE, 0);
	CHECK(memcmp(p, "0123456789", 10) == 0);
	p = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	CHECK(memcmp(p, "0123456789", 10) == 0);
	OK(setrlimit(RLIMIT_NOFILE, &rl));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(private_reading), CASE(private_writing), CASE(shared_writing), CASE(writes_reach_the_mapping), CASE(coherent_at_once),
	CASE(edges), CASE(refusals), CASE(parts), CASE(moved_and_grown), CASE(as_buffers), CASE(bad_mappings_as_buffers), CASE(two_processes), CASE(killed_with_stores),
	CASE(one_after_another), CASE(others_write), CASE(neighbours), CASE(truncated_by_another), CASE(killed_at_random),
	CASE(sparse), CASE(threads_map_together),
	CASE(without_descriptors),
	CASE(through_fork), CASE(large_and_random), CASE(threads_touch_together), CASE(shown_in_maps),
};
CHECK_MAIN(cases)
