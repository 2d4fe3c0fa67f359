/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a dynamically linked program comes to the runtime. */
#include "bringup.h"

static void preload(int argc, char **argv, char **envp)
{
	struct vos_start s;

	if (!vos_start_find(&s, argc, argv, envp) || !vos_start_wanted(&s))
		return;
	vos_start_all(&s);
}

/* DF_1_INITFIRST (meson.build): before every other constructor, so before any of them makes a thread. */
__attribute__((section(".init_array"), used)) static void (*const start)(int, char **, char **) = preload;
