/* Descriptors handed over UNIX sockets: files of TEST_DIR, sockets, pipes, several at once, in flight, across exec. */
#include "check.h"
#include <sys/un.h>
#include <sys/uio.h>

static long send_fds(int s, const char *text, const int *fd, int n)
{
	union {
		char b[CMSG_SPACE(sizeof(int) * 64)];
		struct cmsghdr h;
	} u;
	struct iovec v = { (void *)text, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = n ? &u : NULL, .msg_controllen = n ? CMSG_SPACE(sizeof(int) * n) : 0 };

	memset(&u, 0, sizeof u);
	u.h.cmsg_level = SOL_SOCKET;
	u.h.cmsg_type = SCM_RIGHTS;
	u.h.cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(&u.h), fd, sizeof(int) * n);
	return sendmsg(s, &m, 0);
}

/* Number of descriptors received; the text's length in *ret_len. */
static int take_fds(int s, int *fd, int max, char *text, long *ret_len, int flags)
{
	union {
		char b[CMSG_SPACE(sizeof(int) * 64)];
		struct cmsghdr h;
	} u;
	struct iovec v = { text, 64 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = CMSG_SPACE(sizeof(int) * max) };
	long n;

	while ((n = recvmsg(s, &m, flags)) < 0 && errno == EINTR)
		;
	*ret_len = n;
	if (n < 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (!c)
		return 0;
	CHECK(c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS);
	int k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fd, CMSG_DATA(c), k * sizeof(int));
	return k;
}

static void within_one_process(void)
{
	char b[64];
	long n;
	int s[2], got[4], fd = make_file("f", "0123456789");

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	EQ(read(fd, b, 3), 3);
	EQ(send_fds(s[0], "file", &fd, 1), 4);
	EQ(take_fds(s[1], got, 4, b, &n, 0), 1);
	EQ(n, 4);
	CHECK(got[0] != fd);
	/* One description: the offset is shared. */
	EQ(read(got[0], b, 2), 2);
	CHECK(memcmp(b, "34", 2) == 0);
	EQ(lseek(fd, 0, SEEK_CUR), 5);
	EQ(fcntl(got[0], F_GETFD), 0);
	OK(close(fd));
	EQ(write(got[0], "X", 1), 1);
	CHECK(strcmp(slurp("f"), "01234X6789") == 0);
	/* MSG_CMSG_CLOEXEC, and the lowest number. */
	EQ(send_fds(s[0], "x", got, 1), 1);
	EQ(take_fds(s[1], got + 1, 1, b, &n, MSG_CMSG_CLOEXEC), 1);
	EQ(fcntl(got[1], F_GETFD), FD_CLOEXEC);
	EQ(got[1], fd);
}

static void between_processes(void)
{
	char b[64];
	long n;
	int s[2], t[2], p[2], got[4];
	pid_t pid;

	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	pid = fork();
	if (pid == 0) {
		/* Made after the fork: the parent has them only by the message. */
		OK(close(s[1]));
		int fd = make_file("f", "from the child");
		OK(lseek(fd, 5, SEEK_SET));
		tcp_pair(t);
		OK(pipe(p));
		EQ(send_fds(s[0], "three", (int[]){ fd, t[0], p[1] }, 3), 5);
		EQ(read_all(t[1], b, 4), 4);
		CHECK(memcmp(b, "ping", 4) == 0);
		EQ(write(t[1], "pong", 4), 4);
		EQ(read_all(p[0], b, 5), 5);
		CHECK(memcmp(b, "piped", 5) == 0);
		EQ(lseek(fd, 0, SEEK_CUR), 14);
		EQ(pread(fd, b, 2, 0), 2);
		CHECK(memcmp(b, "FR", 2) == 0);
		_exit(0);
	}
	OK(close(s[0]));
	EQ(take_fds(s[1], got, 4, b, &n, 0), 3);
	EQ(n, 5);
	EQ(read_all(got[0], b, 64), 9);
	CHECK(memcmp(b, "the child", 9) == 0);
	EQ(pwrite(got[0], "FR", 2, 0), 2);
	EQ(write(got[1], "ping", 4), 4);
	EQ(read_all(got[1], b, 4), 4);
	EQ(write(got[2], "piped", 5), 5);
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	OK(getpeername(got[1], (struct sockaddr *)&a, &len));
	EQ(a.sin_family, AF_INET);
	wait_ok(pid);
	EQ(read(got[1], b, 1), 0);
	EQ(pread(got[0], b, 1, 3), 1);
}

