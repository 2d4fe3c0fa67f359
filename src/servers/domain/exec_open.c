/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * open, which may wait (a FIFO for its other end, a lease for its holder) and must not hold up the other requests.  So all is
 * opened with O_NONBLOCK first; an ordinary file loses the flag again, and what really has to wait is opened once more by a
 * worker, through the link of a descriptor that holds the very file.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "servers/domain/exec.h"

#define TMPFILE_BIT   020000000u
#define VALID_FLAGS   (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_ASYNC | \
		       O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | TMPFILE_BIT)
#define PATH_FLAGS    (O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC)

/* A worker has opened it. */
static long reopened(struct vos_proxy *p, struct vos_op *op, long res)
{
	return vos_is_err(res) ? res : vos_rfd_add(p, (int)res, (int)op->a[2], &op->aux);
}

/*
 * One of the two answers of vos_wait_both() for the reader of a FIFO.  a[0] and a[1] keep what the worker opened and whether
 * the end that was open before has hung up.
 */
static long fifo_opened(struct vos_proxy *p, struct vos_op *op, long res)
{
	int fd = op->tmp_fd;

	if (!op->on_worker && op->stage == 0) {
		op->stage = 1;
		op->a[0] = res;
	} else {
		op->a[1] = res > 0;
	}
	if (op->inflight)
		return vos_wait_enough(p, op);
	if (!vos_is_err(op->a[0]))
		return reopened(p, op, op->a[0]);
	if (op->a[1]) {
		op->tmp_fd = -1;
		vos_raw3(__NR_fcntl, fd, F_SETFL, op->a[2]);
		return vos_rfd_add(p, fd, (int)op->a[2], &op->aux);
	}
	if (op->cancelled)
		return -ECANCELED;
	/* Stopped by ourselves: the poll could not be asked for. */
	return op->a[0] == -ECANCELED || op->a[0] == -EINTR ? -ENOMEM : op->a[0];
}

/*
 * Opens what fd (which the op then owns) holds, waiting as long as it takes.  A reader's end that is open already must be
 * watched beside: the kernel waits for a writer who comes after the call began, and one may have come, written and gone before
 * the worker began it.  That the end then reports as a hang-up, and only then: nothing did before its first writer.
 */
static long open_waiting(struct vos_proxy *p, struct vos_op *op, int fd, uint64_t flags, bool reader)
{
	long a[6] = { AT_FDCWD, 0, (long)((flags & ~(uint64_t)(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_CLOEXEC | O_NOCTTY), 0 };

	op->tmp_fd = fd;
	op->mem = malloc(32);
	if (!op->mem)
		return -ENOMEM;
	a[1] = VOS_PTR(vos_path_of_fd(op->mem, fd));
	op->a[0] = op->a[1] = 0;
	op->a[2] = (long)flags;
	op->fd = -1;
	op->resume = reader ? fifo_opened : reopened;
	return reader ? vos_wait_both(p, op, __NR_openat, a, fd, 0) : vos_wait_worker(p, op, __NR_openat, a);
}

static long open_one(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, uint64_t flags, uint64_t mode,
		     uint64_t resolve)
{
	char name[32];

	if (path)
		return vos_path_open(p, op, dirfd, path, flags, mode, resolve);
	return vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR(vos_path_of_fd(name, dirfd)), (long)(flags | O_CLOEXEC), 0);
}

long vos_exec_open_any(struct vos_proxy *p, struct vos_op *op, int dirfd, const char *path, uint64_t flags, uint64_t mode,
		       uint64_t resolve)
{
	const bool waits = !(flags & (O_NONBLOCK | O_PATH | O_DIRECTORY));
	long fd;

	/* A terminal must not become this process's own. */
	if (!(flags & O_PATH))
		flags |= O_NOCTTY;
	if (!path && (flags & (O_CREAT | TMPFILE_BIT)))
		return -EINVAL;
	fd = open_one(p, op, dirfd, path, flags | (waits ? O_NONBLOCK : 0), mode, resolve);
	if (waits && (fd == -ENXIO || fd == -EAGAIN)) {
		/* A FIFO without a reader, or a lease: the same file, held meanwhile by O_PATH. */
		struct stat st;
		long held = path ? vos_path_lookup(p, op, dirfd, path, !(flags & O_NOFOLLOW)) :
				   vos_raw3(__NR_fcntl, dirfd, F_DUPFD_CLOEXEC, 0);

		if (held < 0)
			return held;
		if (fd == -ENXIO && (vos_raw2(__NR_fstat, held, VOS_PTR(&st)) || !S_ISFIFO(st.st_mode))) {
			vos_raw1(__NR_close, held);
			return fd;
		}
		return open_waiting(p, op, (int)held, flags, false);
	}
	if (fd < 0)
		return fd;
	op->aux2 = 0;
	fd = vos_rfd_add(p, (int)fd, (int)flags, &op->aux);
	if (fd < 0 || !waits)
		return fd;
	if (S_ISFIFO(op->aux) && (flags & O_ACCMODE) == O_RDONLY) {
		/*
		 * The reader's end is open now and stays so while the worker waits for a writer, so a writer that comes meanwhile finds
		 * its reader, as it would natively.
		 */
		p->rfd[fd].kind = VOS_RFD_FREE;
		return open_waiting(p, op, (int)fd, flags, true);
	}
	vos_raw3(__NR_fcntl, fd, F_SETFL, (long)(flags & ~(uint64_t)O_NONBLOCK));
	return fd;
}

long vos_exec_openat(struct vos_proxy *p, struct vos_op *op)
{
	/* As open does: what it does not know it does not see; openat2 would refuse it. */
	uint64_t flags = (uint32_t)op->a[2] & (uint32_t)VALID_FLAGS, mode = 0;

	if (!op->a[1])
		return -EFAULT;
	if (flags & O_PATH)
		flags &= PATH_FLAGS;
	if (flags & (O_CREAT | TMPFILE_BIT))
		mode = (uint32_t)op->a[3] & 07777;
	return vos_exec_open_any(p, op, (int)op->a[0], (const char *)op->a[1], flags & ~(uint64_t)O_ASYNC, mode, 0);
}

long vos_exec_openat2(struct vos_proxy *p, struct vos_op *op)
{
	struct open_how how;

	if (!op->a[1] || !op->a[2])
		return -EFAULT;
	if (op->a[3] != sizeof how)
		return op->a[3] < (long)sizeof how ? -EINVAL : -E2BIG;
	memcpy(&how, op->in[0], sizeof how);
	if (how.flags & ~(uint64_t)(uint32_t)VALID_FLAGS)
		return -EINVAL;
	if (how.resolve & ~(uint64_t)(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH |
				      RESOLVE_IN_ROOT | RESOLVE_CACHED))
		return -EINVAL;
	/* What the kernel would refuse must not be hidden by the flags that are added here. */
	if ((how.resolve & RESOLVE_BENEATH) && (how.resolve & RESOLVE_IN_ROOT))
		return -EINVAL;
	if ((how.flags & O_PATH) && (how.flags & ~(uint64_t)PATH_FLAGS))
		return -EINVAL;
	return vos_exec_open_any(p, op, (int)op->a[0], (const char *)op->a[1], how.flags & ~(uint64_t)O_ASYNC, how.mode, how.resolve);
}
