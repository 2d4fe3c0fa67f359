/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The session: finding or starting a supervisor, and talking to it. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <virtuos/env.h>
#include "fdmap.h"
#include "remote_impl.h"

#define SEND_MS   5000
#define SLICE_MS  50

static void shut(int fd)
{
	if (fd >= 0)
		vos_raw1(__NR_close, fd);
}

int vos_session_begin(struct vos_proc *p, const struct vos_msg *m, const int *fds, uint32_t nfds)
{
	int pair[2], r;

	if (p->session_fd < 0)
		return -EPIPE;
	r = (int)vos_raw4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, VOS_PTR(pair));
	if (r)
		return r;
	/*
	 * The one message in which processes that share the session could get in each other's way.  On the heap of nobody: the
	 * runtime's stack holds a struct vos_msg well.
	 */
	{
		struct vos_msg call;

		vos_msg_init(&call, VOS_MSG_CALL);
		r = vos_msg_send(p->session_fd, &call, &pair[1], 1, vos_msg_deadline(SEND_MS));
	}
	shut(pair[1]);
	if (r == 0)
		r = vos_msg_send(pair[0], m, fds, nfds, vos_msg_deadline(SEND_MS));
	if (r < 0)
		shut(pair[0]);
	if (r == -ECONNRESET || r == -ECONNREFUSED || r == -ENOTCONN)
		r = -EPIPE;
	return r < 0 ? r : pair[0];
}

int vos_session_ask(struct vos_proc *p, struct vos_msg *m, const int *fds, uint32_t nfds, struct vos_msg_fds *ret_fds,
		    uint64_t deadline_ns, bool interruptible, int *ret_sock)
{
	int sock = vos_session_begin(p, m, fds, nfds), r;

	if (sock < 0)
		return sock;
	r = 0;
	while (r == 0) {
		uint64_t slice = vos_msg_deadline(SLICE_MS);

		r = vos_msg_recv(sock, m, ret_fds, slice < deadline_ns ? slice : deadline_ns);
		if (r != -ETIMEDOUT || slice >= deadline_ns)
			break;
		r = interruptible && vos_signalled() ? -VOS_ERESTARTSYS : 0;
	}
	if (r == -ECONNRESET || r == -ECONNREFUSED || r == -ENOTCONN)
		r = -EPIPE;
	if (r == 0 && ret_sock)
		*ret_sock = sock;
	else
		shut(sock);
	return r;
}

/* ---- a supervisor that runs already -------------------------------------------------------------------------------------- */

static int connect_to(const char *where)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct ucred peer = { 0, ~0u, ~0u };
	uint32_t len = sizeof peer;
	size_t n;
	long fd, r;

	if (strcmp(where, "system") == 0)
		where = VOS_SUPERVISOR_SOCKET;
	n = strlen(where);
	if (n == 0 || n >= sizeof a.sun_path)
		return -ENAMETOOLONG;
	memcpy(a.sun_path, where, n);
	if (where[0] == '@')
		a.sun_path[0] = 0;
	else
		n++;
	fd = vos_raw3(__NR_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	r = vos_raw3(__NR_connect, fd, VOS_PTR(&a), (long)(offsetof(struct sockaddr_un, sun_path) + n));
	/* Whoever answers must be root or this user: an abstract name is anyone's to take. */
	if (r == 0)
		r = vos_raw6(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, VOS_PTR(&peer), VOS_PTR(&len), 0);
	if (r == 0 && peer.uid != 0 && peer.uid != (uint32_t)vos_raw0(__NR_geteuid))
		r = -EPERM;
	if (r) {
		shut((int)fd);
		return (int)r;
	}
	return (int)fd;
}

/* ---- a private one --------------------------------------------------------------------------------------------------------- */

#define STACK 65536u

/* What the two children of a start share with the parent, whose memory they run in. */
struct starting {
	char *argv[6];
	char **envp;
	const char *program[2];        /* tried in turn */
	int session, null;
	bool verbose;
	volatile int error;
	unsigned char *stack2;
};

/* fn(arg) on a stack of its own in a child that shares memory; the caller waits until it has execed or ended. */
static long child_of(int (*fn)(void *), void *arg, unsigned char *stack, long flags)
{
	unsigned char *top = stack + STACK - 64;
	long ret;

	((void **)(void *)top)[0] = (void *)(uintptr_t)fn;
	((void **)(void *)top)[1] = arg;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "pop %%rax\n\t"
			 "pop %%rdi\n\t"
			 "call *%%rax\n\t"
			 "mov %%eax, %%edi\n\t"
			 "mov $60, %%eax\n\t"
			 "syscall\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "0"((long)__NR_clone), "D"(flags | CLONE_VM | CLONE_VFORK), "S"(top), "d"(0L)
			 : "rcx", "r8", "r9", "r10", "r11", "memory");
	return ret;
}

