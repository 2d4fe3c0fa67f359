/* What the conformance programs share: cases, each in a directory and (unless told) a process of its own, told as TAP.
 *
 * A program here is an ordinary Linux program: it knows nothing of VirtuOS and passes on a plain kernel, as root and as an
 * ordinary user.  Its files are made under the directory given as first argument, or $TEST_DIR, or a fresh one in /tmp.
 * PROGRAM -l lists the cases; PROGRAM DIR NAME... runs those whose names contain NAME.
 *
 * A case waits for events.  Where it wants another thread to be inside a blocking call first, it says settle(): the case is
 * right whether or not that succeeds.
 */
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define SKIPPED 77 /* exit code of a case that cannot run here */

struct check_case {
	const char *name;
	void (*fn)(void);
	int in_main; /* runs in the program's first process, not in a child */
};
#define CASE(fn) { #fn, fn, 0 }
#define CASE_IN_MAIN(fn) { #fn, fn, 1 }

static char check_dir[PATH_MAX] UNUSED;	 /* the case's own directory, empty at its start, and its cwd */
static char check_root[PATH_MAX] UNUSED; /* TEST_DIR */
static char check_self[PATH_MAX] UNUSED; /* this program's file */
static char *check_why;			 /* reason of a skip, shared with the children */
static int check_out = 1;
static pid_t check_main_pid;

UNUSED __attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char buf[1024];
	int n = snprintf(buf, sizeof buf, "# ");
	va_list ap;

	va_start(ap, fmt);
	n += vsnprintf(buf + n, sizeof buf - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof buf - 2)
		n = sizeof buf - 2;
	buf[n++] = '\n';
	if (write(check_out, buf, n) < 0)
		_exit(99);
}

UNUSED __attribute__((noreturn)) static void skip(const char *why)
{
	snprintf(check_why, 256, "%s", why);
	_exit(SKIPPED);
}

#define FAIL(fmt, ...) do { int check_e = errno; say("line %d: " fmt, __LINE__, ##__VA_ARGS__); \
	say("(errno %d: %s, pid %d)", check_e, strerror(check_e), (int)getpid()); _exit(1); } while (0)
#define CHECK(x) do { if (!(x)) check_failed(__FILE__, __LINE__, #x); } while (0)
/* Both sides as numbers. */
#define EQ(a, b) do { long long check_a = (long long)(a), check_b = (long long)(b); \
	if (check_a != check_b) check_differ(__FILE__, __LINE__, #a, check_a, #b, check_b); } while (0)
/* A call that succeeds; its value. */
#define OK(x) check_ok(__FILE__, __LINE__, #x, (long)(x))
/* A call that fails with this errno. */
#define ERR(x, e) do { errno = 0; long check_r = (long)(x); int check_e = errno; \
	if (check_r != -1 || check_e != (e)) check_not_err(__FILE__, __LINE__, #x, check_r, check_e, (e)); } while (0)
/* pthread style: 0 or an errno. */
#define P0(x) do { int check_r = (x); if (check_r) { errno = check_r; check_failed(__FILE__, __LINE__, #x " == 0"); } } while (0)

UNUSED static void check_failed(const char *file, int line, const char *what)
{
	int e = errno;

	say("%s:%d: not true: %s (errno %d: %s, pid %d)", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, what, e,
	    strerror(e), (int)getpid());
	_exit(1);
}

UNUSED static void check_differ(const char *file, int line, const char *a, long long va, const char *b, long long vb)
{
	int e = errno;

	say("%s:%d: %s is %lld, should be %s = %lld (errno %d: %s)", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line,
	    a, va, b, vb, e, strerror(e));
	_exit(1);
}

UNUSED static long check_ok(const char *file, int line, const char *what, long r)
{
	int e = errno;

	if (r == -1) {
		errno = e;
		check_failed(file, line, what);
	}
	return r;
}

UNUSED static void check_not_err(const char *file, int line, const char *what, long r, int e, int want)
{
	say("%s:%d: %s gave %ld, errno %d (%s); should be -1, errno %d (%s)",
	    strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, what, r, e, strerror(e), want, strerror(want));
	_exit(1);
}

UNUSED static void need_root(void)
{
	if (geteuid() != 0)
		skip("needs root");
}

/* Lets other threads reach a blocking call.  No case depends on it for its result. */
UNUSED static void settle(void)
{
	struct timespec t = { 0, 30 * 1000 * 1000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

UNUSED static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A fork that fails must not become kill(-1): as root that would end every process of the machine. */
UNUSED static pid_t check_forked(int line, pid_t pid)
{
	if (pid < 0) {
		say("line %d: no new process: errno %d (%s)", line, errno, strerror(errno));
		_exit(1);
	}
	return pid;
}
#define fork() check_forked(__LINE__, fork())
#define vfork() ({ pid_t check_v = vfork(); if (check_v < 0) _exit(1); check_v; })

UNUSED static int check_kill(int line, pid_t pid, int sig)
{
	if (pid <= 1) {
		say("line %d: refused to send signal %d to %d", line, sig, (int)pid);
		_exit(1);
	}
	return kill(pid, sig);
}
#define kill(pid, sig) check_kill(__LINE__, pid, sig)

/* Children: fork_run() runs fn(arg) in a child that exits 0 when fn returns. */
UNUSED static pid_t fork_run(void (*fn)(void *), void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		fn(arg);
		_exit(0);
	}
	return pid;
}

UNUSED static int wait_status(pid_t pid)
{
	int st;

	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			check_failed(__FILE__, __LINE__, "waitpid()");
	return st;
}

/* The child must have ended with exit code 0; a skip in it is a skip of the case. */
#define wait_ok(pid) do { int check_st = wait_status(pid); \
	if (WIFEXITED(check_st) && WEXITSTATUS(check_st) == SKIPPED) _exit(SKIPPED); \
	if (!WIFEXITED(check_st) || WEXITSTATUS(check_st)) FAIL("child ended with status 0x%x", check_st); } while (0)

/* A one-way gate between processes or threads: gate_wait() returns once gate_open() was called. */
struct gate {
	int fd[2];
};
UNUSED static void gate_init(struct gate *g)
{
	OK(pipe(g->fd));
}
UNUSED static void gate_open(struct gate *g)
{
	EQ(write(g->fd[1], "g", 1), 1);
}
UNUSED static void gate_wait(struct gate *g)
{
	char c;
	long n;

	while ((n = read(g->fd[0], &c, 1)) < 0 && errno == EINTR)
		;
	EQ(n, 1);
}

/* Files and bytes. */
UNUSED static int make_file(const char *name, const char *text)
{
	int fd = OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));

	EQ(write(fd, text, strlen(text)), strlen(text));
	OK(lseek(fd, 0, SEEK_SET));
	return fd;
}

