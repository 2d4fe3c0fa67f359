/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our words in the environment: taken out at the start of an image, put back at exec. */
#ifndef VOS_ENVIRON_H
#define VOS_ENVIRON_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Bring-up: keeps copies of the words of ours in envp, and takes them out of it in place; of LD_PRELOAD only what is us.
 * `self`: some address of this object.
 */
void vos_environ_take(char **envp, const void *self);
/* Whether LD_PRELOAD named this object: else the program may have run for a while already. */
bool vos_environ_preloaded(void);
/* The absolute path of this object, and the folder it lies in (no slash at the end); NULL when it cannot be told. */
const char *vos_environ_self(void);
const char *vos_environ_dir(void);

/*
 * For exec: the environment of the program at `user_envp` (an address in the program, or 0) with our words.  `extra`: further
 * words or NULL, NULL-terminated, which win over the same names of ours.  0 and a vector to be freed with vos_environ_free(); -EFAULT, -ENOMEM, -E2BIG.
 * The vector points into the program's memory: the kernel copies from there.
 */
struct vos_environ { char **v; char *preload; };
int vos_environ_make(struct vos_environ *e, unsigned long user_envp, char *const *extra, bool preload);
void vos_environ_free(struct vos_environ *e);

#endif
