/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments into a lane, results out of it, by the args column of syscalls.def.
 */
#ifndef VOS_MARSHAL_H
#define VOS_MARSHAL_H

#include <signal.h>
#include <sys/uio.h>
#include "../runtime.h"
#include "fdmap.h"

/*
 * The call in f, whose row is REMOTE-shaped, on the descriptor o: marshalled, sent, waited for, unmarshalled.  Transfers
 * larger than the lane go in pieces, as Linux's own would (a short piece ends it).  The program's view of the result.
 * Uses f's number and arguments; the first A_FD becomes o's rfd.  SIGPIPE is raised where Linux would.
 */
long vos_marshal_call(struct vos_frame *f, struct vos_ofd *o);
/* The same with another number (accept → accept4) or other arguments than f's. */
long vos_marshal_call_as(unsigned nr, const uint64_t arg[6], struct vos_ofd *o, struct vos_cqe *ret_cqe);

/*
 * A call with scalars only, on o: op, then arguments after the rfd.  The raw result; *ret_cqe optional.  Interruptible:
 * -VOS_ERESTARTSYS.
 */
long vos_ofd_call(struct vos_ofd *o, unsigned op, uint64_t a1, uint64_t a2, uint64_t a3, struct vos_cqe *ret_cqe);
/*
 * A call with one buffer: arg[at] is its offset.  in_len bytes of buf (runtime memory) are sent, out_len come back.
 */
long vos_ofd_call_buf(struct vos_ofd *o, unsigned op, const uint64_t arg[6], unsigned at, void *buf, size_t in_len, size_t out_len,
		      struct vos_cqe *ret_cqe);

/* Whether reads and writes of this socket keep message boundaries: then they go in one piece. */
static inline bool vos_ofd_is_dgram(const struct vos_ofd *o)
{
	return o->is_dgram;
}
/* The largest piece of one transfer: leaves the lane room for small arguments beside it. */
static inline size_t vos_transfer_max(const struct vos_lane_client *l)
{
	return vos_lane_max(l) - 8192;
}
/* A signal to this thread as the kernel sends it for a call, delivered on the way out of the runtime. */
void vos_raise(int sig);
static inline void vos_raise_sigpipe(void)
{
	vos_raise(SIGPIPE);
}
/* RLIMIT_FSIZE of the program, bytes; setrlimit and prlimit64 tell when it may have changed. */
uint64_t vos_file_size_limit(void);
void vos_file_size_limit_changed(void);

/* Whether [addr, addr+len) is an address that a program may have at all: the kernel asks this before anything else. */
static inline bool vos_user_ok(uint64_t addr, uint64_t len)
{
	const uint64_t end = 0x7ffffffff000;

	return len <= end && addr <= end - len;
}
/* Whether the program could be handed bytes at the ends of [addr, addr+len) now; changes nothing there. */
bool vos_user_writable(uint64_t addr, uint64_t len);

/* ---- iovecs of the program ------------------------------------------------------------------------------------------ */

struct vos_iter {
	uint64_t iov;                /* address of the program's array; 0 with `one` */
	uint64_t left_iov;           /* entries not yet begun */
	struct iovec cur;            /* what is left of the present one */
	size_t   left;               /* bytes in all, capped as Linux caps (MAX_RW_COUNT) */
};

/* 0; -EINVAL (count above 1024, a negative length), -EFAULT. */
int vos_iter_init(struct vos_iter *it, uint64_t iov, uint64_t count);
/* Copy up to len bytes between the program and runtime memory; the bytes moved, or -EFAULT when none could be. */
long vos_iter_from(struct vos_iter *it, void *dst, size_t len);
long vos_iter_to(struct vos_iter *it, const void *src, size_t len);

/* Linux's cap for one transfer. */
#define VOS_RW_MAX 0x7ffff000UL

#endif
