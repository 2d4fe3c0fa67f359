/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls on descriptors as such: close, dup, fcntl, ioctl. */
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <linux/sockios.h>
#include "../dispatch/marshal.h"
#include "../dispatch/mapping.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../entry/user.h"

static uint8_t kind(uint64_t fd)
{
	return vos_fd_kind(vos_proc_self(), (uint32_t)fd);
}

long vos_call_close(struct vos_frame *f)
{
	uint64_t fd = vos_arg(f, 0);

	if (kind(fd) == VOS_FDKIND_NATIVE)
		return vos_native(f);
	if (kind(fd) == VOS_FDKIND_REMOTE)
		vos_self()->counts_remote[__NR_close]++;
	return vos_fd_close((int)fd);
}

long vos_call_close_range(struct vos_frame *f)
{
	return vos_fd_close_range((uint32_t)vos_arg(f, 0), (uint32_t)vos_arg(f, 1), (uint32_t)vos_arg(f, 2));
}

long vos_call_dup(struct vos_frame *f)
{
	if (kind(vos_arg(f, 0)) == VOS_FDKIND_NATIVE)
		return vos_native(f);
	vos_self()->counts_runtime[__NR_dup]++;
	return vos_fd_dup((int)vos_arg(f, 0), 0, 0);
}

long vos_call_dup2(struct vos_frame *f)
{
	int fd = (int)vos_arg(f, 0), to = (int)vos_arg(f, 1);

	if (kind((uint64_t)fd) == VOS_FDKIND_NATIVE && kind((uint64_t)to) == VOS_FDKIND_NATIVE)
		return vos_native(f);
	vos_self()->counts_runtime[__NR_dup2]++;
	if (fd == to)
		return kind((uint64_t)fd) == VOS_FDKIND_OWN ? -EBADF : vos_native(f);
	return vos_fd_dup_to(fd, to, 0);
}

long vos_call_dup3(struct vos_frame *f)
{
	int fd = (int)vos_arg(f, 0), to = (int)vos_arg(f, 1);
	uint32_t flags = (uint32_t)vos_arg(f, 2);

	if (kind((uint64_t)fd) == VOS_FDKIND_NATIVE && kind((uint64_t)to) == VOS_FDKIND_NATIVE)
		return vos_native(f);
	vos_self()->counts_runtime[__NR_dup3]++;
	if (fd == to || (flags & ~(uint32_t)O_CLOEXEC))
		return -EINVAL;
	return vos_fd_dup_to(fd, to, flags);
}

/* ---- fcntl ------------------------------------------------------------------------------------------------------------------ */

static long lock(struct vos_ofd *o, uint64_t cmd, uint64_t user)
{
	uint64_t arg[6] = { 0, cmd, 0, vos_proc_self()->pid };
	struct flock fl;
	long r;

	if (vos_copy_from_user(&fl, (void *)(uintptr_t)user, sizeof fl) < 0)
		return -EFAULT;
	if ((cmd == F_SETLK || cmd == F_SETLKW) && fl.l_type != F_UNLCK)
		vos_fdmap_locks_taken(vos_proc_self());
	r = vos_ofd_call_buf(o, __NR_fcntl, arg, 2, &fl, sizeof fl, sizeof fl, NULL);
	if (r >= 0 && (cmd == F_GETLK || cmd == F_OFD_GETLK) &&
	    vos_copy_to_user((void *)(uintptr_t)user, &fl, sizeof fl) < 0)
		return -EFAULT;
	return r;
}

/*
 * Whom SIGIO and SIGURG would go to.  None is sent: what would cause them happens in the domain.  Who asks is told what was set,
 * by this process; for a socket that nobody set it for, and for files, it is nobody.
 */
static long owner(struct vos_ofd *o, uint64_t cmd, uint64_t arg)
{
	struct { int32_t type, pid; } who = { F_OWNER_PID, 0 };
	int64_t pid;

	switch (cmd) {
	case F_GETOWN:
		return o->owner;
	case F_GETSIG:
		return o->owner_sig;
	case F_GETOWN_EX:
		who.type = o->owner < 0 ? F_OWNER_PGRP : o->owner_type;
		who.pid = o->owner < 0 ? -o->owner : o->owner;
		return vos_copy_to_user((void *)(uintptr_t)arg, &who, sizeof who) < 0 ? -EFAULT : 0;
	case F_SETSIG:
		if (arg > 64)
			return -EINVAL;
		o->owner_sig = (uint8_t)arg;
		return 0;
	case F_SETOWN_EX:
		if (vos_copy_from_user(&who, (void *)(uintptr_t)arg, sizeof who) < 0)
			return -EFAULT;
		if (who.type < F_OWNER_TID || who.type > F_OWNER_PGRP)
			return -EINVAL;
		pid = who.type == F_OWNER_PGRP ? -(int64_t)who.pid : who.pid;
		break;
	default:
		pid = (int32_t)arg;
		who.type = pid < 0 ? F_OWNER_PGRP : F_OWNER_PID;
	}
	if (pid == -(1LL << 31))
		return -EINVAL;
	/* As Linux asks: is there anybody of that number? */
	if (pid && pid != -1 && vos_raw2(__NR_kill, pid, 0) == -ESRCH)
		return -ESRCH;
	o->owner_type = (uint8_t)who.type;
	o->owner = (int32_t)pid;
	return 0;
}

