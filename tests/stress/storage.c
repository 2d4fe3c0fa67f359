/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program with a load of file calls, as a careful program makes them: it remembers what was acknowledged, answers EIO by closing
 * and opening anew, and then looks whether everything acknowledged is there and nothing else.  It knows nothing of domains.
 *
 * Usage: storage DIR      Each line on stdin is answered with "ok ERRORS" once every worker has gone round whole since; the
 *                         end of stdin ends the program: 0 when nothing was wrong.
 *
 * A call that was under way when the error came may have happened or not: for each file there are at most two right contents.
 * Wrong are: another content, another error than EIO, a call longer than SECONDS, a crash.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include "storage.h"

struct shared *shared;
const char *top;

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void wrong(struct worker *w, const char *format, ...)
{
	char text[400];
	va_list ap;
	int n;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	n = dprintf(2, "storage: %s: %s\n", w->name, text);
	(void)n;
	atomic_store(&shared->failed, 1);
	atomic_store(&shared->stop, 1);
}

long over(struct worker *w, const char *call, long r)
{
	int64_t took = now_ms() - atomic_load(&w->since);
	int e = errno;

	atomic_store(&w->call, NULL);
	if (took > SECONDS * 1000)
		wrong(w, "%s took %lld ms", call, (long long)took);
	if (r == -1) {
		atomic_fetch_add(&w->errors, 1);
		if (e != EIO)
			wrong(w, "%s: %s", call, strerror(e));
	}
	errno = e;
	return r;
}

int reopen(struct worker *w, const char *path, int flags)
{
	int64_t begin = now_ms();
	int fd;

	while ((fd = (int)DO(w, open(path, flags, 0644))) < 0 && going())
		if (now_ms() - begin > SECONDS * 1000) {
			wrong(w, "no open works for %d s", SECONDS);
			break;
		}
	return fd;
}

void fill(unsigned char *p, size_t n, uint64_t version, unsigned place)
{
	uint64_t x = version * 0x9e3779b97f4a7c15ull + place;

	memcpy(p, &version, sizeof version);
	for (size_t i = sizeof version; i < n; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = (unsigned char)(x >> 33);
	}
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; void (*round)(struct worker *); } kinds[] = {
	{ "places", round_places }, { "places2", round_places }, { "log", round_log }, { "log2", round_log },
	{ "rename", round_rename }, { "names", round_names }, { "attributes", round_attributes }, { "aio", round_aio },
	{ "mapping", round_mapping }, { "locks", round_locks }, { "locks2", round_locks }, { "fifo", round_fifo },
	{ "copy", round_copy }, { "cwd", round_cwd },
};
#define WORKERS (sizeof kinds / sizeof kinds[0])

static struct worker *workers;

static void *work(void *arg)
{
	struct worker *w = arg;

	while (going()) {
		w->round(w);
		atomic_fetch_add(&w->rounds, 1);
	}
	return NULL;
}

/* Looks for a call that does not end. */
static void *watch(void *arg)
{
	(void)arg;
	while (going()) {
		for (size_t i = 0; i < WORKERS; i++) {
			const char *call = atomic_load(&workers[i].call);
			int64_t since = atomic_load(&workers[i].since);

			if (call && now_ms() - since > SECONDS * 1000) {
				wrong(&workers[i], "%s hangs", call);
				/* Whoever watches this from outside may want to see it hang. */
				if (getenv("STAY"))
					pause();
				_exit(1);
			}
		}
		usleep(100000);
	}
	return NULL;
}

static void go_round(void)
{
	uint64_t before[WORKERS];

	for (size_t i = 0; i < WORKERS; i++)
		before[i] = atomic_load(&workers[i].rounds);
	/* The one that was under way, and a whole one. */
	for (size_t i = 0; i < WORKERS; i++)
		while (atomic_load(&workers[i].rounds) < before[i] + 2 && going())
			usleep(500);
}

static int64_t counter(void)
{
	char path[300];
	int64_t value = -1;
	int fd;

	snprintf(path, sizeof path, "%s/counter", top);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, &value, 8, 0) < 0)
		return -1;
	close(fd);
	return value;
}

int main(int argc, char **argv)
{
	pthread_t t[WORKERS + 1];
	char line[100];

	if (argc != 2)
		return 2;
	top = argv[1];
	shared = mmap(NULL, sizeof *shared + WORKERS * sizeof *workers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	workers = (struct worker *)(shared + 1);
	if (chdir(top)) {
		perror("storage: chdir");
		return 1;
	}
	/* One kind a run: the kinds do not exclude each other. */
	lock_kind = (unsigned)getpid() % 3;
	for (size_t i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		w->name = kinds[i].name;
		w->round = kinds[i].round;
		w->seed = (unsigned)(now_ms() + (int64_t)i * 7919);
		snprintf(w->dir, sizeof w->dir, "%s/%s", top, w->name);
		if (mkdir(w->dir, 0755)) {
			perror(w->dir);
			return 1;
		}
		pthread_create(&t[i], NULL, work, w);
	}
	pthread_create(&t[WORKERS], NULL, watch, NULL);
	while (going() && fgets(line, sizeof line, stdin)) {
		uint64_t errors = 0;

		go_round();
		for (size_t i = 0; i < WORKERS; i++)
			errors += atomic_load(&workers[i].errors);
		printf("ok %llu\n", (unsigned long long)errors);
		fflush(stdout);
	}
	atomic_store(&shared->stop, 1);
	for (size_t i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	if (!atomic_load(&shared->failed)) {
		int64_t value = counter(), sure = shared->locked, most = sure + shared->doubtful;

		if (value < sure || value > most)
			wrong(&workers[9], "the counter under the lock is %lld, not %lld to %lld", (long long)value, (long long)sure, (long long)most);
	}
	for (size_t i = 0; i < WORKERS; i++)
		fprintf(stderr, "# %-10s %7llu rounds, %llu errors\n", workers[i].name, (unsigned long long)workers[i].rounds,
			(unsigned long long)workers[i].errors);
	return atomic_load(&shared->failed);
}
