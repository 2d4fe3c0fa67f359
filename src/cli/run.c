/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtuos run: checks everything that can be checked, then becomes the program.  It stays no parent: signals, exit
 * status, terminal and job control are the program's own.  The private supervisor ends when the last process of the
 * program has let go of the session.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <virtuos/env.h>
#include <virtuos/err.h>
#include <transport/message.h>
#include "cli.h"
#include "program.h"

/* A Xen domain may have to boot before it can answer. */
#define PROBE_MS 120000

enum { O_NET, O_STORE, O_RECOVER, O_THREADS, O_CONFIG, O_SUPERVISOR, O_STATS, O_VERBOSE };
static const struct vos_cli_opt opts[] = {
	[O_NET] = { "net", "DOMAIN", "IPv4 and IPv6 sockets are served by DOMAIN: local, local:NETNS, xen:NAME; none: by this kernel" },
	[O_STORE] = { "store", "/PREFIX=DOMAIN:/DIR", "paths under /PREFIX are served by DOMAIN from its /DIR; may be given again" },
	[O_RECOVER] = { "recover", "HOW", "after a storage domain died: fail (open files answer EIO); replay is to come" },
	[O_THREADS] = { "threads", "HOW", "kernel: each thread is one of the kernel; mn: they are user threads on few of the kernel (experimental)" },
	[O_CONFIG] = { "config", "FILE", "read FILE instead of the usual virtuos.conf" },
	[O_SUPERVISOR] = { "supervisor", "SOCKET", "use the supervisor there (system: the system's) instead of a private one" },
	[O_STATS] = { "stats", "FILE", "each process adds what it counted to FILE as it ends, as JSON" },
	[O_VERBOSE] = { "verbose", NULL, "say on stderr what is patched, what is left alone and why" },
	{ NULL, NULL, NULL }
};

struct options {
	struct { int opt; const char *arg; } *given; /* those that win over the files, in order */
	size_t n;
	const char *config;
};

static int take(void *user, int opt, const char *arg)
{
	struct options *o = user;

	if (opt == O_CONFIG) {
		o->config = arg;
		return 0;
	}
	o->given[o->n].opt = opt;
	o->given[o->n++].arg = arg;
	return 0;
}

/* An option's value that is not understood, with a mark under nothing: the value is short and stands in the line. */
static int bad_value(const char *name, const char *arg, size_t at, char *why)
{
	vos_cli_say("--%s=%s: column %zu: %s", name, arg, at + 1, why);
	free(why);
	return VOS_EXIT_OURS;
}

static int same_store(const struct options *o, size_t n)
{
	const char *a = o->given[n].arg, *ea = strchrnul(a, '=');

	for (size_t i = 0; i < n; i++) {
		const char *b = o->given[i].arg;

		if (o->given[i].opt == O_STORE && strncmp(a, b, (size_t)(ea - a)) == 0 && b[ea - a] == '=') {
			vos_cli_say("--store: the prefix %.*s is given twice", (int)(ea - a), a);
			return VOS_EXIT_OURS;
		}
	}
	return 0;
}

static void inherit(char **to, const char *name)
{
	const char *value = getenv(name);

	if (!value || !*value)
		return;
	free(*to);
	*to = vos_cli_dup(value);
}

/* Files, then the environment, then options: the later wins. */
static int settle(struct vos_cli_settings *s, const struct options *o, const char *program, const char *path)
{
	const char *env = getenv(VOS_ENV_POLICY);
	size_t at;
	char *why;

	if ((o->config ? vos_cli_config_read(s, o->config, program, path) : vos_cli_config_default(s, program, path)) != 0)
		return VOS_EXIT_OURS;
	if (env && *env) {
		why = vos_cli_policy_lay(&s->policy, env, &at);
		if (why) {
			vos_cli_say("%s: column %zu: %s", VOS_ENV_POLICY, at + 1, why);
			free(why);
			return VOS_EXIT_OURS;
		}
	}
	inherit(&s->supervisor, VOS_ENV_SUPERVISOR);
	inherit(&s->stats, VOS_ENV_STATS);
	env = getenv(VOS_ENV_VERBOSE);
	if (env && strcmp(env, "1") == 0)
		s->verbose = true;
	for (size_t i = 0; i < o->n; i++) {
		int opt = o->given[i].opt;
		const char *arg = o->given[i].arg;

		switch (opt) {
		case O_STORE:
			if (same_store(o, i))
				return VOS_EXIT_OURS;
			/* fallthrough */
		case O_NET:
		case O_RECOVER:
		case O_THREADS:
			why = vos_cli_policy_set(&s->policy, opts[opt].name, arg, true, &at);
			if (why)
				return bad_value(opts[opt].name, arg, at, why);
			break;
		case O_SUPERVISOR:
			free(s->supervisor);
			s->supervisor = vos_cli_dup(arg);
			break;
		case O_STATS:
			free(s->stats);
			s->stats = vos_cli_dup(arg);
			break;
		default:
			s->verbose = true;
		}
	}
	return 0;
}

