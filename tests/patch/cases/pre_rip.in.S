/* A preceding rip-relative operand, with an immediate behind its displacement. */
#include "case.h"
FUNC f
	mov $39, %eax
	cmpl $0x11223344, value(%rip)
	syscall
	ret
END f
	.section .rodata
value:	.long 0
