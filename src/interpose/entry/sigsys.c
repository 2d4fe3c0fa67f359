/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/prctl.h>
#include "../rt/rt.h"
#include "carrier.h"
#include "sigsys.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

/* The runtime's text (linker): calls from there pass. */
extern const char etext[] __attribute__((visibility("hidden")));

static _Atomic bool wanted;
static _Atomic bool absent;

bool vos_sud_wanted(void)
{
	return atomic_load(&wanted);
}

/* No selector: every call from elsewhere comes to us, and nothing has to be flipped around ours. */
static long arm(bool on)
{
	extern const char __ehdr_start[] __attribute__((visibility("hidden")));
	uint64_t start = (uint64_t)(uintptr_t)__ehdr_start & ~4095UL;
	uint64_t end = ((uint64_t)(uintptr_t)etext + 4095) & ~4095UL;

	return vos_raw6(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, on, on ? (long)start : 0, on ? (long)(end - start) : 0, 0, 0);
}

void vos_sud_thread(void)
{
	if (arm(atomic_load(&wanted)) < 0 && atomic_load(&wanted) && !atomic_exchange(&absent, true))
		vos_say("this kernel has no Syscall User Dispatch (CONFIG_GENERIC_ENTRY, Linux 5.11): calls from code that could "
			"not be patched go past VirtuOS");
}

static void tell_others(void)
{
	struct vos_carrier *self = vos_self();
	struct vos_proc *p = self->proc;
	siginfo_t info;

	memset(&info, 0, sizeof info);
	info.si_signo = SIGSYS;
	info.si_code = VOS_SI_SUD;
	vos_lock(&p->lock);
	for (struct vos_carrier *c = p->carriers; c; c = c->next)
		if (c != self && c->ktid)
			vos_raw4(SYS_rt_tgsigqueueinfo, c->pid, c->ktid, SIGSYS, VOS_PTR(&info));
	vos_unlock(&p->lock);
}

void vos_sud_want(const char *why)
{
	if (atomic_exchange(&wanted, true))
		return;
	vos_note("calls from code that cannot be patched are trapped from now on (%s)", why);
	vos_sud_thread();
	tell_others();
}

void vos_sud_unwant(void)
{
	if (!atomic_exchange(&wanted, false))
		return;
	arm(false);
	tell_others();
}
