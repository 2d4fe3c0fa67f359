/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One call of the program: by the table to this kernel, to a handler, or to the domain of its descriptor. */
#include "fdmap.h"
#include "marshal.h"
#include "table.h"

/* Which argument of a REMOTE row is the descriptor that decides. */
static unsigned fd_argument(const struct vos_call *row)
{
	unsigned i = 0;

	while (i < 5 && VOS_ARG_KIND(row->arg[i]) != VOS_A_FD)
		i++;
	return i;
}

static long remote_row(struct vos_frame *f, const struct vos_call *row)
{
	uint64_t fd = vos_arg(f, fd_argument(row));
	struct vos_ofd *o;
	long r;

	switch (vos_fd_kind(vos_proc_self(), (uint32_t)fd)) {
	case VOS_FDKIND_OWN:
		return -EBADF;
	case VOS_FDKIND_REMOTE:
		o = vos_fd_get(fd);
		if (!o)
			return -EBADF; /* closed by another thread just now */
		r = vos_marshal_call(f, o);
		vos_ofd_put(o);
		return r;
	default: /* an epoll set is a descriptor of this kernel: its answer to read and the like is the right one */
		return vos_native(f);
	}
}

void vos_dispatch(struct vos_frame *f)
{
	uint64_t nr = f->rax;

	if (nr >= VOS_NR_END) {
		f->rax = (uint64_t)vos_native(f);
		return;
	}
	switch (vos_route[nr]) {
	case VOS_REMOTE:
		f->rax = (uint64_t)remote_row(f, &vos_calls[nr]);
		break;
	case VOS_RUNTIME:
		vos_self()->counts_runtime[nr]++;
		f->rax = (uint64_t)vos_handler[nr](f);
		break;
	case VOS_SPECIAL:
		f->rax = (uint64_t)vos_handler[nr](f);
		break;
	default:
		f->rax = (uint64_t)vos_native(f);
	}
}
