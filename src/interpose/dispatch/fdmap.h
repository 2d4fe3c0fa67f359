/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which descriptors of the process are remote, and what they name.
 *
 * A remote descriptor occupies a real number of this kernel, held by a placeholder: an O_PATH descriptor of a socket,
 * on which every data call is EBADF, every path call ENOTDIR, and which cannot be opened again through /proc (ENXIO).
 * So numbers, the lowest-free rule, RLIMIT_NOFILE, close-on-exec and the kernel's closing at exec are the kernel's own.
 *
 * A struct vos_ofd is the client's view of one open file description of a domain.  Descriptors that dup(2) made share
 * it.  Readers take references without a lock: the structs live in memory that is never used for anything else, so a
 * reader may look at one that is just being freed, sees refs == 0 or another slot value, and tries again.
 *
 * Order that keeps numbers honest: a slot is cleared before the kernel closes the number, and set after the kernel
 * has given it.  In between, calls reach the placeholder and get EBADF, as if they had come a moment earlier or later.
 */
#ifndef VOS_FDMAP_H
#define VOS_FDMAP_H

#include <virtuos/msg.h>
#include "../runtime.h"

struct vos_ofd_family;

struct vos_ofd {
	_Atomic uint32_t refs;       /* slots, calls under way, mappings, cwd.  0: free */
	_Atomic uint32_t slots;      /* descriptor numbers of all processes in this memory that name it */
	struct vos_domain *domain;   /* NULL for an epoll set that is the runtime's alone */
	/*
	 * The remote descriptor.  Recovery after a reboot of the domain replaces both under vos_ofd_rebind(); epoch 0 marks
	 * a change under way.  Read them with vos_ofd_rfd().
	 */
	_Atomic uint64_t epoch;
	_Atomic int32_t  rfd;
	uint32_t mode;               /* st_mode as it was at the opening: the type counts */
	_Atomic uint32_t flags;      /* what fcntl(F_GETFL) answers: access mode, O_APPEND, O_NONBLOCK, O_PATH… */
	_Atomic uint32_t locked;     /* a POSIX lock was taken through it: closing any descriptor of it drops them */
	int32_t owner;               /* calls/fd.c: F_SETOWN */
	uint8_t owner_type, owner_sig;
	bool is_dgram;               /* a socket that keeps message boundaries */
	const struct vos_ofd_family *family; /* NULL: nothing beside the above */
	void *net;                   /* calls/ of the sockets: domain, type, protocol, listener memory */
	void *epoll;                 /* calls/epoll.c's own: the side object of an epoll set */
	void *_Atomic watch;         /* calls/epoll.c's own: the epoll items that watch this ofd */
	uint64_t dev, ino;           /* calls/mapping.c's own: of a regular file; ino 0: not asked yet */
	struct vos_ofd *next_free;
};

/*
 * What a family of calls keeps with an ofd.  Register with vos_ofd_family_add() at bring-up.  A family must hold no reference
 * outside a call: after a fork the child counts references anew, from its descriptors, mappings and cwd.
 */
struct vos_ofd_family {
	uint32_t id;                 /* VOS_FAMILY_*; travels through exec */
	uint8_t  fdkind;             /* VOS_FDKIND_* of its descriptors */
	/* Optional.  The last reference goes; called before the remote close, may make remote calls. */
	void (*release)(struct vos_ofd *o);
	/*
	 * Optional.  One descriptor number has just been closed (epoll forgets it); the caller still holds a reference.
	 * Runs without a lock.
	 */
	void (*slot_gone)(struct vos_ofd *o, int fd);
	/*
	 * Optional.  o is of an older epoch than its domain, which is up: make it anew there and vos_ofd_rebind() it.  Called by
	 * vos_ofd_lane(), so that whatever uses a listening or a bound datagram socket after a reboot finds it working.
	 * `lane` is the caller's, of the present connection.  0, or what the call is to answer (-ECONNRESET: it was a conversation).
	 */
	int (*revive)(struct vos_ofd *o, struct vos_lane_client *lane);
	/* Optional.  For exec: writes at most cap bytes into buf; the number of bytes, or negative errno. */
	long (*save)(struct vos_ofd *o, void *buf, size_t cap);
	/* Optional.  In the new image.  0 or negative errno. */
	int (*load)(struct vos_ofd *o, const void *buf, size_t len);
};
enum { VOS_FAMILY_NONE, VOS_FAMILY_NET, VOS_FAMILY_EPOLL, VOS_FAMILY_CWD, VOS_FAMILY_MAX = 8 };
void vos_ofd_family_add(const struct vos_ofd_family *family);

