/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VIRTUOS_STATS: what this process did, as one object of the JSON array that env.h describes. */
#include <fcntl.h>
#include <sys/file.h>
#include "../dispatch/table.h"
#include "../rewrite/apply.h"
#include "../rt/rt.h"
#include "carrier.h"
#include "exe.h"
#include "signal.h"
#include "stats.h"

#define COUNTS  (VOS_NR_END + 2)
#define REMOTES (sizeof(struct vos_remote_counts) / sizeof(uint64_t))

static _Atomic uint64_t fallback_hits;
static const char *file;
static char program[512];

void vos_stats_fallback_hit(void)
{
	atomic_fetch_add_explicit(&fallback_hits, 1, memory_order_relaxed);
}

bool vos_stats_on(void)
{
	return file != NULL;
}

/*
 * A signal that ends the process by default would end it before its line is written: such signals come to vos_sig_entry(),
 * which writes and lets the kernel do as it would have done.  Not SIGUSR1 and SIGUSR2: nobody ends a process with them.
 */
bool vos_stats_catches(int sig)
{
	switch (sig) {
	case SIGHUP: case SIGINT: case SIGQUIT: case SIGILL: case SIGTRAP: case SIGABRT: case SIGFPE: case SIGPIPE:
	case SIGALRM: case SIGTERM: case SIGXCPU: case SIGXFSZ: case SIGVTALRM: case SIGPROF: case SIGPOLL: case SIGPWR:
		return file != NULL;
	default:
		return false;
	}
}

void vos_stats_init(const char *path)
{
	long n;

	if (!path || !*path)
		return;
	file = vos_strdup(path);
	if (vos_exe_path()) {
		vos_fmt(program, sizeof program, "%s", vos_exe_path());
		return;
	}
	n = vos_raw3(SYS_readlink, VOS_PTR("/proc/self/exe"), VOS_PTR(program), sizeof program - 1);
	if (n < 0)
		program[0] = 0;
}

static void sum_up(struct vos_proc *p, uint64_t *sum, struct vos_remote_counts *remote)
{
	uint64_t *r = (uint64_t *)(void *)remote;

	vos_lock(&p->lock);
	if (p->ended) {
		for (unsigned i = 0; i < 3 * COUNTS; i++)
			sum[i] += p->ended[i];
		for (unsigned i = 0; i < REMOTES; i++)
			r[i] += p->ended[3 * COUNTS + i];
		memset(p->ended, 0, VOS_ENDED_SIZE);
	}
	for (struct vos_carrier *c = p->carriers; c; c = c->next) {
		uint64_t *from = vos_carrier_counts(c), *rc = (uint64_t *)(void *)&c->remote;

		/* They begin anew: an exec that fails after this adds a second object, and the sum stays true. */
		for (unsigned i = 0; i < 3 * COUNTS; i++) {
			sum[i] += from[i];
			from[i] = 0;
		}
		for (unsigned i = 0; i < REMOTES; i++) {
			r[i] += rc[i];
			rc[i] = 0;
		}
	}
	vos_unlock(&p->lock);
}

static void add_string(struct vos_text *t, const char *s)
{
	vos_text_add(t, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			vos_text_add(t, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			vos_text_add(t, "\\u00%02x", (unsigned char)*s);
		else
			vos_text_add(t, "%c", *s);
	}
	vos_text_add(t, "\"");
}

static void add_calls(struct vos_text *t, const uint64_t *sum)
{
	const char *comma = "";

	vos_text_add(t, "\"calls\": {");
	for (unsigned nr = 0; nr <= VOS_NR_END; nr++) {
		uint64_t n = sum[nr], run = sum[COUNTS + nr], rem = sum[2 * COUNTS + nr];

		if (!(n | run | rem))
			continue;
		vos_text_add(t, "%s\"%s\": {\"native\": %lu, \"runtime\": %lu, \"remote\": %lu}", comma,
			     nr < VOS_NR_END && vos_calls[nr].name[0] ? vos_calls[nr].name : "unknown", n, run, rem);
		comma = ", ";
	}
	vos_text_add(t, "}, ");
}

static void add_sites(struct vos_text *t)
{
	static const char *const kind[VOS_PLAN_KINDS] = {
		[VOS_PLAN_LEAVE] = "left", [VOS_PLAN_MOV] = "mov", [VOS_PLAN_PRE] = "before", [VOS_PLAN_PAD] = "padding",
		[VOS_PLAN_POST] = "after", [VOS_PLAN_REFUSED] = "refused",
	};
	struct vos_rewrite_stats *s = vos_alloc(sizeof *s);
	const char *comma = "";

	vos_text_add(t, "\"sites\": {");
	for (unsigned i = 0; s && vos_rewrite_stats(i, s); i++) {
		if (s->lo == s->hi)
			continue;
		vos_text_add(t, "%s", comma);
		add_string(t, s->name);
		vos_text_add(t, ": {");
		for (unsigned k = 0; k < VOS_PLAN_KINDS; k++)
			vos_text_add(t, "\"%s\": %u, ", kind[k], s->kind[k]);
		vos_text_add(t, "\"fallback\": %u}", s->fallback);
		comma = ", ";
	}
	vos_text_add(t, "}, ");
	vos_free(s);
}

static void append(const struct vos_text *t)
{
	long fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(file), O_RDWR | O_CREAT | O_CLOEXEC, 0666), size;

	if (fd < 0)
		return; /* the program may have given up the right to it */
	vos_raw2(SYS_flock, fd, LOCK_EX);
	size = vos_raw3(SYS_lseek, fd, 0, 2 /* SEEK_END */);
	/* The text begins with ",\n"; the first object of a file begins with "[\n". */
	if (size < 3) {
		t->p[0] = '[';
		vos_raw4(SYS_pwrite64, fd, VOS_PTR(t->p), (long)t->len, 0);
	} else {
		vos_raw4(SYS_pwrite64, fd, VOS_PTR(t->p), (long)t->len, size - 3);
	}
	vos_raw1(SYS_close, fd);
}

void vos_stats_flush(void)
{
	struct vos_proc *p = vos_self()->proc;
	struct vos_remote_counts r;
	struct vos_text t = { 0 };
	uint64_t *sum;

	if (!file)
		return;
	sum = vos_alloc(3 * COUNTS * sizeof *sum);
	if (!sum)
		return;
	memset(&r, 0, sizeof r);
	sum_up(p, sum, &r);
	vos_text_add(&t, ",\n{\"pid\": %u, \"program\": ", p->pid);
	add_string(&t, program);
	vos_text_add(&t, ", ");
	add_calls(&t, sum);
	add_sites(&t);
	vos_text_add(&t, "\"fallback_hits\": %lu, \"submits\": %lu, \"doorbells\": %lu, \"spins\": %lu, \"yields\": %lu, \"sleeps\": %lu, "
		     "\"cancels\": %lu, \"joins\": %lu, \"bytes_in\": %lu, \"bytes_out\": %lu}\n]\n",
		     atomic_exchange(&fallback_hits, 0), r.submits, r.doorbells, r.spins, r.yields, r.sleeps, r.cancels, r.joins,
		     r.bytes_in, r.bytes_out);
	if (!t.failed)
		append(&t);
	vos_text_free(&t);
	vos_free(sum);
}

void vos_stats_fork_child(void)
{
	atomic_store(&fallback_hits, 0);
}
