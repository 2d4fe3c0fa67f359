/* Following instructions move, and the program resumes in the stub. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	mov %eax, %eax
	inc %ecx
	jnz 1b
	ret
END f
	WALL
