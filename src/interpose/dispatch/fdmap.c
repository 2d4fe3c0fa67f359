/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots, numbers and the life of an ofd.  Saving and loading across fork and exec: fdmap_exec.c. */
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "fdmap_impl.h"

const struct vos_ofd_family *vos_ofd_families[VOS_FAMILY_MAX];

void vos_ofd_family_add(const struct vos_ofd_family *family)
{
	if (family->id < VOS_FAMILY_MAX)
		vos_ofd_families[family->id] = family;
}

/* ---- memory of ofds: never given back and never used for anything else, which is what lock-free readers rely on ---- */

struct vos_ofd_pool vos_ofd_pool;

static int pool_grow(void)
{
	long a = vos_raw6(__NR_mmap, 0, VOS_OFD_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vos_ofd_chunk *c = (void *)a;

	if (vos_is_err(a))
		return -ENOMEM;
	c->next = vos_ofd_pool.chunks;
	vos_ofd_pool.chunks = c;
	for (size_t i = VOS_OFD_PER_CHUNK; i-- > 0;) {
		c->ofd[i].next_free = vos_ofd_pool.free;
		vos_ofd_pool.free = &c->ofd[i];
	}
	return 0;
}

struct vos_ofd *vos_ofd_new(struct vos_domain *d, int32_t rfd, uint32_t mode, uint32_t flags)
{
	struct vos_ofd *o = NULL;

	vos_spin_lock(&vos_ofd_pool.lock);
	if (vos_ofd_pool.free || pool_grow() == 0) {
		o = vos_ofd_pool.free;
		vos_ofd_pool.free = o->next_free;
	}
	vos_spin_unlock(&vos_ofd_pool.lock);
	if (!o)
		return NULL;
	o->slots = 0;
	o->domain = d;
	o->rfd = rfd;
	o->epoch = d ? d->epoch : 0;
	o->mode = mode;
	o->flags = flags;
	o->locked = 0;
	o->owner = 0;
	o->owner_type = o->owner_sig = 0;
	o->is_dgram = false;
	o->family = NULL;
	o->net = o->epoll = NULL;
	o->watch = NULL;
	o->dev = o->ino = 0;
	/* Release: pairs with the acquire in ofd_tryref(); whoever gets a reference sees the fields above. */
	atomic_store_explicit(&o->refs, 1, memory_order_release);
	return o;
}

static void ofd_free(struct vos_ofd *o)
{
	vos_spin_lock(&vos_ofd_pool.lock);
	o->next_free = vos_ofd_pool.free;
	vos_ofd_pool.free = o;
	vos_spin_unlock(&vos_ofd_pool.lock);
}

static bool ofd_tryref(struct vos_ofd *o)
{
	uint32_t n = atomic_load_explicit(&o->refs, memory_order_relaxed);

	while (n != 0)
		if (atomic_compare_exchange_weak_explicit(&o->refs, &n, n + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

/* The remote side of a close.  Its result: Linux reports a failed write-back here. */
static long remote_close(struct vos_ofd *o)
{
	struct vos_req req = { .op = __NR_close };
	struct vos_lane_client *lane;
	struct vos_pending p = { 0 }, *pp = &p;
	struct vos_wait w = { .deadline_ns = VOS_NEVER };
	int32_t rfd;

	/* Older than the domain's present life: the descriptor went with the old one. */
	if (!o->domain || atomic_load(&o->rfd) < 0 || o->domain->epoch != o->epoch ||
	    atomic_load(&o->domain->state) != VOS_DOM_UP)
		return 0;
	if (vos_ofd_lane(o, &lane, &rfd) < 0)
		return 0;
	req.arg[0] = (uint64_t)rfd;
	/* Not interruptible: a close that was half done cannot be tried again. */
	if (vos_remote_begin(lane, &req, &p) < 0)
		return 0;
	while (vos_remote_wait(&pp, 1, &w) != 0)
		;
	/* A socket has no data to lose at its close, and programs do not expect an error here. */
	return (p.cqe.flags & VOS_CQE_DEAD) && o->domain->kind == VOS_KIND_NET ? 0 : p.cqe.res;
}

long vos_ofd_put_result(struct vos_ofd *o)
{
	long r = 0;

	if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
		return 0;
	if (atomic_load(&o->watch))
		vos_epoll_forget(o);
	if (o->family && o->family->release)
		o->family->release(o);
	r = remote_close(o);
	ofd_free(o);
	return r;
}

void vos_ofd_put(struct vos_ofd *o)
{
	vos_ofd_put_result(o);
}

void vos_ofd_rebind(struct vos_ofd *o, int32_t rfd, uint64_t epoch)
{
	atomic_store(&o->epoch, 0);
	atomic_store(&o->rfd, rfd);
	atomic_store(&o->epoch, epoch);
}

int vos_ofd_lane(struct vos_ofd *o, struct vos_lane_client **ret_lane, int32_t *ret_rfd)
{
	struct vos_domain *d = o->domain;
	struct vos_lane_client *lane;
	uint64_t epoch;
	int32_t rfd;
	int err = 0;

	if (!d)
		return -EBADF;
	lane = vos_remote_lane(d, &err);
	if (!lane)
		return err == -ENOMEM || err == -VOS_ERESTARTSYS ? err : vos_domain_error(d);
	for (bool revived = false;; revived = true) {
		do {
			epoch = atomic_load(&o->epoch);
			rfd = atomic_load(&o->rfd);
		} while (epoch == 0 || epoch != atomic_load(&o->epoch));
		if (epoch == vos_lane_epoch(lane))
			break;
		if (revived || !o->family || !o->family->revive)
			return vos_domain_error(d);
		err = o->family->revive(o, lane);
		if (err < 0)
			return err;
	}
	*ret_lane = lane;
	*ret_rfd = rfd;
	return 0;
}

/* ---- slots -------------------------------------------------------------------------------------------------------- */

struct vos_ofd *vos_fd_get(uint64_t raw_fd)
{
	struct vos_proc *p = vos_proc_self();
	uint32_t fd = (uint32_t)raw_fd;

	if (fd >= VOS_FDS_MAX)
		return NULL;
	for (;;) {
		struct vos_ofd *o = __atomic_load_n(&p->ofd[fd], __ATOMIC_ACQUIRE);

		if (!o)
			return NULL;
		if (!ofd_tryref(o))
			continue; /* just being closed: the slot was cleared before the last reference went */
		if (__atomic_load_n(&p->ofd[fd], __ATOMIC_ACQUIRE) == o)
			return o;
		vos_ofd_put(o);
	}
}

static uint8_t kind_of(const struct vos_ofd *o)
{
	return o->family && o->family->fdkind ? o->family->fdkind : VOS_FDKIND_REMOTE;
}

/* Under m->lock.  The slot names o (NULL: native, of that kind); what it named before, still with its reference. */
static struct vos_ofd *slot_set(struct vos_proc *p, int fd, struct vos_ofd *o, uint8_t kind)
{
	struct vos_fdmap *m = vos_fdmap_of(p);
	struct vos_ofd *old = p->ofd[fd];

	if (o) {
		atomic_fetch_add(&o->slots, 1);
		m->open++;
	}
	if (old)
		m->open--;
	if (kind && (uint32_t)fd >= m->high)
		m->high = (uint32_t)fd + 1;
	/*
	 * The kind decides whether vos_entry looks further at all, so it is the last to appear and the first to go.  Written only
	 * when it changes: clean pages of the array stay untouched.
	 */
	if (!kind && p->fdkind[fd])
		__atomic_store_n(&p->fdkind[fd], 0, __ATOMIC_RELEASE);
	if (old != o)
		__atomic_store_n(&p->ofd[fd], o, __ATOMIC_RELEASE);
	if (kind && p->fdkind[fd] != kind)
		__atomic_store_n(&p->fdkind[fd], kind, __ATOMIC_RELEASE);
	return old;
}

/* Closing any descriptor of a file drops the process's POSIX locks on it, also when another dup stays open. */
static void drop_posix_locks(struct vos_ofd *o)
{
	struct vos_cqe cqe;
	struct vos_req req = { .op = VOS_OP_DUP };
	struct vos_lane_client *lane;
	int32_t rfd;

	if (vos_ofd_lane(o, &lane, &rfd) < 0)
		return;
	req.arg[0] = (uint64_t)rfd;
	if (vos_remote_call(lane, &req, &cqe) < 0)
		return;
	req = (struct vos_req){ .op = __NR_close, .arg = { (uint64_t)cqe.res } };
	vos_remote_call(lane, &req, &cqe);
}

/* What a closed descriptor leaves behind: outside the lock. */
static long slot_gone(struct vos_proc *p, struct vos_ofd *o, int fd)
{
	uint32_t left;

	if (!o)
		return 0;
	left = atomic_fetch_sub(&o->slots, 1) - 1;
	if (left && vos_fdmap_of(p)->posix_locks && !vos_fdmap_of(p)->borrowed && (o->mode & S_IFMT) == S_IFREG)
		drop_posix_locks(o);
	if (o->family && o->family->slot_gone)
		o->family->slot_gone(o, fd);
	return vos_ofd_put_result(o);
}

/* ---- placeholders ---------------------------------------------------------------------------------------------------- */

static char *put_number(char *s, uint32_t n)
{
	char d[10];
	int i = 0;

	do
		d[i++] = (char)('0' + n % 10);
	while ((n /= 10) != 0);
	while (i)
		*s++ = d[--i];
	*s = 0;
	return s;
}

/* Under the lock.  The O_PATH descriptor that all placeholders are duplicates of. */
static int placeholder(struct vos_proc *p, struct vos_fdmap *m)
{
	char path[32] = "/proc/self/fd/";
	long s, o;

	if (m->placeholder >= 0)
		return m->placeholder;
	s = vos_raw3(__NR_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return (int)s;
	put_number(path + 14, (uint32_t)s);
	o = vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR(path), O_PATH | O_CLOEXEC, 0);
	if (o < 0) /* no /proc: a device that nothing can be done to through O_PATH */
		o = vos_raw4(__NR_openat, AT_FDCWD, VOS_PTR("/dev/null"), O_PATH | O_CLOEXEC, 0);
	vos_raw1(__NR_close, s);
	if (o < 0)
		return (int)o;
	s = vos_fd_own_locked(p, (int)o, &m->placeholder);
	if (s < 0)
		vos_raw1(__NR_close, o);
	return (int)s;
}

static int reserve_locked(struct vos_fdmap *m, int min, uint32_t flags)
{
	int base = placeholder(vos_proc_self(), m);
	long fd;

	if (base < 0)
		return base == -ENFILE || base == -EMFILE ? base : -EMFILE;
	fd = vos_raw3(__NR_fcntl, base, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, min);
	if (fd >= (long)VOS_FDS_MAX) {
		vos_raw1(__NR_close, fd);
		return -EMFILE;
	}
	return (int)fd;
}

int vos_fd_reserve(int min, uint32_t flags)
{
	struct vos_fdmap *m = vos_fdmap_of(vos_proc_self());
	int fd;

	vos_spin_lock(&m->lock);
	fd = reserve_locked(m, min, flags);
	vos_spin_unlock(&m->lock);
	return fd;
}

void vos_fd_commit(int fd, struct vos_ofd *o)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);
	struct vos_ofd *old;

	vos_spin_lock(&m->lock);
	old = slot_set(p, fd, o, kind_of(o));
	vos_spin_unlock(&m->lock);
	slot_gone(p, old, fd);
}

void vos_fd_cancel(int fd)
{
	vos_raw1(__NR_close, fd);
}

int vos_fd_install(struct vos_ofd *o, uint32_t flags)
{
	int fd = vos_fd_reserve(0, flags);

	if (fd < 0)
		vos_ofd_put(o);
	else
		vos_fd_commit(fd, o);
	return fd;
}

void vos_fd_adopt(int fd, struct vos_ofd *o)
{
	vos_fd_commit(fd, o);
}

/* ---- close, dup ------------------------------------------------------------------------------------------------------- */

long vos_fd_close(int fd)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);
	uint8_t kind = vos_fd_kind(p, fd);
	struct vos_ofd *o;
	long r, remote;

	if (kind == VOS_FDKIND_NATIVE)
		return vos_raw1(__NR_close, fd);
	vos_spin_lock(&m->lock);
	kind = p->fdkind[fd];
	if (kind == VOS_FDKIND_OWN) {
		vos_spin_unlock(&m->lock);
		return -EBADF;
	}
	o = slot_set(p, fd, NULL, 0);
	r = vos_raw1(__NR_close, fd);
	vos_spin_unlock(&m->lock);
	remote = slot_gone(p, o, fd);
	return r < 0 ? r : remote < 0 ? remote : 0;
}

