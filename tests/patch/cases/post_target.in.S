/* The instruction behind is a jump target. */
#include "case.h"
	WALL
FUNC f
1:	syscall
2:	mov %eax, %eax
	inc %ecx
	jz 2b
	jmp 1b
END f
	WALL
