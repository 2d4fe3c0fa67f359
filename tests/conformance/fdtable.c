/* The table of descriptors: numbers, duplicates, flags, close on exec, /proc/self/fd, limits. */
#include "check.h"
#include <spawn.h>
#include <sys/ioctl.h>
#include <asm/sockios.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <dirent.h>

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	OK(fstat(a, &x));
	OK(fstat(b, &y));
	return x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void dup_family(void)
{
	int fd = make_file("f", "0123456789"), other = make_file("g", "other"), d;

	d = OK(dup(fd));
	CHECK(d > fd && same_file(fd, d));
	EQ(dup2(fd, 100), 100);
	CHECK(same_file(fd, 100));
	EQ(dup2(other, 100), 100);
	CHECK(same_file(other, 100));
	EQ(dup2(fd, fd), fd);
	ERR(dup2(-1, 5), EBADF);
	ERR(dup2(99, 99), EBADF);
	ERR(dup2(fd, -1), EBADF);
	ERR(dup2(fd, 1 << 30), EBADF);
	ERR(dup(98), EBADF);
	EQ(dup3(fd, 101, O_CLOEXEC), 101);
	EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
	EQ(dup2(101, 102), 102);
	EQ(fcntl(102, F_GETFD), 0);
	ERR(dup3(fd, fd, 0), EINVAL);
	ERR(dup3(fd, 103, O_NONBLOCK), EINVAL);
}

static void dup_over_kinds(void)
{
	/* A file over a socket, a socket over a pipe, a pipe over a file. */
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	char b[8];
	int f = make_file("f", "file"), s = bound(SOCK_STREAM, &a), p[2], keep;

	OK(pipe(p));
	keep = OK(dup(s));
	EQ(dup2(f, s), s);
	EQ(read(s, b, 8), 4);
	ERR(getsockname(s, (struct sockaddr *)&a, &len), ENOTSOCK);
	OK(getsockname(keep, (struct sockaddr *)&a, &len));
	EQ(dup2(keep, p[0]), p[0]);
	OK(getsockname(p[0], (struct sockaddr *)&a, &len));
	signal(SIGPIPE, SIG_IGN);
	ERR(write(p[1], "x", 1), EPIPE);
	OK(pipe(p));
	EQ(dup2(p[0], f), f);
	EQ(write(p[1], "pipe", 4), 4);
	EQ(read(f, b, 8), 4);
	CHECK(memcmp(b, "pipe", 4) == 0);
	ERR(lseek(f, 0, SEEK_CUR), ESPIPE);
}

static void fcntl_dup(void)
{
	int fd = make_file("f", "x");

	EQ(fcntl(fd, F_DUPFD, 60), 60);
	EQ(fcntl(fd, F_DUPFD, 60), 61);
	EQ(fcntl(fd, F_GETFD), 0);
	EQ(fcntl(fd, F_DUPFD_CLOEXEC, 60), 62);
	EQ(fcntl(62, F_GETFD), FD_CLOEXEC);
	ERR(fcntl(fd, F_DUPFD, -1), EINVAL);
	ERR(fcntl(fd, F_DUPFD, 1 << 30), EINVAL);
	ERR(fcntl(97, F_DUPFD, 3), EBADF);
	OK(close(60));
	EQ(fcntl(fd, F_DUPFD, 50), 50);
	EQ(fcntl(fd, F_DUPFD, 60), 60);
}

static void close_is_once(void)
{
	int fd = make_file("f", "x"), s = OK(socket(AF_INET, SOCK_STREAM, 0)), d = OK(dup(fd));

	OK(close(fd));
	ERR(close(fd), EBADF);
	ERR(fcntl(fd, F_GETFD), EBADF);
	ERR(fcntl(fd, F_GETFL), EBADF);
	CHECK(is_open(d));
	OK(close(s));
	ERR(close(s), EBADF);
	ERR(close(-1), EBADF);
	ERR(close(1 << 20), EBADF);
	ERR(close(INT_MAX), EBADF);
	ERR(close(INT_MIN), EBADF);
}

