/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every path call, on every kind of path, made twice: by a proxy below its export and directly in a tree that is built the
 * same.  Results must be equal, and the trees afterwards too.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <virtuos/nr.h>
#include "testclient.h"

static char root[64];          /* holds r (served) and n (native) */
static int native_fd;          /* n/base; the proxy's counterpart is remote_fd */
static long remote_fd;
static struct tc_domain d;
static struct tc c;
static bool as_user;

static void build(const char *which)
{
	char base[128];
	int at;

	snprintf(base, sizeof base, "%s/%s", root, which);
	mkdir(base, 0755);
	at = open(base, O_RDONLY | O_DIRECTORY);
	cr_assert_geq(at, 0);
	mkdirat(at, "base", 0755);
	mkdirat(at, "beside", 0755);
	close(openat(at, "beside/b", O_CREAT | O_WRONLY, 0644));
	int b = openat(at, "base", O_RDONLY | O_DIRECTORY);
	int f = openat(b, "file", O_CREAT | O_WRONLY, 0644);

	cr_assert_eq(write(f, "content", 7), 7);
	close(f);
	mkdirat(b, "dir", 0755);
	mkdirat(b, "dir/sub", 0755);
	close(openat(b, "dir/f", O_CREAT | O_WRONLY, 0600));
	close(openat(b, "exe", O_CREAT | O_WRONLY, 0755));
	mkdirat(b, "empty", 0755);
	mkdirat(b, "shut", 0);
	mknodat(b, "fifo", S_IFIFO | 0644, 0);
	symlinkat("file", b, "link");
	symlinkat("dir", b, "dlink");
	symlinkat("../beside/b", b, "uplink");
	symlinkat("nowhere", b, "dangling");
	symlinkat("dir/nowhere", b, "dangling2");
	symlinkat("loop", b, "loop");
	symlinkat("dlink/../link", b, "chain");
	if (as_user) {
		static const char *const own[] = { "file", "dir", "dir/sub", "dir/f", "empty", "link", "dlink" };

		for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++)
			fchownat(b, own[i], 65534, 65534, AT_SYMLINK_NOFOLLOW);
		fchown(b, 65534, 65534);
	}
	close(b);
	close(at);
}

static void empty_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char sub[1024];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof sub, "%.600s/%s", path, e->d_name);
		if (unlink(sub) && errno == EISDIR) {
			chmod(sub, 0700);
			empty_dir(sub);
			rmdir(sub);
		}
	}
	if (dir)
		closedir(dir);
}

static void wipe(void)
{
	char base[80];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(base, sizeof base, "%s/%c", root, "rn"[i]);
		chmod(base, 0755);
		empty_dir(base);
	}
}

static void rebuild(void)
{
	wipe();
	build("r");
	build("n");
	if (native_fd > 0)
		close(native_fd);
	char base[128];

	snprintf(base, sizeof base, "%s/n/base", root);
	native_fd = open(base, O_RDONLY | O_DIRECTORY);
	if (remote_fd > 0)
		tc(&c, __NR_close, (uint64_t)remote_fd);
	tc_reset(&c);
	remote_fd = tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, tc_str(&c, "base"), O_RDONLY | O_DIRECTORY, 0);
	cr_assert_geq(remote_fd, 0);
	tc_reset(&c);
}

/* What a tree is, for comparison: names, types, modes, owners, sizes, link counts and targets. */
static void describe(int at, const char *prefix, char *out, size_t size)
{
	struct dirent **list;
	char path[64];
	int n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", at);
	n = scandir(path, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		struct stat st;
		char target[256] = "", line[1024];

		if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
			goto next;
		if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW))
			goto next;
		if (S_ISLNK(st.st_mode)) {
			ssize_t k = readlinkat(at, name, target, sizeof target - 1);

			target[k > 0 ? k : 0] = 0;
		}
		snprintf(line, sizeof line, "%s/%.64s %o %u:%u %ld %lu %s\n", prefix, name, st.st_mode, st.st_uid, st.st_gid,
			 S_ISDIR(st.st_mode) ? 0L : (long)st.st_size, (unsigned long)st.st_nlink, target);
		strncat(out, line, size - strlen(out) - 1);
		if (S_ISDIR(st.st_mode)) {
			char sub[512];
			int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

			snprintf(sub, sizeof sub, "%.200s/%.64s", prefix, name);
			if (fd >= 0) {
				describe(fd, sub, out, size);
				close(fd);
			}
		}
	next:
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void same_trees(const char *what)
{
	static char a[32768], b[32768];
	char path[128];
	int fd;

	a[0] = b[0] = 0;
	snprintf(path, sizeof path, "%s/r", root);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	describe(fd, "", a, sizeof a);
	close(fd);
	snprintf(path, sizeof path, "%s/n", root);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	describe(fd, "", b, sizeof b);
	close(fd);
	cr_expect_str_eq(a, b, "%s left different trees:\n--- served\n%s--- native\n%s", what, a, b);
}

