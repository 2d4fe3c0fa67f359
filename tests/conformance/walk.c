/* The walk of a path: directory descriptors, dots and slashes, links inside, out of and into TEST_DIR, a cwd that moves. */
#include "check.h"
#include <linux/openat2.h>

static int openat2_(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static void relative_to_a_directory(void)
{
	char path[PATH_MAX + 16];
	int d, f;

	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	make_file("d/e/f", "inner");
	make_file("f", "outer");
	d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(close(OK(openat(d, "e/f", O_RDONLY))));
	OK(close(OK(openat(d, "../f", O_RDONLY))));
	OK(close(OK(openat(d, ".", O_RDONLY))));
	ERR(openat(d, "", O_RDONLY), ENOENT);
	/* An absolute path ignores the descriptor, even a bad one. */
	snprintf(path, sizeof path, "%s/f", check_dir);
	OK(close(OK(openat(-5, path, O_RDONLY))));
	OK(close(OK(openat(d, path, O_RDONLY))));
	OK(close(OK(openat(d, "/etc/passwd", O_RDONLY))));
	ERR(openat(-5, "f", O_RDONLY), EBADF);
	f = OK(open("f", O_RDONLY));
	ERR(openat(f, "x", O_RDONLY), ENOTDIR);
	/* The directory moves, the descriptor stays with it. */
	OK(rename("d", "moved"));
	OK(close(OK(openat(d, "e/f", O_RDONLY))));
	int host = OK(open("/etc", O_RDONLY | O_DIRECTORY));
	OK(close(OK(openat(host, "passwd", O_RDONLY))));
	/* From the host's directory into TEST_DIR by "..". */
	snprintf(path, sizeof path, "..%s/f", check_dir);
	int fd = OK(openat(host, path, O_RDONLY));
	char b[8];
	EQ(read(fd, b, 8), 5);
	CHECK(memcmp(b, "outer", 5) == 0);
}

static void dots_and_slashes(void)
{
	char p[PATH_MAX + 64];
	struct stat a, b;

	OK(mkdir("d", 0755));
	touch("d/f");
	OK(stat("d/f", &a));
	static const char *const same[] = { "./d/f", "d//f", "d/./f", "d/../d/f", ".//././d///f", "d/../././d/./f" };
	for (unsigned i = 0; i < sizeof same / sizeof same[0]; i++) {
		OK(stat(same[i], &b));
		EQ(a.st_ino, b.st_ino);
		OK(close(OK(open(same[i], O_RDWR))));
	}
	snprintf(p, sizeof p, "//%s//d/../d/.//f", check_dir);
	OK(stat(p, &b));
	EQ(a.st_ino, b.st_ino);
	snprintf(p, sizeof p, "/etc/..%s/d/f", check_dir);
	OK(stat(p, &b));
	EQ(a.st_ino, b.st_ino);
	snprintf(p, sizeof p, "%s/../../../../../../../../../../../etc/passwd", check_dir);
	OK(stat(p, &b));
	OK(stat("/etc/passwd", &a));
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_dev, b.st_dev);
	/* ".." is not lexical: a missing directory stays missing. */
	ERR(open("missing/../d/f", O_RDONLY), ENOENT);
	ERR(open("d/f/../f", O_RDONLY), ENOTDIR);
	ERR(open("d/f/.", O_RDONLY), ENOTDIR);
}

