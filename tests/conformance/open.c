/* Opening by name: flags, modes, permissions, kinds of files, the number that comes back. */
#include "check.h"
#include <sys/fsuid.h>

static void create_and_exclusive(void)
{
	struct stat st;

	ERR(open("f", O_RDWR), ENOENT);
	OK(close(OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0640))));
	ERR(open("f", O_RDWR | O_CREAT | O_EXCL, 0640), EEXIST);
	OK(close(OK(open("f", O_RDWR | O_CREAT, 0600))));
	OK(stat("f", &st));
	EQ(st.st_mode, S_IFREG | 0640);
	OK(symlink("nowhere", "dangling"));
	ERR(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	OK(close(OK(open("dangling", O_RDWR | O_CREAT, 0600))));
	OK(stat("nowhere", &st));
	ERR(open("no/such", O_CREAT | O_RDWR, 0600), ENOENT);
	ERR(open("f/x", O_CREAT | O_RDWR, 0600), ENOTDIR);
	ERR(open("", O_RDONLY), ENOENT);
	ERR(open("", O_RDONLY | O_CREAT, 0600), ENOENT);
}

static void truncate_on_open(void)
{
	struct stat st;
	int fd = make_file("f", "content");

	OK(close(OK(open("f", O_RDONLY))));
	OK(fstat(fd, &st));
	EQ(st.st_size, 7);
	OK(close(OK(open("f", O_WRONLY | O_TRUNC))));
	OK(fstat(fd, &st));
	EQ(st.st_size, 0);
	EQ(write(fd, "again", 5), 5);
	OK(close(OK(creat("f", 0600))));
	OK(fstat(fd, &st));
	EQ(st.st_size, 0);
	ERR(write(OK(open("f", O_RDONLY)), "x", 1), EBADF);
}

static void mode_and_umask(void)
{
	struct stat st;

	EQ(umask(027), 022);
	OK(close(OK(open("a", O_CREAT | O_WRONLY, 0777))));
	OK(stat("a", &st));
	EQ(st.st_mode & 07777, 0750);
	EQ(umask(0), 027);
	OK(close(OK(open("b", O_CREAT | O_WRONLY, 01666))));
	OK(stat("b", &st));
	EQ(st.st_mode & 07777, 01666);
	/* A file made unwritable is writable through the descriptor that made it. */
	int fd = OK(open("c", O_CREAT | O_RDWR, 0));
	EQ(write(fd, "x", 1), 1);
	umask(077);
	pid_t pid = fork();
	if (pid == 0) {
		EQ(umask(0), 077);
		_exit(0);
	}
	wait_ok(pid);
	EQ(umask(022), 077);
	OK(mkdir("d", 0777));
	OK(stat("d", &st));
	EQ(st.st_mode & 07777, 0755);
}

static void permissions(void)
{
	if (geteuid() == 0)
		skip("needs an ordinary user");
	touch("secret");
	OK(chmod("secret", 0));
	ERR(open("secret", O_RDONLY), EACCES);
	OK(chmod("secret", 0400));
	ERR(open("secret", O_RDWR), EACCES);
	OK(close(OK(open("secret", O_RDONLY))));
	OK(mkdir("closed", 0700));
	touch("closed/f");
	OK(chmod("closed", 0600));
	ERR(open("closed/f", O_RDONLY), EACCES);
	ERR(open("closed/new", O_CREAT | O_RDWR, 0600), EACCES);
	OK(chmod("closed", 0100));
	OK(close(OK(open("closed/f", O_RDONLY))));
	ERR(open("closed", O_RDONLY), EACCES);
	OK(chmod("closed", 0700));
}