UNUSED static void touch(const char *name)
{
	OK(close(OK(open(name, O_WRONLY | O_CREAT, 0644))));
}

/* Whole contents of a file as a string in a static buffer. */
UNUSED static const char *slurp(const char *name)
{
	static char buf[65536];
	int fd = OK(open(name, O_RDONLY));
	long n, have = 0;

	while ((n = OK(read(fd, buf + have, sizeof buf - 1 - have))) > 0)
		have += n;
	buf[have] = 0;
	close(fd);
	return buf;
}

UNUSED static unsigned char pattern(uint64_t seed, uint64_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u + seed;

	return (x ^ x >> 29) >> 7;
}

UNUSED static void fill(void *buf, size_t n, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < n; i++)
		((unsigned char *)buf)[i] = pattern(seed, from + i);
}

UNUSED static void expect(const void *buf, size_t n, uint64_t seed, uint64_t from)
{
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)buf)[i] != pattern(seed, from + i))
			FAIL("byte %zu of %zu is wrong (stream offset %llu)", i, n, (unsigned long long)(from + i));
}

UNUSED static long write_all(int fd, const void *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		long r = write(fd, (const char *)buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -1;
		done += r;
	}
	return done;
}

UNUSED static long read_all(int fd, void *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		long r = read(fd, (char *)buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		done += r;
	}
	return done;
}

/* An address no call may touch: the page is there and forbidden. */
UNUSED static void *bad_pointer(void)
{
	static void *p;

	if (!p) {
		p = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
	}
	return (char *)p + 64;
}

/* Sockets on 127.0.0.1, port chosen by the kernel. */
UNUSED static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };

	return a;
}

UNUSED static int bound(int type, struct sockaddr_in *ret_addr)
{
	int s = OK(socket(AF_INET, type, 0));
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof a;

	OK(bind(s, (struct sockaddr *)&a, sizeof a));
	OK(getsockname(s, (struct sockaddr *)&a, &len));
	CHECK(a.sin_port != 0);
	if (ret_addr)
		*ret_addr = a;
	return s;
}

UNUSED static int listener(struct sockaddr_in *ret_addr)
{
	int s = bound(SOCK_STREAM, ret_addr);

	OK(listen(s, 64));
	return s;
}

UNUSED static int connected(const struct sockaddr_in *a)
{
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));

	OK(connect(s, (const struct sockaddr *)a, sizeof *a));
	return s;
}

UNUSED static void tcp_pair(int s[2])
{
	struct sockaddr_in a;
	int l = listener(&a);

	s[0] = connected(&a);
	s[1] = OK(accept(l, NULL, NULL));
	OK(close(l));
}

