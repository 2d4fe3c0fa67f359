/* SPDX-License-Identifier: GPL-2.0-or-later */
#define VOS_CALLS_TABLE
#include <virtuos/calls.h>
#undef VOS_CALLS_TABLE
#include <asm/prctl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "../fake/kept.h"
#include "fake.h"
#include "interpose/dispatch/mapping.h"
#include "interpose/entry/signal.h"
#include "interpose/entry/room.h"

#define DATA (1u << 20)
#define UNDER_WAY 64

struct running {
	struct vos_pending *p;
	struct vos_req req;
};

struct vos_lane_client {
	struct vos_domain *d;
	uint64_t epoch;
	unsigned char *data;
	size_t used;
	unsigned live;
	struct running run[UNDER_WAY];
};

static struct vos_proc proc;
static struct vos_domain domain;
static _Atomic uint64_t epoch = 1;
static _Atomic bool away;
static _Atomic unsigned requests;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
/* A request is answered whole or not at all: the domain does not die in its middle. */
static pthread_rwlock_t life = PTHREAD_RWLOCK_INITIALIZER;
static bool mine[4096];              /* descriptors of the domain */
static bool waits[4096];             /* without O_NONBLOCK as the client sees it */
static struct { uint8_t token[16]; int fd; } exported[16];

/* ---- the runtime's surroundings ------------------------------------------------------------------------------------------- */

long vos_native(struct vos_frame *f)
{
	return vos_raw6((long)f->rax, (long)f->rdi, (long)f->rsi, (long)f->rdx, (long)f->r10, (long)f->r8, (long)f->r9);
}

static long vm(const void *to, const void *from, size_t n, bool write)
{
	struct iovec local = { (void *)(uintptr_t)(write ? from : to), n }, remote = { (void *)(uintptr_t)(write ? to : from), n };
	long r;

	if (n == 0)
		return 0;
	r = vos_raw6(write ? __NR_process_vm_writev : __NR_process_vm_readv, getpid(), VOS_PTR(&local), 1, VOS_PTR(&remote), 1, 0);
	return r == (long)n ? 0 : -EFAULT;
}

long vos_copy_from_user(void *dst, const void *src, size_t n) { return vm(dst, src, n, false); }
long vos_copy_to_region(void *dst, const void *src, size_t n) { return vm(dst, src, n, false); }
long vos_copy_to_user(void *dst, const void *src, size_t n) { return vm(dst, src, n, true); }
long vos_copy_in_user(void *dst, const void *src, size_t n) { return vm(dst, src, n, true); }
long vos_clear_user(void *dst, size_t n) { memset(dst, 0, n); return 0; }
long vos_strncpy_from_user(char *dst, const char *src, size_t cap) { strncpy(dst, src, cap); return (long)strlen(dst); }
int vos_sig_mask_begin(struct vos_sig_masked *m, uint64_t mask, uint64_t size) { (void)m, (void)mask, (void)size; return 0; }
void vos_sig_mask_end(struct vos_sig_masked *m) { (void)m; }
_Atomic uint32_t vos_mapping_count;
void vos_mapping_after(struct vos_ofd *o, unsigned nr, const uint64_t arg[6], long r) { (void)o, (void)nr, (void)arg, (void)r; }
void vos_mapping_flush(struct vos_ofd *o) { (void)o; }
/* The supervisor's answer lies there at once; that nobody holds the other end is nobody's business here. */
int vos_session_begin(struct vos_proc *p, const struct vos_msg *m, const int *fds, uint32_t nfds);
int vos_session_begin(struct vos_proc *p, const struct vos_msg *m, const int *fds, uint32_t nfds)
{
	int pair[2];

	(void)p, (void)fds, (void)nfds;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) || send(pair[1], m, sizeof *m, 0) != sizeof *m)
		return -errno;
	close(pair[1]);
	return pair[0];
}
uint32_t vos_path_domains(const struct vos_proc *p) { (void)p; return 0; }
long vos_unix_bind(struct vos_frame *f) { return vos_native(f); }
long vos_unix_connect(struct vos_frame *f) { return vos_native(f); }
long vos_unix_address(uint64_t fd, uint64_t user, uint32_t len, struct sockaddr_un *ret, uint32_t *ret_len)
{
	(void)fd, (void)user, (void)len, (void)ret, (void)ret_len;
	return 1;
}
extern const struct vos_room vos_net_room;

