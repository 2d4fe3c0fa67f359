/* The kernel's asynchronous I/O, by its raw calls. */
#include "check.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static long setup(unsigned n, aio_context_t *c)
{
	return syscall(SYS_io_setup, n, c);
}
static long submit(aio_context_t c, long n, struct iocb **v)
{
	return syscall(SYS_io_submit, c, n, v);
}
static long events(aio_context_t c, long min, long n, struct io_event *e, struct timespec *t)
{
	return syscall(SYS_io_getevents, c, min, n, e, t);
}
static long destroy(aio_context_t c)
{
	return syscall(SYS_io_destroy, c);
}

static struct iocb request(int op, int fd, void *buf, size_t n, off_t at, uint64_t data)
{
	return (struct iocb){ .aio_lio_opcode = op, .aio_fildes = fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = n, .aio_offset = at, .aio_data = data };
}

static void contexts(void)
{
	aio_context_t c = 0, d = 5;

	OK(setup(8, &c));
	CHECK(c != 0);
	ERR(setup(8, &d), EINVAL);
	d = 0;
	ERR(setup(0, &d), EINVAL);
	ERR(setup(8, bad_pointer()), EFAULT);
	OK(destroy(c));
	ERR(destroy(c), EINVAL);
	ERR(destroy(0x1234), EINVAL);
	ERR(events(c, 0, 1, (struct io_event[1]){ { 0 } }, NULL), EINVAL);
}

static void write_and_read(void)
{
	aio_context_t c = 0;
	char w[3][100], r[3][100];
	struct iocb q[3], *v[3];
	struct io_event e[4];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(setup(8, &c));
	for (int i = 0; i < 3; i++) {
		memset(w[i], 'a' + i, 100);
		q[i] = request(IOCB_CMD_PWRITE, fd, w[i], 100, i * 100, 1000 + i);
		v[i] = &q[i];
	}
	EQ(submit(c, 3, v), 3);
	int got = 0, seen = 0;
	while (got < 3) {
		long n = OK(events(c, 1, 4, e, NULL));
		for (int i = 0; i < n; i++) {
			EQ(e[i].res, 100);
			EQ(e[i].obj, (uintptr_t)&q[e[i].data - 1000]);
			seen |= 1 << (e[i].data - 1000);
		}
		got += n;
	}
	EQ(seen, 7);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	for (int i = 0; i < 3; i++)
		q[i] = request(IOCB_CMD_PREAD, fd, r[i], 100, i * 100, i);
	EQ(submit(c, 3, v), 3);
	EQ(events(c, 3, 4, e, NULL), 3);
	for (int i = 0; i < 3; i++)
		CHECK(memcmp(w[i], r[i], 100) == 0);
	/* At the end of the file: short, then nothing. */
	q[0] = request(IOCB_CMD_PREAD, fd, r[0], 100, 250, 0);
	q[1] = request(IOCB_CMD_PREAD, fd, r[1], 100, 300, 1);
	EQ(submit(c, 2, v), 2);
	EQ(events(c, 2, 4, e, NULL), 2);
	for (int i = 0; i < 2; i++)
		EQ(e[i].res, e[i].data ? 0 : 50);
	OK(destroy(c));
}

static void vectors_and_sync(void)
{
	aio_context_t c = 0;
	char a[3], b[7];
	struct iovec w[2] = { { "abc", 3 }, { "defghij", 7 } }, r[2] = { { a, 3 }, { b, 7 } };
	struct iocb q = { 0 }, *v = &q;
	struct io_event e;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(setup(4, &c));
	q = request(IOCB_CMD_PWRITEV, fd, w, 2, 5, 1);
	EQ(submit(c, 1, &v), 1);
	EQ(events(c, 1, 1, &e, NULL), 1);
	EQ(e.res, 10);
	q = request(IOCB_CMD_PREADV, fd, r, 2, 5, 2);
	EQ(submit(c, 1, &v), 1);
	EQ(events(c, 1, 1, &e, NULL), 1);
	EQ(e.res, 10);
	CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "defghij", 7) == 0);
	q = request(IOCB_CMD_FSYNC, fd, NULL, 0, 0, 3);
	if (submit(c, 1, &v) == 1) {
		EQ(events(c, 1, 1, &e, NULL), 1);
		EQ(e.res, 0);
		EQ(e.data, 3);
	}
	OK(destroy(c));
}

