/* A short jump from another function (hand-written code). */
#include "case.h"
	WALL
FUNC f
	mov %edi, %edi
.Linside:
	mov %esi, %esi
	syscall
	hlt
END f
FUNC g
	jmp .Linside
END g
	WALL
