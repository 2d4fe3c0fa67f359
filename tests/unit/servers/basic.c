/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shortest way through broker, proxy, validation and execution, for either kind of domain. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "testclient.h"

Test(basic, storage)
{
	char dir[] = "/tmp/vos-basic-XXXXXX";
	struct tc_domain d;
	struct tc c;
	uint64_t out;
	long fd;

	cr_assert(mkdtemp(dir));
	tc_start(&d, VOS_KIND_STORE, dir);
	cr_assert_eq(tc_join(&d, &c, 2, 16, 65536), 0);
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0);
	out = tc_alloc(&c, 4096);
	fd = tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "file"), O_RDWR | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	cr_expect_eq(tc_cqe.aux & S_IFMT, S_IFREG);
	cr_expect_eq(tc(&c, __NR_write, (uint64_t)fd, tc_str(&c, "hello"), 5), 5);
	cr_expect_eq(tc(&c, __NR_pread64, (uint64_t)fd, out, 100, 1), 4);
	cr_expect_arr_eq(tc_at(&c, out), "ello", 4);
	cr_expect_eq(tc(&c, __NR_fstat, (uint64_t)fd, out), 0);
	cr_expect_eq(((struct stat *)tc_at(&c, out))->st_size, 5);
	cr_expect_eq(tc(&c, __NR_close, (uint64_t)fd), 0);
	cr_expect_eq(tc(&c, __NR_close, (uint64_t)fd), -EBADF);
	cr_expect_eq(tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "../etc/passwd"), O_RDONLY), -EXDEV);
	cr_expect_eq(tc_cqe.flags, VOS_CQE_ESCAPE);
	cr_expect_eq(tc(&c, __NR_unlinkat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "file"), 0), 0);
	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
	cr_expect_eq(rmdir(dir), 0);
}

Test(basic, files_are_handed_over)
{
	char dir[] = "/tmp/vos-basic-XXXXXX", b[6] = "";
	struct tc_domain d;
	uint64_t tag = 0;
	int given, n = 0;
	long fd, at;
	struct tc c;

	cr_assert(mkdtemp(dir));
	tc_start(&d, VOS_KIND_STORE, dir);
	cr_assert_eq(tc_join(&d, &c, 2, 16, 65536), 0);
	fd = tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "file"), O_RDWR | O_CREAT, 0600);
	at = tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "."), O_RDONLY | O_DIRECTORY);
	cr_assert(fd >= 0 && at >= 0);
	cr_expect_eq(tc(&c, __NR_write, (uint64_t)fd, tc_str(&c, "hello"), 5), 5);
	cr_expect_eq(c.t.ops->take_file(&c.t, &tag), -EAGAIN);
	cr_expect_eq(tc(&c, VOS_OP_FILE, (uint64_t)fd, 77), 0);
	given = c.t.ops->take_file(&c.t, &tag);
	cr_assert_geq(given, 0);
	cr_expect_eq(tag, 77);
	cr_expect_eq(fcntl(given, F_GETFD), FD_CLOEXEC);
	cr_expect_eq(pread(given, b, 5, 0), 5);
	cr_expect_str_eq(b, "hello");
	close(given);
	/* Nothing but regular files of the client's own. */
	cr_expect_eq(tc(&c, VOS_OP_FILE, (uint64_t)at, 1), -ENODEV);
	cr_expect_eq(tc(&c, VOS_OP_FILE, (uint64_t)c.t.control_fd + 500, 1), -EBADF);
	cr_expect_eq(tc(&c, VOS_OP_FILE, 0, 1), -EBADF);
	/* Who does not take them does not get ever more. */
	while (n < 10000 && tc(&c, VOS_OP_FILE, (uint64_t)fd, 2) == 0)
		n++;
	cr_expect(n > 0 && n < 10000);
	cr_expect_eq(tc(&c, VOS_OP_FILE, (uint64_t)fd, 3), -EAGAIN);
	while ((given = c.t.ops->take_file(&c.t, &tag)) >= 0) {
		close(given);
		n--;
	}
	cr_expect_eq(given, -EAGAIN);
	cr_expect_eq(n, 0);
	cr_expect_eq(tc(&c, __NR_unlinkat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "file"), 0), 0);
	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
	cr_expect_eq(rmdir(dir), 0);
}

Test(basic, network)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct tc_domain d;
	struct tc c;
	uint64_t addr, len, out;
	long l, s, k;
	uint32_t n = sizeof a;
	struct vos_cqe cqe;
	uint64_t user;

	tc_start(&d, VOS_KIND_NET, NULL);
	cr_assert_eq(tc_join(&d, &c, 2, 16, 65536), 0);
	addr = tc_bytes(&c, &a, sizeof a);
	len = tc_bytes(&c, &n, sizeof n);
	out = tc_alloc(&c, 4096);
	l = tc(&c, __NR_socket, AF_INET, SOCK_STREAM, 0);
	cr_assert_geq(l, 0);
	cr_expect_eq(tc(&c, __NR_bind, (uint64_t)l, addr, sizeof a), 0);
	cr_expect_eq(tc(&c, __NR_listen, (uint64_t)l, 5), 0);
	cr_expect_eq(tc(&c, __NR_getsockname, (uint64_t)l, addr, len), 0);
	/* accept waits, and what comes after it on the lane does not wait for it. */
	user = tc_submit(&c, 0, __NR_accept4, 0, (uint64_t[6]){ (uint64_t)l, VOS_NULL, VOS_NULL, 0 });
	s = tc(&c, __NR_socket, AF_INET, SOCK_STREAM, 0);
	cr_assert_geq(s, 0);
	cr_expect_eq(tc(&c, __NR_connect, (uint64_t)s, addr, sizeof a), 0);
	cr_assert(tc_reap(&c, 0, &cqe, 5000));
	cr_assert_eq(cqe.user, user);
	k = cqe.res;
	cr_assert_geq(k, 0);
	user = tc_submit(&c, 0, __NR_recvfrom, 0, (uint64_t[6]){ (uint64_t)k, out, 100, 0, VOS_NULL, VOS_NULL });
	cr_expect_eq(tc(&c, __NR_sendto, (uint64_t)s, tc_str(&c, "ping"), 4, 0, VOS_NULL, 0), 4);
	cr_assert(tc_reap(&c, 0, &cqe, 5000));
	cr_expect_eq(cqe.user, user);
	cr_expect_eq(cqe.res, 4);
	cr_expect_arr_eq(tc_at(&c, out), "ping", 4);
	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
}
