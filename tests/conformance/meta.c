/* What is known about a file, and changing it: stat, times, modes, owners, sizes, attributes. */
#include "check.h"
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <linux/falloc.h>
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <utime.h>

static void stat_family(void)
{
	struct stat a, b, c, d;
	int fd = make_file("f", "12345");

	OK(symlink("f", "l"));
	OK(stat("f", &a));
	OK(fstat(fd, &b));
	OK(fstatat(AT_FDCWD, "l", &c, 0));
	CHECK(memcmp(&a, &b, sizeof a) == 0);
	CHECK(memcmp(&a, &c, sizeof a) == 0);
	EQ(a.st_size, 5);
	EQ(a.st_mode, S_IFREG | 0644);
	EQ(a.st_nlink, 1);
	EQ(a.st_uid, geteuid());
	EQ(a.st_gid, getegid());
	CHECK(a.st_blksize >= 512);
	OK(lstat("l", &d));
	CHECK(S_ISLNK(d.st_mode));
	EQ(d.st_size, 1);
	OK(fstatat(AT_FDCWD, "l", &c, AT_SYMLINK_NOFOLLOW));
	EQ(c.st_ino, d.st_ino);
	OK(fstatat(fd, "", &c, AT_EMPTY_PATH));
	EQ(c.st_ino, a.st_ino);
	ERR(fstatat(fd, "", &c, 0), ENOENT);
	ERR(fstatat(fd, "x", &c, 0), ENOTDIR);
	ERR(fstatat(AT_FDCWD, "f", &c, 0x40000), EINVAL);
	ERR(stat("missing", &c), ENOENT);
	ERR(stat("f/x", &c), ENOTDIR);
	ERR(stat("", &c), ENOENT);
	ERR(fstat(-1, &c), EBADF);
	ERR(syscall(SYS_stat, "f", bad_pointer()), EFAULT);
	ERR(syscall(SYS_fstat, fd, bad_pointer()), EFAULT);
	ERR(syscall(SYS_stat, bad_pointer(), &c), EFAULT);
}

static void same_device(void)
{
	struct stat a, b, host;

	touch("a");
	OK(mkdir("d", 0755));
	OK(stat("a", &a));
	OK(stat("d", &b));
	EQ(a.st_dev, b.st_dev);
	OK(stat("/proc", &host));
	CHECK(host.st_dev != a.st_dev);
	OK(lstat(check_dir, &b));
	EQ(a.st_dev, b.st_dev);
}

static void extended_stat(void)
{
	struct statx x;
	struct stat st;
	int fd = make_file("f", "12345");

	OK(stat("f", &st));
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
	EQ(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	EQ(x.stx_size, 5);
	EQ(x.stx_ino, st.st_ino);
	EQ(x.stx_mode, st.st_mode);
	EQ(makedev(x.stx_dev_major, x.stx_dev_minor), st.st_dev);
	EQ(x.stx_mtime.tv_sec, st.st_mtim.tv_sec);
	EQ(x.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
	OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	EQ(x.stx_size, 5);
	OK(symlink("f", "l"));
	OK(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
	EQ(x.stx_mode & S_IFMT, S_IFLNK);
	OK(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &x));
	OK(statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &x));
	ERR(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_SIZE, &x), EINVAL);
	ERR(statx(AT_FDCWD, "f", 0, 0x80000000, &x), EINVAL);
	ERR(statx(AT_FDCWD, "f", 0x8000000, STATX_SIZE, &x), EINVAL);
	ERR(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_SIZE, bad_pointer()), EFAULT);
	ERR(statx(AT_FDCWD, "", 0, STATX_SIZE, &x), ENOENT);
}

static void statfs_family(void)
{
	struct statfs a, b;
	struct statvfs v;
	int fd = make_file("f", "x");

	OK(statfs(".", &a));
	OK(fstatfs(fd, &b));
	EQ(a.f_type, b.f_type);
	EQ(a.f_bsize, b.f_bsize);
	EQ(a.f_blocks, b.f_blocks);
	CHECK(a.f_namelen >= 255);
	OK(statvfs("f", &v));
	EQ(v.f_blocks, a.f_blocks);
	OK(statfs("/proc", &b));
	EQ(b.f_type, 0x9fa0);
	ERR(statfs("missing", &a), ENOENT);
	ERR(fstatfs(-1, &a), EBADF);
	ERR(syscall(SYS_statfs, ".", bad_pointer()), EFAULT);
}

