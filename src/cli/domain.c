/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtuos domain: what the supervisors have, and orders to them (VOS_MSG_CONTROL). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <virtuos/env.h>
#include <transport/message.h>
#include "cli.h"

#define CONTROL_MS 10000
/* A domain that boots may take a while; a local one comes back within a second. */
#define DONE_MS 120000
#define SESSIONS_MAX 256

enum { O_JSON, O_SESSION, O_SUPERVISOR };
static const struct vos_cli_opt opts[] = {
	[O_JSON] = { "json", NULL, "list: print JSON" },
	[O_SESSION] = { "session", "PID", "the private supervisor of process PID, or of the parent that started it under VirtuOS" },
	[O_SUPERVISOR] = { "supervisor", "SOCKET", "the supervisor there (system: the system's)" },
	{ NULL, NULL, NULL }
};

struct options {
	bool json;
	const char *session, *supervisor;
};

/* A supervisor that answers: the system's has pid 0. */
struct session {
	unsigned pid;
	int fd;
};

static int take(void *user, int opt, const char *arg)
{
	struct options *o = user;
	char *end;

	switch (opt) {
	case O_JSON:
		o->json = true;
		return 0;
	case O_SESSION:
		if (strtoul(arg, &end, 10) == 0 || *end) {
			vos_cli_say("--session=%s: not the number of a process", arg);
			return VOS_EXIT_USAGE;
		}
		o->session = arg;
		return 0;
	default:
		o->supervisor = arg;
		return 0;
	}
}

/* The parent of a process, or 0. */
static unsigned parent_of(unsigned pid)
{
	char path[64], line[1024], *end;
	unsigned parent = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* The name in parentheses may hold anything; the last ')' ends it. */
	if (fgets(line, sizeof line, f) && (end = strrchr(line, ')')) && sscanf(end + 1, " %*c %u", &parent) != 1)
		parent = 0;
	fclose(f);
	return parent;
}

/* The sessions of this user (root: of all), from the abstract names that are bound here. */
static size_t find_sessions(struct session *s, size_t max)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];
	size_t n = 0;

	while (f && n < max && fgets(line, sizeof line, f)) {
		const char *name = strchr(line, '@');
		bool known = false;
		unsigned long space;
		unsigned pid;

		if (!name || sscanf(name + 1, VOS_SESSION_ABSTRACT, &space, &pid) != 2 || space != vos_cli_pid_namespace())
			continue;
		for (size_t i = 0; i < n; i++)
			known |= s[i].pid == pid;
		if (known)
			continue;
		s[n].pid = pid;
		s[n].fd = vos_cli_supervisor_of((pid_t)pid);
		if (s[n].fd >= 0)
			n++;
	}
	if (f)
		fclose(f);
	return n;
}

/*
 * Who is meant: the one that an option names, else the system's and all private ones of this user.  Number found, or -1
 * after a line on stderr.
 */
static int find(const struct options *o, struct session *s, size_t max)
{
	const char *named = o->supervisor ? o->supervisor : getenv(VOS_ENV_SUPERVISOR);
	size_t n = 0;

	if (o->session) {
		unsigned asked = (unsigned)strtoul(o->session, NULL, 10);

		for (unsigned pid = asked; pid > 1; pid = parent_of(pid)) {
			int fd = vos_cli_supervisor_of((pid_t)pid);

			if (fd >= 0) {
				s[0].pid = pid;
				s[0].fd = fd;
				return 1;
			}
			if (fd == -EPERM) {
				vos_cli_say("the supervisor of process %u belongs to another user", pid);
				return -1;
			}
		}
		vos_cli_say("process %u has no private supervisor; 'virtuos domain list' shows those there are", asked);
		return -1;
	}
	if (named && *named) {
		s[0].pid = 0;
		s[0].fd = vos_cli_supervisor_connect(named);
		return s[0].fd < 0 ? -1 : 1;
	}
	if (access(VOS_SUPERVISOR_SOCKET, F_OK) == 0) {
		s[n].pid = 0;
		s[n].fd = vos_cli_supervisor_connect("system");
		if (s[n].fd >= 0)
			n++;
	}
	return (int)(n + find_sessions(s + n, max - n));
}