/* Empties FILE now, so that a place that cannot be written to is told before the program has run. */
static int prepare_stats(struct vos_cli_settings *s)
{
	char here[PATH_MAX], *whole;
	int fd = open(s->stats, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0) {
		vos_cli_say("cannot write statistics to %s: %m", s->stats);
		return VOS_EXIT_OURS;
	}
	close(fd);
	if (s->stats[0] == '/')
		return 0;
	if (!getcwd(here, sizeof here)) {
		vos_cli_say("--stats=%s: the working directory has no path: %m; give an absolute path", s->stats);
		return VOS_EXIT_OURS;
	}
	whole = vos_cli_format("%s/%s", here, s->stats);
	free(s->stats);
	s->stats = whole;
	return 0;
}

/* A question to the supervisor after one domain, before the program can trip over it. */
struct probe {
	const char *domain, *root;
	char *what;
	struct vos_msg *m;
	int call; /* the conversation, or why there is none */
};

/* The domain starts, if it does not run yet. */
static void probe_begin(struct probe *p, int session, uint32_t kind)
{
	int r;

	p->m = vos_cli_alloc(sizeof *p->m);
	p->call = vos_cli_call(session);
	if (p->call < 0)
		return;
	vos_msg_init(p->m, VOS_MSG_STATE);
	p->m->kind = kind;
	vos_msg_text(p->m->domain, sizeof p->m->domain, p->domain);
	vos_msg_text(p->m->text, sizeof p->m->text, p->root);
	r = vos_cli_send(p->call, p->m);
	if (r != 0) {
		close(p->call);
		p->call = r;
	}
}

/* Its answer: 0, or the exit code after a line. */
static int probe_end(struct probe *p)
{
	const char *domain = p->domain, *root = p->root, *what = p->what;
	struct vos_msg *m = p->m;
	int r = p->call < 0 ? p->call : vos_cli_answer(p->call, m, NULL, PROBE_MS);

	if (r != 0)
		vos_cli_say("the supervisor cannot be asked after %s: %s; run again with --verbose to see what it says", what,
			    vos_cli_error(r));
	else if (m->status != 0) {
		r = m->status;
		if (m->text[0])
			vos_cli_say("%s", m->text);
		else if (r == -ENOENT)
			vos_cli_say("%s: no such domain '%s'; 'virtuos domain list' shows those of the system", what, domain);
		else if (r == -ENOTDIR)
			vos_cli_say("%s: the domain has no directory %s; make it first", what, root);
		else
			vos_cli_say("%s: the domain '%s' cannot be used: %s", what, domain, strerror(-r));
	}
	return r ? VOS_EXIT_OURS : 0;
}

/* All are asked, then all are heard: the domains start side by side. */
static int probe_all(int session, const struct vos_policy *p)
{
	struct probe probe[1 + VOS_POLICY_STORES];
	uint32_t n = 0;
	int code = 0;

	if (p->net[0]) {
		probe[n] = (struct probe){ .domain = p->net, .root = "", .what = vos_cli_format("net=%s", p->net) };
		probe_begin(&probe[n++], session, VOS_KIND_NET);
	}
	for (uint32_t i = 0; i < p->nstores; i++) {
		const struct vos_policy_store *s = &p->store[i];

		probe[n] = (struct probe){ .domain = s->domain, .root = s->root,
					   .what = vos_cli_format("store=%s=%s:%s", s->prefix, s->domain, s->root) };
		probe_begin(&probe[n++], session, VOS_KIND_STORE);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!code)
			code = probe_end(&probe[i]);
		if (probe[i].call >= 0)
			close(probe[i].call);
		free(probe[i].what);
		free(probe[i].m);
	}
	return code;
}

