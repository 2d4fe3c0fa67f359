/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors, transfers and marshalling against a storage domain in the process. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "interpose/dispatch/fdmap_impl.h"
#include "store.h"

static long open_in(const char *name, int flags)
{
	return CALL(openat, AT_FDCWD, P(in_top("pre/%s", name)), flags, 0644);
}

Test(fdmap, placeholder_holds_the_number)
{
	char b[8] = "";
	long fd;

	store_start(false);
	fd = open_in("f", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(fd, dup(0) - 1, "the lowest free number");
	cr_assert_eq(vos_fd_kind(&store_proc, fd), VOS_FDKIND_REMOTE);
	cr_assert_eq(read((int)fd, b, 1), -1);
	cr_assert_eq(errno, EBADF);
	cr_assert_eq(fcntl((int)fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(CALL(read, fd, P(b), 8), 6);
	cr_assert_str_eq(b, "domain");
	cr_assert_eq(CALL(close, fd), 0);
	cr_assert_eq(CALL(close, fd), -EBADF);
	cr_assert_eq(CALL(read, fd, P(b), 8), -EBADF);
}

Test(fdmap, dups_share_and_the_last_closes)
{
	unsigned before;
	long fd, two, three;
	char b[8];

	store_start(false);
	fd = open_in("f", O_RDONLY);
	two = CALL(dup, fd);
	three = CALL(fcntl, fd, F_DUPFD, 40);
	cr_assert_eq(three, 40);
	cr_assert_eq(CALL(read, fd, P(b), 2), 2);
	cr_assert_eq(CALL(read, two, P(b), 2), 2);
	cr_assert_eq(b[0], 'm');
	before = store_requests;
	cr_assert_eq(CALL(close, fd), 0);
	cr_assert_eq(CALL(close, two), 0);
	cr_assert_eq(store_requests, before, "a dup is closed without the domain");
	cr_assert_eq(CALL(close, three), 0);
	cr_assert_eq(store_requests, before + 1);
	cr_assert(!vos_fdmap_any(&store_proc));
}

Test(fdmap, dup2_between_kinds)
{
	long fd, host;
	char b[8];

	store_start(false);
	fd = open_in("f", O_RDONLY);
	host = open(in_top("host/h"), O_RDONLY);
	cr_assert_eq(CALL(dup2, host, fd), fd);
	cr_assert_eq(vos_fd_kind(&store_proc, fd), VOS_FDKIND_NATIVE);
	cr_assert_eq(CALL(read, fd, P(b), 4), 4);
	cr_assert_eq(memcmp(b, "host", 4), 0);
	fd = open_in("f", O_RDONLY);
	cr_assert_eq(CALL(dup3, fd, host, O_CLOEXEC), host);
	cr_assert_eq(fcntl((int)host, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(CALL(read, host, P(b), 6), 6);
	cr_assert_eq(CALL(dup3, fd, fd, 0), -EINVAL);
	cr_assert_eq(CALL(dup2, fd, fd), fd);
	cr_assert_eq(CALL(dup2, fd, -1), -EBADF);
}

Test(fdmap, own_descriptors_are_out_of_reach)
{
	int where = -1, fd, n;

	store_start(false);
	fd = open("/dev/null", O_RDONLY);
	n = vos_fd_own(fd, &where);
	cr_assert(n > 900 && n == where);
	cr_assert_eq(CALL(close, n), -EBADF);
	cr_assert_eq(CALL(dup, n), -EBADF);
	cr_assert_eq(CALL(fcntl, n, F_GETFD), -EBADF);
	cr_assert_eq(CALL(dup2, 0, n), n, "the program wants that number");
	cr_assert(where != n && fcntl(where, F_GETFD) >= 0);
	n = where;
	cr_assert_eq(CALL(close_range, 900, ~0U, 0), 0);
	cr_assert_eq(fcntl(where, F_GETFD), FD_CLOEXEC);
	vos_fd_disown(where);
	cr_assert_eq(CALL(dup2, 0, n), n);
}

Test(fdmap, limit_leaves_nothing_behind)
{
	unsigned before;
	struct stat st;

	store_start(false);
	CALL(close, open_in("f", O_RDONLY));
	while (dup(0) >= 0)
		;
	before = store_requests;
	cr_assert_eq(open_in("new", O_RDWR | O_CREAT), -EMFILE);
	cr_assert_eq(store_requests, before);
	cr_assert_eq(stat(in_top("exp/new"), &st), -1);
}

Test(fdmap, old_epoch_is_stale)
{
	char b[8];
	long fd;

	store_start(false);
	fd = open_in("f", O_RDONLY);
	store_reboot();
	cr_assert_eq(CALL(read, fd, P(b), 8), -EIO);
	cr_assert_eq(CALL(close, fd), 0);
	fd = open_in("f", O_RDONLY);
	cr_assert_eq(CALL(read, fd, P(b), 8), 6);
}

Test(fdmap, through_exec)
{
	long fd, gone, twin;
	int mem;
	void *map;
	size_t used;
	off_t len;
	char b[8];

	store_start(false);
	fd = open_in("f", O_RDONLY);
	twin = CALL(dup, fd);
	gone = open_in("sub/g", O_RDONLY | O_CLOEXEC);
	mem = memfd_create("state", 0);
	cr_assert_eq(vos_fdmap_save(&store_proc, mem), 0);
	len = lseek(mem, 0, SEEK_END);
	map = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, mem, 0);
	/* The new image: nothing but the kernel's table is left. */
	store_proc.fdkind = NULL;
	store_proc.ofd = NULL;
	close((int)gone);
	cr_assert_eq(vos_fdmap_init(&store_proc), 0);
	cr_assert_eq(vos_fdmap_load(&store_proc, map, (size_t)len, &used), 0);
	cr_assert_eq(used, (size_t)len);
	cr_assert_eq(CALL(read, fd, P(b), 3), 3);
	cr_assert_eq(CALL(read, twin, P(b), 8), 3, "one open file still");
	cr_assert_eq(vos_fd_kind(&store_proc, gone), VOS_FDKIND_NATIVE);
	cr_assert_eq(store_proc.ofd[fd]->refs, 2);
	for (size_t cut = 0; cut < (size_t)len; cut += 7)
		vos_fdmap_load(&store_proc, map, cut, &used);
}

Test(fdmap, a_fork_counts_anew)
{
	struct vos_ofd *o;
	long fd;

	store_start(false);
	fd = open_in("f", O_RDONLY);
	o = vos_fd_get((uint64_t)fd); /* as a thread of the parent would have it */
	vos_fdmap_fork_prepare(&store_proc);
	vos_fdmap_fork_child(&store_proc);
	vos_path_fork_child(&store_proc);
	cr_assert_eq(o->refs, 1);
	cr_assert_eq(CALL(close, fd), 0);
	cr_assert_eq(o->refs, 0);
}

static void *closer(void *arg)
{
	vos_raw2(__NR_arch_prctl, 0x1001 /* ARCH_SET_GS */, VOS_PTR(arg));
	for (int i = 0; i < 20000; i++) {
		int fd = vos_fd_install(vos_ofd_new(store_proc.domain[0], -1, S_IFREG, 0), 0);

		vos_fd_close(fd);
	}
	return NULL;
}

Test(fdmap, get_races_with_close)
{
	static struct vos_carrier other;
	pthread_t t;
	unsigned seen = 0;

	store_start(false);
	other = *vos_self();
	other.self = &other;
	pthread_create(&t, NULL, closer, &other);
	for (int i = 0; i < 200000; i++) {
		struct vos_ofd *o = vos_fd_get((uint64_t)(i % 16));

		if (o) {
			seen++;
			cr_assert(o->refs >= 1);
			cr_assert_eq(o->mode, S_IFREG);
			vos_ofd_put(o);
		}
	}
	pthread_join(t, NULL);
	cr_assert(!vos_fdmap_any(&store_proc));
	(void)seen;
}

/* ---- transfers and marshalling ------------------------------------------------------------------------------------------- */

Test(transfer, pieces_through_a_small_lane)
{
	static char out[300000], in[300000];
	long fd;

	store_start(false);
	store_lane = 20000;
	for (size_t i = 0; i < sizeof out; i++)
		out[i] = (char)(i * 7 + i / 251);
	fd = open_in("big", O_RDWR | O_CREAT);
	cr_assert_eq(CALL(write, fd, P(out), sizeof out), sizeof out);
	cr_assert_eq(CALL(lseek, fd, 0, SEEK_CUR), sizeof out);
	cr_assert_eq(CALL(pread64, fd, P(in), sizeof in, 0), sizeof in);
	cr_assert_eq(memcmp(in, out, sizeof in), 0);
	cr_assert_eq(CALL(pread64, fd, P(in), sizeof in, sizeof out - 5), 5);
	cr_assert_eq(CALL(pread64, fd, P(in), 10, -1L), -EINVAL);
	cr_assert_eq(CALL(pwrite64, fd, P(out), 0, 0), 0);
}

Test(transfer, vectors)
{
	struct iovec v[4];
	char a[3], b[100];
	long fd;

	store_start(false);
	fd = open_in("f", O_RDWR);
	v[0] = (struct iovec){ NULL, 0 };
	v[1] = (struct iovec){ a, sizeof a };
	v[2] = (struct iovec){ b, sizeof b };
	cr_assert_eq(CALL(readv, fd, P(v), 3), 6);
	cr_assert_eq(memcmp(a, "dom", 3), 0);
	cr_assert_eq(memcmp(b, "ain", 3), 0);
	cr_assert_eq(CALL(readv, fd, P(v), 1025), -EINVAL);
	v[2].iov_len = (size_t)-1;
	cr_assert_eq(CALL(writev, fd, P(v), 3), -EINVAL);
	cr_assert_eq(CALL(readv, fd, 8, 1), -EFAULT);
	v[1].iov_base = (void *)8;
	v[2].iov_len = 1;
	cr_assert_eq(CALL(lseek, fd, 0, SEEK_SET), 0);
	cr_assert_eq(CALL(readv, fd, P(v), 2), -EFAULT);
	cr_assert_eq(CALL(lseek, fd, 0, SEEK_CUR), 0, "nothing was taken");
}

Test(marshal, structs_and_strings)
{
	struct stat st, want;
	char b[64];
	long fd;

	store_start(false);
	fd = open_in("f", O_RDWR);
	stat(in_top("exp/f"), &want);
	cr_assert_eq(CALL(fstat, fd, P(&st)), 0);
	cr_assert_eq(st.st_ino, want.st_ino);
	cr_assert_eq(CALL(fstat, fd, 8), -EFAULT);
	cr_assert_eq(CALL(fgetxattr, fd, P("user.none"), P(b), sizeof b), -ENODATA);
	cr_assert_eq(CALL(fgetxattr, fd, 8, P(b), sizeof b), -EFAULT);
	cr_assert_eq(CALL(ftruncate, fd, 3), 0);
	cr_assert_eq(CALL(fstat, fd, P(&st)), 0);
	cr_assert_eq(st.st_size, 3);
	cr_assert_eq(CALL(getsockname, fd, P(b), P(&st)), -ENOTSOCK);
}

Test(marshal, directories)
{
	char b[1000];
	long fd;

	store_start(false);
	fd = open_in(".", O_RDONLY | O_DIRECTORY);
	cr_assert_eq(CALL(getdents64, fd, 8, sizeof b), -EFAULT);
	cr_assert(CALL(getdents64, fd, P(b), sizeof b) > 0);
	cr_assert_eq(CALL(getdents64, fd, P(b), sizeof b), 0);
}
