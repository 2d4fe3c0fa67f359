/* A switch whose table cannot be found: only a patch inside one instruction is safe. */
#include "case.h"
	WALL
FUNC f
	mov 0x7000(%rsi), %rdx
	movslq (%rdx,%rdi,4), %rax
	add %rdx, %rax
	jmp *%rax
0:	mov $39, %eax
	syscall
	mov %edi, %esi
	mov %r9d, %eax
	syscall
	ret
END f
	WALL
