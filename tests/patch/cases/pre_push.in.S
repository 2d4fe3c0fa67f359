/* The stack is the same in a stub. */
#include "case.h"
FUNC f
	push %rbx
	sub $0x28, %rsp
	syscall
	add $0x28, %rsp
	pop %rbx
	ret
END f
