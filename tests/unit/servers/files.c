/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors of files: reading and writing, locks, FIFOs, copies, directories, ioctls. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "testclient.h"

static char root[64];
static struct tc_domain d;
static struct tc c;
static int rootfd;

static void setup(void)
{
	snprintf(root, sizeof root, "/tmp/vos-files-XXXXXX");
	cr_assert(mkdtemp(root));
	rootfd = open(root, O_RDONLY | O_DIRECTORY);
	tc_start(&d, VOS_KIND_STORE, root);
	cr_assert_eq(tc_join(&d, &c, 4, 64, 4 << 20), 0, "%s", d.msg.text);
}

static void teardown(void)
{
	struct dirent *e;
	DIR *dir;

	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
	dir = opendir(root);
	while ((e = readdir(dir)))
		unlinkat(rootfd, e->d_name, 0);
	closedir(dir);
	cr_expect_eq(rmdir(root), 0);
}

TestSuite(files, .init = setup, .fini = teardown, .timeout = 60);

#define AT ((uint64_t)VOS_AT_ROOT)

static uint64_t open_file(const char *name, int flags)
{
	long fd = tc(&c, __NR_openat, AT, tc_str(&c, name), (uint64_t)flags, 0644);

	cr_assert_geq(fd, 0, "open %s: %ld", name, fd);
	return (uint64_t)fd;
}

/* A request on a lane of its own that is expected to wait. */
static uint64_t begin(uint32_t lane, uint16_t op, uint64_t a0, uint64_t a1, uint64_t a2)
{
	struct vos_cqe cqe;
	uint64_t user = tc_submit(&c, lane, op, 0, (uint64_t[6]){ a0, a1, a2 });

	cr_expect(!tc_reap(&c, lane, &cqe, 30), "it did not wait: %ld", cqe.res);
	return user;
}

static long end(uint32_t lane)
{
	struct vos_cqe cqe;

	return tc_reap(&c, lane, &cqe, 5000) ? cqe.res : -ETIMEDOUT;
}

