/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vos_entry: where every system call of the program comes, from a patched site or from the SIGSYS handler.
 *
 * In:  rcx = where the program goes on (what the kernel would put there), rax = the number, r11 free, all else the
 *      program's: also rsp, the red zone below it, and the flags.
 * Out: by `jmp *%rcx`, rax = result, rcx = rip and r11 = rflags as after a `syscall`, all else untouched.
 *
 * The fast paths use no stack and no instruction that changes a flag (so: lea for add, jrcxz for tests): the kernel itself
 * then puts the program's own flags into r11.  A signal may come between any two instructions; vos_regions[] tells
 * vos_sig_arrived() what each range means, so the program never sees a register of ours.
 */
#include "frame.h"

	.text
	.balign	64
	.globl	vos_entry
	.hidden	vos_entry
	.type	vos_entry, @function
vos_entry:
	.cfi_startproc
	/* The caller's frame is the program's: its rip is in rcx, nothing is pushed. */
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rcx
	mov	%rcx, %r11
.Lr11:	rdgsbase %rcx
	jrcxz	.Lfirst_near
	mov	%r11, %gs:C_RESUME
.Lbegin:
	mov	%eax, %gs:C_NR
	movzwl	%gs:C_NR + 2, %ecx
	jrcxz	1f
	jmp	.Lslow			/* no number of a call, x32 or out of all range */
.Lfirst_near:
	jmp	vos_entry_first
1:	movzwl	%ax, %ecx
	lea	vos_go(%rip), %r11
	movzbl	(%r11,%rcx), %ecx
	jrcxz	.Lnative
	lea	-1(%rcx), %ecx
	jrcxz	.Lfd
	lea	-1(%rcx), %ecx
	jrcxz	.Lgetpid
	lea	-1(%rcx), %ecx
	jrcxz	2f
	jmp	.Lslow
2:	jmp	.Lgettid
.Lfd:	mov	%edi, %gs:C_FD
	movzwl	%gs:C_FD + 2, %ecx
	jrcxz	1f
	jmp	.Lslow
1:	mov	%gs:C_FDKIND, %r11
	movzwl	%di, %ecx
	movzbl	(%r11,%rcx), %ecx
	jrcxz	.Lnative
	jmp	.Lslow
.Lnative:
	movzwl	%ax, %ecx
	mov	%gs:C_NATIVE(,%rcx,8), %r11
	lea	1(%r11), %r11
	mov	%r11, %gs:C_NATIVE(,%rcx,8)
	syscall
	.globl	vos_call_place_entry
	.hidden	vos_call_place_entry
vos_call_place_entry:
.Ldone:
	mov	%gs:C_RESUME, %rcx
	jmp	*%rcx

	/* The answer to call \nr stands in the carrier; \n tells the labels of vos_regions apart. */
	.macro	ANSWER nr, from, n
	mov	%rsp, %rcx
	mov	%gs:C_RUNTIME_SP, %rsp
.Lbelow\n:
	pushfq
	pop	%r11
	mov	%rcx, %rsp
.Lbegin\n:
	mov	%gs:C_RUNTIME + \nr * 8, %rcx
	lea	1(%rcx), %rcx
	mov	%rcx, %gs:C_RUNTIME + \nr * 8
	mov	%gs:\from, %eax
.Ldone\n:
	mov	%gs:C_RESUME, %rcx
	jmp	*%rcx
	.endm

.Lgetpid:
	ANSWER	39, C_PID, 1
.Lgettid:
	ANSWER	186, C_TID, 2

.Lslow:
	mov	%rsp, %rcx
	mov	%gs:C_RUNTIME_SP, %rsp
.Lbelow3:
	push	%rcx
	pushfq
	push	%gs:C_RESUME
	push	%rax
	push	%rdi
	push	%rsi
	push	%rdx
	push	%r10
	push	%r8
	push	%r9
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
.Lframed:
	/* A string copy of C must run upwards, and an unaligned access of C must not trap (AC). */
	testl	$0x40400, FRAME_RIP + 8(%rsp)
	jz	1f
	pushfq
	andl	$~0x40400, (%rsp)
	popfq