static void errors(void)
{
	aio_context_t c = 0;
	char b[16];
	struct iocb q[2], *v[2] = { &q[0], &q[1] };
	struct io_event e[2];
	int fd = make_file("f", "0123456789"), ro = OK(open("f", O_RDONLY));

	OK(setup(4, &c));
	q[0] = request(IOCB_CMD_PREAD, 190, b, 4, 0, 0);
	ERR(submit(c, 1, v), EBADF);
	q[0] = request(99, fd, b, 4, 0, 0);
	ERR(submit(c, 1, v), EINVAL);
	q[0] = request(IOCB_CMD_PWRITE, ro, b, 4, 0, 0);
	ERR(submit(c, 1, v), EBADF);
	ERR(submit(c, -1, v), EINVAL);
	EQ(submit(c, 0, v), 0);
	ERR(submit(c, 1, bad_pointer()), EFAULT);
	ERR(submit(c + 64, 1, v), EINVAL);
	/* The second is wrong: one was taken. */
	q[0] = request(IOCB_CMD_PREAD, fd, b, 4, 0, 5);
	q[1] = request(IOCB_CMD_PREAD, 190, b, 4, 0, 6);
	EQ(submit(c, 2, v), 1);
	EQ(events(c, 1, 2, e, NULL), 1);
	EQ(e[0].data, 5);
	EQ(e[0].res, 4);
	/* Bad memory is told by the event, or at once. */
	q[0] = request(IOCB_CMD_PREAD, fd, bad_pointer(), 4, 0, 7);
	long n = submit(c, 1, v);
	if (n == 1) {
		EQ(events(c, 1, 2, e, NULL), 1);
		EQ(e[0].res, -EFAULT);
	} else {
		EQ(n, -1);
		EQ(errno, EFAULT);
	}
	ERR(events(c, 2, 1, e, NULL), EINVAL);
	ERR(events(c, -1, 1, e, NULL), EINVAL);
	struct timespec t = { 0, 10000000 };
	EQ(events(c, 1, 1, e, &t), 0);
	EQ(events(c, 0, 1, e, NULL), 0);
	OK(destroy(c));
}

static void told_by_eventfd(void)
{
	aio_context_t c = 0;
	char b[16];
	struct iocb q, *v = &q;
	struct io_event e;
	uint64_t n;
	int ev = OK(eventfd(0, 0)), fd = make_file("f", "0123456789");

	OK(setup(4, &c));
	q = request(IOCB_CMD_PREAD, fd, b, 10, 0, 0);
	q.aio_flags = IOCB_FLAG_RESFD;
	q.aio_resfd = ev;
	EQ(submit(c, 1, &v), 1);
	EQ(read(ev, &n, 8), 8);
	EQ(n, 1);
	EQ(events(c, 0, 1, &e, NULL), 1);
	EQ(e.res, 10);
	q.aio_resfd = fd;
	ERR(submit(c, 1, &v), EINVAL);
	q.aio_resfd = 190;
	ERR(submit(c, 1, &v), EBADF);
	OK(destroy(c));
}

static void many_requests(void)
{
	enum { N = 64 };
	static unsigned char w[N][4096], r[N][4096];
	static struct iocb q[N], *v[N];
	static struct io_event e[N];
	aio_context_t c = 0;
	int got, fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(setup(N, &c));
	for (int i = 0; i < N; i++) {
		fill(w[i], 4096, i, 0);
		q[i] = request(IOCB_CMD_PWRITE, fd, w[i], 4096, (N - 1 - i) * 4096, i);
		v[i] = &q[i];
	}
	for (int done = 0; done < N;) {
		long n = submit(c, N - done, v + done);
		CHECK(n > 0);
		done += n;
	}
	for (got = 0; got < N;)
		got += OK(events(c, 1, N, e, NULL));
	for (int i = 0; i < N; i++)
		q[i] = request(IOCB_CMD_PREAD, fd, r[i], 4096, (N - 1 - i) * 4096, i);
	EQ(submit(c, N, v), N);
	for (got = 0; got < N;) {
		long n = OK(events(c, 1, N, e, NULL));
		for (int i = 0; i < n; i++)
			EQ(e[i].res, 4096);
		got += n;
	}
	for (int i = 0; i < N; i++)
		expect(r[i], 4096, i, 0);
	OK(destroy(c));
}

static void host_and_store_in_one_context(void)
{
	/* A host descriptor in the same context as a file's. */
	aio_context_t c = 0;
	char a[8], b[8];
	int fd = make_file("f", "file");
	struct iocb q[2] = { { 0 } }, *v[2] = { &q[0], &q[1] };
	struct io_event e[2];
	char name[] = "/tmp/aio.XXXXXX";
	int host = OK(mkstemp(name));

	OK(unlink(name));
	EQ(write(host, "host", 4), 4);
	OK(setup(4, &c));
	q[0] = request(IOCB_CMD_PREAD, host, a, 8, 0, 0);
	q[1] = request(IOCB_CMD_PREAD, fd, b, 8, 0, 1);
	EQ(submit(c, 2, v), 2);
	EQ(events(c, 2, 2, e, NULL), 2);
	CHECK(memcmp(a, "host", 4) == 0 && memcmp(b, "file", 4) == 0);
	OK(destroy(c));
}

static const struct check_case cases[] = {
	CASE(contexts), CASE_IN_MAIN(write_and_read), CASE(vectors_and_sync), CASE(errors), CASE(told_by_eventfd), CASE(many_requests),
	CASE(host_and_store_in_one_context),
};
CHECK_MAIN(cases)
