/* A preceding long jump out of the run, hinted. */
#include "case.h"
FUNC f
	mov $39, %eax
	test %edi, %edi
	{disp32} js 1f
	syscall
1:	ret
END f