static char long_name[300], long_path[5000];

static const char *const paths[] = {
	"file", "file/", "./file", ".//file", "dir", "dir/", "dir/.", "dir/..", "dir/sub/..", "dir/sub/../f", "dir/f", "dir/f/",
	"dir/sub/../../link", "link", "link/", "dlink", "dlink/", "dlink/f", "dlink/.", "dlink/..", "uplink", "uplink/",
	"../beside/b", "../base/file", "..", "../beside", "../beside/", "dangling", "dangling/", "dangling2", "loop", "loop/x",
	"chain", "nonexist", "nonexist/", "nonexist/x", "file/x", "dir/nonexist", "dir/nonexist/", "dlink/nonexist", "", ".", "./",
	"exe", "fifo", "empty", "empty/", "empty/.", "shut", "shut/x", "uplink/x", long_name, long_path,
};
#define NPATHS (sizeof paths / sizeof paths[0])

static long nat(long r)
{
	return r < 0 ? -errno : r;
}

static const char *show(const char *p)
{
	return p == long_name ? "<256>" : p == long_path ? "<4096>" : p;
}

#define SAME(remote, native, ...) do { \
	long r_ = (remote), n_ = (native); \
	cr_expect_eq(r_, n_, __VA_ARGS__); \
	if (r_ != n_) \
		fprintf(stderr, "  served %ld, native %ld (flags %u)\n", r_, n_, tc_cqe.flags); \
} while (0)

