/* A call before the syscall cannot move. */
#include "case.h"
	WALL
FUNC f
	call f
	syscall
	hlt
END f
	WALL
