/* Padding for one; the other has nothing. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	hlt
	jmp 1b
END f
	.fill 7, 1, 0xcc
FUNC g
1:	syscall
	hlt
	jmp 1b
END g
	WALL
