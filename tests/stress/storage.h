/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the workers of `storage` have in common. */
#pragma once
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define SECONDS 30
#define PIECE   512

/* In memory shared with the children: they are watched as well. */
struct worker {
	const char *name;
	void (*round)(struct worker *);
	const char *_Atomic call;          /* what it is in, and since when */
	_Atomic int64_t since;
	_Atomic uint64_t rounds, errors;
	unsigned seed;
	int number;
	char dir[200];
};

struct shared {
	_Atomic int stop, failed;
	_Atomic int64_t locked;            /* increments under the lock: acknowledged, */
	_Atomic int64_t doubtful;          /* and those that ended in EIO */
};

extern struct shared *shared;
extern const char *top;
extern unsigned lock_kind;             /* 0: of a process, 1: of an open file, 2: flock */

int64_t now_ms(void);
void wrong(struct worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The result of a call; what is wrong with it is said. */
long over(struct worker *w, const char *call, long r);
/* Opens until it works.  The first time after a death this is the look whether the domain is back. */
int reopen(struct worker *w, const char *path, int flags);
void fill(unsigned char *p, size_t n, uint64_t version, unsigned place);

static inline unsigned pick(struct worker *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

static inline bool going(void)
{
	return !atomic_load(&shared->stop);
}

#define DO(w, x) (atomic_store(&(w)->since, now_ms()), atomic_store(&(w)->call, #x), errno = 0, over(w, #x, (long)(x)))

#define CLOSE(w, fd) do { if ((fd) >= 0) { DO(w, close(fd)); (fd) = -1; } } while (0)

void round_places(struct worker *w);
void round_log(struct worker *w);
void round_rename(struct worker *w);
void round_aio(struct worker *w);
void round_mapping(struct worker *w);
void round_copy(struct worker *w);
void round_names(struct worker *w);
void round_attributes(struct worker *w);
void round_locks(struct worker *w);
void round_fifo(struct worker *w);
void round_cwd(struct worker *w);
