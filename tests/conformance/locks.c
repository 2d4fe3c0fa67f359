/* Locks of files: POSIX record locks, open file description locks, flock, each between processes, threads and duplicates. */
#include "check.h"
#include <sys/file.h>

static int lock(int fd, int cmd, int type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, cmd, &l);
}

/* What F_GETLK of another process says about a write lock over the range: the type, and the holder. */
static int asked(int fd, off_t start, off_t len, pid_t *ret_pid, struct flock *ret)
{
	int p[2];
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	OK(pipe(p));
	pid_t pid = fork();
	if (pid == 0) {
		OK(fcntl(fd, F_GETLK, &l));
		EQ(write(p[1], &l, sizeof l), sizeof l);
		_exit(0);
	}
	EQ(read(p[0], &l, sizeof l), sizeof l);
	wait_ok(pid);
	close(p[0]);
	close(p[1]);
	if (ret_pid)
		*ret_pid = l.l_pid;
	if (ret)
		*ret = l;
	return l.l_type;
}

static void child_locks(int fd, int type, off_t start, off_t len, int want)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (want == 0)
			OK(lock(fd, F_SETLK, type, start, len));
		else
			ERR(lock(fd, F_SETLK, type, start, len), want);
		_exit(0);
	}
	wait_ok(pid);
}

static void posix_exclude(void)
{
	int fd = make_file("f", "0123456789");

	OK(lock(fd, F_SETLK, F_WRLCK, 0, 5));
	child_locks(fd, F_WRLCK, 0, 1, EAGAIN);
	child_locks(fd, F_RDLCK, 4, 1, EAGAIN);
	child_locks(fd, F_WRLCK, 5, 5, 0);
	child_locks(fd, F_WRLCK, 0, 0, EAGAIN);
	OK(lock(fd, F_SETLK, F_RDLCK, 0, 5));
	child_locks(fd, F_RDLCK, 0, 0, 0);
	child_locks(fd, F_WRLCK, 0, 1, EAGAIN);
	OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	child_locks(fd, F_WRLCK, 0, 0, 0);
	/* A process does not exclude itself. */
	int fd2 = OK(open("f", O_RDWR));
	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	OK(lock(fd2, F_SETLK, F_WRLCK, 0, 0));
}

static void posix_query(void)
{
	int fd = make_file("f", "0123456789");
	pid_t who;
	struct flock l;

	EQ(asked(fd, 0, 0, NULL, NULL), F_UNLCK);
	OK(lock(fd, F_SETLK, F_WRLCK, 3, 4));
	EQ(asked(fd, 0, 0, &who, &l), F_WRLCK);
	EQ(who, getpid());
	EQ(l.l_start, 3);
	EQ(l.l_len, 4);
	EQ(l.l_whence, SEEK_SET);
	EQ(asked(fd, 0, 3, NULL, NULL), F_UNLCK);
	/* Splitting a lock in two. */
	OK(lock(fd, F_SETLK, F_UNLCK, 4, 1));
	EQ(asked(fd, 4, 1, NULL, NULL), F_UNLCK);
	EQ(asked(fd, 3, 1, NULL, NULL), F_WRLCK);
	EQ(asked(fd, 5, 100, NULL, &l), F_WRLCK);
	EQ(l.l_start, 5);
	EQ(l.l_len, 2);
	struct flock mine = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	OK(fcntl(fd, F_GETLK, &mine));
	EQ(mine.l_type, F_UNLCK);
}

static void posix_errors(void)
{
	int p[2], fd = make_file("f", "x"), ro = OK(open("f", O_RDONLY)), wo = OK(open("f", O_WRONLY));

	ERR(lock(ro, F_SETLK, F_WRLCK, 0, 0), EBADF);
	ERR(lock(wo, F_SETLK, F_RDLCK, 0, 0), EBADF);
	ERR(lock(-1, F_SETLK, F_WRLCK, 0, 0), EBADF);
	ERR(lock(fd, F_SETLK, 99, 0, 0), EINVAL);
	ERR(lock(fd, F_SETLK, F_WRLCK, -1, 0), EINVAL);
	ERR(fcntl(fd, F_SETLK, bad_pointer()), EFAULT);
	ERR(fcntl(fd, F_GETLK, bad_pointer()), EFAULT);
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -1, .l_len = 1 };
	OK(fcntl(fd, F_SETLK, &l));
	EQ(asked(fd, 0, 1, NULL, NULL), F_WRLCK);
	l.l_whence = SEEK_CUR;
	l.l_start = 5;
	OK(lseek(fd, 10, SEEK_SET));
	OK(fcntl(fd, F_SETLK, &l));
	EQ(asked(fd, 15, 1, NULL, NULL), F_WRLCK);
	OK(pipe(p));
	(void)p;
}

