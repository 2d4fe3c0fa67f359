/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * void probe(uint64_t *p): makes the system call p[0] with arguments p[1..6] and every register set; what they hold afterwards
 * goes to p[8..].  Also the red zone, xmm7 and the flags.  Not reentrant.
 */
	.text
	.globl	probe
	.type	probe, @function
probe:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi
	movq	$0x5a01, -8(%rsp)
	movq	$0x5a02, -64(%rsp)
	movq	$0x5a03, -128(%rsp)
	mov	$0x77, %eax
	movq	%rax, %xmm7
	mov	$0x1b, %ebx
	mov	$0x1c, %ebp
	mov	$0x2c, %r12d
	mov	$0x2d, %r13d
	mov	$0x2e, %r14d
	mov	$0x2f, %r15d
	mov	0(%rdi), %rax
	mov	16(%rdi), %rsi
	mov	24(%rdi), %rdx
	mov	32(%rdi), %r10
	mov	40(%rdi), %r8
	mov	48(%rdi), %r9
	mov	8(%rdi), %rdi
	stc
	syscall
probe_after:
	mov	%rcx, saved_rcx(%rip)
	mov	(%rsp), %rcx
	mov	%rax, 64(%rcx)
	mov	%rdi, 72(%rcx)
	mov	%rsi, 80(%rcx)
	mov	%rdx, 88(%rcx)
	mov	%r10, 96(%rcx)
	mov	%r8, 104(%rcx)
	mov	%r9, 112(%rcx)
	mov	%rbx, 120(%rcx)
	mov	%rbp, 128(%rcx)
	mov	%r12, 136(%rcx)
	mov	%r13, 144(%rcx)
	mov	%r14, 152(%rcx)
	mov	%r15, 160(%rcx)
	mov	%r11, 168(%rcx)
	movq	%xmm7, 176(%rcx)
	mov	-8(%rsp), %rax
	mov	%rax, 184(%rcx)
	mov	-64(%rsp), %rax
	mov	%rax, 192(%rcx)
	mov	-128(%rsp), %rax
	mov	%rax, 200(%rcx)
	pushfq
	pop	%rax
	mov	%rax, 208(%rcx)
	mov	saved_rcx(%rip), %rax
	mov	%rax, 216(%rcx)
	lea	probe_after(%rip), %rax
	mov	%rax, 224(%rcx)
	pop	%rdi
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	probe, . - probe
	.local	saved_rcx
	.comm	saved_rcx, 8, 8
	.section .note.GNU-stack, "", @progbits