static void trailing_slashes(void)
{
	struct stat st;

	OK(mkdir("d", 0755));
	touch("f");
	OK(symlink("d", "ld"));
	OK(symlink("f", "lf"));
	OK(close(OK(open("d/", O_RDONLY))));
	OK(close(OK(open("ld/", O_RDONLY))));
	ERR(open("f/", O_RDONLY), ENOTDIR);
	ERR(open("lf/", O_RDONLY), ENOTDIR);
	ERR(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
	ERR(stat("f/", &st), ENOTDIR);
	/* lstat of a link with a slash behind it looks through the link. */
	OK(lstat("ld/", &st));
	CHECK(S_ISDIR(st.st_mode));
	OK(lstat("ld", &st));
	CHECK(S_ISLNK(st.st_mode));
	OK(mkdir("nd/", 0755));
	ERR(unlink("f/"), ENOTDIR);
	OK(rmdir("nd/"));
}

static void long_names(void)
{
	char name[300], *path = malloc(5000);
	struct stat st;

	memset(name, 'n', sizeof name);
	name[255] = 0;
	touch(name);
	OK(stat(name, &st));
	name[255] = 'n';
	name[256] = 0;
	ERR(open(name, O_CREAT | O_RDWR, 0600), ENAMETOOLONG);
	ERR(stat(name, &st), ENAMETOOLONG);
	/* PATH_MAX counts the terminating zero. */
	for (int i = 0; i < 4998; i += 2)
		memcpy(path + i, "./", 2);
	touch("f");
	path[4094] = 'f';
	path[4095] = 0;
	OK(close(OK(open(path, O_RDONLY))));
	path[4094] = '.';
	path[4095] = '/';
	path[4096] = 'f';
	path[4097] = 0;
	ERR(open(path, O_RDONLY), ENAMETOOLONG);
	ERR(open(bad_pointer(), O_RDONLY), EFAULT);
	ERR(open(NULL, O_RDONLY), EFAULT);
}

static void deep_directories(void)
{
	char b[8];
	int made = 0;

	/* Deeper than PATH_MAX, reached step by step. */
	for (; made < 60; made++) {
		char name[101];
		memset(name, 'a' + made % 26, 100);
		name[100] = 0;
		OK(mkdir(name, 0755));
		OK(chdir(name));
	}
	make_file("deep", "deep");
	int fd = OK(open("deep", O_RDONLY));
	EQ(read(fd, b, 8), 4);
	int d = OK(open(".", O_RDONLY | O_DIRECTORY));
	for (int i = 0; i < made; i++)
		OK(chdir(".."));
	struct stat here, root;
	OK(stat(".", &here));
	OK(stat(check_dir, &root));
	EQ(here.st_ino, root.st_ino);
	OK(close(OK(openat(d, "deep", O_RDONLY))));
}

static void links_inside(void)
{
	char target[PATH_MAX + 16], b[8];

	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	make_file("d/f", "goal");
	OK(symlink("d/f", "relative"));
	snprintf(target, sizeof target, "%s/d/f", check_dir);
	OK(symlink(target, "absolute"));
	OK(symlink("../f", "d/e/up"));
	OK(symlink("d/e", "dir"));
	snprintf(target, sizeof target, "%s/d", check_dir);
	OK(symlink(target, "absdir"));
	OK(symlink("absdir/e/../f", "chain"));
	static const char *const all[] = { "relative", "absolute", "d/e/up", "dir/up", "dir/../f", "absdir/f", "chain", "absdir/e/../../chain" };
	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
		int fd = OK(open(all[i], O_RDONLY));
		EQ(read(fd, b, 8), 4);
		CHECK(memcmp(b, "goal", 4) == 0);
		OK(close(fd));
	}
	/* Creating through a dangling link makes the target. */
	OK(symlink("d/made", "maker"));
	OK(close(OK(open("maker", O_CREAT | O_WRONLY, 0600))));
	EQ(access("d/made", F_OK), 0);
}

