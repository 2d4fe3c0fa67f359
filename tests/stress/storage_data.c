/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers whose matter is what files hold. */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include "storage.h"

/* ---- places that are overwritten, by every way to write and read ---------------------------------------------------------- */

#define PLACES 64

struct places {
	int fd;
	uint64_t sure[PLACES], maybe[PLACES];     /* the version that stands there; the one that may */
	uint64_t version;
};

static bool is_version(const unsigned char *p, uint64_t version, unsigned place)
{
	unsigned char want[PIECE];

	if (!version)
		memset(want, 0, sizeof want);
	else
		fill(want, sizeof want, version, place);
	return memcmp(p, want, sizeof want) == 0;
}

static bool place_is(struct worker *w, struct places *s, unsigned i, const unsigned char *p)
{
	if (is_version(p, s->sure[i], i)) {
		return true;
	} else if (s->maybe[i] && is_version(p, s->maybe[i], i)) {
		s->sure[i] = s->maybe[i];
		return true;
	}
	uint64_t v;

	memcpy(&v, p, sizeof v);
	wrong(w, "place %u holds version %llu, not %llu%s", i, (unsigned long long)v, (unsigned long long)s->sure[i],
	      s->maybe[i] ? " or the one in doubt" : "");
	return false;
}

static void places_open(struct worker *w, struct places *s, const char *name)
{
	unsigned char page[PLACES * PIECE];
	char path[300];

	snprintf(path, sizeof path, "%s/%s", w->dir, name);
	while (going()) {
		s->fd = reopen(w, path, O_RDWR | O_CREAT);
		if (s->fd < 0)
			return;
		if (DO(w, ftruncate(s->fd, sizeof page)) == 0 && DO(w, pread(s->fd, page, sizeof page, 0)) == sizeof page)
			break;
		CLOSE(w, s->fd);
	}
	for (unsigned i = 0; i < PLACES && going(); i++) {
		place_is(w, s, i, page + i * PIECE);
		s->maybe[i] = 0;
	}
}

static void places_lost(struct worker *w, struct places *s)
{
	CLOSE(w, s->fd);
}

void round_places(struct worker *w)
{
	static _Thread_local struct places s = { .fd = -1 };
	unsigned char buf[PIECE];

	if (s.fd < 0)
		places_open(w, &s, "places");
	for (int k = 0; k < 20 && s.fd >= 0; k++) {
		unsigned i = pick(w, PLACES), how = pick(w, 6);
		off_t at = (off_t)i * PIECE;
		struct iovec v[2] = { { buf, 100 }, { buf + 100, PIECE - 100 } };
		long r = -1;

		if (pick(w, 2)) {
			s.maybe[i] = ++s.version;
			fill(buf, PIECE, s.version, i);
			switch (how) {
			case 0: case 1: r = DO(w, pwrite(s.fd, buf, PIECE, at)); break;
			case 2: r = DO(w, pwritev(s.fd, v, 2, at)); break;
			case 3: r = DO(w, pwritev2(s.fd, v, 2, at, RWF_DSYNC)); break;
			default:
				r = DO(w, lseek(s.fd, at, SEEK_SET));
				if (r >= 0)
					r = how == 4 ? DO(w, write(s.fd, buf, PIECE)) : DO(w, writev(s.fd, v, 2));
			}
			if (r == PIECE && pick(w, 3) == 0 && DO(w, fsync(s.fd)) < 0)
				r = -1;
			if (r == PIECE) {
				s.sure[i] = s.maybe[i];
				s.maybe[i] = 0;
			}
		} else {
			switch (how) {
			case 0: case 1: case 2: r = DO(w, pread(s.fd, buf, PIECE, at)); break;
			case 3: r = DO(w, preadv(s.fd, v, 2, at)); break;
			default:
				r = DO(w, lseek(s.fd, at, SEEK_SET));
				if (r >= 0)
					r = how == 4 ? DO(w, read(s.fd, buf, PIECE)) : DO(w, readv(s.fd, v, 2));
			}
			if (r == PIECE)
				place_is(w, &s, i, buf);
		}
		if (r != PIECE) {
			if (r >= 0)
				wrong(w, "a short transfer: %ld", r);
			places_lost(w, &s);
		}
	}
}

