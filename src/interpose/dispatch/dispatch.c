/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One call of the program: by the table to this kernel, to a handler, or to the domain of its descriptor. */
#include <sys/stat.h>
#include "fdmap.h"
#include "marshal.h"
#include "path.h"
#include "table.h"

/* Which argument of a REMOTE row is the descriptor that decides. */
static unsigned fd_argument(const struct vos_call *row)
{
	unsigned i = 0;

	while (i < 5 && VOS_ARG_KIND(row->arg[i]) != VOS_A_FD)
		i++;
	return i;
}

/*
 * A call on the wrong kind of object: what Linux answers.  A proxy's filter lets pass only what its domain serves, so a
 * storage proxy must not be asked for a socket call, nor a network proxy for a file call.  0: it may go.
 */
static long wrong_kind(unsigned nr, uint32_t mode)
{
	bool sock = (mode & S_IFMT) == S_IFSOCK;

	switch (nr) {
	case __NR_connect: case __NR_sendto: case __NR_recvfrom: case __NR_shutdown: case __NR_bind: case __NR_listen:
	case __NR_getsockname: case __NR_getpeername: case __NR_setsockopt: case __NR_getsockopt:
		return sock ? 0 : -ENOTSOCK;
	case __NR_lseek: case __NR_pread64: case __NR_pwrite64: case __NR_preadv: case __NR_pwritev: case __NR_fadvise64:
	case __NR_sync_file_range:
		return sock ? -ESPIPE : 0;
	case __NR_ftruncate: case __NR_fsync: case __NR_fdatasync: case __NR_readahead:
		return sock ? -EINVAL : 0;
	case __NR_fallocate:
		return sock ? -ENODEV : 0;
	case __NR_getdents: case __NR_getdents64:
		return sock ? -ENOTDIR : 0;
	case __NR_fsetxattr: case __NR_cachestat:
		return sock ? -EOPNOTSUPP : 0;
	case __NR_syncfs:
		return sock ? 1 : 0; /* nothing of a socket waits to be written */
	default:
		return 0;
	}
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
		r = wrong_kind((unsigned)f->rax, o->mode);
		r = r == 0 ? vos_marshal_call(f, o) : r < 0 ? r : 0;
		vos_ofd_put(o);
		return r;
	case VOS_FDKIND_DIR:
		if (f->rax == __NR_getdents64)
			return vos_dir_hide_own(f);
		return vos_native(f);
	default:
		if (f->rax == __NR_getsockname || f->rax == __NR_getpeername)
			return vos_unix_name(f);
		if (f->rax == __NR_sendto)
			return vos_unix_sendto(f);
		/* an epoll set is a descriptor of this kernel: its answer to read and the like is the right one */
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
