/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Futexes of uthreads.  Private ones live in this table.  Shared ones go to the kernel, which other processes talk to as
 * well, but for one kind: glibc waits for the end of a thread by a shared futex on the word that CLONE_CHILD_CLEARTID
 * clears, and since it is we who clear it, such words (of living threads) are in the table too.
 */
#include <linux/futex.h>
#include <time.h>
#include "../entry/user.h"
#include "impl.h"

#define BUCKETS 4096u
struct bucket { struct vos_uthread *first, *last; };
static struct bucket bucket[BUCKETS];
static struct vos_uthread *ctid[BUCKETS];

#define TID_MASK 0x3fffffffu

static uint32_t hash(uint64_t addr)
{
	return (uint32_t)(((addr >> 2) * 0x9e3779b97f4a7c15ull) >> 52) % BUCKETS;
}

static void enqueue(struct vos_uthread *u, uint64_t addr)
{
	struct bucket *b = &bucket[hash(addr)];

	u->futex = addr;
	u->f_next = NULL;
	u->f_prev = b->last;
	if (b->last)
		b->last->f_next = u;
	else
		b->first = u;
	b->last = u;
}

static void unwait(struct vos_uthread *u)
{
	struct bucket *b;

	if (!u->futex)
		return;
	b = &bucket[hash(u->futex)];
	if (u->f_prev)
		u->f_prev->f_next = u->f_next;
	else
		b->first = u->f_next;
	if (u->f_next)
		u->f_next->f_prev = u->f_prev;
	else
		b->last = u->f_prev;
	u->futex = 0;
}

static int wake(uint64_t addr, uint32_t n, uint32_t bitset)
{
	int woken = 0;

	for (struct vos_uthread *u = bucket[hash(addr)].first, *next; u && (uint32_t)woken < n; u = next) {
		next = u->f_next;
		if (u->futex != addr || u->pi || !(u->bitset & bitset))
			continue;
		unwait(u);
		vos_ut_ready_locked(u);
		woken++;
	}
	return woken;
}

static int requeue(uint64_t from, uint64_t to, uint32_t n)
{
	int moved = 0;

	for (struct vos_uthread *u = bucket[hash(from)].first, *next; u && (uint32_t)moved < n; u = next) {
		next = u->f_next;
		if (u->futex != from || u->pi)
			continue;
		unwait(u);
		enqueue(u, to);
		moved++;
	}
	return moved;
}

/* ---- words that the end of a thread clears ---- */

static bool clears(uint64_t addr)
{
	for (struct vos_uthread *u = ctid[hash(addr)]; u; u = u->ct_next)
		if (u->clear_tid == addr)
			return true;
	return false;
}

void vos_ut_clear_tid_set(struct vos_uthread *u, uint64_t addr)
{
	if (u->clear_tid) {
		struct vos_uthread **at = &ctid[hash(u->clear_tid)];

		while (*at && *at != u)
			at = &(*at)->ct_next;
		if (*at)
			*at = u->ct_next;
	}
	u->clear_tid = addr;
	if (addr) {
		u->ct_next = ctid[hash(addr)];
		ctid[hash(addr)] = u;
	}
}

/* ---- waiting ---- */

static long wait(uint64_t addr, uint32_t val, uint32_t bitset, uint64_t until)
{
	struct vos_uthread *u = vos_ut_self();
	uint32_t now;
	long r;

	if (!bitset)
		return -EINVAL;
	if (addr & 3)
		return -EINVAL;
	if (vos_load_user32(&now, addr) < 0)
		return -EFAULT;
	if (now != val)
		return -EAGAIN;
	u->bitset = bitset;
	u->pi = false;
	enqueue(u, addr);
	do {
		r = vos_ut_park_locked(until, true);
	} while (r == 0 && u->futex);
	if (!u->futex)
		return 0; /* woken: also when a signal or the time came as well */
	unwait(u);
	return r;
}

static long wake_op(uint64_t a, uint64_t b, uint32_t n1, uint32_t n2, uint32_t op)
{
	int32_t arg = (int32_t)(op << 8) >> 20, cmp = (int32_t)(op << 20) >> 20;
	uint32_t old, new;
	bool yes;
	int r;

	if ((op >> 28) & 8)
		arg = 1 << (arg & 31);
	do {
		if (vos_load_user32(&old, b) < 0)
			return -EFAULT;
		switch ((op >> 28) & 7) {
		case FUTEX_OP_SET: new = (uint32_t)arg; break;
		case FUTEX_OP_ADD: new = old + (uint32_t)arg; break;
		case FUTEX_OP_OR: new = old | (uint32_t)arg; break;
		case FUTEX_OP_ANDN: new = old & ~(uint32_t)arg; break;
		case FUTEX_OP_XOR: new = old ^ (uint32_t)arg; break;
		default: return -ENOSYS;
		}
		r = (int)vos_cas_user32(b, old, new);
		if (r < 0)
			return r;
	} while (r == 0);
	switch ((op >> 24) & 15) {
	case FUTEX_OP_CMP_EQ: yes = (int32_t)old == cmp; break;
	case FUTEX_OP_CMP_NE: yes = (int32_t)old != cmp; break;
	case FUTEX_OP_CMP_LT: yes = (int32_t)old < cmp; break;
	case FUTEX_OP_CMP_GE: yes = (int32_t)old >= cmp; break;
	case FUTEX_OP_CMP_LE: yes = (int32_t)old <= cmp; break;
	case FUTEX_OP_CMP_GT: yes = (int32_t)old > cmp; break;
	default: return -ENOSYS;
	}
	r = wake(a, n1, ~0u);
	if (yes)
		r += wake(b, n2, ~0u);
	return r;
}

