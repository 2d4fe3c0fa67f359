/* A prefix makes it longer: left alone. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	.byte 0x48
	syscall
	ret
END f
	WALL
