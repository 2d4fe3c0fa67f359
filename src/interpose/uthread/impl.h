/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this room share. */
#ifndef VOS_UT_IMPL_H
#define VOS_UT_IMPL_H

#include "../entry/carrier.h"
#include "../entry/signal.h"
#include "../rt/rt.h"
#include "offsets.h"
#include "uthread.h"

struct vos_ut_signal {
	struct vos_ut_signal *next;
	siginfo_t info;
};

enum { UT_RUNNING, UT_READY, UT_PARKED };

struct vos_ut_carrier;

struct vos_uthread {
	uint64_t rsp;                  /* offsets.h */
	uint64_t fs;
	void    *xsave;                /* VOS_UT_AREA_MIN bytes at least, aligned to 64 */
	uint32_t vstate;               /* switch.S: what lies there */
	uint64_t runtime_sp, runtime_lo;
	struct vos_thread *thread;
	uint32_t tid;
	uint8_t  state;
	bool     intr;                 /* parked, and a signal ends it */
	bool     timed_out;
	bool     permit;               /* readied while it ran: its next park ends at once */
	bool     home;                 /* pin, if it is set, is by vos_ut_go_home() */
	uint32_t pins;
	struct vos_ut_carrier *pin;    /* who alone may run it (but for one that is to end) */
	bool     mask_unknown;         /* a handler of the program ran: rt_sigreturn changes the mask unseen */
	struct vos_ut_carrier *on;     /* whose stack pointer is in its stack: nobody else may run it */
	struct vos_uthread *next;      /* in the run queue */
	struct vos_uthread *all_next, **all_prev;
	struct vos_uthread *tid_next;
	bool     in_handler;           /* mask_unknown is to be again after this call */
	uint64_t kmask;                /* what it masks, but for VOS_SIG_OURS */
	uint64_t born;                 /* ticks */
	uint64_t handler_sp;           /* where the latest handler's context lies */
	uint64_t deadline;             /* of the timer heap; index 0: not in it */
	uint32_t heap;
	/* futex.c */
	uint64_t futex;                /* the address it waits at; 0: none */
	uint32_t bitset;
	bool     pi;
	bool     in_tick;              /* it stands in the handler of a tick: nothing may come there */
	char     comm[16];
	struct vos_uthread *f_next, *f_prev;
	uint64_t clear_tid, robust, robust_len;
	struct vos_uthread *ct_next;   /* in the table of clear_tid */
	uint64_t sigwait;              /* signals it waits for in rt_sigtimedwait */
	struct vos_ut_signal *pend, **pend_tail;
	uint64_t pend_set;
	/* A uthread that is not the first: these are its own. */
	struct vos_thread  own_thread;
	struct vos_sigthread own_sig;
};

/*
 * A kernel thread that carries uthreads.  The home carrier is the thread that the process began with; with nothing to run it stays
 * on the stack of the last to park.  The others have a stack of their own for that, and exist only while there is work for them.
 */
#define UT_CARRIERS_MAX 64u
struct vos_ut_carrier {
	struct vos_carrier *c;
	/* Under the lock. */
	struct vos_uthread *run, **run_tail;
	uint32_t ready;
	bool     idle;                 /* has nothing to run */
	bool     coarse;               /* its uthreads run long: worth spreading */
	struct vos_uthread *prev;      /* whom the exchange under way takes off */
	struct vos_uthread *dead;      /* ended; its memory is still stood on */
	/* Its own. */
	bool     locked;               /* it holds the lock */
	bool     kmask_stale;
	uint32_t switching;            /* registers are being exchanged */
	uint64_t kmask;                /* the kernel's */
	uint64_t sent;                 /* signals sent to its kernel thread, for the uthread that runs */
	uint64_t switches, tick_switches;
	uint64_t looked;               /* switches + 1 when someone had just looked at the lanes in vain */
	_Atomic uint32_t resched;      /* a tick came in the runtime: 1, or 2 from the timer */
	int      timer;
	_Atomic uint32_t asleep;       /* 1: on this word; 2: on lanes */
	/* Others than home. */
	bool     gone;                 /* ended, or about to; under the lock */
	_Atomic uint32_t alive;        /* its kernel thread exists; cleared by the kernel */
	struct vos_uthread *base;      /* its own stack */
};

struct vos_ut_sched {
	bool started;
	bool many;                     /* there is, or was, more than one carrier: the lock counts */
	bool spread;                   /* threads=mn-spread */
	uint32_t retiring;             /* so many want all but home to end */
	_Atomic uint32_t lock;         /* all of this room, but for what is a carrier's or a running uthread's own */
	struct vos_ut_carrier *home;
	struct vos_ut_carrier *carrier[UT_CARRIERS_MAX]; /* [0]: home; the others are made once, and used again */
	uint32_t n;                    /* entries */
	uint32_t running;              /* carriers that exist */
	struct vos_uthread *all;
	uint32_t live;
	uint32_t next_tid;
	_Atomic uint32_t remote;       /* uthreads that wait for a domain */
	uint32_t jobs;                 /* native calls under way on helpers */
	_Atomic bool masks_changed;
	uint64_t idle_mask;
	long     first_code;           /* exit code of the first thread */
	struct vos_uthread *spare;
};
extern struct vos_ut_sched vos_ut;
/* Components of vector state that a switch keeps; and those of them that only XSAVEC knows to write. */
extern uint32_t vos_ut_xmask, vos_ut_xsaved;
#define VOS_UT_AREA_MIN 2304u

static inline struct vos_ut_carrier *vos_ut_me(void)
{
	return vos_self()->ut;
}