static void status_flags_are_shared(void)
{
	struct sockaddr_in a;
	int s = listener(&a), d = OK(dup(s)), f = make_file("f", "x"), g = OK(dup(f));

	EQ(fcntl(s, F_GETFL), O_RDWR);
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	EQ(fcntl(d, F_GETFL), O_RDWR | O_NONBLOCK);
	ERR(accept(d, NULL, NULL), EAGAIN);
	OK(fcntl(d, F_SETFL, 0));
	EQ(fcntl(s, F_GETFL), O_RDWR);
	OK(fcntl(f, F_SETFL, O_APPEND));
	CHECK(fcntl(g, F_GETFL) & O_APPEND);
	/* Creation flags and the access mode cannot be changed. */
	OK(fcntl(f, F_SETFL, O_WRONLY | O_CREAT | O_TRUNC));
	EQ(fcntl(f, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR);
	/* FD_CLOEXEC belongs to the number. */
	OK(fcntl(f, F_SETFD, FD_CLOEXEC));
	EQ(fcntl(g, F_GETFD), 0);
	pid_t pid = fork();
	if (pid == 0) {
		OK(fcntl(s, F_SETFL, O_NONBLOCK));
		_exit(0);
	}
	wait_ok(pid);
	EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	s = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	ERR(fcntl(s, 9999), EINVAL);
}

static void ranges(void)
{
	int fd = make_file("f", "x"), s = OK(socket(AF_INET, SOCK_DGRAM, 0));

	for (int i = 40; i < 60; i++)
		EQ(dup2(i % 2 ? fd : s, i), i);
	OK(close_range(45, 50, 0));
	for (int i = 40; i < 60; i++)
		EQ(is_open(i), i < 45 || i > 50);
	OK(close_range(52, 54, CLOSE_RANGE_CLOEXEC));
	for (int i = 51; i < 56; i++)
		EQ(fcntl(i, F_GETFD), i >= 52 && i <= 54 ? FD_CLOEXEC : 0);
	ERR(close_range(5, 4, 0), EINVAL);
	ERR(close_range(3, 4, 1 << 10), EINVAL);
	EQ(dup2(fd, 3), 3);
	OK(close_range(40, ~0u, CLOSE_RANGE_CLOEXEC));
	EQ(fcntl(58, F_GETFD), FD_CLOEXEC);
	OK(close_range(40, 199, 0));
	CHECK(!is_open(58));
}

static void everything_closed(void)
{
	/* What daemons do: close all, then open 0, 1 and 2. */
	char b[4];
	pid_t pid;

	make_file("f", "abc");
	pid = fork();
	if (pid == 0) {
		struct sockaddr_in a;
		OK(close_range(0, ~0u, 0));
		if (open("f", O_RDONLY) != 0 || open("f", O_RDWR) != 1 || dup(1) != 2 || read(0, b, 4) != 3)
			_exit(1);
		int l = socket(AF_INET, SOCK_STREAM, 0);
		socklen_t len = sizeof a;
		a = loopback(0);
		if (l != 3 || bind(l, (struct sockaddr *)&a, sizeof a) || listen(l, 1) || getsockname(l, (struct sockaddr *)&a, &len))
			_exit(2);
		int c = socket(AF_INET, SOCK_STREAM, 0);
		if (c != 4 || connect(c, (struct sockaddr *)&a, sizeof a) || accept(l, NULL, NULL) != 5)
			_exit(3);
		for (int i = 0; i < 1024; i++)
			close(i);
		if (open("f", O_RDONLY) != 0 || read(0, b, 4) != 3)
			_exit(4);
		_exit(0);
	}
	EQ(wait_status(pid), 0);
}

static void in_proc(void)
{
	char p[64], l[PATH_MAX], want[PATH_MAX + 16], b[8];
	int fd = make_file("f", "0123456789"), n;

	EQ(read(fd, b, 4), 4);
	snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
	n = OK(readlink(p, l, sizeof l));
	l[n] = 0;
	snprintf(want, sizeof want, "%s/f", check_dir);
	if (strcmp(l, want))
		FAIL("%s is %s", p, l);
	/* Re-opening gives a new description with its own offset and mode. */
	int again = OK(open(p, O_RDONLY));
	EQ(read(again, b, 1), 1);
	EQ(b[0], '0');
	ERR(write(again, "x", 1), EBADF);
	EQ(read(fd, b, 1), 1);
	EQ(b[0], '4');
	snprintf(p, sizeof p, "/dev/fd/%d", fd);
	OK(close(OK(open(p, O_RDWR))));
	snprintf(p, sizeof p, "/proc/%d/fd/%d", getpid(), fd);
	OK(close(OK(open(p, O_RDWR))));
	struct stat a, c;
	OK(stat(p, &a));
	OK(fstat(fd, &c));
	EQ(a.st_ino, c.st_ino);
	EQ(a.st_size, 10);
	OK(unlink("f"));
	n = OK(readlink(p, l, sizeof l));
	l[n] = 0;
	CHECK(strcmp(strrchr(l, '/'), "/f (deleted)") == 0);
	again = OK(open(p, O_RDONLY));
	EQ(read(again, b, 1), 1);
	OK(close(fd));
	ERR(open(p, O_RDONLY), ENOENT);
}

static void sockets_in_proc(void)
{
	char p[64], l[64];
	struct stat st;
	int s = OK(socket(AF_INET, SOCK_STREAM, 0)), n;

	snprintf(p, sizeof p, "/proc/self/fd/%d", s);
	n = OK(readlink(p, l, sizeof l));
	l[n] = 0;
	CHECK(strncmp(l, "socket:[", 8) == 0);
	OK(fstat(s, &st));
	CHECK(S_ISSOCK(st.st_mode));
	EQ(strtoull(l + 8, NULL, 10), st.st_ino);
	ERR(open(p, O_RDONLY), ENXIO);
}

static void listing_of_proc(void)
{
	/* Every descriptor that is open is listed; nothing is listed that cannot be used. */
	int fd = make_file("f", "x"), s = OK(socket(AF_INET, SOCK_STREAM, 0)), seen = 0;
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	CHECK(d);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		int n = atoi(e->d_name);
		if (!is_open(n))
			FAIL("%d is listed but not open", n);
		seen += n == fd || n == s;
	}
	closedir(d);
	EQ(seen, 2);
}

