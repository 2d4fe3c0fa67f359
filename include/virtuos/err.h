/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Results: a value or a negative errno, as the kernel returns them. */
#ifndef VOS_ERR_H
#define VOS_ERR_H

#include <errno.h>
#include <stdbool.h>

/* True for -4095..-1 only: -4096 is a valid result (an address), as for the kernel. */
static inline bool vos_is_err(long r)
{
	return (unsigned long)r > -4096UL;
}

/*
 * The kernel's private restart code.  It never reaches a program: a wait that a signal cut short answers with it, and
 * the signal code turns it into a restart or -EINTR, by SA_RESTART, as the kernel does.
 */
#define VOS_ERESTARTSYS 512
/* Likewise, for what had not begun when a signal came: handler first, then the call again, whatever SA_RESTART says. */
#define VOS_ERESTARTNOINTR 513

#endif
