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
struct vos_conn;
struct vos_remote_proc;
struct vos_lane_client;
struct vos_sigthread;
struct vos_sigtab;

#define VOS_DOMAINS_MAX 16  /* policy entries that name a domain */

/* What the ways to the domains did; written by the carrier alone, read by --stats and `virtuos stat`. */
struct vos_remote_counts {
	uint64_t submits;
	uint64_t spins;                   /* waits that a look in the spinning phase ended */
	uint64_t yields;                  /* sched_yield calls made while waiting */
	uint64_t sleeps;                  /* futex or poll sleeps */
	uint64_t doorbells;               /* the server slept and was rung */
	uint64_t cancels;
	uint64_t joins;
	uint64_t bytes_out, bytes_in;     /* payload; counted by whoever copies it */
};

/*
 * A kernel thread of the program; the GS base points here.  The first words are read by trampoline.S.
 * In 1:1 mode a carrier has one thread for life; under M:N `thread` is the uthread that runs now.
 */
struct vos_carrier {
	struct vos_carrier *self;
	uint64_t  runtime_sp;             /* top of the current thread's runtime stack */
	struct vos_thread *thread;
	struct vos_proc   *proc;
	uint64_t  runtime_lo;             /* bottom of that stack: rsp in (lo, sp] means "in the runtime" */
	uint64_t  resume;                 /* where the program goes on after the call under way */
	uint8_t  *fdkind;                 /* proc->fdkind */
	uint32_t  nr, fd;                 /* trampoline.S: number and first argument of the call under way */
	uint32_t  pid, tid;               /* answers of getpid and gettid */
	uint64_t  counts_native[VOS_NR_END + 2]; /* by number; the last counts numbers outside the table */
	uint64_t  counts_runtime[VOS_NR_END + 2];
	uint64_t  counts_remote[VOS_NR_END + 2];
	struct vos_lane_client *lane[VOS_DOMAINS_MAX]; /* of proc->domain[i]; NULL until first used */
	struct vos_carrier *next;         /* proc's list */
	struct vos_remote_counts remote;
	uint32_t  ktid;                   /* as the kernel numbers it; tid is what the program believes */
	struct vos_ut_carrier *ut;        /* uthread/: it carries uthreads */
};

/* A thread of the program: what the program believes is a kernel thread. */
struct vos_thread {
	struct vos_carrier *carrier;
	struct vos_frame   *frame;        /* of the call under way; NULL outside */
	_Atomic uint32_t    sig_pending;  /* a signal waits for the way out: waits end with -VOS_ERESTARTSYS */
	uint64_t            sigmask;      /* what the program believes masked of the signals that we never mask (entry/signal.h) */
	struct vos_sigthread *sig;        /* entry/signal.h */
	struct vos_uthread *ut;           /* uthread/; NULL: a kernel thread of its own */
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

/*
 * The call as this kernel does it, with the frame's number and arguments, in a window (entry/window.h): it may answer
 * -VOS_ERESTARTNOINTR, to be handed on.  Counts it.
 */
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
	bool guest;                    /* lives in another process's memory until it execs or ends */
	struct vos_sigtab *sigtab;     /* entry/signal.h */
	uint64_t *ended;               /* counters of threads that are gone: native, runtime, remote, as in a carrier */
	void *priv[8];                 /* by family: VOS_PRIV_* */
	struct vos_remote_proc *remote; /* remote.c's own; NULL but in a vfork child: see vos_remote_vfork() */
};
enum { VOS_PRIV_FDMAP, VOS_PRIV_MAPPING, VOS_PRIV_NET, VOS_PRIV_EPOLL, VOS_PRIV_AIO, VOS_PRIV_ENTRY };

/* ---- remote calls (dispatch/remote.c) ----------------------------------------------------------------------------- */

/* A domain as one process sees it: a policy entry.  A vfork child uses its parent's. */
struct vos_domain {
	uint32_t index;                /* in proc->domain */
	uint32_t kind;                 /* VOS_KIND_* */
	char     name[64];
	char     root[256];            /* storage: root of the export in the domain */
	char     prefix[256];          /* storage: where programs see it; canonical, no trailing slash but for "/" */
	_Atomic uint32_t state;        /* VOS_DOM_* */
	/*
	 * Names the present connection: another one after each death, of the domain or of the proxy alone; the same in a forked child
	 * and in the next image.  0 before the first.
	 */
	_Atomic uint64_t epoch;
	struct vos_conn *conn;         /* the present connection; NULL before the first */
	_Atomic uint32_t lock;         /* joining, leaving, lane allocation */
	uint32_t said;                 /* the reason of the last failure was told to the user */
	struct vos_carrier *restorer;  /* who runs vos_domain_restored(); under lock */
};
/*
 * RESTORING: joined again after a death; vos_domain_restored() runs in the thread that joined, the others wait for it.
 */
