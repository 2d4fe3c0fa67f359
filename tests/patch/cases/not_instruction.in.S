/* 0f 05 in an immediate and in a displacement. */
#include "case.h"
FUNC f
	mov $0x050f, %eax
	je .+6+0x050f
	ret
END f
	.fill 0x520, 1, 0xf4
