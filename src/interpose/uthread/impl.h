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
	bool     mask_unknown;         /* a handler of the program ran: rt_sigreturn changes the mask unseen */
	struct vos_uthread *next;      /* in the run queue */
	struct vos_uthread *all_next, **all_prev;
	struct vos_uthread *tid_next;
	bool     in_handler;           /* mask_unknown is to be again after this call */
	uint64_t kmask;                /* what it masks, but for VOS_SIG_OURS */
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

struct vos_ut_sched {
	bool started;
	struct vos_carrier *c;
	struct vos_uthread *run, **run_tail;
	struct vos_uthread *all;
	uint32_t live;
	uint32_t ready;
	uint32_t next_tid;
	uint32_t remote;               /* uthreads that wait for a domain */
	uint32_t jobs;                 /* native calls under way on helpers */
	bool     masks_changed;
	uint64_t idle_mask;
	uint64_t kmask;                /* the kernel's, of the carrier */
	bool     kmask_stale;
	uint32_t switching;            /* registers of the carrier are being exchanged */
	long     first_code;           /* exit code of the first thread */
	struct vos_uthread *spare;
	uint64_t switches;
	uint64_t looked;               /* switches + 1 when someone had just looked at the lanes in vain */
};
extern struct vos_ut_sched vos_ut;
/* Components of vector state that a switch keeps; and those of them that only XSAVEC knows to write. */
extern uint32_t vos_ut_xmask, vos_ut_xsaved;
#define VOS_UT_AREA_MIN 2304u

/* switch.S */
void vos_ut_switch(struct vos_uthread *from, struct vos_uthread *to);
void vos_ut_keep(struct vos_uthread *u);
extern const char vos_ut_born[] __attribute__((visibility("hidden")));
long vos_ut_clone_helper(uint64_t flags, void *sp, struct vos_carrier *c, void *arg);
void vos_ut_first(struct vos_frame *f);
_Noreturn void vos_ut_helper_main(void *arg);

/* sched.c */
void vos_ut_schedule(void);
struct vos_uthread *vos_ut_by_tid(uint32_t tid);
void vos_ut_tid_add(struct vos_uthread *u);
void vos_ut_tid_del(struct vos_uthread *u);
void vos_ut_set_kmask(uint64_t mask);

/* clone.c */
struct vos_uthread *vos_ut_new(void);
void vos_ut_old(struct vos_uthread *u);

/* timer.c: by deadline; the carrier looks now and then, and when it is idle. */
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
long vos_ut_futex(struct vos_frame *f);
void vos_ut_futex_exit(struct vos_uthread *u);
void vos_ut_futex_unwait(struct vos_uthread *u);
void vos_ut_clear_tid_set(struct vos_uthread *u, uint64_t addr);
void vos_ut_futex_reset(struct vos_uthread *u);

/* carrier.c */
void vos_ut_reap_jobs(void);
void vos_ut_idle(uint64_t until);
void vos_ut_helpers_reset(void);
void vos_ut_helpers_retire(void);

/* signal.c */
/* Noted on the host of an idle wait, or for one that masks it: to someone who does not. */
void vos_ut_sort(struct vos_uthread *u);
long vos_ut_tgkill(struct vos_frame *f, uint32_t tid, int sig, const siginfo_t *info);
long vos_ut_sigtimedwait(struct vos_frame *f);
long vos_ut_sigsuspend(struct vos_frame *f);
uint64_t vos_ut_everyones_mask(void);
void vos_ut_look_for_signals(void);

/* preempt.c */
void vos_ut_preempt_start(void);
void vos_ut_preempt_reset(void);

/* Whether a job is done that vos_ut_reap_jobs() has not seen. */
bool vos_ut_jobs_done(void);

#endif