static long remote_fcntl(struct vos_ofd *o, uint64_t cmd, uint64_t arg)
{
	long r;

	switch (cmd) {
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return lock(o, cmd, arg);
	case F_GETOWN:
	case F_SETOWN:
	case F_GETOWN_EX:
	case F_SETOWN_EX:
	case F_GETSIG:
	case F_SETSIG:
		return o->flags & O_PATH ? -EBADF : owner(o, cmd, arg);
	case F_GET_RW_HINT:
	case F_SET_RW_HINT:
	case F_GET_FILE_RW_HINT:
	case F_SET_FILE_RW_HINT:
	case F_NOTIFY:
	case F_SETLEASE:
		return -EINVAL;
	case F_SETFL:
		r = vos_ofd_call(o, __NR_fcntl, cmd, arg, 0, NULL);
		if (r >= 0) {
			const uint32_t may = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;

			o->flags = (o->flags & ~may) | ((uint32_t)arg & may);
		}
		return r;
	case F_GETFL:
		/* Asked each time: another process may share the open file. */
		r = vos_ofd_call(o, __NR_fcntl, cmd, 0, 0, NULL);
		return r < 0 ? r : r & ~(long)O_CLOEXEC;
	default:
		return vos_ofd_call(o, __NR_fcntl, cmd, arg, 0, NULL);
	}
}

long vos_call_fcntl(struct vos_frame *f)
{
	uint64_t fd = vos_arg(f, 0), cmd = (uint32_t)vos_arg(f, 1), arg = vos_arg(f, 2);
	struct vos_ofd *o;
	long r;

	switch (kind(fd)) {
	case VOS_FDKIND_NATIVE:
		return vos_native(f);
	case VOS_FDKIND_OWN:
		return -EBADF;
	}
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) {
		vos_self()->counts_runtime[__NR_fcntl]++;
		return vos_fd_dup((int)fd, (int)arg, cmd == F_DUPFD_CLOEXEC ? O_CLOEXEC : 0);
	}
	/* The placeholder keeps close-on-exec; a marked directory and an epoll set are descriptors of this kernel. */
	if (cmd == F_GETFD || cmd == F_SETFD || kind(fd) != VOS_FDKIND_REMOTE)
		return vos_native(f);
	o = vos_fd_get(fd);
	if (!o)
		return -EBADF;
	vos_self()->counts_remote[__NR_fcntl]++;
	r = remote_fcntl(o, cmd, arg);
	vos_ofd_put(o);
	return r;
}

/* ---- ioctl ------------------------------------------------------------------------------------------------------------------ */

#define IOCTL_MAX 4096

/* Bytes that the argument of a request points to; 0: a scalar or nothing; -1: no request of files or sockets. */
static int argument_size(uint32_t req)
{
	switch (req) {
	case FIONREAD:
	case FIONBIO:
	case FIOASYNC:
	case TIOCOUTQ:
	case FIGETBSZ:
	case FIBMAP:
	case FIOSETOWN:
	case SIOCSPGRP:
	case FIOGETOWN:
	case SIOCGPGRP:
	case SIOCATMARK:
		return 4;
	case FIOQSIZE:
		return 8;
	case SIOCGSTAMP_OLD:
	case SIOCGSTAMPNS_OLD:
		return 16;
	case FICLONE:
	case FICLONERANGE:
	case FIDEDUPERANGE:
		return -1; /* name descriptors: see vos_call_ioctl() */
	}
	if (req >= 0x8910 && req <= 0x8970)
		return 40; /* struct ifreq */
	if ((req & 0xff00) == 0x5400)
		return -1; /* terminals */
	if (_IOC_DIR(req) != _IOC_NONE && _IOC_SIZE(req) && _IOC_SIZE(req) <= IOCTL_MAX)
		return (int)_IOC_SIZE(req);
	return -1;
}

