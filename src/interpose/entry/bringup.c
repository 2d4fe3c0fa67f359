/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <virtuos/env.h>
#include <virtuos/policy.h>
#include "../dispatch/fdmap.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../rewrite/apply.h"
#include "../rt/rt.h"
#include "../uthread/uthread.h"
#include "bringup.h"
#include "carrier.h"
#include "enter.h"
#include "environ.h"
#include "exe.h"
#include "go.h"
#include "room.h"
#include "sigsys.h"
#include "stats.h"

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif

static const char *word(char **envp, const char *name)
{
	size_t n = strlen(name);

	for (; *envp; envp++)
		if (memcmp(*envp, name, n) == 0 && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

static const char *last_component(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path;
}

static uint64_t aux(const struct vos_start *s, uint64_t type)
{
	for (const Elf64_auxv_t *a = s->auxv; a->a_type != AT_NULL; a++)
		if (a->a_type == type)
			return a->a_un.a_val;
	return 0;
}

/*
 * glibc hands main's arguments to constructors, musl does not: there whatever the registers hold arrives.  On the stack of
 * the first thread the two vectors stand one behind the other, above this function's frame.
 */
static bool plausible(int argc, char **argv, char **envp)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return argc >= 0 && (uintptr_t)argv > here && (uintptr_t)argv - here < 1UL << 27 && ((uintptr_t)argv & 7) == 0 &&
	       envp == argv + argc + 1;
}

/* The environment by way of the auxiliary vector, whose contents the kernel tells, and which stands behind it. */
static char **search_environment(void)
{
	uint64_t aux_words[4], from = 0, *w;
	Elf64_auxv_t a[64];
	long fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR("/proc/self/auxv"), O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? fd : vos_raw3(SYS_read, fd, VOS_PTR(a), sizeof a);

	if (fd >= 0)
		vos_raw1(SYS_close, fd);
	if (n < (long)(4 * sizeof a[0]))
		return NULL;
	for (unsigned i = 0; i < (unsigned long)n / sizeof a[0] && a[i].a_type != AT_NULL; i++)
		if (a[i].a_type == AT_RANDOM)
			from = a[i].a_un.a_val & ~7UL;
	if (!from)
		return NULL;
	memcpy(aux_words, a, sizeof aux_words);
	/* Downwards through the same stack that this function runs on: all of it is mapped. */
	for (w = (uint64_t *)from; (uintptr_t)w > (uintptr_t)__builtin_frame_address(0); w--)
		if (memcmp(w, aux_words, sizeof aux_words) == 0) {
			for (w--; w[-1]; w--)
				;
			return (char **)w;
		}
	return NULL;
}

bool vos_start_find(struct vos_start *s, int argc, char **argv, char **envp)
{
	bool arguments = plausible(argc, argv, envp);
	char **e;

	if (!arguments)
		envp = search_environment();
	e = envp;
	*s = (struct vos_start){ .envp = envp, .arguments = arguments };
	if (!envp)
		return false;
	while (*e)
		e++;
	s->auxv = (void *)(e + 1);
	s->execfn = (const char *)(uintptr_t)aux(s, AT_EXECFN);
	s->policy = word(envp, VOS_ENV_POLICY);
	s->session = word(envp, VOS_ENV_SESSION);
	s->supervisor = word(envp, VOS_ENV_SUPERVISOR);
	s->stats = word(envp, VOS_ENV_STATS);
	s->verbose = word(envp, VOS_ENV_VERBOSE);
	s->only = word(envp, VOS_ENV_ONLY);
	s->route = word(envp, VOS_ENV_ROUTE);
	s->state = word(envp, VOS_ENV_STATE);
	return true;
}

bool vos_start_wanted(const struct vos_start *s)
{
	const char *name = last_component(s->execfn);
	const char *preload = word(s->envp, "LD_PRELOAD");

	if (aux(s, AT_SECURE))
		return false; /* the privileges are not ours to use; the dynamic loader has said so by itself */
	if (s->verbose && strcmp(s->verbose, "1") == 0)
		vos_verbose = true;
	if (s->only && (!name || strcmp(s->only, name) != 0)) {
		vos_note("%s is left alone (VIRTUOS_ONLY=%s)", s->execfn, s->only);
		return false;
	}
	if ((name && (strcmp(name, "gdb") == 0 || strncmp(name, "valgrind", 8) == 0)) || (preload && strstr(preload, "vgpreload"))) {
		vos_say("%s is left alone: it watches programs itself", name);
		return false;
	}
	if (!(aux(s, AT_HWCAP2) & HWCAP2_FSGSBASE)) {
		vos_say("this kernel or processor has no FSGSBASE (Linux 5.9, and not 'nofsgsbase'): %s runs without VirtuOS", s->execfn);
		return false;
	}
	return true;
}

/* Nothing works as the user asked: say it and do not run the program as if it did. */
_Noreturn static void refuse(const char *why)
{
	vos_say("%s", why);
	for (;;)
		vos_raw1(SYS_exit_group, 125);
}

static void start_process(struct vos_start *s)
{
	static struct vos_proc proc;
	static struct vos_sigtab sigtab;
	const char *at;
	struct vos_carrier *c;

	s->proc = &proc;
	proc.pid = (uint32_t)vos_raw0(SYS_getpid);
	proc.session_fd = -1;
	proc.sigtab = &sigtab;
	if (vos_fdmap_init(&proc) < 0)
		refuse("no memory for the table of descriptors: raise 'ulimit -v'; the program was not started");
	c = vos_carrier_new(&proc);
	if (!c)
		refuse("no memory for the first thread: raise 'ulimit -v'; the program was not started");
	vos_carrier_become(c);
	vos_carrier_link(c);
	vos_thread_process(&proc);
	if (vos_table_init(s->route, &at) < 0)
		vos_say("VIRTUOS_ROUTE: '%s' is neither CALL:native nor mmap:remote", at);
	vos_go_init();
	vos_stats_init(s->stats);
	if (vos_stats_on())
		proc.ended = vos_alloc(VOS_ENDED_SIZE);
}

static void start_environ(struct vos_start *s)
{
	static const char *const names[] = { "HOME", "XDG_CACHE_HOME", VOS_ENV_CACHE };
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++) {
		const char *value = word(s->envp, names[i]);

		if (value)
			s->cache[n++] = (char *)(uintptr_t)(value - strlen(names[i]) - 1);
	}
	vos_state_open(&s->last, s->state);
	vos_environ_take(s->envp, &vos_start_all);
}

