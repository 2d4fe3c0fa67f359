/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the kernel enters virtuos. */
	.text
	.globl	_start
	.hidden	_start
	.type	_start, @function
_start:
	.cfi_startproc
	.cfi_undefined rip
	xor	%ebp, %ebp
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	vos_cli_launch
	mov	%eax, %edi
	mov	$231, %eax	/* exit_group */
	syscall
	hlt
	.cfi_endproc
	.size	_start, . - _start
	.section .note.GNU-stack, "", @progbits
