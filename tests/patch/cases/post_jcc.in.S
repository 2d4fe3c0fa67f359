/* A following conditional jump gets its long form. */
#include "case.h"
	WALL
FUNC f
1:	syscall
	test %eax, %eax
	js 1b
	ret
END f
	WALL
