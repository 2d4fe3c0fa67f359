/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch of stacks.  It happens inside a call, so of the general registers only those that C preserves must be kept; the
 * vector state is the program's, and the kernel's ABI promises it across a call: what XGETBV(1) says is in use is
 * written, all the rest is initial and is made so again by XRSTOR.  MXCSR counts as in use whenever it is not its default.
 */
#include "offsets.h"
	.text

/* void vos_ut_switch(struct vos_uthread *from, struct vos_uthread *to) */
	.globl	vos_ut_switch
	.hidden	vos_ut_switch
	.type	vos_ut_switch, @function
vos_ut_switch:
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	push	%rbx
	.cfi_adjust_cfa_offset 8
	push	%r12
	.cfi_adjust_cfa_offset 8
	push	%r13
	.cfi_adjust_cfa_offset 8
	push	%r14
	.cfi_adjust_cfa_offset 8
	push	%r15
	.cfi_adjust_cfa_offset 8
	mov	UT_XSAVE(%rdi), %r8
	mov	$1, %ecx
	xgetbv
	or	$2, %eax		/* MXCSR belongs to this component, whose registers may be initial */
	and	vos_ut_xmask(%rip), %eax
	xor	%edx, %edx
	xsavec64 (%r8)
	rdfsbase %rax
	mov	%rax, UT_FS(%rdi)
	mov	%rsp, UT_RSP(%rdi)
	mov	UT_RSP(%rsi), %rsp
	mov	UT_FS(%rsi), %rax
	wrfsbase %rax
	mov	UT_XSAVE(%rsi), %r8
	mov	vos_ut_xmask(%rip), %eax
	xrstor64 (%r8)
	pop	%r15
	.cfi_adjust_cfa_offset -8
	pop	%r14
	.cfi_adjust_cfa_offset -8
	pop	%r13
	.cfi_adjust_cfa_offset -8
	pop	%r12
	.cfi_adjust_cfa_offset -8
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	pop	%rbp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size	vos_ut_switch, . - vos_ut_switch

/* void vos_ut_keep(void *area): the vector state as it is now; a new thread begins with its creator's. */
	.globl	vos_ut_keep
	.hidden	vos_ut_keep
	.type	vos_ut_keep, @function
vos_ut_keep:
	.cfi_startproc
	mov	$1, %ecx
	xgetbv
	or	$2, %eax
	and	vos_ut_xmask(%rip), %eax
	xor	%edx, %edx
	xsavec64 (%rdi)
	ret
	.cfi_endproc
	.size	vos_ut_keep, . - vos_ut_keep

/* Where the first switch to a new uthread returns to: its frame lies at rsp. */
	.globl	vos_ut_born
	.hidden	vos_ut_born
	.type	vos_ut_born, @function
vos_ut_born:
	.cfi_startproc
	.cfi_undefined rip
	mov	%rsp, %rdi
	xor	%ebp, %ebp
	call	vos_ut_first
	jmp	vos_entry_leave
	.cfi_endproc
	.size	vos_ut_born, . - vos_ut_born

/*
 * long vos_ut_clone_helper(uint64_t flags, void *sp, struct vos_carrier *c, void *arg)
 * A kernel thread of the runtime's own: c as GS base, on the stack sp, in vos_ut_helper_main(arg), which never returns.
 */
	.globl	vos_ut_clone_helper
	.hidden	vos_ut_clone_helper
	.type	vos_ut_clone_helper, @function
vos_ut_clone_helper:
	.cfi_startproc
	mov	%rdx, %r8		/* tls: not asked for, so only a register that survives */
	mov	%rcx, %r9
	xor	%edx, %edx
	xor	%r10d, %r10d
	mov	$56, %eax
	syscall
	test	%rax, %rax
	jz	1f
	ret
	.cfi_endproc
	.cfi_startproc
	.cfi_undefined rip
1:	wrgsbase %r8
	mov	%r9, %rdi
	xor	%ebp, %ebp
	call	vos_ut_helper_main
	ud2
	.cfi_endproc
	.size	vos_ut_clone_helper, . - vos_ut_clone_helper

	.section .note.GNU-stack, "", @progbits
