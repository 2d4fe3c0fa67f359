/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * prctl and seccomp, as far as they concern the runtime.
 *
 * A filter of the program would judge the runtime's own calls too: waits for a domain, what signals need.  It gets a prelude
 * that allows calls from the runtime's text, but for the three places where calls of the program itself are made: those the
 * program's filter judges as it would without us.  What that costs, README.md says under "Sandboxes".
 */
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include "../dispatch/table.h"
#include "../entry/user.h"
#include "../entry/window.h"
#include "../rewrite/apply.h"
#include "../rt/rt.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

#define HIDDEN __attribute__((visibility("hidden")))
extern const char __ehdr_start[] HIDDEN, etext[] HIDDEN;
/* trampoline.S: behind the syscall instructions that make the program's calls. */
extern const char vos_call_place_entry[] HIDDEN, vos_call_place_window[] HIDDEN, vos_call_place_clone[] HIDDEN;

#define IP_LOW  offsetof(struct seccomp_data, instruction_pointer)
#define IP_HIGH (IP_LOW + 4)
#define PRELUDE 9

static void fill_prelude(struct sock_filter *f)
{
	uint64_t lo = (uint64_t)(uintptr_t)__ehdr_start, hi = (uint64_t)(uintptr_t)etext;
	const struct sock_filter prelude[PRELUDE] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP_HIGH),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(lo >> 32), 0, 7),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP_LOW),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)lo, 0, 5),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)hi, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)vos_call_place_entry, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)vos_call_place_window, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(uintptr_t)vos_call_place_clone, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	memcpy(f, prelude, sizeof prelude);
}

/* The filter at `user` (struct sock_fprog) with the prelude, in runtime memory; NULL and *ret_err. */
static struct sock_fprog *with_prelude(uint64_t user, long *ret_err)
{
	struct sock_fprog given, *p;
	struct sock_filter *f;

	*ret_err = -EFAULT;
	if (vos_copy_from_user(&given, (void *)(uintptr_t)user, sizeof given) < 0)
		return NULL;
	*ret_err = -EINVAL;
	if (given.len == 0 || given.len > BPF_MAXINSNS - PRELUDE)
		return NULL;
	*ret_err = -ENOMEM;
	p = vos_alloc(sizeof *p + (given.len + PRELUDE) * sizeof *f);
	if (!p)
		return NULL;
	f = (void *)(p + 1);
	fill_prelude(f);
	*ret_err = -EFAULT;
	if (vos_copy_from_user(f + PRELUDE, given.filter, given.len * sizeof *f) < 0) {
		vos_free(p);
		return NULL;
	}
	p->len = (unsigned short)(given.len + PRELUDE);
	p->filter = f;
	return p;
}

static bool text_in_one_piece(void)
{
	return (uint64_t)(uintptr_t)__ehdr_start >> 32 == (uint64_t)(uintptr_t)etext >> 32;
}

long vos_call_seccomp(struct vos_frame *f)
{
	struct sock_fprog *p;
	long r;

	if ((uint32_t)f->rdi == SECCOMP_SET_MODE_STRICT)
		vos_rewrite_confine();
	if ((uint32_t)f->rdi != SECCOMP_SET_MODE_FILTER || !text_in_one_piece())
		return vos_native(f);
	p = with_prelude(f->rdx, &r);
	if (!p)
		return r;
	r = vos_window3(SYS_seccomp, f->rdi, f->rsi, (uint64_t)(uintptr_t)p);
	vos_free(p);
	return r;
}

long vos_call_prctl(struct vos_frame *f)
{
	struct sock_fprog *p;
	long r;

	switch ((int)f->rdi) {
	case PR_SET_SYSCALL_USER_DISPATCH:
		return -EINVAL; /* it is ours: as a kernel without it */
	case PR_SET_SECCOMP:
		if (f->rsi == SECCOMP_MODE_STRICT)
			vos_rewrite_confine();
		if (f->rsi != SECCOMP_MODE_FILTER || !text_in_one_piece())
			return vos_native(f);
		p = with_prelude(f->rdx, &r);
		if (!p)
			return r;
		r = vos_window6(SYS_prctl, f->rdi, f->rsi, (uint64_t)(uintptr_t)p, f->r10, f->r8, 0);
		vos_free(p);
		return r;
	default:
		return vos_native(f);
	}
}
