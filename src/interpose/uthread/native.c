/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls of uthreads that the table leaves to this kernel.  What is about threads is answered here; what may block is first
 * tried without blocking, and then made by a helper.  A uthread without company calls the kernel directly.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include "../entry/user.h"
#include "../entry/window.h"
#include "impl.h"

#define SPLICE_NONBLOCK 2

static long direct(struct vos_frame *f)
{
	return vos_window6((long)f->rax, f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9);
}

static long helped(struct vos_frame *f)
{
	struct vos_ut_job j = { .nr = f->rax, .a = { f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9 } };

	return vos_ut_job_run(&j, VOS_NEVER);
}

static bool nonblocking(uint64_t fd)
{
	return vos_raw3(__NR_fcntl, (long)fd, F_GETFL, 0) & O_NONBLOCK;
}

static bool regular(uint64_t fd)
{
	struct stat st;

	return vos_raw2(__NR_fstat, (long)fd, VOS_PTR(&st)) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode);
}

static long io(struct vos_frame *f, short events, bool whole)
{
	struct pollfd p = { .fd = (int)f->rdi, .events = events };

	/* It may take a part and then wait for room: only the kernel knows. */
	if (whole && !regular(f->rdi) && !nonblocking(f->rdi))
		return helped(f);
	if (vos_raw3(__NR_poll, VOS_PTR(&p), 1, 0) != 0 || nonblocking(f->rdi))
		return direct(f);
	return helped(f);
}

/* The call once with other arguments; `again`: what says that it would have blocked. */
static long try_first(struct vos_frame *f, unsigned arg, uint64_t value, long again)
{
	uint64_t a[6] = { f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9 };
	long r;

	a[arg] = value;
	r = vos_window6((long)f->rax, a[0], a[1], a[2], a[3], a[4], a[5]);
	return r == again ? helped(f) : r;
}

/* With a mask of its own: it is the uthread's for that time, and the helper's call has none. */
static long with_mask(struct vos_frame *f, unsigned arg, uint64_t mask, uint64_t size)
{
	struct vos_ut_job j = { .nr = f->rax, .a = { f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9 } };
	struct vos_sig_masked m;
	long r = vos_sig_mask_begin(&m, mask, size);

	if (r < 0)
		return r;
	j.a[arg] = 0;
	r = vos_ut_job_run(&j, VOS_NEVER);
	vos_sig_mask_end(&m);
	return r == -VOS_ERESTARTSYS ? -EINTR : r;
}

/* Never made again after a handler, whatever SA_RESTART says. */
static long no_restart(long r)
{
	return r == -VOS_ERESTARTSYS && atomic_load(&vos_self()->thread->sig_pending) ? -EINTR : r;
}

static long may_block(struct vos_frame *f)
{
	uint64_t pair[2] = { 0, 0 };
	long r;

	switch (f->rax) {
	case __NR_read:
	case __NR_readv:
		return io(f, POLLIN, false);
	case __NR_write:
		return io(f, POLLOUT, f->rdx > 4096);
	case __NR_writev:
		return io(f, POLLOUT, true);
	case __NR_accept:
	case __NR_accept4:
		return io(f, POLLIN, false);
	case __NR_recvfrom:
		return f->r10 & MSG_DONTWAIT ? direct(f) : io(f, POLLIN, f->r10 & MSG_WAITALL);
	case __NR_recvmsg:
		return f->rdx & MSG_DONTWAIT ? direct(f) : io(f, POLLIN, f->rdx & MSG_WAITALL);
	case __NR_sendto:
		return f->r10 & MSG_DONTWAIT ? direct(f) : io(f, POLLOUT, f->rdx > 4096);
	case __NR_sendmsg:
		return f->rdx & MSG_DONTWAIT ? direct(f) : io(f, POLLOUT, true);
	case __NR_sendmmsg:
	case __NR_recvmmsg:
	case __NR_connect:
		return nonblocking(f->rdi) ? direct(f) : helped(f);
	case __NR_sendfile:
		return nonblocking(f->rdi) || regular(f->rdi) ? direct(f) : helped(f);
	case __NR_splice:
		return f->r9 & SPLICE_NONBLOCK ? direct(f) : helped(f);
	case __NR_tee:
	case __NR_vmsplice:
		return f->r10 & SPLICE_NONBLOCK ? direct(f) : helped(f);
	case __NR_poll:
		return (int)f->rdx == 0 ? direct(f) : no_restart(try_first(f, 2, 0, 0));
	case __NR_ppoll:
		return f->r10 ? with_mask(f, 3, f->r10, f->r8) : no_restart(helped(f));
	case __NR_select:
		return no_restart(helped(f));
	case __NR_pselect6:
		if (f->r9 && vos_copy_from_user(pair, (void *)(uintptr_t)f->r9, sizeof pair) < 0)
			return -EFAULT;
		return pair[0] ? with_mask(f, 5, pair[0], pair[1]) : no_restart(helped(f));
	case __NR_epoll_wait:
		return (int)f->r10 == 0 ? direct(f) : no_restart(try_first(f, 3, 0, 0));
	case __NR_epoll_pwait:
		if ((int)f->r10 == 0)
			return direct(f);
		return f->r8 ? with_mask(f, 4, f->r8, f->r9) : no_restart(try_first(f, 3, 0, 0));
	case __NR_epoll_pwait2:
		return f->r8 ? with_mask(f, 4, f->r8, f->r9) : no_restart(helped(f));
	case __NR_wait4:
		return f->rdx & WNOHANG ? direct(f) : try_first(f, 2, f->rdx | WNOHANG, 0);
	case __NR_waitid:
		return f->r10 & WNOHANG ? direct(f) : helped(f);
	case __NR_flock:
		return f->rsi & 4 ? direct(f) : try_first(f, 1, f->rsi | 4, -EAGAIN);
	case __NR_fcntl:
		if ((int)f->rsi != F_SETLKW && (int)f->rsi != 38 /* F_OFD_SETLKW */)
			return direct(f);
		r = try_first(f, 1, f->rsi - 1, -EAGAIN);
		return r == -EACCES ? helped(f) : r;
	case __NR_io_getevents:
		return f->rsi == 0 ? direct(f) : no_restart(helped(f));
	case __NR_io_uring_enter:
		return f->rdx == 0 ? direct(f) : helped(f);
	default:
		return helped(f);
	}
}

