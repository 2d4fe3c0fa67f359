/* Padding is within reach, just. */
#include "case.h"
FUNC f
1:	syscall
	.fill 120, 1, 0xf4
	jmp 1b
END f
	.fill 12, 1, 0x90
FUNC g
	ret
END g
