/* 15 in eax at one way to the syscall only: the bytes before it decide. */
#include "case.h"
FUNC f
	mov $39, %eax
	test %edi, %edi
	jne 1f
	mov $15, %eax
1:	mov %edi, %edi
	syscall
	ret
END f