Test(files, positions)
{
	uint64_t fd = open_file("f", O_RDWR | O_CREAT), out = tc_alloc(&c, 4096), in = tc_str(&c, "0123456789");

	cr_expect_eq(tc(&c, __NR_write, fd, in, 10), 10);
	cr_expect_eq(tc(&c, __NR_read, fd, out, 10), 0);
	cr_expect_eq(tc(&c, __NR_lseek, fd, 2, SEEK_SET), 2);
	cr_expect_eq(tc(&c, __NR_read, fd, out, 3), 3);
	cr_expect_arr_eq(tc_at(&c, out), "234", 3);
	cr_expect_eq(tc(&c, __NR_readv, fd, out, 100), 5);
	cr_expect_arr_eq(tc_at(&c, out), "56789", 5);
	cr_expect_eq(tc(&c, __NR_pwritev, fd, in, 4, 20), 4);
	cr_expect_eq(tc(&c, __NR_preadv, fd, out, 100, 18), 6);
	cr_expect_arr_eq(tc_at(&c, out), "\0\0000123", 6);
	cr_expect_eq(tc(&c, __NR_preadv2, fd, out, 100, (uint64_t)-1, 0, 0), 14, "the file's own offset");
	cr_expect_eq(tc(&c, __NR_pread64, fd, out, 100, (uint64_t)-1), -EINVAL);
	cr_expect_eq(tc(&c, __NR_preadv, fd, out, 100, (uint64_t)-1), -EINVAL);
	cr_expect_eq(tc(&c, __NR_pwritev2, fd, in, 2, 0, 0, RWF_DSYNC), 2);
	cr_expect_eq(tc(&c, __NR_preadv2, fd, out, 5, 0, 0, 0x1000), -EOPNOTSUPP);
	cr_expect_eq(tc(&c, __NR_lseek, fd, 0, 77), -EINVAL);
	cr_expect_eq(tc(&c, __NR_ftruncate, fd, 3), 0);
	cr_expect_eq(tc(&c, __NR_fallocate, fd, 0, 0, 8192), 0);
	cr_expect_eq(tc(&c, __NR_fstat, fd, out), 0);
	cr_expect_eq(((struct stat *)tc_at(&c, out))->st_size, 8192);
	cr_expect_eq(tc(&c, __NR_fsync, fd), 0);
	cr_expect_eq(tc(&c, __NR_fdatasync, fd), 0);
	cr_expect_eq(tc(&c, __NR_syncfs, fd), 0);
	cr_expect_eq(tc(&c, __NR_sync_file_range, fd, 0, 4096, 2), 0);
	cr_expect_eq(tc(&c, __NR_fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	cr_expect_eq(tc(&c, __NR_fstatfs, fd, out), 0);
	cr_expect_eq(tc(&c, __NR_fchmod, fd, 0600), 0);
	cr_expect_eq(tc(&c, __NR_fchown, fd, (uint64_t)-1, (uint64_t)-1), 0);
	cr_expect_eq(tc(&c, __NR_close, fd), 0);
	cr_expect_eq(tc(&c, __NR_read, fd, out, 3), -EBADF);
}

Test(files, cold_large_read)
{
	const size_t len = 3 << 20;
	uint64_t fd = open_file("big", O_RDWR | O_CREAT), buf = tc_alloc(&c, len);
	unsigned char *p = tc_at(&c, buf);

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 7 + i / 4096);
	cr_expect_eq(tc(&c, __NR_pwrite64, fd, buf, len, 0), (long)len);
	for (int k = 0; k < 3; k++) {
		cr_expect_eq(tc(&c, __NR_fdatasync, fd), 0);
		cr_expect_eq(tc(&c, __NR_fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		/* Some of it in memory again, so that a read without waiting comes back short. */
		cr_expect_eq(tc(&c, __NR_pread64, fd, buf, 4096, 65536u * (unsigned)k), 4096);
		memset(p, 0, len);
		cr_expect_eq(tc(&c, __NR_lseek, fd, 0, SEEK_SET), 0);
		cr_expect_eq(tc(&c, __NR_read, fd, buf, len), (long)len);
		for (size_t i = 0; i < len; i++)
			if (p[i] != (unsigned char)(i * 7 + i / 4096))
				cr_assert_fail("byte %zu differs", i);
		cr_expect_eq(tc(&c, __NR_lseek, fd, 0, SEEK_CUR), (long)len);
		cr_expect_eq(tc(&c, __NR_pread64, fd, buf, len, 100), (long)len - 100);
	}
}

Test(files, sync_and_append)
{
	uint64_t fd = open_file("s", O_WRONLY | O_CREAT | O_SYNC | O_APPEND), in = tc_str(&c, "0123456789");
	uint64_t fd2 = open_file("s", O_RDWR), out = tc_alloc(&c, 100);

	cr_expect_eq(tc(&c, __NR_write, fd, in, 10), 10);
	cr_expect_eq(tc(&c, __NR_write, fd, in, 5), 5);
	cr_expect_eq(tc(&c, __NR_read, fd2, out, 100), 15);
	cr_expect_arr_eq(tc_at(&c, out), "012345678901234", 15);
	cr_expect_eq(tc(&c, __NR_fcntl, fd2, F_SETFL, O_APPEND), 0);
	cr_expect_eq(tc(&c, __NR_fcntl, fd2, F_GETFL) & O_APPEND, O_APPEND);
}

Test(files, directories)
{
	uint64_t out = tc_alloc(&c, 65536), at;
	unsigned seen = 0;
	long fd, n;

	for (int i = 0; i < 100; i++) {
		char name[16];

		tc_reset(&c);
		tc_alloc(&c, 65536);
		snprintf(name, sizeof name, "n%d", i);
		tc(&c, __NR_close, open_file(name, O_WRONLY | O_CREAT));
	}
	fd = tc(&c, __NR_openat, AT, tc_str(&c, "."), O_RDONLY | O_DIRECTORY, 0);
	cr_assert_geq(fd, 0);
	cr_expect_eq(tc(&c, __NR_read, (uint64_t)fd, out, 10), -EISDIR);
	while ((n = tc(&c, __NR_getdents64, (uint64_t)fd, out, 1000)) > 0) {
		for (at = 0; at < (uint64_t)n; at += ((unsigned short *)tc_at(&c, out + at))[8])
			seen++;
	}
	cr_expect_eq(n, 0);
	cr_expect_eq(seen, 102);
	cr_expect_eq(tc(&c, __NR_fchdir, (uint64_t)fd), 0);
	cr_expect_eq(tc(&c, __NR_newfstatat, (uint64_t)VOS_AT_CWD, tc_str(&c, "n5"), out, 0), 0);
	cr_expect_eq(tc(&c, __NR_umask, 077), 022);
	cr_expect_eq(tc(&c, __NR_mkdirat, (uint64_t)VOS_AT_CWD, tc_str(&c, "private"), 0777), 0);
	cr_expect_eq(tc(&c, __NR_newfstatat, AT, tc_str(&c, "private"), out, 0), 0);
	cr_expect_eq(((struct stat *)tc_at(&c, out))->st_mode & 0777, 0700);
	cr_expect_eq(tc(&c, __NR_unlinkat, AT, tc_str(&c, "private"), AT_REMOVEDIR), 0);
}

Test(files, fifo)
{
	uint64_t out = tc_alloc(&c, 1 << 20), name, reader, writer;
	struct vos_cqe cqe;
	long r;
	uint64_t user;

	cr_assert_eq(mkfifoat(rootfd, "fifo", 0644), 0);
	name = tc_str(&c, "fifo");
	memcpy(c.lane[1].data, "fifo", 5);
	/* The reader's open waits for the writer's, and the other way round. */
	begin(1, __NR_openat, AT, 0, O_RDONLY);
	r = tc(&c, __NR_openat, AT, name, O_WRONLY, 0);
	cr_assert_geq(r, 0);
	writer = (uint64_t)r;
	r = end(1);
	cr_assert_geq(r, 0);
	reader = (uint64_t)r;
	cr_expect_eq(tc(&c, __NR_fcntl, reader, F_GETFL) & O_NONBLOCK, 0);
	begin(1, __NR_read, reader, 0, 100);
	cr_expect_eq(tc(&c, __NR_write, writer, tc_str(&c, "through"), 7), 7);
	cr_expect_eq(end(1), 7);
	cr_expect_arr_eq(c.lane[1].data, "through", 7);
	/* A write of more than it holds goes on until all is taken. */
	user = begin(2, __NR_write, writer, 0, 200000);
	(void)user;
	for (long got = 0; got < 200000; got += r) {
		r = tc(&c, __NR_read, reader, out, 65536);
		cr_assert_gt(r, 0);
	}
	cr_expect_eq(end(2), 200000);
	/* Cancelled: nothing is taken. */
	user = begin(1, __NR_read, reader, 0, 100);
	cr_expect_eq(tc_submit(&c, 1, VOS_OP_CANCEL, 0, (uint64_t[6]){ user }), user + 1);
	for (int i = 0; i < 2; i++) {
		cr_assert(tc_reap(&c, 1, &cqe, 5000));
		cr_expect_eq(cqe.res, cqe.user == user ? -ECANCELED : 0);
	}
	cr_expect_eq(tc(&c, __NR_write, writer, tc_str(&c, "x"), 1), 1);
	cr_expect_eq(tc(&c, __NR_read, reader, out, 65536), 1);
	cr_expect_eq(tc(&c, __NR_fcntl, reader, F_SETFL, O_NONBLOCK), 0);
	cr_expect_eq(tc(&c, __NR_read, reader, out, 65536), -EAGAIN);
	cr_expect_eq(tc(&c, __NR_close, writer), 0);
	cr_expect_eq(tc(&c, __NR_read, reader, out, 65536), 0);
	/* The writer's open waits, and is cancelled. */
	cr_expect_eq(tc(&c, __NR_close, reader), 0);
	memcpy(c.lane[1].data, "fifo", 5);
	user = begin(1, __NR_openat, AT, 0, O_WRONLY);
	tc_submit(&c, 1, VOS_OP_CANCEL, 0, (uint64_t[6]){ VOS_NULL });
	for (int i = 0; i < 2; i++) {
		cr_assert(tc_reap(&c, 1, &cqe, 5000));
		cr_expect_eq(cqe.res, cqe.user == user ? -ECANCELED : 0);
	}
	cr_expect_eq(tc(&c, __NR_openat, AT, name, O_WRONLY | O_NONBLOCK, 0), -ENXIO);
	cr_expect_eq(tc(&c, __NR_truncate, name, 0, 0, 0, 0, AT), -EINVAL);
}

Test(files, pipe_peer_gone)
{
	uint64_t r, w;

	cr_assert_eq(mkfifoat(rootfd, "fifo", 0644), 0);
	r = open_file("fifo", O_RDONLY | O_NONBLOCK);
	w = open_file("fifo", O_WRONLY);
	cr_expect_eq(tc(&c, __NR_close, r), 0);
	cr_expect_eq(tc(&c, __NR_write, w, tc_str(&c, "x"), 1), -EPIPE, "and the proxy lives");
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0);
}

static void set_lock(uint64_t at, short type, long start, long len)
{
	struct flock *l = tc_at(&c, at);

	memset(l, 0, sizeof *l);
	l->l_type = type;
	l->l_whence = SEEK_SET;
	l->l_start = start;
	l->l_len = len;
}

Test(files, locks)
{
	uint64_t fd = open_file("l", O_RDWR | O_CREAT), fd2 = open_file("l", O_RDWR), at = tc_alloc(&c, sizeof(struct flock));
	struct flock other = { .l_type = F_WRLCK, .l_start = 10, .l_len = 10 }, *l = tc_at(&c, at);
	struct vos_cqe cqe;
	uint64_t user;
	int native = openat(rootfd, "l", O_RDWR);

	/* Another process has the lock: this one. */
	cr_assert_eq(fcntl(native, F_SETLK, &other), 0);
	set_lock(at, F_WRLCK, 0, 5);
	cr_expect_eq(tc(&c, __NR_fcntl, fd, F_SETLK, at), 0);
	set_lock(at, F_WRLCK, 12, 1);
	cr_expect_eq(tc(&c, __NR_fcntl, fd, F_GETLK, at), 0);
	cr_expect(l->l_type == F_WRLCK && l->l_start == 10 && l->l_len == 10);
	set_lock(at, F_WRLCK, 12, 1);
	cr_expect_eq(tc(&c, __NR_fcntl, fd, F_SETLK, at), -EAGAIN);
	memcpy(c.lane[1].data, tc_at(&c, at), sizeof *l);
	user = begin(1, __NR_fcntl, fd, F_SETLKW, 0);
	tc_submit(&c, 1, VOS_OP_CANCEL, 0, (uint64_t[6]){ user });
	for (int i = 0; i < 2; i++) {
		cr_assert(tc_reap(&c, 1, &cqe, 5000));
		cr_expect_eq(cqe.res, cqe.user == user ? -ECANCELED : 0);
	}
	begin(1, __NR_fcntl, fd, F_SETLKW, 0);
	other.l_type = F_UNLCK;
	cr_assert_eq(fcntl(native, F_SETLK, &other), 0);
	cr_expect_eq(end(1), 0);
	other.l_type = F_WRLCK;
	cr_expect_eq(fcntl(native, F_SETLK, &other), -1);
	/* Closing any descriptor of the file drops the process's locks. */
	cr_expect_eq(tc(&c, __NR_close, fd2), 0);
	cr_expect_eq(fcntl(native, F_SETLK, &other), 0);
	/* Locks of an open file. */
	fd2 = open_file("l", O_RDWR);
	set_lock(at, F_WRLCK, 100, 1);
	cr_expect_eq(tc(&c, __NR_fcntl, fd, F_OFD_SETLK, at), 0);
	cr_expect_eq(tc(&c, __NR_fcntl, fd2, F_OFD_SETLK, at), -EAGAIN);
	memcpy(c.lane[1].data, tc_at(&c, at), sizeof *l);
	begin(1, __NR_fcntl, fd2, F_OFD_SETLKW, 0);
	cr_expect_eq(tc(&c, __NR_close, fd), 0);
	cr_expect_eq(end(1), 0);
	/* flock */
	fd = open_file("l", O_RDWR);
	cr_expect_eq(tc(&c, __NR_flock, fd, LOCK_EX), 0);
	cr_expect_eq(tc(&c, __NR_flock, fd2, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
	begin(1, __NR_flock, fd2, LOCK_SH, 0);
	cr_expect_eq(tc(&c, __NR_flock, fd, LOCK_UN), 0);
	cr_expect_eq(end(1), 0);
}

Test(files, many_waiting_locks)
{
	uint64_t fd = open_file("l", O_RDWR | O_CREAT), user[3][60];
	struct vos_cqe cqe;
	int native = openat(rootfd, "l", O_RDWR), got = 0;

	/* What does not wait is served all the same, and each of them ends. */
	cr_assert_eq(flock(native, LOCK_EX), 0);
	for (uint32_t lane = 1; lane < 4; lane++)
		for (int i = 0; i < 60; i++)
			user[lane - 1][i] = tc_submit(&c, lane, __NR_flock, 0, (uint64_t[6]){ open_file("l", O_RDWR), LOCK_SH });
	for (int i = 0; i < 30; i++) {
		tc_submit(&c, 2, VOS_OP_CANCEL, 0, (uint64_t[6]){ user[1][i] });
		for (int k = 0; k < 2; k++) {
			cr_assert(tc_reap(&c, 2, &cqe, 5000));
			cr_assert(cqe.res == (cqe.user == user[1][i] ? -ECANCELED : 0));
		}
	}
	cr_expect_eq(tc(&c, __NR_fstat, fd, 0), 0);
	flock(native, LOCK_UN);
	for (uint32_t lane = 1; lane < 4; lane++)
		while (tc_reap(&c, lane, &cqe, lane == 2 ? 1000 : 5000)) {
			cr_expect_eq(cqe.res, 0);
			if (++got == 60 || got == 90 || got == 150)
				break;
		}
	cr_expect_eq(got, 150);
}

Test(files, copies)
{
	uint64_t a = open_file("a", O_RDWR | O_CREAT), b = open_file("b", O_RDWR | O_CREAT), off = tc_alloc(&c, 8), off2 = tc_alloc(&c, 8);
	uint64_t buf = tc_alloc(&c, 1 << 20);

	memset(tc_at(&c, buf), 'z', 1 << 20);
	cr_expect_eq(tc(&c, __NR_write, a, buf, 1 << 20), 1 << 20);
	*(uint64_t *)tc_at(&c, off) = 100;
	cr_expect_eq(tc(&c, __NR_sendfile, b, a, off, 1000), 1000);
	cr_expect_eq(*(uint64_t *)tc_at(&c, off), 1100);
	cr_expect_eq(tc(&c, __NR_sendfile, b, a, off, 1 << 30), (1 << 20) - 1100, "by a worker");
	cr_expect_eq(*(uint64_t *)tc_at(&c, off), 1 << 20);
	*(uint64_t *)tc_at(&c, off) = 0;
	*(uint64_t *)tc_at(&c, off2) = 5;
	cr_expect_eq(tc(&c, __NR_copy_file_range, a, off, b, off2, 1000, 0), 1000);
	cr_expect_eq(*(uint64_t *)tc_at(&c, off2), 1005);
	cr_expect_eq(tc(&c, __NR_copy_file_range, a, off, b, VOS_NULL, 1 << 25, 0), (1 << 20) - 1000);
	cr_expect_eq(tc(&c, __NR_copy_file_range, a, off, a, off2, 10, 7), -EINVAL);
	cr_expect_eq(tc(&c, __NR_sendfile, b, 2, VOS_NULL, 10), -EBADF, "not the client's");
}

Test(files, ioctls)
{
	uint64_t fd = open_file("f", O_RDWR | O_CREAT), at = tc_alloc(&c, 4096);
	int native = openat(rootfd, "f", O_RDWR), flags = 0, r;

	cr_expect_eq(tc(&c, __NR_write, fd, at, 1000), 1000);
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FIONREAD, at, 4), 0);
	cr_expect_eq(*(int *)tc_at(&c, at), 0);
	cr_expect_eq(tc(&c, __NR_lseek, fd, 0, SEEK_SET), 0);
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FIONREAD, at, 4), 0);
	cr_expect_eq(*(int *)tc_at(&c, at), 1000);
	cr_expect_eq(tc(&c, __NR_ioctl, fd, TCGETS, at, 60), -ENOTTY);
	r = ioctl(native, FS_IOC_GETFLAGS, &flags) ? -errno : 0;
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FS_IOC_GETFLAGS, at, 8), r);
	if (!r)
		cr_expect_eq(*(int *)tc_at(&c, at), flags);
	r = ioctl(native, FICLONE, native) ? -errno : 0;
	*(int *)tc_at(&c, at) = (int)fd;
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FICLONE, at, 4), r);
	*(int *)tc_at(&c, at) = 2;
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FICLONE, at, 4), -EBADF);
	cr_expect_eq(tc(&c, __NR_ioctl, fd, 0xdeadbeef, at, 4), -ENOTTY);
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FS_IOC_GETFLAGS, at, 1), -EFAULT);
	cr_expect_eq(tc(&c, __NR_ioctl, fd, FS_IOC_FIEMAP, at, 4096) <= 0, 1);
}