#define ORDER_FAILED (-1)
#define ORDER_GONE   (-2) /* a supervisor that is ending: nothing has been said */

/* Sends a command.  The pipe with its output, or one of the above, after a line on stderr. */
static int order(const struct session *s, const char *command)
{
	struct vos_msg *m = vos_cli_alloc(sizeof *m);
	int call = vos_cli_call(s->fd), pipe_fd = -1, r = call;

	if (call >= 0) {
		vos_msg_init(m, VOS_MSG_CONTROL);
		vos_msg_text(m->text, sizeof m->text, command);
		r = vos_cli_ask(call, m, &pipe_fd, CONTROL_MS);
		close(call);
	}
	if (r == -EPIPE || r == -ECONNRESET) {
		free(m);
		return ORDER_GONE;
	}
	if (r != 0)
		vos_cli_say("the supervisor cannot be asked: %s", vos_cli_error(r));
	else if (m->status != 0)
		vos_cli_say("%s: %s", command, m->text[0] ? m->text : strerror(-m->status));
	else if (pipe_fd < 0)
		vos_cli_say("the supervisor's answer to '%s' carries no output", command);
	else {
		free(m);
		return pipe_fd;
	}
	if (pipe_fd >= 0)
		close(pipe_fd);
	free(m);
	return ORDER_FAILED;
}

/* All that comes over the pipe, or NULL when it does not end in time. */
static char *drain(int fd)
{
	uint64_t deadline = vos_msg_deadline(DONE_MS);
	char *text = vos_cli_alloc(4096);
	size_t len = 0, room = 4096;

	for (;;) {
		uint64_t now = vos_msg_deadline(0);
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int left = now < deadline ? (int)((deadline - now) / 1000000) : 0;
		ssize_t n;

		if (poll(&p, 1, left) == 0) {
			free(text);
			return NULL;
		}
		if (len + 1 == room) {
			char *more = vos_cli_alloc(2 * room);

			memcpy(more, text, len);
			free(text);
			text = more;
			room *= 2;
		}
		n = read(fd, text + len, room - 1 - len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return text;
		len += (size_t)n;
		text[len] = '\0';
	}
}

struct row {
	char name[VOS_DOMAIN_NAME_MAX + VOS_PATH_MAX + 8], kind[16], state[16];
	unsigned long long epoch, pid, proxies, restarts, uptime;
};

/* A blank in a name comes as \\040, in place. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		bool blank = strncmp(s, "\\040", 4) == 0;

		*to++ = blank ? ' ' : *s;
		s += blank ? 4 : 1;
	}
	*to = '\0';
}

static void print_row(const struct session *s, const struct row *r, bool json, bool first)
{
	char pid[24];

	snprintf(pid, sizeof pid, "%u", s->pid);
	if (json) {
		char *name = vos_cli_json(r->name);

		printf("%s  {\"session\": %s, \"name\": %s, \"kind\": \"%s\", \"state\": \"%s\", \"epoch\": %llu, \"pid\": %llu, "
		       "\"proxies\": %llu, \"restarts\": %llu, \"uptime\": %llu}", first ? "" : ",\n", s->pid ? pid : "null", name, r->kind,
		       r->state, r->epoch, r->pid, r->proxies, r->restarts, r->uptime);
		free(name);
	} else {
		if (first)
			printf("%-8s %-6s %-9s %5s %8s %7s %8s %8s  %s\n", "SESSION", "KIND", "STATE", "EPOCH", "PID", "PROXIES",
			       "RESTARTS", "UPTIME", "NAME");
		printf("%-8s %-6s %-9s %5llu %8llu %7llu %8llu %7llus  %s\n", s->pid ? pid : "system", r->kind, r->state, r->epoch,
		       r->pid, r->proxies, r->restarts, r->uptime, r->name);
	}
}

static int list(struct session *s, int n, bool json, bool named)
{
	bool first = true;
	int code = 0;

	if (json)
		puts("[");
	for (int i = 0; i < n; i++) {
		int fd = order(&s[i], "list");
		char *text = fd >= 0 ? drain(fd) : NULL;

		if (fd >= 0)
			close(fd);
		/* Sessions end at any time; only of the one that was asked for it is said. */
		if (fd == ORDER_GONE && named)
			vos_cli_say("the supervisor cannot be asked: %s", vos_cli_error(-EPIPE));
		if (!text && (fd != ORDER_GONE || named))
			code = VOS_EXIT_FAILED;
		for (char *line = text, *end; line && *line; line = end) {
			struct row r = { .name = "" };

			end = line + strcspn(line, "\n");
			if (*end)
				*end++ = '\0';
			if (strcspn(line, " ") >= sizeof r.name ||
			    sscanf(line, "%s %15s %15s %llu %llu %llu %llu %llu", r.name, r.kind, r.state, &r.epoch, &r.pid,
				   &r.proxies, &r.restarts, &r.uptime) != 8) {
				vos_cli_say("a line of the supervisor's list is not understood: %s", line);
				code = VOS_EXIT_FAILED;
				continue;
			}
			unescape(r.name);
			print_row(&s[i], &r, json, first);
			first = false;
		}
		free(text);
	}
	if (json)
		printf("%s]\n", first ? "" : "\n");
	else if (first && code == 0)
		vos_cli_say("no domain is running");
	return code;
}

