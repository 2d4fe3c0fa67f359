/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fallback: Syscall User Dispatch.  Armed only while there are sites that could not be patched, or pages both writable and
 * executable: it taxes every call by some 100 ns.  It is a thing of the thread; fork, exec and new threads lose it.
 */
#ifndef VOS_SIGSYS_H
#define VOS_SIGSYS_H

#include <stdbool.h>

/* Something cannot be patched (why: one word for the notes).  Arms this thread, and every other by a signal. */
void vos_sud_want(const char *why);
/* What was said is over: disarms this thread at once, others when they next ask. */
void vos_sud_unwant(void);
/* This thread, new or forked, as the process has it. */
void vos_sud_thread(void);
bool vos_sud_wanted(void);
/* SIGSYS that we send to our own threads so that they call vos_sud_thread(). */
#define VOS_SI_SUD (-0x5653)
#define VOS_SI_TICK (-0x5654) /* uthread/preempt.c */

#endif
