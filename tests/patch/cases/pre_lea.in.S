/* lea of a string, as in open. */
#include "case.h"
FUNC f
	mov $2, %eax
	lea value(%rip), %rdi
	syscall
	ret
END f
	.section .rodata
value:	.string "x"
