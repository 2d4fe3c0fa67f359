/* Directories and names: making, moving, linking, listing, walking, the current directory. */
#include "check.h"
#include <dirent.h>
#include <ftw.h>
#include <sys/sysmacros.h>

static void make_and_remove(void)
{
	struct stat st;

	OK(mkdir("d", 0750));
	OK(stat("d", &st));
	EQ(st.st_mode, S_IFDIR | 0750);
	EQ(st.st_nlink >= 1, 1);
	ERR(mkdir("d", 0755), EEXIST);
	ERR(mkdir("no/d", 0755), ENOENT);
	touch("f");
	ERR(mkdir("f", 0755), EEXIST);
	ERR(mkdir("f/d", 0755), ENOTDIR);
	ERR(mkdir("", 0755), ENOENT);
	ERR(mkdir(".", 0755), EEXIST);
	ERR(rmdir("f"), ENOTDIR);
	OK(mkdir("d/e", 0755));
	ERR(rmdir("d"), ENOTEMPTY);
	ERR(rmdir("d/."), EINVAL);
	ERR(rmdir("d/e/.."), ENOTEMPTY);
	OK(rmdir("d/e"));
	OK(rmdir("d"));
	ERR(rmdir("d"), ENOENT);
	int d = OK(open(".", O_RDONLY));
	OK(mkdirat(d, "at", 0755));
	OK(unlinkat(d, "at", AT_REMOVEDIR));
	ERR(unlinkat(d, "at", AT_REMOVEDIR), ENOENT);
	ERR(unlinkat(d, "f", AT_REMOVEDIR), ENOTDIR);
	OK(unlinkat(d, "f", 0));
	ERR(unlinkat(d, "f", 99), EINVAL);
}

static void unlinking(void)
{
	touch("f");
	OK(mkdir("d", 0755));
	OK(symlink("f", "l"));
	OK(symlink("d", "ld"));
	ERR(unlink("d"), EISDIR);
	ERR(rmdir("ld"), ENOTDIR);
	OK(unlink("l"));
	EQ(access("f", F_OK), 0);
	OK(unlink("ld"));
	OK(unlink("f"));
	ERR(unlink("f"), ENOENT);
	ERR(unlink(""), ENOENT);
	OK(mkdir("full", 0755));
	touch("full/a");
	OK(remove("full/a"));
	OK(remove("full"));
}

static void renaming(void)
{
	struct stat a, b;

	make_file("a", "A");
	make_file("b", "B");
	OK(stat("a", &a));
	OK(rename("a", "b"));
	OK(stat("b", &b));
	EQ(a.st_ino, b.st_ino);
	ERR(stat("a", &a), ENOENT);
	ERR(rename("a", "c"), ENOENT);
	OK(rename("b", "b"));
	OK(mkdir("d", 0755));
	OK(mkdir("e", 0755));
	OK(rename("d", "e"));
	ERR(rename("b", "e"), EISDIR);
	ERR(rename("e", "b"), ENOTDIR);
	touch("e/x");
	OK(mkdir("d", 0755));
	ERR(rename("d", "e"), ENOTEMPTY);
	ERR(rename("e", "e/sub"), EINVAL);
	ERR(rename("b", "no/b"), ENOENT);
	OK(rename("e", "d/e"));
	EQ(access("d/e/x", F_OK), 0);
	int d = OK(open("d", O_RDONLY)), h = OK(open(".", O_RDONLY));
	OK(renameat(d, "e/x", h, "y"));
	EQ(access("y", F_OK), 0);
	/* An open file keeps its contents when another takes its name. */
	int fd = make_file("old", "old");
	make_file("new", "new");
	OK(rename("new", "old"));
	CHECK(strcmp(slurp("old"), "new") == 0);
	char c[4];
	EQ(read(fd, c, 4), 3);
	CHECK(memcmp(c, "old", 3) == 0);
}

static void rename_flags(void)
{
	make_file("a", "A");
	make_file("b", "B");
	int r = renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE);
	if (r < 0 && errno == EINVAL)
		skip("this file system has no renameat2 flags");
	EQ(r, -1);
	EQ(errno, EEXIST);
	OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	OK(renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE));
	CHECK(strcmp(slurp("b"), "A") == 0);
	CHECK(strcmp(slurp("c"), "B") == 0);
	OK(mkdir("d", 0755));
	OK(renameat2(AT_FDCWD, "d", AT_FDCWD, "b", RENAME_EXCHANGE));
	CHECK(strcmp(slurp("d"), "A") == 0);
	ERR(renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	ERR(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	ERR(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 1 << 10), EINVAL);
}

