/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtuos.conf.  libinih reads the lines; this file knows the keys.  libinih reports neither the column nor, as Debian
 * builds it, the line, and cuts section names at 50 bytes: so the reader below keeps the line that is being parsed.
 */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"

#define LINE_MAX_BYTES 8192

/* A key read; the global section and the sections of the program are applied in this order once the file is read. */
struct reader {
	struct vos_cli_settings *s;
	const char *file, *program, *path;
	FILE *in;
	char  line[LINE_MAX_BYTES];
	int   number;
	bool  failed;
	bool  applies;   /* the present section concerns the program */
	bool  app;       /* it is an [app …] section */
	bool  want_app;  /* this pass takes the [app …] sections, else the global one */
};

static int fail(struct reader *r, size_t column, const char *format, const char *detail)
{
	char *why;

	if (r->failed)
		return 0;
	r->failed = true;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	why = vos_cli_format(format, detail);
#pragma GCC diagnostic pop
	vos_cli_say("%s:%d:%zu: %s", r->file, r->number, column + 1, why);
	free(why);
	return 0;
}

/* Offset in the line of the first byte that is not blank, from `at` on. */
static size_t skip(const char *line, size_t at)
{
	return at + strspn(line + at, " \t\r\n");
}

static bool same_file(const char *a, const char *b)
{
	char *ra = realpath(a, NULL), *rb = realpath(b, NULL);
	bool same = ra && rb && strcmp(ra, rb) == 0;

	free(ra);
	free(rb);
	return same;
}

/* "[app NAME]": NAME is a last component, or an absolute path. */
static void section(struct reader *r)
{
	size_t at = skip(r->line, 0) + 1, end;
	char name[LINE_MAX_BYTES];
	const char *last;
	char quote = 0;

	r->applies = r->app = false;
	at = skip(r->line, at);
	end = at + strcspn(r->line + at, "]");
	if (r->line[end] != ']') {
		fail(r, at - 1, "the section's ']' is missing", NULL);
		return;
	}
	while (end > at && strchr(" \t", r->line[end - 1]))
		end--;
	if (end - at == 6 && strncmp(r->line + at, "global", 6) == 0) {
		r->applies = true;
		return;
	}
	if (strncmp(r->line + at, "app", 3) != 0 || !strchr(" \t\"", r->line[at + 3])) {
		fail(r, at, "no such section; there are [global] and [app NAME]", NULL);
		return;
	}
	at = skip(r->line, at + 3);
	if (r->line[at] == '"') {
		quote = '"';
		at++;
		if (end <= at || r->line[end - 1] != '"') {
			fail(r, at - 1, "the closing '%s' is missing", "\"");
			return;
		}
		end--;
	}
	if (end <= at) {
		fail(r, at - (quote != 0), "the program's name is missing: [app NAME]", NULL);
		return;
	}
	memcpy(name, r->line + at, end - at); /* the line is as long as name, and has a bracket too */
	name[end - at] = '\0';
	r->app = true;
	if (strchr(name, '/')) {
		if (name[0] != '/') {
			fail(r, at, "a program is named by its last component or by an absolute path", NULL);
			return;
		}
		/* As written, too: it may lie in a domain. */
		r->applies = r->path && (strcmp(name, r->path) == 0 || same_file(name, r->path));
		return;
	}
	last = r->program ? strrchr(r->program, '/') : NULL;
	last = last ? last + 1 : r->program;
	r->applies = last && strcmp(name, last) == 0;
}

/* fgets for libinih. */
static char *next_line(char *buf, int size, void *user)
{
	struct reader *r = user;
	size_t n, at;

	if (r->failed || !fgets(buf, size, r->in))
		return NULL;
	r->number++;
	n = strlen(buf);
	if (n >= sizeof r->line || (n + 1 == (size_t)size && buf[n - 1] != '\n')) {
		r->line[0] = '\0';
		fail(r, n, "the line is too long", NULL);
		return NULL;
	}
	memcpy(r->line, buf, n + 1);
	at = skip(r->line, 0);
	if (r->number == 1 && strncmp(r->line, "\xef\xbb\xbf", 3) == 0)
		at = skip(r->line, 3);
	if (r->line[at] == '[')
		section(r);
	else if (r->line[at] && !strchr(";#", r->line[at]) && !strchr(r->line + at, '=') && at == 0)
		/* libinih would take "key: value" too; one way of writing is enough, and domains have colons. */
		fail(r, at, "not 'key = value'", NULL);
	return buf;
}

