/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For static_programs: argument vector, environment, auxiliary vector, threads, fork, exec, signals, /proc/self/exe. */
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OK(c) do { if (!(c)) { printf("line %d: not true: %s\n", __LINE__, #c); exit(1); } } while (0)

extern char **environ;
static volatile sig_atomic_t hits;
static void count(int sig) { hits++; }
static void *thread(void *arg) { *(int *)arg = getpid(); return arg; }

int main(int argc, char **argv)
{
	char exe[4096], want[4096];
	pthread_t t;
	int pid = 0, status;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	char **e = environ;
	struct stat a, b;

	OK(argc == 3 && strcmp(argv[1], "one") == 0 && strcmp(argv[2], "") == 0);
	OK(n > 0);
	exe[n] = 0;
	OK(realpath(argv[0], want) && strcmp(exe, want) == 0);
	/* The environment is what was given, and the auxiliary vector stands right behind it. */
	OK(strcmp(e[0], "A=1") == 0 && strcmp(e[1], "B=2") == 0 && !e[2]);
	Elf64_auxv_t *x = (Elf64_auxv_t *)(e + 3);
	while (x->a_type != AT_PHDR && x->a_type != AT_NULL)
		x++;
	OK(x->a_type == AT_PHDR && x->a_un.a_val == getauxval(AT_PHDR));
	OK(stat((char *)getauxval(AT_EXECFN), &a) == 0 && stat(want, &b) == 0 && a.st_ino == b.st_ino);
	OK(pthread_create(&t, NULL, thread, &pid) == 0 && pthread_join(t, NULL) == 0 && pid == getpid());
	signal(SIGUSR1, count);
	raise(SIGUSR1);
	OK(hits == 1);
	pid = fork();
	if (pid == 0) {
		char *v[] = { "sh", "-c", "test -z \"$VIRTUOS$VIRTUOS_STATS$LD_PRELOAD\" && exit 7", NULL }, *none[] = { NULL };

		execve("/bin/sh", v, none);
		_exit(1);
	}
	OK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	free(malloc(1 << 20));
	return 0;
}
