/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clone, clone3, fork, vfork.  A child that shares memory gets a carrier of its own before it exists: it must not touch any
 * stack until it has one.  A child that is a process and shares memory (vfork, posix_spawn) has a struct vos_proc of its own
 * besides, for as long as it lives in its parent's memory.
 */
#include <linux/sched.h>
#include "../entry/carrier.h"
#include "../entry/enter.h"
#include "../entry/room.h"
#include "../entry/sigsys.h"
#include "../entry/stats.h"
#include "../entry/user.h"
#include "../entry/window.h"
#include "../rt/rt.h"
#include "../uthread/uthread.h"
#include "../dispatch/table.h"

#define USER_END 0x7ffffffff000ULL

/* The arguments of every form of clone. */
struct request {
	long nr;
	uint64_t flags;
	uint64_t stack;          /* the child's rsp; 0: as the parent's */
	uint64_t a[5];           /* of the system call, as the program gave them */
	struct clone_args args;  /* clone3: what the kernel gets */
	uint64_t args_size;
};

static int all_masked(uint64_t *ret_old)
{
	uint64_t all = ~0ULL;

	return (int)vos_window6(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)(uintptr_t)&all, (uint64_t)(uintptr_t)ret_old, 8, 0, 0);
}

/* rooms.c keeps what it prepared in one place. */
static _Atomic uint32_t fork_lock;

static long make_fork(struct vos_frame *f, struct request *q)
{
	struct vos_proc *p = vos_self()->proc;
	uint64_t old;
	long r;
	int i, err;

	err = all_masked(&old);
	if (err < 0)
		return err;
	vos_ut_mask_all(true, 0);
	vos_lock(&fork_lock);
	for (i = 0; vos_rooms[i]; i++) {
		err = vos_rooms[i]->fork_prepare ? vos_rooms[i]->fork_prepare(p) : 0;
		if (err < 0) {
			while (i-- > 0)
				if (vos_rooms[i]->fork_parent)
					vos_rooms[i]->fork_parent(p, err);
			vos_unlock(&fork_lock);
			vos_ut_mask_all(false, old);
			vos_sig_unblock(old);
			return err;
		}
	}
	vos_carrier_fork_prepare();
	vos_lock(&p->sigtab->lock);
	vos_ut_fork_prepare();
	vos_alloc_fork_prepare();
	/* The child goes on here, in its copy of this stack; the stack that the program gave is for after the way out. */
	if (q->nr == __NR_clone3) {
		q->args.stack = q->args.stack_size = 0;
		r = vos_window3(__NR_clone3, (uint64_t)(uintptr_t)&q->args, q->args_size, 0);
	} else {
		r = vos_window6(__NR_clone, q->a[0], 0, q->a[2], q->a[3], q->a[4], 0);
	}
	vos_alloc_fork_done();
	vos_unlock(&p->sigtab->lock);
	if (r == 0) {
		vos_carrier_fork_child();
		if (vos_ut_self())
			vos_ut_fork_child();
		vos_stats_fork_child();
		vos_self()->thread->sig->held = 0;
	} else {
		vos_ut_fork_parent();
		vos_carrier_fork_parent();
	}
	while (i-- > 0) {
		if (r == 0 && vos_rooms[i]->fork_child)
			vos_rooms[i]->fork_child(p);
		if (r != 0 && vos_rooms[i]->fork_parent)
			vos_rooms[i]->fork_parent(p, r);
	}
	vos_unlock(&fork_lock);
	if (r == 0) {
		vos_sud_thread();
		if (q->stack)
			f->rsp = q->stack;
	}
	vos_ut_mask_all(false, old);
	vos_sig_unblock(old);
	return r;
}

/* The child's first steps, on its own runtime stack, with every signal masked. */
void vos_thread_start(struct vos_frame *f, uint64_t rsp)
{
	struct vos_carrier *c = vos_self();
	struct vos_sigthread *s = c->thread->sig;

	c->pid = (uint32_t)vos_raw0(SYS_getpid);
	c->tid = c->ktid = (uint32_t)vos_raw0(SYS_gettid);
	if (f->rsp == 0)
		f->rsp = rsp;
	f->rax = 0;
	if (c->proc->pid == 0)
		c->proc->pid = c->pid;
	if (!(s->alt.ss_flags & SS_DISABLE))
		vos_sig_arm_altstack(c->thread);
	vos_sud_thread();
	vos_sig_unblock(s->saved_mask);
}

static void drop_process(struct vos_proc *child, unsigned rooms)
{
	while (rooms-- > 0)
		if (vos_rooms[rooms]->drop)
			vos_rooms[rooms]->drop(child);
	vos_free(child->sigtab);
	vos_free(child->ended);
	vos_free(child);
}

/* A process in the memory of p: what the kernel keeps apart is kept apart here. */
static struct vos_proc *guest_process(struct vos_proc *p, uint64_t flags, unsigned *ret_rooms)
{
	struct vos_proc *child = vos_alloc(sizeof *child);
	unsigned i = 0;

