/* glibc's FDE of __restore_rt begins a byte before the code (a signal frame). */
#include "case.h"
	nop
	.globl f
f0:	nop
f:	mov $15, %rax
	syscall
f1:
	nopw 0(%rax,%rax)
	.section .eh_frame, "a", @unwind
0:	.long 2f - 1f
1:	.long 0
	.byte 1
	.string "zRS"
	.uleb128 1
	.sleb128 -8
	.byte 16
	.uleb128 1
	.byte 0x1b
	.p2align 3
2:	.long 4f - 3f
3:	.long 3b - 0b
	.long f0 - .
	.long f1 - f0
	.uleb128 0
	.p2align 3
4:
