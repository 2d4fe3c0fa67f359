/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nothing outside of the export is ever reached, however it is asked for and whatever is renamed meanwhile. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <virtuos/nr.h>
#include "testclient.h"

static char top[64], exported[128];
static int topfd, basefd;
static struct tc_domain d;
static struct tc c;
static struct stat secret, outside;

static void setup(void)
{
	int fd;

	snprintf(top, sizeof top, "/tmp/vos-escape-XXXXXX");
	cr_assert(mkdtemp(top));
	chmod(top, 0777);
	snprintf(exported, sizeof exported, "%s/export", top);
	mkdir(exported, 0777);
	topfd = open(top, O_RDONLY | O_DIRECTORY);
	basefd = open(exported, O_RDONLY | O_DIRECTORY);
	fd = openat(topfd, "secret", O_CREAT | O_WRONLY, 0666);
	cr_assert_eq(write(fd, "SECRET", 6), 6);
	fstat(fd, &secret);
	close(fd);
	fstat(topfd, &outside);
	mkdirat(basefd, "a", 0777);
	mkdirat(basefd, "a/b", 0777);
	mkdirat(basefd, "a/b/c", 0777);
	close(openat(basefd, "a/file", O_CREAT | O_WRONLY, 0666));
	symlinkat("../secret", basefd, "up");
	symlinkat("../../../secret", basefd, "a/b/up");
	symlinkat("..", basefd, "parent");
	symlinkat("/", basefd, "slash");
	symlinkat("/etc/passwd", basefd, "passwd");
	symlinkat("parent", basefd, "parent2");
	symlinkat("/proc/self/root", basefd, "magic");
	symlinkat("/proc/self/fd/0", basefd, "magicfd");
	symlinkat("../made", basefd, "dangling");
	tc_start(&d, VOS_KIND_STORE, exported);
	cr_assert_eq(tc_join(&d, &c, 2, 16, 65536), 0, "%s", d.msg.text);
}

static void teardown(void)
{
	char cmd[128];

	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
	cr_expect(faccessat(topfd, "made", F_OK, AT_SYMLINK_NOFOLLOW) != 0, "something was made outside");
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", top);
	cr_expect_eq(system(cmd), 0);
}

TestSuite(escape, .init = setup, .fini = teardown, .timeout = 100);

#define AT ((uint64_t)VOS_AT_ROOT)
#define P(s) (tc_reset(&c), tc_str(&c, (s)))

static const char *const bad[] = {
	"..", "../secret", "a/../../secret", "a/b/../../../secret", "/secret", "/etc/passwd", "//etc/passwd", "up", "a/b/up",
	"parent/secret", "parent2/secret", "slash/etc/passwd", "passwd", "magic/etc/passwd", "a/./b/./../.././../secret", "slash/.",
	"./../secret", "a/b/c/../../../../export/../secret", "dangling", "../..", "../../../../../../../../etc/passwd",
};

static void check_escape(const char *what, const char *path, long r)
{
	cr_expect(r == -EXDEV && (tc_cqe.flags & VOS_CQE_ESCAPE), "%s of %s: %ld, flags %u", what, path, r, tc_cqe.flags);
}