static void start_rooms(struct vos_start *s)
{
	for (unsigned i = 0; vos_rooms[i]; i++)
		if (vos_rooms[i]->init && vos_rooms[i]->init(s->proc) < 0)
			vos_panic("%s: cannot start", vos_rooms[i]->name);
}

static void start_signals(struct vos_start *s)
{
	if (!vos_environ_preloaded() && !vos_exe_path())
		vos_sig_take_over(s->proc);
	vos_sig_init(s->proc, s->last.ignored, s->last.masked);
}

static void add_domain(struct vos_proc *p, uint32_t kind, const char *name, const struct vos_policy_store *store)
{
	struct vos_domain *d = vos_alloc(sizeof *d);

	if (!d)
		refuse("no memory for the domains: raise 'ulimit -v'; the program was not started");
	d->index = p->ndomains;
	d->kind = kind;
	vos_fmt(d->name, sizeof d->name, "%s", name);
	if (store) {
		vos_fmt(d->root, sizeof d->root, "%s", store->root);
		vos_fmt(d->prefix, sizeof d->prefix, "%s", store->prefix);
	}
	p->domain[p->ndomains++] = d;
}

static void start_domains(struct vos_start *s)
{
	struct vos_proc *p = s->proc;
	char err[VOS_POLICY_ERROR], line[VOS_POLICY_ERROR + 64];
	uint64_t fd = 0;
	const char *at = s->session;

	if (s->policy && *s->policy) {
		p->policy = vos_alloc(sizeof *p->policy);
		if (!p->policy)
			refuse("no memory for the policy: raise 'ulimit -v'; the program was not started");
		if (vos_policy_parse(s->policy, p->policy, err) < 0) {
			vos_fmt(line, sizeof line, VOS_ENV_POLICY ": %s", err);
			refuse(line);
		}
		if (p->policy->threads != VOS_THREADS_KERNEL)
			vos_ut_init(p);
		if (p->policy->net[0])
			add_domain(p, VOS_KIND_NET, p->policy->net, NULL);
		for (uint32_t i = 0; i < p->policy->nstores; i++)
			add_domain(p, VOS_KIND_STORE, p->policy->store[i].domain, &p->policy->store[i]);
	}
	if (p->ndomains) {
		bool known = at && vos_number(&at, &fd) && *at == 0 && fd <= INT32_MAX;

		if (vos_path_init(p) < 0)
			refuse("no memory for the working directory: raise 'ulimit -v'; the program was not started");
		if (vos_path_routed())
			vos_go_with_paths();
		if (vos_remote_start(p, known ? (int)fd : -1, s->supervisor, vos_environ_dir(), s->envp) < 0)
			refuse("the program was not started: its policy needs domains");
	} else {
		vos_go_without_domains();
	}
	vos_state_load(&s->last, p);
}

/*
 * Could other threads run already?  Not where glibc preloads us: DF_1_INITFIRST puts us before every constructor (but not before
 * auditors).  Other loaders do as they like, and dlopen brings us in at any time.
 */
static bool has_threads(const struct vos_start *s)
{
	struct stat tasks;

	if (s->arguments && vos_environ_preloaded() && !word(s->envp, "LD_AUDIT"))
		return false;
	/* A folder has a link from each of its folders. */
	return vos_raw2(SYS_stat, VOS_PTR("/proc/self/task"), VOS_PTR(&tasks)) == 0 && tasks.st_nlink > 3;
}

static void start_code(struct vos_start *s)
{
	extern const char vos_entry[] __attribute__((visibility("hidden")));
	struct vos_rewrite_cfg cfg = { .entry = vos_entry, .own = &vos_start_all, .envp = s->cache };
	int err;

	cfg.threads = has_threads(s);
	err = vos_rewrite_init(&cfg);
	if (err < 0)
		vos_note("nothing could be patched (error %d)", -err);
	if (err < 0 || vos_rewrite_sites_left())
		vos_sud_want("code that no plan covers");
}

void vos_start_all(struct vos_start *s)
{
	start_process(s);     /* struct vos_proc, this thread's carrier, the table */
	start_environ(s);     /* what the last image left us; our words leave the environment */
	start_signals(s);     /* from here on a fault in memory of the program is -EFAULT */
	start_rooms(s);
	start_domains(s);     /* policy, session, descriptors of the last image */
	start_code(s);        /* patched, or trapped: from here on calls come to us */
}
