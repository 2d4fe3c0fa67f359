/* A preceding short jump out of the run. */
#include "case.h"
FUNC f
	mov $39, %eax
	test %edi, %edi
	js 1f
	syscall
1:	ret
END f
