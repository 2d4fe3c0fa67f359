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

	/*
	 * long vos_copy_to_region(void *dst, const void *user_src, size_t n): as vos_copy_from_user(), for what the server's processor
	 * reads next.  Stored past the cache, large data crosses several times as fast (see servers/domain/far.c); movnti, for
	 * no vector register may be touched here.
	 */
	.globl	vos_copy_to_region
	.hidden	vos_copy_to_region
	.type	vos_copy_to_region, @function
vos_copy_to_region:
	.cfi_startproc
	cmp	$2048, %rdx
	jb	vos_copy_from_user
	mov	%rdi, %rcx
	neg	%rcx
	and	$63, %ecx
	sub	%rcx, %rdx
	rep movsb
	mov	%rdx, %rcx
	shr	$6, %rcx
1:	mov	(%rsi), %rax
	mov	8(%rsi), %r8
	movnti	%rax, (%rdi)
	movnti	%r8, 8(%rdi)
	mov	16(%rsi), %rax
	mov	24(%rsi), %r8
	movnti	%rax, 16(%rdi)
	movnti	%r8, 24(%rdi)
	mov	32(%rsi), %rax
	mov	40(%rsi), %r8
	movnti	%rax, 32(%rdi)
	movnti	%r8, 40(%rdi)
	mov	48(%rsi), %rax
	mov	56(%rsi), %r8
	movnti	%rax, 48(%rdi)
	movnti	%r8, 56(%rdi)
	add	$64, %rsi
	add	$64, %rdi
	dec	%rcx
	jnz	1b
	sfence
	mov	%edx, %ecx
	and	$63, %ecx
	rep movsb
	xor	%eax, %eax
	ret
.Lregion_end:
	.cfi_endproc
	.size	vos_copy_to_region, . - vos_copy_to_region

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

	/* long vos_load_user32(uint32_t *ret, uint64_t addr) */
	.globl	vos_load_user32
	.hidden	vos_load_user32
	.type	vos_load_user32, @function
vos_load_user32:
	.cfi_startproc
	mov	(%rsi), %eax
	mov	%eax, (%rdi)
	xor	%eax, %eax
	ret
.Lload_end:
	.cfi_endproc
	.size	vos_load_user32, . - vos_load_user32

	/* long vos_cas_user32(uint64_t addr, uint32_t old, uint32_t new): 1 done, 0 it was another value. */
	.globl	vos_cas_user32
	.hidden	vos_cas_user32
	.type	vos_cas_user32, @function
vos_cas_user32:
	.cfi_startproc
	mov	%esi, %eax
	xor	%ecx, %ecx
	lock cmpxchg %edx, (%rdi)
	sete	%cl
	mov	%ecx, %eax
	ret
.Lcas_end:
	.cfi_endproc
	.size	vos_cas_user32, . - vos_cas_user32

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
	.quad	vos_copy_to_region, .Lregion_end, user_fault
	.quad	vos_clear_user, .Lclear_end, user_fault
	.quad	vos_strncpy_from_user, .Lstr_end, user_fault
	.quad	vos_load_user32, .Lload_end, user_fault
	.quad	vos_cas_user32, .Lcas_end, user_fault
vos_user_fixups_end:

	.section .note.GNU-stack, "", @progbits
