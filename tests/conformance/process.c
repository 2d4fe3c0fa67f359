/* Processes: fork, vfork, spawn, exec in its many forms, sessions, waiting, environments. */
#include "check.h"
#include <linux/close_range.h>
#include <linux/sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern char **environ;

static void script(const char *name, const char *text)
{
	int fd = OK(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0755));

	EQ(write(fd, text, strlen(text)), strlen(text));
	OK(close(fd));
}

/* Output and exit status of a program, run by fork and execve. */
static int output_of(char *const argv[], char *const envp[], char *ret, size_t size)
{
	int p[2];
	long n;

	OK(pipe2(p, O_CLOEXEC));
	pid_t pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execve(argv[0], argv, envp);
		_exit(errno);
	}
	OK(close(p[1]));
	n = OK(read_all(p[0], ret, size - 1));
	ret[n] = 0;
	OK(close(p[0]));
	return wait_status(pid);
}

static int grow(int depth)
{
	/* A tree of processes, each writing its line to one file and holding a socket. */
	pid_t kid[2];
	char line[32];
	int fd = OK(open("tree", O_WRONLY | O_APPEND)), n = sprintf(line, "%d\n", depth);

	EQ(write(fd, line, n), n);
	if (depth == 0)
		return 1;
	for (int i = 0; i < 2; i++)
		if ((kid[i] = fork()) == 0)
			_exit(grow(depth - 1));
	int sum = 1;
	for (int i = 0; i < 2; i++)
		sum += WEXITSTATUS(wait_status(kid[i]));
	return sum;
}

static void trees(void)
{
	struct stat st;

	touch("tree");
	EQ(grow(4), 31);
	OK(stat("tree", &st));
	EQ(st.st_size, 31 * 2);
}

static void many_in_a_row(void)
{
	int fd = make_file("f", "0123456789");
	char b[2];

	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			EQ(pread(fd, b, 1, i % 10), 1);
			_exit(b[0] - '0');
		}
		EQ(wait_status(pid), (i % 10) << 8);
	}
}

static void vfork_and_exec(void)
{
	volatile int ran = 0;
	int fd = make_file("f", "x");

	for (int i = 0; i < 10; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			ran++;
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		CHECK(pid > 0);
		EQ(wait_status(pid), 0);
	}
	EQ(ran, 10);
	pid_t pid = vfork();
	if (pid == 0) {
		execl("/no/such/program", "x", NULL);
		_exit(errno == ENOENT ? 42 : 9);
	}
	EQ(wait_status(pid), 42 << 8);
	EQ(pread(fd, (char[1]){ 0 }, 1, 0), 1);
}

static void on_signal(int sig)
{
}

static void vfork_child_is_another_process(void)
{
	/* It shares the memory, and nothing else: descriptors, handlers, directory, mask stay the parent's. */
	struct sigaction sa = { .sa_handler = on_signal }, got;
	int fd = make_file("f", "0123456789"), s[2];
	char cwd[PATH_MAX];
	sigset_t set;

	tcp_pair(s);
	OK(mkdir("d", 0755));
	OK(sigaction(SIGUSR1, &sa, NULL));
	volatile int done = 0;
	pid_t pid = vfork();
	if (pid == 0) {
		signal(SIGUSR1, SIG_IGN);
		close(fd);
		close(s[0]);
		dup2(1, 66);
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigprocmask(SIG_BLOCK, &set, NULL);
		if (chdir("d") == 0)
			done = 1;
		umask(0);
		if (open("made", O_CREAT | O_WRONLY, 0600) >= 0)
			done = 2;
		_exit(getpid() == getppid());
	}
	EQ(wait_status(pid), 0);
	EQ(done, 2);
	OK(sigaction(SIGUSR1, NULL, &got));
	CHECK(got.sa_handler == on_signal);
	ERR(fcntl(66, F_GETFD), EBADF);
	EQ(read(fd, (char[4]){ 0 }, 4), 4);
	EQ(write(s[0], "x", 1), 1);
	EQ(read(s[1], (char[4]){ 0 }, 4), 1);
	CHECK(getcwd(cwd, sizeof cwd) && strcmp(cwd, check_dir) == 0);
	EQ(access("d/made", F_OK), 0);
	EQ(umask(022), 022);
	OK(sigprocmask(SIG_BLOCK, NULL, &set));
	CHECK(!sigismember(&set, SIGUSR2));
}

