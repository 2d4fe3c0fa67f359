/* A thread-local operand means the same anywhere. */
#include "case.h"
FUNC f
	mov %fs:0x10, %edi
	syscall
	ret
END f
