/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User threads (threads=mn): what the rest of the runtime may call.  A thread is a uthread when vos_thread.ut is not NULL; with
 * threads=kernel, in a program that has made no thread, and in a vfork child it is NULL and none of this runs.
 *
 * A carrier changes from one to another only inside a call (a tick that finds the program's own code makes a call of it,
 * preempt.c).  So code of the runtime never loses its carrier between two waits; after a wait vos_self() may be another, and a struct
 * vos_carrier * that was held across it is stale.
 */
#ifndef VOS_UTHREAD_H
#define VOS_UTHREAD_H

#include <signal.h>
#include "../runtime.h"

struct vos_uthread;

/* threads=mn was asked for and can be had. */
extern bool vos_ut_on;

/* Bring-up: the policy asks for mn.  Says why when it cannot be; threads are then the kernel's. */
void vos_ut_init(struct vos_proc *p);
/* Whether a thread that the caller makes is to be a uthread. */
bool vos_ut_carries(void);

struct vos_ut_clone {
	uint64_t flags, stack, tls;    /* stack: the child's rsp */
	uint64_t parent_tid, child_tid;
};
/* The tid, or negative errno. */
long vos_ut_clone(struct vos_frame *f, const struct vos_ut_clone *q);
/* The caller is one; returns only the number of nothing: the process goes on with others, or ends. */
_Noreturn void vos_ut_exit(long code);
/* Whether the caller is the last. */
bool vos_ut_alone(void);
/* After fork, in the child: the caller is the only one. */
void vos_ut_fork_child(void);

/* There is, or was, more than one carrier: what was one's own needs locks now. */
bool vos_ut_many(void);
/* The caller stays on this carrier, until as many calls of stayed().  No-ops when it is no uthread. */
void vos_ut_stay(void);
void vos_ut_stayed(void);
/* Around fork and vfork: the caller stays on the home carrier, whose kernel thread the process began with. */
void vos_ut_fork_begin(void);
void vos_ut_fork_end(void);
/* Around the kernel's fork. */
void vos_ut_fork_prepare(void);
void vos_ut_fork_parent(void);

/* Credentials changed: kernel threads of ours that have the old ones go. */
void vos_ut_cred_changed(void);

/* A call that goes to this kernel, of a uthread.  As vos_native(). */
long vos_ut_native(struct vos_frame *f);

/* The futex call of a uthread. */
long vos_ut_futex(struct vos_frame *f);

/* The calling uthread, or NULL. */
static inline struct vos_uthread *vos_ut_self(void)
{
	return vos_self()->thread->ut;
}

/*
 * Waits for vos_ut_ready(), at most until deadline_ns (CLOCK_MONOTONIC or VOS_NEVER); `intr`: or for a signal.  0, -ETIMEDOUT or
 * -VOS_ERESTARTSYS; may wake for nothing.
 */
long vos_ut_park(uint64_t deadline_ns, bool intr);
/* Lets it go on; if it does not wait, its next park ends at once.  From carriers alone. */
void vos_ut_ready(struct vos_uthread *u);
/* So many more wait for a domain. */
void vos_ut_remote_waits(int n);
/* The caller has just looked in vain for its request: if nobody else can run, the carrier sleeps without looking again. */
void vos_ut_looked(void);
/* Lets the others go first. */
void vos_ut_yield(void);
void vos_ut_sleep(uint64_t ns);
/* Whether the carrier has something to do: an idle wait ends then. */
bool vos_ut_runnable(void);

/* ---- native calls on kernel threads of ours (carrier.c) ---- */
struct vos_ut_job {
	struct vos_ut_job *next;
	struct vos_uthread *owner;
	uint64_t nr, a[6];
	uint64_t mask;                 /* unused by most: signals that the call itself takes */
	long result;
	bool sigpipe;                  /* the call raised SIGPIPE */
	bool done;
	struct vos_ut_helper *helper;
};
/* 0, or negative errno: no kernel thread could be had.  The job and all it points to live until it is done. */
int  vos_ut_job_start(struct vos_ut_job *j);
/* Makes it end early; done still comes. */
void vos_ut_job_cancel(struct vos_ut_job *j);
/* The whole: start, wait, cancel on a signal (and after deadline_ns: -ETIMEDOUT). */
long vos_ut_job_run(struct vos_ut_job *j, uint64_t deadline_ns);

/* ---- signals (signal.c) ---- */
/* In vos_enter(): the mask that is in force is known afterwards; and on the way out. */
void vos_ut_enter(struct vos_thread *t, uint64_t nr);
void vos_ut_leave(struct vos_thread *t);
void vos_ut_send(struct vos_uthread *u, const siginfo_t *info);
/* From sigentry.c.  A handler of the program is about to run with this mask. */
void vos_ut_handler(struct vos_thread *t, uint64_t uc);
/* A noted signal: what to return to. */
uint64_t vos_ut_mask(struct vos_thread *t, uint64_t kernel);
void vos_ut_noted(void);
/* Of vos_sig_deliver(): sends on what waits for t and is not masked; true when something was. */
bool vos_ut_release(struct vos_thread *t);
/* The signal that release would send first, or 0. */
int  vos_ut_first_signal(struct vos_thread *t);
/* The program changed its mask (the kernel's is already so). */
void vos_ut_mask_changed(uint64_t mask);
/*
 * The kernel is told of a mask only when that matters (see vos_ut_passing_mask()): what a uthread masks and the kernel does not is
 * held back when it comes (vos_ut_held_back()).  The mask of the caller, and another.
 */
uint64_t vos_ut_masked(struct vos_thread *t);
void vos_ut_mask_lazily(uint64_t mask);
/* A signal was sent to the carrier's kernel thread, for the calling uthread. */
void vos_ut_sent(int sig);
/* A signal found the program: its context gets the uthread's mask.  True: the uthread masks the signal. */
bool vos_ut_held_back(struct vos_thread *t, int sig, uint64_t *uc_mask);
/* vos_sig_deliver() leaves with this mask in force. */
void vos_ut_mask_left(uint64_t mask);
/* Around fork: everything masked, also across waits; and back. */
void vos_ut_mask_all(bool all, uint64_t old);
uint64_t vos_ut_pending(struct vos_thread *t);
/* Whether the carrier is between two uthreads: rsp then says nothing. */
bool vos_ut_switching(void);
/* There is nothing to deliver after all: its mask comes into force. */
void vos_ut_remask(struct vos_thread *t);
/* Before delivery: what t masks goes to others. */
void vos_ut_settle(struct vos_thread *t);
/* A tick (SIGSYS, VOS_SI_TICK or SI_TIMER) found the carrier: in the program's code when `program`. */
void vos_ut_tick(bool program, bool timer, uint64_t uc_mask);
/* A kick of ours for a helper: true when it was one. */
bool vos_ut_kicked(struct vos_carrier *c);
#define VOS_SI_KICK (-4712)

/* ---- dispatch/remote.c: for carriers ---- */
/* The lanes that the calling carrier looks after, where requests may be under way.  At most max. */
uint32_t vos_ut_lanes(struct vos_lane_client **ret, uint32_t max);
bool vos_lane_busy(const struct vos_lane_client *l);
void vos_remote_poll_lanes(void);
void vos_remote_idle(uint64_t ns, bool spin);
/* Before the second carrier: lanes get locks. */
void vos_remote_share_lanes(struct vos_proc *p);

/* ---- locks of the runtime ---- */
/* For rt/lock.c: a holder of the lock may be parked.  False: the caller is no uthread. */
bool vos_ut_lock_wait(void);

#endif