/*
 * A mask with the signal of cancellation, which C libraries keep out of the program's masks, is one of theirs (around the making and
 * the end of a thread), in force for a few instructions: not worth a call of the kernel.
 */
#define UT_LIBC_MASK (1ull << 31)
static inline bool vos_ut_passing_mask(uint64_t mask)
{
	return (mask & UT_LIBC_MASK) == UT_LIBC_MASK;
}

static inline uint64_t vos_ut_ticks(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* The lock of the room.  Not taken while there is one carrier, whose code is never interrupted by another uthread. */
void vos_ut_lock_slow(void);
static inline void vos_ut_lock(void)
{
	if (__builtin_expect(vos_ut.many, 0))
		vos_ut_lock_slow();
}

static inline void vos_ut_unlock(void)
{
	if (__builtin_expect(vos_ut.many, 0)) {
		vos_ut_me()->locked = false;
		/* Release: pairs with the acquire in vos_ut_lock_slow(). */
		atomic_store_explicit(&vos_ut.lock, 0, memory_order_release);
	}
}

/* switch.S */
void vos_ut_switch(struct vos_uthread *from, struct vos_uthread *to);
void vos_ut_keep(struct vos_uthread *u);
extern const char vos_ut_born[] __attribute__((visibility("hidden")));
long vos_ut_clone_helper(uint64_t flags, void *sp, struct vos_carrier *c, void *arg, _Atomic uint32_t *cleared, void (*entry)(void *));
void vos_ut_first(struct vos_frame *f);

/* "Locked": the caller holds the lock.  It is the carrier's: a park goes on with it, on whatever carrier it ends. */

/* sched.c */
long vos_ut_park_locked(uint64_t deadline_ns, bool intr);
void vos_ut_ready_locked(struct vos_uthread *u);
/* The caller is PARKED or READY (in a queue) and runs again when its turn comes. */
void vos_ut_schedule_locked(void);
/* Off the caller's stack to n, and back some time. */
void vos_ut_exchange_locked(struct vos_uthread *u, struct vos_uthread *n);
struct vos_uthread *vos_ut_pop_locked(struct vos_ut_carrier *m);
/* Something for m, of another; NULL. */
struct vos_uthread *vos_ut_steal_locked(struct vos_ut_carrier *m);
struct vos_uthread *vos_ut_by_tid_locked(uint32_t tid);
void vos_ut_tid_add(struct vos_uthread *u);
void vos_ut_tid_del(struct vos_uthread *u);
void vos_ut_set_kmask(uint64_t mask);
bool vos_ut_known(uint32_t tid);

/* clone.c */
struct vos_uthread *vos_ut_new_locked(void);
void vos_ut_old_locked(struct vos_uthread *u);
extern uint32_t vos_ut_area;          /* bytes of vector state */

/* carriers.c */
/* After a tick on m, whose uthreads may want more carriers. */
void vos_ut_balance_locked(struct vos_ut_carrier *m, bool timer);
/* There is something for it. */
void vos_ut_wake(struct vos_ut_carrier *m);
void vos_ut_wake_any(void);
/* The caller goes to the home carrier, and stays; `one`: all others have ended.  And back. */
void vos_ut_go_home(bool one);
void vos_ut_left_home(bool one);
void vos_ut_carriers_fork_child(void);
bool vos_ut_make_home(struct vos_carrier *c);

/* timer.c: by deadline; a carrier looks now and then, and when it is idle. */
bool vos_ut_timer_add(struct vos_uthread *u, uint64_t deadline_ns);
void vos_ut_timer_del(struct vos_uthread *u);
/* Readies what is due; the next deadline, or VOS_NEVER. */
uint64_t vos_ut_timer_run(void);
void vos_ut_timer_look(void);
void vos_ut_timer_reset(void);
uint64_t vos_ut_now(void);
/* The monotonic deadline of a timespec; negative errno, else 0. */
long vos_ut_deadline(uint64_t user_ts, int clock, bool absolute, uint64_t *ret);
long vos_ut_nanosleep(struct vos_frame *f, int clock, int flags, uint64_t ts, uint64_t rem);

/* futex.c */
void vos_ut_futex_exit_locked(struct vos_uthread *u);
void vos_ut_clear_tid_set(struct vos_uthread *u, uint64_t addr);
void vos_ut_futex_reset(struct vos_uthread *u);

/* carrier.c */
void vos_ut_reap_jobs_locked(void);
/* The carrier of the caller (parked, or its base) has nothing to run. */
void vos_ut_idle_locked(uint64_t until);
void vos_ut_helpers_reset(void);

/* signal.c */
/* Noted on the host of an idle wait, or for one that masks it: to someone who does not. */
void vos_ut_sort_locked(struct vos_uthread *u);
void vos_ut_send_locked(struct vos_uthread *u, const siginfo_t *info);
long vos_ut_tgkill(struct vos_frame *f, uint32_t tid, int sig, const siginfo_t *info);
long vos_ut_sigtimedwait(struct vos_frame *f);
long vos_ut_sigsuspend(struct vos_frame *f);
uint64_t vos_ut_everyones_mask_locked(void);
void vos_ut_look_for_signals(void);
void vos_ut_tick_mask(uint64_t mask);
/* u leaves the carrier: what was sent to its kernel thread, and waits there, goes with it. */
void vos_ut_take_along_locked(struct vos_uthread *u);

/* preempt.c */
void vos_ut_preempt_start(struct vos_ut_carrier *m);
void vos_ut_preempt_stop(struct vos_ut_carrier *m);
/* As if a tick had come there: it looks. */
void vos_ut_prod(struct vos_ut_carrier *m);

/* Whether a job is done that vos_ut_reap_jobs_locked() has not seen. */
bool vos_ut_jobs_done(void);

#endif
