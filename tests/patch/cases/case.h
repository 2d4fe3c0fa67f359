/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every case is a shared object whose .text begins at 0x1000 and .rodata at 0x8000. */
	.macro FUNC name
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	.endm
	.macro END name
	.cfi_endproc
	.size \name, . - \name
	.endm
	/* Nothing that could hold a long jump. */
	.macro WALL
	.fill 160, 1, 0xf4
	.endm
	.section .note.GNU-stack, "", @progbits
	.text