static void spawned(void)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	pid_t pid;
	sigset_t set;

	make_file("in", "spawned input\n");
	P0(posix_spawn_file_actions_init(&fa));
	P0(posix_spawn_file_actions_addopen(&fa, 0, "in", O_RDONLY, 0));
	P0(posix_spawn_file_actions_addopen(&fa, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0600));
	P0(posix_spawn_file_actions_adddup2(&fa, 0, 9));
	P0(posix_spawn_file_actions_addclose(&fa, 2));
	P0(posix_spawnattr_init(&at));
	sigemptyset(&set);
	P0(posix_spawnattr_setsigmask(&at, &set));
	sigaddset(&set, SIGUSR1);
	P0(posix_spawnattr_setsigdefault(&at, &set));
	P0(posix_spawnattr_setpgroup(&at, 0));
	P0(posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP));
	char *argv[] = { "sh", "-c", "cat <&9; test ! -e /proc/self/fd/2 && echo closed; exit 3", NULL };
	P0(posix_spawn(&pid, "/bin/sh", &fa, &at, argv, environ));
	EQ(wait_status(pid), 3 << 8);
	CHECK(strncmp(slurp("out"), "spawned input\n", 14) == 0);
	EQ(posix_spawn(&pid, "/no/such", NULL, NULL, argv, environ), ENOENT);
	P0(posix_spawnp(&pid, "true", NULL, NULL, (char *[]){ "true", NULL }, environ));
	EQ(wait_status(pid), 0);
	FILE *f = popen("cat in; echo more", "r");
	char b[64];
	CHECK(f && fgets(b, sizeof b, f) && strcmp(b, "spawned input\n") == 0 && fgets(b, sizeof b, f) && strcmp(b, "more\n") == 0);
	EQ(pclose(f), 0);
	EQ(system("exit 7"), 7 << 8);
	EQ(system("test -f in && test -f out"), 0);
}

static void environment(void)
{
	char out[65536], *argv[] = { "/usr/bin/env", "-0", NULL };
	char *given[] = { "B=2", "A=1", "EMPTY=", "A=again", "weird name=x=y", "no-equals-sign", NULL };
	static const char want[] = "B=2\0A=1\0EMPTY=\0A=again\0weird name=x=y\0no-equals-sign";
	char *none[] = { NULL };

	/* What the new program sees is precisely what was given, in that order. */
	char *cat[] = { "/bin/cat", "/proc/self/environ", NULL };
	EQ(output_of(cat, given, out, sizeof out), 0);
	if (memcmp(out, want, sizeof want))
		FAIL("/proc/self/environ is \"%s\" and so on", out);
	EQ(output_of(argv, none, out, sizeof out), 0);
	if (out[0])
		FAIL("an empty environment became \"%s\"", out);
	EQ(output_of(argv, NULL, out, sizeof out), 0);
	EQ(out[0], 0);
	/* And its own children's. */
	char *sh[] = { "/bin/sh", "-c", "unset PWD OLDPWD _; exec /usr/bin/env", NULL };
	char *one[] = { "ONLY=this", NULL };
	EQ(output_of(sh, one, out, sizeof out), 0);
	if (strcmp(out, "ONLY=this\n"))
		FAIL("the grandchild's environment is \"%s\"", out);
	char *args[] = { "/usr/bin/printf", "[%s]", "", "a b", "c", NULL };
	EQ(output_of(args, none, out, sizeof out), 0);
	CHECK(strcmp(out, "[][a b][c]") == 0);
	/* LD_PRELOAD of the program's own is kept as it is. */
	char *preload[] = { "LD_PRELOAD=libm.so.6", "X=1", NULL };
	EQ(output_of(argv, preload, out, sizeof out), 0);
	CHECK(strcmp(out, "LD_PRELOAD=libm.so.6") == 0 && strcmp(out + strlen(out) + 1, "X=1") == 0);
}

