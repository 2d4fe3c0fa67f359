/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers whose matter is names, attributes, locks, and what waits. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include "storage.h"

/* ---- names: a directory whose entries are known -------------------------------------------------------------------------------- */

#define NAMES 16

void round_names(struct worker *w)
{
	static _Thread_local unsigned char sure[NAMES], maybe[NAMES];   /* 0: not there, 1: directory, 2: symlink, 3: special file */
	char path[300];
	bool found[NAMES] = { false };
	struct dirent *e;
	DIR *d;

	for (int k = 0; k < 6 && going(); k++) {
		unsigned i = pick(w, NAMES);
		long r;

		snprintf(path, sizeof path, "%s/n%02u", w->dir, i);
		if (maybe[i] != sure[i])
			continue;
		if (sure[i]) {
			maybe[i] = 0;
			r = sure[i] == 1 ? DO(w, rmdir(path)) : DO(w, unlink(path));
		} else {
			maybe[i] = (unsigned char)(1 + pick(w, 3));
			r = maybe[i] == 1 ? DO(w, mkdir(path, 0755)) : maybe[i] == 2 ? DO(w, symlink("whither", path)) :
				DO(w, mknod(path, S_IFREG | 0644, 0));
		}
		if (r == 0)
			sure[i] = maybe[i];
	}
	/* opendir is an open and a stat; an EIO of either is an EIO. */
	d = (DIR *)DO(w, opendir(w->dir) ?: (DIR *)-1);
	if (d == (DIR *)-1)
		return;
	atomic_store(&w->since, now_ms());
	atomic_store(&w->call, "readdir");
	while (errno = 0, (e = readdir(d))) {
		unsigned i;

		if (sscanf(e->d_name, "n%02u", &i) == 1 && i < NAMES)
			found[i] = true;
	}
	if (over(w, "readdir", errno ? -1 : 0) == 0) {
		for (unsigned i = 0; i < NAMES; i++) {
			struct stat st;
			long r;
			unsigned kind;

			if (found[i] != (sure[i] != 0) && found[i] != (maybe[i] != 0))
				wrong(w, "the name n%02u is %s", i, found[i] ? "there" : "missing");
			snprintf(path, sizeof path, "%s/n%02u", w->dir, i);
			if (!found[i]) {
				sure[i] = maybe[i] = 0;
				continue;
			}
			r = DO(w, lstat(path, &st));
			if (r < 0)
				break;
			kind = S_ISDIR(st.st_mode) ? 1 : S_ISLNK(st.st_mode) ? 2 : 3;
			if (kind != sure[i] && kind != maybe[i])
				wrong(w, "n%02u is of kind %u, not %u", i, kind, sure[i]);
			sure[i] = maybe[i] = (unsigned char)kind;
		}
	}
	DO(w, closedir(d));
}

/* ---- attributes ---------------------------------------------------------------------------------------------------------------------- */

void round_attributes(struct worker *w)
{
	static _Thread_local unsigned sure, maybe, made;
	char path[300], value[16];
	struct timespec ts[2] = { { 0 } };
	struct stat st;
	unsigned n;
	int fd;

	snprintf(path, sizeof path, "%s/attributes", w->dir);
	if (!made) {
		fd = reopen(w, path, O_WRONLY | O_CREAT);
		if (fd < 0)
			return;
		CLOSE(w, fd);
		made = 1;
		sure = maybe = 0;
		return;
	}
	n = 1 + pick(w, 500);
	maybe = n;
	ts[0].tv_sec = ts[1].tv_sec = n;
	if (DO(w, utimensat(AT_FDCWD, path, ts, 0)) == 0)
		sure = n;
	if (DO(w, stat(path, &st)) == 0) {
		if (sure && (unsigned)st.st_mtime != sure && (unsigned)st.st_mtime != maybe)
			wrong(w, "the time of the file is %u, not %u", (unsigned)st.st_mtime, sure);
		sure = maybe = (unsigned)st.st_mtime;
	}
	snprintf(value, sizeof value, "%u", n);
	if (DO(w, setxattr(path, "user.n", value, strlen(value), 0)) == 0) {
		char got[16];
		long r = DO(w, getxattr(path, "user.n", got, sizeof got));

		if (r >= 0 && ((size_t)r != strlen(value) || memcmp(got, value, (size_t)r)))
			wrong(w, "the attribute is not what was set");
	}
	DO(w, chmod(path, 0600 + n % 64));
}

/* ---- locks: in the worker and in children of it ---------------------------------------------------------------------------------------- */