static void access_family(void)
{
	bool root = geteuid() == 0;

	touch("f");
	OK(chmod("f", 0400));
	EQ(access("f", F_OK), 0);
	EQ(access("f", R_OK), 0);
	if (root)
		EQ(access("f", W_OK), 0);
	else
		ERR(access("f", W_OK), EACCES);
	ERR(access("f", X_OK), EACCES);
	OK(chmod("f", 0700));
	EQ(access("f", R_OK | W_OK | X_OK), 0);
	ERR(access("missing", F_OK), ENOENT);
	ERR(access("f", 99), EINVAL);
	ERR(access("f/x", F_OK), ENOTDIR);
	OK(symlink("missing", "dangling"));
	ERR(access("dangling", F_OK), ENOENT);
	EQ(syscall(SYS_faccessat2, AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	EQ(faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS), 0);
	int fd = OK(open("f", O_RDONLY));
	EQ(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH), 0);
	ERR(syscall(SYS_faccessat2, AT_FDCWD, "f", F_OK, 0x40000), EINVAL);
	EQ(access("/etc/passwd", R_OK), 0);
}

static void access_uses_the_real_ids(void)
{
	need_root();
	touch("f");
	OK(chmod("f", 0600));
	OK(seteuid(65534));
	/* Real id root: access says yes; the effective one cannot open. */
	EQ(access("f", R_OK | W_OK), 0);
	ERR(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS), EACCES);
	ERR(open("f", O_RDONLY), EACCES);
}

static void modes(void)
{
	struct stat st;
	int fd = make_file("f", "x"), d = OK(open(".", O_RDONLY));

	OK(chmod("f", 04751));
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 04751);
	OK(fchmod(fd, 0));
	OK(fstat(fd, &st));
	EQ(st.st_mode & 07777, 0);
	OK(fchmodat(d, "f", 0600, 0));
	OK(symlink("f", "l"));
	OK(chmod("l", 0640));
	OK(stat("f", &st));
	EQ(st.st_mode & 07777, 0640);
	ERR(chmod("missing", 0600), ENOENT);
	ERR(fchmod(-1, 0600), EBADF);
	OK(mkdir("d", 0755));
	OK(chmod("d", 01777));
	OK(stat("d", &st));
	EQ(st.st_mode, S_IFDIR | 01777);
	ERR(chmod("/etc/no-such-file", 0600), ENOENT);
}

static void owners(void)
{
	struct stat st;
	int fd = make_file("f", "x");

	OK(chown("f", -1, -1));
	OK(fchown(fd, geteuid(), getegid()));
	if (geteuid()) {
		ERR(chown("f", 0, -1), EPERM);
		ERR(lchown("f", 0, 0), EPERM);
		return;
	}
	OK(chmod("f", 06755));
	OK(chown("f", 1234, 5678));
	OK(stat("f", &st));
	EQ(st.st_uid, 1234);
	EQ(st.st_gid, 5678);
	EQ(st.st_mode & 07777, 0755);
	OK(fchown(fd, -1, 99));
	OK(fstat(fd, &st));
	EQ(st.st_uid, 1234);
	EQ(st.st_gid, 99);
	OK(symlink("f", "l"));
	OK(lchown("l", 7, 8));
	OK(lstat("l", &st));
	EQ(st.st_uid, 7);
	OK(fchownat(AT_FDCWD, "l", 70, 80, AT_SYMLINK_NOFOLLOW));
	OK(lstat("l", &st));
	EQ(st.st_uid, 70);
	OK(fchownat(fd, "", 5, 6, AT_EMPTY_PATH));
	OK(stat("f", &st));
	EQ(st.st_uid, 5);
	EQ(st.st_gid, 6);
}

