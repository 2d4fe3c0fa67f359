/* The same, as a jump target: nothing follows, nothing pads. */
#include "case.h"
	WALL
FUNC f
	mov $231, %eax
	test %edi, %edi
	js 1f
	mov $60, %eax
1:	syscall
END f
	WALL
