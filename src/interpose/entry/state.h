/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What passes from image to image across exec: a sealed memfd, named by VIRTUOS_STATE. */
#ifndef VOS_STATE_H
#define VOS_STATE_H

#include "../runtime.h"

struct vos_state_out {
	int fd;                        /* of the memfd, not close-on-exec; -1: there is nothing to tell */
	struct vos_exec_conns conns;
};

/* Before an exec.  0 or negative errno; nothing is changed that vos_state_undo() does not take back. */
int vos_state_save(struct vos_proc *p, struct vos_state_out *out);
void vos_state_undo(struct vos_proc *p, struct vos_state_out *out);

/* In the new image. */
struct vos_state_in {
	const char *data;
	size_t len;
	uint64_t ignored, masked;      /* of VOS_SIG_OURS */
};
/* Maps the memfd and closes it; false when it is not ours.  ignored and masked are filled. */
bool vos_state_open(struct vos_state_in *in, const char *word);
/* After the domains are known and their session is open: descriptors, cwd, connections.  Closes the mapping. */
void vos_state_load(struct vos_state_in *in, struct vos_proc *p);

#endif
