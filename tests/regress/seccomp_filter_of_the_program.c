/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A filter judges the program's calls as it would natively, and does not kill the runtime for its own. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define OK(c) do { if (!(c)) { printf("line %d: not true: %s (errno %d)\n", __LINE__, #c, errno); exit(1); } } while (0)
#define ON(nr, what) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, what)

static volatile int trapped, at_call;

static void trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	trapped = info->si_syscall;
	at_call = info->si_call_addr == (void *)u->uc_mcontext.gregs[REG_RIP];
	u->uc_mcontext.gregs[REG_RAX] = 4242;
}

static void *thread(void *arg)
{
	return arg;
}

int main(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		ON(SYS_getppid, SECCOMP_RET_TRAP),
		ON(SYS_prctl, SECCOMP_RET_TRAP),
		ON(SYS_socket, SECCOMP_RET_ERRNO | EPERM),
		ON(SYS_getpgrp, SECCOMP_RET_KILL_PROCESS),
		ON(SYS_mremap, SECCOMP_RET_KILL_PROCESS),
		/* What the runtime uses for signals, for itself. */
		ON(SYS_rt_tgsigqueueinfo, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { sizeof f / sizeof *f, f };
	struct sigaction a = { .sa_sigaction = trap, .sa_flags = SA_SIGINFO };
	pthread_t t;
	int status;

	OK(sigaction(SIGSYS, &a, NULL) == 0);
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == -1 && errno == EFAULT);
	OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p) == 0);
	OK(syscall(SYS_getppid) == 4242 && trapped == SYS_getppid && at_call);
	OK(syscall(SYS_prctl, PR_GET_DUMPABLE) == 4242 && trapped == SYS_prctl && at_call);
	OK(syscall(SYS_socket, 1, 1, 0) == -1 && errno == EPERM);
	OK(pthread_create(&t, NULL, thread, &t) == 0 && pthread_join(t, NULL) == 0);
	for (int nr = 0; nr < 2; nr++) {
		pid_t pid = fork();

		if (pid == 0) {
			syscall(nr ? SYS_getpgrp : SYS_mremap, 0, 0, 0, 0);
			_exit(0);
		}
		OK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	}
	return 0;
}
