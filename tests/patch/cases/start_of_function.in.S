/* The first instruction of a function. */
#include "case.h"
	WALL
FUNC f
	syscall
	mov %rax, %rdi
	ret
END f
	WALL