static void link_leading_out(void)
{
	struct stat a, b;
	char text[4096], text2[4096];

	OK(symlink("/etc/passwd", "out"));
	OK(symlink("/etc", "outdir"));
	OK(symlink("../../../../../../../../../../../../etc/passwd", "climb"));
	OK(stat("/etc/passwd", &a));
	static const char *const all[] = { "out", "outdir/passwd", "climb", "outdir/../etc/passwd" };
	int want = OK(open("/etc/passwd", O_RDONLY)), n = OK(pread(want, text, sizeof text, 0));
	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
		OK(stat(all[i], &b));
		EQ(a.st_ino, b.st_ino);
		EQ(a.st_dev, b.st_dev);
		int fd = OK(open(all[i], O_RDONLY));
		EQ(read(fd, text2, sizeof text2), n);
		CHECK(memcmp(text, text2, n) == 0);
		OK(close(fd));
	}
	OK(lstat("out", &b));
	CHECK(S_ISLNK(b.st_mode));
	OK(symlink("/tmp", "tmp"));
	snprintf(text, sizeof text, "tmp/open.%d", getpid());
	OK(close(OK(open(text, O_CREAT | O_EXCL | O_WRONLY, 0600))));
	snprintf(text2, sizeof text2, "/%s", text);
	OK(stat(text2, &b));
	OK(unlink(text));
	ERR(stat(text2, &b), ENOENT);
}

static void link_leading_in(void)
{
	char link[] = "/tmp/open.XXXXXX", inner[64], target[PATH_MAX + 16];
	struct stat a, b;

	touch("f");
	OK(mkdir("d", 0755));
	OK(stat("f", &a));
	CHECK(mkdtemp(link));
	snprintf(inner, sizeof inner, "%s/l", link);
	OK(symlink(check_dir, inner));
	strcat(inner, "/f");
	OK(stat(inner, &b));
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_dev, b.st_dev);
	OK(close(OK(open(inner, O_RDWR))));
	snprintf(inner, sizeof inner, "%s/l/new", link);
	OK(close(OK(open(inner, O_CREAT | O_EXCL | O_WRONLY, 0600))));
	OK(stat("new", &b));
	snprintf(inner, sizeof inner, "%s/l/d/../f", link);
	OK(stat(inner, &b));
	EQ(a.st_ino, b.st_ino);
	/* cwd entered through the link. */
	snprintf(inner, sizeof inner, "%s/l", link);
	OK(chdir(inner));
	OK(stat("f", &b));
	CHECK(getcwd(target, sizeof target));
	CHECK(strcmp(target, check_dir) == 0);
	OK(unlink(inner));
	OK(rmdir(link));
}

static void loops(void)
{
	struct stat st;
	char name[16], next[16];

	OK(symlink("self", "self"));
	OK(symlink("b", "a"));
	OK(symlink("a", "b"));
	ERR(open("self", O_RDONLY), ELOOP);
	ERR(open("a", O_RDONLY), ELOOP);
	ERR(stat("a/x", &st), ELOOP);
	ERR(open("a", O_RDONLY | O_CREAT, 0600), ELOOP);
	/* Forty links are followed, forty-one are not. */
	touch("l0");
	for (int i = 1; i <= 41; i++) {
		sprintf(name, "l%d", i);
		sprintf(next, "l%d", i - 1);
		OK(symlink(next, name));
	}
	OK(stat("l40", &st));
	ERR(stat("l41", &st), ELOOP);
}