void fake_thread(void)
{
	struct vos_carrier *c = kept(calloc(1, sizeof *c));
	struct vos_thread *t = kept(calloc(1, sizeof *t));

	c->self = c;
	c->thread = t;
	c->proc = &proc;
	c->fdkind = proc.fdkind;
	c->pid = (uint32_t)getpid();
	c->tid = (uint32_t)gettid();
	t->carrier = c;
	vos_raw2(__NR_arch_prctl, ARCH_SET_GS, VOS_PTR(c));
}

void fake_start(void)
{
	struct rlimit rl = { 4096, 4096 };

	setrlimit(RLIMIT_NOFILE, &rl);
	proc.pid = (uint32_t)getpid();
	proc.session_fd = 0;
	proc.domain[0] = &domain;
	proc.ndomains = 1;
	domain.kind = VOS_KIND_NET;
	strcpy(domain.name, "fake");
	fake_thread();
	vos_fdmap_init(&proc);
	vos_self()->fdkind = proc.fdkind;
	vos_net_room.init(&proc);
}

/* ---- the domain ----------------------------------------------------------------------------------------------------------- */

static int keep(int fd)
{
	int n;

	if (fd < 0)
		return -errno;
	n = fcntl(fd, F_DUPFD_CLOEXEC, FAKE_LOW);
	close(fd);
	pthread_mutex_lock(&table_lock);
	mine[n] = true;
	waits[n] = !(fcntl(n, F_GETFL) & O_NONBLOCK);
	pthread_mutex_unlock(&table_lock);
	fcntl(n, F_SETFL, fcntl(n, F_GETFL) | O_NONBLOCK);
	return n;
}

int fake_remote(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL), n;

	fstat(fd, &st);
	n = keep(fd);
	domain.epoch = epoch;
	domain.state = VOS_DOM_UP;
	return vos_fd_install(vos_ofd_new(&domain, n, st.st_mode, (uint32_t)flags), 0);
}

void fake_kill(bool down)
{
	pthread_rwlock_wrlock(&life);
	away = down;
	pthread_mutex_lock(&table_lock);
	for (int i = 0; i < 4096; i++) {
		if (mine[i])
			close(i);
		mine[i] = false;
	}
	pthread_mutex_unlock(&table_lock);
	epoch++;
	domain.state = VOS_DOM_DOWN;
	pthread_rwlock_unlock(&life);
}

void fake_boot(void)
{
	away = false;
}

unsigned fake_requests(void)
{
	return requests;
}

struct vos_lane_client *vos_remote_lane(struct vos_domain *d, int *ret_err)
{
	struct vos_carrier *c = vos_self();
	struct vos_lane_client *l = c->lane[d->index];

	if (away) {
		*ret_err = -ENETDOWN;
		return NULL;
	}
	if (!l) {
		l = c->lane[d->index] = kept(calloc(1, sizeof *l));
		l->data = kept(malloc(DATA));
	}
	pthread_mutex_lock(&table_lock);
	l->d = d;
	if (l->live == 0)
		l->epoch = epoch;
	d->epoch = l->epoch;
	d->state = VOS_DOM_UP;
	pthread_mutex_unlock(&table_lock);
	return l;
}

struct vos_lane_client *vos_remote_lane_try(struct vos_domain *d, int *ret_err)
{
	struct vos_lane_client *l = vos_remote_lane(d, ret_err);

	if (!l)
		*ret_err = -EAGAIN;
	return l;
}

struct vos_domain *vos_lane_domain(const struct vos_lane_client *l) { return l->d; }
uint64_t vos_lane_epoch(const struct vos_lane_client *l) { return l->epoch; }
size_t vos_lane_max(const struct vos_lane_client *l) { (void)l; return 64u << 10; }