static int command(struct session *s, int n, const char *verb, const char *name)
{
	char *text = vos_cli_format("%s %s", verb, name), *output;
	int fd, code = VOS_EXIT_FAILED;

	if (n == 0)
		vos_cli_say("no supervisor is running; 'virtuos run' starts one for its program; virtuosd(8) is the system's");
	else if (n > 1)
		vos_cli_say("%d supervisors are running; say which: --session=PID or --supervisor=system "
			    "('virtuos domain list' shows them)", n);
	else if ((fd = order(&s[0], text)) == ORDER_GONE)
		vos_cli_say("the supervisor cannot be asked: %s", vos_cli_error(-EPIPE));
	else if (fd >= 0) {
		output = drain(fd);
		close(fd);
		if (output) {
			fputs(output, stdout);
			code = 0;
		} else {
			vos_cli_say("%s: not done after %d seconds; see 'virtuos domain list'", text, DONE_MS / 1000);
		}
		free(output);
	}
	free(text);
	return code;
}

static int main_domain(const struct vos_cli_command *self, int argc, char **argv)
{
	static const char *const verbs[] = { "start", "stop", "restart", "kill" };
	struct session s[SESSIONS_MAX];
	struct options o = { 0 };
	int rest, n, code = vos_cli_options(self, argc, argv, take, &o, &rest);
	bool known = false;

	if (code)
		return code < 0 ? 0 : code;
	argc -= rest;
	argv += rest;
	if (argc == 0) {
		vos_cli_say("domain: say what to do: list, start NAME, stop NAME, restart NAME or kill NAME");
		return VOS_EXIT_USAGE;
	}
	if (strcmp(argv[0], "list") == 0) {
		if (argc > 1) {
			vos_cli_say("domain list takes no argument");
			return VOS_EXIT_USAGE;
		}
		n = find(&o, s, SESSIONS_MAX);
		return n < 0 ? VOS_EXIT_FAILED : list(s, n, o.json, o.session || o.supervisor);
	}
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		known |= strcmp(argv[0], verbs[i]) == 0;
	if (!known) {
		vos_cli_say("domain: '%s' is not list, start, stop, restart or kill", argv[0]);
		return VOS_EXIT_USAGE;
	}
	if (argc != 2) {
		vos_cli_say("domain %s takes one argument, the name of a domain", argv[0]);
		return VOS_EXIT_USAGE;
	}
	n = find(&o, s, SESSIONS_MAX);
	return n < 0 ? VOS_EXIT_FAILED : command(s, n, argv[0], argv[1]);
}

const struct vos_cli_command vos_cmd_domain = {
	.name = "domain",
	.args = "list | start NAME | stop NAME | restart NAME | kill NAME",
	.summary = "Lists domains, and starts, stops, restarts or kills one",
	.text = "Without --session or --supervisor: the system's supervisor and every private one of yours.\n"
		"kill is a failure made by hand: the domain dies at once and its supervisor brings it back.\n\n"
		"Exit status: 0; 1 when it failed; 2 for a mistake in the options.\n",
	.opts = opts,
	.usage_exit = VOS_EXIT_USAGE,
	.main = main_domain,
};