static void limit(void)
{
	struct rlimit l;
	int fd = make_file("f", "x"), first, n = 0, last = -1;

	OK(getrlimit(RLIMIT_NOFILE, &l));
	l.rlim_cur = 256;
	if (l.rlim_max < 256)
		skip("the hard limit of descriptors is below 256");
	OK(setrlimit(RLIMIT_NOFILE, &l));
	while ((first = dup(fd)) >= 0) {
		CHECK(first > last && first < 256);
		last = first;
		n++;
	}
	EQ(errno, EMFILE);
	EQ(last, 255);
	CHECK(n > 200);
	ERR(open("f", O_RDONLY), EMFILE);
	ERR(open("new", O_RDONLY | O_CREAT, 0600), EMFILE);
	ERR(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
	int p[2];
	ERR(pipe(p), EMFILE);
	ERR(fcntl(fd, F_DUPFD, 0), EMFILE);
	ERR(dup2(fd, 256), EBADF);
	EQ(dup2(fd, 255), 255);
	OK(close(100));
	EQ(open("f", O_RDONLY), 100);
	ERR(eventfd(0, 0), EMFILE);
	OK(close(100));
	EQ(socket(AF_INET, SOCK_STREAM, 0), 100);
	OK(close(101));
	/* A call that would need a number fails without side effects on the others. */
	EQ(read(fd, (char[1]){ 0 }, 1), 1);
}

static void accept_at_the_limit(void)
{
	struct rlimit l;
	struct sockaddr_in a;
	int s = listener(&a), c = connected(&a), fd;

	OK(getrlimit(RLIMIT_NOFILE, &l));
	l.rlim_cur = 210;
	OK(setrlimit(RLIMIT_NOFILE, &l));
	while ((fd = dup(s)) >= 0)
		;
	ERR(accept(s, NULL, NULL), EMFILE);
	OK(close(209));
	EQ(accept(s, NULL, NULL), 209);
	EQ(write(c, "x", 1), 1);
	EQ(read(209, (char[1]){ 0 }, 1), 1);
}

static void many_descriptors(void)
{
	struct rlimit l;
	int want = 3000, fd = make_file("f", "0123456789");
	char b[1];

	OK(getrlimit(RLIMIT_NOFILE, &l));
	if (l.rlim_max < 4000)
		want = l.rlim_max - 300;
	l.rlim_cur = l.rlim_max;
	OK(setrlimit(RLIMIT_NOFILE, &l));
	EQ(fcntl(fd, F_DUPFD, want), want);
	for (int i = 250; i < want; i++)
		EQ(dup2(fd, i), i);
	EQ(pread(want - 1, b, 1, 7), 1);
	EQ(b[0], '7');
	EQ(lseek(want / 2, 3, SEEK_SET), 3);
	EQ(read(want, b, 1), 1);
	EQ(b[0], '3');
	pid_t pid = fork();
	if (pid == 0) {
		EQ(read(want - 7, b, 1), 1);
		EQ(b[0], '4');
		_exit(0);
	}
	wait_ok(pid);
	OK(close_range(250, want, 0));
	EQ(read(fd, b, 1), 1);
	EQ(b[0], '5');
}

static void through_fork(void)
{
	int fd = make_file("f", "0123456789"), s[2], st;
	char b[8];
	struct gate g;

	tcp_pair(s);
	gate_init(&g);
	pid_t pid = fork();
	if (pid == 0) {
		gate_wait(&g);
		/* The parent closed its copies; ours are whole. */
		EQ(read(fd, b, 2), 2);
		CHECK(memcmp(b, "01", 2) == 0);
		EQ(write(s[0], "hi", 2), 2);
		int mine = OK(open("f", O_RDONLY));
		CHECK(mine >= 0);
		_exit(0);
	}
	OK(close(fd));
	OK(close(s[0]));
	gate_open(&g);
	EQ(read(s[1], b, 8), 2);
	st = wait_status(pid);
	EQ(st, 0);
	/* The last holder of the other end is gone: end of stream. */
	EQ(read(s[1], b, 8), 0);
	fd = OK(open("f", O_RDONLY));
	pid = fork();
	if (pid == 0) {
		OK(close(fd));
		OK(dup2(OK(open("/dev/null", O_RDONLY)), fd));
		_exit(0);
	}
	wait_ok(pid);
	EQ(read(fd, b, 1), 1);
}

static void exec_helper(int argc, char **argv)
{
	/* argv: name, exec, then pairs KIND FD. */
	char b[16];

	for (int i = 2; i + 1 < argc; i += 2) {
		int fd = atoi(argv[i + 1]);
		switch (argv[i][0]) {
		case 'c':
			if (is_open(fd))
				_exit(10 + i);
			break;
		case 'r':
			if (read(fd, b, 4) != 4 || memcmp(b, "4567", 4))
				_exit(30 + i);
			if (fcntl(fd, F_GETFD) != 0)
				_exit(40 + i);
			break;
		case 's':
			if (write(fd, "sock", 4) != 4)
				_exit(50 + i);
			break;
		case 'd':
			if (openat(fd, "f", O_RDONLY) < 0)
				_exit(60 + i);
			break;
		}
	}
	/* cwd and umask came along. */
	if (access("f", R_OK) || umask(0) != 031)
		_exit(70);
	_exit(0);
}

static void through_exec(void)
{
	char n[6][12], b[8];
	int fd = make_file("f", "0123456789"), gone = OK(open("f", O_RDONLY | O_CLOEXEC)), dir = OK(open(".", O_RDONLY)), s[2], s2;

	tcp_pair(s);
	s2 = OK(fcntl(s[0], F_DUPFD_CLOEXEC, 0));
	EQ(read(fd, b, 4), 4);
	umask(031);
	int map[6] = { fd, gone, dir, s[0], s2, OK(dup2(fd, 77)) };
	for (int i = 0; i < 6; i++)
		sprintf(n[i], "%d", map[i]);
	pid_t pid = fork();
	if (pid == 0) {
		OK(close_range(77, 77, CLOSE_RANGE_CLOEXEC));
		execl(check_self, "fdtable", "--exec", "r", n[0], "c", n[1], "d", n[2], "s", n[3], "c", n[4], "c", n[5], NULL);
		_exit(9);
	}
	int st = wait_status(pid);
	if (st)
		FAIL("the new program found something wrong: status 0x%x", st);
	EQ(read(s[1], b, 8), 4);
	CHECK(memcmp(b, "sock", 4) == 0);
	/* The offset moved in the shared description. */
	EQ(lseek(fd, 0, SEEK_CUR), 8);
	CHECK(is_open(gone) && is_open(s2));
}

static void exec_closes_for_the_peer(void)
{
	int s[2];
	char b[1];

	tcp_pair(s);
	pid_t pid = fork();
	if (pid == 0) {
		OK(close(s[1]));
		OK(fcntl(s[0], F_SETFD, FD_CLOEXEC));
		execl("/bin/sh", "sh", "-c", "read line", NULL);
		_exit(9);
	}
	OK(close(s[0]));
	/* CLOEXEC really closes: the peer sees the end though the process lives or has just ended. */
	EQ(read(s[1], b, 1), 0);
	kill(pid, SIGKILL);
	wait_status(pid);
}

static void spawn_closes_for_the_peer(void)
{
	char *argv[] = { "sh", "-c", "read line", NULL }, b[1];
	posix_spawn_file_actions_t a;
	int s[2], p[2];
	pid_t pid;

	tcp_pair(s);
	OK(pipe(p));
	/* That it has another one must not matter. */
	OK(socket(AF_INET, SOCK_DGRAM, 0));
	P0(posix_spawn_file_actions_init(&a));
	P0(posix_spawn_file_actions_addclose(&a, s[0]));
	P0(posix_spawn_file_actions_addclose(&a, s[1]));
	P0(posix_spawn_file_actions_addclose(&a, p[1]));
	P0(posix_spawn_file_actions_adddup2(&a, p[0], 0));
	P0(posix_spawn(&pid, "/bin/sh", &a, NULL, argv, environ));
	OK(close(s[0]));
	/* The child lives, and has no descriptor of it. */
	EQ(read(s[1], b, 1), 0);
	OK(close(p[1]));
	wait_status(pid);
}

static void standard_streams(void)
{
	/* A file in TEST_DIR as stdin and stdout of another program. */
	pid_t pid;

	make_file("in", "one\ntwo\nthree\n");
	pid = fork();
	if (pid == 0) {
		OK(dup2(OK(open("in", O_RDONLY)), 0));
		OK(dup2(OK(open("out", O_WRONLY | O_CREAT, 0600)), 1));
		execlp("sort", "sort", NULL);
		_exit(9);
	}
	wait_ok(pid);
	CHECK(strcmp(slurp("out"), "one\nthree\ntwo\n") == 0);
	pid = fork();
	if (pid == 0) {
		execlp("sh", "sh", "-c", "exec 7<in; read a <&7; cat <&7 >rest; echo $a >first; (cat; echo end) < first >> rest", NULL);
		_exit(9);
	}
	wait_ok(pid);
	CHECK(strcmp(slurp("rest"), "two\nthree\none\nend\n") == 0);
}

static void identity(void)
{
	struct stat a, b, c;
	int fd = make_file("f", "x"), g = make_file("g", "x"), d = OK(open(".", O_RDONLY));

	OK(fstat(fd, &a));
	OK(stat("f", &b));
	OK(fstat(g, &c));
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_dev, b.st_dev);
	CHECK(a.st_ino != c.st_ino);
	EQ(a.st_dev, c.st_dev);
	OK(fstatat(d, "f", &c, 0));
	EQ(a.st_ino, c.st_ino);
	OK(link("f", "h"));
	OK(stat("h", &c));
	EQ(a.st_ino, c.st_ino);
	EQ(c.st_nlink, 2);
}

