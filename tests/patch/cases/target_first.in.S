/* A jump target at the first byte of the patch is welcome. */
#include "case.h"
FUNC f
	mov $3, %esi
1:	mov $39, %eax
	syscall
	dec %esi
	jnz 1b
	ret
END f
