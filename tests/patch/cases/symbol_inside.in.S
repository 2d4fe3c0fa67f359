/* An exported symbol in the middle. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	mov %edi, %edi
	.globl inside
inside:
	syscall
	hlt
END f
	WALL
