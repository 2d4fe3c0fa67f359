/* SPDX-License-Identifier: GPL-2.0-or-later */
/* storage DIR: reads and writes of files in the page cache, open, stat.  Natively DIR is a host directory, else a routed one. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "measure.h"

#define BYTES (1u << 20)

static int fd;
static char *buf;

static void do_read(void *size)
{
	if (pread(fd, buf, *(size_t *)size, 0) != (ssize_t)*(size_t *)size)
		die("pread");
}

static void do_write(void *size)
{
	if (pwrite(fd, buf, *(size_t *)size, 0) != (ssize_t)*(size_t *)size)
		die("pwrite");
}

static void do_open(void *path)
{
	int f = open(path, O_RDONLY);

	if (f < 0)
		die(path);
	close(f);
}

static void do_stat(void *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		die(path);
}

static void do_fstat(void *arg)
{
	struct stat st;

	(void)arg;
	if (fstat(fd, &st) != 0)
		die("fstat");
}

static void do_list(void *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	if (!d)
		die(path);
	while ((e = readdir(d)))
		n++;
	closedir(d);
	if (n < 102)
		die("readdir");
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 1, 64, 512, 4096, 16384, 65536, 262144, 1048576 };
	char path[4096], name[64];

	if (argc != 2 || mkdir(argv[1], 0700) != 0) {
		fprintf(stderr, "Usage: storage DIR (which does not exist yet)\n");
		return 2;
	}
	buf = malloc(BYTES);
	if (!buf)
		die("malloc");
	memset(buf, 'v', BYTES);
	snprintf(path, sizeof path, "%s/list", argv[1]);
	if (mkdir(path, 0700) != 0)
		die(path);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof path, "%s/list/%d", argv[1], i);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		if (fd < 0)
			die(path);
		close(fd);
	}
	snprintf(path, sizeof path, "%s/data", argv[1]);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		die(path);
	if (write(fd, buf, BYTES) != BYTES)
		die("write");
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		size_t size = sizes[i];

		snprintf(name, sizeof name, "read_%zu", size);
		figure(name, fastest(do_read, &size));
		snprintf(name, sizeof name, "write_%zu", size);
		figure(name, fastest(do_write, &size));
	}
	figure("open_close", fastest(do_open, path));
	figure("stat", fastest(do_stat, path));
	figure("fstat", fastest(do_fstat, NULL));
	snprintf(path, sizeof path, "%s/list", argv[1]);
	figure("list_100", fastest(do_list, path));
	return 0;
}
