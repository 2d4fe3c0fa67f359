/* Bytes elsewhere that look like a jump to the middle, but are an immediate. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	mov %edi, %edi
.Linside:
	syscall
	ret
END f
FUNC g
	.byte 0xb8, 0xe9 /* mov $...e9, %eax; inc %eax: its bytes hold a jmp to .Linside */
	.byte (.Linside - 1f) & 255, (.Linside - 1f) >> 8 & 255, (.Linside - 1f) >> 16 & 255
	.byte 0xff
1:	.byte 0xc0
	ret
END g
	WALL