Test(escape, each_call)
{
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		const char *p = bad[i];
		uint64_t s = P(p), out = tc_alloc(&c, 4096), n = tc_str(&c, "new");
		struct open_how how = { .flags = O_RDONLY };
		/* What acts on the name itself stays inside when only the last component leads out. */
		bool last = !strcmp(p, "up") || !strcmp(p, "a/b/up") || !strcmp(p, "passwd") || !strcmp(p, "dangling") ||
			    !strcmp(p, "slash/.");

		check_escape("open", p, tc(&c, __NR_openat, AT, s, O_RDONLY));
		check_escape("open O_PATH", p, tc(&c, __NR_openat, AT, s, O_PATH));
		check_escape("create", p, tc(&c, __NR_openat, AT, s, O_CREAT | O_RDWR, 0666));
		check_escape("openat2", p, tc(&c, __NR_openat2, AT, s, tc_bytes(&c, &how, sizeof how), sizeof how));
		check_escape("stat", p, tc(&c, __NR_newfstatat, AT, s, out, 0));
		check_escape("statx", p, tc(&c, __NR_statx, AT, s, 0, 0xfff, out));
		check_escape("access", p, tc(&c, __NR_faccessat2, AT, s, 0, 0));
		check_escape("chmod", p, tc(&c, __NR_fchmodat2, AT, s, 0777, 0));
		check_escape("chown", p, tc(&c, __NR_fchownat, AT, s, 0, 0, 0));
		check_escape("utimes", p, tc(&c, __NR_utimensat, AT, s, VOS_NULL, 0));
		check_escape("truncate", p, tc(&c, __NR_truncate, s, 0, 0, 0, 0, AT));
		check_escape("statfs", p, tc(&c, __NR_statfs, s, out, 0, 0, 0, AT));
		check_escape("getxattr", p, tc(&c, __NR_getxattr, s, n, out, 10, 0, AT));
		check_escape("setxattr", p, tc(&c, __NR_setxattr, s, n, out, 10, 0, AT));
		check_escape("chdir", p, tc(&c, __NR_chdir, s, 0, 0, 0, 0, AT));
		check_escape("link following", p, tc(&c, __NR_linkat, AT, s, AT, n, AT_SYMLINK_FOLLOW));
		if (last || !strcmp(p, ".."))
			continue;
		check_escape("lstat", p, tc(&c, __NR_newfstatat, AT, s, out, AT_SYMLINK_NOFOLLOW));
		check_escape("lgetxattr", p, tc(&c, __NR_lgetxattr, s, n, out, 10, 0, AT));
		check_escape("lchown", p, tc(&c, __NR_fchownat, AT, s, 0, 0, AT_SYMLINK_NOFOLLOW));
		if (!strcmp(p, "../..") || !strcmp(p, "a/..") || !strcmp(p, "slash/.") )
			continue;
		check_escape("mkdir", p, tc(&c, __NR_mkdirat, AT, s, 0777));
		check_escape("mknod", p, tc(&c, __NR_mknodat, AT, s, S_IFREG | 0666, 0));
		check_escape("symlink", p, tc(&c, __NR_symlinkat, n, AT, s));
		check_escape("unlink", p, tc(&c, __NR_unlinkat, AT, s, 0));
		check_escape("rmdir", p, tc(&c, __NR_unlinkat, AT, s, AT_REMOVEDIR));
		check_escape("readlink", p, tc(&c, __NR_readlinkat, AT, s, out, 100));
		check_escape("link from", p, tc(&c, __NR_linkat, AT, s, AT, n, 0));
		check_escape("link to", p, tc(&c, __NR_linkat, AT, tc_str(&c, "a/file"), AT, s, 0));
		check_escape("rename from", p, tc(&c, __NR_renameat2, AT, s, AT, n, 0));
		check_escape("rename to", p, tc(&c, __NR_renameat2, AT, tc_str(&c, "a/file"), AT, s, 0));
	}
	/* The kernel's own answers for names that are no path out of it. */
	cr_expect_eq(tc(&c, __NR_mkdirat, AT, P(".."), 0777), -EEXIST);
	cr_expect_eq(tc(&c, __NR_unlinkat, AT, P(".."), AT_REMOVEDIR), -ENOTEMPTY);
	cr_expect_eq(tc(&c, __NR_renameat2, AT, P(".."), AT, tc_str(&c, "x"), 0), -EBUSY);
	/* A client that confines itself gets its own answer. */
	struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_BENEATH };
	uint64_t h = (tc_reset(&c), tc_bytes(&c, &how, sizeof how));
	long a = tc(&c, __NR_openat, AT, tc_str(&c, "a"), O_RDONLY | O_DIRECTORY);

	cr_expect_eq(tc(&c, __NR_openat2, (uint64_t)a, tc_str(&c, "../a/file"), h, sizeof how), -EXDEV);
	cr_expect_eq(tc_cqe.flags, 0);
	((struct open_how *)tc_at(&c, h))->resolve = RESOLVE_IN_ROOT;
	cr_expect_geq(tc(&c, __NR_openat2, (uint64_t)a, tc_str(&c, "../../../file"), h, sizeof how), 0);
	cr_expect_geq(tc(&c, __NR_openat2, (uint64_t)a, tc_str(&c, "/file"), h, sizeof how), 0);
	((struct open_how *)tc_at(&c, h))->resolve = RESOLVE_IN_ROOT | RESOLVE_BENEATH;
	cr_expect_eq(tc(&c, __NR_openat2, (uint64_t)a, tc_str(&c, "file"), h, sizeof how), -EINVAL);
	((struct open_how *)tc_at(&c, h))->resolve = RESOLVE_NO_SYMLINKS;
	cr_expect_eq(tc(&c, __NR_openat2, AT, tc_str(&c, "parent/export"), h, sizeof how), -ELOOP);
}

