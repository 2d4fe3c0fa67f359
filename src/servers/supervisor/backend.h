/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where domains run.  `local`: as process trees of this machine.  What is a domain's own (states, heartbeats, reboots, proxies,
 * quotas) is domain.c's and introduce.c's; a back end only starts, kills and connects.  All members are required, and
 * none blocks.
 */
#ifndef VOS_SUPERVISOR_BACKEND_H
#define VOS_SUPERVISOR_BACKEND_H

#include "supervisor.h"

struct vos_backend {
	const char *name;              /* of a domain before its ':', and of the transport to it */
	/* Whether there can be a domain of this kind and name; else *ret_why, for a person. */
	bool (*has)(uint32_t kind, const char *name, const char **ret_why);
	/*
	 * Starts d: *ret_sock speaks the protocol of brokers (PROTOCOL.md) until the domain is gone, and d->pid becomes non-zero, a
	 * number for people.  0 or negative errno, nothing started then.
	 */
	int (*start)(struct vos_dom *d, int *ret_sock);
	/* Ends all of d at once. */
	void (*kill)(struct vos_dom *d);
	/* Whether anything of d is left since; what it held (ports, disks, regions) is free when not. */
	bool (*left)(struct vos_dom *d);
	/* The memory and the signals of one connection.  0 or negative errno. */
	int (*connect)(struct vos_dom *d, const struct vos_region_geo *geo, struct vos_local_conn *ret);
};

extern const struct vos_backend vos_backend_local;

#endif
