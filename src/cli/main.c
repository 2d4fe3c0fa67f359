/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program virtuos-cli, which `virtuos` becomes (launch.c): finds the command and calls it. */
#include <stdio.h>
#include <string.h>
#include "cli.h"

static const struct vos_cli_command *const commands[] = { &vos_cmd_run, &vos_cmd_domain, &vos_cmd_stat, &vos_cmd_doctor };
#define NCOMMANDS (sizeof commands / sizeof commands[0])

static void overview(FILE *to)
{
	fputs("Usage: virtuos COMMAND [OPTION]... [ARGUMENT]...\n"
	      "Runs unmodified programs with their storage and network calls served by isolated domains.\n\n", to);
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fputs("  help     tells about a command: virtuos help COMMAND\n\n"
	      "  --help     this text\n"
	      "  --version  the version\n\n"
	      "See virtuos(1), virtuos.conf(5).\n", to);
}

static const struct vos_cli_command *find(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* Output that could not be written is a failure of a command that exists to write it. */
static int finish(int code)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		vos_cli_say("cannot write to standard output: %m");
		return code ? code : VOS_EXIT_FAILED;
	}
	return code;
}

int main(int argc, char **argv)
{
	const struct vos_cli_command *c;

	if (argc < 2) {
		overview(stderr);
		return VOS_EXIT_OURS;
	}
	if (strcmp(argv[1], VOS_CLI_INSIDE) == 0 && argc > 3)
		return vos_cli_inside(argv + 2);
	if (strcmp(argv[1], "--version") == 0) {
		puts("virtuos " VOS_VERSION_STRING);
		return finish(0);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2)) {
		overview(stdout);
		return finish(0);
	}
	if (strcmp(argv[1], "help") == 0) {
		c = find(argv[2]);
		if (!c) {
			vos_cli_say("no command is called '%s'; 'virtuos help' lists them", argv[2]);
			return VOS_EXIT_USAGE;
		}
		vos_cli_help(c);
		return finish(0);
	}
	c = find(argv[1]);
	if (!c) {
		if (strncmp(argv[1], "--", 2) == 0)
			vos_cli_say("options follow the command: 'virtuos run %s ...'; see 'virtuos help'", argv[1]);
		else
			vos_cli_say("no command is called '%s'; to run a program: virtuos run -- %s ...; see 'virtuos help'",
				    argv[1], argv[1]);
		return VOS_EXIT_OURS;
	}
	return finish(c->main(c, argc - 1, argv + 1));
}
