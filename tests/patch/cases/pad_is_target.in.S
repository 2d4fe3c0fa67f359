/* Nops that somebody jumps to are no padding. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	hlt
	jmp 2f
	hlt
2:	nopw 0(%rax,%rax)
	jmp 1b
END f
	WALL
