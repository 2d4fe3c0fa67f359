/* Reading and writing files: every form of read and write, their offsets, their errors. */
#include "check.h"
#include <sys/sendfile.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

static void write_then_read(void)
{
	char b[32] = "";
	int fd = OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0600));

	EQ(write(fd, "hello world", 11), 11);
	EQ(lseek(fd, 0, SEEK_CUR), 11);
	EQ(read(fd, b, 10), 0);
	EQ(lseek(fd, 6, SEEK_SET), 6);
	EQ(read(fd, b, sizeof b), 5);
	CHECK(memcmp(b, "world", 5) == 0);
	EQ(b[5], 0);
	EQ(read(fd, b, sizeof b), 0);
	OK(close(fd));
	ERR(read(fd, b, 1), EBADF);
	ERR(write(fd, b, 1), EBADF);
}

static void short_reads_and_end_of_file(void)
{
	char b[64];
	int fd = make_file("f", "0123456789");

	memset(b, '#', sizeof b);
	EQ(read(fd, b, 4), 4);
	EQ(b[4], '#');
	EQ(read(fd, b, 64), 6);
	CHECK(memcmp(b, "456789", 6) == 0);
	/* Bytes past what was read are not touched. */
	for (int i = 6; i < 64; i++)
		EQ(b[i], '#');
	EQ(read(fd, b, 64), 0);
	EQ(pread(fd, b, 64, 9), 1);
	EQ(pread(fd, b, 64, 10), 0);
	EQ(pread(fd, b, 64, 1 << 20), 0);
}

static void positioned_leave_the_offset(void)
{
	char b[16];
	int fd = make_file("f", "abcdefgh");

	EQ(lseek(fd, 3, SEEK_SET), 3);
	EQ(pread(fd, b, 2, 6), 2);
	CHECK(memcmp(b, "gh", 2) == 0);
	EQ(pwrite(fd, "XY", 2, 0), 2);
	EQ(lseek(fd, 0, SEEK_CUR), 3);
	EQ(read(fd, b, 16), 5);
	CHECK(memcmp(b, "defgh", 5) == 0);
	CHECK(strcmp(slurp("f"), "XYcdefgh") == 0);
}

static void append(void)
{
	int fd, fd2;

	make_file("f", "one");
	fd = OK(open("f", O_WRONLY | O_APPEND));
	fd2 = OK(open("f", O_RDWR | O_APPEND));
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	EQ(write(fd, "two", 3), 3);
	EQ(lseek(fd, 0, SEEK_CUR), 6);
	EQ(write(fd2, "three", 5), 5);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(write(fd, "four", 4), 4);
	EQ(lseek(fd, 0, SEEK_CUR), 15);
	/* Linux: pwrite to an O_APPEND file appends, whatever the offset. */
	EQ(pwrite(fd2, "5", 1, 0), 1);
	CHECK(strcmp(slurp("f"), "onetwothreefour5") == 0);
	/* O_APPEND switched off and on with fcntl. */
	OK(fcntl(fd, F_SETFL, 0));
	OK(lseek(fd, 0, SEEK_SET));
	EQ(write(fd, "ONE", 3), 3);
	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(write(fd, "6", 1), 1);
	CHECK(strcmp(slurp("f"), "ONEtwothreefour56") == 0);
}

static void append_from_two_processes(void)
{
	char line[64];
	int seen[2] = { 0, 0 };
	FILE *f;

	touch("log");
	for (int who = 0; who < 2; who++) {
		pid_t pid = fork();
		if (pid == 0) {
			int fd = OK(open("log", O_WRONLY | O_APPEND));
			for (int i = 0; i < 300; i++) {
				int n = snprintf(line, sizeof line, "%d:%05d:0123456789abcdef\n", who, i);
				EQ(write(fd, line, n), n);
			}
			_exit(0);
		}
		if (who == 0)
			continue;
		wait_ok(pid);
	}
	while (wait(NULL) > 0)
		;
	f = fopen("log", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		int who, i;
		EQ(sscanf(line, "%d:%d:0123456789abcdef", &who, &i), 2);
		EQ(strlen(line), 25);
		EQ(i, seen[who]);
		seen[who]++;
	}
	EQ(seen[0], 300);
	EQ(seen[1], 300);
}