static bool blocks(uint64_t nr)
{
	switch (nr) {
	case __NR_read: case __NR_readv: case __NR_write: case __NR_writev: case __NR_accept: case __NR_accept4: case __NR_recvfrom:
	case __NR_recvmsg: case __NR_sendto: case __NR_sendmsg: case __NR_sendmmsg: case __NR_recvmmsg: case __NR_connect:
	case __NR_sendfile: case __NR_splice: case __NR_tee: case __NR_vmsplice: case __NR_poll: case __NR_ppoll: case __NR_select:
	case __NR_pselect6: case __NR_epoll_wait: case __NR_epoll_pwait: case __NR_epoll_pwait2: case __NR_wait4: case __NR_waitid:
	case __NR_flock: case __NR_fcntl: case __NR_semop: case __NR_semtimedop: case __NR_msgsnd: case __NR_msgrcv:
	case __NR_mq_timedsend: case __NR_mq_timedreceive: case __NR_io_getevents: case __NR_io_uring_enter: case __NR_fsync:
	case __NR_fdatasync: case __NR_futex_waitv:
		return true;
	default:
		return false;
	}
}

/*
 * glibc gives the unused part of a thread's stack back when the thread ends, with all signals masked, and keeps the stack for another.
 * That takes longer than all else in the life of a short thread, which has hardly had the time to touch any of it.
 */
#define SHORT_LIFE 250000u             /* ticks, some 100 µs */

static bool dying_stack(const struct vos_frame *f, const struct vos_uthread *u)
{
	return f->rdx == MADV_DONTNEED && f->rsi >= 65536 && f->rdi + f->rsi <= f->rsp && f->rsp - (f->rdi + f->rsi) < 65536 &&
	       vos_ut_ticks() - u->born < SHORT_LIFE && vos_ut_passing_mask(u->kmask);
}

/* What the kernel keeps for each of its threads: on the home carrier, of which others that come are copies. */
static long at_home(struct vos_frame *f)
{
	long r;

	vos_ut_go_home(true);
	r = direct(f);
	vos_ut_left_home(true);
	return r;
}

static long set_name(struct vos_frame *f, struct vos_uthread *u)
{
	char name[16];

	memset(name, 0, sizeof name);
	if ((int)f->rdi == PR_GET_NAME) {
		if (u->comm[0])
			return vos_copy_to_user((void *)(uintptr_t)f->rsi, u->comm, 16);
		return direct(f);
	}
	if (vos_strncpy_from_user(name, (const char *)(uintptr_t)f->rsi, 15) == -EFAULT)
		return -EFAULT;
	if (u->thread != &u->own_thread)
		return direct(f);
	memcpy(u->comm, name, 15);
	return 0;
}

