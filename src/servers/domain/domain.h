/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the domain server share.  One broker for a domain; one proxy process for each client process.  The
 * broker trusts its supervisor; a proxy trusts its broker and believes nothing that its client writes.
 */
#ifndef VOS_DOMAIN_H
#define VOS_DOMAIN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <virtuos/calls.h>
#include <virtuos/err.h>
#include <virtuos/lane.h>
#include <virtuos/msg.h>
#include <virtuos/raw.h>
#include <virtuos/transport.h>

/* What the command line said. */
struct vos_domain_cfg {
	uint32_t    kinds;      /* bit VOS_KIND_*: what this domain serves */
	const char *name;
	const char *root;       /* storage: what "/" of an export means */
	const char *netns;      /* network: a named namespace, or NULL for the host's */
	int         broker_fd;  /* to the supervisor */
	uint64_t    epoch;
	bool        verbose;
	bool        no_uring;   /* wait with ppoll and threads, whatever the kernel has */
};

/* Runs until the supervisor goes: an exit status. */
int vos_broker_run(const struct vos_domain_cfg *cfg);

/* One line to stderr, with the domain's name before it.  vos_log() only with --verbose. */
void vos_log_init(const char *name, bool verbose);
void vos_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vos_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- a proxy ---------------------------------------------------------------------------------------------------- */

struct vos_proxy;
struct vos_op;

/* What exec functions return when the request completes later. */
#define VOS_PENDING LONG_MIN

/* What a remote descriptor is. */
enum vos_rfd_kind {
	VOS_RFD_FREE,
	VOS_RFD_FILE,    /* regular: never makes a caller wait for a peer */
	VOS_RFD_DIR,
	VOS_RFD_SOCKET,
	VOS_RFD_STREAM,  /* FIFO, character device and the like: may wait */
	VOS_RFD_EPOLL,
	VOS_RFD_PATH,    /* O_PATH */
};

#define VOS_RFD_NO_NOWAIT 1u /* RWF_NOWAIT is not known to this file */
#define VOS_RFD_SYNC      2u /* O_DIRECT, O_SYNC or O_DSYNC: a write waits for the disk */
#define VOS_RFD_LINGER    4u /* SO_LINGER is on: close may wait */

struct vos_rfd {
	uint8_t  kind;
	uint8_t  flags;
	uint32_t waiting; /* requests that will use the number again */
};

#define VOS_OP_IN_MAX 64u

/*
 * A request under way.  Made for every request, given back when it has completed and the engine owes it nothing more.
 * `resume` is called with the engine's answer; it returns the result, or VOS_PENDING after having asked again.
 */
struct vos_op {
	struct vos_op *next, *prev;  /* of its lane, or the free list */
	long    (*resume)(struct vos_proxy *p, struct vos_op *op, long res);
	uint64_t user;
	uint32_t lane;
	uint16_t nr;
	uint16_t req_flags;
	bool     listed;             /* in its lane's list: has waited */
	bool     cancelled;          /* the client asked for its end */
	bool     enough;             /* one of two answers is there: the other may be taken back */
	bool     on_worker;          /* a worker's answer is owed */
	bool     timed;              /* a time limit is armed */
	uint8_t  wait_mode;          /* VOS_OP_WAIT_*: what the engine was asked */
	uint32_t inflight;           /* answers that the engine still owes */
	int      fd;                 /* descriptor that it uses when resumed; -1: none */
	bool     fd_held;            /* counted in p->rfd[fd].waiting, or a private duplicate: see vos_rfd_close() */
	bool     fd_private;

	long     a[6];               /* as the kernel takes them: numbers, descriptors, pointers */
	size_t   done;               /* bytes moved so far */
	uint64_t timeout_ns;         /* 0: none */
	uint32_t aux, cqe_flags;
	uint64_t aux2;

	/* A_LENP: the capacity that was read once, the true length, and where it goes. */
	uint32_t lenp;
	unsigned char *lenp_out;
	/* A_INS and A_IOS: private copies; where an A_IOS copy goes back to. */
	_Alignas(8) unsigned char in[2][VOS_OP_IN_MAX];
	void    *ios_out[2];
	uint32_t ios_len[2];

	/* For exec functions. */
	void    *mem;                /* malloc'd; freed with the op */
	int      tmp_fd;             /* closed with the op; -1: none */
	int      stage;
	struct vos_wire_msg wire;
	unsigned char *wire_at;
	_Alignas(8) unsigned char addr[128];     /* a socket address: the kernel must not be given the client's own length word */
	uint32_t addr_len;
	struct iovec iov;
	uint32_t false_wakes;        /* in a row */
	size_t   false_done;         /* op->done then */
	uint64_t deadline_ns;        /* CLOCK_MONOTONIC, of SO_RCVTIMEO and SO_SNDTIMEO; 0: none */