static void resolve_flags(void)
{
	struct stat st;

	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	touch("d/f");
	touch("f");
	OK(symlink("f", "d/in"));
	OK(symlink("../f", "d/out"));
	OK(symlink("/f", "d/abs"));
	OK(symlink("/etc/passwd", "d/gone"));
	int d = OK(open("d", O_PATH | O_DIRECTORY));
	OK(close(OK(openat2_(d, "in", O_RDONLY, 0, 0))));
	OK(close(OK(openat2_(d, "out", O_RDONLY, 0, 0))));
	ERR(openat2_(d, "in", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), ELOOP);
	OK(close(OK(openat2_(d, "in", O_RDONLY, 0, RESOLVE_BENEATH))));
	ERR(openat2_(d, "out", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
	ERR(openat2_(d, "../f", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
	ERR(openat2_(d, "/f", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
	OK(close(OK(openat2_(d, "e/../f", O_RDONLY, 0, RESOLVE_BENEATH))));
	/* In the root d, "/f" and "../f" both mean d/f. */
	struct stat want;
	OK(stat("d/f", &want));
	static const char *const in_root[] = { "abs", "out", "/f", "../f", "../../f", "e/../../f" };
	for (unsigned i = 0; i < sizeof in_root / sizeof in_root[0]; i++) {
		int fd = OK(openat2_(d, in_root[i], O_RDONLY, 0, RESOLVE_IN_ROOT));
		OK(fstat(fd, &st));
		EQ(st.st_ino, want.st_ino);
		OK(close(fd));
	}
	ERR(openat2_(d, "gone", O_RDONLY, 0, RESOLVE_IN_ROOT), ENOENT);
	OK(close(OK(openat2_(d, "new", O_CREAT | O_RDWR, 0600, RESOLVE_IN_ROOT))));
	OK(stat("d/new", &st));
	ERR(openat2_(AT_FDCWD, "f", O_RDONLY, 0600, 0), EINVAL);
	ERR(openat2_(AT_FDCWD, "f", O_RDONLY, 0, 1 << 20), EINVAL);
	ERR(openat2_(AT_FDCWD, "f", 1ull << 40, 0, 0), EINVAL);
	struct open_how how = { .flags = O_RDONLY };
	ERR(syscall(SYS_openat2, AT_FDCWD, "f", &how, 8), EINVAL);
	ERR(syscall(SYS_openat2, AT_FDCWD, "f", bad_pointer(), sizeof how), EFAULT);
}

static void renamed_cwd(void)
{
	char p[PATH_MAX], want[PATH_MAX + 16];

	OK(mkdir("a", 0755));
	OK(chdir("a"));
	touch("f");
	OK(rename("../a", "../b"));
	OK(close(OK(open("f", O_RDWR))));
	touch("g");
	CHECK(getcwd(p, sizeof p));
	snprintf(want, sizeof want, "%s/b", check_dir);
	CHECK(strcmp(p, want) == 0);
	snprintf(want, sizeof want, "%s/b/g", check_dir);
	EQ(access(want, F_OK), 0);
	OK(close(OK(open("../b/f", O_RDONLY))));
	/* Somebody else moves it. */
	pid_t pid = fork();
	if (pid == 0) {
		OK(chdir(check_dir));
		OK(mkdir("deep", 0755));
		OK(rename("b", "deep/c"));
		_exit(0);
	}
	wait_ok(pid);
	OK(close(OK(open("f", O_RDWR))));
	CHECK(getcwd(p, sizeof p));
	snprintf(want, sizeof want, "%s/deep/c", check_dir);
	CHECK(strcmp(p, want) == 0);
}

static void deleted_cwd(void)
{
	char p[PATH_MAX];
	struct stat st;

	OK(mkdir("a", 0755));
	OK(chdir("a"));
	OK(rmdir("../a"));
	ERR(open("f", O_CREAT | O_RDWR, 0600), ENOENT);
	ERR(open("x", O_RDONLY), ENOENT);
	ERR(mkdir("d", 0755), ENOENT);
	OK(stat(".", &st));
	EQ(st.st_nlink, 0);
	errno = 0;
	CHECK(!getcwd(p, sizeof p) && errno == ENOENT);
	OK(chdir(".."));
	CHECK(getcwd(p, sizeof p));
	CHECK(strcmp(p, check_dir) == 0);
}

static const struct check_case cases[] = {
	CASE(relative_to_a_directory), CASE_IN_MAIN(dots_and_slashes), CASE(trailing_slashes), CASE(long_names),
	CASE(deep_directories), CASE(links_inside), CASE(link_leading_out), CASE(link_leading_in), CASE(loops),
	CASE(resolve_flags), CASE(renamed_cwd), CASE(deleted_cwd),
};
CHECK_MAIN(cases)