static void dropped_privileges(void)
{
	need_root();
	touch("secret");
	OK(chmod("secret", 0600));
	OK(mkdir("public", 0777));
	OK(chmod("public", 0777));
	pid_t pid = fork();
	if (pid == 0) {
		struct stat st;
		OK(setgid(65534));
		OK(setuid(65534));
		ERR(open("secret", O_RDONLY), EACCES);
		ERR(open("new", O_CREAT | O_WRONLY, 0600), EACCES);
		OK(close(OK(open("public/new", O_CREAT | O_WRONLY, 0600))));
		OK(stat("public/new", &st));
		EQ(st.st_uid, 65534);
		EQ(st.st_gid, 65534);
		_exit(0);
	}
	wait_ok(pid);
	/* A change of the effective id counts at once, and so does the way back. */
	OK(seteuid(65534));
	ERR(open("secret", O_RDONLY), EACCES);
	OK(seteuid(0));
	OK(close(OK(open("secret", O_RDONLY))));
	/* So does the id for the file system alone, for children too. */
	EQ(setfsuid(65534), 0);
	ERR(open("secret", O_RDONLY), EACCES);
	pid = fork();
	if (pid == 0) {
		struct stat st;

		ERR(open("secret", O_RDONLY), EACCES);
		OK(close(OK(open("public/mine", O_CREAT | O_WRONLY, 0600))));
		OK(stat("public/mine", &st));
		EQ(st.st_uid, 65534);
		_exit(0);
	}
	wait_ok(pid);
	EQ(setfsuid(0), 65534);
	OK(close(OK(open("secret", O_RDONLY))));
}

static void directory_flag(void)
{
	touch("f");
	OK(mkdir("d", 0755));
	OK(symlink("d", "ld"));
	OK(symlink("f", "lf"));
	ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	ERR(open("lf", O_RDONLY | O_DIRECTORY), ENOTDIR);
	OK(close(OK(open("d", O_RDONLY | O_DIRECTORY))));
	OK(close(OK(open("ld", O_RDONLY | O_DIRECTORY))));
	OK(close(OK(open("d", O_RDONLY))));
	ERR(open("d", O_RDWR), EISDIR);
	ERR(open("d", O_WRONLY), EISDIR);
	ERR(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
	ERR(creat("d", 0600), EISDIR);
}

static void nofollow(void)
{
	struct stat st;

	touch("f");
	OK(mkdir("d", 0755));
	OK(symlink("f", "l"));
	OK(symlink("d", "ld"));
	touch("d/x");
	ERR(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	ERR(open("ld", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR);
	OK(close(OK(open("f", O_RDONLY | O_NOFOLLOW))));
	/* Only the last component counts. */
	OK(close(OK(open("ld/x", O_RDONLY | O_NOFOLLOW))));
	int fd = OK(open("l", O_PATH | O_NOFOLLOW));
	OK(fstat(fd, &st));
	CHECK(S_ISLNK(st.st_mode));
	char b[16] = "";
	EQ(readlinkat(fd, "", b, sizeof b), 1);
	EQ(b[0], 'f');
}

static void path_descriptors(void)
{
	struct stat st, st2;
	char b[4];

	make_file("f", "data");
	OK(mkdir("d", 0755));
	touch("d/x");
	int fd = OK(open("f", O_PATH));
	ERR(read(fd, b, 4), EBADF);
	ERR(write(fd, b, 4), EBADF);
	ERR(fchmod(fd, 0600), EBADF);
	ERR(lseek(fd, 0, SEEK_SET), EBADF);
	ERR(ftruncate(fd, 0), EBADF);
	OK(fstat(fd, &st));
	EQ(st.st_size, 4);
	OK(fstatat(fd, "", &st2, AT_EMPTY_PATH));
	EQ(st.st_ino, st2.st_ino);
	CHECK(fcntl(fd, F_GETFL) & O_PATH);
	int d = OK(open("d", O_PATH | O_DIRECTORY));
	OK(close(OK(openat(d, "x", O_RDWR))));
	OK(close(OK(openat(d, "../f", O_RDWR))));
	OK(fchdir(d));
	OK(stat("x", &st));
	/* Re-opened through /proc/self/fd for reading. */
	snprintf(b, sizeof b, "%d", fd);
	char p[64];
	snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
	int again = OK(open(p, O_RDONLY));
	EQ(read(again, b, 4), 4);
	CHECK(memcmp(b, "data", 4) == 0);
}

static void temporary_files(void)
{
	struct stat st;
	char p[64], b[8];
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);

	if (fd < 0 && errno == EOPNOTSUPP)
		skip("this file system has no O_TMPFILE");
	OK(fd);
	EQ(write(fd, "tmp", 3), 3);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_mode, S_IFREG | 0600);
	snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, p, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	CHECK(strcmp(slurp("named"), "tmp") == 0);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 1);
	ERR(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
	fd = OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	EQ(pwrite(fd, "x", 1, 0), 1);
	EQ(pread(fd, b, 8, 0), 1);
	touch("f");
	ERR(open("f", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
}

static void status_flags(void)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_APPEND, O_RDWR | O_NONBLOCK, O_WRONLY | O_DSYNC, O_RDWR | O_SYNC };
	const int mask = O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW;

	for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		int fd = OK(open("f", flags[i] | O_CREAT, 0600));
		EQ(fcntl(fd, F_GETFL) & mask, flags[i]);
		EQ(fcntl(fd, F_GETFD), 0);
		OK(close(fd));
	}
	int fd = OK(open("f", O_RDWR | O_CLOEXEC));
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	OK(fcntl(fd, F_SETFD, 0));
	EQ(fcntl(fd, F_GETFD), 0);
	CHECK(!(fcntl(fd, F_GETFL) & O_CLOEXEC));
}