long vos_ut_native(struct vos_frame *f)
{
	struct vos_uthread *u = vos_ut_self();
	uint64_t nr = f->rax;
	siginfo_t info;

	switch (nr) {
	case __NR_futex:
		return vos_ut_futex(f);
	case __NR_madvise:
		return dying_stack(f, u) ? 0 : direct(f);
	case __NR_sched_yield:
		vos_ut_yield();
		return 0;
	case __NR_rseq:
		/* Taken, and never written to: glibc is content, and sched_getcpu() asks the kernel. */
		return u->thread == &u->own_thread ? 0 : direct(f);
	case __NR_set_tid_address:
		vos_ut_lock();
		vos_ut_clear_tid_set(u, f->rdi);
		vos_ut_unlock();
		return u->tid;
	case __NR_set_robust_list:
		if (f->rsi != 24)
			return -EINVAL;
		u->robust = f->rdi;
		u->robust_len = f->rsi;
		/* The kernel walks it if the process is killed; it knows the carrier by its own number alone. */
		return u->tid == vos_ut.home->c->ktid && vos_ut_me() == vos_ut.home ? direct(f) : 0;
	case __NR_get_robust_list: {
		struct vos_uthread *v;
		uint64_t len = 24, robust;

		vos_ut_lock();
		v = f->rdi ? vos_ut_by_tid_locked((uint32_t)f->rdi) : u;
		robust = v ? v->robust : 0;
		vos_ut_unlock();
		if (!v)
			return direct(f);
		return vos_put_user64(f->rsi, robust) < 0 || vos_copy_to_user((void *)(uintptr_t)f->rdx, &len, 8) < 0 ? -EFAULT : 0;
	}
	case __NR_tkill:
		return vos_ut_tgkill(f, (uint32_t)f->rdi, (int)f->rsi, NULL);
	case __NR_tgkill:
		if ((uint32_t)f->rdi != vos_self()->pid)
			return direct(f);
		return vos_ut_tgkill(f, (uint32_t)f->rsi, (int)f->rdx, NULL);
	case __NR_rt_tgsigqueueinfo:
		if ((uint32_t)f->rdi != vos_self()->pid)
			return direct(f);
		if (vos_copy_from_user(&info, (void *)(uintptr_t)f->r10, sizeof info) < 0)
			return -EFAULT;
		return vos_ut_tgkill(f, (uint32_t)f->rsi, (int)f->rdx, &info);
	case __NR_prctl:
		if ((int)f->rdi == PR_SET_NAME || (int)f->rdi == PR_GET_NAME)
			return set_name(f, u);
		if ((int)f->rdi == PR_GET_TID_ADDRESS)
			return vos_put_user64(f->rsi, u->clear_tid);
		switch ((int)f->rdi) {
		case PR_SET_PDEATHSIG: case PR_SET_KEEPCAPS: case PR_SET_SECUREBITS: case PR_CAPBSET_DROP: case PR_SET_SECCOMP:
		case PR_SET_NO_NEW_PRIVS: case PR_CAP_AMBIENT: case PR_SET_TIMERSLACK: case PR_SET_SPECULATION_CTRL:
			return at_home(f);
		}
		return direct(f);
	case __NR_sched_setaffinity: case __NR_sched_setparam: case __NR_sched_setscheduler: case __NR_sched_setattr: {
		/* Of the carriers: all uthreads share what is set. */
		struct vos_frame g = *f;

		if (!f->rdi)
			return at_home(f);
		if (!vos_ut_known((uint32_t)f->rdi))
			return direct(f);
		g.rdi = vos_ut.home->c->ktid;
		return at_home(&g);
	}
	case __NR_sched_getaffinity: case __NR_sched_getparam: case __NR_sched_getscheduler: case __NR_sched_getattr:
	case __NR_sched_rr_get_interval: {
		struct vos_frame g = *f;

		if (f->rdi && vos_ut_known((uint32_t)f->rdi))
			g.rdi = vos_ut.home->c->ktid;
		return direct(&g);
	}
	case __NR_setuid: case __NR_setgid: case __NR_setreuid: case __NR_setregid: case __NR_setresuid: case __NR_setresgid:
	case __NR_setgroups: case __NR_setfsuid: case __NR_setfsgid: case __NR_capset: case __NR_unshare: case __NR_setns:
	case __NR_personality: case __NR_seccomp: case __NR_ioprio_set: case __NR_setpriority: case __NR_keyctl: case __NR_set_mempolicy:
		return at_home(f);
	}
	if (vos_ut_alone())
		return direct(f);
	switch (nr) {
	case __NR_nanosleep:
		return vos_ut_nanosleep(f, CLOCK_MONOTONIC, 0, f->rdi, f->rsi);
	case __NR_clock_nanosleep:
		if (f->rdi != CLOCK_MONOTONIC && f->rdi != CLOCK_REALTIME && f->rdi != CLOCK_BOOTTIME && f->rdi != CLOCK_TAI)
			return helped(f);
		return vos_ut_nanosleep(f, (int)f->rdi, (int)f->rsi, f->rdx, f->r10);
	case __NR_rt_sigtimedwait:
		return vos_ut_sigtimedwait(f);
	case __NR_rt_sigsuspend:
	case __NR_pause:
		return vos_ut_sigsuspend(f);
	}
	return blocks(nr) ? may_block(f) : direct(f);
}
