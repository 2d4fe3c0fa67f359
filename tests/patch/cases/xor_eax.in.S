/* Number zero by xor; one more instruction moves. */
#include "case.h"
FUNC f
	mov %rdi, %rsi
	xor %eax, %eax
	syscall
	ret
END f
