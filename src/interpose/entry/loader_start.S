/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the kernel enters virtuos-enter, and how that enters the program. */
	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	.cfi_startproc
	.cfi_undefined rip
	xor	%ebp, %ebp
	mov	%rsp, %rdi
	mov	%rsp, %rbx
	and	$-16, %rsp
	call	vos_loader_main
	/* The stack as the kernel made it; rdx = 0: no function for atexit. */
	mov	%rbx, %rsp
	mov	%rax, %r11
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	jmp	*%r11
	.cfi_endproc
	.size	_start, . - _start
	.section .note.GNU-stack, "", @progbits
