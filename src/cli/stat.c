/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtuos stat: sums what the processes of a program wrote under --stats (env.h describes the lines) and shows it.
 * Whatever number stands in the files is summed by its place, so new counters need no change here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include "cli.h"

enum { O_JSON, O_CALLS };
static const struct vos_cli_opt opts[] = {
	[O_JSON] = { "json", NULL, "print the sums as one JSON object" },
	[O_CALLS] = { "calls", NULL, "a line for each call as well" },
	{ NULL, NULL, NULL }
};

struct options {
	bool json, calls;
};

static int take(void *user, int opt, const char *arg)
{
	struct options *o = user;

	(void)arg;
	*(opt == O_JSON ? &o->json : &o->calls) = true;
	return 0;
}

/* A tree of names; leaves carry a sum. */
struct node {
	char *name;
	struct node *child, *next;
	unsigned long long sum;
	bool leaf;
};

static struct node *at(struct node *parent, const char *name, size_t len)
{
	struct node **n = &parent->child;

	while (*n && !(strlen((*n)->name) == len && memcmp((*n)->name, name, len) == 0))
		n = &(*n)->next;
	if (!*n) {
		*n = vos_cli_alloc(sizeof **n);
		(*n)->name = vos_cli_format("%.*s", (int)len, name);
	}
	return *n;
}

static struct node *find(struct node *parent, const char *name)
{
	struct node *n = parent ? parent->child : NULL;

	while (n && strcmp(n->name, name) != 0)
		n = n->next;
	return n;
}

static void drop(struct node *n)
{
	while (n) {
		struct node *next = n->next;

		drop(n->child);
		free(n->name);
		free(n);
		n = next;
	}
}

/* ---- reading JSON ------------------------------------------------------------------------------------------------- */

#define DEPTH_MAX 16

static const char *blank(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* The closing quote of the string that begins at p, or NULL. */
static const char *string_end(const char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && p[1])
			p++;
	return *p ? p : NULL;
}

/* One value at p, its numbers added at `into`.  Where it ends, or NULL when it is no JSON. */
static const char *value(const char *p, struct node *into, int depth)
{
	char close, *end;
	unsigned i = 0;

	p = blank(p);
	if (depth > DEPTH_MAX)
		return NULL;
	if (*p == '"') {
		p = string_end(p);
		return p ? p + 1 : NULL;
	}
	if (*p != '{' && *p != '[') {
		size_t len = strspn(p, "-+.eE0123456789");

		if (len > 0) {
			/* Counters are whole; a fraction or a negative number would be no counter and is left out. */
			if (len == strspn(p, "0123456789")) {
				into->leaf = true;
				into->sum += strtoull(p, &end, 10);
			}
			return p + len;
		}
		for (size_t k = 0; k < 3; k++) {
			static const char *const words[] = { "true", "false", "null" };

			if (strncmp(p, words[k], strlen(words[k])) == 0)
				return p + strlen(words[k]);
		}
		return NULL;
	}
	close = *p == '{' ? '}' : ']';
	p = blank(p + 1);
	if (*p == close)
		return p + 1;
	for (;;) {
		struct node *n;

		if (close == '}') {
			const char *name_end;

			if (*p != '"' || !(name_end = string_end(p)))
				return NULL;
			n = at(into, p + 1, (size_t)(name_end - p - 1));
			p = blank(name_end + 1);
			if (*p++ != ':')
				return NULL;
		} else {
			char index[16];

			n = at(into, index, (size_t)snprintf(index, sizeof index, "%u", i++));
		}
		p = value(p, n, depth + 1);
		if (!p)
			return NULL;
		p = blank(p);
		if (*p == close)
			return p + 1;
		if (*p != ',')
			return NULL;
		p = blank(p + 1);
	}
}

/* The whole of a file, NUL-ended; NULL after a line on stderr. */
static char *slurp(const char *file)
{
	FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	size_t room = 65536, len = 0, n;
	char *text;
	int error;

	if (!f) {
		vos_cli_say("cannot read %s: %m", file);
		return NULL;
	}
	/* A process may be adding its counts just now. */
	flock(fileno(f), LOCK_SH);
	text = vos_cli_alloc(room);
	while ((n = fread(text + len, 1, room - 1 - len, f)) > 0) {
		len += n;
		if (len + 1 == room) {
			char *more = vos_cli_alloc(room *= 2);

			memcpy(more, text, len);
			free(text);
			text = more;
		}
	}
	text[len] = '\0';
	error = ferror(f);
	if (error)
		vos_cli_say("cannot read %s: %m", file);
	if (f != stdin)
		fclose(f);
	if (!error)
		return text;
	free(text);
	return NULL;
}

/* An array of objects, one for each program image, all summed into the same tree. */
static int read_file(const char *file, struct node *sums, unsigned long *images)
{
	char *text = slurp(file);
	const char *p;
	bool array;
	int code = 0;

	if (!text)
		return VOS_EXIT_FAILED;
	p = blank(text);
	array = *p == '[';
	if (array)
		p = blank(p + 1);
	while (p && *p == '{') {
		p = value(p, sums, 0);
		++*images;
		p = p ? blank(p) : NULL;
		if (p && *p == ',')
			p = blank(p + 1);
	}
	if (p && array)
		p = *p == ']' ? blank(p + 1) : NULL;
	if (!p || *p) {
		vos_cli_say("%s: not a file that 'virtuos run --stats' wrote", file);
		code = VOS_EXIT_FAILED;
	}
	free(text);
	return code;
}