static int flag(struct reader *r, size_t at, const char *value, bool *ret)
{
	if (strcmp(value, "yes") == 0)
		*ret = true;
	else if (strcmp(value, "no") == 0)
		*ret = false;
	else
		return fail(r, at, "write yes or no, not '%s'", value);
	return 1;
}

static void replace(char **to, const char *value)
{
	free(*to);
	*to = *value ? vos_cli_dup(value) : NULL;
}

static int key(void *user, const char *sect, const char *name, const char *value)
{
	struct reader *r = user;
	struct vos_cli_settings *s = r->s;
	const char *eq = strchr(r->line, '=');
	size_t name_at = skip(r->line, 0), at = eq ? skip(r->line, (size_t)(eq - r->line) + 1) : name_at, more = 0;
	struct vos_policy scrap = { 0 };
	bool b, use = r->applies && r->app == r->want_app;

	(void)sect; /* cut at 50 bytes; section() has read it whole */
	if (r->failed)
		return 0;
	/* A continuation line: the value stands by itself. */
	if (name_at > 0 && (!eq || strncmp(r->line + name_at, name, strlen(name)) != 0))
		at = name_at;
	if (strcmp(name, "net") == 0 || strcmp(name, "store") == 0 || strcmp(name, "recover") == 0 || strcmp(name, "threads") == 0) {
		/* Sections of other programs are checked as well: a mistake shows at once, not when that program runs. */
		char *wrong = vos_cli_policy_set(use ? &s->policy : &scrap, name, value, false, &more);

		if (wrong)
			fail(r, at + more, "%s", wrong);
		free(wrong);
		return !r->failed;
	}
	if (strcmp(name, "supervisor") == 0 || strcmp(name, "stats") == 0) {
		if (value[0] != '/' && !(name[1] == 'u' && (value[0] == '@' || strcmp(value, "system") == 0)))
			return fail(r, at, name[1] == 'u' ? "'%s' is neither an absolute path nor 'system'" :
				    "'%s' is not an absolute path", value);
		if (use)
			replace(name[1] == 'u' ? &s->supervisor : &s->stats, value);
		return 1;
	}
	if (strcmp(name, "verbose") == 0) {
		if (!flag(r, at, value, &b))
			return 0;
		if (use)
			s->verbose = b;
		return 1;
	}
	return fail(r, name_at, "no such key '%s'; there are net, store, recover, threads, supervisor, stats, verbose", name);
}

static int pass(struct vos_cli_settings *s, const char *file, const char *program, const char *path, bool want_app)
{
	struct reader *r = vos_cli_alloc(sizeof *r);
	int rc, result = -1;

	r->s = s;
	r->file = file;
	r->program = program;
	r->path = path;
	r->want_app = want_app;
	r->applies = true;
	r->in = fopen(file, "re");
	if (!r->in) {
		vos_cli_say("cannot read %s: %m", file);
		goto out;
	}
	ini_use_stack = false;
	ini_max_line = LINE_MAX_BYTES;
	ini_initial_alloc = LINE_MAX_BYTES;
	ini_allow_realloc = true;
	ini_stop_on_first_error = true;
	rc = ini_parse_stream(next_line, r, key, r);
	if (rc == -2)
		vos_cli_say("out of memory reading %s", file);
	else if (ferror(r->in))
		vos_cli_say("cannot read %s: %m", file);
	else if (rc > 0 && !r->failed) {
		r->number = rc;
		fail(r, skip(r->line, 0), "not 'key = value'", NULL);
	} else if (!r->failed)
		result = 0;
out:
	if (r->in)
		fclose(r->in);
	free(r);
	return result;
}

int vos_cli_config_read(struct vos_cli_settings *s, const char *file, const char *program, const char *path)
{
	/* Twice, so that [app …] wins over [global] wherever they stand. */
	if (pass(s, file, program, path, false) != 0)
		return -1;
	return pass(s, file, program, path, true);
}

int vos_cli_config_default(struct vos_cli_settings *s, const char *program, const char *path)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *own = NULL;
	int r = 0;

	if (access(VOS_CLI_SYSTEM_CONFIG, F_OK) == 0)
		r = vos_cli_config_read(s, VOS_CLI_SYSTEM_CONFIG, program, path);
	if (xdg && xdg[0] == '/')
		own = vos_cli_format("%s/" VOS_CLI_OWN_CONFIG, xdg);
	else if (home && home[0] == '/')
		own = vos_cli_format("%s/.config/" VOS_CLI_OWN_CONFIG, home);
	if (r == 0 && own && access(own, F_OK) == 0)
		r = vos_cli_config_read(s, own, program, path);
	free(own);
	return r;
}

void vos_cli_settings_finish(struct vos_cli_settings *s)
{
	free(s->supervisor);
	free(s->stats);
}
