/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the runtime share.  Rules of this room: README.md.  In short: no libc, no errno, no vector
 * register, raw system calls only, and no handler of the program ever runs while a thread is in here.
 */
#ifndef VOS_RUNTIME_H
#define VOS_RUNTIME_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <virtuos/calls.h>
#include <virtuos/err.h>
#include <virtuos/lane.h>
#include <virtuos/raw.h>
#include <virtuos/transport.h>

/* ---- entry ------------------------------------------------------------------------------------------------------ */

/*
 * The program's registers at the call; trampoline.S builds it on the thread's runtime stack and restores from it.
 * MUST NOT CHANGE without trampoline.S.
 */
struct vos_frame {
	uint64_t r15, r14, r13, r12, rbp, rbx;
	uint64_t r9, r8, r10, rdx, rsi, rdi;
	uint64_t rax;    /* in: the number; out: the result */
	uint64_t rip;    /* where the program resumes */
	uint64_t rflags;
	uint64_t rsp;    /* the program's */
};

/* The argument i (0..5) of a call. */
static inline uint64_t vos_arg(const struct vos_frame *f, unsigned i)
{
	switch (i) {
	case 0: return f->rdi;
	case 1: return f->rsi;
	case 2: return f->rdx;
	case 3: return f->r10;
	case 4: return f->r8;
	default: return f->r9;
	}
}

struct vos_proc;
struct vos_thread;
struct vos_lane_client;

#define VOS_DOMAINS_MAX 16  /* policy entries that name a domain */

/*
 * A kernel thread of the program; the GS base points here.  The first words are read by trampoline.S.
 * In 1:1 mode a carrier has one thread for life; under M:N `thread` is the uthread that runs now.
 */
struct vos_carrier {
	struct vos_carrier *self;
	uint64_t  runtime_sp;             /* top of the current thread's runtime stack */
	struct vos_thread *thread;
	struct vos_proc   *proc;
	uint64_t  runtime_lo;             /* bottom of that stack: rsp in (lo, sp] means "already inside" */
	uint64_t  counts_native[VOS_NR_END + 2]; /* by number; the last counts numbers outside the table */
	uint64_t  counts_runtime[VOS_NR_END + 2];
	uint64_t  counts_remote[VOS_NR_END + 2];
	struct vos_lane_client *lane[VOS_DOMAINS_MAX]; /* of proc->domain[i]; NULL until first used */
	uint32_t  tid;                    /* of the kernel thread */
	struct vos_carrier *next;         /* proc's list */
};

/* A thread of the program: what the program believes is a kernel thread. */
struct vos_thread {
	struct vos_carrier *carrier;
	struct vos_frame   *frame;        /* of the call under way; NULL outside */
	_Atomic uint32_t    sig_pending;  /* a signal waits for the way out: waits end with -VOS_ERESTARTSYS */
	uint64_t            sigmask;      /* the program's view of its mask */
	void               *sig;          /* signal.c's own */
};

/* The carrier of this thread.  Only valid where vos_entry or bring-up has set the GS base. */
static inline struct vos_carrier *vos_self(void)
{
	struct vos_carrier *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}

/* One byte per descriptor of the process: 0 = native in every respect, so vos_entry goes straight to the kernel. */
enum { VOS_FDKIND_NATIVE = 0, VOS_FDKIND_REMOTE = 1, VOS_FDKIND_EPOLL = 2, VOS_FDKIND_OWN = 3 /* the runtime's */,
       VOS_FDKIND_DIR = 4 /* native directory that is an ancestor of a routed prefix */ };
#define VOS_FDS_MAX (1u << 20)

/* Called by vos_entry for everything that its fast paths do not settle; f->rax is the result afterwards. */
void vos_dispatch(struct vos_frame *f);

typedef long vos_call_fn(struct vos_frame *f);

/* The call as this kernel does it, with the frame's arguments.  Counts it. */
long vos_native(struct vos_frame *f);

/* ---- a process -------------------------------------------------------------------------------------------------- */

struct vos_ofd;
struct vos_policy;