enum { VOS_DOM_NEW, VOS_DOM_UP, VOS_DOM_DOWN, VOS_DOM_RESTORING };

/* A completion that the client made itself because the domain died (in vos_cqe.flags; never taken from a server). */
#define VOS_CQE_DEAD 0x8000u

/* A request under way.  The caller's memory; it must live until vos_remote_wait() has returned it as done. */
struct vos_pending {
	struct vos_lane_client *lane;
	struct vos_cqe cqe;            /* valid once done; flags hold VOS_CQE_ESCAPE and VOS_CQE_DEAD at most */
	_Atomic uint32_t done;
	uint32_t slot;
	uint64_t user;                 /* its word on the wire */
	uint64_t since;                /* when it was submitted, in ticks of the spinner's clock */
	uint16_t op;
	struct vos_uthread *waiter;    /* to be woken when it is done; NULL: whoever waits looks itself */
};

struct vos_wait {
	uint64_t deadline_ns;          /* CLOCK_MONOTONIC; VOS_NEVER */
	bool     interruptible;        /* a pending signal ends the wait with -VOS_ERESTARTSYS */
	struct pollfd *fds;            /* native descriptors to watch as well, revents filled; or NULL */
	uint32_t nfds;                 /* fds has room for VOS_WAIT_SPARE entries more, which the wait uses */
};
#define VOS_NEVER (~0ULL)
#define VOS_WAIT_SPARE VOS_DOMAINS_MAX

/*
 * The lane of this carrier to a domain, joined on first use (asks the supervisor: may take milliseconds; after a death waits
 * for the domain to come up again, at most VOS_REJOIN_MS).  NULL and *ret_err negative: -ENETDOWN or -EIO (by kind) when
 * the domain is down, -EACCES, -ENOENT or -ENOTDIR as the supervisor says, -ENOMEM, -VOS_ERESTARTSYS (a signal ended the wait).
 * The lane stays valid while the caller holds memory or a request of it, also past the death of the domain.
 */
struct vos_lane_client *vos_remote_lane(struct vos_domain *d, int *ret_err);
#define VOS_REJOIN_MS 10000
/*
 * The same, but a domain that is being rebooted is not waited for: NULL and -EAGAIN at once.  For threads that have other
 * descriptors to watch meanwhile; they try again every few milliseconds.
 */
struct vos_lane_client *vos_remote_lane_try(struct vos_domain *d, int *ret_err);

/* The domain of a lane, and the epoch of the connection that the lane belongs to. */
struct vos_domain *vos_lane_domain(const struct vos_lane_client *l);
uint64_t vos_lane_epoch(const struct vos_lane_client *l);

/* Payload memory of a lane: `len` bytes, 64-byte aligned, or NULL when none is left now.  Offsets go into requests. */
void *vos_lane_alloc(struct vos_lane_client *l, size_t len, uint64_t *ret_off);
void vos_lane_free(struct vos_lane_client *l, void *p);
/* The largest allocation that succeeds whatever else a thread has under way, bytes.  Larger transfers go in pieces. */
size_t vos_lane_max(const struct vos_lane_client *l);

/*
 * Submit.  0, or -EPROTO/-EPIPE when the domain died (p is then not under way).  A request is waited for by the thread that
 * began it.
 */
int vos_remote_begin(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p);
/*
 * Wait until one of n requests is done: its index.  Else -VOS_ERESTARTSYS (signal), -ETIMEDOUT, or VOS_WAIT_NATIVE when a
 * native descriptor is ready.  n = 0 is allowed.  A dead domain completes its requests with the error of its kind (-EIO,
 * -ECONNRESET) and VOS_CQE_DEAD.
 */
int vos_remote_wait(struct vos_pending **p, uint32_t n, struct vos_wait *w);
#define VOS_WAIT_NATIVE 0x10000
/* Ask for a request to end, then wait for it uninterruptibly.  p->cqe tells what happened. */
void vos_remote_cancel(struct vos_pending *p);

/*
 * Submit, wait interruptibly, cancel on a signal: the result, -VOS_ERESTARTSYS when nothing had happened.  req->user is
 * filled in.  ret_cqe may be NULL.
 */
long vos_remote_call(struct vos_lane_client *l, struct vos_req *req, struct vos_cqe *ret_cqe);

/*
 * For the signal code, async-signal-safe: the carrier's thread has a signal pending; whatever wait it is in or about to
 * enter looks again at once.
 */
void vos_remote_kick(struct vos_carrier *c);

/* ---- remote: the life of connections (dispatch/remote_session.c, remote_join.c, remote_fork.c) ------------------------ */

/*
 * Bring-up, after proc->domain[] is filled and vos_fdmap_init(): proc->session_fd becomes the inherited session (fd ≥ 0),
 * or one to the supervisor at `supervisor` (a path, '@' first: abstract, "system"), or to a private one that is started:
 * `dir` is where virtuosd lies (the installed place is tried after it).  `envp` is what the supervisor inherits, less
 * everything that is ours.  0 or negative errno, said on stderr.
 */
