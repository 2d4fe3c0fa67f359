/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options from a command's table, and the help that is made from the same table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"

void vos_cli_help(const struct vos_cli_command *self)
{
	printf("Usage: virtuos %s [OPTION]... %s\n%s.\n\n", self->name, self->args, self->summary);
	for (const struct vos_cli_opt *o = self->opts; o && o->name; o++) {
		char left[64];

		snprintf(left, sizeof left, "--%s%s%s", o->name, o->arg ? "=" : "", o->arg ? o->arg : "");
		printf("  %-28s %s\n", left, o->help);
	}
	printf("  %-28s %s\n  %-28s %s\n", "--help", "this text", "--version", "the version");
	if (self->text)
		printf("\n%s", self->text);
}

int vos_cli_options(const struct vos_cli_command *self, int argc, char **argv,
		    int (*take)(void *user, int opt, const char *arg), void *user, int *ret_rest)
{
	int rest; /* where the options end */
	char **kept = vos_cli_alloc(((size_t)argc + 1) * sizeof *kept);
	int nkept = 0, i, code = 0;

	for (i = 1; i < argc; i++) {
		const char *a = argv[i], *name, *value;
		size_t len;
		int k;

		if (strcmp(a, "--") == 0) {
			i++;
			break;
		}
		if (a[0] != '-' || a[1] == '\0') {
			if (self->stops)
				break;
			kept[nkept++] = argv[i];
			continue;
		}
		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
			vos_cli_help(self);
			code = -1;
			goto out;
		}
		if (strcmp(a, "--version") == 0) {
			puts("virtuos " VOS_VERSION_STRING);
			code = -1;
			goto out;
		}
		name = strncmp(a, "--", 2) == 0 ? a + 2 : "";
		value = strchr(name, '=');
		len = value ? (size_t)(value - name) : strlen(name);
		value = value ? value + 1 : NULL;
		for (k = 0; self->opts && self->opts[k].name; k++)
			if (len > 0 && strlen(self->opts[k].name) == len && strncmp(self->opts[k].name, name, len) == 0)
				break;
		if (!self->opts || !self->opts[k].name) {
			vos_cli_say("%s has no option '%.*s'; see 'virtuos %s --help'", self->name,
				    (int)(len ? len + 2 : strlen(a)), a, self->name);
			code = self->usage_exit;
			goto out;
		}
		if (!self->opts[k].arg && value) {
			vos_cli_say("option '--%s' takes no argument", self->opts[k].name);
			code = self->usage_exit;
			goto out;
		}
		if (self->opts[k].arg && !value) {
			if (i + 1 >= argc || strcmp(argv[i + 1], "--") == 0) {
				vos_cli_say("option '--%s' needs an argument: --%s=%s", self->opts[k].name,
					    self->opts[k].name, self->opts[k].arg);
				code = self->usage_exit;
			goto out;
			}
			value = argv[++i];
		}
		code = take(user, k, value);
		if (code)
			goto out;
	}
	/* The program of `run` and what follows `--` stay where they are; arguments among options are moved before them. */
	rest = i - nkept;
	memcpy(argv + rest, kept, (size_t)nkept * sizeof kept[0]);
	*ret_rest = rest;
out:
	free(kept);
	return code;
}