/* The argument is the descriptor of the source. */
static long clone_file(struct vos_ofd *o, uint64_t fd)
{
	uint64_t arg[6] = { 0, FICLONE, 0, sizeof(int32_t) };
	struct vos_ofd *from = vos_fd_get(fd);
	struct vos_lane_client *lane;
	int32_t rfd;
	long r;

	if (!from)
		return vos_raw2(__NR_fcntl, (long)fd, F_GETFD) < 0 ? -EBADF : -EXDEV;
	r = from->domain == o->domain ? vos_ofd_lane(from, &lane, &rfd) : -EXDEV;
	if (r >= 0)
		r = vos_ofd_call_buf(o, __NR_ioctl, arg, 2, &rfd, sizeof rfd, 0, NULL);
	vos_ofd_put(from);
	return r;
}

static long clone_range(struct vos_ofd *o, uint64_t user)
{
	uint64_t arg[6] = { 0, FICLONERANGE, 0, sizeof(struct file_clone_range) };
	struct file_clone_range range;
	struct vos_lane_client *lane;
	struct vos_ofd *from;
	int32_t rfd;
	long r;

	if (vos_copy_from_user(&range, (void *)(uintptr_t)user, sizeof range) < 0)
		return -EFAULT;
	from = vos_fd_get((uint64_t)range.src_fd);
	if (!from)
		return vos_raw2(__NR_fcntl, range.src_fd, F_GETFD) < 0 ? -EBADF : -EXDEV;
	r = from->domain == o->domain ? vos_ofd_lane(from, &lane, &rfd) : -EXDEV;
	if (r >= 0) {
		range.src_fd = rfd;
		r = vos_ofd_call_buf(o, __NR_ioctl, arg, 2, &range, sizeof range, 0, NULL);
	}
	vos_ofd_put(from);
	return r;
}

/* struct ifconf holds a pointer: its array travels alone. */
static long interfaces(struct vos_ofd *o, uint64_t user)
{
	unsigned char buf[IOCTL_MAX];
	uint64_t arg[6] = { 0, SIOCGIFCONF };
	struct { int32_t len, pad; uint64_t buf; } ifc;
	struct vos_cqe cqe;
	long r;

	if (vos_copy_from_user(&ifc, (void *)(uintptr_t)user, sizeof ifc) < 0)
		return -EFAULT;
	if (ifc.len < 0)
		return -EINVAL;
	arg[3] = ifc.buf == 0 || (size_t)ifc.len > sizeof buf ? sizeof buf : (uint64_t)ifc.len;
	r = vos_ofd_call_buf(o, __NR_ioctl, arg, 2, buf, 0, arg[3], &cqe);
	if (r < 0)
		return r;
	ifc.len = (int32_t)(cqe.aux2 < arg[3] ? cqe.aux2 : arg[3]);
	if (ifc.buf && ifc.len && vos_copy_to_user((void *)(uintptr_t)ifc.buf, buf, (size_t)ifc.len) < 0)
		return -EFAULT;
	return vos_copy_to_user((void *)(uintptr_t)user, &ifc, sizeof ifc) < 0 ? -EFAULT : r;
}

/* The extents of a file: as many as the program has room for, in as many requests as that takes. */
static long extents(struct vos_ofd *o, uint64_t user)
{
	_Alignas(8) unsigned char buf[IOCTL_MAX];
	struct fiemap *m = (void *)buf, head;
	const uint32_t most = (uint32_t)((sizeof buf - sizeof *m) / sizeof m->fm_extents[0]);
	uint64_t at = user + sizeof *m, end, left;

	if (vos_copy_from_user(&head, (void *)(uintptr_t)user, sizeof head) < 0)
		return -EFAULT;
	left = head.fm_extent_count;
	end = head.fm_length > ~0ULL - head.fm_start ? ~0ULL : head.fm_start + head.fm_length;
	memcpy(m, &head, sizeof head);
	head.fm_mapped_extents = 0;
	for (;;) {
		const struct fiemap_extent *last;
		uint64_t arg[6] = { 0, FS_IOC_FIEMAP };
		size_t n;
		long r;

		m->fm_extent_count = left < most ? (uint32_t)left : most;
		arg[3] = sizeof *m + m->fm_extent_count * sizeof *last;
		n = m->fm_extent_count;
		r = vos_ofd_call_buf(o, __NR_ioctl, arg, 2, buf, sizeof *m, arg[3], NULL);
		if (r < 0) {
			/* The flags that the file system does not know. */
			head.fm_flags = m->fm_flags;
			vos_copy_to_user((void *)(uintptr_t)user, &head, sizeof head);
			return r;
		}
		head.fm_flags = m->fm_flags;
		/* Without room only the number is asked for. */
		if (head.fm_extent_count == 0) {
			head.fm_mapped_extents = m->fm_mapped_extents;
			break;
		}
		if (m->fm_mapped_extents < n)
			n = m->fm_mapped_extents;
		if (n == 0)
			break;
		if (vos_copy_to_user((void *)(uintptr_t)at, m->fm_extents, n * sizeof *last) < 0)
			return -EFAULT;
		head.fm_mapped_extents += (uint32_t)n;
		at += n * sizeof *last;
		left -= n;
		last = &m->fm_extents[n - 1];
		if (left == 0 || n < most || (last->fe_flags & FIEMAP_EXTENT_LAST) || last->fe_logical + last->fe_length >= end)
			break;
		m->fm_start = last->fe_logical + last->fe_length;
		m->fm_length = end - m->fm_start;
		m->fm_flags = head.fm_flags;
	}
	return vos_copy_to_user((void *)(uintptr_t)user, &head, sizeof head) < 0 ? -EFAULT : 0;
}