	/* For the engine. */
	int64_t  ts[2];              /* struct __kernel_timespec of the armed limit */
	struct vos_worker *worker;
	long     wnr, wa[6];         /* what the worker is to call */
	struct vos_op *wnext;        /* waits for a worker */
	struct pollfd *pfd;          /* VOS_OP_WAIT_MANY */
	uint32_t npfd;
};
enum { VOS_OP_WAIT_NONE, VOS_OP_WAIT_ONE, VOS_OP_WAIT_MANY, VOS_OP_WAIT_CALL, VOS_OP_WAIT_WORKER, VOS_OP_WAIT_BOTH, VOS_OP_WAIT_BROKER };

struct vos_lane_state {
	struct vos_lane_view view;
	struct vos_op *ops;          /* those that wait */
	uint32_t nops;
};

struct vos_engine_ops;

struct vos_creds {
	uint32_t uid, gid, ngroups;
	uint32_t groups[VOS_GROUPS_MAX];
};

struct vos_proxy {
	struct vos_transport t;
	struct vos_lane_state *lane; /* t.geo.lanes */
	uint32_t lanes;              /* that the client uses */

	const struct vos_domain_cfg *cfg;
	uint32_t kind;               /* VOS_KIND_* */
	uint64_t id;
	struct vos_creds creds;
	bool     privileged;         /* may change its credentials later */
	int      channel;            /* to the broker */
	bool     channel_ready;      /* a message waits, or the broker is gone */
	pid_t    broker;
	/*
	 * O_PATH; -1 in a network proxy.  The working directory of the proxy itself is /proc, so that "self/fd/N" names a descriptor
	 * for the calls that know only paths, wherever the root was moved.
	 */
	int      root_fd, cwd_fd;

	struct vos_rfd *rfd;
	uint32_t rfd_size;

	struct vos_op *free_ops;
	struct vos_op *broker_ops, *broker_last; /* wait for the broker's answer, in order */
	struct vos_op *broker_unasked; /* from here on the questions are still to be sent */
	uint32_t broker_asked;

	const struct vos_engine_ops *engine;
	void    *engine_priv;
	struct vos_workers *workers;

	unsigned char *far_buffer;   /* far.c */
	char     str[2][VOS_PATH_MAX];  /* copies of the present request's strings */
	char     path[2][VOS_PATH_MAX]; /* path.c's scratch */
};

/* proxy.c.  Never return. */
void vos_proxy_main(const struct vos_domain_cfg *cfg, const struct vos_msg *spawn, const int fds[4], int channel)
	__attribute__((noreturn));
