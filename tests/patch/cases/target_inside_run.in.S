/* A target between two instructions that would have to move. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	test %edi, %edi
	js 1f
	mov %edi, %esi
1:	mov %esi, %edi
	syscall
	hlt
END f
	WALL
