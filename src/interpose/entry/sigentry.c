/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A signal has arrived, or one that was noted is sent on its way.  signal.h tells the whole. */
#include <sys/mman.h>
#include "../rewrite/apply.h"
#include "../rt/rt.h"
#include "../uthread/uthread.h"
#include "carrier.h"
#include "enter.h"
#include "frame.h"
#include "signal.h"
#include "sigsys.h"
#include "stats.h"
#include "user.h"

struct region { uint64_t start, kind; };
extern const struct region vos_regions[] __attribute__((visibility("hidden")));
struct fixup { uint64_t start, end, to; };
extern const struct fixup vos_user_fixups[], vos_user_fixups_end[] __attribute__((visibility("hidden")));
extern const char vos_entry[], vos_window_out[], vos_sig_back[] __attribute__((visibility("hidden")));
extern uint64_t vos_first_rsp __attribute__((visibility("hidden")));

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif
#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

static unsigned region_of(uint64_t rip)
{
	unsigned kind = VOS_AT_NONE_;

	if (rip < vos_regions[0].start)
		return kind;
	for (const struct region *r = vos_regions; rip >= r->start; r++)
		kind = (unsigned)r->kind;
	return kind;
}

static bool vos_in_runtime(uint64_t rip)
{
	extern const char __ehdr_start[], etext[] __attribute__((visibility("hidden")));

	return rip >= (uint64_t)(uintptr_t)__ehdr_start && rip < (uint64_t)(uintptr_t)etext;
}

static bool mend_user_fault(struct vos_uc *uc)
{
	for (const struct fixup *x = vos_user_fixups; x < vos_user_fixups_end; x++)
		if (uc->rip >= x->start && uc->rip < x->end) {
			uc->rip = x->to;
			return true;
		}
	return false;
}

static void send_again(struct vos_carrier *c, int sig, const siginfo_t *info)
{
	/* The queue of signals is full: a plain signal still gets through, as from kill(2). */
	if (vos_raw4(SYS_rt_tgsigqueueinfo, c->pid, c->ktid, sig, VOS_PTR(info)) < 0)
		vos_raw3(SYS_tgkill, c->pid, c->ktid, sig);
}

static void default_action(int sig)
{
	struct vos_ksigaction dfl = { 0 };

	vos_raw4(SYS_rt_sigaction, sig, VOS_PTR(&dfl), 0, 8);
}

/* The kernel's own check (on_sig_stack). */
static bool on_alt(const stack_t *alt, uint64_t rsp)
{
	uint64_t lo = (uint64_t)(uintptr_t)alt->ss_sp;

	return alt->ss_size && rsp > lo && rsp - lo <= alt->ss_size;
}

/* What signal frames look like here: for signals that are delivered to a uthread without ever having come as one. */
static struct { bool known; uint64_t flags; uint16_t cs, ss; struct vos_fp_sw sw; } model;

static void learn_model(const struct vos_uc *uc)
{
	const char *fp = (const char *)(uintptr_t)uc->fpstate;

	model.flags = uc->flags;
	model.cs = uc->cs;
	model.ss = uc->ss;
	if (fp)
		memcpy(&model.sw, fp + 464, sizeof model.sw);
	model.known = true;
}

static void note(struct vos_thread *t, siginfo_t *info, struct vos_uc *uc)
{
	struct vos_sigthread *s = t->sig;
	const char *fp = (const char *)(uintptr_t)uc->fpstate;

	VOS_ASSERT(s->queued < VOS_SIG_QUEUE);
	if (s->queued == 0) {
		s->saved_mask = t->ut ? vos_ut_mask(t, uc->mask) : uc->mask;
		s->uc_flags = uc->flags;
		s->cs = uc->cs;
		s->ss = uc->ss;
		if (fp)
			memcpy(&s->sw, fp + 464, sizeof s->sw);
	}
	s->queue[s->queued++] = *info;
	uc->mask = ~VOS_SIG_OURS;
	if (t->ut)
		vos_ut_noted();
	atomic_store_explicit(&t->sig_pending, 1, memory_order_relaxed);
}

static void registers_of_frame(struct vos_uc *uc, const struct vos_frame *f)
{
	uc->r15 = f->r15, uc->r14 = f->r14, uc->r13 = f->r13, uc->r12 = f->r12;
	uc->rbp = f->rbp, uc->rbx = f->rbx, uc->r9 = f->r9, uc->r8 = f->r8, uc->r10 = f->r10;
	uc->rdx = f->rdx, uc->rsi = f->rsi, uc->rdi = f->rdi, uc->rax = f->rax;
	uc->rip = uc->rcx = f->rip;
	uc->rflags = uc->r11 = f->rflags;
	uc->rsp = f->rsp;
}

/*
 * The program's handler must find itself interrupted in the program's own code, not in a stub: rip becomes what it would
 * be without us.  Returns where to go on in truth, or 0 when that is rip.
 */
static uint64_t show_own_code(struct vos_uc *uc, bool restart)
{
	struct vos_rewrite_place place;
	uint64_t real = uc->rip;

	if (restart) {
		/* On its syscall instruction, as a call that is to be made (again) looks: where our jump may stand now. */
		uc->rip = vos_rewrite_site_of(uc->rcx, &place) ? place.site : uc->rcx - 2;
		return real;
	}
	if (!vos_rewrite_site_of(uc->rip, &place))
		return 0;
	uc->rip = place.rip;
	return real;
}

/* The mask that the kernel had in force for the time of this call, if the call is one of those. */
static bool temporary_mask(const struct vos_carrier *c, const struct vos_uc *uc, uint64_t *ret_mask)
{
	uint64_t at = 0, pair[2];

	switch (c->nr) {
	case __NR_rt_sigsuspend: at = uc->rdi; break;
	case __NR_ppoll: at = uc->r10; break;
	case __NR_epoll_pwait:
	case __NR_epoll_pwait2: at = uc->r8; break;
	case __NR_pselect6:
	case __NR_io_pgetevents:
		if (uc->r9 == 0 || vos_copy_from_user(pair, (void *)(uintptr_t)uc->r9, sizeof pair) < 0)
			return false;
		at = pair[0];
		break;
	}
	return at && vos_copy_from_user(ret_mask, (void *)(uintptr_t)at, 8) == 0;
}

_Noreturn static void crash(int sig, const siginfo_t *info, const struct vos_uc *uc)
{
	extern const char __ehdr_start[] __attribute__((visibility("hidden")));

	vos_say("internal error: signal %d at libvirtuos+0x%lx, address %p (call %u); please report this", sig,
		uc->rip - (uint64_t)(uintptr_t)__ehdr_start, info->si_addr, vos_self()->nr);
	default_action(sig);
	vos_raw3(SYS_tgkill, vos_raw0(SYS_getpid), vos_raw0(SYS_gettid), sig);
	for (;;)
		vos_raw1(SYS_exit_group, 128 + sig);
}

/*
 * A signal found vos_sig_entry of another between the opening of the mask and the handler, or between the handler and the return:
 * uc becomes what it would be at the handler's first instruction, or behind its last.
 */
static void finish_entry(struct vos_uc *uc, unsigned at)
{
	uint64_t *p = (uint64_t *)uc->rsp; /* as pushed: mask or rip seen, rip in truth, context, info, sig; then the return address */
	struct vos_uc *outer = (struct vos_uc *)p[2];

	switch (at) {
	case VOS_AT_SIG_OPEN:
		uc->rdx = p[2], uc->rsi = p[3], uc->rdi = p[4], uc->rax = 0;
		if (p[1] == 0) {
			uc->rsp = (uint64_t)(p + 5);
		} else {
			p[0] = outer->rip;
			p[-1] = (uint64_t)(uintptr_t)vos_sig_back;
			uc->rsp = (uint64_t)(p - 1);
		}
		/* fall through */
	case VOS_AT_SIG_JUMP:
		uc->rip = uc->r12;
		break;
	case VOS_AT_SIG_BACK:
		/* vos_sig_back looks at these: also when nothing was to be changed (p[1] == 0), it changes nothing then. */
		if (p[1] && outer->rip == p[0])
			outer->rip = p[1];
		uc->rip = p[5];
		uc->rsp = (uint64_t)(p + 6);
		break;
	case VOS_AT_SIG_RET:
		uc->rip = p[0];
		uc->rsp = (uint64_t)(p + 1);
		break;
	}
}

struct vos_sig_verdict vos_sig_arrived(int sig, siginfo_t *info, struct vos_uc *uc, uint64_t *ret_mask)
{
	const struct vos_sig_verdict nothing = { 0, 0 };
	const bool fault = info->si_code > 0 && (sig == SIGSEGV || sig == SIGBUS);
	const uint64_t flag_of_sender = (uint64_t)1 << (sig - 1);
	struct vos_carrier *c;
	struct vos_thread *t;
	struct vos_sigthread *s;
	struct vos_ksigaction act;
	struct vos_sigtab *tab;
	uint64_t mask, resume = 0;
	bool restart = false;
	unsigned at = region_of(uc->rip);

	if (fault && mend_user_fault(uc))
		return nothing;
	if (vos_gs_base() == 0) {
		if (at == VOS_AT_FIRST) {
			/* Either it waits for its turn, or ecx = 0 says that it has it, or it is on the first stack. */
			vos_thread_first_signal(&uc->mask, uc->rcx == 0);
			vos_raw4(SYS_rt_tgsigqueueinfo, vos_raw0(SYS_getpid), vos_raw0(SYS_gettid), sig, VOS_PTR(info));
			return nothing;
		}
		vos_thread_adopt_in_signal();
	}
	c = vos_self();
	t = c->thread;
	s = t->sig;

	if (sig == SIGSYS && info->si_code == SYS_USER_DISPATCH) {
		/* A site that is not patched.  From vos_entry on it is a call like any other. */
		vos_stats_fallback_hit();
		uc->rcx = uc->rip;
		uc->rip = (uint64_t)(uintptr_t)vos_entry;
		return nothing;
	}
	if (sig == SIGSYS && info->si_code == VOS_SI_SUD) {
		vos_sud_thread();
		if (at == VOS_AT_DONE && (long)uc->rax == -EINTR) {
			/* The program must not hear of it: the call is made again. */
			uc->rax = c->nr;
			uc->rcx = c->resume;
			uc->rip = (uint64_t)(uintptr_t)vos_entry;
		}
		return nothing;
	}

	if (sig == SIGSYS && info->si_code == VOS_SI_KICK && vos_ut_kicked(c)) {
		if (at == VOS_AT_WINDOW)
			uc->rip = (uint64_t)(uintptr_t)vos_window_out;
		return nothing;
	}
	if (sig == SIGSYS && (info->si_code == SI_TIMER || info->si_code == VOS_SI_TICK) && vos_ut_on) {
		if (!model.known)
			learn_model(uc);
		if (at == VOS_AT_DONE && (long)uc->rax == -EINTR) {
			uc->rax = c->nr;
			uc->rcx = c->resume;
			uc->rip = (uint64_t)(uintptr_t)vos_entry;
		} else {
			bool program = true;

			/* Just before a call or behind it all is the program's but for a register or two. */
			switch (at) {
			case VOS_AT_RCX:
				uc->rip = (uint64_t)(uintptr_t)vos_entry;
				break;
			case VOS_AT_R11:
				uc->rcx = uc->r11;
				uc->rip = (uint64_t)(uintptr_t)vos_entry;
				break;
			case VOS_AT_BEGIN:
				uc->rcx = c->resume;
				uc->rip = (uint64_t)(uintptr_t)vos_entry;
				break;
			case VOS_AT_DONE:
				uc->rip = uc->rcx = c->resume;
				break;
			case VOS_AT_DONE_RCX:
				uc->rip = uc->rcx;
				break;
			default:
				program = at == VOS_AT_NONE_ && !vos_in_runtime(uc->rip);
			}
			vos_ut_tick(program && !vos_ut_switching() && !(uc->rsp > c->runtime_lo && uc->rsp <= c->runtime_sp),
				    info->si_code == SI_TIMER, uc->mask);
		}
		return nothing;
	}

