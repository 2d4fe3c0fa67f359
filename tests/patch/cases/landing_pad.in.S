/* An exception's landing pad is a jump target. */
#include "case.h"
	WALL
FUNC f
	.cfi_lsda 0x1b, lsda
	mov $39, %eax
	call f
1:	mov %edi, %edi
2:	mov %esi, %esi
	syscall
	hlt
END f
	WALL
	.section .gcc_except_table, "a", @progbits
lsda:	.byte 0xff, 0xff, 1
	.uleb128 4f - 3f
3:	.uleb128 0
	.uleb128 1b - f
	.uleb128 2b - f
	.uleb128 0
4:
