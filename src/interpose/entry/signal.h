/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals: what the kernel knows and what the program believes.
 *
 * Every handler of the program is vos_sig_entry() in the kernel, with all signals masked while that runs (but SIGSEGV, SIGBUS and SIGSYS,
 * which are ours: see user.h and sigsys.c).  It puts the interrupted context right, sets the mask that the program's handler
 * is to run with, and jumps to it.  In the C of the runtime nothing is delivered: the signal is noted, everything masked in
 * the interrupted context, and vos_sig_deliver() sends it again on the way out.
 */
#ifndef VOS_SIGNAL_H
#define VOS_SIGNAL_H

#include <signal.h>
#include "../runtime.h"

#define VOS_NSIG 64
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

/* struct sigaction as the system call has it. */
struct vos_ksigaction {
	uint64_t handler, flags, restorer, mask;
};
#define VOS_SA_RESTORER 0x04000000UL

static inline uint64_t vos_sigbit(int sig)
{
	return 1ULL << (sig - 1);
}
/* Never masked in the kernel, and always with a handler of ours. */
#define VOS_SIG_OURS ((1ULL << (SIGSEGV - 1)) | (1ULL << (SIGBUS - 1)) | (1ULL << (SIGSYS - 1)))

/* The actions of a process, as the program believes them. */
struct vos_sigtab {
	_Atomic uint32_t lock;
	_Atomic uint64_t known;                 /* bit: act[] holds it; else the kernel's own is the truth */
	struct vos_ksigaction act[VOS_NSIG + 1];
};

/* struct ucontext as the kernel writes it on a signal frame.  ABI: MUST NOT CHANGE. */
struct vos_uc {
	uint64_t flags, link;
	stack_t  stack;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
	uint64_t mask;
};
_Static_assert(offsetof(struct vos_uc, mask) == 296, "kernel ABI");

/* The end of the 512 bytes of FXSAVE: what the kernel says about the extended state on a signal frame. */
struct vos_fp_sw {
	uint32_t magic1, extended_size;
	uint64_t xfeatures;
	uint32_t xstate_size, padding[7];
};
_Static_assert(sizeof(struct vos_fp_sw) == 48, "kernel ABI");
#define VOS_FP_MAGIC1 0x46505853U
#define VOS_FP_MAGIC2 0x46505845U

#define VOS_SIG_QUEUE 8

struct vos_sigthread {
	siginfo_t queue[VOS_SIG_QUEUE];
	uint32_t  queued;
	bool      first;                        /* a thread just adopted: saved_mask is to be opened by vos_enter() */
	bool      restore;                      /* restore_mask is what the first handler returns to (as the kernel's saved_sigmask) */
	bool      alt_disarmed;                 /* the kernel may have taken the alternate stack away (SS_AUTODISARM) */
	uint64_t  saved_mask;                   /* the kernel's mask before the first noted signal masked everything */
	uint64_t  restore_mask;
	stack_t   alt;                          /* the program's view */
	uint64_t  uc_flags;
	uint16_t  cs, ss;
	struct vos_fp_sw sw;
	uint64_t  held;                         /* of VOS_SIG_OURS: sent to us while the program believes them masked */
};

/* The handler to run, or 0; and where to go on after it when that is not where its context says (see trampoline.S). */
struct vos_sig_verdict { uint64_t handler, real; };

struct vos_sigthread *vos_sigthread(struct vos_thread *t);
static inline struct vos_sigtab *vos_sigtab(void)
{
	return vos_self()->proc->sigtab;
}

/* trampoline.S */
extern void vos_sig_entry(int sig);
extern void vos_restorer(void);
_Noreturn void vos_sigreturn(void *uc);

/* Called by vos_sig_entry(), which then puts *ret_mask in force. */
struct vos_sig_verdict vos_sig_arrived(int sig, siginfo_t *info, struct vos_uc *uc, uint64_t *ret_mask);
/* Sends the noted signals again and leaves by rt_sigreturn; nr ≥ 0: the call is to be made again.  Returns only when none is noted. */
void vos_sig_deliver(struct vos_frame *f, long nr);
/* Whether the first noted signal's handler lets calls restart (SA_RESTART). */
bool vos_sig_restarts(struct vos_thread *t);

/* Bring-up: our handlers of SIGSEGV, SIGBUS and SIGSYS.  `ignored` and `masked`: what the last image believed (exec). */
void vos_sig_init(struct vos_proc *p, uint64_t ignored, uint64_t masked);
/* For a program that ran before the runtime came: handlers that it has set already, and the alternate stack of a thread. */
void vos_sig_take_over(struct vos_proc *p);
void vos_sig_adopt_altstack(struct vos_thread *t);
/* All signals masked, the old kernel mask returned; and back.  For clone and exit. */
uint64_t vos_sig_block_all(void);
void vos_sig_unblock(uint64_t old);
/* The kernel's alternate stack as the program wants it; `force` when a new image or thread has none. */
void vos_sig_arm_altstack(struct vos_thread *t);

/*
 * For calls with a mask of their own (ppoll, pselect6, epoll_pwait…) that wait in the runtime.  `user_mask`: address in the
 * program or 0.  begin: the mask is in force until end; a signal that it lets through ends waits and is delivered before the
 * old mask returns.  0, -EFAULT, -EINVAL (size), -VOS_ERESTARTNOINTR (hand on).
 */
struct vos_sig_masked { uint64_t old_kernel; bool active; };
int vos_sig_mask_begin(struct vos_sig_masked *m, uint64_t user_mask, uint64_t size);
void vos_sig_mask_end(struct vos_sig_masked *m);

#endif