static long remote_ioctl(struct vos_ofd *o, uint32_t req, uint64_t user)
{
	int size = argument_size(req);
	uint64_t arg[6] = { 0, req, 0, (uint64_t)size };
	unsigned char buf[IOCTL_MAX];
	long r;

	if (req == FICLONE)
		return clone_file(o, user);
	if (req == SIOCGIFCONF)
		return interfaces(o, user);
	if (req == FICLONERANGE)
		return clone_range(o, user);
	if (req == FS_IOC_FIEMAP)
		return extents(o, user);
	if (req == FIDEDUPERANGE)
		return -EOPNOTSUPP; /* callers then copy */
	if (req == FIOSETOWN || req == SIOCSPGRP || req == FIOGETOWN || req == SIOCGPGRP) {
		int32_t who;

		if (req == FIOGETOWN || req == SIOCGPGRP)
			return vos_copy_to_user((void *)(uintptr_t)user, &o->owner, sizeof who) < 0 ? -EFAULT : 0;
		if (vos_copy_from_user(&who, (void *)(uintptr_t)user, sizeof who) < 0)
			return -EFAULT;
		return owner(o, F_SETOWN, (uint64_t)(int64_t)who);
	}
	if (size < 0)
		return -ENOTTY;
	memset(buf, 0, (size_t)size);
	if (vos_copy_from_user(buf, (void *)(uintptr_t)user, (size_t)size) < 0)
		return -EFAULT;
	r = vos_ofd_call_buf(o, __NR_ioctl, arg, 2, buf, (size_t)size, (size_t)size, NULL);
	if (r >= 0 && req == FIONBIO) {
		int on;

		memcpy(&on, buf, sizeof on);
		o->flags = on ? o->flags | O_NONBLOCK : o->flags & ~(uint32_t)O_NONBLOCK;
	}
	if (r < 0 || req == FIONBIO || req == FIOASYNC)
		return r;
	return vos_copy_to_user((void *)(uintptr_t)user, buf, (size_t)size) < 0 ? -EFAULT : r;
}

long vos_call_ioctl(struct vos_frame *f)
{
	uint64_t fd = vos_arg(f, 0);
	uint32_t req = (uint32_t)vos_arg(f, 1);
	struct vos_ofd *o;
	long r;

	/* A native target of a clone from a remote file. */
	if (req == FICLONE && kind(fd) == VOS_FDKIND_NATIVE && kind(vos_arg(f, 2)) == VOS_FDKIND_REMOTE)
		return -EXDEV;
	switch (kind(fd)) {
	case VOS_FDKIND_OWN:
		return -EBADF;
	case VOS_FDKIND_REMOTE:
		break;
	default:
		return vos_native(f);
	}
	if (req == FIOCLEX || req == FIONCLEX)
		return vos_raw3(__NR_fcntl, (long)fd, F_SETFD, req == FIOCLEX ? FD_CLOEXEC : 0);
	o = vos_fd_get(fd);
	if (!o)
		return -EBADF;
	vos_self()->counts_remote[__NR_ioctl]++;
	r = remote_ioctl(o, req, vos_arg(f, 2));
	vos_ofd_put(o);
	return r;
}

/* ---- calls that would succeed on a placeholder, or name a second descriptor --------------------------------------------------- */

long vos_call_open_by_handle_at(struct vos_frame *f)
{
	uint8_t k = kind(vos_arg(f, 0));

	return k == VOS_FDKIND_REMOTE || k == VOS_FDKIND_OWN ? -EBADF : vos_native(f);
}

/* ---- limits that the runtime stands in for ------------------------------------------------------------------------------------ */

long vos_call_setrlimit(struct vos_frame *f)
{
	long r = vos_native(f);

	vos_file_size_limit_changed();
	return r;
}

long vos_call_prlimit64(struct vos_frame *f)
{
	return vos_call_setrlimit(f);
}