/* Under the lock: n now is what fd is.  What n was before. */
static struct vos_ofd *slot_copy(struct vos_proc *p, int fd, int n)
{
	struct vos_ofd *o = (uint32_t)fd < VOS_FDS_MAX ? p->ofd[fd] : NULL;
	uint8_t kind = vos_fd_kind(p, fd);

	if ((uint32_t)n >= VOS_FDS_MAX)
		return NULL;
	if (o)
		vos_ofd_ref(o);
	return slot_set(p, n, o, kind);
}

long vos_fd_dup(int fd, int min, uint32_t flags)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);
	struct vos_ofd *old = NULL;
	long n;

	vos_spin_lock(&m->lock);
	if (vos_fd_kind(p, fd) == VOS_FDKIND_OWN) {
		n = -EBADF;
	} else {
		n = vos_raw3(__NR_fcntl, fd, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, min);
		if (n >= (long)VOS_FDS_MAX && vos_fd_kind(p, fd) != VOS_FDKIND_NATIVE) {
			vos_raw1(__NR_close, n);
			n = -EMFILE;
		} else if (n >= 0) {
			old = slot_copy(p, fd, (int)n);
		}
	}
	vos_spin_unlock(&m->lock);
	if (old)
		slot_gone(p, old, (int)n);
	return n;
}

