/* The number as a 64-bit immediate. */
#include "case.h"
FUNC f
	mov $39, %rax
	syscall
	ret
END f
