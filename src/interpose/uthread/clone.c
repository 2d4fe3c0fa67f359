/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads that come and go. */
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <virtuos/policy.h>
#include "../dispatch/table.h"
#include "../entry/go.h"
#include "../entry/room.h"
#include "../entry/user.h"
#include "impl.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* What every thread of a process shares; a clone that asks for less of it is no thread that a carrier can carry. */
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
#define MORE_FLAGS   (CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_DETACHED | 0xff)

uint32_t vos_ut_area;

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

void vos_ut_init(struct vos_proc *p)
{
	uint32_t r[4];

	vos_ut.spread = p->policy->threads == VOS_THREADS_MN_SPREAD;
	cpuid(0xd, 1, r);
	if ((r[0] & 6) != 6) {
		vos_say("threads=mn: this processor has no XSAVEC or no XGETBV(1): threads are the kernel's");
		return;
	}
	cpuid(0xd, 0, r);
	/* Tiles of AMX (components 17 and 18) are left out: 8 KiB a thread that hardly any program uses. */
	vos_ut_xmask = r[0] & ~(3u << 17);
	vos_ut_area = r[1] > 4096 ? 4096 : r[1] < VOS_UT_AREA_MIN ? VOS_UT_AREA_MIN : (r[1] + 63) & ~63u;
	/* By hand: SSE, AVX, keys; with byte masks (kmovq) also AVX-512. */
	vos_ut_xsaved = vos_ut_xmask & ~(2u | 4u | 0x200u);
	cpuid(7, 0, r);
	if (r[1] & 1u << 30)
		vos_ut_xsaved &= ~0xe0u;
	vos_ut_on = true;
}

bool vos_ut_carries(void)
{
	struct vos_carrier *c = vos_self();

	/* A vfork child (its process is another) makes kernel threads. */
	return vos_ut_on && (c->thread->ut || (!vos_ut.started && !c->proc->remote && c->proc->carriers == c && !c->next));
}

/* Calls that the first look of vos_entry sends straight to the kernel, and that a uthread may wait or is known in. */
static const uint16_t seen[] = {
	__NR_read, __NR_write, __NR_readv, __NR_writev, __NR_poll, __NR_ppoll, __NR_select, __NR_pselect6, __NR_accept, __NR_accept4,
	__NR_connect, __NR_sendto, __NR_recvfrom, __NR_sendmsg, __NR_recvmsg, __NR_sendmmsg, __NR_recvmmsg, __NR_wait4, __NR_waitid,
	__NR_flock, __NR_fcntl, __NR_semop, __NR_semtimedop, __NR_msgsnd, __NR_msgrcv, __NR_mq_timedsend, __NR_mq_timedreceive,
	__NR_epoll_wait, __NR_epoll_pwait, __NR_epoll_pwait2, __NR_io_getevents, __NR_splice, __NR_tee, __NR_vmsplice, __NR_sendfile,
	__NR_io_uring_enter, __NR_nanosleep, __NR_clock_nanosleep, __NR_futex, __NR_futex_waitv, __NR_futex_wait, __NR_futex_wake,
	__NR_futex_requeue, __NR_sched_yield, __NR_pause, __NR_rt_sigsuspend, __NR_rt_sigtimedwait, __NR_tkill, __NR_tgkill,
	__NR_rt_tgsigqueueinfo, __NR_set_tid_address, __NR_set_robust_list, __NR_get_robust_list, __NR_rseq, __NR_sched_setaffinity,
	__NR_sched_getaffinity, __NR_sched_setparam, __NR_sched_getparam, __NR_sched_setscheduler, __NR_sched_getscheduler,
	__NR_sched_setattr, __NR_sched_getattr, __NR_sched_rr_get_interval, __NR_timer_create, __NR_setpriority, __NR_getpriority,
	__NR_prctl, __NR_rt_sigpending, __NR_restart_syscall, __NR_fsync, __NR_fdatasync, __NR_rt_sigaction, __NR_kill,
	__NR_unshare, __NR_setns, __NR_madvise, __NR_ioprio_get, __NR_ioprio_set,
};

