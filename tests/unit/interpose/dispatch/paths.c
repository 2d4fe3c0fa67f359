/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where paths lead, with a host directory under the prefix and without. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "store.h"

/* What a file opened by a path holds, or why it cannot be opened. */
static const char *read_at(int dirfd, const char *path)
{
	static char b[32];
	long fd = CALL(openat, dirfd, P(path), O_RDONLY), n;

	if (fd < 0)
		return strerror((int)-fd);
	n = CALL(read, fd, P(b), sizeof b - 1);
	if (n < 0)
		return strerror((int)-n);
	b[n] = 0;
	CALL(close, fd);
	return b;
}

#define READS(path, text) cr_expect_str_eq(read_at(AT_FDCWD, path), text, "%s gave %s", path, read_at(AT_FDCWD, path))

static void links(void)
{
	cr_assert_eq(symlink("pre/sub", in_top("into")), 0);
	cr_assert_eq(symlink(in_top("pre"), in_top("host/root")), 0);
	cr_assert_eq(symlink("../pre/f", in_top("host/up")), 0);
	cr_assert_eq(symlink(in_top("host"), in_top("exp/out")), 0);
	cr_assert_eq(symlink("../../host/h", in_top("exp/sub/climb")), 0);
	cr_assert_eq(symlink(in_top("pre/sub/g"), in_top("exp/abs")), 0);
	cr_assert_eq(symlink("sub/g", in_top("exp/rel")), 0);
	cr_assert_eq(symlink("loop", in_top("exp/loop")), 0);
	cr_assert_eq(symlink(in_top("into"), in_top("exp/round")), 0);
}

static void everywhere(bool shadow)
{
	char long_path[5000];

	store_start(shadow);
	links();
	READS(in_top("pre/f"), "domain");
	READS(in_top("pre//./sub/../f"), "domain");
	READS(in_top("pre/../pre/f"), "domain");
	READS(in_top("pre/../host/h"), "host");
	READS(in_top("host/../pre/sub/g"), "below");
	READS(in_top("nowhere/../pre/f"), "No such file or directory");
	READS(in_top("into/g"), "below");
	READS(in_top("into/../f"), "domain");
	READS(in_top("host/root/sub/g"), "below");
	READS(in_top("host/up"), "domain");
	READS(in_top("pre/out/h"), "host");
	READS(in_top("pre/out/root/f"), "domain");
	READS(in_top("pre/sub/climb"), "host");
	READS(in_top("pre/abs"), "below");
	READS(in_top("pre/rel"), "below");
	READS(in_top("pre/round/g"), "below");
	READS(in_top("pre/loop"), "Too many levels of symbolic links");
	READS(in_top("pre/f/"), "Not a directory");
	READS(in_top("pre/f/x"), "Not a directory");
	READS(in_top("pre/none"), "No such file or directory");
	READS(in_top("prefix/none"), "No such file or directory");
	READS(in_top("exp/f"), "domain");
	READS("", "No such file or directory");
	memset(long_path, 'a', sizeof long_path);
	long_path[sizeof long_path - 1] = 0;
	READS(long_path, "File name too long");
	cr_expect_eq(CALL(openat, AT_FDCWD, 8, O_RDONLY), -EFAULT);
}

Test(paths, cross_like_a_mount) { everywhere(false); }
Test(paths, cross_like_a_mount_over_a_host_directory) { everywhere(true); }

static void from_directories(bool shadow)
{
	char b[4096];
	long d, host;

	store_start(shadow);
	links();
	d = CALL(openat, AT_FDCWD, P(in_top("pre/sub")), O_RDONLY | O_DIRECTORY);
	cr_expect_str_eq(read_at((int)d, "g"), "below");
	cr_expect_str_eq(read_at((int)d, "climb"), "host");
	cr_expect_str_eq(read_at((int)d, "../../host/h"), "host");
	host = CALL(openat, AT_FDCWD, P(top), O_RDONLY | O_DIRECTORY);
	cr_expect_str_eq(read_at((int)host, "pre/f"), "domain");
	cr_expect_str_eq(read_at((int)host, "host/h"), "host");
	cr_expect_str_eq(read_at((int)host, "host/../into/g"), "below");
	cr_expect_eq(CALL(dup2, host, 90), 90);
	cr_expect_str_eq(read_at(90, "pre/f"), "domain");
	cr_assert_eq(CALL(chdir, P(in_top("pre/sub"))), 0);
	READS("g", "below");
	READS("../f", "domain");
	READS("../../host/h", "host");
	cr_assert(CALL(getcwd, P(b), sizeof b) > 0);
	cr_expect_str_eq(b, in_top("pre/sub"));
	cr_expect_eq(CALL(getcwd, P(b), 3), -ERANGE);
	cr_assert_eq(CALL(chdir, P("..")), 0);
	READS("f", "domain");
	cr_assert_eq(CALL(chdir, P("..")), 0);
	cr_assert(CALL(getcwd, P(b), sizeof b) > 0);
	cr_expect_str_eq(b, top);
	READS("pre/f", "domain");
	cr_assert_eq(CALL(fchdir, d), 0);
	READS("g", "below");
	store_reboot();
	READS("g", "below");
	cr_expect_eq(CALL(chdir, P(in_top("pre/f"))), -ENOTDIR);
	cr_expect_eq(CALL(chdir, P(in_top("pre/none"))), -ENOENT);
	READS("g", "below");
	cr_assert_eq(CALL(chdir, P(in_top("host"))), 0);
	READS("h", "host");
	READS("../pre/f", "domain");
}