static void own_environment_is_clean(void)
{
	/* Nothing that our parent did not set. */
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "VIRTUOS", 7) == 0 || strstr(*e, "libvirtuos"))
			FAIL("environment has %s", *e);
	EQ(getenv("LD_PRELOAD") == NULL || !strstr(getenv("LD_PRELOAD"), "virtuos"), 1);
}

static void scripts(void)
{
	char out[256], *none[] = { "PATH=/usr/bin:/bin", NULL };

	script("s1", "#!/bin/sh\necho script $0 $1\nexit 5\n");
	char *a[] = { "./s1", "arg", NULL };
	EQ(output_of(a, none, out, sizeof out), 5 << 8);
	CHECK(strcmp(out, "script ./s1 arg\n") == 0);
	script("s2", "#! /usr/bin/env -S sh -e\necho from env\n");
	char *b[] = { "./s2", NULL };
	EQ(output_of(b, none, out, sizeof out), 0);
	CHECK(strcmp(out, "from env\n") == 0);
	script("s3", "#!./s1\n");
	char *c[] = { "./s3", NULL };
	EQ(output_of(c, none, out, sizeof out), 5 << 8);
	CHECK(strcmp(out, "script ./s1 ./s3\n") == 0);
	script("s4", "#!/no/such/interpreter\n");
	char *d[] = { "./s4", NULL };
	EQ(output_of(d, none, out, sizeof out), ENOENT << 8);
}

static void programs_in_test_dir(void)
{
	/* An ELF file that lies in TEST_DIR is run from there. */
	char out[256], *none[] = { NULL };

	EQ(system("cp /bin/echo ./myecho && chmod 755 myecho"), 0);
	char *a[] = { "./myecho", "copied", NULL };
	EQ(output_of(a, none, out, sizeof out), 0);
	CHECK(strcmp(out, "copied\n") == 0);
	OK(symlink("myecho", "link"));
	char *b[] = { "./link", "linked", NULL };
	EQ(output_of(b, none, out, sizeof out), 0);
	CHECK(strcmp(out, "linked\n") == 0);
}

static void exec_refusals(void)
{
	char *a[] = { "x", NULL }, *big;

	touch("plain");
	OK(chmod("plain", 0644));
	OK(mkdir("d", 0755));
	script("empty", "");
	script("garbage", "\x7f" "ELFgarbage");
	ERR(execve("missing", a, environ), ENOENT);
	ERR(execve("plain", a, environ), EACCES);
	ERR(execve("d", a, environ), EACCES);
	ERR(execve("empty", a, environ), ENOEXEC);
	ERR(execve("garbage", a, environ), ENOEXEC);
	ERR(execve("plain/x", a, environ), ENOTDIR);
	ERR(execve("", a, environ), ENOENT);
	ERR(execve(bad_pointer(), a, environ), EFAULT);
	ERR(execve("/bin/true", bad_pointer(), environ), EFAULT);
	ERR(execve("/bin/true", a, bad_pointer()), EFAULT);
	big = malloc(200000);
	memset(big, 'x', 199999);
	big[199999] = 0;
	char *huge[] = { "x", big, NULL };
	ERR(execve("/bin/true", huge, environ), E2BIG);
	ERR(execve("/no/such", huge, environ), ENOENT);
	/* After a failed exec everything is as it was. */
	int fd = make_file("f", "abc");
	OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
	ERR(execve("missing", a, environ), ENOENT);
	EQ(read(fd, (char[4]){ 0 }, 4), 3);
}

