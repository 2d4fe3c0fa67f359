/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory mapped from remote files. */
#include "../dispatch/mapping.h"

_Atomic uint32_t vos_mapping_count;

long vos_mapping_mmap(struct vos_frame *f, struct vos_ofd *o)
{
	(void)f;
	(void)o;
	return -ENODEV;
}

void vos_mapping_unmap(uint64_t addr, uint64_t len)
{
	(void)addr;
	(void)len;
}

void vos_mapping_flush_all(void)
{
}

void vos_mapping_flush(struct vos_ofd *o)
{
	(void)o;
}

void vos_mapping_written(struct vos_ofd *o, uint64_t off, uint64_t len)
{
	(void)o;
	(void)off;
	(void)len;
}

void vos_mapping_after(struct vos_ofd *o, unsigned nr, const uint64_t arg[6], long r)
{
	(void)o;
	(void)nr;
	(void)arg;
	(void)r;
}

void vos_mapping_fork_child(void)
{
}
