/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The region: memory shared by one client process and its proxy in one domain.  PROTOCOL.md wins over this header.
 *
 * The supervisor lays the region out and tells both sides its sizes over channels that they trust; the header repeats
 * them so that a stranger with a dump can read it.  Neither side takes a size, an offset or an index from the region
 * without checking it against what the supervisor said.
 */
#ifndef VOS_REGION_H
#define VOS_REGION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define VOS_REGION_MAGIC   0x3152534f55545256ULL /* "VRTUOSR1" */
#define VOS_REGION_VERSION 1
#define VOS_PAGE           4096u
#define VOS_LINE           64u

#define VOS_LANES_MAX      1024u
#define VOS_SLOTS_MAX      1024u /* of one ring; a power of two */

/* One request: one cache line.  A pointer argument is an offset into the lane's data area. */
struct vos_req {
	uint64_t user;   /* the client's word, echoed in the completion */
	uint16_t op;     /* x86-64 system call number, or VOS_OP_* */
	uint16_t flags;  /* VOS_REQ_* */
	uint32_t lap;    /* of the ring's own: see lane.h */
	uint64_t arg[6];
};
_Static_assert(sizeof(struct vos_req) == 64, "MUST NOT CHANGE: one line");

#define VOS_REQ_NOWAIT 1u /* never wait: answer -EAGAIN instead */

/* One completion. */
struct vos_cqe {
	uint64_t user;
	int64_t  res;    /* ≥ 0 or a negative errno */
	uint16_t flags;  /* VOS_CQE_* */
	uint16_t lap;    /* of the ring's own: see lane.h */
	uint32_t aux;    /* calls that make a descriptor: its st_mode; others say in PROTOCOL.md */
	uint64_t aux2;
};
_Static_assert(sizeof(struct vos_cqe) == 32, "MUST NOT CHANGE");

/* The path left the export (absolute symlink, or .. above the root): the client resolves it in its own view. */
#define VOS_CQE_ESCAPE 1u

/* Operations beside the system calls. */
enum {
	VOS_OP_NULL   = 0x8000, /* () → 0; what a call costs by itself */
	VOS_OP_CANCEL = 0x8001, /* (user word of a request of this lane) → 0, -ENOENT; the request itself always completes */
	VOS_OP_PATH   = 0x8002, /* (rfd or VOS_AT_CWD, out buffer, capacity) → length of its path below the export root */
	VOS_OP_REOPEN = 0x8003, /* (rfd, open flags) → new rfd, as open of /proc/self/fd/N does */
	VOS_OP_EXPORT = 0x8004, /* (rfd, out 16-byte token) → 0; another proxy of the domain may import it once */
	VOS_OP_IMPORT = 0x8005, /* (in 16-byte token) → rfd; aux = st_mode */
	VOS_OP_RECRED = 0x8006, /* () → 0; the proxy takes the client's credentials of this moment, from the supervisor */
	VOS_OP_DUP    = 0x8007, /* (rfd) → another rfd of the same open file; closing it drops POSIX locks */
	VOS_OP_LEAVE  = 0x8008, /* () → 0; the client's descriptors and locks are given back, and its requests end: as at a process's exit */
	VOS_OP_FILE   = 0x8009, /* (rfd, tag) → 0; the transport hands the regular file over; -EOPNOTSUPP where none can */
	VOS_OP_END
};

/* A NULL pointer on the wire. */
#define VOS_NULL (~0ULL)

/* sendmsg and recvmsg: this struct stands in the data area, its parts at the offsets that it names. */
struct vos_wire_msg {
	uint64_t name_off, control_off, data_off;
	uint32_t name_len;    /* in: bytes or capacity; out: true length */
	uint32_t control_len; /* likewise */
	uint64_t data_len;    /* in: bytes or capacity */
	uint32_t msg_flags;   /* out */
	uint32_t spare;
};
_Static_assert(sizeof(struct vos_wire_msg) == 48, "MUST NOT CHANGE");

/* Directory descriptors on the wire, beside a remote descriptor. */
#define VOS_AT_CWD  (-100) /* the proxy's working directory */
#define VOS_AT_ROOT (-101) /* the root of the export */

/* Page 0: written once, before either side maps the region. */
struct vos_region_head {
	uint64_t magic;
	uint32_t version;
	uint32_t features;      /* none defined */
	uint64_t size;          /* of the region, bytes */
	uint32_t lanes;
	uint32_t slots;         /* entries of each ring, a power of two */
	uint64_t lane_off;      /* lane i lies at lane_off + i * lane_stride */
	uint64_t lane_stride;
	uint64_t data_off;      /* its data area at data_off + i * data_stride */
	uint64_t data_stride;
};

