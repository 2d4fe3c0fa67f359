/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See user.h.  These functions use no stack, so the mended fault may simply return.  vos_user_fixups: triples of first
 * byte, end, and where to go on; one function each.
 */
	.text

/* long vos_copy_from_user(void *dst, const void *src, size_t n) and its kin. */
	.globl	vos_copy_from_user, vos_copy_to_user, vos_copy_in_user
	.hidden	vos_copy_from_user, vos_copy_to_user, vos_copy_in_user
	.type	vos_copy_from_user, @function
	.type	vos_copy_to_user, @function
	.type	vos_copy_in_user, @function
vos_copy_from_user:
vos_copy_to_user:
vos_copy_in_user:
	.cfi_startproc
	cmp	$8, %rdx
	jne	1f
	mov	(%rsi), %rax
	mov	%rax, (%rdi)
	xor	%eax, %eax
	ret
1:	mov	%rdx, %rcx
	cmp	$64, %rcx
	jae	3f
	/* Short: the microcode of rep costs more than the loop. */
	jrcxz	4f
2:	movzbl	(%rsi), %eax
	mov	%al, (%rdi)
	inc	%rsi
	inc	%rdi
	dec	%rcx
	jnz	2b
	jmp	4f
3:	rep movsb
4:	xor	%eax, %eax
	ret
.Lcopy_end:
	.cfi_endproc
	.size	vos_copy_from_user, . - vos_copy_from_user

	.globl	vos_clear_user
	.hidden	vos_clear_user
	.type	vos_clear_user, @function
vos_clear_user:
	.cfi_startproc
	mov	%rsi, %rcx
	xor	%eax, %eax
	rep stosb
	ret
.Lclear_end:
	.cfi_endproc
	.size	vos_clear_user, . - vos_clear_user

	.globl	vos_strncpy_from_user
	.hidden	vos_strncpy_from_user
	.type	vos_strncpy_from_user, @function
vos_strncpy_from_user:
	.cfi_startproc
	xor	%eax, %eax
1:	cmp	%rdx, %rax
	jae	2f
	movzbl	(%rsi,%rax), %ecx
	mov	%cl, (%rdi,%rax)
	test	%cl, %cl
	jz	3f
	inc	%rax
	jmp	1b
2:	mov	$-36, %rax		/* -ENAMETOOLONG */
3:	ret
.Lstr_end:
	.cfi_endproc
	.size	vos_strncpy_from_user, . - vos_strncpy_from_user

	.type	user_fault, @function
user_fault:
	mov	$-14, %rax		/* -EFAULT */
	ret
	.size	user_fault, . - user_fault

	.section .data.rel.ro, "aw"
	.balign	8
	.globl	vos_user_fixups, vos_user_fixups_end
	.hidden	vos_user_fixups, vos_user_fixups_end
vos_user_fixups:
	.quad	vos_copy_from_user, .Lcopy_end, user_fault
	.quad	vos_clear_user, .Lclear_end, user_fault
	.quad	vos_strncpy_from_user, .Lstr_end, user_fault
vos_user_fixups_end:

	.section .note.GNU-stack, "", @progbits
