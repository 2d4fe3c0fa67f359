/* Following: a return. Nothing behind it is needed. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	mov %eax, %eax
	ret
	jmp 1b
END f
	WALL