/* ---- a log: appended to, synced, read back ----------------------------------------------------------------------------------- */

void round_log(struct worker *w)
{
	static _Thread_local int fd = -1;
	static _Thread_local uint64_t next, size;
	unsigned char buf[16384], got[16384];
	char path[300];

	snprintf(path, sizeof path, "%s/log", w->dir);
	if (fd < 0) {
		struct stat st;

		fd = reopen(w, path, O_RDWR | O_CREAT | O_APPEND | (pick(w, 2) ? O_DSYNC : 0));
		if (fd < 0)
			return;
		/* What stands behind the acknowledged part was under way: it is cut off. */
		if (DO(w, fstat(fd, &st)) < 0 || (uint64_t)st.st_size < size) {
			if (errno != EIO)
				wrong(w, "%llu acknowledged bytes, but the file has %llu", (unsigned long long)size, (unsigned long long)st.st_size);
			CLOSE(w, fd);
			return;
		}
		if (DO(w, ftruncate(fd, (off_t)size)) < 0) {
			CLOSE(w, fd);
			return;
		}
		/* All of it, from the start. */
		uint64_t at = 0, n = 0;
		while (at < size) {
			uint32_t len;
			long r = DO(w, pread(fd, got, sizeof got, (off_t)at));

			if (r < 0) {
				CLOSE(w, fd);
				return;
			}
			memcpy(&len, got + 8, sizeof len);
			if (r < 12 || len < 12 || len > sizeof buf || (long)len > r) {
				wrong(w, "the log is damaged at byte %llu", (unsigned long long)at);
				return;
			}
			fill(buf, len, n, len);
			memcpy(buf + 8, &len, sizeof len);
			if (memcmp(buf, got, len)) {
				wrong(w, "record %llu of the log is not what was written", (unsigned long long)n);
				return;
			}
			at += len;
			n++;
		}
		if (n != next)
			wrong(w, "%llu records of the log of %llu", (unsigned long long)n, (unsigned long long)next);
	}
	for (int k = 0; k < 10; k++) {
		uint32_t len = 12 + pick(w, pick(w, 4) ? 300 : sizeof buf - 12);
		long r;

		fill(buf, len, next, len);
		memcpy(buf + 8, &len, sizeof len);
		r = DO(w, write(fd, buf, len));
		if (r == (long)len && DO(w, fdatasync(fd)) == 0) {
			next++;
			size += len;
			continue;
		}
		/* A short count is what was moved before the end. */
		if (r < 0 || r == (long)len) {
			CLOSE(w, fd);
			return;
		}
		if (DO(w, ftruncate(fd, (off_t)size)) < 0) {
			CLOSE(w, fd);
			return;
		}
	}
	if (size > 300000) {
		/* Cut off or not: the next look cuts it off. */
		if (DO(w, ftruncate(fd, 0)) < 0)
			CLOSE(w, fd);
		size = next = 0;
	}
}

/* ---- a file replaced by rename: always one whole version ------------------------------------------------------------------------ */