static void a_listener_handed_over(void)
{
	/* The receiver accepts; the giver has long closed it. */
	char b[16];
	long n;
	struct sockaddr_in a;
	int s[2], l, got[1];

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t pid = fork();
	if (pid == 0) {
		EQ(take_fds(s[1], got, 1, b, &n, 0), 1);
		int c = OK(accept(got[0], NULL, NULL));
		EQ(read_all(c, b, 5), 5);
		EQ(write(c, b, 5), 5);
		_exit(0);
	}
	l = listener(&a);
	EQ(send_fds(s[0], "l", &l, 1), 1);
	OK(close(l));
	int c = connected(&a);
	EQ(write(c, "hello", 5), 5);
	EQ(read_all(c, b, 5), 5);
	wait_ok(pid);
}

static void accepted_and_handed_to_workers(void)
{
	/* One process accepts, three serve. */
	struct sockaddr_in a;
	int l = listener(&a), w[3][2];
	pid_t pid[3], client;
	char b[64];
	long n;

	for (int i = 0; i < 3; i++) {
		OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, w[i]));
		if ((pid[i] = fork()) == 0) {
			int got[1], served = 0;
			while (take_fds(w[i][1], got, 1, b, &n, 0) == 1) {
				EQ(read_all(got[0], b, 4), 4);
				b[0] += i;
				EQ(write(got[0], b, 4), 4);
				OK(close(got[0]));
				served++;
			}
			_exit(served == 10 ? 0 : 1);
		}
	}
	if ((client = fork()) == 0) {
		for (int i = 0; i < 30; i++) {
			int c = connected(&a);
			EQ(write(c, "0abc", 4), 4);
			EQ(read_all(c, b, 4), 4);
			EQ(b[0], '0' + i % 3);
			EQ(read(c, b, 1), 0);
			OK(close(c));
		}
		_exit(0);
	}
	for (int i = 0; i < 30; i++) {
		int c = OK(accept(l, NULL, NULL));
		EQ(send_fds(w[i % 3][0], "c", &c, 1), 1);
		OK(close(c));
	}
	wait_ok(client);
	for (int i = 0; i < 3; i++) {
		EQ(send(w[i][0], "q", 1, 0), 1);
		wait_ok(pid[i]);
	}
}

static void in_flight(void)
{
	/* The sender is gone before the message is read. */
	char b[64];
	long n;
	int s[2], got[2];

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t pid = fork();
	if (pid == 0) {
		int t[2], fd = make_file("f", "still here");
		tcp_pair(t);
		EQ(write(t[1], "queued", 6), 6);
		EQ(send_fds(s[0], "m", (int[]){ fd, t[0] }, 2), 1);
		OK(unlink("f"));
		_exit(0);
	}
	wait_ok(pid);
	OK(close(s[0]));
	EQ(take_fds(s[1], got, 2, b, &n, 0), 2);
	EQ(pread(got[0], b, 64, 0), 10);
	CHECK(memcmp(b, "still here", 10) == 0);
	EQ(read_all(got[1], b, 6), 6);
	EQ(read(got[1], b, 1), 0);
}