1:
	/* The program's frame is all in struct vos_frame; unwinders go on there. */
	/* CFA = the program's rsp, read from the frame: DW_CFA_def_cfa_expression, len 4, breg7(120), deref. */
	.cfi_escape 0x0f, 0x04, 0x77, 0xf8, 0x00, 0x06
	.cfi_escape 0x10, 16, 0x03, 0x77, 0xe8, 0x00	/* rip at rsp + 104 */
	.cfi_escape 0x10, 15, 0x02, 0x77, 0
	.cfi_escape 0x10, 14, 0x02, 0x77, 8
	.cfi_escape 0x10, 13, 0x02, 0x77, 16
	.cfi_escape 0x10, 12, 0x02, 0x77, 24
	.cfi_escape 0x10, 6, 0x02, 0x77, 32
	.cfi_escape 0x10, 3, 0x02, 0x77, 40
	mov	%rsp, %rdi
.Lin_c:
	call	vos_enter
	.globl	vos_entry_leave
	.hidden	vos_entry_leave
vos_entry_leave:
.Lleave:
	/* Noted after the last look of vos_enter(), or before it returned: then not by these registers. */
	mov	%gs:C_THREAD, %rax
	cmpl	$0, T_PENDING(%rax)
	jne	.Lpending
.Lleave_pop:
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	pop	%r9
	pop	%r8
	pop	%r10
	pop	%rdx
	pop	%rsi
	pop	%rdi
	pop	%rax
	pop	%rcx
	mov	(%rsp), %r11
	popfq
	mov	(%rsp), %rsp
.Ldone_rcx:
	jmp	*%rcx
.Lpending:
	mov	%rsp, %rdi
	mov	$-1, %rsi
.Lpending_c:
	call	vos_sig_deliver
	jmp	.Lleave
.Lentry_end:
	.cfi_endproc
	.size	vos_entry, . - vos_entry

/*
 * A thread without a carrier: one that ran before us, or that code we did not see has made.  There is no stack of ours and
 * no register to spare, so such threads come through here one at a time, on a stack of the process.
 */
	.type	vos_entry_first, @function
vos_entry_first:
	.cfi_startproc
	.cfi_undefined rip
1:	mov	$1, %ecx
	xchg	%ecx, vos_first_lock(%rip)
	jrcxz	2f
	pause
	jmp	1b
2:	mov	%rsp, vos_first_rsp(%rip)
	lea	vos_first_stack_top(%rip), %rsp
	pushfq
	push	%rax
	push	%rdi
	push	%rsi
	push	%rdx
	push	%r10
	push	%r8
	push	%r9
	push	%r11
	push	%rbx
	cld
.Lfirst_c:
	call	vos_thread_first
.Lfirst_back:
	pop	%rbx
	pop	%r11
	pop	%r9
	pop	%r8
	pop	%r10
	pop	%rdx
	pop	%rsi
	pop	%rdi
	pop	%rax
	popfq
	mov	vos_first_rsp(%rip), %rsp
	/* Signals stay masked until vos_enter(), on a stack of the thread's own. */
	movl	$0, vos_first_lock(%rip)
	mov	%r11, %gs:C_RESUME
	jmp	.Lslow
.Lfirst_end:
	.cfi_endproc
	.size	vos_entry_first, . - vos_entry_first

/* long vos_window6(long nr, a, b, c, d, e, f): see window.h. */
	.globl	vos_window6
	.hidden	vos_window6
	.type	vos_window6, @function
vos_window6:
	.cfi_startproc
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	mov	%gs:C_THREAD, %r11
.Lwindow:
	cmpl	$0, T_PENDING(%r11)
	jne	vos_window_out
	syscall
	.globl	vos_call_place_window
	.hidden	vos_call_place_window
vos_call_place_window:
.Lwindow_end:
	ret
	.globl	vos_window_out
	.hidden	vos_window_out
vos_window_out:
	mov	$-513, %rax		/* -VOS_ERESTARTNOINTR */
	ret
	.cfi_endproc
	.size	vos_window6, . - vos_window6

