/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The families in the order of their bring-up. */
#include "room.h"

const struct vos_room *const vos_rooms[] = {
	NULL,
};
