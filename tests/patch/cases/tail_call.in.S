/* jmp *%rax is a tail call here: no table is read. */
#include "case.h"
FUNC f
	mov %r9d, %eax
	syscall
	mov (%rdi), %rax
	jmp *%rax
END f