static int become(void *arg)
{
	struct starting *s = arg;
	long r;

	vos_raw0(__NR_setsid);
	vos_raw3(__NR_dup3, s->null, 0, 0);
	vos_raw3(__NR_dup3, s->null, 1, 0);
	if (!s->verbose)
		vos_raw3(__NR_dup3, s->null, 2, 0);
	r = vos_raw3(__NR_fcntl, s->session, F_DUPFD, 8);
	if (r >= 0)
		r = vos_raw3(__NR_dup3, r, 3, 0);
	if (r >= 0)
		vos_raw3(__NR_close_range, 4, ~0u, 0);
	s->error = r < 0 ? (int)r : -ENOENT;
	for (int i = 0; r >= 0 && i < 2; i++) {
		if (!s->program[i])
			continue;
		/* What stands here when the exec succeeds is what the parent reads. */
		s->error = 0;
		s->error = (int)vos_raw3(__NR_execve, VOS_PTR(s->program[i]), VOS_PTR(s->argv), VOS_PTR(s->envp));
	}
	return 1;
}

/* The first child only makes the second, so that the program has no child that it did not make. */
static int between(void *arg)
{
	struct starting *s = arg;
	long r = child_of(become, s, s->stack2, SIGCHLD);

	if (r < 0)
		s->error = (int)r;
	return 0;
}

static bool ours(const char *e)
{
	return strncmp(e, "LD_PRELOAD=", 11) == 0 || strncmp(e, "VIRTUOS", 7) == 0;
}

static char **environment(char *const *envp)
{
	size_t n = 0, k = 0;
	char **out;

	while (envp && envp[n])
		n++;
	out = vos_alloc((n + 1) * sizeof *out);
	for (size_t i = 0; out && i < n; i++)
		if (!ours(envp[i]))
			out[k++] = envp[i];
	return out;
}

static int start_private(const char *dir, char *const *envp)
{
	char session[32], beside[4096];
	struct starting s = { .verbose = vos_verbose, .error = 0 };
	unsigned char *stacks = vos_pages(2 * STACK);
	uint64_t all = ~0ull, old = 0;
	int pair[2] = { -1, -1 };
	long r, pid;

	vos_fmt(session, sizeof session, "--session=%u", (unsigned)vos_raw0(__NR_getpid));
	if (dir && (size_t)vos_fmt(beside, sizeof beside, "%s/virtuosd", dir) < sizeof beside)
		s.program[0] = beside;
	s.program[1] = VOS_LIBEXECDIR "/virtuosd";
	s.argv[0] = (char *)"virtuosd";
	s.argv[1] = (char *)"--private";
	s.argv[2] = (char *)"--session-fd=3";
	s.argv[3] = session;
	s.argv[4] = vos_verbose ? (char *)"--verbose" : NULL;
	s.envp = environment(envp);
	s.null = (int)vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR("/dev/null"), O_RDWR | O_CLOEXEC, 0);
	r = vos_raw4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, VOS_PTR(pair));
	if (r == 0 && (!stacks || !s.envp))
		r = -ENOMEM;
	if (r == 0) {
		s.session = pair[1];
		s.stack2 = stacks + STACK;
		/* No handler may run in a child: its memory is ours. */
		vos_raw4(__NR_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&all), VOS_PTR(&old), 8);
		/* Without an exit signal: the program hears nothing, and __WALL finds it all the same. */
		pid = child_of(between, &s, stacks, 0);
		if (pid > 0)
			while (vos_raw4(__NR_wait4, pid, 0, 0x40000000 /* __WALL */, 0) == -EINTR)
				;
		vos_raw4(__NR_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&old), 0, 8);
		r = pid < 0 ? pid : s.error;
	}
	if (r)
		shut(pair[0]);
	shut(pair[1]);
	shut(s.null);
	vos_free(s.envp);
	vos_pages_free(stacks, 2 * STACK);
	return r ? (int)r : pair[0];
}

int vos_remote_start(struct vos_proc *p, int fd, const char *supervisor, const char *dir, char *const *envp)
{
	int type = 0, own;
	uint32_t len = sizeof type;

	vos_spin_init();
	p->session_fd = -1;
	if (fd >= 0) {
		if (vos_raw6(__NR_getsockopt, fd, SOL_SOCKET, SO_TYPE, VOS_PTR(&type), VOS_PTR(&len), 0) || type != SOCK_SEQPACKET) {
			vos_say("%s=%d: not the descriptor of a session", VOS_ENV_SESSION, fd);
			return -EBADF;
		}
	} else if (supervisor && *supervisor) {
		fd = connect_to(supervisor);
		if (fd < 0) {
			vos_say("no supervisor answers at %s (error %d): is virtuosd running there?", supervisor, -fd);
			return fd;
		}
	} else {
		fd = start_private(dir, envp);
		if (fd < 0) {
			vos_say("cannot start virtuosd, neither in %s nor in %s (error %d)", dir ? dir : "?", VOS_LIBEXECDIR, -fd);
			return fd;
		}
	}
	own = vos_fd_own(fd, &p->session_fd);
	if (own < 0) {
		shut(fd);
		vos_say("no descriptor is left for the session (error %d): raise 'ulimit -n'", -own);
		return own;
	}
	return 0;
}
