/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../dispatch/table.h"
#include "exe.h"
#include "go.h"

/*
 * 64 KiB so that vos_entry needs no comparison (it changes no flag): any 16-bit number has its byte, and what is no call goes
 * the slow way.  Only the first page is ever touched.
 */
uint8_t vos_go[65536] = { [0 ... 65535] = VOS_GO_SLOW };

/* Calls whose first argument is a descriptor but does not decide alone. */
static bool more_than_fd(unsigned nr)
{
	for (unsigned i = 1; i < 6; i++)
		if (vos_calls[nr].arg[i] == VOS_A_FD || vos_calls[nr].arg[i] == VOS_A_PATH)
			return true;
	switch (nr) {
	case __NR_fchdir:
	case __NR_dup2:
	case __NR_dup3:
	case __NR_bind:            /* a UNIX socket's name may lie in a domain */
	case __NR_connect:
	case __NR_getsockname:
	case __NR_getpeername:
	case __NR_sendmsg:
	case __NR_recvmsg:
	case __NR_sendmmsg:
	case __NR_recvmmsg:
		return true;
	default:
		return false;
	}
}

/* No-op for a call that is native by the table or by VIRTUOS_ROUTE. */
static void set(unsigned nr, uint8_t go)
{
	if (nr < VOS_NR_END && vos_route[nr] != VOS_NATIVE)
		vos_go[nr] = go;
}

void vos_go_init(void)
{
	for (unsigned nr = 0; nr < VOS_NR_END; nr++) {
		const struct vos_call *c = &vos_calls[nr];

		if (!c->name[0])
			continue;
		if (vos_route[nr] == VOS_NATIVE)
			vos_go[nr] = VOS_GO_NATIVE;
		else if (vos_route[nr] != VOS_RUNTIME && c->arg[0] == VOS_A_FD && !more_than_fd(nr))
			vos_go[nr] = VOS_GO_FD;
		else
			vos_go[nr] = VOS_GO_SLOW;
	}
	set(__NR_getpid, VOS_GO_GETPID);
	set(__NR_gettid, VOS_GO_GETTID);
}

void vos_go_with_paths(void)
{
	/* A UNIX socket's address may be a path. */
	set(__NR_sendto, VOS_GO_SLOW);
}

void vos_go_without_domains(void)
{
	for (unsigned nr = 0; nr < VOS_NR_END; nr++)
		switch (nr) {
		case __NR_execve:
		case __NR_execveat:
		case __NR_mmap:
		case __NR_munmap:
		case __NR_mremap:
		case __NR_arch_prctl:
			break;
		case __NR_readlink:
		case __NR_readlinkat:
			if (!vos_exe_path())
				vos_go[nr] = VOS_GO_NATIVE;
			break;
		default:
			if (vos_route[nr] == VOS_SPECIAL && vos_calls[nr].support != VOS_SUPPORT_SELF)
				vos_go[nr] = VOS_GO_NATIVE;
		}
}
