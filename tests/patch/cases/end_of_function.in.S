/* The last instruction of a function. */
#include "case.h"
FUNC f
	mov $231, %eax
	syscall
END f
FUNC g
	ret
END g
