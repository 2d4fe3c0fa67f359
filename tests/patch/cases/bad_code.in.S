/* Bytes before the syscall that are no code. */
#include "case.h"
FUNC f
	ret
	.byte 0x06, 0x07, 0x0e, 0x06
	mov $39, %eax
	syscall
	ret
END f
