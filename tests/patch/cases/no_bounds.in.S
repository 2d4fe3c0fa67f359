/* No unwind table and no symbol: sweeps from everywhere must agree. */
#include "case.h"
	.fill 40, 1, 0x90
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov %rdi, %rsi
	mov $39, %eax
	syscall
	mov %edi, %edi
	mov %r9d, %eax
	syscall
	ret
	.fill 64, 1, 0x90
