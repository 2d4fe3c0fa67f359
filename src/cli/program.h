/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding the program that `run` is to become, and what kind it is. */
#ifndef VOS_CLI_PROGRAM_H
#define VOS_CLI_PROGRAM_H

#include <stdbool.h>
#include <virtuos/policy.h>

enum vos_cli_kind {
	VOS_PROGRAM_DYNAMIC,   /* LD_PRELOAD reaches it */
	VOS_PROGRAM_STATIC,    /* entered by virtuos-enter */
	VOS_PROGRAM_FAR,       /* a domain's, perhaps: only a process of the session can look for it */
	VOS_PROGRAM_PRIVILEGED /* the kernel raises its rights: left alone */
};

struct vos_cli_program {
	char *path;            /* as execvp would find it */
	char *elf;             /* the ELF file that the kernel maps: path, or the last interpreter of a script */
	char **before;         /* what stands before argv[1..] when a script's interpreter is entered directly; NULL-ended */
	enum vos_cli_kind kind;
	char *why;             /* it cannot be run: one line; else NULL */
};

/*
 * Looks `name` up along PATH and reads the file's head, through the interpreters of scripts.  0; or the exit code 126 or
 * 127 and ret->why.  *ret is to be finished in either case.
 */
int vos_cli_program_find(const char *name, struct vos_cli_program *ret);
/*
 * Whether the program must be looked up with the policy in force, because its file, its interpreter or a directory of PATH
 * may be a domain's.  `code`: what _find() returned.  True more often than needed costs the start of one more image.
 */
bool vos_cli_program_far(const struct vos_policy *policy, const char *name, int code, const struct vos_cli_program *p);
void vos_cli_program_finish(struct vos_cli_program *p);

#endif