/* ---- priority inheritance: who waits is handed the lock; there is no priority to inherit on one carrier ---- */

static long lock_pi(uint64_t addr, uint64_t until, bool try)
{
	struct vos_uthread *u = vos_ut_self();
	uint32_t old;
	long r;

	if (addr & 3)
		return -EINVAL;
	for (;;) {
		if (vos_load_user32(&old, addr) < 0)
			return -EFAULT;
		if ((old & TID_MASK) == u->tid)
			return -EDEADLK;
		if ((old & TID_MASK) == 0 || (old & FUTEX_OWNER_DIED && !vos_ut_by_tid_locked(old & TID_MASK))) {
			/* Free, or its owner ended: OWNER_DIED stays for the program to see. */
			r = vos_cas_user32(addr, old, u->tid | (old & (FUTEX_OWNER_DIED | FUTEX_WAITERS)));
			if (r != 0)
				return r < 0 ? r : 0;
			continue;
		}
		if (try)
			return -EAGAIN;
		if (!vos_ut_by_tid_locked(old & TID_MASK))
			return -ESRCH;
		r = vos_cas_user32(addr, old, old | FUTEX_WAITERS);
		if (r < 0)
			return r;
		if (r == 1)
			break;
	}
	u->bitset = ~0u;
	u->pi = true;
	enqueue(u, addr);
	do {
		r = vos_ut_park_locked(until, true);
	} while (r == 0 && u->futex);
	if (!u->futex)
		return 0;
	unwait(u);
	return r == -VOS_ERESTARTSYS ? -VOS_ERESTARTNOINTR : r;
}

/* The next waiter of a PI lock becomes its owner; or nobody does. */
static long hand_over(uint64_t addr, uint32_t flags)
{
	struct vos_uthread *next = NULL;
	uint32_t old, new, waiters = 0;
	long r;

	for (struct vos_uthread *u = bucket[hash(addr)].first; u; u = u->f_next)
		if (u->futex == addr && u->pi) {
			waiters++;
			if (!next)
				next = u;
		}
	new = flags | (next ? next->tid : 0) | (waiters > 1 ? FUTEX_WAITERS : 0);
	do {
		if (vos_load_user32(&old, addr) < 0)
			return -EFAULT;
		r = vos_cas_user32(addr, old, new);
	} while (r == 0);
	if (next && r > 0) {
		unwait(next);
		vos_ut_ready_locked(next);
	}
	return r < 0 ? r : 0;
}

static long unlock_pi(uint64_t addr)
{
	uint32_t old;

	if (vos_load_user32(&old, addr) < 0)
		return -EFAULT;
	if ((old & TID_MASK) != vos_ut_self()->tid)
		return -EPERM;
	return hand_over(addr, 0);
}

/* ---- the call ---- */

static long to_kernel(struct vos_frame *f)
{
	struct vos_ut_job j = { .nr = f->rax, .a = { f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9 } };
	long r;

	/* Wakes do not wait. */
	switch ((int)f->rsi & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		break;
	default:
		return vos_raw6((long)f->rax, (long)f->rdi, (long)f->rsi, (long)f->rdx, (long)f->r10, (long)f->r8, (long)f->r9);
	}
	r = vos_ut_job_run(&j, VOS_NEVER);
	return r;
}

