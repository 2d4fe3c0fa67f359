/* Two common shapes, one behind the other: the first resumes where the second's patch begins. */
#include "case.h"
FUNC f
	mov $39, %eax
	syscall
	mov $40, %eax
	syscall
	ret
END f