/*
 * The handler that the kernel knows for every signal that the program handles.  vos_sig_arrived() puts the interrupted
 * context right and says what to run: rax = 0 nothing (return to the interrupted code), else the program's handler; rdx = 0:
 * jump to it, so that nothing of ours is on its stack; else call it: the rip that it sees in its context is one of the original
 * code, where our jump or nothing stands now, and rdx is where to go on instead when it leaves that as it is.
 *
 * All signals are masked until the rt_sigprocmask here gives the handler the mask that it is to have.  One that comes right
 * behind it must look as if it had come at the handler's first instruction (VOS_AT_SIG_*).
 */
	.globl	vos_sig_entry
	.hidden	vos_sig_entry
	.type	vos_sig_entry, @function
vos_sig_entry:
	.cfi_startproc
	push	%rdi
	.cfi_adjust_cfa_offset 8
	push	%rsi
	.cfi_adjust_cfa_offset 8
	push	%rdx
	.cfi_adjust_cfa_offset 8
	push	$0			/* where to go on in truth */
	.cfi_adjust_cfa_offset 8
	push	$0			/* the mask; later the rip that the handler saw */
	.cfi_adjust_cfa_offset 8
	mov	%rsp, %rcx
	cld
	call	vos_sig_arrived
	test	%rax, %rax
	jz	.Lsig_out
	mov	%rdx, 8(%rsp)
	/* No register is the handler's concern, but for its arguments; the kernel restores all from the context. */
	mov	%rax, %r12
	mov	$2, %edi		/* SIG_SETMASK */
	mov	%rsp, %rsi
	xor	%edx, %edx
	mov	$8, %r10d
	mov	$14, %eax		/* rt_sigprocmask */
	syscall
.Lsig_open:
	mov	16(%rsp), %rdx
	mov	24(%rsp), %rsi
	mov	32(%rsp), %rdi
	cmpq	$0, 8(%rsp)
	jne	1f
	xor	%eax, %eax
	add	$40, %rsp
	.cfi_adjust_cfa_offset -40
.Lsig_jump:
	jmp	*%r12
	.cfi_adjust_cfa_offset 40
.Lsig_open2:
1:	mov	UC_RIP(%rdx), %rcx
	mov	%rcx, (%rsp)
	xor	%eax, %eax
	call	*%r12
	.globl	vos_sig_back
	.hidden	vos_sig_back
vos_sig_back:
	mov	16(%rsp), %rdi
	mov	(%rsp), %rdx
	cmp	UC_RIP(%rdi), %rdx
	jne	.Lsig_out		/* the handler moved it: so be it */
	mov	8(%rsp), %rsi
	mov	%rsi, UC_RIP(%rdi)
.Lsig_out:
	add	$40, %rsp
	.cfi_adjust_cfa_offset -40
.Lsig_ret:
	ret
.Lsig_end:
	.cfi_endproc
	.size	vos_sig_entry, . - vos_sig_entry

/* What `ret` of a handler comes to when the program named no restorer of its own. */
	.globl	vos_restorer
	.hidden	vos_restorer
	.type	vos_restorer, @function
	nop				/* unwinders look at the byte before */
vos_restorer:
	mov	$15, %rax
	syscall
	.size	vos_restorer, . - vos_restorer

/* _Noreturn void vos_sigreturn(void *uc): the kernel restores everything from a signal frame whose ucontext is at uc. */
	.globl	vos_sigreturn
	.hidden	vos_sigreturn
	.type	vos_sigreturn, @function
vos_sigreturn:
	mov	%rdi, %rsp
	mov	$15, %eax
	syscall
	ud2
	.size	vos_sigreturn, . - vos_sigreturn

/*
 * long vos_clone_raw(long nr, a, b, c, d, e, struct vos_carrier *child, struct vos_frame *frame)
 * A clone whose child shares memory: it must not touch a stack before it has one.  Parent: the kernel's result.  The child
 * takes its carrier as GS base, calls vos_thread_start(frame, rsp as the kernel gave it) on its own runtime stack, where `frame`
 * lies (at its top), and leaves with it.
 */
	.globl	vos_clone_raw
	.hidden	vos_clone_raw
	.type	vos_clone_raw, @function
vos_clone_raw:
	.cfi_startproc
	push	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	push	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	mov	24(%rsp), %rbx		/* child */
	mov	32(%rsp), %r12		/* frame */
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	syscall
	.globl	vos_call_place_clone
	.hidden	vos_call_place_clone