/* Under the lock: the program wants the number of one of ours. */
static int own_move(struct vos_proc *p, int fd)
{
	struct vos_fdmap *m = vos_fdmap_of(p);

	for (uint32_t i = 0; i < VOS_FD_OWN_MAX; i++)
		if (m->own[i].where && m->own[i].fd == fd) {
			int *where = m->own[i].where;

			m->own[i].where = NULL;
			if (vos_fd_own_locked(p, fd, where) < 0) {
				m->own[i].where = where;
				return -EBUSY;
			}
			return 0;
		}
	return -EBUSY;
}

long vos_fd_dup_to(int fd, int to, uint32_t flags)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);
	uint8_t kind = vos_fd_kind(p, fd), to_kind = vos_fd_kind(p, to);
	struct vos_ofd *old = NULL;
	long n;

	if (kind == VOS_FDKIND_OWN)
		return -EBADF;
	if (kind == VOS_FDKIND_NATIVE && to_kind == VOS_FDKIND_NATIVE)
		return vos_raw3(__NR_dup3, fd, to, flags);
	vos_spin_lock(&m->lock);
	if (vos_fd_kind(p, to) == VOS_FDKIND_OWN) {
		/* Only when fd is worth it: a bad fd must leave all as it was. */
		n = vos_raw2(__NR_fcntl, fd, F_GETFD);
		if (n >= 0)
			n = own_move(p, to);
		if (n < 0) {
			vos_spin_unlock(&m->lock);
			return n;
		}
	}
	if ((uint32_t)to >= VOS_FDS_MAX && kind != VOS_FDKIND_NATIVE)
		n = -EBADF;
	else
		n = vos_raw3(__NR_dup3, fd, to, flags);
	/* Until here calls on `to` reach the old file, from here the new one: replaced in one step, as Linux does it. */
	if (n >= 0)
		old = slot_copy(p, fd, to);
	vos_spin_unlock(&m->lock);
	if (old)
		slot_gone(p, old, to);
	return n;
}

