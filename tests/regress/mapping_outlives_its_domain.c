/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mappings of files whose domain is killed stay what they are, take stores, and are one with the file for whoever opens it next. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MUST(x) do { if (!(x)) { printf("line %d: %s (%s)\n", __LINE__, #x, strerror(errno)); exit(1); } } while (0)

int main(int argc, char **argv)
{
	char command[4096], b[9] = "";
	int fd;

	/* FILE VIRTUOS DOMAIN, or natively FILE alone. */
	MUST(argc >= 2);
	fd = open(argv[1], O_RDWR | O_CREAT, 0600);
	MUST(fd >= 0);
	MUST(write(fd, "12345678", 8) == 8);
	MUST(ftruncate(fd, 3 * 4096) == 0);
	char *s = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *v = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	MUST(s != MAP_FAILED && v != MAP_FAILED);
	s[0] = 's';
	v[1] = 'v';
	if (argc == 4) {
		snprintf(command, sizeof command, "'%s' domain kill '%s' --session=%d >/dev/null", argv[2], argv[3], (int)getpid());
		MUST(system(command) == 0);
		/* The descriptor is of the domain that was. */
		MUST(pread(fd, b, 8, 0) == -1 && errno == EIO);
	}
	/* One page was not touched before. */
	MUST(s[2 * 4096] == 0 && v[2 * 4096] == 0);
	MUST(!memcmp(s, "s2345678", 8));
	MUST(v[1] == 'v');
	s[7] = 'S';
	MUST(msync(s, 3 * 4096, MS_SYNC) == 0);
	close(fd);
	fd = open(argv[1], O_RDWR);
	MUST(fd >= 0);
	MUST(pread(fd, b, 8, 0) == 8 && !memcmp(b, "s234567S", 8));
	MUST(pwrite(fd, "new", 3, 3) == 3);
	MUST(!memcmp(s, "s23new7S", 8));
	MUST(munmap(s, 3 * 4096) == 0);
	puts("ok");
	return 0;
}