static void *opener(void *arg)
{
	for (int i = 0; i < 300; i++) {
		int a = OK(open("f", O_RDONLY)), b = OK(dup(a));
		char c[4];
		EQ(read(b, c, 3), 3);
		EQ(lseek(a, 0, SEEK_CUR), 3);
		OK(close(a));
		OK(close(b));
	}
	return NULL;
}

static void threads_open_and_close(void)
{
	pthread_t t[6];
	int before, after;

	OK(close(make_file("f", "abc")));
	before = OK(open("/dev/null", O_RDONLY));
	OK(close(before));
	for (int i = 0; i < 6; i++)
		P0(pthread_create(&t[i], NULL, opener, NULL));
	for (int i = 0; i < 6; i++)
		P0(pthread_join(t[i], NULL));
	after = OK(open("/dev/null", O_RDONLY));
	EQ(before, after);
}

static void owners(void)
{
	int fds[] = { make_file("f", "x"), OK(socket(AF_INET, SOCK_STREAM, 0)) };

	for (int i = 0; i < 2; i++) {
		struct f_owner_ex x = { 7, 7 };
		int fd = fds[i], who = 1;

		EQ(fcntl(fd, F_GETOWN), 0);
		OK(fcntl(fd, F_GETOWN_EX, &x));
		EQ(x.pid, 0);
		OK(fcntl(fd, F_SETOWN, getpid()));
		EQ(fcntl(fd, F_GETOWN), getpid());
		OK(fcntl(fd, F_GETOWN_EX, &x));
		EQ(x.type, F_OWNER_PID);
		EQ(x.pid, getpid());
		x = (struct f_owner_ex){ F_OWNER_PGRP, getpgrp() };
		OK(fcntl(fd, F_SETOWN_EX, &x));
		x = (struct f_owner_ex){ 0, 0 };
		OK(fcntl(fd, F_GETOWN_EX, &x));
		EQ(x.type, F_OWNER_PGRP);
		EQ(x.pid, getpgrp());
		x = (struct f_owner_ex){ F_OWNER_TID, (pid_t)syscall(SYS_gettid) };
		OK(fcntl(fd, F_SETOWN_EX, &x));
		OK(fcntl(fd, F_GETOWN_EX, &x));
		EQ(x.type, F_OWNER_TID);
		x.type = 9;
		ERR(fcntl(fd, F_SETOWN_EX, &x), EINVAL);
		ERR(fcntl(fd, F_SETOWN_EX, bad_pointer()), EFAULT);
		ERR(fcntl(fd, F_SETOWN, 0x3fffffff), ESRCH);
		EQ(fcntl(fd, F_GETSIG), 0);
		OK(fcntl(fd, F_SETSIG, SIGUSR1));
		EQ(fcntl(fd, F_GETSIG), SIGUSR1);
		ERR(fcntl(fd, F_SETSIG, 99), EINVAL);
		if (i == 1) {
			OK(ioctl(fd, FIOGETOWN, &who));
			EQ(who, getpid());
		}
		OK(fcntl(fd, F_SETOWN, 0));
		EQ(fcntl(fd, F_GETOWN), 0);
	}
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(dup_family), CASE(dup_over_kinds), CASE(fcntl_dup), CASE(close_is_once), CASE(status_flags_are_shared), CASE(ranges),
	CASE(everything_closed), CASE(in_proc), CASE(sockets_in_proc), CASE(listing_of_proc), CASE(limit), CASE(accept_at_the_limit),
	CASE(many_descriptors), CASE(through_fork), CASE(through_exec), CASE(exec_closes_for_the_peer), CASE(spawn_closes_for_the_peer),
	CASE(standard_streams),
	CASE(identity), CASE(owners), CASE(threads_open_and_close),
};

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "--exec") == 0)
		exec_helper(argc, argv);
	return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