vos_call_place_clone:
	test	%rax, %rax
	jz	1f
	pop	%r12
	.cfi_adjust_cfa_offset -8
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.cfi_startproc
	.cfi_undefined rip
1:	wrgsbase %rbx
	mov	%rsp, %rsi
	mov	%r12, %rsp
	mov	%r12, %rdi
	xor	%ebp, %ebp
	call	vos_thread_start
	jmp	.Lleave
	.cfi_endproc
	.size	vos_clone_raw, . - vos_clone_raw

/*
 * _Noreturn void vos_exit_raw(long code, void **list, void *block, _Atomic uint32_t *lock): a thread ends and gives back the memory
 * it stands on.  From the store to *lock on another thread may use that memory, so no stack is touched any more.
 */
	.globl	vos_exit_raw
	.hidden	vos_exit_raw
	.type	vos_exit_raw, @function
vos_exit_raw:
	.cfi_startproc
	mov	(%rsi), %rax
	mov	%rax, (%rdx)
	mov	%rdx, (%rsi)
	mov	%rcx, %r8
	mov	%rdi, %r12
	/* vos_unlock(), by hand: a word of 2 means that someone sleeps. */
	xor	%eax, %eax
	xchg	%eax, (%rcx)
	cmp	$2, %eax
	jne	1f
	mov	%r8, %rdi
	mov	$129, %esi		/* FUTEX_WAKE_PRIVATE */
	mov	$1, %edx
	mov	$202, %eax
	syscall
1:	mov	%r12, %rdi
	mov	$60, %eax
	syscall
	ud2
	.cfi_endproc
	.size	vos_exit_raw, . - vos_exit_raw

	.section .data.rel.ro, "aw"
	.balign	8
	.globl	vos_regions
	.hidden	vos_regions
/* (start, kind) in rising order; a range ends where the next begins. */
vos_regions:
	.quad	vos_entry, VOS_AT_RCX
	.quad	.Lr11, VOS_AT_R11
	.quad	.Lbegin, VOS_AT_BEGIN
	.quad	.Ldone, VOS_AT_DONE
	.quad	.Lgetpid, VOS_AT_BEGIN
	.quad	.Lbelow1, VOS_AT_BELOW
	.quad	.Lbegin1, VOS_AT_BEGIN
	.quad	.Ldone1, VOS_AT_DONE
	.quad	.Lgettid, VOS_AT_BEGIN
	.quad	.Lbelow2, VOS_AT_BELOW
	.quad	.Lbegin2, VOS_AT_BEGIN
	.quad	.Ldone2, VOS_AT_DONE
	.quad	.Lslow, VOS_AT_BEGIN
	.quad	.Lbelow3, VOS_AT_BELOW
	.quad	.Lframed, VOS_AT_FRAMED
	.quad	.Lin_c, VOS_AT_NONE_
	.quad	.Lleave, VOS_AT_LEAVE
	.quad	.Ldone_rcx, VOS_AT_DONE_RCX
	.quad	.Lpending, VOS_AT_LEAVE
	.quad	.Lpending_c, VOS_AT_NONE_
	.quad	vos_entry_first, VOS_AT_FIRST
	.quad	.Lfirst_end, VOS_AT_NONE_
	.quad	.Lwindow, VOS_AT_WINDOW
	.quad	.Lwindow_end, VOS_AT_NONE_
	.quad	.Lsig_open, VOS_AT_SIG_OPEN
	.quad	.Lsig_jump, VOS_AT_SIG_JUMP
	.quad	.Lsig_open2, VOS_AT_SIG_OPEN
	.quad	vos_sig_back, VOS_AT_SIG_BACK
	.quad	.Lsig_ret, VOS_AT_SIG_RET
	.quad	.Lsig_end, VOS_AT_NONE_
	.quad	-1, 0

	.bss
	.balign	64
	.globl	vos_first_lock, vos_first_rsp
	.hidden	vos_first_lock, vos_first_rsp
vos_first_lock:
	.skip	8
vos_first_rsp:
	.skip	8
	.balign	64
	.skip	65536
vos_first_stack_top:
	.skip	64

	.section .note.GNU-stack, "", @progbits
