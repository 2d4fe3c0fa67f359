/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fdmap.c and fdmap_exec.c share. */
#ifndef VOS_FDMAP_IMPL_H
#define VOS_FDMAP_IMPL_H

#include <sys/stat.h>
#include "fdmap.h"
#include "spin.h"

#define VOS_FD_OWN_MAX    128
#define VOS_OFD_CHUNK     65536
#define VOS_OFD_PER_CHUNK ((VOS_OFD_CHUNK - 64) / sizeof(struct vos_ofd))

struct vos_ofd_chunk {
	struct vos_ofd_chunk *next;
	_Alignas(64) struct vos_ofd ofd[VOS_OFD_PER_CHUNK];
};

/* Shared by all processes in this memory (a vfork child and its parent). */
struct vos_ofd_pool {
	_Atomic uint32_t lock;
	struct vos_ofd *free;
	struct vos_ofd_chunk *chunks;
};
extern struct vos_ofd_pool vos_ofd_pool;
extern const struct vos_ofd_family *vos_ofd_families[VOS_FAMILY_MAX];

/* Of one process: proc->priv[VOS_PRIV_FDMAP]. */
struct vos_fdmap {
	_Atomic uint32_t lock;
	int placeholder;             /* -1: not made yet */
	uint32_t high;               /* above every slot that is not native */
	uint32_t open;               /* slots with an ofd */
	bool borrowed;               /* a vfork child: domains, proxies and locks are its parent's */
	bool posix_locks;            /* a POSIX lock was ever taken */
	struct { int fd; int *where; } own[VOS_FD_OWN_MAX]; /* free when where is NULL */
};

static inline struct vos_fdmap *vos_fdmap_of(const struct vos_proc *p)
{
	return p->priv[VOS_PRIV_FDMAP];
}

int vos_fd_own_locked(struct vos_proc *p, int fd, int *where);
long vos_ofd_put_result(struct vos_ofd *o);

#endif