UNUSED static void udp_pair(int s[2])
{
	struct sockaddr_in a, b;

	s[0] = bound(SOCK_DGRAM, &a);
	s[1] = bound(SOCK_DGRAM, &b);
	OK(connect(s[0], (struct sockaddr *)&b, sizeof b));
	OK(connect(s[1], (struct sockaddr *)&a, sizeof a));
}

UNUSED static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n;

	while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR)
		;
	return n == 1;
}

/* The frame of each program. */
static void check_enter(const char *base, int i)
{
	OK(chdir(base));
	snprintf(check_dir, sizeof check_dir, "%.3900s/%d", base, i);
	OK(mkdir(check_dir, 0755));
	OK(chdir(check_dir));
	umask(022);
}

static void check_wipe(const char *base)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 2);
		if (chdir("/"))
			_exit(1);
		execl("/bin/rm", "rm", "-rf", base, (char *)NULL);
		_exit(1);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static int check_main(int argc, char **argv, const struct check_case *cases, int n)
{
	static char base[PATH_MAX];
	char temp[] = "/tmp/conformance.XXXXXX";
	const char *dir = argc > 1 ? argv[1] : getenv("TEST_DIR");
	int want = 0, shown = 0, failures = 0;
	bool own = false;

	if (dir && strcmp(dir, "-l") == 0) {
		for (int i = 0; i < n; i++)
			printf("%s\n", cases[i].name);
		return 0;
	}
	if (readlink("/proc/self/exe", check_self, sizeof check_self - 1) < 0)
		return 99;
	if (!dir || !*dir) {
		dir = mkdtemp(temp);
		own = true;
	}
	if (!dir || chdir(dir) || !getcwd(check_root, sizeof check_root)) {
		printf("Bail out! cannot enter %s: %s\n", dir ? dir : "a new directory", strerror(errno));
		return 99;
	}
	snprintf(base, sizeof base, "%.3800s/%s.%d", check_root, program_invocation_short_name, (int)getpid());
	if (mkdir(base, 0755)) {
		printf("Bail out! cannot make %s: %s\n", base, strerror(errno));
		return 99;
	}
	check_why = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check_out = fcntl(1, F_DUPFD_CLOEXEC, 200);
	if (check_why == MAP_FAILED || check_out < 0)
		return 99;
	check_main_pid = getpid();
	/* Pass 0 counts.  Those in the first process come last, since a failure of theirs is the end of the program. */
	for (int pass = 0; pass < 3; pass++) {
		for (int i = 0; i < n; i++) {
			bool chosen = argc < 3;
			pid_t pid = 0;
			int st = 0;

			for (int k = 2; k < argc; k++)
				chosen |= strstr(cases[i].name, argv[k]) != NULL;
			if (!chosen)
				continue;
			if (pass == 0) {
				want++;
				continue;
			}
			if (cases[i].in_main != (pass == 2))
				continue;
			fflush(NULL);
			check_why[0] = 0;
			/* A case in the first process runs in line: when it fails, the program is over. */
			if (!cases[i].in_main)
				pid = fork();
			if (cases[i].in_main || pid == 0) {
				if (pid == 0 && !cases[i].in_main) {
					setpgid(0, 0);
					signal(SIGALRM, SIG_DFL);
					alarm(30);
				}
				check_enter(base, i);
				cases[i].fn();
				if (!cases[i].in_main)
					_exit(0);
				if (chdir(base))
					_exit(1);
			} else {
				while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
					;
				if (pid > 1)
					killpg(pid, SIGKILL); /* children that a failed case left */
			}
			shown++;
			if (WIFEXITED(st) && WEXITSTATUS(st) == 0) {
				printf("ok %d - %s\n", shown, cases[i].name);
			} else if (WIFEXITED(st) && WEXITSTATUS(st) == SKIPPED) {
				printf("ok %d - %s # SKIP %s\n", shown, cases[i].name, check_why[0] ? check_why : "no reason");
			} else {
				failures++;
				if (WIFSIGNALED(st))
					printf("# ended by signal %d (%s)\n", WTERMSIG(st), strsignal(WTERMSIG(st)));
				printf("not ok %d - %s\n", shown, cases[i].name);
			}
			fflush(stdout);
		}
		if (pass == 0) {
			printf("1..%d\n", want);
			fflush(stdout);
		}
	}
	check_wipe(base);
	if (own)
		rmdir(dir);
	return failures ? 1 : 0;
}

#define CHECK_MAIN(cases) int main(int argc, char **argv) { return check_main(argc, argv, cases, sizeof(cases) / sizeof(cases)[0]); }
#endif
