/* The two bytes of the syscall lie on two pages. */
#include "case.h"
FUNC f
	.fill 0xffa, 1, 0x90
	mov $39, %eax
	syscall
	ret
END f