static void setting_times(void)
{
	struct timespec t[2] = { { 1000, 123456789 }, { 2000, 987654321 } };
	struct timeval v[2] = { { 3000, 500 }, { 4000, 600 } };
	struct utimbuf u = { 5000, 6000 };
	struct stat st, before;
	int fd = make_file("f", "x");

	OK(utimensat(AT_FDCWD, "f", t, 0));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, 1000);
	EQ(st.st_atim.tv_nsec, 123456789);
	EQ(st.st_mtim.tv_sec, 2000);
	EQ(st.st_mtim.tv_nsec, 987654321);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_sec = 77;
	OK(futimens(fd, t));
	OK(fstat(fd, &st));
	EQ(st.st_atim.tv_sec, 1000);
	EQ(st.st_mtim.tv_sec, 77);
	OK(utimes("f", v));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, 3000);
	EQ(st.st_mtim.tv_nsec, 600000);
	OK(utime("f", &u));
	OK(stat("f", &st));
	EQ(st.st_mtim.tv_sec, 6000);
	before = st;
	t[0].tv_nsec = t[1].tv_nsec = UTIME_NOW;
	OK(utimensat(AT_FDCWD, "f", t, 0));
	OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec > before.st_mtim.tv_sec + 1000000);
	CHECK(labs(st.st_mtim.tv_sec - time(NULL)) < 100);
	OK(utimensat(AT_FDCWD, "f", NULL, 0));
	OK(symlink("f", "l"));
	t[0] = t[1] = (struct timespec){ 11, 12 };
	OK(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
	OK(lstat("l", &st));
	EQ(st.st_mtim.tv_sec, 11);
	OK(stat("f", &st));
	CHECK(st.st_mtim.tv_sec != 11);
	t[0].tv_nsec = 1000000000;
	ERR(utimensat(AT_FDCWD, "f", t, 0), EINVAL);
	ERR(utimensat(AT_FDCWD, "missing", NULL, 0), ENOENT);
	ERR(utimensat(AT_FDCWD, "f", NULL, 0x40000), EINVAL);
	OK(futimesat(AT_FDCWD, "f", v));
	/* Before 1970 and after 2038. */
	t[0] = (struct timespec){ -5, 0 };
	t[1] = (struct timespec){ 4000000000, 0 };
	OK(utimensat(AT_FDCWD, "f", t, 0));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, -5);
	EQ(st.st_mtim.tv_sec, 4000000000);
}

static void times_move_by_themselves(void)
{
	struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
	struct stat st;
	int fd = make_file("f", "x");

	OK(futimens(fd, old));
	EQ(write(fd, "y", 1), 1);
	OK(fstat(fd, &st));
	CHECK(st.st_mtim.tv_sec > 1000);
	CHECK(labs(st.st_ctim.tv_sec - time(NULL)) < 100);
	OK(futimens(fd, old));
	OK(ftruncate(fd, 0));
	OK(fstat(fd, &st));
	CHECK(st.st_mtim.tv_sec > 1000);
	OK(mkdir("d", 0755));
	OK(utimensat(AT_FDCWD, "d", old, 0));
	touch("d/x");
	OK(stat("d", &st));
	CHECK(st.st_mtim.tv_sec > 1000);
}

static void truncation(void)
{
	struct stat st;
	char b[8];
	int fd = make_file("f", "0123456789");

	OK(truncate("f", 4));
	OK(fstat(fd, &st));
	EQ(st.st_size, 4);
	OK(ftruncate(fd, 8));
	EQ(pread(fd, b, 8, 0), 8);
	CHECK(memcmp(b, "0123\0\0\0\0", 8) == 0);
	ERR(truncate("f", -1), EINVAL);
	ERR(ftruncate(fd, -1), EINVAL);
	ERR(truncate("missing", 0), ENOENT);
	ERR(truncate(".", 0), EISDIR);
	int ro = OK(open("f", O_RDONLY)), p[2];
	ERR(ftruncate(ro, 0), EINVAL);
	OK(pipe(p));
	ERR(ftruncate(p[1], 0), EINVAL);
	ERR(ftruncate(-1, 0), EBADF);
	ERR(ftruncate(OK(socket(AF_INET, SOCK_STREAM, 0)), 0), EINVAL);
	OK(truncate("f", 0));
	EQ(read(fd, b, 8), 0);
}