static void vectors(void)
{
	char a[3], b[5], c[10];
	struct iovec w[4] = { { "ab", 2 }, { "", 0 }, { NULL, 0 }, { "cdefgh", 6 } };
	struct iovec r[3] = { { a, 3 }, { b, 5 }, { c, 10 } };
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	EQ(writev(fd, w, 4), 8);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	memset(c, '#', sizeof c);
	EQ(readv(fd, r, 3), 8);
	CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "defgh", 5) == 0 && c[0] == '#');
	EQ(readv(fd, r, 3), 0);
	EQ(preadv(fd, r, 2, 4), 4);
	CHECK(memcmp(a, "efg", 3) == 0 && b[0] == 'h');
	EQ(pwritev(fd, w, 4, 100), 8);
	EQ(lseek(fd, 0, SEEK_CUR), 8);
	EQ(pread(fd, c, 10, 99), 9);
	CHECK(memcmp(c, "\0abcdefgh", 9) == 0);
	EQ(readv(fd, r, 0), 0);
	EQ(writev(fd, w, 0), 0);
}

static void vector_limits(void)
{
	static struct iovec v[IOV_MAX + 1];
	static char b[IOV_MAX + 1];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	for (int i = 0; i <= IOV_MAX; i++) {
		b[i] = 'a' + i % 26;
		v[i].iov_base = &b[i];
		v[i].iov_len = 1;
	}
	EQ(writev(fd, v, IOV_MAX), IOV_MAX);
	ERR(writev(fd, v, IOV_MAX + 1), EINVAL);
	ERR(readv(fd, v, IOV_MAX + 1), EINVAL);
	ERR(syscall(SYS_writev, fd, v, -1L), EINVAL);
	memset(b, 0, sizeof b);
	EQ(preadv(fd, v, IOV_MAX, 0), IOV_MAX);
	for (int i = 0; i < IOV_MAX; i++)
		EQ(b[i], 'a' + i % 26);
	v[1].iov_len = -1;
	ERR(writev(fd, v, 2), EINVAL);
	ERR(writev(fd, bad_pointer(), 1), EFAULT);
	ERR(writev(-1, v, 1), EBADF);
}

static void version_two_vectors(void)
{
	char b[8] = "";
	struct iovec w = { "wxyz", 4 }, r = { b, sizeof b };
	int fd = make_file("f", "01234567");

	/* Offset -1: the file's own. */
	EQ(lseek(fd, 2, SEEK_SET), 2);
	EQ(pwritev2(fd, &w, 1, -1, 0), 4);
	EQ(lseek(fd, 0, SEEK_CUR), 6);
	EQ(preadv2(fd, &r, 1, -1, 0), 2);
	CHECK(memcmp(b, "67", 2) == 0);
	EQ(pwritev2(fd, &w, 1, 0, RWF_DSYNC), 4);
	EQ(pwritev2(fd, &w, 1, 0, RWF_SYNC), 4);
	EQ(preadv2(fd, &r, 1, 0, RWF_HIPRI), 8);
	CHECK(memcmp(b, "wxyzyz67", 8) == 0);
	EQ(pwritev2(fd, &w, 1, 0, RWF_APPEND), 4);
	CHECK(strcmp(slurp("f"), "wxyzyz67wxyz") == 0);
	EQ(lseek(fd, 0, SEEK_CUR), 8);
	ERR(preadv2(fd, &r, 1, 0, 0x40000000), EOPNOTSUPP);
	ERR(pwritev2(fd, &w, 1, 0, 0x40000000), EOPNOTSUPP);
	ERR(preadv2(fd, &r, 1, -2, 0), EINVAL);
	errno = 0;
	long n = preadv2(fd, &r, 1, 0, RWF_NOWAIT);
	CHECK(n == 8 || (n == -1 && (errno == EAGAIN || errno == EOPNOTSUPP)));
}

