/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw system calls of this kernel.  They never touch errno, take no lock, and are async-signal-safe; any thread may
 * call them.  Results are ≥ 0 or a negative errno.  They are inline, so the instruction lies in the caller's text: in
 * libvirtuos.so that is the range that Syscall User Dispatch lets pass.
 */
#ifndef VOS_RAW_H
#define VOS_RAW_H

#include <stdint.h>
#include <sys/syscall.h>
#include "nr.h"

static inline long vos_raw6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long vos_raw4(long nr, long a, long b, long c, long d)
{
	long ret;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long vos_raw3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long vos_raw2(long nr, long a, long b)
{
	return vos_raw3(nr, a, b, 0);
}

static inline long vos_raw1(long nr, long a)
{
	return vos_raw3(nr, a, 0, 0);
}

static inline long vos_raw0(long nr)
{
	return vos_raw3(nr, 0, 0, 0);
}

/* A pointer as a system call argument. */
#define VOS_PTR(p) ((long)(uintptr_t)(p))

#endif
