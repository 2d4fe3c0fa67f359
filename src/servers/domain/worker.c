/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads for calls that may wait and that nothing can poll (flock, F_SETLKW, the open of a FIFO, syncfs).  A worker enters
 * one system call and nothing else: no libc, no lock, no allocation.  So a fork of the proxy at any moment copies no state of
 * a worker that could matter, and the threads need no storage of their own: they run with the main thread's FS base and
 * never look at it.
 */
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include "servers/domain/domain.h"

#define WORKERS_MAX  256u
#define STACK_SIZE   (32u * 1024)
#define STOP_SIGNAL  SIGUSR1
#define NO_CHECKS    __attribute__((no_sanitize("address", "undefined"), no_stack_protector))

enum { IDLE, BUSY, DONE, QUIT };

struct vos_worker {
	_Atomic uint32_t state;      /* futex: the owner sets BUSY, the worker DONE, the owner IDLE */
	_Atomic uint32_t stop;       /* leave the call, or do not enter it */
	uint32_t tid;                /* cleared by the kernel at the thread's end */
	bool stale;                  /* started with credentials of before */
	struct vos_workers *all;
	struct vos_op *op;
	long nr, a[6], res;
	void *stack;
	struct vos_worker *next;     /* idle list */
};

struct vos_workers {
	struct vos_worker *w[WORKERS_MAX];
	uint32_t n;
	struct vos_worker *idle;
	struct vos_op *first, *last; /* wait for a worker */
	int efd;
};

/*
 * long vos_worker_enter(_Atomic uint32_t *stop, long nr, const long a[6]): -ECANCELED without entering when *stop is set.  The
 * signal's handler moves a thread that stands between the look and the instruction to the same end, so no stop is lost
 * (the way musl cancels threads).
 */
long vos_worker_enter(_Atomic uint32_t *stop, long nr, const long a[6]);
extern const char vos_worker_begin[], vos_worker_insn[], vos_worker_stopped[];
__asm__(".text\n"
	".local vos_worker_begin, vos_worker_insn, vos_worker_stopped\n"
	".globl vos_worker_enter\n"
	".hidden vos_worker_enter\n"
	".type vos_worker_enter, @function\n"
	"vos_worker_enter:\n"
	"	mov %rsi, %rax\n"
	"	mov %rdx, %r11\n"
	"	mov %rdi, %rcx\n"
	"	mov 0(%r11), %rdi\n"
	"	mov 8(%r11), %rsi\n"
	"	mov 16(%r11), %rdx\n"
	"	mov 24(%r11), %r10\n"
	"	mov 32(%r11), %r8\n"
	"	mov 40(%r11), %r9\n"
	"vos_worker_begin:\n"
	"	cmpl $0, (%rcx)\n"
	"	jne vos_worker_stopped\n"
	"vos_worker_insn:\n"
	"	syscall\n"
	"	ret\n"
	"vos_worker_stopped:\n"
	"	mov $-125, %rax\n" /* ECANCELED */
	"	ret\n"
	".size vos_worker_enter, . - vos_worker_enter\n"
	".previous\n");
_Static_assert(ECANCELED == 125, "in the text above");

