/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the commands of `virtuos` share.  An ordinary C program: libc, one thread.  It uses include/virtuos/ and nothing
 * of the other rooms.
 */
#ifndef VOS_CLI_H
#define VOS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <virtuos/policy.h>
#include <virtuos/msg.h>

/* Exit codes of `run`, as env(1) and timeout(1) have them. */
enum { VOS_EXIT_OURS = 125, VOS_EXIT_CANNOT_RUN = 126, VOS_EXIT_NOT_FOUND = 127 };
/* Exit codes of the other commands. */
enum { VOS_EXIT_FAILED = 1, VOS_EXIT_USAGE = 2 };

/* ---- options ------------------------------------------------------------------------------------------------------ */

struct vos_cli_opt {
	const char *name; /* without the dashes; NULL ends the list */
	const char *arg;  /* what its argument is called; NULL: it takes none */
	const char *help;
};

/*
 * A command.  Its options and its arguments stand here alone: --help prints them, and tests/static compares them with the
 * manual page and the completion.
 */
struct vos_cli_command {
	const char *name;
	const char *args;            /* what follows the options */
	const char *summary;         /* one line, for `virtuos help` */
	const char *text;            /* for `virtuos help COMMAND`, after the summary; may be NULL */
	const struct vos_cli_opt *opts;
	bool stops;                  /* the first argument that is no option ends the options (run) */
	int  usage_exit;             /* exit code of a mistake in the options */
	int (*main)(const struct vos_cli_command *self, int argc, char **argv);
};

/* `virtuos --inside PROGRAM ARGUMENT...`, `run`'s own: execs it in a process of the session.  Returns an exit code after a line. */
#define VOS_CLI_INSIDE "--inside"

/* Configuration files: the system's, and a user's below $XDG_CONFIG_HOME or ~/.config. */
#define VOS_CLI_SYSTEM_CONFIG "/etc/virtuos/virtuos.conf"
#define VOS_CLI_OWN_CONFIG    "virtuos/virtuos.conf"
int vos_cli_inside(char **argv);

extern const struct vos_cli_command vos_cmd_run, vos_cmd_domain, vos_cmd_stat, vos_cmd_doctor;

/*
 * Walks argv[1..].  `take` is called for each option, in order, with the index into self->opts and its argument; it
 * returns 0, or an exit code after having said why.  *ret_rest is the index of the first argument that is not an
 * option; when the command does not stop at it, arguments are moved behind the options.
 * 0, or an exit code that main() returns; -1 when --help was asked for and printed.
 */
int vos_cli_options(const struct vos_cli_command *self, int argc, char **argv,
		    int (*take)(void *user, int opt, const char *arg), void *user, int *ret_rest);
void vos_cli_help(const struct vos_cli_command *self);

/* ---- messages ----------------------------------------------------------------------------------------------------- */

/* One line on stderr, "virtuos: …". */
void vos_cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* As strerror(), in the words that fit here. */
const char *vos_cli_error(int negative_errno);
/* Never NULL: ends the program with a line and 125 when memory is out. */
void *vos_cli_alloc(size_t n);
char *vos_cli_dup(const char *s);
char *vos_cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* s as a JSON string, with its quotes.  To be freed. */
char *vos_cli_json(const char *s);

/*
 * The path of a program or library of ours: beside this program's own file (the build folder), else in the installed
 * place.  To be freed; NULL after a line on stderr.
 */
char *vos_cli_peer(const char *name);

/* ---- policy ------------------------------------------------------------------------------------------------------- */

/*
 * Sets one key of the policy (net, store, recover, threads) to `value`, which is written as in VIRTUOS; `raw`: as the shell
 * passed it, any byte standing for itself.  net=none is native; a store replaces an earlier one of the same prefix.
 * NULL, or what is wrong (to be freed), and *ret_at is the offset of the mistake in `value`.
 */
char *vos_cli_policy_set(struct vos_policy *p, const char *key, const char *value, bool raw, size_t *ret_at);
/* Lays the whole text of VIRTUOS over *p.  Likewise. */
char *vos_cli_policy_lay(struct vos_policy *p, const char *text, size_t *ret_at);
/* The text for VIRTUOS.  To be freed. */
char *vos_cli_policy_text(const struct vos_policy *p);
static inline bool vos_cli_policy_empty(const struct vos_policy *p)
{
	return p->net[0] == '\0' && p->nstores == 0;
}

/* ---- settings ----------------------------------------------------------------------------------------------------- */

/* All that `run` may be told, from the files and the options. */
struct vos_cli_settings {
	struct vos_policy policy;
	char *supervisor;             /* NULL: a private one */
	char *stats;
	bool  verbose;
};

/*
 * Reads the sections of `file` that concern `program` (as typed) whose file is `path` (may be NULL) into *s.
 * 0, or -1 after a line on stderr with file, line and column.
 */
int vos_cli_config_read(struct vos_cli_settings *s, const char *file, const char *program, const char *path);
/* The files that exist without being named; calls the above for each.  Same result. */
int vos_cli_config_default(struct vos_cli_settings *s, const char *program, const char *path);
void vos_cli_settings_finish(struct vos_cli_settings *s);

/* ---- supervisor --------------------------------------------------------------------------------------------------- */

/*
 * Starts a private supervisor for process `pid` (the caller, as a rule).  Returns the session descriptor (close-on-exec
 * unset, at a high number), or -1 after a line on stderr.
 */
int vos_cli_supervisor_start(pid_t pid, bool verbose);
/* Connects to one that listens at `address`: a path, '@' and an abstract name, or "system".  Likewise. */
int vos_cli_supervisor_connect(const char *address);
/* Connects to the private supervisor of process `pid`.  Descriptor, or a negative errno, and nothing is said. */
int vos_cli_supervisor_of(pid_t pid);
/* What its address begins with, beside the number of the process. */
unsigned long vos_cli_pid_namespace(void);

/*
 * Begins a conversation: the caller's end of a pair whose other end went over `session`.  Negative errno.
 */
int vos_cli_call(int session);
/*
 * Sends *msg on a conversation and awaits the answer in its place, at most `ms` milliseconds: of the same type, or
 * VOS_MSG_STATUS.  With it may come one descriptor (*ret_fd, else -1; NULL when none is expected).  0, or a negative errno
 * of the way; msg->status is the supervisor's own.
 */
int vos_cli_ask(int call, struct vos_msg *msg, int *ret_fd, int ms);
/* Its two halves. */
int vos_cli_send(int call, const struct vos_msg *msg);
int vos_cli_answer(int call, struct vos_msg *msg, int *ret_fd, int ms);

#endif