static void exec_by_descriptor(void)
{
	char out[64];
	int p[2];

	script("s", "#!/bin/sh\necho by descriptor\n");
	for (int i = 0; i < 3; i++) {
		OK(pipe2(p, O_CLOEXEC));
		pid_t pid = fork();
		if (pid == 0) {
			dup2(p[1], 1);
			if (i == 0)
				fexecve(OK(open("/bin/echo", O_RDONLY | O_CLOEXEC)), (char *[]){ "echo", "by descriptor", NULL }, environ);
			else if (i == 1)
				syscall(SYS_execveat, OK(open("/bin", O_PATH)), "echo", (char *[]){ "echo", "by descriptor", NULL }, environ, 0);
			else
				syscall(SYS_execveat, AT_FDCWD, "s", (char *[]){ "s", NULL }, environ, 0);
			_exit(9);
		}
		OK(close(p[1]));
		long n = OK(read_all(p[0], out, sizeof out - 1));
		out[n] = 0;
		EQ(wait_status(pid), 0);
		CHECK(strcmp(out, "by descriptor\n") == 0);
	}
	ERR(syscall(SYS_execveat, AT_FDCWD, "s", (char *[]){ "s", NULL }, environ, 0x40000), EINVAL);
	OK(symlink("s", "l"));
	ERR(syscall(SYS_execveat, AT_FDCWD, "l", (char *[]){ "s", NULL }, environ, AT_SYMLINK_NOFOLLOW), ELOOP);
}

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}
static void *execs(void *arg)
{
	execl("/bin/sh", "sh", "-c", "echo $$ > pid; exit 6", NULL);
	return NULL;
}

static void exec_from_a_thread(void)
{
	/* The new program has the process's id, and the other threads are gone. */
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t t[3];
		for (int i = 0; i < 3; i++)
			P0(pthread_create(&t[i], NULL, i < 2 ? sleeper : execs, NULL));
		pause();
		_exit(9);
	}
	EQ(wait_status(pid), 6 << 8);
	EQ(atoi(slurp("pid")), pid);
}

static void what_exec_keeps(void)
{
	/* Ignored signals, mask and limits stay; handlers go. */
	char out[4096];
	int p[2];

	OK(pipe(p));
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit l = { 123, 456 };
		sigset_t set;
		signal(SIGUSR1, SIG_IGN);
		signal(SIGUSR2, on_signal);
		sigemptyset(&set);
		sigaddset(&set, SIGHUP);
		sigprocmask(SIG_BLOCK, &set, NULL);
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 300, 400 });
		setrlimit(RLIMIT_CPU, &l);
		dup2(p[1], 1);
		execl("/bin/grep", "grep", "-hE", "Sig(Blk|Ign|Cgt)|Max open files|Max cpu time", "/proc/self/status", "/proc/self/limits", NULL);
		_exit(9);
	}
	OK(close(p[1]));
	long n = OK(read_all(p[0], out, sizeof out - 1));
	out[n] = 0;
	EQ(wait_status(pid), 0);
	unsigned long blk, ign, cgt;
	int soft, hard, cpu;
	EQ(sscanf(strstr(out, "SigBlk"), "SigBlk: %lx SigIgn: %lx SigCgt: %lx", &blk, &ign, &cgt), 3);
	EQ(sscanf(strstr(out, "Max cpu time"), "Max cpu time %d", &cpu), 1);
	EQ(sscanf(strstr(out, "Max open files"), "Max open files %d %d", &soft, &hard), 2);
	CHECK(blk & 1ul << (SIGHUP - 1));
	CHECK(ign & 1ul << (SIGUSR1 - 1));
	CHECK(!(cgt & 1ul << (SIGUSR2 - 1)));
	EQ(soft, 300);
	EQ(hard, 400);
	EQ(cpu, 123);
}

