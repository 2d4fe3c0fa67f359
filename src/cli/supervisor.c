/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting or finding a supervisor, and talking to it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <transport/message.h>
#include <virtuos/env.h>
#include "cli.h"

#define SEND_MS 5000
/* More than the runtime asks for. */
#define REGION_BYTES (64u << 20)

/*
 * Moves fd to a high number, out of the way of programs that expect low ones, open across exec.  -1 and errno.
 */
static int move_high(int fd)
{
	struct rlimit lim;
	int from = 64, high = -1;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY && lim.rlim_cur < (1u << 20))
		from = (int)lim.rlim_cur - 16;
	else
		from = (1 << 20) - 16;
	while (from > 2 && (high = fcntl(fd, F_DUPFD, from)) < 0 && (errno == EINVAL || errno == EMFILE))
		from /= 2;
	if (high >= 0)
		close(fd);
	return high;
}

/*
 * A region is a file to the kernel, so RLIMIT_FSIZE bounds it: the supervisor takes all that is permitted, and when that is
 * not enough it is said now, not when the program's first call fails.
 */
static int check_file_size(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_FSIZE, &lim) == 0 && lim.rlim_max != RLIM_INFINITY && lim.rlim_max < REGION_BYTES) {
		vos_cli_say("no region can be had: this session may make files of %llu bytes only; raise 'ulimit -f' to %u",
			    (unsigned long long)lim.rlim_max, REGION_BYTES / 1024);
		return -1;
	}
	return 0;
}

/* In the grandchild: becomes virtuosd.  Only what the supervisor needs is left of this process. */
static void become_supervisor(const char *program, int session, pid_t pid, bool verbose, int error_fd)
{
	char fd_arg[32], pid_arg[32];
	char *argv[] = { "virtuosd", "--private", fd_arg, pid_arg, verbose ? "--verbose" : NULL, NULL };
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	struct rlimit lim;

	setsid();
	if (getrlimit(RLIMIT_FSIZE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_FSIZE, &lim);
	}
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    (!verbose && dup2(null, STDERR_FILENO) < 0))
		goto failed;
	/* 3: the session; 4: the way to report a failed exec.  Nothing else of the caller's stays open. */
	session = fcntl(session, F_DUPFD, 8);
	error_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, 8);
	if (session < 0 || error_fd < 0 || dup2(session, 3) < 0 || dup3(error_fd, 4, O_CLOEXEC) < 0)
		goto failed;
	close_range(5, ~0u, 0);
	error_fd = 4;
	if (chdir("/") != 0)
		goto failed;
	snprintf(fd_arg, sizeof fd_arg, "--session-fd=3");
	snprintf(pid_arg, sizeof pid_arg, "--session=%d", (int)pid);
	unsetenv("LD_PRELOAD");
	unsetenv(VOS_ENV_POLICY);
	unsetenv(VOS_ENV_SESSION);
	unsetenv(VOS_ENV_STATS);
	execv(program, argv);
failed:
	if (write(error_fd, &errno, sizeof errno) < 0)
		_exit(2);
	_exit(1);
}

int vos_cli_supervisor_start(pid_t pid, bool verbose)
{
	char *program = vos_cli_peer("virtuosd");
	int pair[2] = { -1, -1 }, report[2] = { -1, -1 }, high = -1, error = 0;
	pid_t child;
	ssize_t n;

	if (!program)
		return -1;
	if (check_file_size() != 0)
		goto out;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || pipe2(report, O_CLOEXEC) != 0) {
		vos_cli_say("cannot make a session: %m");
		goto out;
	}
	/* Twice: the program that this process becomes must not find a child that it never made. */
	child = fork();
	if (child == 0) {
		/* This process ends when it runs again: nobody else sees what becomes of its memory. */
		pid_t second = vfork();

		if (second == 0)
			become_supervisor(program, pair[1], pid, verbose, report[1]);
		if (second < 0 && write(report[1], &errno, sizeof errno) < 0)
			_exit(2);
		_exit(0);
	}
	if (child < 0) {
		vos_cli_say("cannot start the supervisor: %m");
		goto out;
	}
	close(report[1]);
	report[1] = -1;
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	while ((n = read(report[0], &error, sizeof error)) < 0 && errno == EINTR)
		;
	if (n > 0) {
		vos_cli_say("cannot start %s: %s", program, strerror(error));
		goto out;
	}
	high = move_high(pair[0]);
	if (high < 0)
		vos_cli_say("no descriptor is left for the session: %m; raise 'ulimit -n'");
	else
		pair[0] = -1;