static void across_devices(void)
{
	/* /proc is never on TEST_DIR's device: EXDEV, or what that file system says first. */
	touch("f");
	ERR(rename("f", "/proc/x"), EXDEV);
	ERR(rename("/proc/version", "x"), EXDEV);
	EQ(access("f", F_OK), 0);
}

static void hard_links(void)
{
	struct stat st;
	int fd = make_file("f", "data");

	OK(link("f", "g"));
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 2);
	EQ(pwrite(fd, "DATA", 4, 0), 4);
	CHECK(strcmp(slurp("g"), "DATA") == 0);
	ERR(link("f", "g"), EEXIST);
	ERR(link("missing", "h"), ENOENT);
	OK(mkdir("d", 0755));
	ERR(link("d", "e"), EPERM);
	OK(symlink("f", "l"));
	OK(link("l", "l2"));
	OK(lstat("l2", &st));
	CHECK(S_ISLNK(st.st_mode));
	OK(linkat(AT_FDCWD, "l", AT_FDCWD, "l3", AT_SYMLINK_FOLLOW));
	OK(lstat("l3", &st));
	CHECK(S_ISREG(st.st_mode));
	EQ(st.st_nlink, 3);
	int d = OK(open("d", O_RDONLY));
	OK(linkat(AT_FDCWD, "f", d, "in", 0));
	OK(unlink("f"));
	OK(unlink("g"));
	OK(unlink("l3"));
	CHECK(strcmp(slurp("d/in"), "DATA") == 0);
	ERR(linkat(AT_FDCWD, "d/in", AT_FDCWD, "x", 0x40000), EINVAL);
}

static void symbolic_links(void)
{
	char b[PATH_MAX], big[4096];
	struct stat st;

	OK(symlink("target/that/is/not", "l"));
	EQ(readlink("l", b, sizeof b), 18);
	CHECK(memcmp(b, "target/that/is/not", 18) == 0);
	b[5] = '#';
	EQ(readlink("l", b, 5), 5);
	EQ(b[5], '#');
	ERR(readlink("l", b, 0), EINVAL);
	ERR(readlink("l", bad_pointer(), 5), EFAULT);
	touch("f");
	ERR(readlink("f", b, 5), EINVAL);
	ERR(readlink("missing", b, 5), ENOENT);
	ERR(symlink("x", "l"), EEXIST);
	ERR(symlink("", "e"), ENOENT);
	int d = OK(open(".", O_RDONLY));
	OK(symlinkat("/absolute/text", d, "m"));
	EQ(readlinkat(d, "m", b, sizeof b), 14);
	OK(lstat("m", &st));
	EQ(st.st_size, 14);
	EQ(st.st_mode, S_IFLNK | 0777);
	memset(big, 'x', sizeof big);
	big[4095] = 0;
	OK(symlink(big, "big"));
	EQ(readlink("big", b, sizeof b), 4095);
	CHECK(memcmp(b, big, 4095) == 0);
}

static void nodes(void)
{
	struct stat st;

	OK(mkfifo("fifo", 0620));
	OK(stat("fifo", &st));
	EQ(st.st_mode, S_IFIFO | 0600);
	ERR(mkfifo("fifo", 0600), EEXIST);
	OK(mknod("plain", S_IFREG | 0600, 0));
	OK(stat("plain", &st));
	EQ(st.st_mode, S_IFREG | 0600);
	int d = OK(open(".", O_RDONLY));
	OK(mknodat(d, "fifo2", S_IFIFO | 0600, 0));
	if (geteuid())
		ERR(mknod("dev", S_IFCHR | 0600, makedev(1, 3)), EPERM);
	ERR(mknod("dir", S_IFDIR | 0700, 0), EPERM);
}

static void many_entries(void)
{
	const int n = 3000;
	char name[64], *seen = calloc(n, 1);
	struct dirent *e;
	int count = 0, others = 0;

	OK(mkdir("d", 0755));
	OK(chdir("d"));
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "entry-with-a-rather-long-name-%06d", i);
		touch(name);
	}
	DIR *d = opendir(".");
	CHECK(d);
	while ((errno = 0, e = readdir(d))) {
		int i;
		if (sscanf(e->d_name, "entry-with-a-rather-long-name-%d", &i) == 1) {
			CHECK(i >= 0 && i < n && !seen[i]);
			seen[i] = 1;
			CHECK(e->d_type == DT_REG || e->d_type == DT_UNKNOWN);
			count++;
		} else {
			CHECK(!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."));
			others++;
		}
	}
	EQ(errno, 0);
	EQ(count, n);
	EQ(others, 2);
	rewinddir(d);
	for (count = 0; readdir(d);)
		count++;
	EQ(count, n + 2);
	closedir(d);
}