	if (!child)
		return NULL;
	*child = *p;
	child->pid = 0;
	child->guest = true;
	child->carriers = NULL;
	child->ended = vos_stats_on() ? vos_alloc(VOS_ENDED_SIZE) : NULL;
	atomic_store(&child->lock, 0);
	child->sigtab = vos_alloc(sizeof *child->sigtab);
	if (!child->sigtab) {
		vos_free(child->ended);
		vos_free(child);
		return NULL;
	}
	vos_lock(&p->sigtab->lock);
	memcpy(child->sigtab->act, p->sigtab->act, sizeof p->sigtab->act);
	atomic_store(&child->sigtab->known, atomic_load(&p->sigtab->known));
	vos_unlock(&p->sigtab->lock);
	if (flags & CLONE_CLEAR_SIGHAND)
		for (int sig = 1; sig <= VOS_NSIG; sig++)
			if (child->sigtab->act[sig].handler > 1)
				memset(&child->sigtab->act[sig], 0, sizeof child->sigtab->act[sig]);
	for (; vos_rooms[i]; i++)
		if (vos_rooms[i]->vfork && vos_rooms[i]->vfork(child, p) < 0) {
			drop_process(child, i);
			return NULL;
		}
	*ret_rooms = i;
	return child;
}

static long make_sharing(struct vos_frame *f, struct request *q)
{
	struct vos_carrier *self = vos_self(), *c;
	struct vos_proc *p = self->proc, *child = p;
	bool thread = q->flags & CLONE_THREAD;
	unsigned rooms = 0;
	uint64_t old;
	long r;
	int err;

	if (!thread) {
		child = guest_process(p, q->flags, &rooms);
		if (!child)
			return -ENOMEM;
	}
	c = vos_carrier_new(child);
	err = c ? all_masked(&old) : -ENOMEM;
	if (err < 0) {
		vos_carrier_free(c);
		if (!thread)
			drop_process(child, rooms);
		return err;
	}
	*vos_carrier_frame(c) = *f;
	/* 0: what the kernel gives it (vos_thread_start).  Without a stack of its own it goes on where the parent stands. */
	if (q->stack)
		vos_carrier_frame(c)->rsp = 0;
	c->thread->sigmask = self->thread->sigmask;
	c->thread->sig->saved_mask = old;
	if ((q->flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM)
		c->thread->sig->alt = self->thread->sig->alt;
	vos_carrier_link(c);
	if (q->nr == __NR_clone3)
		r = vos_clone_raw(__NR_clone3, (uint64_t)(uintptr_t)&q->args, q->args_size, 0, 0, 0, c, vos_carrier_frame(c));
	else
		r = vos_clone_raw(__NR_clone, q->a[0], q->a[1], q->a[2], q->a[3], q->a[4], c, vos_carrier_frame(c));
	if (r < 0 || (!thread && (q->flags & CLONE_VFORK))) {
		/* It never was, or it is done with our memory (CLONE_VFORK waits for that). */
		vos_carrier_unlink(c);
		vos_carrier_free(c);
		if (!thread)
			drop_process(child, rooms);
	}
	vos_sig_unblock(old);
	return r;
}

static long make(struct vos_frame *f, struct request *q)
{
	long r;

	vos_self()->counts_native[(uint32_t)f->rax]++;
	if ((q->flags & CLONE_THREAD) && vos_ut_carries()) {
		struct vos_ut_clone c = { .flags = q->flags, .stack = q->stack };
		bool three = q->nr == __NR_clone3;

		c.parent_tid = three ? q->args.parent_tid : q->a[2];
		c.child_tid = three ? q->args.child_tid : q->a[3];
		c.tls = three ? q->args.tls : q->a[4];
		return vos_ut_clone(f, &c);
	}
	vos_ut_fork_begin();
	r = q->flags & CLONE_VM ? make_sharing(f, q) : make_fork(f, q);
	vos_ut_fork_end();
	return r;
}

long vos_call_clone(struct vos_frame *f)
{
	struct request q = { .nr = __NR_clone, .flags = (uint32_t)f->rdi, .stack = f->rsi,
			     .a = { f->rdi, f->rsi, f->rdx, f->r10, f->r8 } };

	return make(f, &q);
}

long vos_call_fork(struct vos_frame *f)
{
	struct request q = { .nr = __NR_clone, .a = { SIGCHLD } };

	return make(f, &q);
}

long vos_call_vfork(struct vos_frame *f)
{
	struct request q = { .nr = __NR_clone, .flags = CLONE_VM | CLONE_VFORK, .a = { CLONE_VM | CLONE_VFORK | SIGCHLD } };

	return make(f, &q);
}

long vos_call_clone3(struct vos_frame *f)
{
	struct request q = { .nr = __NR_clone3, .args_size = f->rsi };
	char byte;

	if (f->rsi < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	if (f->rsi > 4096)
		return -E2BIG;
	if (f->rsi > sizeof q.args) {
		/* Larger than we know: the kernel takes it only when the rest is zero. */
		for (uint64_t i = sizeof q.args; i < f->rsi; i++) {
			if (vos_copy_from_user(&byte, (void *)(uintptr_t)(f->rdi + i), 1) < 0)
				return -EFAULT;
			if (byte)
				return -E2BIG;
		}
		q.args_size = sizeof q.args;
	}
	if (vos_copy_from_user(&q.args, (void *)(uintptr_t)f->rdi, q.args_size) < 0)
		return -EFAULT;
	/* The kernel does not see these of a process: its child goes on where the parent stands. */
	if (!q.args.stack != !q.args.stack_size || q.args.stack > USER_END || q.args.stack_size > USER_END - q.args.stack)
		return -EINVAL;
	q.flags = q.args.flags;
	q.stack = q.args.stack ? q.args.stack + q.args.stack_size : 0;
	return make(f, &q);
}
