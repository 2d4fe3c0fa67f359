/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bring-up, for preload.c and loader.c (virtuos-enter). */
#ifndef VOS_BRINGUP_H
#define VOS_BRINGUP_H

#include <elf.h>
#include "../runtime.h"
#include "state.h"

struct vos_start {
	char **envp;                   /* on the program's stack; words of ours are taken out of it */
	const Elf64_auxv_t *auxv;
	const char *execfn;            /* AT_EXECFN */
	bool arguments;                /* the loader handed main's arguments to the constructor */
	/* Values of the environment; NULL when absent. */
	const char *policy, *session, *supervisor, *stats, *verbose, *only, *route, *state;
	char *cache[4];                /* the words that say where plans are kept */
	struct vos_state_in last;      /* what the last image left us */
	struct vos_proc *proc;
};

/* False when the stack of the image cannot be made out. */
bool vos_start_find(struct vos_start *s, int argc, char **argv, char **envp);
/* False when this program is to be left alone; has said why where the user should know. */
bool vos_start_wanted(const struct vos_start *s);
/* Brings the runtime up: from its return on, calls come to us. */
void vos_start_all(struct vos_start *s);

#endif
