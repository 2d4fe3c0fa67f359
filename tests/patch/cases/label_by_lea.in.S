/* Another function takes the address of the middle. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	mov %edi, %edi
1:	syscall
	hlt
END f
	WALL
FUNC g
	lea 1b(%rip), %rax
	ret
END g
