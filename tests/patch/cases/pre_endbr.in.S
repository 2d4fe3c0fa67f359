/* endbr64 marks its place. */
#include "case.h"
	WALL
FUNC f
	endbr64
	syscall
	hlt
END f
	WALL