static void allocation(void)
{
	struct stat st;
	char b[8];
	int p[2], fd = make_file("f", "0123456789"), ro = OK(open("f", O_RDONLY));

	if (fallocate(fd, 0, 0, 65536) < 0 && errno == EOPNOTSUPP)
		skip("this file system has no fallocate");
	OK(fstat(fd, &st));
	EQ(st.st_size, 65536);
	CHECK(st.st_blocks * 512 >= 65536);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 65536, 65536));
	OK(fstat(fd, &st));
	EQ(st.st_size, 65536);
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 4));
	EQ(pread(fd, b, 8, 0), 8);
	CHECK(memcmp(b, "01\0\0\0\0" "67", 8) == 0);
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
	ERR(fallocate(fd, 0, -1, 10), EINVAL);
	ERR(fallocate(fd, 0, 0, 0), EINVAL);
	ERR(fallocate(ro, 0, 0, 10), EBADF);
	OK(pipe(p));
	ERR(fallocate(p[1], 0, 0, 1), ESPIPE);
	P0(posix_fallocate(fd, 0, 100000));
	OK(fstat(fd, &st));
	EQ(st.st_size, 100000);
	if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 2) == 0) {
		EQ(pread(fd, b, 2, 0), 2);
		CHECK(memcmp(b, "\0\0", 2) == 0);
	}
}

