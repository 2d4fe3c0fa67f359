/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a family of the runtime does in the life of a process.  rooms.c lists them in the order of bring-up; the way down
 * (drop, exit, and what follows a fork) goes in reverse.  Every member is optional.  No other thread of the process is stopped for any of them.
 */
#ifndef VOS_ROOM_H
#define VOS_ROOM_H

#include "../runtime.h"

struct vos_room {
	const char *name;
	/* Bring-up of an image.  0 or negative errno (the program then runs without us, and is told). */
	int (*init)(struct vos_proc *p);
	/*
	 * Around a native fork.  prepare takes the room's locks (and may refuse: negative errno, the program's result), parent and
	 * child give them back; parent hears the result (negative when the fork failed).  In the child only the calling thread exists.
	 */
	int  (*fork_prepare)(struct vos_proc *p);
	void (*fork_parent)(struct vos_proc *p, long result);
	void (*fork_child)(struct vos_proc *p);
	/*
	 * vfork and other clones that share memory but are a process: `child` is a copy of *parent and takes what it needs of its
	 * own.  Called by the parent.  drop gives that back: the child has execed, ended, or was never made.
	 */
	int  (*vfork)(struct vos_proc *child, struct vos_proc *parent);
	void (*drop)(struct vos_proc *child);
	/*
	 * exec.  save appends to memfd `fd` what the new image needs, and changes nothing that cannot be taken back by
	 * exec_failed.  load reads it in the new image, from memory; *ret_used says how much was its own.
	 */
	int  (*exec_save)(struct vos_proc *p, int fd);
	void (*exec_failed)(struct vos_proc *p);
	int  (*exec_load)(struct vos_proc *p, const void *data, size_t len, size_t *ret_used);
	/* A thread ends (its carrier is the caller's), the process ends, credentials changed. */
	void (*thread_exit)(struct vos_carrier *c);
	void (*process_exit)(struct vos_proc *p);
	void (*cred_changed)(struct vos_proc *p);
};

extern const struct vos_room *const vos_rooms[];   /* NULL-terminated */

#endif