Test(escape, by_descriptor)
{
	long a, b;
	uint64_t out = tc_alloc(&c, 4096);

	/* Out of the directory but not of the export, and further. */
	b = tc(&c, __NR_openat, AT, tc_str(&c, "a/b"), O_RDONLY | O_DIRECTORY);
	cr_assert_geq(b, 0);
	cr_expect_geq(tc(&c, __NR_openat, (uint64_t)b, tc_str(&c, "../file"), O_RDONLY), 0);
	cr_expect_geq(tc(&c, __NR_openat, (uint64_t)b, tc_str(&c, "../../a"), O_RDONLY), 0);
	check_escape("open", "../../..", tc(&c, __NR_openat, (uint64_t)b, tc_str(&c, "../../.."), O_RDONLY));
	cr_expect_eq(tc(&c, __NR_fchdir, (uint64_t)b), 0);
	cr_expect_eq(tc(&c, __NR_newfstatat, (uint64_t)VOS_AT_CWD, tc_str(&c, "../file"), out, 0), 0);
	check_escape("stat", "../../../secret", tc(&c, __NR_newfstatat, (uint64_t)VOS_AT_CWD, tc_str(&c, "../../../secret"), out, 0));
	/* Descriptors that are the proxy's own: 0..63 are tried as directories and as files. */
	for (uint64_t fd = 0; fd < 64; fd++) {
		long r;

		if (fd == (uint64_t)b)
			continue;
		r = tc(&c, __NR_openat, fd, tc_str(&c, "etc/passwd"), O_RDONLY);
		cr_expect(r < 0, "descriptor %lu leads to /etc/passwd", (unsigned long)fd);
		tc_reset(&c);
	}
	/* A directory that is moved out natively: what lies under it is still only what was exported. */
	a = tc(&c, __NR_openat, AT, tc_str(&c, "a"), O_RDONLY | O_DIRECTORY);
	cr_assert_geq(a, 0);
	cr_assert_eq(renameat(basefd, "a", topfd, "moved"), 0);
	cr_expect_lt(tc(&c, __NR_openat, (uint64_t)a, tc_str(&c, "../secret"), O_RDONLY), 0);
	cr_expect_lt(tc(&c, __NR_newfstatat, (uint64_t)b, tc_str(&c, "../../secret"), out, 0), 0);
	cr_expect_lt(tc(&c, __NR_newfstatat, (uint64_t)a, tc_str(&c, ".."), out, 0), 0);
	cr_assert_eq(renameat(topfd, "moved", basefd, "a"), 0);
}

static _Atomic bool stop;

/* Moves a directory between two depths, and between directory and symlink, as fast as it can. */
static void *mover(void *arg)
{
	(void)arg;
	while (!stop) {
		renameat(basefd, "a/b/c", basefd, "c");
		renameat(basefd, "c", basefd, "a/b/c");
		syscall(SYS_renameat2, basefd, "sw", basefd, "swdir", 2 /* EXCHANGE */);
	}
	return NULL;
}