static void syncing(void)
{
	int p[2], fd = make_file("f", "data"), s = OK(socket(AF_INET, SOCK_STREAM, 0));

	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(fsync(OK(open("f", O_RDONLY))));
	OK(fsync(OK(open(".", O_RDONLY))));
	OK(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	ERR(sync_file_range(fd, 0, 4, 99), EINVAL);
	ERR(sync_file_range(fd, -1, 4, 0), EINVAL);
	ERR(fsync(-1), EBADF);
	ERR(fsync(s), EINVAL);
	ERR(fdatasync(s), EINVAL);
	OK(pipe(p));
	ERR(fsync(p[0]), EINVAL);
	ERR(sync_file_range(p[0], 0, 4, 0), ESPIPE);
	OK(syncfs(fd));
	sync();
}

static void advice(void)
{
	int p[2], fd = make_file("f", "data");

	for (int a = POSIX_FADV_NORMAL; a <= POSIX_FADV_NOREUSE; a++)
		P0(posix_fadvise(fd, 0, 0, a));
	EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
	EQ(posix_fadvise(-1, 0, 0, 0), EBADF);
	OK(pipe(p));
	EQ(posix_fadvise(p[0], 0, 0, 0), ESPIPE);
	EQ(readahead(fd, 0, 4096), 0);
	CHECK(strcmp(slurp("f"), "data") == 0);
}

static void attributes(void)
{
	char b[64], big[70000];
	int fd = make_file("f", "x");

	if (setxattr("f", "user.one", "1", 1, 0) < 0 && errno == EOPNOTSUPP)
		skip("this file system has no user attributes");
	OK(fsetxattr(fd, "user.two", "second", 6, XATTR_CREATE));
	ERR(setxattr("f", "user.two", "x", 1, XATTR_CREATE), EEXIST);
	ERR(setxattr("f", "user.three", "x", 1, XATTR_REPLACE), ENODATA);
	EQ(getxattr("f", "user.two", b, sizeof b), 6);
	CHECK(memcmp(b, "second", 6) == 0);
	EQ(getxattr("f", "user.two", NULL, 0), 6);
	ERR(getxattr("f", "user.two", b, 3), ERANGE);
	ERR(getxattr("f", "user.none", b, 3), ENODATA);
	EQ(fgetxattr(fd, "user.one", b, sizeof b), 1);
	long n = OK(listxattr("f", b, sizeof b));
	int found = 0;
	for (char *p = b; p < b + n; p += strlen(p) + 1)
		found += !strcmp(p, "user.one") || !strcmp(p, "user.two");
	EQ(found, 2);
	EQ(flistxattr(fd, NULL, 0), n);
	ERR(listxattr("f", b, 3), ERANGE);
	OK(setxattr("f", "user.one", "replaced", 8, 0));
	EQ(lgetxattr("f", "user.one", b, sizeof b), 8);
	OK(removexattr("f", "user.one"));
	ERR(removexattr("f", "user.one"), ENODATA);
	OK(fremovexattr(fd, "user.two"));
	OK(setxattr("f", "user.empty", "", 0, 0));
	EQ(getxattr("f", "user.empty", b, sizeof b), 0);
	ERR(setxattr("f", "nonsense", "x", 1, 0), EOPNOTSUPP);
	ERR(setxattr("f", "user.big", big, 65537, 0), E2BIG);
	ERR(setxattr("missing", "user.x", "x", 1, 0), ENOENT);
	ERR(setxattr("f", "user.x", bad_pointer(), 1, 0), EFAULT);
	OK(symlink("f", "l"));
	ERR(lsetxattr("l", "user.x", "x", 1, 0), EPERM);
	EQ(getxattr("l", "user.empty", b, sizeof b), 0);
	if (geteuid() == 0) {
		OK(lsetxattr("l", "trusted.x", "link", 4, 0));
		EQ(lgetxattr("l", "trusted.x", b, sizeof b), 4);
	}
}

static void size_seen_at_once(void)
{
	struct stat st;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	for (int i = 1; i <= 50; i++) {
		EQ(write(fd, "0123456789", 10), 10);
		OK(stat("f", &st));
		EQ(st.st_size, i * 10);
	}
	pid_t pid = fork();
	if (pid == 0) {
		OK(stat("f", &st));
		EQ(st.st_size, 500);
		OK(truncate("f", 7));
		_exit(0);
	}
	wait_ok(pid);
	OK(fstat(fd, &st));
	EQ(st.st_size, 7);
}

/* More extents than go into one message. */
static void extents_of_a_file(void)
{
	enum { N = 300 };
	struct fiemap *m = calloc(1, sizeof *m + N * sizeof m->fm_extents[0]);
	int fd = OK(open("holes", O_RDWR | O_CREAT, 0600));

	for (int i = 0; i < N; i++)
		EQ(pwrite(fd, "x", 1, (off_t)i * 65536), 1);
	OK(fsync(fd));
	m->fm_length = FIEMAP_MAX_OFFSET;
	if (ioctl(fd, FS_IOC_FIEMAP, m) < 0 && errno == EOPNOTSUPP)
		skip("this file system has no FIEMAP");
	EQ(m->fm_mapped_extents, N);
	m->fm_extent_count = N;
	OK(ioctl(fd, FS_IOC_FIEMAP, m));
	EQ(m->fm_mapped_extents, N);
	for (unsigned i = 0; i < N; i++)
		EQ(m->fm_extents[i].fe_logical, i * 65536ULL);
	CHECK(m->fm_extents[N - 1].fe_flags & FIEMAP_EXTENT_LAST);
	m->fm_start = 65536 * 10;
	m->fm_length = 65536 * 100;
	OK(ioctl(fd, FS_IOC_FIEMAP, m));
	EQ(m->fm_mapped_extents, 100);
	EQ(m->fm_extents[0].fe_logical, 65536 * 10);
	m->fm_flags = 0x40000000;
	ERR(ioctl(fd, FS_IOC_FIEMAP, m), EBADR);
	OK(close(fd));
}

/* Watched, or refused in the way that makes programs look by themselves. */
static void watched(void)
{
	int fd = OK(inotify_init1(IN_CLOEXEC));

	OK(close(make_file("w", "")));
	CHECK(inotify_add_watch(fd, "w", IN_MODIFY) > 0 || errno == ENOSPC);
	OK(close(fd));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(stat_family), CASE(same_device), CASE_IN_MAIN(extended_stat), CASE(statfs_family), CASE(access_family),
	CASE(access_uses_the_real_ids), CASE(modes), CASE(owners), CASE(setting_times), CASE(times_move_by_themselves),
	CASE(truncation), CASE(allocation), CASE(syncing), CASE(advice), CASE(attributes), CASE(size_seen_at_once),
	CASE(extents_of_a_file), CASE(watched),
};
CHECK_MAIN(cases)