void round_rename(struct worker *w)
{
	static _Thread_local uint64_t sure, maybe, version;
	unsigned char buf[8192], want[8192];
	char path[300], fresh[300];
	int fd;
	long r;

	snprintf(path, sizeof path, "%s/whole", w->dir);
	snprintf(fresh, sizeof fresh, "%s/whole.new", w->dir);
	if (sure) {
		fd = reopen(w, path, O_RDONLY);
		if (fd < 0)
			return;
		r = DO(w, read(fd, buf, sizeof buf));
		CLOSE(w, fd);
		if (r < 0)
			return;
		fill(want, sizeof want, sure, 1);
		if (r != sizeof buf || memcmp(buf, want, sizeof buf)) {
			fill(want, sizeof want, maybe, 1);
			if (r != sizeof buf || !maybe || memcmp(buf, want, sizeof buf))
				wrong(w, "the file that was renamed has neither version %llu nor %llu (%ld bytes)", (unsigned long long)sure,
				      (unsigned long long)maybe, r);
			sure = maybe;
		}
		maybe = 0;
	}
	fill(buf, sizeof buf, ++version, 1);
	fd = reopen(w, fresh, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0)
		return;
	if (DO(w, write(fd, buf, sizeof buf)) == sizeof buf && DO(w, fsync(fd)) == 0) {
		CLOSE(w, fd);
		maybe = version;
		/* Nothing is promised of the first until it is known to have happened. */
		if (DO(w, rename(fresh, path)) == 0) {
			sure = version;
			maybe = 0;
		}
	}
	CLOSE(w, fd);
}

/* ---- asynchronous I/O: each request ends exactly once ------------------------------------------------------------------------------ */

void round_aio(struct worker *w)
{
	static _Thread_local struct places s = { .fd = -1 };
	static _Thread_local aio_context_t ctx;
	unsigned char buf[8][PIECE], got[8][PIECE];
	struct iocb cb[8], *list[8];
	struct io_event ev[8];
	unsigned place[8], n = 1 + pick(w, 8);
	bool writes[8], lost = false;
	long submitted, have = 0;
	int seen = 0;

	if (s.fd < 0) {
		if (ctx)
			DO(w, syscall(SYS_io_destroy, ctx));
		ctx = 0;
		places_open(w, &s, "aio");
		if (s.fd < 0 || DO(w, syscall(SYS_io_setup, 16, &ctx)) < 0)
			return;
	}
	for (unsigned i = 0; i < n; i++) {
		unsigned p;

		/* A place once in a batch. */
		for (;;) {
			bool twice = false;

			p = pick(w, PLACES);
			for (unsigned j = 0; j < i; j++)
				twice |= place[j] == p;
			if (!twice)
				break;
		}
		place[i] = p;
		writes[i] = pick(w, 2);
		memset(&cb[i], 0, sizeof cb[i]);
		cb[i].aio_data = i;
		cb[i].aio_fildes = (uint32_t)s.fd;
		cb[i].aio_nbytes = PIECE;
		cb[i].aio_offset = (int64_t)p * PIECE;
		if (writes[i]) {
			s.maybe[p] = ++s.version;
			fill(buf[i], PIECE, s.version, p);
		}
		cb[i].aio_lio_opcode = writes[i] ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
		cb[i].aio_buf = (uint64_t)(uintptr_t)(writes[i] ? buf[i] : got[i]);
		list[i] = &cb[i];
	}
	submitted = DO(w, syscall(SYS_io_submit, ctx, (long)n, list));
	if (submitted < (long)n)
		lost = true;
	while (have < submitted) {
		struct timespec ts = { SECONDS, 0 };
		long r = DO(w, syscall(SYS_io_getevents, ctx, 1L, 8L, ev, &ts));

		if (r <= 0) {
			wrong(w, "io_getevents: %ld, with %ld of %ld requests ended", r, have, submitted);
			return;
		}
		for (long k = 0; k < r; k++) {
			unsigned i = (unsigned)ev[k].data;

			if (i >= n || seen & 1 << i) {
				wrong(w, "a request ended that is none, or twice");
				return;
			}
			seen |= 1 << i;
			if (ev[k].res == PIECE && writes[i]) {
				s.sure[place[i]] = s.maybe[place[i]];
				s.maybe[place[i]] = 0;
			} else if (ev[k].res == PIECE) {
				place_is(w, &s, place[i], got[i]);
			} else if (ev[k].res == -EIO) {
				atomic_fetch_add(&w->errors, 1);
				lost = true;
			} else {
				wrong(w, "a request ended with %lld", (long long)ev[k].res);
			}
		}
		have += r;
	}
	if (lost)
		places_lost(w, &s);
}

