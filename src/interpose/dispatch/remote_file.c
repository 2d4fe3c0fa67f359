/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that a domain of this kernel hands over, to be mapped.  They come over one socket in the order in which the proxy served
 * the requests of all lanes: each bears the tag of its request, and a thread that takes another's keeps it for that.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include "fdmap.h"
#include "remote_impl.h"

/* Another thread could not keep the file for us; or its descriptor was lost. */
#define TRIES 64u
/* More than the socket holds: a server that sends ever more does not hold us up. */
#define FLOOD 1024u

/* The file of this tag, or -EAGAIN. */
static int taken(struct vos_conn *c, uint64_t tag)
{
	int fd = -EAGAIN;
	uint64_t got;

	vos_lock(&c->files_lock);
	for (uint32_t i = 0; i < c->nfiles; i++)
		if (c->file[i].tag == tag) {
			fd = c->file[i].fd;
			c->file[i] = c->file[--c->nfiles];
			break;
		}
	for (unsigned n = 0; fd == -EAGAIN && n < FLOOD; n++) {
		int r = c->t.ops->take_file(&c->t, &got);

		if (r < 0 || got == tag) {
			fd = r;
			break;
		}
		if (c->nfiles == VOS_FILES_WAITING)
			vos_raw1(__NR_close, c->file[--c->nfiles].fd);
		c->file[c->nfiles].tag = got;
		c->file[c->nfiles++].fd = r;
	}
	vos_unlock(&c->files_lock);
	return fd;
}

/* The same in a process that has all the descriptors that it may: a mapping needs none, and this one lives for a moment. */
static int taken_above(struct vos_conn *c, uint64_t tag)
{
	static _Atomic uint32_t lock;
	struct rlimit limit, more;
	int fd = -EMFILE;

	vos_lock(&lock);
	if (!vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, VOS_PTR(&limit)) && limit.rlim_cur < limit.rlim_max) {
		more = limit;
		more.rlim_cur = limit.rlim_max;
		if (!vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, VOS_PTR(&more), 0)) {
			fd = taken(c, tag);
			vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, VOS_PTR(&limit), 0);
		}
	}
	vos_unlock(&lock);
	return fd;
}

static long ask(struct vos_lane_client *l, int32_t rfd, uint64_t tag)
{
	struct vos_req req = { .op = VOS_OP_FILE, .arg = { (uint64_t)rfd, tag } };
	struct vos_wait w = { .deadline_ns = VOS_NEVER };
	struct vos_pending p, *one = &p;

	if (vos_remote_begin(l, &req, &p) < 0)
		return -EIO;
	while (vos_remote_wait(&one, 1, &w) != 0)
		;
	return (long)p.cqe.res;
}

int vos_remote_file(struct vos_lane_client *l, int32_t rfd)
{
	static _Atomic uint64_t last;
	struct vos_conn *c = l->conn;
	struct stat st;
	uint64_t off;
	bool crowded = false;
	long r = -EIO;
	void *hold;

	if (!c->t.ops->take_file)
		return -EOPNOTSUPP;
	/* The connection stays for as long as this does. */
	hold = vos_lane_alloc(l, 1, &off);
	if (!hold)
		return -ENOMEM;
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t tag = atomic_fetch_add(&last, 1) + 1;

		r = ask(l, rfd, tag);
		if (r < 0)
			break;
		r = crowded ? taken_above(c, tag) : taken(c, tag);
		if (r != -EAGAIN && (r != -EMFILE || crowded))
			break;
		crowded |= r == -EMFILE;
	}
	vos_lane_free(l, hold);
	if (r == -EAGAIN || r == -EPIPE)
		r = -EIO;
	/* Anything else could do more to a mapping than a file can: a device, say. */
	if (r >= 0 && (vos_raw2(__NR_fstat, r, VOS_PTR(&st)) || !S_ISREG(st.st_mode))) {
		vos_raw1(__NR_close, r);
		r = -EIO;
	}
	return (int)r;
}
