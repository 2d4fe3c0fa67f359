/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The unwind tables of an object, which say where its functions begin and end. */
#ifndef VOS_REWRITE_EH_FRAME_H
#define VOS_REWRITE_EH_FRAME_H

#include "elf_file.h"

/* Finds the tables; addresses and sizes are 0 where there are none.  0, also when nothing usable is found; -ENOMEM. */
int vos_eh_open(struct vos_elf *e, uint64_t hdr, uint64_t hdr_size, uint64_t frame, uint64_t frame_size);

#endif