	switch (at) {
	case VOS_AT_RCX:
		resume = uc->rcx, restart = true;
		break;
	case VOS_AT_R11:
		resume = uc->r11, restart = true;
		break;
	case VOS_AT_BEGIN:
		resume = c->resume, restart = true;
		break;
	case VOS_AT_DONE:
		uc->rip = uc->rcx = c->resume;
		if (sig == SIGSYS && info->si_code == SYS_SECCOMP)
			info->si_call_addr = (void *)c->resume; /* a filter of the program trapped its call */
		break;
	case VOS_AT_DONE_RCX:
		uc->rip = uc->rcx;
		break;
	case VOS_AT_SIG_OPEN:
	case VOS_AT_SIG_JUMP:
	case VOS_AT_SIG_BACK:
	case VOS_AT_SIG_RET:
		finish_entry(uc, at);
		break;
	case VOS_AT_BELOW:
	case VOS_AT_FRAMED:
	case VOS_AT_LEAVE:
		/* This very signal frame lies on the runtime stack: mend the context and let the kernel deliver once more. */
		if (fault)
			crash(sig, info, uc);
		if (at == VOS_AT_LEAVE) {
			registers_of_frame(uc, vos_carrier_frame(c));
		} else if (at == VOS_AT_FRAMED) {
			registers_of_frame(uc, vos_carrier_frame(c));
			uc->rip = (uint64_t)(uintptr_t)vos_entry;
		} else {
			uc->rsp = uc->rcx;
			uc->rcx = c->resume;
			uc->rip = (uint64_t)(uintptr_t)vos_entry;
		}
		send_again(c, sig, info);
		return nothing;
	default:
		if ((uc->rsp > c->runtime_lo && uc->rsp <= c->runtime_sp) || (t->ut && vos_ut_switching())) {
			if (fault)
				crash(sig, info, uc);
			if (sig == SIGSYS && info->si_code == SYS_SECCOMP && t->frame)
				info->si_call_addr = (void *)t->frame->rip;
			note(t, info, uc);
			vos_remote_kick(c);
			if (at == VOS_AT_WINDOW)
				uc->rip = (uint64_t)(uintptr_t)vos_window_out;
			return nothing;
		}
	}

	/* The program was interrupted, as far as it can tell. */
	if (t->ut && vos_ut_held_back(t, sig, &uc->mask)) {
		if (restart) {
			uc->rcx = resume;
			uc->rip = (uint64_t)(uintptr_t)vos_entry;
		}
		if (!fault && info->si_code > 0 && (sig == SIGFPE || sig == SIGILL || sig == SIGTRAP)) {
			default_action(sig); /* masked, it ends the process: when it comes again at once */
			uc->mask &= ~flag_of_sender;
			return nothing;
		}
		if (at == VOS_AT_DONE && (long)uc->rax == -EINTR) {
			uc->rax = c->nr;
			uc->rcx = c->resume;
			uc->rip = (uint64_t)(uintptr_t)vos_entry;
		}
		/* Masked from here on, it waits in the kernel. */
		send_again(c, sig, info);
		vos_ut_sent(sig);
		return nothing;
	}
	tab = vos_sigtab();
	vos_lock(&tab->lock);
	act = tab->act[sig];
	if (!(atomic_load(&tab->known) & flag_of_sender) && !(VOS_SIG_OURS & flag_of_sender))
		act.handler = (uint64_t)(uintptr_t)SIG_DFL;
	if ((act.flags & SA_RESETHAND) && act.handler > 1) {
		tab->act[sig].handler = (uint64_t)(uintptr_t)SIG_DFL;
		if (!(VOS_SIG_OURS & flag_of_sender))
			default_action(sig);
	}
	vos_unlock(&tab->lock);

	if (restart) {
		/* Until the handler is known to run: back to the call without ado. */
		uc->rcx = resume;
		uc->rip = (uint64_t)(uintptr_t)vos_entry;
	}
	if ((VOS_SIG_OURS & flag_of_sender) && (t->sigmask & flag_of_sender)) {
		if (!fault && info->si_code <= 0) {
			s->held |= flag_of_sender;
			return nothing;
		}
		act.handler = (uint64_t)(uintptr_t)SIG_DFL; /* a fault that is masked ends the process */
	}
	if (act.handler == (uint64_t)(uintptr_t)SIG_IGN && !fault)
		return nothing;
	if (act.handler <= 1) {
		/* As the kernel would have done: on a fault by faulting again, else by the same signal without our handler. */
		vos_stats_flush();
		default_action(sig);
		if (!fault)
			send_again(c, sig, info);
		return nothing;
	}
	if (s->restore) {
		uc->mask = s->restore_mask;
		s->restore = false;
	}
	mask = uc->mask;
	if (at == VOS_AT_DONE && (long)uc->rax == -EINTR)
		temporary_mask(c, uc, &mask);
	if (on_alt(&s->alt, (uint64_t)(uintptr_t)uc))
		s->alt_disarmed = true;
	if (t->ut)
		vos_ut_handler(t, (uint64_t)(uintptr_t)uc);
	mask |= act.mask;
	if (!(act.flags & SA_NODEFER))
		mask |= flag_of_sender;
	resume = show_own_code(uc, restart);
	*ret_mask = mask & ~VOS_SIG_OURS;
	return (struct vos_sig_verdict){ act.handler, resume };
}

