/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A system call of the runtime that may wait, or that changes what signals find.
 *
 * A signal that arrives while a thread is in the runtime is only noted, and delivered on the way out.  A plain vos_raw*()
 * would lose the race: noted just before the `syscall`, it would be slept through.  The window closes it: the look at
 * vos_thread.sig_pending and the `syscall` are one range of instructions, and vos_sig_entry() moves whoever is in it out.
 */
#ifndef VOS_WINDOW_H
#define VOS_WINDOW_H

#include <stdint.h>

/*
 * The result of the call, or -VOS_ERESTARTNOINTR when a signal waits for delivery and the call was not made (or the kernel would
 * have restarted it).  Hand that code on to the dispatcher untouched, with nothing done; the call then comes again after the
 * program's handler.  A kernel's -EINTR is a result like any other.
 */
long vos_window6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

static inline long vos_window3(long nr, uint64_t a, uint64_t b, uint64_t c)
{
	return vos_window6(nr, a, b, c, 0, 0, 0);
}

#endif