static long private_locked(struct vos_frame *f, uint64_t until)
{
	uint64_t addr = f->rdi;
	uint32_t val = (uint32_t)f->rdx;
	long r;

	switch ((int)f->rsi & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
		/* A time that is left over is not known to the program: with one, the kernel's own gives EINTR only without SA_RESTART. */
		return wait(addr, val, ~0u, until);
	case FUTEX_WAIT_BITSET:
		return wait(addr, val, (uint32_t)f->r9, until);
	case FUTEX_WAKE:
		return addr & 3 ? -EINVAL : wake(addr, val ? val : 1, ~0u);
	case FUTEX_WAKE_BITSET:
		return (uint32_t)f->r9 == 0 || addr & 3 ? -EINVAL : wake(addr, val ? val : 1, (uint32_t)f->r9);
	case FUTEX_CMP_REQUEUE: {
		uint32_t now;

		if (vos_load_user32(&now, addr) < 0)
			return -EFAULT;
		if (now != (uint32_t)f->r9)
			return -EAGAIN;
	}
	/* fall through */
	case FUTEX_REQUEUE:
		if ((addr | f->r8) & 3 || (int)val < 0 || (int)f->r10 < 0)
			return -EINVAL;
		r = wake(addr, val, ~0u);
		return r + requeue(addr, f->r8, (uint32_t)f->r10);
	case FUTEX_WAKE_OP:
		return wake_op(addr, f->r8, val, (uint32_t)f->r10, (uint32_t)f->r9);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return lock_pi(addr, until, false);
	case FUTEX_TRYLOCK_PI:
		return lock_pi(addr, VOS_NEVER, true);
	case FUTEX_UNLOCK_PI:
		return unlock_pi(addr);
	default:
		return -ENOSYS;
	}
}

long vos_ut_futex(struct vos_frame *f)
{
	int op = (int)f->rsi, cmd = op & FUTEX_CMD_MASK;
	uint64_t addr = f->rdi, until = VOS_NEVER;
	long r = 0;
	bool mine = op & FUTEX_PRIVATE_FLAG;

	if (!mine) {
		vos_ut_lock();
		mine = clears(addr);
		vos_ut_unlock();
	}
	if (!mine) {
		uint32_t now, val = (uint32_t)f->rdx;

		/* A thread that was joined ended between the look of the caller and this one: then the word has changed as well. */
		if ((cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET) && vos_load_user32(&now, addr) == 0 && now != val)
			return -EAGAIN;
		return to_kernel(f);
	}
	switch (cmd) {
	case FUTEX_WAIT:
		r = vos_ut_deadline(f->r10, CLOCK_MONOTONIC, false, &until);
		break;
	case FUTEX_WAIT_BITSET:
	case FUTEX_LOCK_PI2:
		r = vos_ut_deadline(f->r10, op & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, true, &until);
		break;
	case FUTEX_LOCK_PI:
		r = vos_ut_deadline(f->r10, CLOCK_REALTIME, true, &until);
		break;
	}
	if (r < 0)
		return r;
	if (atomic_load_explicit(&vos_ut.remote, memory_order_relaxed) && (cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET))
		vos_remote_poll_lanes();
	vos_ut_lock();
	r = private_locked(f, until);
	vos_ut_unlock();
	return r;
}

/* ---- the end of a thread ---- */

static void owner_died(struct vos_uthread *u, uint64_t addr, bool pi, bool pending)
{
	uint32_t old;

	for (;;) {
		if (addr & 3 || vos_load_user32(&old, addr) < 0)
			return;
		if ((old & TID_MASK) != u->tid) {
			/* Taken from the list half-way through an unlock: whoever waits must look. */
			if (pending && !pi && (old & TID_MASK) == 0)
				goto tell;
			return;
		}
		if (pi) {
			hand_over(addr, FUTEX_OWNER_DIED);
			return;
		}
		if (vos_cas_user32(addr, old, (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED) != 0)
			break;
	}
	if (!(old & FUTEX_WAITERS))
		return;
tell:
	wake(addr, 1, ~0u);
	vos_raw3(SYS_futex, (long)addr, FUTEX_WAKE, 1);
}

static void robust_list(struct vos_uthread *u)
{
	uint64_t head[3], at, next;

	if (!u->robust || vos_copy_from_user(head, (void *)(uintptr_t)u->robust, sizeof head) < 0)
		return;
	at = head[0];
	for (unsigned limit = 2048; (at & ~1UL) != u->robust && limit; limit--) {
		uint64_t entry = at & ~1UL;
		bool pi = at & 1;

		if (vos_get_user64(&next, entry) < 0)
			break;
		if (entry != (head[2] & ~1UL))
			owner_died(u, entry + head[1], pi, false);
		at = next;
	}
	if (head[2])
		owner_died(u, (head[2] & ~1UL) + head[1], head[2] & 1, true);
}

void vos_ut_futex_exit_locked(struct vos_uthread *u)
{
	uint64_t addr = u->clear_tid;
	uint32_t zero = 0;

	robust_list(u);
	if (!addr)
		return;
	vos_ut_clear_tid_set(u, 0);
	if (vos_copy_to_user((void *)(uintptr_t)addr, &zero, 4) < 0)
		return;
	wake(addr, 1, ~0u);
}

void vos_ut_futex_reset(struct vos_uthread *u)
{
	memset(bucket, 0, sizeof bucket);
	memset(ctid, 0, sizeof ctid);
	u->futex = 0;
	u->clear_tid = 0;
}