void vos_proxy_end(struct vos_proxy *p, int status, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

/* serve.c */
/* Serves what the lanes hold: how many requests. */
uint32_t vos_serve_turn(struct vos_proxy *p);
/* Whether any lane holds a request; the last look before sleep. */
bool vos_serve_ready(struct vos_proxy *p);
int  vos_serve_init(struct vos_proxy *p);
void vos_serve_finish(struct vos_proxy *p);
/* The engine's answer for an op. */
void vos_serve_resume(struct vos_proxy *p, struct vos_op *op, long res);
/* VOS_OP_CANCEL: one request of the lane, or all (VOS_NULL). */
long vos_serve_cancel(struct vos_proxy *p, uint32_t lane, uint64_t user);
/* Drops all that waits, without answers: in the child of a fork. */
void vos_serve_forget(struct vos_proxy *p);

/* validate.c: fills op->a from req by the table.  0 or the negative errno that is the request's result. */
int vos_validate(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req);
/* Bytes [off, off + len) of the op's data area, or NULL. */
unsigned char *vos_validate_range(struct vos_proxy *p, uint32_t lane, uint64_t off, uint64_t len);
/* After success: A_LENP and A_IOS copies go back. */
void vos_validate_out(struct vos_op *op);

/* far.c */
#define VOS_FAR_MIN 2048u /* bytes from which streaming wins */
/* Where to receive len bytes that then go out by vos_far_copy(); NULL: straight into the region.  Good until the next call. */
unsigned char *vos_far_buffer(struct vos_proxy *p, size_t len);
void vos_far_copy(unsigned char *to, const unsigned char *from, size_t n);

/* exec.c: runs a validated request: its result or VOS_PENDING. */
long vos_exec(struct vos_proxy *p, struct vos_op *op);
/* The same for VOS_OP_*, which validates its own arguments. */
long vos_exec_own(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req);

/* rfd.c: the client's descriptors. */
static inline struct vos_rfd *vos_rfd(struct vos_proxy *p, int64_t fd)
{
	if (fd < 0 || (uint64_t)fd >= p->rfd_size || p->rfd[fd].kind == VOS_RFD_FREE)
		return NULL;
	return &p->rfd[fd];
}
/*
 * Enters an open descriptor into the table: fd, *ret_mode its st_mode; flags as it was opened, -1 when not known.  On failure
 * the descriptor is closed and the result a negative errno.
 */
long vos_rfd_add(struct vos_proxy *p, int fd, int flags, uint32_t *ret_mode);
long vos_rfd_close(struct vos_proxy *p, struct vos_op *op, int fd);
/* As the exit of a process closes it: at once, whatever waits on it. */
void vos_rfd_drop(struct vos_proxy *p, int fd);
/* op will use its fd again when it is resumed: keeps the open file even if the client closes the number. */
void vos_rfd_hold(struct vos_proxy *p, struct vos_op *op);
void vos_rfd_release(struct vos_proxy *p, struct vos_op *op);
/* Closes every descriptor that is neither the client's nor in keep (ascending). */
void vos_rfd_sweep(struct vos_proxy *p, const int *keep, unsigned nkeep);

/* exec_sync.c; the broker, before its first proxy. */
void vos_exec_locks_prepare(void);

/* ---- the engine: what waits ---------------------------------------------------------------------------------------- */

/*
 * Answers go to vos_serve_resume(), never from inside these functions.  io_uring when the kernel has it, ppoll and workers
 * otherwise.
 */
struct vos_engine_ops {
	const char *name;
	/* Required.  0 or negative errno. */
	int  (*init)(struct vos_proxy *p);
	/* Required.  Lets go of everything; also in the child of a fork, for what it inherited. */
	void (*finish)(struct vos_proxy *p);
	/* Required.  Answer: the poll events that came, -ETIME after op->timeout_ns, -ECANCELED, or another errno. */
	int  (*poll)(struct vos_proxy *p, struct vos_op *op, int fd, uint32_t events);
	/* Required.  The same for op->pfd[0..npfd): one answer when any is ready; op->pfd is only read. */
	int  (*poll_many)(struct vos_proxy *p, struct vos_op *op);
	/* Required.  Runs system call nr with op's arguments a: its result, or -ECANCELED. */
	int  (*call)(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6]);
	/* Required.  What was asked reaches the kernel now: before a descriptor that it names is closed. */
	void (*flush)(struct vos_proxy *p);
	/* Required.  The sooner the answer of this op the better.  An op that waits for nothing is left alone. */
	void (*cancel)(struct vos_proxy *p, struct vos_op *op);
	/*
	 * Required.  Submits what was asked and hands out the answers that are there; with `sleep`, waits for one, for the
	 * doorbell, the control socket, the channel or a worker.  How many answers.
	 */
	int  (*turn)(struct vos_proxy *p, bool sleep);
};

/* An answer of the broker to EXPORT or IMPORT; takes over fd (-1: none). */
void vos_exec_broker(struct vos_proxy *p, const struct vos_msg *m, int fd);

extern const struct vos_engine_ops vos_engine_uring;
extern const struct vos_engine_ops vos_engine_poll;

/* For exec functions: ask and return VOS_PENDING, or an errno at once (-ECANCELED: it is not to wait any more). */
long vos_wait_poll(struct vos_proxy *p, struct vos_op *op, int fd, uint32_t events);
long vos_wait_call(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6]);
long vos_wait_worker(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6]);
/*
 * A worker's call and a poll at once: two answers.  The resume function finds op->on_worker false when the worker's is there,
 * and op->inflight 0 when it has the second; with the first it takes the other back by vos_wait_enough().
 */
long vos_wait_both(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6], int fd, uint32_t events);
long vos_wait_enough(struct vos_proxy *p, struct vos_op *op);

/* worker.c: threads that enter one system call each, and no libc. */
int  vos_worker_init(struct vos_proxy *p);
void vos_worker_finish(struct vos_proxy *p, bool forked);
int  vos_worker_call(struct vos_proxy *p, struct vos_op *op, long nr, const long a[6]);
void vos_worker_cancel(struct vos_proxy *p, struct vos_op *op);
/* Becomes readable when a worker is done; vos_worker_reap() then hands out the answers. */
int  vos_worker_fd(struct vos_proxy *p);
int  vos_worker_reap(struct vos_proxy *p);
/* The proxy's credentials have changed. */
void vos_worker_recred(struct vos_proxy *p);

/* sandbox.c */
/* Everything that needs the broker's own rights; then the client's credentials.  0, or an errno with a line in text. */
int  vos_sandbox_enter(struct vos_proxy *p, const char *export, char *text, size_t size);
/* The broker, before its first proxy.  0 or negative errno. */
int  vos_sandbox_prepare(uint32_t kinds);
/* The broker, after its first proxy: the others need not say again what the machine does not permit. */
void vos_sandbox_said(void);
/* The broker of a domain without sockets: one network namespace with nothing in it for all its proxies. */
void vos_sandbox_part_net(void);
/* The filter: the last step.  0 or negative errno. */
int  vos_sandbox_filter(struct vos_proxy *p);
int  vos_sandbox_recred(struct vos_proxy *p, const struct vos_creds *c);

#endif