static void waiting(void)
{
	int st;
	siginfo_t si;
	struct rusage ru;

	ERR(wait(&st), ECHILD);
	pid_t a = fork();
	if (a == 0)
		_exit(300 & 0xff);
	EQ(waitpid(a, &st, 0), a);
	EQ(WEXITSTATUS(st), 44);
	ERR(waitpid(a, &st, 0), ECHILD);
	a = fork();
	if (a == 0)
		raise(SIGKILL);
	EQ(wait4(-1, &st, 0, &ru), a);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
	a = fork();
	if (a == 0)
		_exit(5);
	memset(&si, 0, sizeof si);
	OK(waitid(P_PID, a, &si, WEXITED | WNOWAIT));
	EQ(si.si_pid, a);
	EQ(si.si_code, CLD_EXITED);
	EQ(si.si_status, 5);
	EQ(waitpid(a, &st, WNOHANG), a);
	struct gate g;
	gate_init(&g);
	a = fork();
	if (a == 0) {
		gate_wait(&g);
		_exit(0);
	}
	EQ(waitpid(a, &st, WNOHANG), 0);
	OK(kill(a, SIGSTOP));
	EQ(waitpid(a, &st, WUNTRACED), a);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	OK(kill(a, SIGCONT));
	EQ(waitpid(a, &st, WCONTINUED), a);
	CHECK(WIFCONTINUED(st));
	gate_open(&g);
	wait_ok(a);
	ERR(waitpid(-99999, &st, 0), ECHILD);
	ERR(waitpid(a, &st, 0x100000), EINVAL);
	/* With SIGCHLD ignored there are no zombies. */
	signal(SIGCHLD, SIG_IGN);
	a = fork();
	if (a == 0)
		_exit(0);
	ERR(wait(&st), ECHILD);
}

static void sessions_and_daemons(void)
{
	/* The double fork of a daemon, which then serves a socket and a file for us. */
	struct sockaddr_in a;
	int l = listener(&a);
	char b[16];
	pid_t me = getpid(), pid = fork();

	if (pid == 0) {
		if (setsid() != getpid() || getpgrp() != getpid() || getsid(0) != getpid())
			_exit(1);
		ERR(setsid(), EPERM);
		if (fork())
			_exit(0);
		for (int i = 0; i < 3; i++)
			close(i);
		open("/dev/null", O_RDWR);
		dup(0);
		dup(0);
		int s = accept(l, NULL, NULL), fd = open("daemon", O_CREAT | O_RDWR, 0600);
		if (getppid() == me || s < 0 || read(s, b, 4) != 4 || write(fd, b, 4) != 4 || fsync(fd) || write(s, "done", 4) != 4)
			_exit(2);
		_exit(0);
	}
	wait_ok(pid);
	OK(close(l));
	int c = connected(&a);
	EQ(write(c, "work", 4), 4);
	EQ(read_all(c, b, 16), 4);
	CHECK(strcmp(slurp("daemon"), "work") == 0);
	/* The library's daemon(). */
	int p[2];
	OK(pipe(p));
	pid = fork();
	if (pid == 0) {
		OK(daemon(1, 0));
		write(p[1], "d", 1);
		_exit(0);
	}
	wait_ok(pid);
	EQ(read(p[0], b, 1), 1);
}

static void identity(void)
{
	pid_t me = getpid(), parent = getppid();

	EQ(syscall(SYS_getpid), me);
	EQ(gettid(), me);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(getpid() != me);
		EQ(getppid(), me);
		EQ(syscall(SYS_getpid), getpid());
		EQ(gettid(), getpid());
		char l[16];
		long n = OK(readlink("/proc/self", l, sizeof l));
		l[n] = 0;
		EQ(atoi(l), getpid());
		_exit(0);
	}
	wait_ok(pid);
	EQ(getppid(), parent);
	pid = vfork();
	if (pid == 0) {
		_exit(getpid() == me || getppid() != me);
	}
	wait_ok(pid);
	/* A grandchild whose parent ends has another parent. */
	struct gate g;
	gate_init(&g);
	pid = fork();
	if (pid == 0) {
		pid_t mine = getpid();
		if (fork() == 0) {
			while (getppid() == mine)
				sched_yield();
			gate_open(&g);
			_exit(0);
		}
		_exit(0);
	}
	wait_ok(pid);
	gate_wait(&g);
}