static bool start(void)
{
	struct vos_carrier *c = vos_self();
	struct vos_uthread *u = vos_alloc(sizeof *u + vos_ut_area + 64);
	int *where = NULL;
	uint64_t mask = 0;

	if (!u || !vos_ut_make_home(c)) {
		vos_free(u);
		return false;
	}
	u->xsave = (void *)(((uintptr_t)(u + 1) + 63) & ~63UL);
	u->runtime_sp = c->runtime_sp;
	u->runtime_lo = c->runtime_lo;
	u->thread = c->thread;
	u->tid = c->tid;
	u->state = UT_RUNNING;
	u->pend_tail = &u->pend;
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, 0, VOS_PTR(&mask), 8);
	u->kmask = mask;
	vos_raw3(SYS_get_robust_list, 0, VOS_PTR(&u->robust), VOS_PTR(&u->robust_len));
	if (vos_raw6(SYS_prctl, PR_GET_TID_ADDRESS, VOS_PTR(&where), 0, 0, 0, 0) == 0 && where)
		vos_ut_clear_tid_set(u, (uint64_t)(uintptr_t)where);
	vos_ut.all = u;
	u->all_prev = &vos_ut.all;
	vos_ut.live = 1;
	vos_ut.home->kmask = mask;
	u->on = vos_ut.home;
	vos_ut.masks_changed = true;
	/* Above every number that the kernel gives, so that none is another's by chance; apart from other processes' as far as can be. */
	vos_ut.next_tid = 0x400000u + (c->pid * 2654435761u >> 8) % 0x3000000u * 16;
	vos_ut_tid_add(u);
	for (unsigned i = 0; i < sizeof seen / sizeof seen[0]; i++) {
		unsigned nr = seen[i];

		/* Native in truth, whatever the table says: there is no domain to ask about it. */
		if (vos_go[nr] == VOS_GO_NATIVE)
			vos_route[nr] = VOS_NATIVE;
		vos_go[nr] = VOS_GO_SLOW;
	}
	vos_ut.started = true;
	vos_lock_wait = vos_ut_lock_wait;
	c->thread->ut = u;
	vos_ut_preempt_start(vos_ut.home);
	vos_note("threads=mn: threads of %u are uthreads", c->pid);
	return true;
}

struct vos_uthread *vos_ut_new_locked(void)
{
	struct vos_uthread *u = vos_ut.spare;
	char *m;
	size_t own = (sizeof *u + vos_ut_area + 64 + 4095) & ~4095UL;

	if (u) {
		void *xsave = u->xsave;

		vos_ut.spare = u->next;
		memset(u, 0, offsetof(struct vos_uthread, own_sig));
		u->own_sig.queued = 0;
		memset(&u->own_sig.queued, 0, sizeof u->own_sig - offsetof(struct vos_sigthread, queued));
		u->xsave = xsave;
	} else {
		m = vos_pages(VOS_STACK_SIZE + own);
		if (!m)
			return NULL;
		/* One mapping for all of them, where the kernel has guards without mappings (Linux 6.13). */
		if (vos_raw3(SYS_madvise, VOS_PTR(m), 4096, MADV_GUARD_INSTALL) < 0)
			vos_raw3(SYS_mprotect, VOS_PTR(m), 4096, PROT_NONE);
		u = (void *)(m + VOS_STACK_SIZE);
		u->xsave = (void *)(((uintptr_t)(u + 1) + 63) & ~63UL);
	}
	u->runtime_sp = (uint64_t)u & ~15UL;
	u->runtime_lo = (uint64_t)u - VOS_STACK_SIZE;
	u->thread = &u->own_thread;
	u->own_thread.ut = u;
	u->own_thread.carrier = vos_self();
	u->own_thread.sig = &u->own_sig;
	u->own_sig.alt.ss_flags = SS_DISABLE;
	u->pend_tail = &u->pend;
	u->state = UT_PARKED;
	return u;
}

/* Nobody stands on its stack any more. */
void vos_ut_old_locked(struct vos_uthread *u)
{
	if (u->thread != &u->own_thread)
		return; /* the first: its stack is the carrier's block */
	u->next = vos_ut.spare;
	vos_ut.spare = u;
}

static uint32_t new_tid_locked(void)
{
	do {
		vos_ut.next_tid = vos_ut.next_tid >= 0x3ffffff0u ? 0x400000u : vos_ut.next_tid + 1;
	} while (vos_ut_by_tid_locked(vos_ut.next_tid));
	return vos_ut.next_tid;
}

