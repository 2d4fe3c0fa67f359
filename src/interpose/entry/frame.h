/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Offsets that trampoline.S uses; entry/carrier.c asserts each against runtime.h.  MUST NOT CHANGE alone.
 */
#ifndef VOS_FRAME_H
#define VOS_FRAME_H

#define C_RUNTIME_SP 8
#define C_THREAD     16
#define C_RESUME     40
#define C_FDKIND     48
#define C_NR         56
#define C_FD         60
#define C_PID        64
#define C_TID        68
#define C_NATIVE     72
#define C_RUNTIME    (72 + 472 * 8)
#define T_PENDING    16
#define UC_RIP       168
#define FRAME_SIZE   128
#define FRAME_RAX    96
#define FRAME_RIP    104
#define FRAME_RSP    120

/* vos_go[]: what vos_entry does with a number.  The order is that of its tests. */
#define VOS_GO_NATIVE 0
#define VOS_GO_FD     1   /* native when the descriptor in the first argument is */
#define VOS_GO_GETPID 2
#define VOS_GO_GETTID 3
#define VOS_GO_SLOW   255

/*
 * Where a signal can find a thread in trampoline.S, as vos_regions[] says; "resume" is the program's address after the call.
 *   RCX      the call has not begun; resume is in rcx
 *   R11      likewise, in r11
 *   BEGIN    likewise, in the carrier
 *   DONE     the result is in rax; resume is in the carrier
 *   DONE_RCX likewise, in rcx
 *   BELOW    the call has not begun; rsp is the runtime's, the program's is in rcx, resume in the carrier
 *   FRAMED   likewise, and the frame at the top of the runtime stack holds all registers
 *   LEAVE    the frame at the top of the runtime stack is what the program goes on with
 *   WINDOW   in C, about to wait: go to vos_window_out
 *   FIRST    a thread that we see for the first time, no carrier yet
 *   SIG_OPEN vos_sig_entry is about to jump to or call the handler in r12; what it pushed is at rsp
 *   SIG_JUMP likewise, all but the jump is done
 *   SIG_BACK the handler has returned; what was pushed is at rsp
 *   SIG_RET  likewise, all but the return is done
 *   NONE     none of these
 */
#define VOS_AT_NONE_     0
#define VOS_AT_RCX       1
#define VOS_AT_R11       2
#define VOS_AT_BEGIN     3
#define VOS_AT_DONE      4
#define VOS_AT_DONE_RCX  5
#define VOS_AT_BELOW     6
#define VOS_AT_LEAVE     7
#define VOS_AT_WINDOW    8
#define VOS_AT_FIRST     9
#define VOS_AT_SIG_OPEN  10
#define VOS_AT_SIG_JUMP  11
#define VOS_AT_SIG_BACK  12
#define VOS_AT_SIG_RET   13
#define VOS_AT_FRAMED    14

#endif
