/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What marshal.c and transfer.c share. */
#ifndef VOS_MARSHAL_IMPL_H
#define VOS_MARSHAL_IMPL_H

#include "mapping.h"
#include "marshal.h"

#define VOS_PATH_BYTES 4096
/* More than any value-result length that Linux answers with. */
#define VOS_SMALL_MAX  65536u

/* read, write and their kin: data of any length. */
bool vos_transfer_is(unsigned nr);
long vos_transfer(unsigned nr, const uint64_t arg[6], struct vos_ofd *o);

#endif