void *vos_lane_alloc(struct vos_lane_client *l, size_t len, uint64_t *ret_off)
{
	if (l->used + len > DATA)
		return NULL;
	*ret_off = l->used;
	l->live++;
	l->used += (len + 63) & ~63ul;
	return l->data + *ret_off;
}

void vos_lane_free(struct vos_lane_client *l, void *p)
{
	(void)p;
	if (--l->live == 0)
		l->used = 0;
}

static long sysret(long r)
{
	return r < 0 ? -errno : r;
}

/* Tries the request once.  -EAGAIN with *ret_park ≥ 0: it waits for that descriptor. */
static long try_once(struct vos_lane_client *l, const struct vos_req *q, int *ret_park, short *ret_events, struct vos_cqe *cqe)
{
	const uint64_t *a = q->arg;
	int fd = (int)a[0];
	unsigned char *d = l->data;
	bool wait = fd >= 0 && fd < 4096 && waits[fd];
	struct vos_wire_msg w;
	struct iovec iov;
	struct msghdr h;
	struct stat st;
	long r;

	*ret_park = -1;
	*ret_events = POLLIN;
	switch (q->op) {
	case __NR_socket:
		r = keep(socket((int)a[0], (int)a[1], (int)a[2]));
		if (r >= 0 && fstat((int)r, &st) == 0)
			cqe->aux = st.st_mode;
		return r;
	case __NR_close:
		pthread_mutex_lock(&table_lock);
		r = mine[fd] ? sysret(close(fd)) : -EBADF;
		mine[fd] = false;
		pthread_mutex_unlock(&table_lock);
		return r;
	case __NR_bind:
		return sysret(bind(fd, (void *)(d + a[1]), (socklen_t)a[2]));
	case __NR_listen:
		return sysret(listen(fd, (int)a[1]));
	case __NR_connect:
		r = sysret(connect(fd, (void *)(d + a[1]), (socklen_t)a[2]));
		if (r == -EINPROGRESS && wait) {
			struct pollfd p = { fd, POLLOUT, 0 };

			poll(&p, 1, 1000);
			r = sysret(connect(fd, (void *)(d + a[1]), (socklen_t)a[2]));
			r = r == -EISCONN ? 0 : r;
		}
		return r;
	case __NR_getsockname:
		return sysret(getsockname(fd, (void *)(d + a[1]), (socklen_t *)(void *)(d + a[2])));
	case __NR_setsockopt:
		return sysret(setsockopt(fd, (int)a[1], (int)a[2], d + a[3], (socklen_t)a[4]));
	case __NR_getsockopt:
		return sysret(getsockopt(fd, (int)a[1], (int)a[2], d + a[3], (socklen_t *)(void *)(d + a[4])));
	case __NR_shutdown:
		return sysret(shutdown(fd, (int)a[1]));
	case __NR_accept4:
		r = keep(accept4(fd, a[1] == VOS_NULL ? NULL : (void *)(d + a[1]), a[1] == VOS_NULL ? NULL : (socklen_t *)(void *)(d + a[2]),
				 (int)a[3]));
		cqe->aux = S_IFSOCK | 0777;
		break;
	case __NR_read:
		r = sysret(read(fd, d + a[1], a[2]));
		break;
	case __NR_write:
		*ret_events = POLLOUT;
		r = sysret(write(fd, d + a[1], a[2]));
		break;
	case __NR_pread64:
		return sysret(pread(fd, d + a[1], a[2], (off_t)a[3]));
	case __NR_pwrite64:
		return sysret(pwrite(fd, d + a[1], a[2], (off_t)a[3]));
	case __NR_fsync:
		return sysret(fsync(fd));
	case __NR_sendto:
		*ret_events = POLLOUT;
		r = sysret(sendto(fd, d + a[1], a[2], (int)a[3] | MSG_NOSIGNAL, a[4] == VOS_NULL || a[5] == 0 ? NULL : (void *)(d + a[4]),
				  (socklen_t)a[5]));
		break;
	case __NR_recvfrom:
		wait &= !(a[3] & MSG_DONTWAIT);
		r = sysret(recvfrom(fd, d + a[1], a[2], (int)a[3], a[4] == VOS_NULL ? NULL : (void *)(d + a[4]),
				    a[4] == VOS_NULL ? NULL : (socklen_t *)(void *)(d + a[5])));
		break;
	case __NR_sendmsg:
	case __NR_recvmsg:
		memcpy(&w, d + a[1], sizeof w);
		iov = (struct iovec){ d + w.data_off, w.data_len };
		h = (struct msghdr){
			.msg_name = w.name_len ? d + w.name_off : NULL, .msg_namelen = w.name_len, .msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = w.control_len ? d + w.control_off : NULL, .msg_controllen = w.control_len,
		};
		wait &= !(a[2] & MSG_DONTWAIT);
		if (q->op == __NR_sendmsg) {
			*ret_events = POLLOUT;
			r = sysret(sendmsg(fd, &h, (int)a[2] | MSG_NOSIGNAL));
		} else {
			r = sysret(recvmsg(fd, &h, (int)a[2]));
			if (r >= 0) {
				w.name_len = h.msg_namelen;
				w.control_len = (uint32_t)h.msg_controllen;
				w.msg_flags = (uint32_t)h.msg_flags;
				memcpy(d + a[1], &w, sizeof w);
			}
		}
		break;
	case __NR_poll:
		r = sysret(poll((void *)(d + a[0]), a[1], 0));
		if (r == 0 && (int64_t)a[2] < 0)
			*ret_park = FAKE_LOW - 1; /* looked at again and again */
		return *ret_park >= 0 ? -EAGAIN : r;
	case __NR_epoll_create1:
		return keep(epoll_create1(0));
	case __NR_epoll_ctl:
		return sysret(epoll_ctl(fd, (int)a[1], (int)a[2], (void *)(d + a[3])));
	case __NR_epoll_wait:
		r = sysret(epoll_wait(fd, (void *)(d + a[1]), (int)a[2], 0));
		if (r == 0 && (int64_t)a[3] < 0)
			*ret_park = fd;
		return *ret_park >= 0 ? -EAGAIN : r;
	case VOS_OP_DUP:
		return keep(dup(fd));
	case VOS_OP_EXPORT:
		for (int i = 0; i < 16; i++)
			if (exported[i].fd == 0) {
				memset(exported[i].token, 'A' + i, 16);
				exported[i].fd = dup(fd);
				memcpy(d + a[1], exported[i].token, 16);
				return 0;
			}
		return -ENOSPC;
	case VOS_OP_IMPORT:
		for (int i = 0; i < 16; i++)
			if (exported[i].fd && memcmp(exported[i].token, d + a[0], 16) == 0) {
				cqe->aux = S_IFSOCK | 0777;
				return keep(dup(exported[i].fd));
			}
		return -ENOENT;
	default:
		return -ENOSYS;
	}
	if (r == -EAGAIN && wait)
		*ret_park = fd;
	return r;
}

