/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between trampoline.S and the dispatcher: one call of the program, with what signals make of it. */
#include "../rt/rt.h"
#include "../uthread/uthread.h"
#include "carrier.h"
#include "enter.h"
#include "signal.h"
#include "sigsys.h"
#include "window.h"

void vos_enter(struct vos_frame *f)
{
	struct vos_carrier *c = vos_self();
	struct vos_thread *t = c->thread;
	uint64_t nr = f->rax;
	long r, again = -1;

	t->frame = f;
	if (__builtin_expect(vos_sigthread(t)->first, 0)) {
		vos_sigthread(t)->first = false;
		vos_sig_unblock(vos_sigthread(t)->saved_mask);
	}
	if (__builtin_expect(t->ut != NULL, 0))
		vos_ut_enter(t, nr);
	for (;;) {
		/* What uthreads do most goes there at once. */
		if (__builtin_expect(t->ut != NULL && nr == __NR_futex, 0)) {
			vos_self()->counts_native[nr]++;
			f->rax = (uint64_t)vos_ut_futex(f);
		} else {
			vos_dispatch(f);
		}
		r = (long)f->rax;
		if (__builtin_expect(r != -VOS_ERESTARTSYS && r != -VOS_ERESTARTNOINTR, 1))
			break;
		f->rax = nr;
		if (atomic_load_explicit(&t->sig_pending, memory_order_relaxed) == 0)
			continue;
		if (r == -VOS_ERESTARTNOINTR || vos_sig_restarts(t))
			again = (long)(uint32_t)nr;
		else
			f->rax = (uint64_t)-EINTR;
		break;
	}
	if (__builtin_expect(t->ut != NULL, 0))
		vos_ut_leave(t);
	t->frame = NULL;
	if (__builtin_expect(atomic_load_explicit(&t->sig_pending, memory_order_relaxed) != 0, 0))
		vos_sig_deliver(f, again);
}

long vos_native(struct vos_frame *f)
{
	struct vos_carrier *c = vos_self();
	uint32_t nr = (uint32_t)f->rax;

	c->counts_native[nr < VOS_NR_END ? nr : VOS_NR_END]++;
	if (__builtin_expect(c->thread->ut != NULL, 0))
		return vos_ut_native(f);
	return vos_window6((long)f->rax, f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9);
}

static void adopt(struct vos_proc *p, uint64_t mask)
{
	struct vos_carrier *c = vos_carrier_new(p);

	if (!c)
		vos_panic("no memory for the stack of a thread");
	vos_carrier_become(c);
	vos_carrier_link(c);
	c->thread->sig->first = true;
	c->thread->sig->saved_mask = mask;
	vos_sig_adopt_altstack(c->thread);
	vos_sud_thread();
}

static struct vos_proc *process;
static uint64_t first_mask;
static bool first_mask_known;

void vos_thread_process(struct vos_proc *p)
{
	process = p;
}

/* On the stack of vos_entry_first, whose lock makes the statics ours. */
void vos_thread_first(void)
{
	uint64_t mask = vos_sig_block_all();

	if (first_mask_known)
		mask = first_mask;
	first_mask_known = false;
	adopt(process, mask);
}

void vos_thread_first_signal(uint64_t *mask, bool locked)
{
	if (locked) {
		first_mask = *mask;
		first_mask_known = true;
	}
	*mask = ~VOS_SIG_OURS;
}

void vos_thread_adopt_in_signal(void)
{
	adopt(process, 0);
	vos_self()->thread->sig->first = false;
}
