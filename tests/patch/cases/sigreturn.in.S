/* rt_sigreturn is never patched: unwinders and gdb know these bytes. */
#include "case.h"
FUNC f
	mov $15, %rax
	syscall
END f
FUNC g
	mov $15, %eax
	syscall
END g