static void raw_clone(void)
{
	/* fork by the bare calls, as static programs and other runtimes make it. */
	long pid = syscall(SYS_fork);
	if (pid == 0)
		_exit(3);
	EQ(wait_status(pid), 3 << 8);
	pid = syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L);
	if (pid == 0) {
		int fd = open("f", O_CREAT | O_WRONLY, 0600);
		_exit(fd >= 0 && write(fd, "c", 1) == 1 ? 4 : 5);
	}
	EQ(wait_status(pid), 4 << 8);
	struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } c = { .exit_signal = SIGCHLD };
	pid = syscall(SYS_clone3, &c, sizeof c);
	if (pid == 0)
		_exit(6);
	if (pid < 0 && errno == ENOSYS)
		return;
	EQ(wait_status(pid), 6 << 8);
	/* Shared descriptors (CLONE_FILES): the child's open is ours. */
	pid = syscall(SYS_clone, SIGCHLD | CLONE_FILES, 0L, 0L, 0L, 0L);
	if (pid == 0) {
		int fd = open("f", O_RDONLY);
		_exit(fd >= 0 && dup2(fd, 88) == 88 ? 0 : 1);
	}
	EQ(wait_status(pid), 0);
	EQ(read(88, (char[1]){ 0 }, 1), 1);
	/* Shared directory (CLONE_FS). */
	OK(mkdir("d", 0755));
	pid = syscall(SYS_clone, SIGCHLD | CLONE_FS, 0L, 0L, 0L, 0L);
	if (pid == 0)
		_exit(chdir("d") != 0);
	EQ(wait_status(pid), 0);
	EQ(access("../f", F_OK), 0);
}

static void refused_clones(void)
{
	struct clone_args c = { .exit_signal = SIGCHLD };
	char stack[64];

	c.stack = (uint64_t)(uintptr_t)stack;
	ERR(syscall(SYS_clone3, &c, sizeof c), EINVAL);
	c.stack_size = ~0ULL - 4096;
	ERR(syscall(SYS_clone3, &c, sizeof c), EINVAL);
	c.stack = 0;
	ERR(syscall(SYS_clone3, &c, sizeof c), EINVAL);
}

/* A child with the parent's descriptors lets go of them before it closes. */
static void unshared_range(void)
{
	struct clone_args c = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
	int fd = OK(open("/", O_PATH));
	pid_t pid = (pid_t)OK(syscall(SYS_clone3, &c, sizeof c));

	if (pid == 0)
		_exit(close_range((unsigned)fd, (unsigned)fd, CLOSE_RANGE_UNSHARE) < 0 || fcntl(fd, F_GETFD) >= 0);
	wait_ok(pid);
	OK(fcntl(fd, F_GETFD));
	OK(close(fd));
}

static void a_link_is_not_run(void)
{
	char *argv[] = { "l", NULL }, *envp[] = { NULL };
	int d = OK(open(".", O_PATH | O_DIRECTORY));

	OK(symlink("/bin/true", "l"));
	ERR(execveat(d, "l", argv, envp, AT_SYMLINK_NOFOLLOW), ELOOP);
	OK(close(d));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(trees), CASE(many_in_a_row), CASE_IN_MAIN(vfork_and_exec), CASE(vfork_child_is_another_process), CASE(spawned),
	CASE(environment), CASE(own_environment_is_clean), CASE(scripts), CASE(programs_in_test_dir), CASE(exec_refusals),
	CASE(exec_by_descriptor), CASE(exec_from_a_thread), CASE(what_exec_keeps), CASE(waiting), CASE(sessions_and_daemons),
	CASE(identity), CASE(raw_clone),
	CASE(refused_clones), CASE(unshared_range), CASE(a_link_is_not_run),
};
CHECK_MAIN(cases)