static void any_close_releases_posix_locks(void)
{
	int fd = make_file("f", "0123456789"), other = OK(open("f", O_RDONLY)), d = OK(dup(fd));

	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	EQ(asked(fd, 0, 0, NULL, NULL), F_WRLCK);
	/* The famous rule: closing any descriptor of the file drops the process's locks. */
	OK(close(other));
	EQ(asked(fd, 0, 0, NULL, NULL), F_UNLCK);
	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	OK(close(d));
	EQ(asked(fd, 0, 0, NULL, NULL), F_UNLCK);
	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	OK(dup2(0, 90));
	d = OK(dup2(fd, 90));
	EQ(asked(fd, 0, 0, NULL, NULL), F_WRLCK);
	OK(dup2(0, 90));
	EQ(asked(fd, 0, 0, NULL, NULL), F_UNLCK);
}

static void posix_locks_end_with_the_process(void)
{
	int fd = make_file("f", "x");
	struct gate ready, done;

	gate_init(&ready);
	gate_init(&done);
	pid_t pid = fork();
	if (pid == 0) {
		OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
		gate_open(&ready);
		gate_wait(&done);
		_exit(0);
	}
	gate_wait(&ready);
	ERR(lock(fd, F_SETLK, F_WRLCK, 0, 0), EAGAIN);
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	OK(fcntl(fd, F_GETLK, &l));
	EQ(l.l_pid, pid);
	kill(pid, SIGKILL);
	wait_status(pid);
	/* Killed, not closed: the lock goes with it. */
	OK(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
}

static void posix_locks_are_not_inherited(void)
{
	int fd = make_file("f", "x");

	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	child_locks(fd, F_WRLCK, 0, 0, EAGAIN);
	pid_t pid = fork();
	if (pid == 0) {
		OK(close(fd));
		_exit(0);
	}
	wait_ok(pid);
	EQ(asked(fd, 0, 0, NULL, NULL), F_WRLCK);
	/* They survive exec. */
	struct gate g;
	gate_init(&g);
	pid = fork();
	if (pid == 0) {
		OK(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
		OK(dup2(g.fd[1], 1));
		execl("/bin/sh", "sh", "-c", "echo; exec sleep 50", NULL);
		_exit(9);
	}
	OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	gate_wait(&g);
	ERR(lock(fd, F_SETLK, F_WRLCK, 0, 0), EAGAIN);
	kill(pid, SIGKILL);
	wait_status(pid);
	OK(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
}

static void posix_wait_is_woken(void)
{
	int fd = make_file("f", "0");
	struct gate ready;
	char b[1];

	gate_init(&ready);
	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	pid_t pid = fork();
	if (pid == 0) {
		gate_open(&ready);
		OK(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
		EQ(pread(fd, b, 1, 0), 1);
		EQ(b[0], '1');
		_exit(0);
	}
	gate_wait(&ready);
	settle();
	EQ(pwrite(fd, "1", 1, 0), 1);
	OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	wait_ok(pid);
}

static void on_alarm(int sig)
{
}

static void posix_wait_is_interrupted(void)
{
	int fd = make_file("f", "0");

	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	pid_t pid = fork();
	if (pid == 0) {
		struct sigaction sa = { .sa_handler = on_alarm };
		struct itimerval t = { { 0, 20000 }, { 0, 20000 } };
		OK(sigaction(SIGALRM, &sa, NULL));
		OK(setitimer(ITIMER_REAL, &t, NULL));
		ERR(lock(fd, F_SETLKW, F_WRLCK, 0, 0), EINTR);
		_exit(0);
	}
	wait_ok(pid);
}

static void posix_deadlock(void)
{
	int fd = make_file("f", "01");
	struct gate ready;

	gate_init(&ready);
	OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	pid_t pid = fork();
	if (pid == 0) {
		OK(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		gate_open(&ready);
		/* One of the two is told. */
		int r = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
		_exit(r == 0 ? 0 : errno == EDEADLK ? 1 : 2);
	}
	gate_wait(&ready);
	int r = lock(fd, F_SETLKW, F_WRLCK, 1, 1), e = errno;
	if (r < 0)
		EQ(e, EDEADLK);
	OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	int st = wait_status(pid);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) < 2);
	CHECK((r < 0) != (WEXITSTATUS(st) == 1));
}

static void lockf_works(void)
{
	int fd = make_file("f", "0123456789");

	OK(lseek(fd, 4, SEEK_SET));
	OK(lockf(fd, F_LOCK, 2));
	pid_t pid = fork();
	if (pid == 0) {
		OK(lseek(fd, 4, SEEK_SET));
		ERR(lockf(fd, F_TEST, 1), EACCES);
		ERR(lockf(fd, F_TLOCK, 1), EAGAIN);
		OK(lseek(fd, 6, SEEK_SET));
		OK(lockf(fd, F_TEST, 1));
		_exit(0);
	}
	wait_ok(pid);
	OK(lseek(fd, 4, SEEK_SET));
	OK(lockf(fd, F_ULOCK, 2));
}

static void description_locks(void)
{
	int fd = make_file("f", "0123456789"), other = OK(open("f", O_RDWR)), d = OK(dup(fd));

	OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 5));
	/* Another description of the same process conflicts; a duplicate does not. */
	ERR(lock(other, F_OFD_SETLK, F_WRLCK, 0, 5), EAGAIN);
	OK(lock(d, F_OFD_SETLK, F_WRLCK, 0, 5));
	OK(lock(other, F_OFD_SETLK, F_WRLCK, 5, 5));
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 5 };
	OK(fcntl(other, F_OFD_GETLK, &l));
	EQ(l.l_type, F_WRLCK);
	EQ(l.l_pid, -1);
	l.l_pid = 5;
	ERR(fcntl(other, F_OFD_SETLK, &l), EINVAL);
	/* Closing a duplicate keeps it, closing the last drops it; other closes do not matter. */
	OK(close(d));
	ERR(lock(other, F_OFD_SETLK, F_WRLCK, 0, 5), EAGAIN);
	OK(close(OK(open("f", O_RDONLY))));
	ERR(lock(other, F_OFD_SETLK, F_WRLCK, 0, 5), EAGAIN);
	/* A forked child holds it too. */
	struct gate g, h;
	gate_init(&g);
	gate_init(&h);
	pid_t pid = fork();
	if (pid == 0) {
		OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 5));
		gate_wait(&g);
		gate_open(&h);
		gate_wait(&g);
		_exit(0);
	}
	OK(close(fd));
	gate_open(&g);
	gate_wait(&h);
	ERR(lock(other, F_OFD_SETLK, F_WRLCK, 0, 5), EAGAIN);
	gate_open(&g);
	wait_ok(pid);
	OK(lock(other, F_OFD_SETLKW, F_WRLCK, 0, 5));
}

