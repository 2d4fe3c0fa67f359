/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for vos_entry: counts the call, makes it, and goes back.  Calls that return on another stack, or twice on the
 * same, keep the way back in xmm15.
 */
	.text
	.globl test_entry
	.type test_entry, @function
test_entry:
	lea -264(%rsp), %rsp
	pushfq
	lock incq test_calls(%rip)
	mov %rcx, test_resume(%rip)
	cmp $56, %eax
	je 2f
	cmp $58, %eax
	je 2f
	cmp $435, %eax
	je 2f
	popfq
	push %rcx
	syscall
	pop %rcx
	lea 264(%rsp), %rsp
	jmp *%rcx
2:	popfq
	lea 264(%rsp), %rsp
	movq %rcx, %xmm15
	syscall
	movq %xmm15, %rcx
	jmp *%rcx
	.size test_entry, . - test_entry
	.globl test_calls
	.globl test_resume
	.bss
	.p2align 3
test_calls: .quad 0
test_resume: .quad 0
	.section .note.GNU-stack, "", @progbits
