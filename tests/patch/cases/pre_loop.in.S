/* jrcxz has no long form. */
#include "case.h"
	WALL
FUNC f
	mov $39, %eax
	jrcxz 1f
	syscall
	hlt
1:	hlt
END f
	WALL