Test(escape, rename_races)
{
	static const char *const walks[] = {
		"a/b/c/../../../secret", "a/b/c/../../../../secret", "c/../../secret", "sw/secret", "sw/../secret", "swdir/secret",
		"a/b/c/../..", "swdir/..", "sw/.",
	};
	uint64_t out, name[9];
	struct stat *st;
	pthread_t t;
	long cwd;

	/* sw is a directory or a link out of the export, by turns. */
	symlinkat("..", basefd, "sw");
	mkdirat(basefd, "swdir", 0777);
	cwd = tc(&c, __NR_openat, AT, tc_str(&c, "a/b/c"), O_RDONLY | O_DIRECTORY);
	cr_assert_geq(cwd, 0);
	cr_assert_eq(tc(&c, __NR_fchdir, (uint64_t)cwd), 0);
	tc_reset(&c);
	out = tc_alloc(&c, 4096);
	for (unsigned i = 0; i < 9; i++)
		name[i] = tc_str(&c, walks[i]);
	uint64_t up1 = tc_str(&c, "../../secret"), up2 = tc_str(&c, "../../../secret"), up3 = tc_str(&c, "../../..");
	uint64_t made = tc_str(&c, "sw/made");

	st = tc_at(&c, out);
	pthread_create(&t, NULL, mover, NULL);
	for (unsigned k = 0; k < 1000; k++) {
		const uint64_t from_cwd[3] = { up1, up2, up3 };
		long r;

		for (unsigned i = 0; i < 9; i++) {
			memset(st, 0, sizeof *st);
			r = tc(&c, __NR_newfstatat, AT, name[i], out, 0);
			if (r == 0)
				cr_assert(st->st_ino != secret.st_ino && st->st_ino != outside.st_ino, "%s escaped", walks[i]);
			r = tc(&c, __NR_openat, AT, name[i], O_RDONLY);
			if (r >= 0) {
				cr_assert_eq(tc(&c, __NR_fstat, (uint64_t)r, out), 0);
				cr_assert(st->st_ino != secret.st_ino && st->st_ino != outside.st_ino, "%s escaped", walks[i]);
				tc(&c, __NR_close, (uint64_t)r);
			}
		}
		for (unsigned i = 0; i < 3; i++) {
			r = tc(&c, __NR_newfstatat, (uint64_t)VOS_AT_CWD, from_cwd[i], out, 0);
			if (r == 0)
				cr_assert(st->st_ino != secret.st_ino && st->st_ino != outside.st_ino, "the cwd escaped");
		}
		r = tc(&c, __NR_mkdirat, AT, made, 0777);
		if (r == 0)
			tc(&c, __NR_unlinkat, AT, made, AT_REMOVEDIR);
		cr_assert(k % 100 || faccessat(topfd, "made", F_OK, 0) != 0, "made outside");
	}
	stop = true;
	pthread_join(t, NULL);
}

Test(escape, magic_links_of_an_exported_proc)
{
	char path[256];
	uint64_t out = tc_alloc(&c, 4096);
	long r;

	if (geteuid())
		cr_skip_test("only root can mount");
	/* The export holds a procfs: its links of descriptors and roots lead out, and are not followed. */
	tc_leave(&c);
	cr_assert_eq(tc_stop(&d), 0);
	snprintf(path, sizeof path, "%s/proc", exported);
	mkdir(path, 0755);
	cr_assert_eq(mount("proc", path, "proc", 0, NULL), 0);
	tc_start(&d, VOS_KIND_STORE, exported);
	cr_assert_eq(tc_join(&d, &c, 2, 16, 65536), 0, "%s", d.msg.text);
	cr_expect_eq(tc(&c, __NR_newfstatat, AT, tc_str(&c, "proc/uptime"), out, 0), 0);
	r = tc(&c, __NR_openat, AT, tc_str(&c, "proc/self/root/etc/passwd"), O_RDONLY);
	cr_expect_lt(r, 0);
	snprintf(path, sizeof path, "proc/%d/root/etc/passwd", (int)getpid());
	r = tc(&c, __NR_openat, AT, tc_str(&c, path), O_RDONLY);
	cr_expect_lt(r, 0);
	snprintf(path, sizeof path, "proc/%d/cwd", (int)getpid());
	r = tc(&c, __NR_openat, AT, tc_str(&c, path), O_RDONLY | O_DIRECTORY);
	cr_expect_lt(r, 0);
	r = tc(&c, __NR_truncate, tc_str(&c, "proc/self/fd/0"), 0, 0, 0, 0, AT);
	cr_expect_lt(r, 0);
	snprintf(path, sizeof path, "%s/proc", exported);
	cr_expect_eq(umount2(path, MNT_DETACH), 0);
}
