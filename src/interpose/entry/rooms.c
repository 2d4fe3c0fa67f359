/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The families in the order of their bring-up. */
#include "room.h"

extern const struct vos_room vos_net_room;           /* calls/net_room.c */

const struct vos_room *const vos_rooms[] = {
	&vos_net_room,
	NULL,
};