static void lowest_number(void)
{
	int a, b, c;

	touch("f");
	a = OK(open("f", O_RDONLY));
	b = OK(open("f", O_RDONLY));
	c = OK(open("f", O_RDONLY));
	EQ(b, a + 1);
	EQ(c, b + 1);
	OK(close(a));
	EQ(open("f", O_RDONLY), a);
	OK(close(b));
	OK(close(a));
	EQ(socket(AF_INET, SOCK_STREAM, 0), a);
	EQ(open("f", O_RDONLY), b);
	OK(close(a));
	OK(close(b));
	int p[2];
	OK(pipe(p));
	EQ(p[0], a);
	EQ(p[1], b);
	OK(close(0));
	EQ(open("f", O_RDONLY), 0);
}

static void special_files(void)
{
	char b[4];

	OK(mkfifo("fifo", 0600));
	ERR(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = OK(open("fifo", O_RDONLY | O_NONBLOCK)), w = OK(open("fifo", O_WRONLY));
	EQ(write(w, "abc", 3), 3);
	EQ(read(r, b, 4), 3);
	ERR(read(r, b, 4), EAGAIN);
	OK(close(w));
	EQ(read(r, b, 4), 0);
	/* Opening one end waits for the other. */
	OK(close(r));
	pid_t pid = fork();
	if (pid == 0) {
		int fd = OK(open("fifo", O_WRONLY));
		EQ(write(fd, "xyz", 3), 3);
		_exit(0);
	}
	r = OK(open("fifo", O_RDONLY));
	EQ(read(r, b, 3), 3);
	CHECK(memcmp(b, "xyz", 3) == 0);
	wait_ok(pid);
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(open("/proc/self/no-such-file", O_RDONLY), ENOENT);
	OK(close(s));
	int n = OK(open("/dev/null", O_RDWR));
	EQ(read(n, b, 4), 0);
}

/* A writer who opens, writes and is gone before its reader has begun to wait is not missed. */
static void writer_comes_and_goes(void)
{
	OK(mkfifo("fifo", 0600));
	for (int i = 0; i < 100; i++) {
		char b[4];
		pid_t pid = fork();

		if (pid == 0) {
			int r = OK(open("fifo", O_RDONLY));

			EQ(read(r, b, 4), 2);
			EQ(read(r, b, 4), 0);
			EQ(fcntl(r, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
			_exit(0);
		}
		int w = OK(open("fifo", O_WRONLY));
		EQ(write(w, "hi", 2), 2);
		OK(close(w));
		wait_ok(pid);
	}
}

static const struct check_case cases[] = {
	CASE(create_and_exclusive), CASE(truncate_on_open), CASE(mode_and_umask), CASE(permissions),
	CASE(dropped_privileges), CASE_IN_MAIN(directory_flag), CASE(nofollow), CASE(path_descriptors),
	CASE(temporary_files), CASE(status_flags), CASE(lowest_number), CASE(special_files),
	CASE(writer_comes_and_goes),
};
CHECK_MAIN(cases)
