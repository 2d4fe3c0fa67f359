/* Two sites share one run of padding, and do not overlap. */
#include "case.h"
FUNC f
1:	syscall
	jmp 1b
END f
	.fill 10, 1, 0xcc
FUNC g
1:	syscall
	jmp 1b
END g