static void put(const char *name, const char *value)
{
	if (value ? setenv(name, value, 1) : unsetenv(name)) {
		vos_cli_say("out of memory");
		exit(VOS_EXIT_OURS);
	}
}

/* Ours first: it must be in place before another preloaded library makes a call. */
static int preload(const char *library)
{
	const char *others = getenv("LD_PRELOAD");
	char *all;

	if (strpbrk(library, " :")) {
		vos_cli_say("LD_PRELOAD cannot hold the path %s: it has a blank or a colon; move VirtuOS elsewhere", library);
		return VOS_EXIT_OURS;
	}
	all = others && *others ? vos_cli_format("%s:%s", library, others) : vos_cli_dup(library);
	put("LD_PRELOAD", all);
	free(all);
	return 0;
}

/* VOS_ENV_PAD, when the environment needs it. */
static void pad(void)
{
	static const char *const names[] = VOS_ENV_ALL;
	const char *list;
	bool odd = false;

	unsetenv(VOS_ENV_PAD);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		odd ^= getenv(names[i]) != NULL;
	/* Only the library that preload() put there. */
	list = getenv("LD_PRELOAD");
	odd ^= list && !strpbrk(list, ": ");
	put(VOS_ENV_PAD, odd ? "" : NULL);
}

/* The argv that the kernel would make: a script's interpreter and its argument stand before the script. */
static char **whole_argv(const struct vos_cli_program *p, char **argv)
{
	size_t n = 0, before = 0;
	char **v;

	while (argv[n])
		n++;
	while (p->before && p->before[before])
		before++;
	if (before == 0)
		return argv;
	v = vos_cli_alloc((n + before + 1) * sizeof *v);
	memcpy(v, p->before, before * sizeof *v);
	memcpy(v + before, argv + 1, (n - 1) * sizeof *v);
	return v;
}

/* virtuos-enter in the program's place: it maps the program from the descriptor that VIRTUOS_ENTER names. */
static int enter(const struct vos_cli_program *p, char **argv)
{
	char *helper = vos_cli_peer("virtuos-enter"), *word;
	int fd = open(p->elf, O_RDONLY);

	if (!helper)
		return VOS_EXIT_OURS;
	if (fd < 0) {
		vos_cli_say("%s: cannot be read, which a statically linked program must be to run under VirtuOS: %m", p->elf);
		return VOS_EXIT_CANNOT_RUN;
	}
	word = vos_cli_format("%d:%s", fd, p->elf);
	put(VOS_ENV_ENTER, word);
	pad();
	execv(helper, whole_argv(p, argv));
	vos_cli_say("cannot start %s: %m", helper);
	return VOS_EXIT_OURS;
}

/* This program again, with the runtime in it: it sees what the domains hold, and execs from there. */
static int become_inside(char **argv)
{
	const char *only = getenv(VOS_ENV_ONLY);
	size_t n = 0;
	char **v;

	while (argv[n])
		n++;
	v = vos_cli_alloc((n + 4) * sizeof *v);
	v[0] = vos_cli_dup("virtuos");
	v[1] = vos_cli_dup(VOS_CLI_INSIDE);
	/* The one program that is to be interposed is the one that we shall be. */
	v[2] = vos_cli_dup(only && strcmp(only, basename(argv[0])) == 0 ? only : "");
	memcpy(v + 3, argv, n * sizeof *v);
	if (*v[2])
		put(VOS_ENV_ONLY, NULL);
	pad();
	execv("/proc/self/exe", v);
	vos_cli_say("cannot start virtuos again: %m");
	return VOS_EXIT_OURS;
}

static int become(const struct vos_cli_program *p, char **argv)
{
	if (p->kind == VOS_PROGRAM_FAR)
		return become_inside(argv);
	if (p->kind == VOS_PROGRAM_STATIC)
		return enter(p, argv);
	execvp(argv[0], argv); /* with its rule for files without a #! line; p->path is what it finds */
	if (errno == ENOENT && access(p->path, F_OK) == 0)
		vos_cli_say("%s: cannot be run: its interpreter or loader is missing", argv[0]);
	else
		vos_cli_say("%s: cannot be run: %m", argv[0]);
	return VOS_EXIT_CANNOT_RUN;
}

