/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What carries a region and its doorbells.  `local` is memfd, futex and eventfd; `xen` grants and event channels;
 * `faulty` an in-process double for tests.  Linked into both sides; nothing here allocates on the call path, enters libc
 * or touches errno (the runtime uses it), so all memory is the caller's.
 */
#ifndef VOS_TRANSPORT_H
#define VOS_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>
#include "region.h"

/* One side's end of a connection.  Descriptors are owned by this struct between attach and detach. */
struct vos_transport {
	const struct vos_transport_ops *ops;
	struct vos_region_geo geo;
	void *base;              /* the mapped region */
	int   region_fd;         /* what base maps */
	int   doorbell_fd;       /* rings the server */
	int   wake_fd;           /* rings the client's FD sleepers */
	int   control_fd;        /* HUP when the peer has died */
	uint64_t priv[4];        /* the transport's own */
};

struct vos_transport_ops {
	const char *name;
	/*
	 * Required.  Maps the region of t->region_fd by t->geo.  `client` tells which side this is.  0 or negative errno;
	 * -EPROTO when region_fd is not what geo says (size, seals).
	 */
	int (*attach)(struct vos_transport *t, bool client);
	/* Required.  Unmaps and closes all; accepts a half-attached struct. */
	void (*detach)(struct vos_transport *t);
	/* Required.  Client: ring the server.  Never blocks; any thread.  Call only after taking server->asleep. */
	void (*ring_server)(struct vos_transport *t);
	/* Required.  Server: wake the owner of a lane that sleeps in `mode` (VOS_ASLEEP_* bits).  Never blocks. */
	void (*wake_lane)(struct vos_transport *t, struct vos_lane *lane, uint32_t mode);
	/*
	 * Required.  Client: sleep while lane->asleep is `word`, what vos_lane_publish_sleep() returned, until a signal comes or ns nanoseconds have gone.  FD
	 * sleepers poll wake_fd themselves.  0, -EINTR, -ETIMEDOUT.  Spurious returns are allowed.
	 */
	int (*sleep_lane)(struct vos_transport *t, struct vos_lane *lane, uint32_t word, uint64_t ns);
	/* Required.  Clear a doorbell or wake fd that polled readable. */
	void (*drain)(struct vos_transport *t, int fd);
	/* Required.  Whether the peer is gone; a cheap system call at most. */
	bool (*peer_dead)(struct vos_transport *t);
	/*
	 * Optional, both or none: only where both sides are processes of one kernel, which then maps the file itself.  Server: hands
	 * over what fd is open on (fd stays the caller's), under a tag for the client to know it by.  Never blocks.  0; -EAGAIN: the
	 * client does not take what it asks for.
	 */
	int (*give_file)(struct vos_transport *t, uint64_t tag, int fd);
	/*
	 * Client: the next of what was handed over: a close-on-exec descriptor, the caller's, and its tag.  Never blocks.  -EAGAIN:
	 * there is none; -EMFILE: one was lost, for this process can have no more descriptors; -EPROTO; -EPIPE.
	 */
	int (*take_file)(struct vos_transport *t, uint64_t *ret_tag);
};

/* The transport by name ("local", …), or NULL. */
const struct vos_transport_ops *vos_transport_by_name(const char *name);

extern const struct vos_transport_ops vos_transport_local;

#endif