/* ---- the runtime's own ------------------------------------------------------------------------------------------------ */

uint64_t vos_fd_limit_lift(void)
{
	struct rlimit rl, want;

	if (vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, VOS_PTR(&rl)) < 0 || rl.rlim_cur >= rl.rlim_max)
		return 0;
	want = rl;
	want.rlim_cur = rl.rlim_cur < 1024 ? 1024 : rl.rlim_cur + 64;
	if (want.rlim_cur > rl.rlim_max)
		want.rlim_cur = rl.rlim_max;
	return vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, VOS_PTR(&want), 0) < 0 ? 0 : rl.rlim_cur;
}

void vos_fd_limit_restore(uint64_t soft)
{
	struct rlimit rl;

	if (soft && vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, VOS_PTR(&rl)) == 0) {
		rl.rlim_cur = soft;
		vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, VOS_PTR(&rl), 0);
	}
}

/* Under the lock. */
int vos_fd_own_locked(struct vos_proc *p, int fd, int *where)
{
	struct vos_fdmap *m = vos_fdmap_of(p);
	struct rlimit rl = { 1024, 1024 };
	uint32_t i, limit;
	long n = -EMFILE;

	for (i = 0; i < VOS_FD_OWN_MAX && m->own[i].where; i++)
		;
	if (i == VOS_FD_OWN_MAX)
		where = NULL;
	vos_raw4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, VOS_PTR(&rl));
	limit = rl.rlim_cur < 1024 ? (uint32_t)rl.rlim_cur : 1024;
	/* As high as there is room. */
	for (uint32_t room = 32; n < 0 && room < 2 * limit; room *= 2)
		n = vos_raw3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, limit > room ? limit - room : 0);
	if (n == -EMFILE) {
		/* The program has used up its numbers: above them there is room for ours. */
		uint64_t soft = vos_fd_limit_lift();

		n = soft ? vos_raw3(__NR_fcntl, fd, F_DUPFD_CLOEXEC, soft) : n;
		vos_fd_limit_restore(soft);
	}
	if (n < 0)
		return (int)n;
	slot_set(p, (int)n, NULL, VOS_FDKIND_OWN);
	/* From here on nothing fails. */
	if ((uint32_t)fd < VOS_FDS_MAX)
		slot_set(p, fd, NULL, 0);
	vos_raw1(__NR_close, fd);
	if (where) {
		m->own[i].fd = (int)n;
		m->own[i].where = where;
		*where = (int)n;
	}
	return (int)n;
}

