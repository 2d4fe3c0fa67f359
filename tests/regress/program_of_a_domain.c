/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a program finds out about itself; run from a domain's storage by programs_of_a_domain. */
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

int answer(void);

static void *thread(void *arg)
{
	return arg;
}

int main(int argc, char **argv)
{
	char exe[4096] = "", comm[20] = "", magic[8] = "";
	struct stat st, own = { 0 };
	pthread_t t;
	FILE *f;

	(void)argc;
	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
	if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
		perror("readlink");
	prctl(PR_GET_NAME, comm);
	printf("answer %d exe %s comm %s argv[0] %s execfn %s\n", answer(), exe, comm, argv[0], (char *)getauxval(AT_EXECFN));
	stat(exe, &own);
	printf("stat %d, the same %d\n", stat("/proc/self/exe", &st), st.st_ino == own.st_ino && st.st_dev == own.st_dev);
	f = fopen("/proc/self/exe", "r");
	if (f && fread(magic, 1, 4, f) == 4 && fseek(f, 0, SEEK_END) == 0)
		printf("opened: %s, all of it %d\n", magic + 1, ftell(f) == own.st_size);
	return 7;
}