/* Runs on a worker with the main thread's FS base: touches nothing but the context. */
NO_CHECKS static void on_stop(int sig, siginfo_t *info, void *ctx)
{
	greg_t *ip = &((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];

	(void)sig;
	(void)info;
	if ((uintptr_t)*ip >= (uintptr_t)vos_worker_begin && (uintptr_t)*ip <= (uintptr_t)vos_worker_insn)
		*ip = (greg_t)(uintptr_t)vos_worker_stopped;
}

NO_CHECKS static int work(void *arg)
{
	static const uint64_t one = 1;
	struct vos_worker *w = arg;

	for (;;) {
		uint32_t state;

		while ((state = atomic_load_explicit(&w->state, memory_order_acquire)) != BUSY) {
			if (state == QUIT)
				vos_raw1(__NR_exit, 0);
			vos_raw4(__NR_futex, VOS_PTR(&w->state), FUTEX_WAIT_PRIVATE, state, 0);
		}
		w->res = vos_worker_enter(&w->stop, w->nr, w->a);
		/* Release: pairs with the acquire in vos_worker_reap(). */
		atomic_store_explicit(&w->state, DONE, memory_order_release);
		vos_raw3(__NR_write, w->all->efd, VOS_PTR(&one), sizeof one);
	}
	return 0;
}

int vos_worker_init(struct vos_proxy *p)
{
	struct sigaction sa = { .sa_sigaction = on_stop, .sa_flags = SA_SIGINFO };
	struct vos_workers *all = calloc(1, sizeof *all);
	sigset_t set;

	if (!all)
		return -ENOMEM;
	all->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (all->efd < 0) {
		free(all);
		return -errno;
	}
	sigaction(STOP_SIGNAL, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, STOP_SIGNAL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	p->workers = all;
	return 0;
}

/* Only the child of a fork gets rid of its workers (they were never its own); others leave by exit. */
void vos_worker_finish(struct vos_proxy *p, bool forked)
{
	struct vos_workers *all = p->workers;

	if (!all || !forked)
		return;
	for (uint32_t i = 0; i < all->n; i++) {
		munmap(all->w[i]->stack, STACK_SIZE);
		free(all->w[i]);
	}
	close(all->efd);
	free(all);
	p->workers = NULL;
}

static struct vos_worker *new_worker(struct vos_workers *all)
{
	struct vos_worker *w;
	sigset_t set, old;

	if (all->n == WORKERS_MAX)
		return NULL;
	w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	w->all = all;
	w->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (w->stack == MAP_FAILED) {
		free(w);
		return NULL;
	}
	mprotect(w->stack, 4096, PROT_NONE);
	/* A worker takes the stop signal and no other. */
	sigfillset(&set);
	sigdelset(&set, STOP_SIGNAL);
	sigprocmask(SIG_SETMASK, &set, &old);
	if (clone(work, (char *)w->stack + STACK_SIZE, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		  CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, w, &w->tid, NULL, &w->tid) < 0) {
		munmap(w->stack, STACK_SIZE);
		free(w);
		w = NULL;
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (w)
		all->w[all->n++] = w;
	return w;
}

static void start(struct vos_worker *w, struct vos_op *op)
{
	w->op = op;
	w->nr = op->wnr;
	memcpy(w->a, op->wa, sizeof w->a);
	atomic_store_explicit(&w->stop, 0, memory_order_relaxed);
	op->worker = w;
	/* Release: pairs with the acquire in work(). */
	atomic_store_explicit(&w->state, BUSY, memory_order_release);
	vos_raw3(__NR_futex, VOS_PTR(&w->state), FUTEX_WAKE_PRIVATE, 1);
}

int vos_worker_call(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6])
{
	struct vos_workers *all = p->workers;
	struct vos_worker *w = all->idle;

	op->wnr = nr;
	memcpy(op->wa, a, sizeof op->wa);
	op->worker = NULL;
	op->wnext = NULL;
	if (w)
		all->idle = w->next;
	else
		w = new_worker(all);
	if (!w && !all->n)
		return -EAGAIN;
	op->inflight++;
	op->on_worker = true;
	op->wait_mode = VOS_OP_WAIT_WORKER;
	if (w) {
		start(w, op);
	} else {
		/* All are busy: the next that is done takes it. */
		if (all->last)
			all->last->wnext = op;
		else
			all->first = op;
		all->last = op;
	}
	return 0;
}

void vos_worker_cancel(struct vos_proxy *p, struct vos_op *op)
{
	struct vos_workers *all = p->workers;
	static const uint64_t one = 1;

	if (!op->on_worker)
		return;
	if (op->worker) {
		atomic_store_explicit(&op->worker->stop, 1, memory_order_seq_cst);
		vos_raw3(__NR_tgkill, getpid(), op->worker->tid, STOP_SIGNAL);
		return;
	}
	/* Still in the queue: vos_worker_reap() answers it, as answers never come from inside an asker. */
	vos_raw3(__NR_write, all->efd, VOS_PTR(&one), sizeof one);
}

int vos_worker_fd(struct vos_proxy *p)
{
	return p->workers->efd;
}

/* Answers what need not be called any more. */
static int reap_queue(struct vos_proxy *p)
{
	struct vos_workers *all = p->workers;
	struct vos_op **at = &all->first, *op, *last = NULL;
	int n = 0;

	while ((op = *at)) {
		if (!op->cancelled && !op->enough) {
			last = op;
			at = &op->wnext;
			continue;
		}
		*at = op->wnext;
		op->inflight--;
		op->on_worker = false;
		vos_serve_resume(p, op, -ECANCELED);
		n++;
	}
	all->last = last;
	return n;
}

/* Ends an idle worker and takes it out of the list. */
static void retire(struct vos_workers *all, uint32_t i)
{
	struct vos_worker *w = all->w[i];
	uint32_t tid;

	atomic_store_explicit(&w->state, QUIT, memory_order_release);
	vos_raw3(__NR_futex, VOS_PTR(&w->state), FUTEX_WAKE_PRIVATE, 1);
	/* It holds no lock and waits for nothing: its end is a matter of microseconds, and the stack is in use until then. */
	while ((tid = __atomic_load_n(&w->tid, __ATOMIC_ACQUIRE)))
		vos_raw4(__NR_futex, VOS_PTR(&w->tid), FUTEX_WAIT, tid, 0);
	munmap(w->stack, STACK_SIZE);
	free(w);
	all->w[i] = all->w[--all->n];
}

int vos_worker_reap(struct vos_proxy *p)
{
	struct vos_workers *all = p->workers;
	uint64_t count;
	int n = 0;

	vos_raw3(__NR_read, all->efd, VOS_PTR(&count), sizeof count);
	for (uint32_t i = 0; i < all->n;) {
		struct vos_worker *w = all->w[i];
		struct vos_op *op = w->op;
		bool gone = false;
		long res;

		/* Acquire: pairs with the release in work(). */
		if (atomic_load_explicit(&w->state, memory_order_acquire) != DONE) {
			i++;
			continue;
		}
		res = w->res;
		atomic_store_explicit(&w->state, IDLE, memory_order_relaxed);
		w->op = NULL;
		if (w->stale) {
			retire(all, i);
			gone = true;
		} else if (all->first) {
			struct vos_op *next = all->first;

			all->first = next->wnext;
			if (!all->first)
				all->last = NULL;
			start(w, next);
		} else {
			w->next = all->idle;
			all->idle = w;
		}
		op->inflight--;
		op->on_worker = false;
		op->worker = NULL;
		if (res == -EINTR && op->cancelled)
			res = -ECANCELED;
		vos_serve_resume(p, op, res);
		n++;
		i += !gone;
	}
	return n + reap_queue(p);
}

/* Credentials are a thread's own on Linux: threads that were started with the old ones do nothing more. */
void vos_worker_recred(struct vos_proxy *p)
{
	struct vos_workers *all = p->workers;

	for (uint32_t i = 0; i < all->n; i++)
		all->w[i]->stale = true;
	all->idle = NULL;
	for (uint32_t i = 0; i < all->n;) {
		if (all->w[i]->op)
			i++;
		else
			retire(all, i);
	}
}