/* ---- a shared mapping ------------------------------------------------------------------------------------------------------------------ */

void round_mapping(struct worker *w)
{
	static _Thread_local struct places s = { .fd = -1 };
	static _Thread_local unsigned char *mem;
	const size_t size = PLACES * PIECE;

	if (s.fd < 0) {
		places_open(w, &s, "mapped");
		if (s.fd < 0)
			return;
		mem = (unsigned char *)DO(w, mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, s.fd, 0));
		if (mem == MAP_FAILED) {
			mem = NULL;
			places_lost(w, &s);
			return;
		}
	}
	for (int k = 0; k < 4; k++) {
		unsigned i = pick(w, PLACES);

		place_is(w, &s, i, mem + i * PIECE);
		s.maybe[i] = ++s.version;
		fill(mem + i * PIECE, PIECE, s.version, i);
		if (DO(w, msync(mem, size, MS_SYNC)) == 0) {
			s.sure[i] = s.maybe[i];
			s.maybe[i] = 0;
			continue;
		}
		/* Not dead memory even now; and it goes away without a word. */
		if (!is_version(mem + i * PIECE, s.maybe[i], i))
			wrong(w, "the mapping lost what was stored there");
		if (DO(w, munmap(mem, size)) < 0)
			wrong(w, "munmap failed");
		mem = NULL;
		places_lost(w, &s);
		return;
	}
	if (pick(w, 20) == 0) {
		if (DO(w, munmap(mem, size)) < 0)
			wrong(w, "munmap failed");
		mem = NULL;
		places_lost(w, &s);
	}
}

/* ---- between the domain and the host, and within ------------------------------------------------------------------------------------------ */

void round_copy(struct worker *w)
{
	char from[300], to[300];
	unsigned char buf[20000], got[20000];
	int a, b, pipe_fd[2];
	long r;

	snprintf(from, sizeof from, "%s/from", w->dir);
	snprintf(to, sizeof to, "%s/to", w->dir);
	fill(buf, sizeof buf, pick(w, 1000), 3);
	a = reopen(w, from, O_RDWR | O_CREAT | O_TRUNC);
	b = reopen(w, to, O_RDWR | O_CREAT | O_TRUNC);
	if (a >= 0 && b >= 0 && DO(w, write(a, buf, sizeof buf)) == sizeof buf && DO(w, lseek(a, 0, SEEK_SET)) == 0) {
		size_t done = 0;
		unsigned how = pick(w, 3);

		r = 1;
		if (how == 2 && pipe(pipe_fd) < 0)
			how = 0;
		while (done < sizeof buf && r > 0) {
			size_t n = sizeof buf - done;

			if (how == 0) {
				r = DO(w, copy_file_range(a, NULL, b, NULL, n, 0));
			} else if (how == 1) {
				r = DO(w, sendfile(b, a, NULL, n));
			} else {
				r = DO(w, splice(a, NULL, pipe_fd[1], NULL, n, 0));
				for (long k = r; k > 0;) {
					long m = DO(w, splice(pipe_fd[0], NULL, b, NULL, (size_t)k, 0));

					if (m <= 0) {
						r = m;
						break;
					}
					k -= m;
				}
			}
			if (r > 0)
				done += (size_t)r;
		}
		if (how == 2) {
			close(pipe_fd[0]);
			close(pipe_fd[1]);
		}
		if (r == 0)
			wrong(w, "the copy ended after %zu bytes (way %u)", done, how);
		if (r > 0) {
			r = DO(w, pread(b, got, sizeof got, 0));
			if (r >= 0 && (r != sizeof got || memcmp(got, buf, sizeof got)))
				wrong(w, "the copy is not the same (way %u, %ld bytes)", how, r);
		}
	}
	CLOSE(w, a);
	CLOSE(w, b);
}