int vos_remote_begin(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p)
{
	if (l->epoch != epoch)
		return -EPIPE;
	requests++;
	p->lane = l;
	p->done = 0;
	for (int i = 0; i < UNDER_WAY; i++)
		if (!l->run[i].p) {
			l->run[i] = (struct running){ p, *req };
			return 0;
		}
	return -EPROTO;
}

static struct running *find(struct vos_pending *p)
{
	for (int i = 0; i < UNDER_WAY; i++)
		if (p->lane->run[i].p == p)
			return &p->lane->run[i];
	return NULL;
}

/* One look at a request; where it parks. */
static void advance(struct vos_pending *p, struct pollfd *park)
{
	struct running *r = find(p);
	int fd = -1;
	short events = 0;

	*park = (struct pollfd){ .fd = -1 };
	if (!r)
		return;
	pthread_rwlock_rdlock(&life);
	if (p->lane->epoch != epoch) {
		p->cqe = (struct vos_cqe){ .res = vos_domain_error(p->lane->d), .flags = VOS_CQE_DEAD };
	} else {
		memset(&p->cqe, 0, sizeof p->cqe);
		p->cqe.res = try_once(p->lane, &r->req, &fd, &events, &p->cqe);
		if (fd >= 0) {
			*park = (struct pollfd){ .fd = fd, .events = events };
			pthread_rwlock_unlock(&life);
			return;
		}
	}
	pthread_rwlock_unlock(&life);
	p->done = 1;
	r->p = NULL;
}

