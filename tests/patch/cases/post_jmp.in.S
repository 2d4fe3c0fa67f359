/* A following jump ends the stub's tail. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	inc %ecx
	jmp 1b
END f
	WALL
