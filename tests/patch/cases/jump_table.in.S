/* A switch's table in .rodata leads to the middle of the run. */
#include "case.h"
	WALL
FUNC f
	cmp $2, %edi
	ja 3f
	lea table(%rip), %rdx
	movslq (%rdx,%rdi,4), %rax
	add %rdx, %rax
	jmp *%rax
0:	mov $39, %eax
	mov %edi, %edi
1:	syscall
	hlt
2:	mov $40, %eax
	syscall
	ret
3:	ret
END f
	WALL
	.section .rodata
	.p2align 2
table:	.long 0b - table, 1b - table, 2b - table
