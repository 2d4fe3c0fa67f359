/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain DIR: storage calls through a bare client of the protocol, without the runtime, and the same calls directly, in turn:
 * "NAME_native N" and "NAME_remote N", nanoseconds, the median of seven rounds of each.  $VIRTUOS_DOMAIN is the server.
 */
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "measure.h"
#include "servers/domain/domain.h"
#include "testclient.h"

#define ROUNDS 7
#define BYTES  (1u << 20)
#define AT     ((uint64_t)VOS_AT_ROOT)

static struct tc_domain d;
static struct tc c;
static int root, fd;
static uint64_t rfd, buf, name, out, long_name;
static char *data;

struct size { const char *name; size_t bytes; };

static void check(long r, long want, const char *what)
{
	if (r != want) {
		fprintf(stderr, "%s: %ld, not %ld\n", what, r, want);
		exit(1);
	}
}

static void null_native(void *arg)
{
	(void)arg;
	syscall(SYS_getppid);
}

static void null_remote(void *arg)
{
	(void)arg;
	tc(&c, VOS_OP_NULL);
}

static void read_native(void *n)
{
	check(pread(fd, data, *(size_t *)n, 0), (long)*(size_t *)n, "pread");
}

static void read_remote(void *n)
{
	check(tc(&c, __NR_pread64, rfd, buf, *(size_t *)n, 0), (long)*(size_t *)n, "remote pread");
	/* A program has it in memory of its own. */
	memcpy(data, tc_at(&c, buf), *(size_t *)n);
}

static void write_native(void *n)
{
	check(pwrite(fd, data, *(size_t *)n, 0), (long)*(size_t *)n, "pwrite");
}

static void write_remote(void *n)
{
	/* As the runtime does it. */
	vos_far_copy(tc_at(&c, buf), (unsigned char *)data, *(size_t *)n);
	check(tc(&c, __NR_pwrite64, rfd, buf, *(size_t *)n, 0), (long)*(size_t *)n, "remote pwrite");
}

static void open_native(void *arg)
{
	(void)arg;
	close(openat(root, "file", O_RDONLY));
}

static void open_remote(void *arg)
{
	long r;

	(void)arg;
	r = tc(&c, __NR_openat, AT, name, O_RDONLY);
	check(tc(&c, __NR_close, (uint64_t)r), 0, "remote close");
}

static void stat_native(void *arg)
{
	struct stat st;

	check(fstatat(root, arg, &st, 0), 0, "stat");
}

static void stat_remote(void *arg)
{
	check(tc(&c, __NR_newfstatat, AT, strchr(arg, '/') ? long_name : name, out, 0), 0, "remote stat");
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double once(void (*call)(void *), void *arg)
{
	uint64_t n = 1, t, took;

	for (;; n *= 2) {
		t = now_ns();
		for (uint64_t i = 0; i < n; i++)
			call(arg);
		took = now_ns() - t;
		if (took >= BATCH_NS)
			return (double)took / (double)n;
	}
}

static void compare(const char *what, void (*native)(void *), void (*remote)(void *), void *arg)
{
	double n[ROUNDS], r[ROUNDS];
	char label[64];

	for (int i = 0; i < ROUNDS; i++) {
		n[i] = once(native, arg);
		r[i] = once(remote, arg);
	}
	qsort(n, ROUNDS, sizeof n[0], by_value);
	qsort(r, ROUNDS, sizeof r[0], by_value);
	snprintf(label, sizeof label, "%s_native", what);
	figure(label, n[ROUNDS / 2]);
	snprintf(label, sizeof label, "%s_remote", what);
	figure(label, r[ROUNDS / 2]);
}

int main(int argc, char **argv)
{
	static struct size sizes[] = { { "1", 1 }, { "512", 512 }, { "4k", 4096 }, { "64k", 65536 }, { "1m", BYTES } };
	char label[32];

	if (argc != 2) {
		fprintf(stderr, "usage: domain DIR\n");
		return 2;
	}
	root = open(argv[1], O_RDONLY | O_DIRECTORY);
	fd = openat(root, "file", O_RDWR | O_CREAT, 0644);
	data = malloc(BYTES);
	if (root < 0 || fd < 0 || !data)
		die(argv[1]);
	memset(data, 'v', BYTES);
	mkdirat(root, "a", 0755);
	mkdirat(root, "a/b", 0755);
	close(openat(root, "a/b/file", O_CREAT | O_WRONLY, 0644));
	check(pwrite(fd, data, BYTES, 0), BYTES, "pwrite");
	tc_start(&d, VOS_KIND_STORE, argv[1]);
	if (tc_join(&d, &c, 1, 64, 2u << 20)) {
		fprintf(stderr, "%s\n", d.msg.text);
		return 1;
	}
	buf = tc_alloc(&c, BYTES);
	out = tc_alloc(&c, 4096);
	name = tc_str(&c, "file");
	long_name = tc_str(&c, "a/b/file");
	rfd = (uint64_t)tc(&c, __NR_openat, AT, name, O_RDWR);
	compare("null", null_native, null_remote, NULL);
	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		snprintf(label, sizeof label, "read_%s", sizes[i].name);
		compare(label, read_native, read_remote, &sizes[i].bytes);
		snprintf(label, sizeof label, "write_%s", sizes[i].name);
		compare(label, write_native, write_remote, &sizes[i].bytes);
	}
	compare("open_close", open_native, open_remote, NULL);
	compare("stat", stat_native, stat_remote, (void *)(uintptr_t)"file");
	compare("stat_deep", stat_native, stat_remote, (void *)(uintptr_t)"a/b/file");
	tc_leave(&c);
	tc_stop(&d);
	unlinkat(root, "file", 0);
	unlinkat(root, "a/b/file", 0);
	unlinkat(root, "a/b", AT_REMOVEDIR);
	unlinkat(root, "a", AT_REMOVEDIR);
	return 0;
}
