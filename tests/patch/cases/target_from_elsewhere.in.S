/* Another function jumps into the middle, as .cold parts do. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	mov %edi, %edi
.Linside:
	syscall
	hlt
END f
	WALL
FUNC f_cold
	mov $40, %eax
	jmp .Linside
END f_cold