int vos_fd_own(int fd, int *where)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);
	int n;

	vos_spin_lock(&m->lock);
	n = vos_fd_own_locked(p, fd, where);
	vos_spin_unlock(&m->lock);
	return n;
}

void vos_fd_disown(int fd)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);

	vos_spin_lock(&m->lock);
	for (uint32_t i = 0; i < VOS_FD_OWN_MAX; i++)
		if (m->own[i].where && m->own[i].fd == fd)
			m->own[i].where = NULL;
	if (vos_fd_kind(p, fd) == VOS_FDKIND_OWN)
		slot_set(p, fd, NULL, 0);
	vos_raw1(__NR_close, fd);
	vos_spin_unlock(&m->lock);
}

void vos_fd_mark_dir(int fd, bool ancestor)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_fdmap *m = vos_fdmap_of(p);

	if ((uint32_t)fd >= VOS_FDS_MAX)
		return;
	vos_spin_lock(&m->lock);
	if (p->fdkind[fd] == VOS_FDKIND_NATIVE && ancestor)
		slot_set(p, fd, NULL, VOS_FDKIND_DIR);
	else if (p->fdkind[fd] == VOS_FDKIND_DIR && !ancestor)
		slot_set(p, fd, NULL, 0);
	vos_spin_unlock(&m->lock);
}

bool vos_fdmap_any(const struct vos_proc *p)
{
	return vos_fdmap_of(p)->open != 0;
}

/* The next descriptor ≥ fd that is not native; VOS_FDS_MAX when there is none. */
uint32_t vos_fdmap_next(const struct vos_proc *p, uint32_t fd)
{
	uint32_t high = vos_fdmap_of(p)->high;

	while (fd < high) {
		if ((fd & 7) == 0 && fd + 8 <= high && *(const uint64_t *)(const void *)(p->fdkind + fd) == 0) {
			fd += 8;
			continue;
		}
		if (p->fdkind[fd])
			return fd;
		fd++;
	}
	return VOS_FDS_MAX;
}

long vos_fdmap_each(struct vos_proc *p, long (*fn)(int fd, struct vos_ofd *o, void *arg), void *arg)
{
	for (uint32_t fd = vos_fdmap_next(p, 0); fd < VOS_FDS_MAX; fd = vos_fdmap_next(p, fd + 1)) {
		struct vos_ofd *o = __atomic_load_n(&p->ofd[fd], __ATOMIC_ACQUIRE);
		long r;

		if (!o || !ofd_tryref(o))
			continue;
		r = __atomic_load_n(&p->ofd[fd], __ATOMIC_ACQUIRE) == o ? fn((int)fd, o, arg) : 0;
		vos_ofd_put(o);
		if (r)
			return r;
	}
	return 0;
}

/* close_range(2) without CLOEXEC or UNSHARE has work to do here; the rest is the kernel's, around our own descriptors. */
long vos_fd_close_range(uint32_t first, uint32_t last, uint32_t flags)
{
	struct vos_proc *p = vos_proc_self();

	if (flags & ~6U)
		return -EINVAL;
	if (first > last)
		return -EINVAL;
	if (flags & 2 /* UNSHARE */) {
		long r = vos_raw1(__NR_unshare, CLONE_FILES);

		if (r < 0)
			return r;
		flags &= ~2U;
	}
	for (;;) {
		uint32_t at = first, stop;
		long r;

		/* The next of ours; on the way, remote ones are closed one by one. */
		for (;; at++) {
			at = vos_fdmap_next(p, at);
			if (at > last || at >= VOS_FDS_MAX || p->fdkind[at] == VOS_FDKIND_OWN)
				break;
			if (!(flags & 4 /* CLOEXEC */))
				vos_fd_close((int)at);
		}
		stop = at > last || at >= VOS_FDS_MAX ? last : at - 1;
		if (at != first) {
			r = vos_raw3(__NR_close_range, first, stop, flags);
			if (r < 0)
				return r;
		}
		if (stop == last)
			return 0;
		if (at == last)
			return 0;
		first = at + 1;
	}
}