static void zero_length(void)
{
	char b[1];
	int fd = make_file("f", "abc");

	EQ(read(fd, b, 0), 0);
	EQ(read(fd, NULL, 0), 0);
	EQ(write(fd, NULL, 0), 0);
	EQ(write(fd, bad_pointer(), 0), 0);
	EQ(pread(fd, NULL, 0, 1), 0);
	EQ(pwrite(fd, NULL, 0, 100), 0);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	EQ(lseek(fd, 0, SEEK_END), 3);
	ERR(read(-1, NULL, 0), EBADF);
	int wo = OK(open("f", O_WRONLY));
	ERR(read(wo, b, 0), EBADF);
}

static void bad_pointers(void)
{
	char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec v = { bad_pointer(), 8 };
	int fd = make_file("f", "0123456789");

	OK(munmap(edge + 4096, 4096));
	ERR(read(fd, bad_pointer(), 4), EFAULT);
	ERR(read(fd, NULL, 4), EFAULT);
	ERR(read(fd, (void *)-4096L, 4), EFAULT);
	ERR(read(fd, (void *)0x7fffffffe0000000, 4), EFAULT);
	ERR(read(fd, ro, 4), EFAULT);
	ERR(write(fd, bad_pointer(), 4), EFAULT);
	ERR(write(fd, NULL, 1), EFAULT);
	ERR(pread(fd, bad_pointer(), 4, 0), EFAULT);
	ERR(pwrite(fd, bad_pointer(), 4, 0), EFAULT);
	ERR(readv(fd, &v, 1), EFAULT);
	ERR(writev(fd, &v, 1), EFAULT);
	/* Nothing moved, nothing changed. */
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	CHECK(strcmp(slurp("f"), "0123456789") == 0);
	/* A buffer that ends in an unmapped page, with enough room for what is there. */
	EQ(read(fd, edge + 4096 - 10, 100), 10);
	CHECK(memcmp(edge + 4096 - 10, "0123456789", 10) == 0);
	EQ(write(fd, ro, 4096), 4096);
}

static void bad_descriptors(void)
{
	char b[4];
	int ro, wo, dir;

	touch("f");
	ro = OK(open("f", O_RDONLY));
	wo = OK(open("f", O_WRONLY));
	dir = OK(open(".", O_RDONLY));
	ERR(write(ro, "x", 1), EBADF);
	ERR(read(wo, b, 1), EBADF);
	ERR(pwrite(ro, "x", 1, 0), EBADF);
	ERR(pread(wo, b, 1, 0), EBADF);
	ERR(read(dir, b, 4), EISDIR);
	ERR(write(dir, b, 4), EBADF);
	ERR(read(-1, b, 4), EBADF);
	ERR(read(123456, b, 4), EBADF);
	ERR(syscall(SYS_read, 0xffffffff00000000L + 999, b, 4L), EBADF);
	ERR(lseek(-1, 0, SEEK_SET), EBADF);
	ERR(syscall(SYS_pread64, ro, b, 1L, -5L), EINVAL);
}

static void descriptors_are_thirty_two_bits(void)
{
	char b[4];
	int fd = make_file("f", "abcd");

	/* The kernel looks at the low half only. */
	EQ(syscall(SYS_read, 0x1234567800000000L + fd, b, 4L), 4);
	EQ(syscall(SYS_lseek, 0xdead00000000L + fd, 1L, 0xabc00000000L + SEEK_SET), 1);
	EQ(syscall(SYS_close, 0x5500000000L + fd), 0);
	ERR(close(fd), EBADF);
}

static void seeking(void)
{
	int p[2], fd = make_file("f", "0123456789");

	EQ(lseek(fd, 0, SEEK_END), 10);
	EQ(lseek(fd, -3, SEEK_END), 7);
	EQ(lseek(fd, -7, SEEK_CUR), 0);
	ERR(lseek(fd, -1, SEEK_CUR), EINVAL);
	ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	ERR(lseek(fd, -11, SEEK_END), EINVAL);
	ERR(lseek(fd, 0, 99), EINVAL);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	EQ(lseek(fd, 1000, SEEK_SET), 1000);
	EQ(lseek(fd, 0, SEEK_END), 10);
	EQ(lseek(fd, 100, SEEK_END), 110);
	EQ(write(fd, "x", 1), 1);
	EQ(lseek(fd, 0, SEEK_END), 111);
	OK(pipe(p));
	ERR(lseek(p[0], 0, SEEK_CUR), ESPIPE);
	ERR(pread(p[0], (char[1]){ 0 }, 1, 0), ESPIPE);
}

