/* Padding before the function, of int3. */
#include "case.h"
FUNC g
	ret
END g
	.fill 7, 1, 0xcc
FUNC f
1:	syscall
	jmp 1b
END f
