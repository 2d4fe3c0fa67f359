/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/mman.h>
#include "../rt/rt.h"
#include "carrier.h"
#include "frame.h"
#include "room.h"
#include "sigsys.h"

#define AT(type, field, off) _Static_assert(offsetof(type, field) == (off), #field ": trampoline.S")
AT(struct vos_carrier, runtime_sp, C_RUNTIME_SP);
AT(struct vos_carrier, thread, C_THREAD);
AT(struct vos_carrier, resume, C_RESUME);
AT(struct vos_carrier, fdkind, C_FDKIND);
AT(struct vos_carrier, nr, C_NR);
AT(struct vos_carrier, fd, C_FD);
AT(struct vos_carrier, pid, C_PID);
AT(struct vos_carrier, tid, C_TID);
AT(struct vos_carrier, counts_native, C_NATIVE);
AT(struct vos_carrier, counts_runtime, C_RUNTIME);
AT(struct vos_thread, sig_pending, T_PENDING);
AT(struct vos_uc, rip, UC_RIP);
AT(struct vos_frame, rax, FRAME_RAX);
AT(struct vos_frame, rip, FRAME_RIP);
AT(struct vos_frame, rsp, FRAME_RSP);
_Static_assert(sizeof(struct vos_frame) == FRAME_SIZE, "trampoline.S");

#define BLOCK_SIZE ((sizeof(struct vos_block) + 4095) & ~4095UL)
#define COUNTS     (3 * (VOS_NR_END + 2))

/* Memory of ended threads, for new ones.  Threads of vfork children share it: it is the memory's, not the process's. */
static struct vos_block *spare;
static _Atomic uint32_t spare_lock;

struct vos_sigthread *vos_sigthread(struct vos_thread *t)
{
	return t->sig;
}

static struct vos_block *block_of(struct vos_carrier *c)
{
	return (struct vos_block *)((char *)c - offsetof(struct vos_block, carrier));
}

uint64_t *vos_carrier_counts(struct vos_carrier *c)
{
	return (uint64_t *)(void *)((char *)c + offsetof(struct vos_carrier, counts_native));
}

struct vos_carrier *vos_carrier_new(struct vos_proc *p)
{
	struct vos_block *b;
	struct vos_carrier *c;

	vos_lock(&spare_lock);
	b = spare;
	if (b)
		spare = b->next_free;
	vos_unlock(&spare_lock);
	if (b) {
		memset(b, 0, sizeof *b);
	} else {
		char *m = vos_pages(VOS_STACK_SIZE + BLOCK_SIZE);

		if (!m)
			return NULL;
		/* An overflow of the runtime stack must fault rather than reach a neighbour. */
		vos_raw3(SYS_mprotect, VOS_PTR(m), 4096, PROT_NONE);
		b = (void *)(m + VOS_STACK_SIZE);
	}
	c = &b->carrier;
	c->self = c;
	c->runtime_sp = (uint64_t)b;
	c->runtime_lo = (uint64_t)b - VOS_STACK_SIZE;
	c->thread = &b->thread;
	c->proc = p;
	c->fdkind = p->fdkind;
	b->thread.carrier = c;
	b->thread.sig = &b->sig;
	b->sig.alt.ss_flags = SS_DISABLE;
	return c;
}

void vos_carrier_free(struct vos_carrier *c)
{
	struct vos_block *b;

	if (!c)
		return;
	b = block_of(c);
	vos_lock(&spare_lock);
	b->next_free = spare;
	spare = b;
	vos_unlock(&spare_lock);
}

void vos_carrier_link(struct vos_carrier *c)
{
	struct vos_proc *p = c->proc;

	vos_lock(&p->lock);
	c->next = p->carriers;
	p->carriers = c;
	vos_unlock(&p->lock);
}

void vos_carrier_unlink(struct vos_carrier *c)
{
	struct vos_proc *p = c->proc;

	vos_lock(&p->lock);
	for (struct vos_carrier **at = &p->carriers; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	if (p->ended) {
		for (unsigned i = 0; i < COUNTS; i++)
			p->ended[i] += vos_carrier_counts(c)[i];
		for (unsigned i = 0; i < sizeof c->remote / sizeof(uint64_t); i++)
			p->ended[COUNTS + i] += ((uint64_t *)(void *)&c->remote)[i];
	}
	vos_unlock(&p->lock);
}

void vos_carrier_become(struct vos_carrier *c)
{
	__asm__ volatile("wrgsbase %0" : : "r"(c) : "memory");
	c->pid = (uint32_t)vos_raw0(SYS_getpid);
	c->tid = c->ktid = (uint32_t)vos_raw0(SYS_gettid);
}

_Noreturn void vos_carrier_exit(long code)
{
	struct vos_carrier *c = vos_self();

	vos_sig_block_all();
	for (unsigned i = 0; vos_rooms[i]; i++)
		if (vos_rooms[i]->thread_exit)
			vos_rooms[i]->thread_exit(c);
	vos_carrier_unlink(c);
	vos_lock(&spare_lock);
	/* Point of no return: the memory under this stack is another thread's from here on. */
	vos_exit_raw(code, &spare, block_of(c), &spare_lock);
}

void vos_carrier_fork_prepare(void)
{
	vos_lock(&spare_lock);
	vos_lock(&vos_self()->proc->lock);
}

void vos_carrier_fork_parent(void)
{
	vos_unlock(&vos_self()->proc->lock);
	vos_unlock(&spare_lock);
}

void vos_carrier_fork_child(void)
{
	struct vos_carrier *c = vos_self();
	struct vos_proc *p = c->proc;

	for (struct vos_carrier *o = p->carriers, *next; o; o = next) {
		next = o->next;
		if (o != c) {
			block_of(o)->next_free = spare;
			spare = block_of(o);
		}
	}
	p->carriers = c;
	c->next = NULL;
	vos_unlock(&p->lock);
	vos_unlock(&spare_lock);
	c->pid = (uint32_t)vos_raw0(SYS_getpid);
	c->tid = c->ktid = (uint32_t)vos_raw0(SYS_gettid);
	p->pid = c->pid;
	memset(vos_carrier_counts(c), 0, COUNTS * sizeof(uint64_t));
	memset(&c->remote, 0, sizeof c->remote);
	if (p->ended)
		memset(p->ended, 0, VOS_ENDED_SIZE);
}
