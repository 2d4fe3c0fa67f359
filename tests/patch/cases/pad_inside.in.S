/* Padding inside the function, behind a jump. */
#include "case.h"
	WALL
FUNC f
	mov %edx, %ecx
	jmp 2f
	.p2align 4
1:	mov %edx, %eax
2:	syscall
	hlt
	jmp 1b
END f
	WALL
