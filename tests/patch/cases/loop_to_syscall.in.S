/* A loop's back edge leads to the bare syscall; padding takes the long jump. */
#include "case.h"
FUNC f
	mov $24, %eax
1:	syscall
	test %rax, %rax
	jnz 1b
	ret
END f
	.fill 8, 1, 0x90
FUNC g
	ret
END g