Test(files, reopen_dup_path)
{
	uint64_t fd = open_file("f", O_RDONLY | O_CREAT), out = tc_alloc(&c, 4096);
	long r = tc(&c, VOS_OP_REOPEN, fd, O_RDWR), k;

	cr_assert_geq(r, 0);
	cr_expect_eq(tc_cqe.aux & S_IFMT, S_IFREG);
	cr_expect_eq(tc(&c, __NR_write, (uint64_t)r, tc_str(&c, "abc"), 3), 3);
	cr_expect_eq(tc(&c, __NR_write, fd, 0, 3), -EBADF);
	k = tc(&c, VOS_OP_DUP, fd);
	cr_assert_geq(k, 0);
	cr_expect_eq(tc(&c, __NR_read, fd, out, 2), 2);
	cr_expect_eq(tc(&c, __NR_read, (uint64_t)k, out, 2), 1, "one offset");
	cr_expect_eq(tc(&c, VOS_OP_PATH, fd, out, 4096), 1);
	cr_expect_str_eq(tc_at(&c, out), "f");
	cr_expect_eq(tc(&c, VOS_OP_PATH, fd, out, 1), -ERANGE);
	cr_expect_eq(tc(&c, VOS_OP_PATH, AT, out, 1), 0, "the root is empty");
	cr_expect_eq(tc(&c, VOS_OP_PATH, 1000, out, 1), -EBADF);
	cr_expect_eq(tc(&c, __NR_unlinkat, AT, tc_str(&c, "f"), 0), 0);
	cr_expect_eq(tc(&c, VOS_OP_REOPEN, fd, O_RDWR), fd == 0 ? 0 : tc_cqe.res);
	cr_expect_geq(tc_cqe.res, 0, "also when its name is gone");
	/* A file that never had a name gets one. */
	r = tc(&c, __NR_openat, AT, tc_str(&c, "."), O_TMPFILE | O_RDWR, 0644);
	if (r >= 0)
		cr_expect_eq(tc(&c, __NR_linkat, (uint64_t)r, tc_str(&c, ""), AT, tc_str(&c, "named"), AT_EMPTY_PATH), 0);
}

Test(files, close_while_reading)
{
	uint64_t r, w, fd;

	cr_assert_eq(mkfifoat(rootfd, "fifo", 0644), 0);
	r = open_file("fifo", O_RDONLY | O_NONBLOCK);
	w = open_file("fifo", O_RDWR);
	cr_expect_eq(tc(&c, __NR_fcntl, r, F_SETFL, 0), 0);
	begin(1, __NR_read, r, 0, 100);
	/* The number is another file's before the read is done. */
	cr_expect_eq(tc(&c, __NR_close, r), 0);
	fd = open_file("other", O_RDWR | O_CREAT);
	cr_expect_eq(fd, r);
	cr_expect_eq(tc(&c, __NR_write, fd, tc_str(&c, "wrong"), 5), 5);
	cr_expect_eq(tc(&c, __NR_lseek, fd, 0, SEEK_SET), 0);
	cr_expect_eq(tc(&c, __NR_write, w, tc_str(&c, "right"), 5), 5);
	cr_expect_eq(end(1), 5);
	cr_expect_arr_eq(c.lane[1].data, "right", 5);
}
