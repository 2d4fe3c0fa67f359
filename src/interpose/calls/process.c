/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of threads and processes, credentials, and the kernel's knobs that concern the runtime. */
#include <asm/prctl.h>
#include "../entry/carrier.h"
#include "../entry/room.h"
#include "../entry/stats.h"
#include "../entry/user.h"
#include "../entry/window.h"
#include "../rt/rt.h"
#include "../uthread/uthread.h"
#include "../dispatch/table.h"

/* vos_entry answers these; here they come only from other places. */
long vos_call_getpid(struct vos_frame *f)
{
	(void)f;
	return vos_self()->pid;
}

long vos_call_gettid(struct vos_frame *f)
{
	(void)f;
	return vos_self()->tid;
}

long vos_call_exit(struct vos_frame *f)
{
	struct vos_carrier *c = vos_self();

	if (c->thread->ut) {
		if (vos_ut_alone())
			return vos_call_exit_group(f);
		vos_ut_exit((long)f->rdi);
	}
	vos_lock(&c->proc->lock);
	bool last = c->proc->carriers == c && c->next == NULL;
	vos_unlock(&c->proc->lock);
	if (last)
		return vos_call_exit_group(f);
	vos_carrier_exit((long)f->rdi);
}

long vos_call_exit_group(struct vos_frame *f)
{
	struct vos_proc *p = vos_self()->proc;
	unsigned n = 0;

	vos_self()->counts_native[__NR_exit_group]++;
	vos_stats_flush();
	while (vos_rooms[n])
		n++;
	while (n-- > 0)
		if (vos_rooms[n]->process_exit && !p->guest)
			vos_rooms[n]->process_exit(p);
	for (;;)
		vos_raw1(SYS_exit_group, (long)f->rdi);
}

long vos_call_arch_prctl(struct vos_frame *f)
{
	switch ((int)f->rdi) {
	case ARCH_SET_GS: {
		static _Atomic bool said;

		if (!atomic_exchange(&said, true))
			vos_say("the program wants the GS base, which VirtuOS uses itself: it is refused (EPERM)");
		return -EPERM;
	}
	case ARCH_GET_GS:
		return vos_put_user64(f->rsi, 0);
	default:
		return vos_native(f);
	}
}

static long credentials(struct vos_frame *f)
{
	struct vos_proc *p = vos_self()->proc;
	long r = vos_native(f);

	if (r >= 0)
		vos_ut_cred_changed();
	if (r >= 0)
		for (unsigned i = 0; vos_rooms[i]; i++)
			if (vos_rooms[i]->cred_changed)
				vos_rooms[i]->cred_changed(p);
	return r;
}

long vos_call_setuid(struct vos_frame *f) { return credentials(f); }
long vos_call_setgid(struct vos_frame *f) { return credentials(f); }
long vos_call_setreuid(struct vos_frame *f) { return credentials(f); }
long vos_call_setregid(struct vos_frame *f) { return credentials(f); }
long vos_call_setresuid(struct vos_frame *f) { return credentials(f); }
long vos_call_setresgid(struct vos_frame *f) { return credentials(f); }
long vos_call_setgroups(struct vos_frame *f) { return credentials(f); }

static long fs_credentials(struct vos_frame *f)
{
	vos_remote_fs_ids_set();
	return credentials(f);
}

long vos_call_setfsuid(struct vos_frame *f) { return fs_credentials(f); }
long vos_call_setfsgid(struct vos_frame *f) { return fs_credentials(f); }