#define VOS_FD_SAVE_MAX 4096         /* what a family may save for one ofd, bytes */

/* ---- life of an ofd ---------------------------------------------------------------------------------------------- */

/* A new one with one reference (the caller's), or NULL.  No remote call. */
struct vos_ofd *vos_ofd_new(struct vos_domain *d, int32_t rfd, uint32_t mode, uint32_t flags);
/* Another reference; the caller has one. */
static inline void vos_ofd_ref(struct vos_ofd *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
}
/*
 * Give a reference back; accepts NULL.  The last tells epoll when `watch` is set (vos_epoll_forget), then the family, then closes
 * the remote descriptor: may make remote calls.
 */
void vos_ofd_put(struct vos_ofd *o);
/* calls/epoll.c: o's open file goes; it leaves every epoll set of this process.  Weak: only called when `watch` is set. */
void vos_epoll_forget(struct vos_ofd *o) __attribute__((weak));
/* After a reboot of the domain: o now is rfd of the epoch.  Any thread. */
void vos_ofd_rebind(struct vos_ofd *o, int32_t rfd, uint64_t epoch);

/*
 * The way to o's domain for this carrier, and its rfd of the connection that the lane belongs to.  0; -EIO or -ECONNRESET
 * (storage, network) when o is of an older epoch and its family cannot revive it; else what vos_remote_lane() says.  May join the domain.
 */
int vos_ofd_lane(struct vos_ofd *o, struct vos_lane_client **ret_lane, int32_t *ret_rfd);
/* What a call on a stale or dead descriptor of this domain answers: -EIO or -ECONNRESET. */
static inline int vos_domain_error(const struct vos_domain *d)
{
	return d->kind == VOS_KIND_NET ? -ECONNRESET : -EIO;
}

/* ---- descriptors -------------------------------------------------------------------------------------------------- */

/* The process of this thread. */
static inline struct vos_proc *vos_proc_self(void)
{
	return vos_self()->proc;
}

static inline uint8_t vos_fd_kind(const struct vos_proc *p, long fd)
{
	return (unsigned long)fd < VOS_FDS_MAX ? __atomic_load_n(&p->fdkind[fd], __ATOMIC_ACQUIRE) : VOS_FDKIND_NATIVE;
}

/*
 * The ofd behind fd, with a reference for the caller; NULL when fd is native, closed or the runtime's own.  The argument is
 * a raw system call argument: only its low 32 bits count.  Lock-free; give it back with vos_ofd_put().
 */
struct vos_ofd *vos_fd_get(uint64_t fd);

/*
 * Take a number for a descriptor to come: the lowest free one ≥ min, as a placeholder; calls on it get EBADF until
 * vos_fd_commit().  Do this before the remote call, as Linux does: then EMFILE leaves nothing behind.
 * `flags`: O_CLOEXEC counts.  The number, or -EMFILE.
 */
int vos_fd_reserve(int min, uint32_t flags);
/* The number becomes o's.  Takes over the caller's reference.  `flags` is not needed: CLOEXEC was said at the reserve. */
void vos_fd_commit(int fd, struct vos_ofd *o);
/* The call failed: the number is free again. */
void vos_fd_cancel(int fd);
/* Both in one, for a descriptor whose remote side exists: the number, or -EMFILE (o's reference is then put). */
int vos_fd_install(struct vos_ofd *o, uint32_t flags);
/*
 * fd exists natively already and stays so (an epoll descriptor of the runtime's own making, for one): from now on calls on
 * it come to the dispatcher with this ofd.  Takes over the reference.
 */