static void sparse_files(void)
{
	char b[16];
	struct stat st;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	off_t data, hole;

	EQ(pwrite(fd, "begin", 5, 0), 5);
	EQ(pwrite(fd, "end", 3, 8 << 20), 3);
	OK(fstat(fd, &st));
	EQ(st.st_size, (8 << 20) + 3);
	CHECK(st.st_blocks * 512 < 4 << 20);
	EQ(pread(fd, b, 4, 1 << 20), 4);
	CHECK(memcmp(b, "\0\0\0\0", 4) == 0);
	EQ(lseek(fd, 0, SEEK_DATA), 0);
	hole = OK(lseek(fd, 0, SEEK_HOLE));
	CHECK(hole >= 5 && hole <= 8 << 20);
	data = OK(lseek(fd, hole, SEEK_DATA));
	CHECK(data > hole && data <= 8 << 20);
	EQ(lseek(fd, 8 << 20, SEEK_HOLE), (8 << 20) + 3);
	ERR(lseek(fd, (8 << 20) + 3, SEEK_DATA), ENXIO);
	ERR(lseek(fd, (8 << 20) + 4, SEEK_HOLE), ENXIO);
}

static void offsets_beyond_four_gibibytes(void)
{
	const off_t far = (5LL << 30) + 123;
	char b[8];
	struct stat st;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	EQ(pwrite(fd, "far", 3, far), 3);
	OK(fstat(fd, &st));
	EQ(st.st_size, far + 3);
	EQ(lseek(fd, far, SEEK_SET), far);
	EQ(read(fd, b, 8), 3);
	CHECK(memcmp(b, "far", 3) == 0);
	EQ(lseek(fd, 0, SEEK_CUR), far + 3);
	EQ(pread(fd, b, 3, far - (4LL << 30)), 3);
	CHECK(memcmp(b, "\0\0\0", 3) == 0);
	EQ(lseek(fd, 0, SEEK_END), far + 3);
	OK(ftruncate(fd, 6LL << 30));
	EQ(lseek(fd, 0, SEEK_END), 6LL << 30);
	ERR(pread(fd, b, 1, -1), EINVAL);
	ERR(pwrite(fd, b, 1, -1), EINVAL);
	ERR(pread(fd, b, 1, LLONG_MIN), EINVAL);
	OK(unlink("f"));
}

static void large_transfers(void)
{
	const size_t n = 8 << 20;
	char *w = malloc(n), *r = malloc(n + 4096);
	struct iovec v[3] = { { r, 1 }, { r + 1, 3 << 20 }, { r + 1 + (3 << 20), n } };
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	fill(w, n, 7, 0);
	EQ(write(fd, w, n), n);
	EQ(lseek(fd, 0, SEEK_CUR), n);
	EQ(pread(fd, r, n + 4096, 0), n);
	expect(r, n, 7, 0);
	memset(r, 0, n);
	OK(lseek(fd, 0, SEEK_SET));
	EQ(readv(fd, v, 3), n);
	expect(r, n, 7, 0);
	/* Unaligned buffers and offsets. */
	memset(r, 0, n);
	EQ(pread(fd, r + 3, n - 12345, 12345), n - 12345);
	expect(r + 3, n - 12345, 7, 12345);
	EQ(pwrite(fd, w + 1, 1000001, n), 1000001);
	EQ(pread(fd, r, 1000001, n), 1000001);
	expect(r, 1000001, 7, 1);
}

static void every_size(void)
{
	/* Sizes around what a transport may treat specially. */
	static const int near[] = { 1, 8, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576 };
	char *w = malloc(2 << 20), *r = malloc(2 << 20);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	for (unsigned i = 0; i < sizeof near / sizeof near[0]; i++)
		for (int d = -1; d <= 1; d++) {
			int n = near[i] + d;
			fill(w, n, n, 0);
			memset(r, '#', n + 1);
			OK(ftruncate(fd, 0));
			EQ(pwrite(fd, w, n, 0), n);
			EQ(pread(fd, r, n + 1, 0), n);
			CHECK(memcmp(w, r, n) == 0);
			EQ(r[n], '#');
		}
}