static void seek_in_a_directory(void)
{
	char name[16], at[3][256];
	long pos[3];
	struct dirent *e;
	int i = 0;

	OK(mkdir("d", 0755));
	for (int k = 0; k < 400; k++) {
		sprintf(name, "d/%d", k);
		touch(name);
	}
	DIR *d = opendir("d");
	CHECK(d);
	for (;;) {
		long p = telldir(d);
		if (!(e = readdir(d)))
			break;
		if (i == 5 || i == 200 || i == 390) {
			int w = i == 5 ? 0 : i == 200 ? 1 : 2;
			pos[w] = p;
			strcpy(at[w], e->d_name);
		}
		i++;
	}
	EQ(i, 402);
	for (int w = 2; w >= 0; w--) {
		seekdir(d, pos[w]);
		e = readdir(d);
		CHECK(e && strcmp(e->d_name, at[w]) == 0);
	}
	closedir(d);
}

static void raw_listing(void)
{
	char b[32768];
	int f = make_file("f", "x"), d = OK(open(".", O_RDONLY)), total = 0;
	struct stat st;

	ERR(syscall(SYS_getdents64, f, b, sizeof b), ENOTDIR);
	ERR(syscall(SYS_getdents64, -1, b, sizeof b), EBADF);
	ERR(syscall(SYS_getdents64, d, b, 8), EINVAL);
	ERR(syscall(SYS_getdents64, d, bad_pointer(), sizeof b), EFAULT);
	for (long n; (n = OK(syscall(SYS_getdents64, d, b, 64))) > 0;)
		for (long at = 0; at < n; total++) {
			struct dirent64 *e = (void *)(b + at);
			OK(lstat(e->d_name, &st));
			if (strcmp(e->d_name, ".."))
				EQ(e->d_ino, st.st_ino);
			at += e->d_reclen;
		}
	EQ(total, 3);
	EQ(syscall(SYS_getdents64, d, b, sizeof b), 0);
	EQ(lseek(d, 0, SEEK_SET), 0);
	CHECK(syscall(SYS_getdents64, d, b, sizeof b) > 0);
	/* The offset is shared through dup and fork. */
	OK(lseek(d, 0, SEEK_SET));
	int d2 = OK(dup(d));
	CHECK(syscall(SYS_getdents64, d2, b, sizeof b) > 0);
	EQ(syscall(SYS_getdents64, d, b, sizeof b), 0);
	OK(mkdir("gone", 0755));
	d = OK(open("gone", O_RDONLY));
	OK(rmdir("gone"));
	long r = syscall(SYS_getdents64, d, b, sizeof b);
	CHECK(r == 0 || (r == -1 && errno == ENOENT));
}

static void current_directory(void)
{
	char p[PATH_MAX], want[PATH_MAX + 32], tiny[4];
	int here = OK(open(".", O_RDONLY));

	OK(mkdir("a", 0755));
	OK(mkdir("a/b", 0755));
	OK(symlink("a/b", "l"));
	OK(chdir("l"));
	CHECK(getcwd(p, sizeof p));
	snprintf(want, sizeof want, "%s/a/b", check_dir);
	CHECK(strcmp(p, want) == 0);
	EQ(syscall(SYS_getcwd, p, sizeof p), strlen(want) + 1);
	CHECK(!getcwd(tiny, sizeof tiny) && errno == ERANGE);
	ERR(syscall(SYS_getcwd, bad_pointer(), 4096), EFAULT);
	OK(chdir(".."));
	EQ(access("b", F_OK), 0);
	OK(fchdir(here));
	EQ(access("a/b", F_OK), 0);
	touch("f");
	ERR(chdir("f"), ENOTDIR);
	ERR(chdir("missing"), ENOENT);
	ERR(fchdir(OK(open("f", O_RDONLY))), ENOTDIR);
	ERR(fchdir(-1), EBADF);
	/* Out to the host and back, by descriptor, absolute path and "..". */
	OK(chdir("/"));
	CHECK(getcwd(p, sizeof p) && strcmp(p, "/") == 0);
	OK(close(OK(open("etc/passwd", O_RDONLY))));
	OK(chdir(check_dir));
	EQ(access("f", F_OK), 0);
	OK(chdir("/usr"));
	OK(fchdir(here));
	CHECK(getcwd(p, sizeof p) && strcmp(p, check_dir) == 0);
	snprintf(want, sizeof want, "%s/../../../../../../../../..", check_dir);
	OK(chdir(want));
	CHECK(getcwd(p, sizeof p) && strcmp(p, "/") == 0);
	/* Step by step up from the inside. */
	OK(chdir(check_dir));
	for (int i = 0; i < 20; i++)
		OK(chdir(".."));
	CHECK(getcwd(p, sizeof p) && strcmp(p, "/") == 0);
	snprintf(want, sizeof want, "%s/f", check_dir + 1);
	EQ(access(want, F_OK), 0);
	OK(fchdir(here));
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(getcwd(p, sizeof p) && strcmp(p, check_dir) == 0);
		OK(chdir("a"));
		execl("/bin/sh", "sh", "-c", "test -d b && cd ../a/b && test \"$(/bin/pwd)\" = \"$0/a/b\"", check_dir, NULL);
		_exit(9);
	}
	wait_ok(pid);
	EQ(access("a", F_OK), 0);
}