/* Adds one to the counter in the file, under a lock that waits. */
static void locked_increment(struct worker *w, int *fd, unsigned how)
{
	struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 8 }, un = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = 8 };
	int64_t value = 0;
	long r;

	r = how == 0 ? DO(w, fcntl(*fd, F_SETLKW, &lk)) : how == 1 ? DO(w, fcntl(*fd, F_OFD_SETLKW, &lk)) : DO(w, flock(*fd, LOCK_EX));
	if (r == 0 && (r = DO(w, pread(*fd, &value, 8, 0))) >= 0) {
		value++;
		if ((r = DO(w, pwrite(*fd, &value, 8, 0))) == 8)
			atomic_fetch_add(&shared->locked, 1);
		else
			atomic_fetch_add(&shared->doubtful, 1);
	}
	if (r >= 0)
		r = how == 0 ? DO(w, fcntl(*fd, F_SETLK, &un)) : how == 1 ? DO(w, fcntl(*fd, F_OFD_SETLK, &un)) : DO(w, flock(*fd, LOCK_UN));
	if (r < 0)
		CLOSE(w, *fd);
}

unsigned lock_kind;
static int lock_fd[2] = { -1, -1 };

void round_locks(struct worker *w)
{
	int *fd = &lock_fd[strcmp(w->name, "locks") != 0];
	char path[300];
	pid_t pid;

	snprintf(path, sizeof path, "%s/counter", top);
	/* Locks of a process do not exclude its threads: then the other worker has children only. */
	if (lock_kind || fd == lock_fd) {
		if (*fd < 0)
			*fd = reopen(w, path, O_RDWR | O_CREAT);
		for (int k = 0; k < 5 && *fd >= 0; k++)
			locked_increment(w, fd, lock_kind);
		if (*fd < 0 || pick(w, 4))
			return;
	}
	/* A child of a program with threads: with descriptors that it inherits, or that it opens. */
	pid = fork();
	if (pid == 0) {
		int own;

		/*
		 * A lock of an open file is the parent's and the child's, and another thread may just have had it: kept, it would keep the
		 * child itself out, should the parent's proxy die before it unlocks.
		 */
		if (lock_kind) {
			CLOSE(w, lock_fd[0]);
			CLOSE(w, lock_fd[1]);
		}
		own = reopen(w, path, O_RDWR | O_CREAT);
		for (int k = 0; k < 3 && own >= 0; k++)
			locked_increment(w, &own, lock_kind);
		if (lock_kind == 0 && *fd >= 0)
			locked_increment(w, fd, lock_kind);
		_exit(0);
	}
	if (pid < 0) {
		over(w, "fork", -1);
	} else {
		int status = 0;

		atomic_store(&w->since, now_ms());
		atomic_store(&w->call, "waitpid");
		waitpid(pid, &status, 0);
		atomic_store(&w->call, NULL);
		if (status)
			wrong(w, "a child ended with status 0x%x", status);
	}
}

/* ---- a FIFO: a read that waits ends with the domain -------------------------------------------------------------------------------------- */

static void *fifo_writer(void *arg)
{
	struct worker *w = arg;
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/fifo", w->dir);
	fd = open(path, O_RDWR);
	if (fd >= 0) {
		usleep(1000 * pick(w, 30));
		if (write(fd, "x", 1) < 0 && errno != EIO)
			wrong(w, "write to the FIFO: %s", strerror(errno));
		usleep(1000);
		close(fd);
	}
	return NULL;
}

void round_fifo(struct worker *w)
{
	char path[300], c;
	pthread_t t;
	int fd;

	snprintf(path, sizeof path, "%s/fifo", w->dir);
	if (access(path, F_OK) && errno == ENOENT)
		DO(w, mkfifo(path, 0600));
	/* Both ways, so that the open does not wait. */
	fd = reopen(w, path, O_RDWR);
	if (fd < 0)
		return;
	if (pthread_create(&t, NULL, fifo_writer, w) == 0) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (pick(w, 2))
			DO(w, poll(&p, 1, 100));
		/* If the writer could not write, nothing comes: then another poll has said so. */
		p.revents = 0;
		if (DO(w, poll(&p, 1, 2000)) > 0)
			DO(w, read(fd, &c, 1));
		pthread_join(t, NULL);
	}
	CLOSE(w, fd);
}

/* ---- the working directory comes back by itself ---------------------------------------------------------------------------------------- */

void round_cwd(struct worker *w)
{
	struct stat st;
	char cwd[300];
	int fd;

	/* The process was put into its top directory at the start. */
	fd = reopen(w, "here", O_RDWR | O_CREAT);
	if (fd < 0)
		return;
	CLOSE(w, fd);
	if (DO(w, stat("here", &st)) == 0 && !S_ISREG(st.st_mode))
		wrong(w, "the relative path leads elsewhere");
	if ((char *)DO(w, getcwd(cwd, sizeof cwd) ?: (char *)-1) != (char *)-1 && strcmp(cwd, top))
		wrong(w, "the working directory is %s", cwd);
}