long vos_ut_clone(struct vos_frame *f, const struct vos_ut_clone *q)
{
	struct vos_uthread *self, *u;
	struct vos_frame *frame;
	uint64_t *sp;
	uint32_t tid;

	if ((q->flags & THREAD_FLAGS) != THREAD_FLAGS || q->flags & ~(uint64_t)(THREAD_FLAGS | MORE_FLAGS)) {
		vos_say("threads=mn: a thread that shares less than threads do (clone flags 0x%lx) is refused; run this program with "
			"threads=kernel", q->flags);
		return -EINVAL;
	}
	if (!vos_ut.started && !start())
		return -ENOMEM;
	self = vos_ut_self();
	vos_ut_lock();
	u = vos_ut_new_locked();
	if (u) {
		u->tid = new_tid_locked();
		vos_ut_tid_add(u);
	}
	vos_ut_unlock();
	if (!u)
		return -EAGAIN;
	tid = u->tid;
	if ((q->flags & CLONE_PARENT_SETTID && vos_copy_to_user((void *)(uintptr_t)q->parent_tid, &tid, 4) < 0) ||
	    (q->flags & CLONE_CHILD_SETTID && vos_copy_to_user((void *)(uintptr_t)q->child_tid, &tid, 4) < 0)) {
		vos_ut_lock();
		vos_ut_tid_del(u);
		vos_ut_old_locked(u);
		vos_ut_unlock();
		return -EFAULT;
	}
	/* Point of no return. */
	u->born = vos_ut_ticks();
	u->fs = q->tls;
	if (!(q->flags & CLONE_SETTLS))
		__asm__ volatile("rdfsbase %0" : "=r"(u->fs));
	vos_ut_keep(u);
	frame = (struct vos_frame *)(u->runtime_sp - sizeof *frame);
	*frame = *f;
	frame->rax = 0;
	if (q->stack)
		frame->rsp = q->stack;
	sp = (uint64_t *)frame - 7;
	memset(sp, 0, 6 * sizeof *sp);
	sp[6] = (uint64_t)(uintptr_t)vos_ut_born;
	u->rsp = (uint64_t)sp;
	u->kmask = self->kmask;
	u->own_thread.sigmask = self->thread->sigmask;
	vos_ut_lock();
	if (q->flags & CLONE_CHILD_CLEARTID)
		vos_ut_clear_tid_set(u, q->child_tid);
	u->all_next = vos_ut.all;
	u->all_prev = &vos_ut.all;
	if (vos_ut.all)
		vos_ut.all->all_prev = &u->all_next;
	vos_ut.all = u;
	vos_ut.live++;
	vos_ut.masks_changed = true;
	vos_ut_ready_locked(u);
	if (__builtin_expect(vos_ut.spread, 0))
		vos_ut_balance_locked(vos_ut_me(), true);
	vos_ut_unlock();
	return tid;
}

_Noreturn void vos_ut_exit(long code)
{
	struct vos_uthread *u = vos_ut_self();

	vos_ut_lock();
	if (u->thread != &u->own_thread)
		vos_ut.first_code = code;
	vos_ut_futex_exit_locked(u);
	vos_ut_tid_del(u);
	*u->all_prev = u->all_next;
	if (u->all_next)
		u->all_next->all_prev = u->all_prev;
	/* Two that were the last but one ended at once. */
	if (--vos_ut.live == 0)
		vos_raw1(SYS_exit_group, vos_ut.first_code);
	vos_ut.masks_changed = true;
	vos_ut_sort_locked(u);
	while (u->pend) {
		struct vos_ut_signal *s = u->pend;

		u->pend = s->next;
		vos_free(s);
	}
	/* Parked for ever; whatever idles here meanwhile still stands on this stack, which nobody is given before the exchange. */
	u->intr = false;
	u->state = UT_PARKED;
	vos_ut_me()->dead = u;
	for (;;)
		vos_ut_schedule_locked();
}

bool vos_ut_alone(void)
{
	return vos_ut.live == 1;
}

void vos_ut_fork_child(void)
{
	struct vos_uthread *u = vos_ut_self();

	if (!vos_ut.started)
		return;
	vos_ut_carriers_fork_child();
	/* The others' memory stays as it is: a copy that nobody writes to. */
	for (struct vos_uthread *o = vos_ut.all, *next; o; o = next) {
		next = o->all_next;
		vos_ut_tid_del(o);
		if (o != u)
			vos_ut_old_locked(o);
	}
	vos_ut_timer_reset();
	vos_ut_futex_reset(u);
	vos_ut_helpers_reset();
	vos_ut.remote = vos_ut.jobs = 0;
	vos_ut.all = u;
	u->all_next = NULL;
	u->all_prev = &vos_ut.all;
	u->tid = vos_self()->tid;
	vos_ut_tid_add(u);
	vos_ut.live = 1;
	vos_ut.masks_changed = true;
	while (u->pend) {
		struct vos_ut_signal *s = u->pend;

		u->pend = s->next;
		vos_free(s);
	}
	u->pend_tail = &u->pend;
	u->pend_set = 0;
	vos_ut_preempt_start(vos_ut.home);
}