static void dup_shares_the_offset(void)
{
	char b[4];
	int fd = make_file("f", "0123456789"), d = OK(dup(fd)), other = OK(open("f", O_RDWR));

	EQ(read(fd, b, 3), 3);
	EQ(lseek(d, 0, SEEK_CUR), 3);
	EQ(read(d, b, 1), 1);
	EQ(b[0], '3');
	EQ(lseek(fd, 0, SEEK_CUR), 4);
	EQ(lseek(other, 0, SEEK_CUR), 0);
	OK(close(fd));
	EQ(read(d, b, 1), 1);
	EQ(b[0], '4');
}

static void fork_shares_the_offset(void)
{
	char b[4];
	int fd = make_file("f", "0123456789");
	pid_t pid;

	EQ(read(fd, b, 2), 2);
	pid = fork();
	if (pid == 0) {
		EQ(lseek(fd, 0, SEEK_CUR), 2);
		EQ(read(fd, b, 3), 3);
		CHECK(memcmp(b, "234", 3) == 0);
		OK(close(fd));
		_exit(0);
	}
	wait_ok(pid);
	EQ(lseek(fd, 0, SEEK_CUR), 5);
	pid = fork();
	if (pid == 0) {
		EQ(lseek(fd, 1, SEEK_SET), 1);
		_exit(0);
	}
	wait_ok(pid);
	EQ(read(fd, b, 1), 1);
	EQ(b[0], '1');
}

static void forked_writers_share_one_offset(void)
{
	char rec[16], *all;
	int counts[4] = { 0 }, fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	pid_t pid[4];

	for (int i = 0; i < 4; i++)
		if ((pid[i] = fork()) == 0) {
			memset(rec, 'a' + i, 16);
			for (int k = 0; k < 200; k++)
				EQ(write(fd, rec, 16), 16);
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		wait_ok(pid[i]);
	EQ(lseek(fd, 0, SEEK_CUR), 4 * 200 * 16);
	all = malloc(4 * 200 * 16);
	EQ(pread(fd, all, 4 * 200 * 16, 0), 4 * 200 * 16);
	for (int i = 0; i < 800; i++) {
		for (int k = 1; k < 16; k++)
			EQ(all[i * 16 + k], all[i * 16]);
		counts[all[i * 16] - 'a']++;
	}
	for (int i = 0; i < 4; i++)
		EQ(counts[i], 200);
}

static void *thread_writer(void *arg)
{
	char rec[16];
	int fd = *(int *)arg;

	memset(rec, 't', 16);
	for (int k = 0; k < 200; k++)
		EQ(write(fd, rec, 16), 16);
	return NULL;
}

static void threads_share_one_offset(void)
{
	pthread_t t[4];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	for (int i = 0; i < 4; i++)
		P0(pthread_create(&t[i], NULL, thread_writer, &fd));
	for (int i = 0; i < 4; i++)
		P0(pthread_join(t[i], NULL));
	EQ(lseek(fd, 0, SEEK_CUR), 4 * 200 * 16);
	EQ(lseek(fd, 0, SEEK_END), 4 * 200 * 16);
}

static void unlinked_but_open(void)
{
	char b[4];
	struct stat st;
	int fd = make_file("f", "data");

	OK(unlink("f"));
	ERR(open("f", O_RDONLY), ENOENT);
	EQ(read(fd, b, 4), 4);
	EQ(write(fd, "more", 4), 4);
	OK(fstat(fd, &st));
	EQ(st.st_size, 8);
	EQ(st.st_nlink, 0);
}

static void truncate_under_a_reader(void)
{
	char b[16];
	int fd = make_file("f", "0123456789"), w = OK(open("f", O_WRONLY));

	EQ(read(fd, b, 5), 5);
	OK(ftruncate(w, 2));
	EQ(read(fd, b, 5), 0);
	EQ(write(fd, "X", 1), 1);
	EQ(pread(fd, b, 16, 0), 6);
	CHECK(memcmp(b, "01\0\0\0X", 6) == 0);
}

static void file_size_limit(void)
{
	struct rlimit l = { 100, 100 };
	char b[200] = "";
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &l));
	EQ(write(fd, b, 200), 100);
	ERR(write(fd, b, 1), EFBIG);
	ERR(pwrite(fd, b, 1, 100), EFBIG);
	ERR(ftruncate(fd, 101), EFBIG);
	ERR(truncate("f", 101), EFBIG);
	OK(truncate("f", 100));
	ERR(truncate("none", 101), ENOENT);
	ERR(truncate(".", 101), EISDIR);
	EQ(pwrite(fd, b, 10, 0), 10);
}

