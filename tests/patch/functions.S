/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions with syscall instructions in all the places that make patching hard; apply.c runs them before and after they
 * are patched.  Each is `long f(long)`, and returns what a getpid-like call in it said.
 */
	.text
	.macro FUNC name
	.p2align 4
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	.endm
	.macro END name
	.cfi_endproc
	.size \name, . - \name
	.endm

	.macro FUNC_HLT name
	.fill 160, 1, 0xf4 /* no padding within reach */
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	.endm

	/* mov $nr,%eax; syscall */
FUNC f_mov
	mov $39, %eax
	syscall
	ret
END f_mov

	/* two short instructions before */
FUNC f_pre
	mov $39, %edx
	mov %rdx, %rcx
	mov %ecx, %eax
	syscall
	ret
END f_pre

	/* a rip-relative operand moves */
FUNC f_rip
	mov number(%rip), %eax
	syscall
	ret
END f_rip

	/* ... with an immediate behind the displacement */
FUNC f_rip_imm
	mov $39, %eax
	cmpl $39, number(%rip)
	syscall
	jne 1f
	ret
1:	ud2
END f_rip_imm

	/* a conditional jump moves */
FUNC f_jcc
	mov $39, %eax
	test %rdi, %rdi
	js 1f
	syscall
	ret
1:	mov $-1, %rax
	ret
END f_jcc

	/* the syscall itself is a jump target: padding takes the long jump */
FUNC f_pad
	mov $39, %eax
	test %rdi, %rdi
	js 1f
	mov $39, %eax
	jmp 1f
	.p2align 4, 0xcc
1:	syscall
	ret
END f_pad

	/* two calls, one behind the other */
FUNC f_two
	mov $39, %eax
	syscall
	mov $39, %eax
	syscall
	ret
END f_two

	/* a loop leads back to the first byte of the patch */
FUNC f_loop
	mov $3, %esi
1:	mov $39, %eax
	syscall
	dec %esi
	jnz 1b
	ret
END f_loop

	/* the last instruction of a function (the call does not return) */
FUNC f_end
	test %rdi, %rdi
	js 1f
	mov $39, %eax
	ret
1:	mov $231, %eax
	syscall
END f_end

	/* zero by xor: read(-1) */
FUNC f_xor
	mov $-1, %edi
	xor %eax, %eax
	syscall
	ret
END f_xor

	/* the patch lies on two pages: the syscall's own two bytes too */
	.p2align 12
	.zero 4096 - 16
FUNC f_straddle
	.fill 16 - 6, 1, 0x90
	mov $39, %eax
	syscall
	ret
END f_straddle

	/* registers: long f_all(struct regs *in_out): loads all, calls, stores all */
FUNC f_all
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	push 136(%rdi)
	popfq
	mov %rsp, saved(%rip)
	mov 0(%rdi), %rbx
	mov 8(%rdi), %rbp
	mov 16(%rdi), %r12
	mov 24(%rdi), %r13
	mov 32(%rdi), %r14
	mov 40(%rdi), %r15
	mov 48(%rdi), %rsi
	mov 56(%rdi), %rdx
	mov 64(%rdi), %r8
	mov 72(%rdi), %r9
	mov 80(%rdi), %r10
	movq $0x1234567, -8(%rsp)
	movq $0x7654321, -128(%rsp)
	mov 88(%rdi), %rdi
	mov $39, %eax
	syscall
	.globl f_all_resume
	.type f_all_resume, @function
f_all_resume:
	mov %rdi, last(%rip)
	mov 0(%rsp), %rdi
	mov %rbx, 0(%rdi)
	mov %rbp, 8(%rdi)
	mov %r12, 16(%rdi)
	mov %r13, 24(%rdi)
	mov %r14, 32(%rdi)
	mov %r15, 40(%rdi)
	mov %rsi, 48(%rdi)
	mov %rdx, 56(%rdi)
	mov %r8, 64(%rdi)
	mov %r9, 72(%rdi)
	mov %r10, 80(%rdi)
	mov last(%rip), %rsi
	mov %rsi, 88(%rdi)
	mov %rcx, 96(%rdi)
	mov %r11, 104(%rdi)
	mov -8(%rsp), %rsi
	mov %rsi, 112(%rdi)
	mov -128(%rsp), %rsi
	mov %rsi, 120(%rdi)
	pushfq
	pop 136(%rdi)
	mov saved(%rip), %rsi
	sub %rsp, %rsi
	mov %rsi, 128(%rdi)
	cld
	add $8, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
END f_all

	/* the syscall is a jump target and there is no padding: following instructions move */
FUNC_HLT f_post
	mov $39, %eax
	jmp 1f
1:	syscall
	mov %rax, %rdx
	mov %rdx, %rax
	ret
END f_post

	/* following: the stub's tail jumps conditionally, rip-relatively, and back */
FUNC_HLT f_post_jump
	mov $39, %eax
	jmp 1f
1:	syscall
	test %rax, %rax
	js 2f
	mov %rax, last(%rip)
	ret
2:	ud2
END f_post_jump

	/* following: ends in ret */
FUNC_HLT f_post_ret
	mov $39, %eax
	jmp 1f
1:	syscall
	mov %eax, %eax
	ret
	ud2
END f_post_ret

	.fill 160, 1, 0xf4

	.section .rodata
	.p2align 2
number:	.long 39
	.local last
	.comm last, 8, 8
	.local saved
	.comm saved, 8, 8
	.section .note.GNU-stack, "", @progbits
