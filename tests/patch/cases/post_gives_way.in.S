/* The first could take what follows it, which the second needs more. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	mov $39, %eax
	syscall
	jmp 1b
END f
	WALL
