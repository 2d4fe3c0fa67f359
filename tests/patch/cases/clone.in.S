/* glibc ends the FDE of clone before its syscall: the gap behind belongs to it. */
#include "case.h"
FUNC f
	test %rdi, %rdi
	je 1f
	mov $56, %eax
	.cfi_endproc
	syscall
	test %rax, %rax
	je 1f
	ret
1:	.cfi_startproc
	call g
	mov $60, %eax
	syscall
END f
FUNC g
	ret
END g