out:
	for (int i = 0; i < 2; i++) {
		if (pair[i] >= 0)
			close(pair[i]);
		if (report[i] >= 0)
			close(report[i]);
	}
	free(program);
	return high;
}

/* Whoever answers must be this user or root: an abstract name is anyone's to take. */
static int check_peer(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return -errno;
	return cred.uid == 0 || cred.uid == geteuid() ? 0 : -EPERM;
}

/* A path, or '@' and an abstract name.  Descriptor or negative errno. */
static int connect_to(const char *address)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = strlen(address);
	int fd, r;

	if (len >= sizeof to.sun_path)
		return -ENAMETOOLONG;
	memcpy(to.sun_path, address, len);
	if (to.sun_path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0 ?
		check_peer(fd) : -errno;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

unsigned long vos_cli_pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

int vos_cli_supervisor_of(pid_t pid)
{
	char address[64] = "@";

	snprintf(address + 1, sizeof address - 1, VOS_SESSION_ABSTRACT, vos_cli_pid_namespace(), (unsigned)pid);
	return connect_to(address);
}

int vos_cli_supervisor_connect(const char *address)
{
	bool system = strcmp(address, "system") == 0;
	int fd, high;

	if (system)
		address = VOS_SUPERVISOR_SOCKET;
	fd = connect_to(address);
	if (fd < 0) {
		if (fd == -EPERM)
			vos_cli_say("the supervisor at %s belongs to another user; not used", address);
		else
			vos_cli_say("no supervisor answers at %s: %s; %s", address, strerror(-fd),
				    system ? "an administrator starts it: virtuosd(8)" :
					     "start it, or leave --supervisor out for a private one");
		return -1;
	}
	high = move_high(fd);
	if (high < 0) {
		vos_cli_say("no descriptor is left for the session: %m; raise 'ulimit -n'");
		close(fd);
	}
	return high;
}

int vos_cli_call(int session)
{
	struct vos_msg *m = vos_cli_alloc(sizeof *m);
	int pair[2], r;

	vos_msg_init(m, VOS_MSG_CALL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		r = -errno;
		goto out;
	}
	r = vos_msg_send(session, m, &pair[1], 1, vos_msg_deadline(SEND_MS));
	close(pair[1]);
	if (r != 0)
		close(pair[0]);
	else
		r = pair[0];
out:
	free(m);
	return r;
}

int vos_cli_send(int call, const struct vos_msg *msg)
{
	return vos_msg_send(call, msg, NULL, 0, vos_msg_deadline(SEND_MS));
}

int vos_cli_ask(int call, struct vos_msg *msg, int *ret_fd, int ms)
{
	int r = vos_cli_send(call, msg);

	return r ? r : vos_cli_answer(call, msg, ret_fd, ms);
}

int vos_cli_answer(int call, struct vos_msg *msg, int *ret_fd, int ms)
{
	struct vos_msg_fds fds;
	uint32_t type = msg->type;
	int r = vos_msg_recv(call, msg, &fds, vos_msg_deadline((uint64_t)ms));

	if (r != 0)
		return r;
	if (msg->type != type && msg->type != VOS_MSG_STATUS)
		r = -EPROTO;
	else if (ret_fd)
		*ret_fd = vos_msg_take(&fds, 0);
	vos_msg_close_fds(&fds);
	return r;
}