static void write_up_to_a_fault(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), b[8];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), in[2];

	CHECK(m != MAP_FAILED);
	memset(m, 'x', 4 * page);
	OK(munmap(m + 2 * page, page));
	EQ(write(fd, m + 100, 3 * page), 2 * page - 100);
	EQ(lseek(fd, 0, SEEK_CUR), 2 * page - 100);
	EQ(pwrite(fd, m + 2 * page - 3, 10, 0), 3);
	ERR(write(fd, m + 2 * page, 10), EFAULT);
	struct iovec v[] = { { "ab", 2 }, { m + 2 * page - 1, page } };
	EQ(writev(fd, v, 2), 3);
	EQ(pread(fd, b, 8, 2 * page - 100), 3);
	CHECK(memcmp(b, "abx", 3) == 0);
	EQ(lseek(fd, 0, SEEK_END), 2 * page - 97);
	/* Half a datagram is none. */
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, in));
	ERR(write(in[0], m + page, 2 * page), EFAULT);
	int u = OK(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	OK(bind(u, (void *)&a, sizeof a));
	OK(getsockname(u, (void *)&a, &len));
	OK(connect(u, (void *)&a, sizeof a));
	ERR(write(u, m + page, 2 * page), EFAULT);
	ERR(recv(u, b, 8, MSG_DONTWAIT), EAGAIN);
}

static void clone_range(void)
{
	int a = make_file("a", "0123456789"), b = make_file("b", ""), p[2];
	struct file_clone_range r = { .src_fd = a };

	/* Few file systems can. */
	if (ioctl(b, FICLONERANGE, &r) == 0)
		CHECK(strcmp(slurp("b"), "0123456789") == 0);
	else
		CHECK(errno == EOPNOTSUPP || errno == EINVAL || errno == EXDEV);
	r.src_fd = -1;
	ERR(ioctl(b, FICLONERANGE, &r), EBADF);
	ERR(ioctl(b, FICLONERANGE, bad_pointer()), EFAULT);
	OK(pipe(p));
	r.src_fd = p[0];
	errno = 0;
	CHECK(ioctl(b, FICLONERANGE, &r) == -1 && (errno == EXDEV || errno == EINVAL));
}

static void copy_file_range_in_one_store(void)
{
	loff_t in = 2, out = 5;
	int a = make_file("a", "0123456789"), b = make_file("b", "");

	EQ(copy_file_range(a, &in, b, &out, 4, 0), 4);
	EQ(in, 6);
	EQ(out, 9);
	EQ(lseek(a, 0, SEEK_CUR), 0);
	EQ(copy_file_range(a, NULL, b, NULL, 100, 0), 10);
	EQ(lseek(a, 0, SEEK_CUR), 10);
	EQ(lseek(b, 0, SEEK_CUR), 10);
	EQ(copy_file_range(a, NULL, b, NULL, 100, 0), 0);
	CHECK(strcmp(slurp("b"), "0123456789") == 0);
	ERR(copy_file_range(a, NULL, b, NULL, 1, 1), EINVAL);
	ERR(copy_file_range(a, &(loff_t){ 0 }, a, &(loff_t){ 2 }, 4, 0), EINVAL);
	ERR(copy_file_range(-1, NULL, b, NULL, 1, 0), EBADF);
}