static void posix_against_description(void)
{
	int fd = make_file("f", "x"), other = OK(open("f", O_RDWR));

	OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	ERR(lock(other, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
	OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	OK(lock(other, F_OFD_SETLK, F_RDLCK, 0, 0));
	ERR(lock(fd, F_SETLK, F_WRLCK, 0, 0), EAGAIN);
	OK(lock(fd, F_SETLK, F_RDLCK, 0, 0));
}

static void *wait_for_lock(void *arg)
{
	OK(lock(*(int *)arg, F_OFD_SETLKW, F_WRLCK, 0, 0));
	return NULL;
}

static void threads_exclude_by_description(void)
{
	pthread_t t;
	int fd = make_file("f", "x"), other = OK(open("f", O_RDWR));

	OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
	P0(pthread_create(&t, NULL, wait_for_lock, &other));
	settle();
	ERR(lock(OK(open("f", O_RDWR)), F_OFD_SETLK, F_RDLCK, 0, 0), EAGAIN);
	OK(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0));
	P0(pthread_join(t, NULL));
	ERR(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
}

static void whole_file_locks(void)
{
	int fd = make_file("f", "x"), other = OK(open("f", O_RDONLY)), d = OK(dup(fd));

	OK(flock(fd, LOCK_EX));
	ERR(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ERR(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	OK(flock(d, LOCK_EX | LOCK_NB));
	OK(flock(d, LOCK_SH));
	OK(flock(other, LOCK_SH | LOCK_NB));
	ERR(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(other, LOCK_UN));
	OK(flock(fd, LOCK_EX));
	ERR(flock(fd, 0), EINVAL);
	ERR(flock(-1, LOCK_EX), EBADF);
	/* Unlocking through a duplicate unlocks. */
	OK(flock(d, LOCK_UN));
	OK(flock(other, LOCK_EX | LOCK_NB));
	OK(close(other));
	OK(flock(fd, LOCK_EX | LOCK_NB));
	/* flock and fcntl do not see each other. */
	child_locks(fd, F_WRLCK, 0, 0, 0);
}

static void flock_through_fork(void)
{
	int fd = make_file("f", "x"), other;
	struct gate g;

	gate_init(&g);
	OK(flock(fd, LOCK_EX));
	pid_t pid = fork();
	if (pid == 0) {
		gate_wait(&g);
		/* We hold the parent's lock: it is the description's. */
		OK(flock(fd, LOCK_UN));
		_exit(0);
	}
	OK(close(fd));
	other = OK(open("f", O_RDWR));
	ERR(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	gate_open(&g);
	OK(flock(other, LOCK_EX));
	wait_ok(pid);
}

static void flock_wait_is_woken(void)
{
	int fd = make_file("f", "x");
	struct gate g;

	gate_init(&g);
	OK(flock(fd, LOCK_EX));
	pid_t pid = fork();
	if (pid == 0) {
		int mine = OK(open("f", O_RDWR));
		gate_open(&g);
		OK(flock(mine, LOCK_EX));
		_exit(0);
	}
	gate_wait(&g);
	settle();
	OK(close(OK(dup(fd))));
	EQ(waitpid(pid, NULL, WNOHANG), 0);
	/* The child inherited fd, so that closing ours is not enough. */
	OK(flock(fd, LOCK_UN));
	wait_ok(pid);
}

static void counting_under_a_lock(void)
{
	/* Four processes, each a hundred times: lock, read a number, write it back plus one. */
	char b[16] = "";
	int fd = make_file("f", "0");
	pid_t pid[4];

	for (int i = 0; i < 4; i++)
		if ((pid[i] = fork()) == 0) {
			int mine = i % 2 ? OK(open("f", O_RDWR)) : fd;
			for (int k = 0; k < 100; k++) {
				OK(lock(mine, F_SETLKW, F_WRLCK, 0, 0));
				memset(b, 0, sizeof b);
				CHECK(pread(mine, b, 15, 0) > 0);
				int n = sprintf(b, "%d", atoi(b) + 1);
				EQ(pwrite(mine, b, n, 0), n);
				OK(lock(mine, F_SETLK, F_UNLCK, 0, 0));
			}
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		wait_ok(pid[i]);
	CHECK(strcmp(slurp("f"), "400") == 0);
}

static const struct check_case cases[] = {
	CASE(posix_exclude), CASE(posix_query), CASE(posix_errors), CASE(any_close_releases_posix_locks),
	CASE(posix_locks_end_with_the_process), CASE(posix_locks_are_not_inherited), CASE(posix_wait_is_woken),
	CASE(posix_wait_is_interrupted), CASE(posix_deadlock), CASE(lockf_works), CASE(description_locks),
	CASE(posix_against_description), CASE(threads_exclude_by_description), CASE_IN_MAIN(whole_file_locks),
	CASE(flock_through_fork), CASE(flock_wait_is_woken), CASE(counting_under_a_lock),
};
CHECK_MAIN(cases)