bool vos_sig_restarts(struct vos_thread *t)
{
	struct vos_sigtab *tab = t->carrier->proc->sigtab;
	int sig = t->sig->queued ? t->sig->queue[0].si_signo : t->ut ? vos_ut_first_signal(t) : 0;
	struct vos_ksigaction a = tab->act[sig];

	return a.handler <= 1 || (a.flags & SA_RESTART);
}

struct sigframe {
	struct vos_uc uc;
	siginfo_t info;
};

void vos_sig_deliver(struct vos_frame *f, long nr)
{
	struct vos_carrier *c = vos_self();
	struct vos_thread *t = c->thread;
	struct vos_sigthread *s = t->sig;
	struct vos_uc *uc;
	char *fp;
	uint32_t size;

	if (t->ut) {
		vos_ut_settle(t);
		if (s->queued == 0) {
			if (!vos_ut_first_signal(t)) {
				vos_ut_remask(t);
				return;
			}
			s->saved_mask = vos_ut_mask(t, 0);
			s->uc_flags = model.flags;
			s->cs = model.cs;
			s->ss = model.ss;
			s->sw = model.sw;
		}
	} else if (s->queued == 0) {
		return;
	}
	/* All is masked in the kernel, now also what is ours: they stay pending until the sigreturn below. */
	vos_sig_block_all();
	for (uint32_t i = 0; i < s->queued; i++) {
		send_again(c, s->queue[i].si_signo, &s->queue[i]);
		if (t->ut)
			vos_ut_sent(s->queue[i].si_signo);
	}
	s->queued = 0;
	/* Before what is sent to a uthread is taken: another carrier may be sending more. */
	atomic_store_explicit(&t->sig_pending, 0, memory_order_relaxed);
	if (t->ut) {
		vos_ut_release(t);
		vos_ut_mask_left(s->saved_mask);
	}

	/*
	 * A frame as the kernel's own, well below this function's on the runtime stack.  The vector registers are still the
	 * program's: the runtime has not touched any.
	 */
	size = s->sw.magic1 == VOS_FP_MAGIC1 ? s->sw.xstate_size : 512;
	fp = __builtin_alloca(size + 4 + 64 + sizeof *uc + 64);
	uc = (struct vos_uc *)(((uintptr_t)fp + 15) & ~15UL);
	fp = (char *)(((uintptr_t)(uc + 1) + 63) & ~63UL);
	memset(uc, 0, sizeof *uc);
	uc->flags = s->uc_flags;
	uc->cs = s->cs;
	uc->ss = s->ss;
	uc->mask = s->saved_mask;
	registers_of_frame(uc, f);
	if (nr >= 0) {
		uc->rax = (uint64_t)nr;
		uc->rip = (uint64_t)(uintptr_t)vos_entry;
	}
	uc->stack = s->alt;
	if (on_alt(&s->alt, f->rsp) || (s->alt.ss_flags & SS_DISABLE))
		uc->stack = (stack_t){ .ss_flags = SS_DISABLE };
	else
		uc->stack.ss_flags = (int)SS_AUTODISARM;
	uc->fpstate = (uint64_t)(uintptr_t)fp;
	if (size > 512) {
		memset(fp + 512, 0, 64); /* XSAVE leaves reserved parts of its header alone */
		__asm__ volatile("xsave64 (%0)" : : "r"(fp), "a"((uint32_t)s->sw.xfeatures), "d"((uint32_t)(s->sw.xfeatures >> 32))
				 : "memory");
		memcpy(fp + 464, &s->sw, sizeof s->sw);
		*(uint32_t *)(void *)(fp + size) = VOS_FP_MAGIC2;
	} else {
		__asm__ volatile("fxsave64 (%0)" : : "r"(fp) : "memory");
		memset(fp + 464, 0, sizeof s->sw);
	}
	vos_sigreturn(uc);
}
