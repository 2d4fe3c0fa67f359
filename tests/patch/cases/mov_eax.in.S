/* The common shape. */
#include "case.h"
FUNC f
	mov $39, %eax
	syscall
	ret
END f