int vos_remote_wait(struct vos_pending **p, uint32_t n, struct vos_wait *w)
{
	struct pollfd all[256];

	for (;;) {
		uint32_t k = w->nfds;
		uint64_t now = vos_net_now();

		for (uint32_t i = 0; i < k; i++)
			all[i] = w->fds[i];
		for (uint32_t i = 0; i < n; i++) {
			advance(p[i], &all[k]);
			if (p[i]->done)
				return (int)i;
			k += all[k].fd >= 0;
		}
		if (w->interruptible && vos_self()->thread->sig_pending)
			return -VOS_ERESTARTSYS;
		if (now >= w->deadline_ns)
			return -ETIMEDOUT;
		if (w->nfds == 0 && n == 0 && w->deadline_ns == VOS_NEVER && !w->interruptible)
			abort();
		poll(all, k, w->deadline_ns - now < 2000000 ? 1 : 2);
		for (uint32_t i = 0; i < w->nfds; i++)
			if (all[i].revents) {
				for (uint32_t j = 0; j < w->nfds; j++)
					w->fds[j].revents = all[j].revents;
				return VOS_WAIT_NATIVE;
			}
	}
}

void vos_remote_cancel(struct vos_pending *p)
{
	struct running *r = find(p);
	struct pollfd park;

	advance(p, &park);
	if (p->done)
		return;
	p->cqe = (struct vos_cqe){ .res = -ECANCELED };
	p->done = 1;
	r->p = NULL;
}

long vos_remote_call(struct vos_lane_client *l, struct vos_req *req, struct vos_cqe *ret_cqe)
{
	struct vos_pending p = { 0 }, *pp = &p;
	struct vos_wait w = { .deadline_ns = VOS_NEVER, .interruptible = true };
	int r = vos_remote_begin(l, req, &p);

	if (r < 0) {
		p.cqe = (struct vos_cqe){ .res = vos_domain_error(l->d), .flags = VOS_CQE_DEAD };
	} else if (vos_remote_wait(&pp, 1, &w) != 0) {
		vos_remote_cancel(&p);
		if (p.cqe.res == -ECANCELED)
			p.cqe.res = -VOS_ERESTARTSYS;
	}
	if (ret_cqe)
		*ret_cqe = p.cqe;
	return p.cqe.res;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

#define HANDLERS(X) \
	X(socket) X(accept) X(accept4) X(connect) X(bind) X(listen) X(shutdown) X(setsockopt) X(getsockopt) X(sendmsg) X(recvmsg) \
	X(sendmmsg) X(recvmmsg) X(poll) X(ppoll) X(select) X(pselect6) X(epoll_create) X(epoll_create1) X(epoll_ctl) X(epoll_wait) \
	X(epoll_pwait) X(epoll_pwait2) X(io_setup) X(io_destroy) X(io_submit) X(io_cancel) X(io_getevents)
#define DECLARE(n) long vos_call_##n(struct vos_frame *f);
HANDLERS(DECLARE)

long call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	struct vos_frame fr = { .rax = (uint64_t)nr, .rdi = a, .rsi = b, .rdx = c, .r10 = d, .r8 = e, .r9 = f };
	struct vos_ofd *o;
	long r;

	switch (nr) {
#define CASE(n) case __NR_##n: return vos_call_##n(&fr);
	HANDLERS(CASE)
	case __NR_close:
		return vos_fd_close((int)a);
	case __NR_dup:
		return vos_fd_dup((int)a, 0, 0);
	default:
		o = vos_fd_get(a);
		r = o && !o->epoll ? vos_marshal_call(&fr, o) : vos_native(&fr);
		vos_ofd_put(o);
		return r;
	}
}