static void never_received(void)
{
	/* Descriptors in a message that is thrown away are closed. */
	int s[2], t[2];
	char b[4];

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	tcp_pair(t);
	EQ(send_fds(s[0], "m", &t[0], 1), 1);
	OK(close(t[0]));
	OK(close(s[0]));
	OK(close(s[1]));
	CHECK(readable(t[1], 20000));
	EQ(read(t[1], b, 1), 0);
	/* Read without room for them: MSG_CTRUNC, and closed as well. */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	tcp_pair(t);
	EQ(send_fds(s[0], "m", &t[0], 1), 1);
	OK(close(t[0]));
	struct iovec v = { b, 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	EQ(recvmsg(s[1], &m, 0), 1);
	CHECK(m.msg_flags & MSG_CTRUNC);
	CHECK(readable(t[1], 20000));
	EQ(read(t[1], b, 1), 0);
	/* A plain read does the same. */
	tcp_pair(t);
	EQ(send_fds(s[0], "m", &t[0], 1), 1);
	OK(close(t[0]));
	EQ(read(s[1], b, 4), 1);
	CHECK(readable(t[1], 20000));
	EQ(read(t[1], b, 1), 0);
}

static void many_and_refusals(void)
{
	char b[64];
	long n;
	int s[2], got[64], fd[20];

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	for (int i = 0; i < 20; i++) {
		sprintf(b, "f%d", i);
		fd[i] = i % 2 ? OK(socket(AF_INET, SOCK_DGRAM, 0)) : make_file(b, b);
	}
	EQ(send_fds(s[0], "m", fd, 20), 1);
	EQ(take_fds(s[1], got, 64, b, &n, 0), 20);
	for (int i = 0; i < 20; i++) {
		struct stat x, y;
		OK(fstat(fd[i], &x));
		OK(fstat(got[i], &y));
		EQ(x.st_ino, y.st_ino);
	}
	/* Fewer places than descriptors: the first ones come, the rest are dropped. */
	EQ(send_fds(s[0], "m", fd, 4), 1);
	n = 0;
	int k = take_fds(s[1], got, 2, b, &n, 0);
	CHECK(k == 2);
	EQ(pread(got[0], b, 2, 0), 2);
	CHECK(memcmp(b, "f0", 2) == 0);
	fd[1] = 190;
	ERR(send_fds(s[0], "m", fd, 2), EBADF);
	ERR(send_fds(s[0], "m", (int[]){ -1 }, 1), EBADF);
	ERR(take_fds(s[1], got, 1, b, &n, MSG_DONTWAIT), EAGAIN);
}

static void flags_and_peeking(void)
{
	char b[64];
	long n;
	int s[2], t[2], got[4], file = make_file("f", "abc");

	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	tcp_pair(t);
	OK(fcntl(t[0], F_SETFL, O_NONBLOCK));
	EQ(send_fds(s[0], "m", (int[]){ t[0], file }, 2), 1);
	EQ(take_fds(s[1], got, 2, b, &n, 0), 2);
	EQ(fcntl(got[0], F_GETFL), O_RDWR | O_NONBLOCK);
	ERR(read(got[0], b, 1), EAGAIN);
	OK(fcntl(got[0], F_SETFL, 0));
	EQ(fcntl(t[0], F_GETFL), O_RDWR);
	/* MSG_PEEK gives descriptors too, and leaves the message. */
	EQ(send_fds(s[0], "p", &file, 1), 1);
	EQ(take_fds(s[1], got, 1, b, &n, MSG_PEEK), 1);
	EQ(pread(got[0], b, 3, 0), 3);
	EQ(take_fds(s[1], got + 1, 1, b, &n, 0), 1);
	EQ(pread(got[1], b, 3, 0), 3);
}

static void by_name(void)
{
	/* A UNIX socket with a name outside TEST_DIR, peers unrelated but for it; credentials told. */
	char dir[] = "/tmp/scm.XXXXXX", b[64];
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	long n;
	int got[1];

	CHECK(mkdtemp(dir));
	snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", dir);
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(bind(l, (struct sockaddr *)&a, sizeof a));
	OK(listen(l, 5));
	pid_t pid = fork();
	if (pid == 0) {
		OK(close(l));
		int c = OK(socket(AF_UNIX, SOCK_STREAM, 0)), fd = make_file("f", "by name");
		OK(connect(c, (struct sockaddr *)&a, sizeof a));
		EQ(send_fds(c, "x", &fd, 1), 1);
		_exit(0);
	}
	int s = OK(accept(l, NULL, NULL));
	struct ucred cr;
	socklen_t len = sizeof cr;
	OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cr, &len));
	EQ(cr.pid, pid);
	EQ(cr.uid, geteuid());
	EQ(take_fds(s, got, 1, b, &n, 0), 1);
	EQ(read_all(got[0], b, 64), 7);
	wait_ok(pid);
	OK(unlink(a.sun_path));
	OK(rmdir(dir));
}

static void socket_file_in_test_dir(void)
{
	/* UNIX sockets stay the host's, but their names may lie in TEST_DIR. */
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "s" };
	struct stat st;
	char b[4];
	int l = OK(socket(AF_UNIX, SOCK_STREAM, 0)), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));

	OK(bind(l, (struct sockaddr *)&a, sizeof a));
	OK(listen(l, 5));
	OK(stat("s", &st));
	CHECK(S_ISSOCK(st.st_mode));
	OK(connect(c, (struct sockaddr *)&a, sizeof a));
	int s = OK(accept(l, NULL, NULL));
	EQ(write(c, "x", 1), 1);
	EQ(read(s, b, 4), 1);
	ERR(open("s", O_RDONLY), ENXIO);
	int d = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(bind(d, (struct sockaddr *)&a, sizeof a), EADDRINUSE);
	OK(unlink("s"));
	ERR(connect(d, (struct sockaddr *)&a, sizeof a), ENOENT);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(within_one_process), CASE(between_processes), CASE(a_listener_handed_over), CASE(accepted_and_handed_to_workers),
	CASE(in_flight), CASE(never_received), CASE(many_and_refusals), CASE(flags_and_peeking), CASE(by_name), CASE(socket_file_in_test_dir),
};
CHECK_MAIN(cases)