/* What the grammar knows and this version cannot do: not taken as a wish that may be passed over. */
static int not_yet(const struct vos_policy *p)
{
	if (p->recover == VOS_RECOVER_REPLAY)
		vos_cli_say("recover=replay is not there in this version: leave it out, or recover=fail");
	else
		return 0;
	return VOS_EXIT_OURS;
}

static int run(struct vos_cli_settings *s, const struct vos_cli_program *program, char **argv)
{
	char *library = NULL, *text, number[16];
	int session = -1, code;

	if (program->kind == VOS_PROGRAM_PRIVILEGED) {
		vos_cli_say("%s raises its rights when it starts (set-user-ID or capabilities): it runs without VirtuOS",
			    program->elf);
		return become(program, argv);
	}
	if (program->kind != VOS_PROGRAM_STATIC && !(library = vos_cli_peer("libvirtuos.so")))
		return VOS_EXIT_OURS;
	code = not_yet(&s->policy);
	if (code)
		return code;
	if (s->stats && (code = prepare_stats(s)))
		return code;
	if (!vos_cli_policy_empty(&s->policy)) {
		session = s->supervisor ? vos_cli_supervisor_connect(s->supervisor) : vos_cli_supervisor_start(getpid(), s->verbose);
		if (session < 0)
			return VOS_EXIT_OURS;
		code = probe_all(session, &s->policy);
		if (code)
			return code;
	}
	text = vos_cli_policy_text(&s->policy);
	put(VOS_ENV_POLICY, text);
	free(text);
	snprintf(number, sizeof number, "%d", session);
	put(VOS_ENV_SESSION, session >= 0 ? number : NULL);
	put(VOS_ENV_SUPERVISOR, s->supervisor);
	put(VOS_ENV_STATS, s->stats);
	put(VOS_ENV_VERBOSE, s->verbose ? "1" : NULL);
	if (library && (code = preload(library)))
		return code;
	free(library);
	pad();
	return become(program, argv);
}

static int main_run(const struct vos_cli_command *self, int argc, char **argv)
{
	struct vos_cli_settings s = { 0 };
	struct vos_cli_program program;
	struct options o = { 0 };
	int rest, code, missing;

	o.given = vos_cli_alloc((size_t)argc * sizeof *o.given);
	code = vos_cli_options(self, argc, argv, take, &o, &rest);
	if (code)
		return code < 0 ? 0 : code;
	if (rest >= argc) {
		vos_cli_say("run: the program is missing: virtuos run [OPTION]... -- PROGRAM [ARGUMENT]...");
		return VOS_EXIT_OURS;
	}
	missing = vos_cli_program_find(argv[rest], &program);
	code = settle(&s, &o, argv[rest], program.path);
	if (code == 0 && vos_cli_program_far(&s.policy, argv[rest], missing, &program)) {
		program.kind = VOS_PROGRAM_FAR;
		missing = 0;
	}
	if (code == 0 && missing) {
		vos_cli_say("%s", program.why);
		code = missing;
	}
	if (code == 0)
		code = run(&s, &program, argv + rest);
	vos_cli_program_finish(&program);
	vos_cli_settings_finish(&s);
	free(o.given);
	return code;
}

int vos_cli_inside(char **argv)
{
	struct vos_cli_program program;
	const char *only = *argv++;
	int code;

	if (*only)
		put(VOS_ENV_ONLY, only);
	code = vos_cli_program_find(argv[0], &program);
	/* exec of the runtime that serves this image sees to statically linked programs. */
	program.kind = VOS_PROGRAM_DYNAMIC;
	if (code)
		vos_cli_say("%s", program.why);
	else
		code = become(&program, argv);
	vos_cli_program_finish(&program);
	return code;
}

const struct vos_cli_command vos_cmd_run = {
	.name = "run",
	.args = "[--] PROGRAM [ARGUMENT]...",
	.summary = "Runs a program with its storage and network calls served by domains",
	.text = "The options win over VIRTUOS in the environment, and that over virtuos.conf.  Without a domain nothing is\n"
		"routed, but the program's calls are still seen and counted.\n\n"
		"Exit status: the program's own; 125 when virtuos itself failed, 126 when the program cannot be run,\n"
		"127 when it is not found.\n\n"
		"  virtuos run --net=local --store=/srv/data=local:/tmp/data -- redis-server --dir /srv/data\n",
	.opts = opts,
	.stops = true,
	.usage_exit = VOS_EXIT_OURS,
	.main = main_run,
};
