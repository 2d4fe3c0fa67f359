/* A relocation shows that the middle is somebody's label. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	mov %edi, %edi
1:	syscall
	hlt
END f
	WALL
	.section .data
	.quad 1b
