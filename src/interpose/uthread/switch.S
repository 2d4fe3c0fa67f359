/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch of stacks.  It happens inside a call, so of the general registers only those that C preserves must be kept; the
 * vector state is the program's, and the kernel's ABI promises it across a call.  XGETBV(1) says what is in use.  The usual
 * components are moved by hand, which takes a fifth of the time of XSAVEC and XRSTOR (measured: 30 beside 155 ns); when another
 * is in use (x87, as a rule) XSAVEC writes all, and UT_VSTATE bears KEPT_XSAVEC.
 */
#include "offsets.h"

#define KEPT_XSAVEC 0x80000000
/* Components, as in XCR0. */
#define AVX     0x4
#define OPMASK  0x20
#define ZMM_LOW 0x40
#define ZMM_HI  0x80
#define PKRU    0x200
/* By hand, an area is: MXCSR, PKRU; k0 to k7; zmm16 to zmm31; xmm, ymm or zmm 0 to 15, closely. */
#define V_MXCSR 0
#define V_PKRU  4
#define V_K     64
#define V_HI    128
#define V_LOW   1152
#define X_HEADER 512

	.section .rodata
	.balign	64
/* What XRSTOR makes initial state of. */
initial:
	.skip	X_HEADER + 8
	.quad	0x8000000000000000
	.skip	48

	.text

/* 16 registers, named with \n in \reg, between a \size-spaced array and themselves. */
.macro	ALL16 op:req, reg:req, from:req, at:req, size:req, load:req
	.altmacro
	.set	i, 0
	.rept	16
	ALL16_ONE \op, \reg, %(i + \from), %(\at + i * \size), \load
	.set	i, i + 1
	.endr
	.noaltmacro
.endm
.macro	ALL16_ONE op, reg, n, off, load
	.if	\load
	\op	\off(%r8), %\reg\n
	.else
	\op	%\reg\n, \off(%r8)
	.endif
.endm
.macro	ALL8K op:req, load:req
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	.if	\load
	\op	V_K + 8 * \n(%r8), %k\n
	.else
	\op	%k\n, V_K + 8 * \n(%r8)
	.endif
	.endr
.endm

/* The vector state to the uthread in rdi.  r9d: what is in use; r11d: MXCSR, or -1.  Clobbers rax, rcx, rdx, r8. */
.macro	KEEP
	mov	UT_XSAVE(%rdi), %r8
	mov	$1, %ecx
	xgetbv
	and	vos_ut_xmask(%rip), %eax
	mov	%eax, %r9d
	test	vos_ut_xsaved(%rip), %eax
	jnz	.Lkeep_xsavec\@
	mov	%eax, UT_VSTATE(%rdi)
	stmxcsr	V_MXCSR(%r8)
	test	$ZMM_LOW, %r9b
	jnz	.Lkeep_zmm\@
	test	$AVX, %r9b
	jnz	.Lkeep_ymm\@
	ALL16	movaps, xmm, 0, V_LOW, 16, 0
.Lkeep_high\@:
	test	$OPMASK, %r9b
	jz	1f
	ALL8K	kmovq, 0
1:	test	$ZMM_HI, %r9b
	jz	1f
	ALL16	vmovaps, zmm, 16, V_HI, 64, 0
1:	mov	V_MXCSR(%r8), %r11d
	testl	$PKRU, vos_ut_xmask(%rip)
	jz	.Lkept\@
	xor	%ecx, %ecx
	rdpkru
	mov	%eax, V_PKRU(%r8)
	jmp	.Lkept\@
.Lkeep_ymm\@:
	ALL16	vmovaps, ymm, 0, V_LOW, 32, 0
	jmp	.Lkeep_high\@
.Lkeep_zmm\@:
	ALL16	vmovaps, zmm, 0, V_LOW, 64, 0
	jmp	.Lkeep_high\@
.Lkeep_xsavec\@:
	or	$KEPT_XSAVEC, %eax
	mov	%eax, UT_VSTATE(%rdi)
	/* XSAVEC leaves the reserved part of its header as it is, and XRSTOR faults unless it is zero. */
	.irp	n, 2, 3, 4, 5, 6, 7
	movq	$0, X_HEADER + 8 * \n(%r8)
	.endr
	mov	%r9d, %eax
	or	$2, %eax		/* MXCSR belongs to this component, whose registers may be initial */
	and	vos_ut_xmask(%rip), %eax
	xor	%edx, %edx
	xsavec64 (%r8)
	mov	$-1, %r11d