void vos_fd_adopt(int fd, struct vos_ofd *o);

/* close(2), dup2(2) and so on, for any descriptor: native, remote or the runtime's own.  Results as the kernel's. */
long vos_fd_close(int fd);
long vos_fd_dup(int fd, int min, uint32_t flags);          /* dup, F_DUPFD, F_DUPFD_CLOEXEC */
long vos_fd_dup_to(int fd, int to, uint32_t flags);        /* dup3 without its check for fd == to */
long vos_fd_close_range(uint32_t first, uint32_t last, uint32_t flags);

/*
 * Make a native descriptor the runtime's own: moved, close-on-exec, to a high number (1,024 at most, so that a fork need not
 * copy a large table), shown to nobody: close, dup and so on answer -EBADF.  The new number, or negative errno (fd then stays
 * what it was).  `where`, when not NULL, holds the number from now on: when the program needs that very number (dup2), the
 * descriptor moves again and *where is rewritten.  Without it such a dup2 is -EBUSY.
 */
int vos_fd_own(int fd, int *where);
/* The runtime closes one of its own (and forgets `where`). */
void vos_fd_disown(int fd);

/*
 * While the runtime makes descriptors of its own, a program that has used up its soft limit must not hinder it: raises the
 * limit as far as the hard one allows.  What to hand to _restore.
 */
uint64_t vos_fd_limit_lift(void);
void vos_fd_limit_restore(uint64_t soft);

/* Marks a native directory that is an ancestor of a prefix (or clears the mark). */
void vos_fd_mark_dir(int fd, bool ancestor);

/* The next descriptor ≥ fd that is not native in every respect; VOS_FDS_MAX when there is none. */
uint32_t vos_fdmap_next(const struct vos_proc *p, uint32_t fd);
/* A POSIX lock was taken: from now on closing any descriptor of a file drops its locks. */
void vos_fdmap_locks_taken(struct vos_proc *p);

/* The domains (bit i: proc->domain[i]) that descriptors or the cwd of p are in: their proxies fork with the process. */
uint32_t vos_fdmap_domains(const struct vos_proc *p);
/* Whether the process has any remote descriptor or remote cwd: if not, fork need not fork a proxy. */
bool vos_fdmap_any(const struct vos_proc *p);
/* Calls fn for each descriptor that has an ofd, in rising order, until it returns non-zero.  Takes no lock: o has a reference. */
long vos_fdmap_each(struct vos_proc *p, long (*fn)(int fd, struct vos_ofd *o, void *arg), void *arg);

/* ---- life of a process ---------------------------------------------------------------------------------------------- */

/* Bring-up: the arrays of p.  0 or -ENOMEM. */
int vos_fdmap_init(struct vos_proc *p);
/*
 * Around a native fork: nobody else changes the map between them, so the child's copy is whole.  _child also resets the lock.
 * The domains' proxies were forked before: the same rfds are valid in the child.
 */
void vos_fdmap_fork_prepare(struct vos_proc *p);
void vos_fdmap_fork_parent(struct vos_proc *p);
void vos_fdmap_fork_child(struct vos_proc *p);
/*
 * vfork: `child` gets arrays of its own with a reference to everything that `parent` has open.  It uses its parent's
 * domains (same memory, same open files) until it execs.  _drop gives the references back: the child has execed or gone.
 */
int vos_fdmap_vfork(struct vos_proc *child, struct vos_proc *parent);
void vos_fdmap_drop(struct vos_proc *child);
/*
 * exec.  _save appends everything the new image needs to know to the file `fd` (a memfd), and changes nothing: the exec may
 * fail.  _load, in the new image, reads it back from memory; descriptors that exec closed are closed remotely.  Domains are
 * named by index: load them first.  0 or negative errno.
 */
int vos_fdmap_save(struct vos_proc *p, int fd);
int vos_fdmap_load(struct vos_proc *p, const void *data, size_t len, size_t *ret_used);

#endif