static void host_and_store_mixed(void)
{
	/* One file in TEST_DIR, one wherever /tmp is. */
	char name[] = "/tmp/io_rw.XXXXXX", b[16] = "";
	int host = OK(mkstemp(name)), fd = make_file("f", "0123456789");
	loff_t in = 0;

	OK(unlink(name));
	EQ(write(host, "host", 4), 4);
	EQ(copy_file_range(fd, &in, host, NULL, 10, 0), 10);
	EQ(pread(host, b, 16, 0), 14);
	CHECK(memcmp(b, "host0123456789", 14) == 0);
	OK(dup2(host, 50));
	OK(dup2(fd, host));
	EQ(read(host, b, 4), 4);
	CHECK(memcmp(b, "0123", 4) == 0);
	EQ(pread(50, b, 4, 0), 4);
	CHECK(memcmp(b, "host", 4) == 0);
}

/* O_DIRECT wants memory, lengths and offsets that are multiples of a block. */
static void past_the_cache(void)
{
	static const size_t sizes[] = { 512, 4096, 65536, 1u << 20, (1u << 21) + 4096 };
	const size_t most = (1u << 21) + 4096;
	struct stat st;
	struct statx stx;
	unsigned char *w, *r;
	int fd = open("direct", O_RDWR | O_CREAT | O_DIRECT, 0600);

	if (fd < 0 && errno == EINVAL)
		skip("this file system has no O_DIRECT");
	OK(fd);
	P0(posix_memalign((void **)&w, 4096, most));
	P0(posix_memalign((void **)&r, 4096, most));
	for (size_t i = 0; i < most; i++)
		w[i] = (unsigned char)(i * 31 + i / 4096);
	OK(statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		ssize_t n = (ssize_t)sizes[i];

		if ((stx.stx_mask & STATX_DIOALIGN) && sizes[i] % stx.stx_dio_offset_align)
			continue;
		OK(ftruncate(fd, 0));
		EQ(pwrite(fd, w, sizes[i], 0), n);
		memset(r, 0, sizes[i]);
		EQ(pread(fd, r, sizes[i], 0), n);
		CHECK(memcmp(r, w, sizes[i]) == 0);
		OK(fstat(fd, &st));
		EQ(st.st_size, n);
		/* By the file's own offset, up to its end. */
		OK(lseek(fd, 0, SEEK_SET));
		EQ(read(fd, r, sizes[i]), n);
		EQ(read(fd, r, sizes[i]), 0);
	}
	OK(close(fd));
}

/* What may be read and written is asked before anything waits: a pipe's wrong end would never have data. */
static void wrong_ends(void)
{
	int p[2], r, a;
	off_t at = 0;

	OK(pipe(p));
	r = make_file("r", "abc");
	OK(close(r));
	r = OK(open("r", O_RDONLY));
	a = OK(open("a", O_RDWR | O_CREAT | O_APPEND, 0600));
	ERR(splice(p[1], NULL, a, NULL, 1, 0), EBADF);
	ERR(splice(r, NULL, p[0], NULL, 1, 0), EBADF);
	ERR(splice(p[0], NULL, r, NULL, 1, 0), EBADF);
	EQ(write(p[1], "x", 1), 1);
	ERR(splice(p[0], NULL, a, NULL, 1, 0), EINVAL);
	ERR(sendfile(r, a, NULL, 1), EBADF);
	ERR(copy_file_range(r, &at, a, NULL, 1, 0), EBADF);
	ERR(copy_file_range(a, &at, r, NULL, 1, 0), EBADF);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(write_then_read), CASE_IN_MAIN(short_reads_and_end_of_file), CASE(positioned_leave_the_offset), CASE(append),
	CASE(append_from_two_processes), CASE_IN_MAIN(vectors), CASE(vector_limits), CASE(version_two_vectors), CASE(zero_length),
	CASE(bad_pointers), CASE(bad_descriptors), CASE(descriptors_are_thirty_two_bits), CASE(seeking), CASE(sparse_files),
	CASE(offsets_beyond_four_gibibytes), CASE(large_transfers), CASE(every_size), CASE(dup_shares_the_offset),
	CASE(fork_shares_the_offset), CASE(forked_writers_share_one_offset), CASE(threads_share_one_offset),
	CASE(unlinked_but_open), CASE(truncate_under_a_reader), CASE(file_size_limit), CASE(write_up_to_a_fault), CASE(clone_range), CASE(copy_file_range_in_one_store),
	CASE(host_and_store_mixed), CASE(past_the_cache),
	CASE(wrong_ends),
};
CHECK_MAIN(cases)
