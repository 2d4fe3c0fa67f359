/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel threads of the program as the runtime keeps them: one mapping each, guard page, runtime stack, structs. */
#ifndef VOS_CARRIER_H
#define VOS_CARRIER_H

#include "../runtime.h"
#include "signal.h"

#define VOS_STACK_SIZE (256u << 10)

struct vos_block {
	struct vos_block *next_free;
	struct vos_frame frame;        /* a new thread's first; copied below runtime_sp */
	struct vos_carrier carrier;
	struct vos_thread thread;
	struct vos_sigthread sig;
};

/* A carrier of p, not linked, without tid; NULL when there is no memory. */
struct vos_carrier *vos_carrier_new(struct vos_proc *p);
/* Never ran, or its process is over. */
void vos_carrier_free(struct vos_carrier *c);
/* Into p's list and out of it; counters of one that leaves are added to p's. */
void vos_carrier_link(struct vos_carrier *c);
void vos_carrier_unlink(struct vos_carrier *c);
/* The three arrays of counters as one; and the size of vos_proc.ended: these, then struct vos_remote_counts. */
uint64_t *vos_carrier_counts(struct vos_carrier *c);
#define VOS_ENDED_SIZE (3 * (VOS_NR_END + 2) * sizeof(uint64_t) + sizeof(struct vos_remote_counts))
/* The calling thread gets c as its GS base, its tid and its pid. */
void vos_carrier_become(struct vos_carrier *c);
/* The calling thread ends: rooms are told, its memory goes back. */
_Noreturn void vos_carrier_exit(long code);
/* After fork: only the caller's is left. */
void vos_carrier_fork_child(void);
void vos_carrier_fork_prepare(void);
void vos_carrier_fork_parent(void);

static inline uint64_t vos_gs_base(void)
{
	uint64_t v;

	__asm__ volatile("rdgsbase %0" : "=r"(v));
	return v;
}

/* trampoline.S */
long vos_clone_raw(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, struct vos_carrier *child,
		   struct vos_frame *frame);
_Noreturn void vos_exit_raw(long code, void *list, void *block, _Atomic uint32_t *lock);

/* The frame that a carrier leaves by: at the top of its runtime stack. */
static inline struct vos_frame *vos_carrier_frame(struct vos_carrier *c)
{
	return (struct vos_frame *)(c->runtime_sp - sizeof(struct vos_frame));
}

#endif