Test(paths, relative_to_directories) { from_directories(false); }
Test(paths, relative_to_directories_over_a_host_directory) { from_directories(true); }

static void the_prefix_itself(bool shadow)
{
	struct stat st, want;
	const char *pre;

	store_start(shadow);
	pre = in_top("pre");
	stat(in_top("exp"), &want);
	cr_expect_eq(CALL(newfstatat, AT_FDCWD, P(pre), P(&st), 0), 0);
	cr_expect_eq(st.st_ino, want.st_ino);
	cr_expect_eq(CALL(lstat, P(pre), P(&st)), 0);
	cr_expect_eq(st.st_ino, want.st_ino);
	cr_expect_eq(CALL(rmdir, P(pre)), -EBUSY);
	cr_expect_eq(CALL(mkdir, P(pre), 0755), -EEXIST);
	cr_expect_eq(CALL(rename, P(pre), P(in_top("pre/x"))), -EBUSY);
	cr_expect_eq(CALL(rename, P(pre), P(in_top("x"))), -EXDEV);
	cr_expect_eq(CALL(unlink, P(pre)), -EISDIR);
	cr_expect_eq(CALL(rename, P(in_top("pre/f")), P(in_top("host/f"))), -EXDEV);
	cr_expect_eq(CALL(link, P(in_top("host/h")), P(in_top("pre/h"))), -EXDEV);
	cr_expect_eq(CALL(rename, P(in_top("pre/f")), P(in_top("pre/sub/f"))), 0);
	cr_expect_eq(stat(in_top("exp/sub/f"), &st), 0);
	cr_expect_eq(CALL(chroot, P(pre)), -EPERM);
}

Test(paths, the_prefix_is_a_mount_point) { the_prefix_itself(false); }
Test(paths, the_prefix_is_a_mount_point_over_a_host_directory) { the_prefix_itself(true); }

Test(paths, through_proc)
{
	char p[64], b[256];
	struct stat st, want;
	long fd, n;

	store_start(true);
	fd = CALL(openat, AT_FDCWD, P(in_top("pre/f")), O_RDONLY);
	snprintf(p, sizeof p, "/proc/self/fd/%ld", fd);
	READS(p, "domain");
	snprintf(p, sizeof p, "/dev/fd/%ld", fd);
	READS(p, "domain");
	snprintf(p, sizeof p, "/proc/%d/fd/%ld", getpid(), fd);
	n = CALL(readlink, P(p), P(b), sizeof b);
	cr_assert(n > 0);
	b[n] = 0;
	cr_expect_str_eq(b, in_top("pre/f"));
	stat(in_top("exp/f"), &want);
	cr_expect_eq(CALL(stat, P(p), P(&st)), 0);
	cr_expect_eq(st.st_ino, want.st_ino);
	cr_expect_eq(CALL(lstat, P(p), P(&st)), 0);
	cr_expect(S_ISLNK(st.st_mode));
	cr_expect_eq(CALL(newfstatat, fd, P(""), P(&st), AT_EMPTY_PATH), 0);
	cr_expect_eq(st.st_ino, want.st_ino);
	READS("/proc/self/fd/9999", "No such file or directory");
	READS("/proc/self/cwd/none", "No such file or directory");
	cr_assert_eq(CALL(chdir, P(in_top("pre/sub"))), 0);
	READS("/proc/self/cwd/g", "below");
	READS("/proc/thread-self/cwd/../f", "domain");
}

Test(paths, native_calls_stay_native)
{
	unsigned before;
	struct stat st;

	store_start(false);
	before = store_requests;
	READS(in_top("host/h"), "host");
	cr_expect_eq(CALL(stat, P("/usr/bin/env"), P(&st)), 0);
	cr_expect_eq(CALL(access, P("/nonexistent/a/b"), 0), -ENOENT);
	cr_expect_eq(CALL(stat, P("/usr/../etc/passwd"), P(&st)), 0);
	cr_expect_eq(store_requests, before);
}

Test(paths, umask_reaches_the_domain)
{
	struct stat st;
	unsigned old;

	store_start(false);
	old = (unsigned)CALL(umask, 077);
	CALL(close, CALL(openat, AT_FDCWD, P(in_top("pre/private")), O_CREAT | O_WRONLY, 0666));
	cr_assert_eq(stat(in_top("exp/private"), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(CALL(umask, old), 077);
}
