/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The calls about signals: what the program believes, and what the kernel is told.  entry/signal.h has the whole. */
#include "../entry/carrier.h"
#include "../entry/signal.h"
#include "../entry/stats.h"
#include "../entry/user.h"
#include "../entry/window.h"
#include "../rt/rt.h"
#include "../uthread/uthread.h"
#include "../dispatch/table.h"

/* sa_flags that this kernel family knows; others are dropped, and so seem to programs that ask (SA_UNSUPPORTED). */
#define KNOWN_FLAGS (SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | (uint64_t)SA_NODEFER | \
		     (uint64_t)(uint32_t)SA_RESETHAND | VOS_SA_RESTORER | 0x800u)

static struct vos_thread *self(void)
{
	return vos_self()->thread;
}

/* The calls that signal handling uses may happen anywhere: here is where the alternate stack is looked after. */
static void look_after_altstack(struct vos_thread *t)
{
	uint64_t lo = (uint64_t)(uintptr_t)t->sig->alt.ss_sp;
	uint64_t rsp = t->frame ? t->frame->rsp : 0;

	/* A handler left by siglongjmp: the kernel still believes its stack in use. */
	if (t->sig->alt_disarmed && !(rsp > lo && rsp - lo <= t->sig->alt.ss_size)) {
		t->sig->alt_disarmed = false;
		vos_sig_arm_altstack(t);
	}
}

void vos_sig_arm_altstack(struct vos_thread *t)
{
	stack_t k = t->sig->alt;

	if (k.ss_flags & SS_DISABLE)
		return;
	/*
	 * Disarmed while a handler runs on it.  Else a signal in the runtime (whose rsp is elsewhere) would make the kernel start
	 * again at the top of it, over the frames of a handler that is still under way.
	 */
	k.ss_flags = (int)SS_AUTODISARM;
	vos_raw2(SYS_sigaltstack, VOS_PTR(&k), 0);
}

static long kernel_action(int sig, const struct vos_ksigaction *a, struct vos_ksigaction *old)
{
	struct vos_ksigaction k = *a;

	if (k.handler > 1 || (VOS_SIG_OURS & vos_sigbit(sig)) || (k.handler == 0 && vos_stats_catches(sig))) {
		if (k.handler <= 1) {
			k.flags = 0;
			k.restorer = 0;
		}
		k.handler = (uint64_t)(uintptr_t)vos_sig_entry;
		k.mask = ~VOS_SIG_OURS;
		k.flags = (k.flags & ~(uint64_t)(uint32_t)SA_RESETHAND) | SA_SIGINFO;
		if (VOS_SIG_OURS & vos_sigbit(sig))
			k.flags |= (uint64_t)SA_NODEFER | SA_RESTART;
		else
			k.flags &= ~(uint64_t)SA_NODEFER;
		if (sig == SIGSYS)
			k.flags |= SA_ONSTACK;
		/* SIGSYS must return by a call that is not trapped itself. */
		if (!(k.flags & VOS_SA_RESTORER) || sig == SIGSYS) {
			k.flags |= VOS_SA_RESTORER;
			k.restorer = (uint64_t)(uintptr_t)vos_restorer;
		}
	}
	return vos_window6(SYS_rt_sigaction, (uint64_t)sig, (uint64_t)(uintptr_t)&k, (uint64_t)(uintptr_t)old, 8, 0, 0);
}

void vos_sig_take_over(struct vos_proc *p)
{
	for (int sig = 1; sig <= VOS_NSIG; sig++) {
		struct vos_ksigaction old = { .handler = 0 };

		if ((VOS_SIG_OURS & vos_sigbit(sig)) || vos_raw4(SYS_rt_sigaction, sig, 0, VOS_PTR(&old), 8) < 0 || old.handler <= 1)
			continue;
		p->sigtab->act[sig] = old;
		atomic_fetch_or(&p->sigtab->known, vos_sigbit(sig));
		kernel_action(sig, &old, NULL);
	}
	/* The alternate stack of this thread; others are asked when they come. */
	vos_sig_adopt_altstack(self());
}

void vos_sig_adopt_altstack(struct vos_thread *t)
{
	stack_t k;

	if (vos_raw2(SYS_sigaltstack, 0, VOS_PTR(&k)) < 0 || (k.ss_flags & SS_DISABLE))
		return;
	k.ss_flags = 0;
	t->sig->alt = k;
	vos_sig_arm_altstack(t);
}

