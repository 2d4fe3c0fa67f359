/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the columns of syscalls.def mean.  Marshalling, validation, execution, trace, the fuzzers' grammar and the support
 * matrix are all made from that one table.
 *
 *   VOS_SYSCALL(name, route, support, blocks, exec, args, test, note)
 *
 * route    NATIVE   this kernel.
 *          REMOTE   the first A_FD decides: a remote descriptor is marshalled by the args column, any other is native.
 *                   Such a row needs no code of its own in the client.
 *          RUNTIME  answered in the process by vos_call_<name>().
 *          SPECIAL  vos_call_<name>() decides and may go remote or native.
 * support  FULL, PARTIAL (note says what is missing), NONE (a remote descriptor answers as Linux answers for a call that the
 *          object does not support; note says which errno), SELF (concerns this kernel alone: nothing to serve).
 * blocks   NEVER, MAY (may wait without bound).
 * exec     how the domain server runs it: X_NONE (never sent), X_DIRECT (bounded: called at once), X_READ / X_WRITE (tried
 *          without waiting, then parked on the descriptor's readiness), X_PATH (a path is resolved below the export
 *          first), X_WORKER (a worker thread: it may wait and cannot be polled), X_OWN (vos_exec_<name>()).
 */
#ifndef VOS_CALLS_H
#define VOS_CALLS_H

#include <stdint.h>
#include "nr.h"

enum vos_route { VOS_NATIVE, VOS_REMOTE, VOS_RUNTIME, VOS_SPECIAL };
enum vos_support { VOS_SUPPORT_FULL, VOS_SUPPORT_PARTIAL, VOS_SUPPORT_NONE, VOS_SUPPORT_SELF };
enum vos_blocks { VOS_BLOCKS_NEVER, VOS_BLOCKS_MAY };
enum vos_exec { VOS_X_NONE, VOS_X_DIRECT, VOS_X_READ, VOS_X_WRITE, VOS_X_PATH, VOS_X_WORKER, VOS_X_OWN };

/* Kinds of arguments; a parameter stands above the low 8 bits. */
enum vos_arg_kind {
	VOS_A_NONE,
	VOS_A_INT,    /* 32-bit scalar: the upper half is ignored, as the kernel does */
	VOS_A_LONG,   /* 64-bit scalar */
	VOS_A_FD,     /* a descriptor that must be remote for the call to be */
	VOS_A_ATFD,   /* a directory descriptor for the path that follows: remote, or VOS_AT_* */
	VOS_A_PATH,   /* NUL-terminated, at most VOS_PATH_MAX with the NUL */
	VOS_A_CSTR,   /* another NUL-terminated string, at most VOS_PATH_MAX */
	VOS_A_IN,     /* bytes in; param: index of their length argument */
	VOS_A_OUT,    /* bytes out; param: index of the capacity; the result says how many are valid */
	VOS_A_CAP,    /* the length or capacity */
	VOS_A_INS,    /* struct in of param bytes; may be NULL */
	VOS_A_OUTS,   /* struct out of param bytes, filled on success; may be NULL */
	VOS_A_IOS,    /* struct in and out of param bytes; may be NULL */
	VOS_A_OUTL,   /* bytes out, value-result; param: index of the A_LENP argument; may be NULL */
	VOS_A_LENP,   /* uint32_t in and out: capacity, then the true length */
	VOS_A_IOVIN,  /* struct iovec array gathered; param: index of its count.  On the wire: flat bytes and their length */
	VOS_A_IOVOUT, /* scattered likewise */
	VOS_A_PTR,    /* an address that never travels */
	VOS_A_SIG,    /* a signal number (trace) */
};

#define A_NONE      VOS_A_NONE
#define A_INT       VOS_A_INT
#define A_LONG      VOS_A_LONG
#define A_FD        VOS_A_FD
#define A_ATFD      VOS_A_ATFD
#define A_PATH      VOS_A_PATH
#define A_CSTR      VOS_A_CSTR
#define A_IN(i)     (VOS_A_IN | (i) << 8)
#define A_OUT(i)    (VOS_A_OUT | (i) << 8)
#define A_CAP       VOS_A_CAP
#define A_INS(n)    (VOS_A_INS | (n) << 8)
#define A_OUTS(n)   (VOS_A_OUTS | (n) << 8)
#define A_IOS(n)    (VOS_A_IOS | (n) << 8)
#define A_OUTL(i)   (VOS_A_OUTL | (i) << 8)
#define A_LENP      VOS_A_LENP
#define A_IOVIN(i)  (VOS_A_IOVIN | (i) << 8)
#define A_IOVOUT(i) (VOS_A_IOVOUT | (i) << 8)
#define A_PTR       VOS_A_PTR
#define A_SIG       VOS_A_SIG

#define VOS_ARG_KIND(a)  ((a) & 0xffu)
#define VOS_ARG_PARAM(a) ((a) >> 8)

#define VOS_CALL_NAME 24

/* Without pointers: relocating the table would cost each program that starts a copy of every page of it. */
struct vos_call {
	char name[VOS_CALL_NAME];  /* "": no such number */
	uint8_t route, support, blocks, exec;
	uint32_t arg[6];
};

/*
 * Define VOS_CALLS_TABLE before including this header in the one file of a program that holds the table.  Designated by
 * number: a duplicate row is a compile error (-Woverride-init), a misspelt name too.
 */
extern const struct vos_call vos_calls[VOS_NR_END];

#ifdef VOS_CALLS_TABLE
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Woverride-init"
#define ARGS(...) { __VA_ARGS__ }
#define VOS_SYSCALL(n, r, s, b, x, a, t, o) \
	[__NR_##n] = { #n, VOS_##r, VOS_SUPPORT_##s, VOS_BLOCKS_##b, VOS_##x, a },
const struct vos_call vos_calls[VOS_NR_END] = {
#include "syscalls.def"
};
#undef VOS_SYSCALL
#undef ARGS
#define VOS_SYSCALL(n, r, s, b, x, a, t, o) _Static_assert(sizeof #n <= VOS_CALL_NAME, #n);
#include "syscalls.def"
#undef VOS_SYSCALL
#pragma GCC diagnostic pop
#endif

#endif