.Lkept\@:
.endm

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
	KEEP
	rdfsbase %rax
	mov	%rax, UT_FS(%rdi)
	mov	%rsp, UT_RSP(%rdi)
	mov	UT_RSP(%rsi), %rsp
	mov	UT_FS(%rsi), %rax
	wrfsbase %rax
	mov	UT_XSAVE(%rsi), %r8
	mov	UT_VSTATE(%rsi), %r10d
	test	%r10d, %r10d
	js	.Ltake_xrstor
	test	vos_ut_xsaved(%rip), %r9d
	jnz	.Ltake_initial
.Ltake:
	mov	V_MXCSR(%r8), %eax
	cmp	%eax, %r11d
	je	1f
	ldmxcsr	V_MXCSR(%r8)
1:	test	$ZMM_LOW, %r10b
	jnz	.Ltake_zmm
	test	$AVX, %r10b
	jnz	.Ltake_ymm
	/* What the other had in the upper halves must not be seen. */
	test	$(AVX | ZMM_LOW), %r9b
	jz	1f
	vzeroupper
1:	ALL16	movaps, xmm, 0, V_LOW, 16, 1
.Ltake_high:
	test	$OPMASK, %r10b
	jz	.Lno_opmask
	ALL8K	kmovq, 1
.Lopmask:
	test	$ZMM_HI, %r10b
	jz	.Lno_zmm_hi
	ALL16	vmovaps, zmm, 16, V_HI, 64, 1
.Lzmm_hi:
	testl	$PKRU, vos_ut_xmask(%rip)
	jnz	.Ltake_pkru
.Ltaken:
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
	.cfi_adjust_cfa_offset 48
.Ltake_ymm:
	ALL16	vmovaps, ymm, 0, V_LOW, 32, 1
	jmp	.Ltake_high
.Ltake_zmm:
	ALL16	vmovaps, zmm, 0, V_LOW, 64, 1
	jmp	.Ltake_high
.Lno_opmask:
	test	$OPMASK, %r9b
	jz	.Lopmask
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	kxorq	%k\n, %k\n, %k\n
	.endr
	jmp	.Lopmask
.Lno_zmm_hi:
	test	$ZMM_HI, %r9b
	jz	.Lzmm_hi
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vpxord	%zmm\n, %zmm\n, %zmm\n
	.endr
	jmp	.Lzmm_hi
.Ltake_pkru:
	xor	%ecx, %ecx
	rdpkru
	cmp	%eax, V_PKRU(%r8)
	je	.Ltaken
	mov	V_PKRU(%r8), %eax
	wrpkru
	jmp	.Ltaken
.Ltake_initial:
	mov	%r8, %rcx
	lea	initial(%rip), %r8
	mov	vos_ut_xsaved(%rip), %eax
	xor	%edx, %edx
	xrstor64 (%r8)
	mov	%rcx, %r8
	jmp	.Ltake
.Ltake_xrstor:
	mov	vos_ut_xmask(%rip), %eax
	xor	%edx, %edx
	xrstor64 (%r8)
	jmp	.Ltaken
	.cfi_endproc
	.size	vos_ut_switch, . - vos_ut_switch

/* void vos_ut_keep(struct vos_uthread *u): the vector state as it is now; a new thread begins with its creator's. */
	.globl	vos_ut_keep
	.hidden	vos_ut_keep
	.type	vos_ut_keep, @function
vos_ut_keep:
	.cfi_startproc
	KEEP
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
 * long vos_ut_clone_helper(uint64_t flags, void *sp, struct vos_carrier *c, void *arg, _Atomic uint32_t *cleared, void (*entry)(void *))
 * A kernel thread of the runtime's own: c as GS base, on the stack sp, in entry(arg), which never returns.
 */
	.globl	vos_ut_clone_helper
	.hidden	vos_ut_clone_helper
	.type	vos_ut_clone_helper, @function
vos_ut_clone_helper:
	.cfi_startproc
	mov	%r8, %r10		/* child_tid */
	mov	%rcx, %r8		/* tls and parent_tid (rdx): not asked for, so only registers that survive */
	mov	$56, %eax
	syscall
	test	%rax, %rax
	jz	1f
	ret
	.cfi_endproc
	.cfi_startproc
	.cfi_undefined rip
1:	wrgsbase %rdx
	mov	%r8, %rdi
	xor	%ebp, %ebp
	call	*%r9
	ud2
	.cfi_endproc
	.size	vos_ut_clone_helper, . - vos_ut_clone_helper

	.section .note.GNU-stack, "", @progbits