void vos_sig_init(struct vos_proc *p, uint64_t ignored, uint64_t masked)
{
	static const int ours[] = { SIGSEGV, SIGBUS, SIGSYS };
	uint64_t k, view;

	for (unsigned i = 0; i < 3; i++) {
		struct vos_ksigaction *a = &p->sigtab->act[ours[i]], old;

		memset(&old, 0, sizeof old);
		vos_raw4(SYS_rt_sigaction, ours[i], 0, VOS_PTR(&old), 8);
		*a = old;
		if (ignored & vos_sigbit(ours[i]))
			a->handler = (uint64_t)(uintptr_t)SIG_IGN;
		atomic_fetch_or(&p->sigtab->known, vos_sigbit(ours[i]));
		kernel_action(ours[i], a, NULL);
	}
	for (int sig = 1; vos_stats_on() && sig < 32; sig++) {
		struct vos_ksigaction old = { .handler = 1 };

		if (!vos_stats_catches(sig))
			continue;
		vos_raw4(SYS_rt_sigaction, sig, 0, VOS_PTR(&old), 8);
		if (old.handler != 0)
			continue;
		p->sigtab->act[sig] = old;
		atomic_fetch_or(&p->sigtab->known, vos_sigbit(sig));
		kernel_action(sig, &old, NULL);
	}
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, 0, VOS_PTR(&k), 8);
	view = (k | masked) & VOS_SIG_OURS;
	k &= ~VOS_SIG_OURS;
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&k), 0, 8);
	self()->sigmask = view;
}

uint64_t vos_sig_block_all(void)
{
	uint64_t all = ~0ULL, old = 0;

	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&all), VOS_PTR(&old), 8);
	return old;
}

void vos_sig_unblock(uint64_t old)
{
	old &= ~VOS_SIG_OURS;
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&old), 0, 8);
}

long vos_call_rt_sigaction(struct vos_frame *f)
{
	struct vos_sigtab *tab = vos_sigtab();
	struct vos_ksigaction act = { 0 }, old = { 0 };
	int sig = (int)f->rdi;
	bool set = f->rsi != 0, known;
	long r;

	if (f->r10 != 8)
		return -EINVAL;
	if (set && vos_copy_from_user(&act, (void *)(uintptr_t)f->rsi, sizeof act) < 0)
		return -EFAULT;
	if (sig < 1 || sig > VOS_NSIG || (set && (sig == SIGKILL || sig == SIGSTOP)))
		return -EINVAL;
	act.flags &= KNOWN_FLAGS;
	act.mask &= ~(vos_sigbit(SIGKILL) | vos_sigbit(SIGSTOP));

	vos_lock(&tab->lock);
	known = atomic_load(&tab->known) & vos_sigbit(sig);
	if (known)
		old = tab->act[sig];
	else
		vos_raw4(SYS_rt_sigaction, sig, 0, VOS_PTR(&old), 8);
	r = 0;
	if (set) {
		/*
		 * Our table first when a handler comes, the kernel first when one goes: a signal in between always finds in the
		 * table what to run.
		 */
		if (act.handler > 1) {
			tab->act[sig] = act;
			atomic_fetch_or(&tab->known, vos_sigbit(sig));
		}
		r = kernel_action(sig, &act, NULL);
		if (r < 0) {
			tab->act[sig] = old;
		} else {
			tab->act[sig] = act;
			atomic_fetch_or(&tab->known, vos_sigbit(sig));
		}
	}
	vos_unlock(&tab->lock);
	look_after_altstack(self());
	if (r == 0 && f->rdx && vos_copy_to_user((void *)(uintptr_t)f->rdx, &old, sizeof old) < 0)
		return -EFAULT;
	return r;
}

/* Signals of ours that came while the program believed them masked. */
static void release_held(struct vos_thread *t)
{
	uint64_t go = t->sig->held & ~t->sigmask;

	t->sig->held &= ~go;
	for (int sig = 1; go; sig++, go >>= 1)
		if (go & 1)
			vos_raw3(SYS_tgkill, t->carrier->pid, t->carrier->ktid, sig);
}

