/* Two syscalls side by side. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	syscall
	syscall
	hlt
END f
	WALL
