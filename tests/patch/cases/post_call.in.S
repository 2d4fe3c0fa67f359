/* A following call cannot move: it pushes the address behind it. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	call f
	jmp 1b
END f
	WALL