int vos_remote_start(struct vos_proc *p, int fd, const char *supervisor, const char *dir, char *const *envp);

/* Provided by the net room: the domain was joined again after a death: listeners and epoll sets are made anew. */
void vos_domain_restored(struct vos_domain *d);

/* A thread ends (or its image does): its lanes are free for others. */
void vos_remote_carrier_gone(struct vos_carrier *c);

/* One connection a domain, for a process to come. */
struct vos_fork_conns {
	struct vos_conn *conn[VOS_DOMAINS_MAX];
};
/*
 * Before a native fork: the proxies of the domains in `mask` (bit i: proc->domain[i]) fork.  Domains left out are joined
 * anew by the child when it needs them.  0, or negative errno (nothing is left behind): -EAGAIN when a proxy could not fork.  A domain
 * that is dead is skipped: its descriptors are stale in both.
 */
int vos_remote_fork_prepare(struct vos_proc *p, uint32_t mask, struct vos_fork_conns *f);
/* After it, in the parent; also when the fork failed: the forked proxies then end. */
void vos_remote_fork_parent(struct vos_proc *p, struct vos_fork_conns *f);
/* After it, in the child, with its carrier in place: the parent's connections go, the child's own take their place. */
void vos_remote_fork_child(struct vos_proc *p, struct vos_fork_conns *f);

/*
 * A vfork child runs in its parent's memory with the parent's domains and a carrier of its own.  What it joins meanwhile is
 * its own: the descriptors of a connection exist only in its table.  _vfork before the native call, with the child's proc;
 * _vfork_done in the parent once the child has execed or ended (or the vfork failed).
 */
int vos_remote_vfork(struct vos_proc *child, struct vos_proc *parent);
void vos_remote_vfork_done(struct vos_proc *child);

/* A connection as it travels through exec. */
struct vos_conn_saved {
	uint32_t index;                /* in proc->domain */
	int32_t  region_fd, doorbell_fd, wake_fd, control_fd;
	char     transport[12];        /* its name */
	uint64_t epoch, proxy;
	struct vos_region_geo geo;
};
struct vos_exec_conns {
	uint32_t n;
	struct vos_conn_saved saved[VOS_DOMAINS_MAX]; /* copied into the state of the new image */
	struct vos_fork_conns forked;  /* vfork child: proxies forked for the new image */
};
/*
 * Before a native exec: the connections of the domains in `mask` stay open across it (in a vfork child: its parent's
 * proxies fork).  0 or negative errno, nothing changed.  _undo when the exec failed.
 */
int vos_remote_exec_prepare(struct vos_proc *p, uint32_t mask, struct vos_exec_conns *x);
void vos_remote_exec_undo(struct vos_proc *p, struct vos_exec_conns *x);
/* In the new image, after vos_remote_start(): takes the connections over.  0; -EPROTO: the domains it spoke of are as if dead. */
int vos_remote_exec_adopt(struct vos_proc *p, const struct vos_conn_saved *saved, uint32_t n);

/*
 * The process exits: its descriptors in the domains are closed and its locks gone when this returns, so who waited for it may
 * lock or bind the same at once, as on one kernel.  Bounded; a death by signal is noticed by the proxies a moment later.
 */
void vos_remote_leave(struct vos_proc *p);

/* The process changed its credentials: its proxies take them.  0 or the first error. */
int vos_remote_recred(struct vos_proc *p);
/* The program calls setfsuid or setfsgid. */
void vos_remote_fs_ids_set(void);

/*
 * The regular file that the remote descriptor is open on, from a domain of this very kernel: a close-on-exec descriptor of the same
 * open file, the caller's, to be mapped and closed at once.  -EOPNOTSUPP: the domain is elsewhere; -EMFILE; -EIO; -EPROTO.
 * Not interruptible.
 */
int vos_remote_file(struct vos_lane_client *l, int32_t rfd);

/*
 * The shared segment of a file (domain, dev, ino) and its shadow: memfds of at least `size` bytes, the runtime's own; `hold` keeps
 * the segment.  All three go by vos_fd_disown() when the last mapping does.  `made` is VOS_SHMAP_READY; _FRESH: it is to be filled;
 * _LEFT: the last who had it was killed, what differs from the shadow is to be stored and the rest taken from the file anew.  The
 * others wait until the latter two are followed by vos_remote_segment_filled().  0 or negative errno.
 */
struct vos_segment {
	int fd, shadow, hold;
	uint32_t made;
};
int vos_remote_segment(struct vos_domain *d, uint64_t dev, uint64_t ino, uint64_t size, struct vos_segment *ret);
void vos_remote_segment_filled(struct vos_domain *d, int hold);

#endif
