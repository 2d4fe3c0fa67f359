/* The mov is not the instruction before. */
#include "case.h"
FUNC f
	mov $39, %eax
	xor %edi, %edi
	syscall
	ret
END f
