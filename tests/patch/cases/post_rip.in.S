/* A following rip-relative operand. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	movl $5, value(%rip)
	jmp 1b
END f
	WALL
	.section .rodata
value:	.long 0
