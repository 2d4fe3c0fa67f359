/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ioctl: only what this table lists, with the size that the kernel takes.  The argument goes through private memory: the
 * kernel's own reading of it may not see the client change it, and no struct with an address in it is let through.
 */
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <asm/ioctls.h>
#include "servers/domain/exec.h"

enum { IN = 1, OUT = 2 };

struct row {
	uint32_t request;
	uint16_t size;
	uint8_t  dir;
};

static const struct row rows[] = {
	{ FIONREAD, 4, OUT },         { FIONBIO, 4, IN },             { TIOCOUTQ, 4, OUT },
	{ 0x894b /* SIOCOUTQNSD */, 4, OUT },                         { SIOCATMARK, 4, OUT },
	{ 0x8906 /* SIOCGSTAMP */, 16, OUT },                         { 0x8907 /* SIOCGSTAMPNS */, 16, OUT },
	{ SIOCGIFNAME, sizeof(struct ifreq), IN | OUT },              { SIOCGIFFLAGS, sizeof(struct ifreq), IN | OUT },
	{ SIOCGIFADDR, sizeof(struct ifreq), IN | OUT },              { SIOCGIFDSTADDR, sizeof(struct ifreq), IN | OUT },
	{ SIOCGIFBRDADDR, sizeof(struct ifreq), IN | OUT },           { SIOCGIFNETMASK, sizeof(struct ifreq), IN | OUT },
	{ SIOCGIFMETRIC, sizeof(struct ifreq), IN | OUT },            { SIOCGIFMTU, sizeof(struct ifreq), IN | OUT },
	{ SIOCGIFHWADDR, sizeof(struct ifreq), IN | OUT },            { SIOCGIFINDEX, sizeof(struct ifreq), IN | OUT },
	{ SIOCGIFTXQLEN, sizeof(struct ifreq), IN | OUT },
	{ FS_IOC_GETFLAGS, 4, OUT },  { FS_IOC_SETFLAGS, 4, IN },     { FS_IOC_GETVERSION, 4, OUT },
	{ FS_IOC_FSGETXATTR, sizeof(struct fsxattr), OUT },           { FS_IOC_FSSETXATTR, sizeof(struct fsxattr), IN },
	{ FIGETBSZ, 4, OUT },         { BLKGETSIZE, 8, OUT },         { BLKGETSIZE64, 8, OUT },
	{ BLKSSZGET, 4, OUT },        { BLKBSZGET, 4, OUT },          { BLKPBSZGET, 4, OUT },
	{ BLKROGET, 4, OUT },         { BLKFLSBUF, 0, 0 },
	{ TCGETS, 36, OUT },          { TIOCGWINSZ, 8, OUT },
};

static long clone_from(struct vos_proxy *p, struct vos_op *op, uint32_t request, unsigned char *at, uint64_t size)
{
	struct file_clone_range range;
	int32_t fd;

	if (request == FICLONE) {
		if (size != sizeof fd)
			return -EINVAL;
		memcpy(&fd, at, sizeof fd);
		return vos_rfd(p, fd) ? vos_raw3(__NR_ioctl, op->fd, FICLONE, fd) : -EBADF;
	}
	if (size != sizeof range)
		return -EINVAL;
	memcpy(&range, at, sizeof range);
	if (!vos_rfd(p, range.src_fd))
		return -EBADF;
	return vos_raw3(__NR_ioctl, op->fd, FICLONERANGE, VOS_PTR(&range));
}

static long fiemap(struct vos_op *op, unsigned char *at, uint64_t size)
{
	struct fiemap *m;
	long r;

	if (size < sizeof *m)
		return -EINVAL;
	m = malloc(size);
	if (!m)
		return -ENOMEM;
	memcpy(m, at, size);
	r = -EINVAL;
	if (m->fm_extent_count <= (size - sizeof *m) / sizeof m->fm_extents[0])
		r = vos_raw3(__NR_ioctl, op->fd, FS_IOC_FIEMAP, VOS_PTR(m));
	if (!r)
		memcpy(at, m, size);
	free(m);
	return r;
}

/* The bytes that follow are an array; on the wire there is no struct ifconf around it, and aux2 is the length that is valid. */
static long ifconf(struct vos_op *op, unsigned char *at, uint64_t size)
{
	struct ifconf c;
	long r;

	if (size > 65536)
		size = 65536;
	c.ifc_len = (int)size;
	c.ifc_buf = (char *)at;
	r = vos_raw3(__NR_ioctl, op->fd, SIOCGIFCONF, VOS_PTR(&c));
	op->aux2 = r ? 0 : (uint64_t)c.ifc_len;
	return r;
}

long vos_exec_ioctl(struct vos_proxy *p, struct vos_op *op)
{
	uint32_t request = (uint32_t)op->a[1];
	uint64_t size = (uint64_t)op->a[3];
	unsigned char *at = NULL;
	_Alignas(8) unsigned char buf[64];

	if (vos_rfd(p, op->fd)->kind == VOS_RFD_PATH)
		return -EBADF;
	if (size) {
		at = vos_validate_range(p, op->lane, (uint64_t)op->a[2], size);
		if (!at)
			return -EFAULT;
	}
	switch (request) {
	case FICLONE:
	case FICLONERANGE:
		return at ? clone_from(p, op, request, at, size) : -EINVAL;
	case FS_IOC_FIEMAP:
		return at ? fiemap(op, at, size) : -EINVAL;
	case SIOCGIFCONF:
		return at ? ifconf(op, at, size) : -EINVAL;
	}
	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *row = &rows[i];
		long r;

		if (row->request != request)
			continue;
		if (size < row->size)
			return -EFAULT;
		memset(buf, 0, sizeof buf);
		if (row->dir & IN)
			memcpy(buf, at, row->size);
		r = vos_raw3(__NR_ioctl, op->fd, request, row->size ? VOS_PTR(buf) : 0);
		if (!vos_is_err(r) && (row->dir & OUT))
			memcpy(at, buf, row->size);
		return r;
	}
	return -ENOTTY;
}