static void setup(uint32_t uid)
{
	struct tc_domain *dom = &d;
	char r[80];

	memset(long_name, 'n', 256);
	memset(long_path, '/', 4096);
	long_path[4097] = 0;
	memcpy(long_path, "dir", 3);
	/* In memory where that is possible: the trees are built thousands of times. */
	snprintf(root, sizeof root, "%s/vos-paths-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	cr_assert(mkdtemp(root));
	chmod(root, 0755);
	snprintf(r, sizeof r, "%s/r", root);
	mkdir(r, 0755);
	tc_start(dom, VOS_KIND_STORE, r);
	as_user = uid != 0;
	if (as_user)
		cr_assert_eq(tc_join_as(dom, &c, 1, 16, 65536, uid, uid), 0, "%s", d.msg.text);
	else
		cr_assert_eq(tc_join(dom, &c, 1, 16, 65536), 0, "%s", d.msg.text);
	umask(022);
}

static void teardown(void)
{
	tc_leave(&c);
	cr_expect_eq(tc_stop(&d), 0);
	empty_dir(root);
	cr_expect_eq(rmdir(root), 0);
}

/* Native calls of this thread alone run as the user; building the trees needs root. */
static void be(bool user)
{
	if (!as_user)
		return;
	if (user) {
		syscall(SYS_setgroups, 0, NULL);
		syscall(SYS_setresgid, -1, 65534, -1);
		syscall(SYS_setresuid, -1, 65534, -1);
	} else {
		syscall(SYS_setresuid, -1, 0, -1);
		syscall(SYS_setresgid, -1, 0, -1);
	}
}

#define P(s) (tc_reset(&c), tc_str(&c, (s)))
#define RFD  ((uint64_t)remote_fd)

static void reading(void)
{
	static const int stat_flags[] = { 0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, 0x40000 };
	static const int modes[] = { F_OK, R_OK, W_OK, X_OK, R_OK | W_OK | X_OK, 9 };
	struct stat st;
	char buf[8192];

	rebuild();
	be(true);
	for (unsigned i = 0; i < NPATHS; i++) {
		const char *p = paths[i];
		uint64_t s = P(p), out = tc_alloc(&c, 4096);
		bool above = !strcmp(p, "..");
		long r;

		/* A string that is too long is refused before anything else is looked at. */
		for (unsigned k = 0; k < (p == long_path ? 4 : 5); k++) {
			memset(&st, 0, sizeof st);
			SAME(tc(&c, __NR_newfstatat, RFD, s, out, (uint64_t)stat_flags[k]),
			     nat(syscall(SYS_newfstatat, native_fd, p, &st, stat_flags[k])), "fstatat %s %x", show(p), stat_flags[k]);
			if (tc_cqe.res == 0 && !above) {
				struct stat *o = tc_at(&c, out);

				cr_expect(o->st_mode == st.st_mode && o->st_nlink == st.st_nlink && o->st_uid == st.st_uid,
					  "fstatat %s %x is another file", p, stat_flags[k]);
			}
			SAME(tc(&c, __NR_statx, RFD, s, (uint64_t)stat_flags[k], STATX_BASIC_STATS, out),
			     nat(syscall(SYS_statx, native_fd, p, stat_flags[k], STATX_BASIC_STATS, buf)), "statx %s %x", show(p),
			     stat_flags[k]);
		}
		for (unsigned k = 0; k < (p == long_path ? 5 : 6); k++) {
			SAME(tc(&c, __NR_faccessat2, RFD, s, (uint64_t)modes[k], AT_EACCESS),
			     nat(syscall(SYS_faccessat2, native_fd, p, modes[k], AT_EACCESS)), "faccessat2 %s %d", show(p), modes[k]);
			SAME(tc(&c, __NR_faccessat2, RFD, s, (uint64_t)modes[k], AT_EACCESS | AT_SYMLINK_NOFOLLOW),
			     nat(syscall(SYS_faccessat2, native_fd, p, modes[k], AT_EACCESS | AT_SYMLINK_NOFOLLOW)),
			     "faccessat2 nofollow %s %d", show(p), modes[k]);
		}
		r = tc(&c, __NR_readlinkat, RFD, s, out, 100);
		SAME(r, nat(readlinkat(native_fd, p, buf, 100)), "readlinkat %s", show(p));
		if (r > 0)
			cr_expect_arr_eq(tc_at(&c, out), buf, (size_t)r);
		cr_expect_eq(tc(&c, __NR_readlinkat, RFD, s, out, 0), p == long_path ? -ENAMETOOLONG : -EINVAL);
		/* statfs and the extended attributes take a base beside them; natively the working directory. */
		cr_assert_eq(fchdir(native_fd), 0);
		SAME(tc(&c, __NR_statfs, s, out, 0, 0, 0, RFD), nat(syscall(SYS_statfs, p, buf)), "statfs %s", show(p));
		uint64_t name = tc_str(&c, "user.none"), dac = tc_str(&c, "system.posix_acl_access");

		SAME(tc(&c, __NR_getxattr, s, name, out, 100, 0, RFD), nat(getxattr(p, "user.none", buf, 100)), "getxattr %s", show(p));
		SAME(tc(&c, __NR_lgetxattr, s, dac, out, 100, 0, RFD), nat(lgetxattr(p, "system.posix_acl_access", buf, 100)),
		     "lgetxattr %s", show(p));
		SAME(tc(&c, __NR_listxattr, s, out, 100, 0, 0, RFD), nat(listxattr(p, buf, 100)), "listxattr %s", show(p));
		SAME(tc(&c, __NR_llistxattr, s, out, 100, 0, 0, RFD), nat(llistxattr(p, buf, 100)), "llistxattr %s", show(p));
	}
	be(false);
}

/* Whether the machine permits what a proxy does for it: not to an ordinary user, nor in a root that is no mount. */
static bool root_of_its_own(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void changing(void)
{
	struct timespec ts[2] = { { 1, 2 }, { 3, 4 } };
	const bool own_root = root_of_its_own(); /* asked before be() */

	for (unsigned i = 0; i < NPATHS; i++) {
		const char *p = paths[i];
		char what[128];

		for (unsigned k = 0; k < 22; k++) {
			uint64_t s, t;

			rebuild();
			be(true);
			cr_assert_eq(fchdir(native_fd), 0);
			s = P(p);
			snprintf(what, sizeof what, "case %u on %.40s", k, show(p));
			switch (k) {
			case 0:
				SAME(tc(&c, __NR_mkdirat, RFD, s, 0777), nat(mkdirat(native_fd, p, 0777)), "mkdirat %s", show(p));
				break;
			case 1:
				SAME(tc(&c, __NR_mknodat, RFD, s, S_IFREG | 0666, 0), nat(mknodat(native_fd, p, S_IFREG | 0666, 0)), "mknodat %s",
				     show(p));
				break;
			case 2:
				SAME(tc(&c, __NR_symlinkat, tc_str(&c, "t"), RFD, s), nat(symlinkat("t", native_fd, p)), "symlinkat %s", show(p));
				break;
			case 3:
				SAME(tc(&c, __NR_unlinkat, RFD, s, 0), nat(unlinkat(native_fd, p, 0)), "unlinkat %s", show(p));
				break;
			case 4:
				SAME(tc(&c, __NR_unlinkat, RFD, s, AT_REMOVEDIR), nat(unlinkat(native_fd, p, AT_REMOVEDIR)), "rmdir %s", show(p));
				break;
			case 5:
				/* Landlock, where the export is no root of its own, speaks before the file system does. */
				if (!own_root && !strcmp(p, ".."))
					break;
				SAME(tc(&c, __NR_linkat, RFD, s, RFD, tc_str(&c, "new"), 0), nat(linkat(native_fd, p, native_fd, "new", 0)),
				     "linkat from %s", show(p));
				break;
			case 6:
				if (!own_root && !strcmp(p, ".."))
					break;
				SAME(tc(&c, __NR_linkat, RFD, s, RFD, tc_str(&c, "dir/new"), AT_SYMLINK_FOLLOW),
				     nat(linkat(native_fd, p, native_fd, "dir/new", AT_SYMLINK_FOLLOW)), "linkat following %s", show(p));
				break;
			case 7:
				t = tc_str(&c, "exe");
				SAME(tc(&c, __NR_linkat, RFD, t, RFD, s, 0), nat(linkat(native_fd, "exe", native_fd, p, 0)), "linkat to %s", show(p));
				break;
			case 8:
				SAME(tc(&c, __NR_renameat2, RFD, s, RFD, tc_str(&c, "new"), 0),
				     nat(syscall(SYS_renameat2, native_fd, p, native_fd, "new", 0)), "rename from %s", show(p));
				break;
			case 9:
				t = tc_str(&c, "file");
				SAME(tc(&c, __NR_renameat2, RFD, t, RFD, s, 0), nat(syscall(SYS_renameat2, native_fd, "file", native_fd, p, 0)),
				     "rename file to %s", show(p));
				break;
			case 10:
				t = tc_str(&c, "empty");
				SAME(tc(&c, __NR_renameat2, RFD, t, RFD, s, 0), nat(syscall(SYS_renameat2, native_fd, "empty", native_fd, p, 0)),
				     "rename dir to %s", show(p));
				break;
			case 11:
				t = tc_str(&c, "file");
				SAME(tc(&c, __NR_renameat2, RFD, t, RFD, s, 2 /* EXCHANGE */),
				     nat(syscall(SYS_renameat2, native_fd, "file", native_fd, p, 2)), "exchange with %s", show(p));
				break;
			case 12:
				SAME(tc(&c, __NR_fchmodat2, RFD, s, 0640, 0), nat(fchmodat(native_fd, p, 0640, 0)), "fchmodat %s", show(p));
				break;
			case 13: {
				long n = nat(syscall(__NR_fchmodat2, native_fd, p, 0640, AT_SYMLINK_NOFOLLOW));

				if (n != -ENOSYS)
					SAME(tc(&c, __NR_fchmodat2, RFD, s, 0640, AT_SYMLINK_NOFOLLOW), n, "fchmodat nofollow %s", show(p));
				break;
			}
			case 14:
				SAME(tc(&c, __NR_fchownat, RFD, s, 7, 8, 0), nat(fchownat(native_fd, p, 7, 8, 0)), "fchownat %s", show(p));
				break;
			case 15:
				SAME(tc(&c, __NR_fchownat, RFD, s, 7, (uint64_t)-1, AT_SYMLINK_NOFOLLOW),
				     nat(fchownat(native_fd, p, 7, (gid_t)-1, AT_SYMLINK_NOFOLLOW)), "fchownat nofollow %s", show(p));
				break;
			case 16:
				SAME(tc(&c, __NR_utimensat, RFD, s, tc_bytes(&c, ts, sizeof ts), 0),
				     nat(syscall(SYS_utimensat, native_fd, p, ts, 0)), "utimensat %s", show(p));
				break;
			case 17:
				SAME(tc(&c, __NR_utimensat, RFD, s, VOS_NULL, AT_SYMLINK_NOFOLLOW),
				     nat(syscall(SYS_utimensat, native_fd, p, NULL, AT_SYMLINK_NOFOLLOW)), "utimensat now nofollow %s", show(p));
				break;
			case 18:
				SAME(tc(&c, __NR_truncate, s, 3, 0, 0, 0, RFD), nat(truncate(p, 3)), "truncate %s", show(p));
				break;
			case 19:
				SAME(tc(&c, __NR_setxattr, s, tc_str(&c, "user.a"), tc_str(&c, "v"), 1, 0, RFD), nat(setxattr(p, "user.a", "v", 1, 0)),
				     "setxattr %s", show(p));
				break;
			case 20:
				SAME(tc(&c, __NR_lsetxattr, s, tc_str(&c, "user.a"), tc_str(&c, "v"), 1, 0, RFD),
				     nat(lsetxattr(p, "user.a", "v", 1, 0)), "lsetxattr %s", show(p));
				break;
			case 21:
				SAME(tc(&c, __NR_removexattr, s, tc_str(&c, "user.a"), 0, 0, 0, RFD), nat(removexattr(p, "user.a")), "removexattr %s",
				     show(p));
				break;
			}
			be(false);
			if (k < 16 || k == 18)
				same_trees(what);
		}
	}
}

static void opening(void)
{
	static const int flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_NOFOLLOW, O_RDONLY | O_DIRECTORY, O_PATH, O_PATH | O_NOFOLLOW, O_RDWR | O_CREAT,
		O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_TRUNC, O_RDONLY | O_NONBLOCK, O_WRONLY | O_CREAT | O_NOFOLLOW, O_TMPFILE | O_RDWR,
		O_RDONLY | O_CREAT | O_DIRECTORY, O_WRONLY | O_APPEND, O_WRONLY | O_NONBLOCK,
	};

	for (unsigned i = 0; i < NPATHS; i++) {
		for (unsigned k = 0; k < sizeof flags / sizeof flags[0]; k++) {
			const char *p = paths[i];
			char what[128];
			long r, n;

			/* That one would wait for its other end. */
			if (p == long_path && flags[k] == (O_RDONLY | O_CREAT | O_DIRECTORY))
				continue;
			if (!strcmp(p, "fifo") && !(flags[k] & (O_NONBLOCK | O_PATH | O_DIRECTORY)) && (flags[k] & O_ACCMODE) != O_RDWR)
				continue;
			rebuild();
			be(true);
			r = tc(&c, __NR_openat, RFD, P(p), (uint64_t)flags[k], 0666);
			n = nat(openat(native_fd, p, flags[k], 0666));
			SAME(r < 0 ? r : 0, n < 0 ? n : 0, "open %s %o", show(p), flags[k]);
			be(false);
			if (r >= 0 && n >= 0) {
				struct stat st;
				long fl = fcntl((int)n, F_GETFL);

				fstat((int)n, &st);
				cr_expect_eq(tc_cqe.aux, st.st_mode, "open %s %o: mode %o, native %o", p, flags[k], tc_cqe.aux, st.st_mode);
				r = tc(&c, __NR_fcntl, (uint64_t)r, F_GETFL, 0);
				cr_expect_eq(r & ~O_CLOEXEC, fl & ~O_CLOEXEC, "F_GETFL of %s %o: %lo, native %lo", p, flags[k], r, fl);
			}
			if (r >= 0)
				tc(&c, __NR_close, (uint64_t)r);
			if (n >= 0)
				close((int)n);
			snprintf(what, sizeof what, "open %.40s %o", show(p), flags[k]);
			same_trees(what);
		}
	}
}

static void moving(void)
{
	rebuild();
	be(true);
	for (unsigned i = 0; i < NPATHS; i++) {
		const char *p = paths[i];
		long r, n;
		char buf[PATH_MAX];
		uint64_t out;

		cr_assert_eq(fchdir(native_fd), 0);
		cr_assert_eq(tc(&c, __NR_fchdir, RFD), 0);
		n = nat(chdir(p));
		r = tc(&c, __NR_chdir, P(p), 0, 0, 0, 0, (uint64_t)VOS_AT_CWD);
		SAME(r, n, "chdir %s", show(p));
		if (r || n)
			continue;
		out = tc_alloc(&c, 4096);
		r = tc(&c, VOS_OP_PATH, (uint64_t)VOS_AT_CWD, out, 4096);
		cr_expect_geq(r, 0);
		cr_expect(getcwd(buf, sizeof buf));
		cr_expect_str_eq(tc_at(&c, out), buf[strlen(root) + 2] ? buf + strlen(root) + 3 : "", "cwd after %s", p);
	}
	be(false);
}

#define SUITE(name, uid) \
	Test(paths, name##_reading, .timeout = 100) { setup(uid); reading(); teardown(); } \
	Test(paths, name##_changing, .timeout = 200) { setup(uid); changing(); teardown(); } \
	Test(paths, name##_opening, .timeout = 200) { setup(uid); opening(); teardown(); } \
	Test(paths, name##_moving, .timeout = 100) { setup(uid); moving(); teardown(); }

SUITE(own, 0)
SUITE(user, geteuid() ? 0 : 65534)