static int visited, removed;
static int visit(const char *path, const struct stat *st, int type, struct FTW *f)
{
	visited++;
	return 0;
}
static int erase(const char *path, const struct stat *st, int type, struct FTW *f)
{
	removed++;
	return remove(path);
}

static void tree_walk(void)
{
	char p[64];

	OK(mkdir("t", 0755));
	for (int i = 0; i < 5; i++) {
		sprintf(p, "t/%d", i);
		OK(mkdir(p, 0755));
		for (int k = 0; k < 6; k++) {
			sprintf(p, "t/%d/%d", i, k);
			OK(mkdir(p, 0755));
			strcat(p, "/file");
			touch(p);
		}
	}
	OK(nftw("t", visit, 3, FTW_PHYS));
	EQ(visited, 1 + 5 + 30 + 30);
	OK(nftw("t", erase, 3, FTW_PHYS | FTW_DEPTH));
	ERR(access("t", F_OK), ENOENT);
}

static void root_of_the_tree_is_visible(void)
{
	/* TEST_DIR is listed by its parent, and the ways up from it agree. */
	char up[PATH_MAX + 8];
	struct stat a, b;
	int found = 0;

	snprintf(up, sizeof up, "%s/..", check_root);
	DIR *d = opendir(up);
	if (!d && errno == EACCES)
		skip("the parent of TEST_DIR cannot be listed");
	CHECK(d);
	for (struct dirent *e; (e = readdir(d));)
		found += strcmp(e->d_name, strrchr(check_root, '/') + 1) == 0;
	closedir(d);
	EQ(found, 1);
	OK(stat(up, &a));
	OK(chdir(check_root));
	OK(chdir(".."));
	OK(stat(".", &b));
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_dev, b.st_dev);
}

static void new_names_after_rewind(void)
{
	/* Names made by another process appear in an open directory stream after rewinding. */
	DIR *d = opendir(".");
	int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	EQ(n, 2);
	pid_t pid = fork();
	if (pid == 0) {
		touch("new");
		_exit(0);
	}
	wait_ok(pid);
	rewinddir(d);
	for (n = 0; readdir(d);)
		n++;
	EQ(n, 3);
}

/* Two paths in two places: what is wrong with one is told before that they are two. */
static void errors_before_another_device(void)
{
	int d = OK(open(".", O_RDONLY | O_DIRECTORY)), n = OK(open("/dev/null", O_RDONLY));

	OK(close(make_file("f", "")));
	ERR(linkat(n, "x", d, "y", 0), ENOTDIR);
	ERR(linkat(d, "f", n, "y", 0), ENOTDIR);
	ERR(linkat(-1, "x", d, "y", 0), EBADF);
	ERR(linkat(d, "f", -1, "y", 0), EBADF);
	ERR(renameat(n, "x", d, "y"), ENOTDIR);
	ERR(link("/nowhere/to/be/found", "y"), ENOENT);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(make_and_remove), CASE(unlinking), CASE(renaming), CASE(rename_flags), CASE(across_devices), CASE(hard_links),
	CASE(symbolic_links), CASE(nodes), CASE(many_entries), CASE(seek_in_a_directory), CASE(raw_listing),
	CASE_IN_MAIN(current_directory), CASE(tree_walk), CASE(root_of_the_tree_is_visible), CASE(new_names_after_rewind),
	CASE(errors_before_another_device),
};
CHECK_MAIN(cases)