/* What the kernel keeps for a process; a vfork child has one of its own in its parent's memory. */
struct vos_proc {
	uint32_t pid;
	uint8_t *fdkind;               /* VOS_FDS_MAX bytes, reserved and touched on demand */
	struct vos_ofd **ofd;          /* VOS_FDS_MAX pointers, likewise; valid where fdkind is REMOTE or EPOLL */
	struct vos_domain *domain[VOS_DOMAINS_MAX];
	uint32_t ndomains;
	struct vos_policy *policy;
	int      session_fd;           /* to the supervisor; -1 without one */
	struct vos_carrier *carriers;
	_Atomic uint32_t lock;         /* fdmap and carriers */
	void *cwd;                     /* path.c's own */
	void *priv[8];                 /* by family: see proc.c */
};

/* ---- remote calls (dispatch/remote.c) ----------------------------------------------------------------------------- */

/* A domain as one process sees it: a policy entry. */
struct vos_domain {
	uint32_t index;                /* in proc->domain */
	uint32_t kind;                 /* VOS_KIND_* */
	char     name[64];
	char     root[256];            /* storage: root of the export in the domain */
	char     prefix[256];          /* storage: where programs see it; canonical, no trailing slash but for "/" */
	_Atomic uint32_t state;        /* VOS_DOM_* */
	uint64_t epoch;                /* of the present connection */
	uint64_t proxy;
	struct vos_transport t;
	_Atomic uint32_t lanes_used;
	_Atomic uint32_t lock;         /* joining, leaving, lane allocation */
	void *priv;                    /* remote.c's own */
};
enum { VOS_DOM_NEW, VOS_DOM_UP, VOS_DOM_DOWN };

/* A request under way.  The caller's memory; it must live until vos_remote_wait() has returned it as done. */
struct vos_pending {
	struct vos_lane_client *lane;
	struct vos_cqe cqe;            /* valid once done */
	_Atomic uint32_t done;
	uint32_t slot;
};

struct vos_wait {
	uint64_t deadline_ns;          /* CLOCK_MONOTONIC; VOS_NEVER */
	bool     interruptible;        /* a pending signal ends the wait with -VOS_ERESTARTSYS */
	struct pollfd *fds;            /* native descriptors to watch as well; revents filled */
	uint32_t nfds;
};
#define VOS_NEVER (~0ULL)

/*
 * The lane of this carrier to a domain, joined on first use (asks the supervisor: may take milliseconds).
 * NULL and *ret_err negative: -ENETDOWN or -EIO (by kind) when the domain is down, -ENOMEM.
 */
struct vos_lane_client *vos_remote_lane(struct vos_domain *d, int *ret_err);

/* Payload memory of a lane: `len` bytes, 64-byte aligned, or NULL when none is left now.  Offsets go into requests. */
void *vos_lane_alloc(struct vos_lane_client *l, size_t len, uint64_t *ret_off);
void vos_lane_free(struct vos_lane_client *l, void *p);
/* The largest allocation that can ever succeed, bytes.  Larger transfers go in pieces. */
size_t vos_lane_max(const struct vos_lane_client *l);

/* Submit.  0, or -EPROTO/-EPIPE when the domain died (p is then not under way). */
int vos_remote_begin(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p);
/*
 * Wait until one of n requests is done: its index.  Else -VOS_ERESTARTSYS (signal), -ETIMEDOUT, or VOS_WAIT_NATIVE (n + 0)
 * when a native descriptor is ready.  A dead domain completes its requests with the error of its kind (-EIO, -ECONNRESET).
 */
int vos_remote_wait(struct vos_pending **p, uint32_t n, struct vos_wait *w);
#define VOS_WAIT_NATIVE 0x10000
/* Ask for a request to end, then wait for it uninterruptibly.  p->cqe tells what happened. */
void vos_remote_cancel(struct vos_pending *p);

/* Submit, wait interruptibly, cancel on a signal: the result, -VOS_ERESTARTSYS when nothing had happened. */
long vos_remote_call(struct vos_lane_client *l, struct vos_req *req, struct vos_cqe *ret_cqe);

#endif
