/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The order of bring-up, and nothing else. */
#include "bringup.h"

static void preload(int argc, char **argv, char **envp)
{
	struct vos_start s;

	if (!vos_start_find(&s, argc, argv, envp) || !vos_start_wanted(&s))
		return;
	vos_start_process(&s);     /* struct vos_proc, this thread's carrier, the table */
	vos_start_environ(&s);     /* what the last image left us; our words leave the environment */
	vos_start_signals(&s);     /* from here on a fault in memory of the program is -EFAULT */
	vos_start_rooms(&s);
	vos_start_domains(&s);     /* policy, session, descriptors of the last image */
	vos_start_code(&s);        /* patched, or trapped: from here on calls come to us */
}

/* DF_1_INITFIRST (meson.build): before every other constructor, so before any of them makes a thread. */
__attribute__((section(".init_array"), used)) static void (*const start)(int, char **, char **) = preload;
