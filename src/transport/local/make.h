/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a connection of the local transport: the supervisor's part (and the tests'). */
#ifndef VOS_LOCAL_MAKE_H
#define VOS_LOCAL_MAKE_H

#include <virtuos/region.h>

struct vos_local_conn {
	int region, doorbell, wake;
	int control_client, control_proxy;
};

/* A region of geo's size with its head written, sealed, and the descriptors beside it.  0 or negative errno. */
int vos_local_make(const struct vos_region_geo *geo, struct vos_local_conn *ret);
/* Closes what is open (≥ 0). */
void vos_local_close(struct vos_local_conn *c);

#endif