long vos_call_rt_sigprocmask(struct vos_frame *f)
{
	struct vos_thread *t = self();
	uint64_t set = 0, kset, kold = 0, view = t->sigmask;
	int how = (int)f->rdi;
	long r;

	if (f->r10 != 8)
		return -EINVAL;
	if (f->rsi) {
		if (vos_get_user64(&set, f->rsi) < 0)
			return -EFAULT;
		if (how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK)
			return -EINVAL;
	}
	kset = set & ~VOS_SIG_OURS;
	if (t->ut) {
		if (atomic_load_explicit(&t->sig_pending, memory_order_relaxed))
			return -VOS_ERESTARTNOINTR;
		kold = vos_ut_masked(t);
		if (f->rsi)
			vos_ut_mask_lazily(how == SIG_BLOCK ? kold | kset : how == SIG_UNBLOCK ? kold & ~kset : kset);
	} else {
		r = vos_window6(SYS_rt_sigprocmask, (uint64_t)how, f->rsi ? (uint64_t)(uintptr_t)&kset : 0, (uint64_t)(uintptr_t)&kold, 8,
				0, 0);
		if (r < 0)
			return r;
	}
	if (f->rsi) {
		uint64_t ours = set & VOS_SIG_OURS;

		t->sigmask = how == SIG_BLOCK ? view | ours : how == SIG_UNBLOCK ? view & ~ours : ours;
		if (t->sig->held & ~t->sigmask)
			release_held(t);
	}
	if (t->sig->alt_disarmed)
		look_after_altstack(t);
	if (f->rdx && vos_put_user64(f->rdx, kold | view) < 0)
		return -EFAULT;
	return 0;
}

long vos_call_rt_sigpending(struct vos_frame *f)
{
	uint64_t set = 0;
	long r;

	if (f->rsi > 8)
		return -EINVAL;
	r = vos_window3(SYS_rt_sigpending, (uint64_t)(uintptr_t)&set, 8, 0);
	if (r < 0)
		return r;
	set |= self()->sig->held;
	if (self()->ut)
		set |= vos_ut_pending(self());
	return vos_copy_to_user((void *)(uintptr_t)f->rdi, &set, f->rsi);
}

long vos_call_sigaltstack(struct vos_frame *f)
{
	struct vos_thread *t = self();
	stack_t new, old = t->sig->alt;
	uint64_t lo = (uint64_t)(uintptr_t)old.ss_sp;
	bool on = !(old.ss_flags & SS_DISABLE) && f->rsp > lo && f->rsp - lo <= old.ss_size;
	long r;

	if (f->rdi) {
		stack_t k;

		if (vos_copy_from_user(&new, (void *)(uintptr_t)f->rdi, sizeof new) < 0)
			return -EFAULT;
		if (on)
			return -EPERM;
		k = new;
		if (!(k.ss_flags & SS_DISABLE))
			k.ss_flags |= (int)SS_AUTODISARM;
		r = vos_window3(SYS_sigaltstack, (uint64_t)(uintptr_t)&k, 0, 0);
		if (r < 0)
			return r;
		if (new.ss_flags & SS_DISABLE) {
			new.ss_sp = NULL;
			new.ss_size = 0;
		}
		new.ss_flags &= ~SS_ONSTACK;
		t->sig->alt = new;
		t->sig->alt_disarmed = false;
	}
	if (on)
		old.ss_flags |= SS_ONSTACK;
	if (f->rsi && vos_copy_to_user((void *)(uintptr_t)f->rsi, &old, sizeof old) < 0)
		return -EFAULT;
	return 0;
}

int vos_sig_mask_begin(struct vos_sig_masked *m, uint64_t user_mask, uint64_t size)
{
	uint64_t mask;
	long r;

	m->active = false;
	if (!user_mask)
		return 0;
	if (size != 8)
		return -EINVAL;
	if (vos_get_user64(&mask, user_mask) < 0)
		return -EFAULT;
	mask &= ~VOS_SIG_OURS;
	r = vos_window6(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)(uintptr_t)&mask, (uint64_t)(uintptr_t)&m->old_kernel, 8, 0, 0);
	if (r < 0)
		return (int)r;
	m->active = true;
	if (self()->ut)
		vos_ut_mask_changed(mask);
	return 0;
}

void vos_sig_mask_end(struct vos_sig_masked *m)
{
	struct vos_thread *t = self();

	if (!m->active)
		return;
	m->active = false;
	if (vos_window6(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)(uintptr_t)&m->old_kernel, 0, 8, 0, 0) == -VOS_ERESTARTNOINTR) {
		/* A signal is noted: it is delivered under the mask of the call, and its handler returns to the old one. */
		t->sig->restore = true;
		t->sig->restore_mask = m->old_kernel;
	} else if (t->ut) {
		vos_ut_mask_changed(m->old_kernel);
	}
}
