/* Somebody jumps to the syscall itself with another number; there is no padding. */
#include "case.h"
	WALL
FUNC f
	test %edi, %edi
	mov $40, %eax
	js 1f
	mov $39, %eax
1:	syscall
	cmp $-4095, %rax
	ret
END f
	WALL