/* Page 1: the client writes, the server reads. */
struct vos_region_client {
	_Atomic uint32_t lanes_used; /* lanes 0..lanes_used-1 may hold requests */
	_Atomic uint32_t leaving;    /* 1: the client is gone, or will not submit again */
};

/* Page 2: the server writes, the client reads; asleep is set by the server and taken by whoever rings. */
struct vos_region_server {
	_Alignas(64) _Atomic uint32_t asleep;
	_Alignas(64) _Atomic uint32_t state;   /* VOS_SERVER_* */
	_Alignas(64) _Atomic uint64_t beat;    /* moves while the server lives and is awake */
};
enum { VOS_SERVER_STARTING, VOS_SERVER_UP, VOS_SERVER_DEAD };

/*
 * How the owner of a lane sleeps: bits, for a lane may have several sleepers; the waker rings for each that is set.  Above the
 * bits stands a count of publications, so that of two sleepers neither takes the other's word for its own.
 */
enum { VOS_AWAKE = 0, VOS_ASLEEP_FUTEX = 1, VOS_ASLEEP_FD = 2, VOS_ASLEEP_MASK = 3 };

/* A lane: one producer and one consumer for each ring; one writer for each cache line (asleep excepted: see PROTOCOL.md). */
struct vos_lane {
	_Alignas(64) _Atomic uint32_t sq_tail; /* client */
	_Alignas(64) _Atomic uint32_t cq_head; /* client */
	_Alignas(64) _Atomic uint32_t asleep;  /* client sets VOS_ASLEEP_* bits, the server's wake clears them */
	_Alignas(64) _Atomic uint32_t sq_head; /* server */
	_Alignas(64) _Atomic uint32_t cq_tail; /* server */
	_Alignas(64) unsigned char rings[];    /* slots requests, then slots completions */
};
_Static_assert(offsetof(struct vos_lane, rings) == 320, "MUST NOT CHANGE");

/* What the supervisor told this side about a region; never read from the region itself. */
struct vos_region_geo {
	uint64_t size;
	uint32_t lanes, slots;
	uint64_t lane_off, lane_stride, data_off, data_stride;
};

/*
 * Lays out a region of `lanes` lanes with rings of `slots` entries and `data` bytes of payload area each (rounded up to
 * whole pages).  0, or -EINVAL when a count is zero, not a power of two (slots) or above its maximum.
 */
static inline int vos_region_layout(uint32_t lanes, uint32_t slots, uint64_t data, struct vos_region_geo *ret_geo)
{
	struct vos_region_geo g;

	if (lanes == 0 || lanes > VOS_LANES_MAX || slots == 0 || slots > VOS_SLOTS_MAX || (slots & (slots - 1)) ||
	    data == 0 || data > (1ULL << 32))
		return -22 /* EINVAL */;
	g.lanes = lanes;
	g.slots = slots;
	g.lane_off = 3 * VOS_PAGE;
	g.lane_stride = offsetof(struct vos_lane, rings) + (uint64_t)slots * (sizeof(struct vos_req) + sizeof(struct vos_cqe));
	g.lane_stride = (g.lane_stride + VOS_LINE - 1) & ~(uint64_t)(VOS_LINE - 1);
	g.data_off = (g.lane_off + lanes * g.lane_stride + VOS_PAGE - 1) & ~(uint64_t)(VOS_PAGE - 1);
	g.data_stride = (data + VOS_PAGE - 1) & ~(uint64_t)(VOS_PAGE - 1);
	g.size = g.data_off + lanes * g.data_stride;
	*ret_geo = g;
	return 0;
}

static inline struct vos_region_client *vos_region_client(void *base)
{
	return (void *)((char *)base + VOS_PAGE);
}

static inline struct vos_region_server *vos_region_server(void *base)
{
	return (void *)((char *)base + 2 * VOS_PAGE);
}

static inline struct vos_lane *vos_region_lane(void *base, const struct vos_region_geo *g, uint32_t i)
{
	return (void *)((char *)base + g->lane_off + i * g->lane_stride);
}

static inline unsigned char *vos_region_data(void *base, const struct vos_region_geo *g, uint32_t i)
{
	return (unsigned char *)base + g->data_off + i * g->data_stride;
}

#endif
