/* Padding is out of reach. */
#include "case.h"
FUNC f
1:	syscall
	hlt
	.fill 140, 1, 0xf4
	jmp 1b
END f
	.fill 12, 1, 0x90
FUNC g
	ret
END g