/* ---- showing ------------------------------------------------------------------------------------------------------ */

static void print_json(const struct node *n, int depth)
{
	bool first = true;

	if (!n->child) {
		printf("%llu", n->sum);
		return;
	}
	fputs("{", stdout);
	for (const struct node *c = n->child; c; c = c->next) {
		/* Names come as they stood between their quotes: escaped already. */
		if (!c->leaf && !c->child)
			continue;
		printf("%s\n%*s\"%s\": ", first ? "" : ",", 2 * depth + 2, "", c->name);
		print_json(c, depth + 1);
		first = false;
	}
	if (!first)
		printf("\n%*s", 2 * depth, "");
	fputs("}", stdout);
}

static unsigned long long number(struct node *parent, const char *name)
{
	struct node *n = find(parent, name);

	return n ? n->sum : 0;
}

struct call {
	const char *name;
	unsigned long long native, runtime, remote;
};

static int by_count(const void *a, const void *b)
{
	const struct call *x = a, *y = b;
	unsigned long long m = x->native + x->runtime + x->remote, n = y->native + y->runtime + y->remote;

	return m < n ? 1 : m > n ? -1 : strcmp(x->name, y->name);
}

static void print_calls(struct node *sums, bool each)
{
	struct node *calls = find(sums, "calls");
	struct call all = { .name = "all calls" }, *c;
	size_t n = 0, k = 0;

	for (struct node *i = calls ? calls->child : NULL; i; i = i->next)
		n++;
	c = vos_cli_alloc((n + 1) * sizeof *c);
	for (struct node *i = calls ? calls->child : NULL; i; i = i->next, k++) {
		c[k].name = i->name;
		all.native += c[k].native = number(i, "native");
		all.runtime += c[k].runtime = number(i, "runtime");
		all.remote += c[k].remote = number(i, "remote");
	}
	qsort(c, n, sizeof *c, by_count);
	printf("%-24s %14s %14s %14s\n", "", "native", "runtime", "remote");
	for (k = 0; each && k < n; k++)
		printf("%-24s %14llu %14llu %14llu\n", c[k].name, c[k].native, c[k].runtime, c[k].remote);
	printf("%-24s %14llu %14llu %14llu\n", all.name, all.native, all.runtime, all.remote);
	/* What the program did not ask this kernel for; and what the runtime asked for instead, while it waited or rang. */
	printf("%-24s %14llu\n", "traps avoided", all.runtime + all.remote);
	printf("%-24s %14llu\n", "traps of the runtime", number(sums, "doorbells") + number(sums, "sleeps") + number(sums, "yields"));
	free(c);
}

static void print_rest(const struct node *sums)
{
	for (const struct node *n = sums->child; n; n = n->next) {
		if (n->leaf && strcmp(n->name, "pid") != 0)
			printf("%-24s %14llu\n", n->name, n->sum);
	}
}

static void print_sites(struct node *sums)
{
	struct node *sites = find(sums, "sites");

	for (struct node *o = sites ? sites->child : NULL; o; o = o->next) {
		printf("sites of %s:", o->name);
		for (struct node *kind = o->child; kind; kind = kind->next)
			if (kind->sum)
				printf(" %s %llu", kind->name, kind->sum);
		putchar('\n');
	}
}

static int main_stat(const struct vos_cli_command *self, int argc, char **argv)
{
	struct options o = { 0 };
	struct node sums = { 0 };
	unsigned long images = 0;
	int rest, code = vos_cli_options(self, argc, argv, take, &o, &rest);

	if (code)
		return code < 0 ? 0 : code;
	if (rest == argc) {
		vos_cli_say("stat: say which file: virtuos run --stats=FILE writes one");
		return VOS_EXIT_USAGE;
	}
	for (; code == 0 && rest < argc; rest++)
		code = read_file(argv[rest], &sums, &images);
	if (code == 0 && images == 0) {
		vos_cli_say("no process has written its counts yet");
		code = VOS_EXIT_FAILED;
	}
	if (code == 0 && o.json) {
		struct node *pid = find(&sums, "pid");

		if (pid)
			pid->leaf = false; /* a sum of those says nothing */
		at(&sums, "images", strlen("images"))->leaf = true;
		at(&sums, "images", strlen("images"))->sum = images;
		print_json(&sums, 0);
		putchar('\n');
	} else if (code == 0) {
		printf("%-24s %14lu\n", "images", images);
		print_calls(&sums, o.calls);
		print_rest(&sums);
		print_sites(&sums);
	}
	drop(sums.child);
	return code;
}

const struct vos_cli_command vos_cmd_stat = {
	.name = "stat",
	.args = "FILE...",
	.summary = "Sums and shows what 'virtuos run --stats=FILE' wrote",
	.text = "A process writes its counts as it ends; one that is killed writes none.  FILE may be - for standard input.\n\n"
		"Exit status: 0; 1 when a file cannot be read or is no such file; 2 for a mistake in the options.\n",
	.opts = opts,
	.usage_exit = VOS_EXIT_USAGE,
	.main = main_stat,
};
