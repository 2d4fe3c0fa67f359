/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "interpose/dispatch/table.h"
#include "interpose/entry/window.h"
#include "store.h"

char top[128];
unsigned store_requests;
size_t store_lane = 1 << 20;
struct vos_proc store_proc;
static struct vos_domain domain[VOS_POLICY_STORES];
static struct vos_policy policy;
static int root = -1;

struct vos_lane_client {
	struct vos_domain *d;
	unsigned char *data;
	size_t used;
	unsigned live;
};

/* ---- the runtime's surroundings ----------------------------------------------------------------------------------------- */

long vos_native(struct vos_frame *f)
{
	vos_self()->counts_native[f->rax]++;
	return vos_raw6((long)f->rax, (long)f->rdi, (long)f->rsi, (long)f->rdx, (long)f->r10, (long)f->r8, (long)f->r9);
}

long vos_window6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	return vos_raw6(nr, (long)a, (long)b, (long)c, (long)d, (long)e, (long)f);
}

static long vm(const void *to, const void *from, size_t n, bool write)
{
	struct iovec local = { (void *)(uintptr_t)(write ? from : to), n }, remote = { (void *)(uintptr_t)(write ? to : from), n };

	if (n == 0)
		return 0;
	return vos_raw6(write ? __NR_process_vm_writev : __NR_process_vm_readv, getpid(), VOS_PTR(&local), 1, VOS_PTR(&remote), 1,
			0) == (long)n ? 0 : -EFAULT;
}

long vos_copy_from_user(void *dst, const void *src, size_t n);
long vos_copy_from_user(void *dst, const void *src, size_t n) { return vm(dst, src, n, false); }
long vos_copy_to_region(void *dst, const void *src, size_t n);
long vos_copy_to_region(void *dst, const void *src, size_t n) { return vm(dst, src, n, false); }
long vos_copy_to_user(void *dst, const void *src, size_t n);
long vos_copy_to_user(void *dst, const void *src, size_t n) { return vm(dst, src, n, true); }
long vos_strncpy_from_user(char *dst, const char *src, size_t cap);
long vos_strncpy_from_user(char *dst, const char *src, size_t cap)
{
	for (size_t i = 0; i < cap; i++) {
		if (vm(dst + i, src + i, 1, false) < 0)
			return -EFAULT;
		if (!dst[i])
			return (long)i;
	}
	return -ENAMETOOLONG;
}

bool vos_exe_readlink(uint64_t path, uint64_t buf, uint64_t size, long *ret);
bool vos_exe_readlink(uint64_t path, uint64_t buf, uint64_t size, long *ret) { (void)path, (void)buf, (void)size, (void)ret; return false; }
bool vos_exe_names(const char *path);
bool vos_exe_names(const char *path) { (void)path; return false; }
long vos_unix_name(struct vos_frame *f) { return vos_native(f); }
long vos_unix_sendto(struct vos_frame *f) { return vos_native(f); }
const char *vos_exe_path(void);
const char *vos_exe_path(void) { return NULL; }

/* ---- the domain --------------------------------------------------------------------------------------------------------- */

struct vos_lane_client *vos_remote_lane(struct vos_domain *d, int *ret_err)
{
	static struct vos_lane_client lane[VOS_POLICY_STORES];
	struct vos_lane_client *l = &lane[d->index];

	(void)ret_err;
	l->d = d;
	if (!l->data)
		l->data = malloc(4 << 20);
	return l;
}

struct vos_domain *vos_lane_domain(const struct vos_lane_client *l) { return l->d; }
uint64_t vos_lane_epoch(const struct vos_lane_client *l) { return l->d->epoch; }
size_t vos_lane_max(const struct vos_lane_client *l) { (void)l; return store_lane; }

void *vos_lane_alloc(struct vos_lane_client *l, size_t len, uint64_t *ret_off)
{
	if (len > store_lane || l->used + len > 4 << 20)
		return NULL;
	*ret_off = l->used;
	l->used += (len + 63) & ~63UL;
	l->live++;
	return l->data + *ret_off;
}

void vos_lane_free(struct vos_lane_client *l, void *p)
{
	(void)p;
	if (--l->live == 0)
		l->used = 0;
}

static long confined(int base, const char *path, bool follow, struct vos_cqe *cqe)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), .resolve = RESOLVE_BENEATH };
	long fd = vos_raw4(__NR_openat2, base, VOS_PTR(path), VOS_PTR(&how), sizeof how);

	if (fd >= 0)
		close((int)fd);
	if (fd != -EXDEV)
		return 0;
	cqe->flags = VOS_CQE_ESCAPE;
	return -EXDEV;
}

static bool follows(const struct vos_req *q)
{
	switch (q->op) {
	case __NR_openat:
		return !(q->arg[2] & O_NOFOLLOW) && !((q->arg[2] & O_CREAT) && (q->arg[2] & O_EXCL));
	case __NR_newfstatat:
		return !(q->arg[3] & AT_SYMLINK_NOFOLLOW);
	case __NR_faccessat2: case __NR_fchmodat2: case __NR_truncate: case __NR_statfs:
		return true;
	default:
		return false;
	}
}

static long own_op(struct vos_lane_client *l, const struct vos_req *q, struct vos_cqe *cqe)
{
	char name[64], path[4096], from[4096];
	struct stat st;
	long n, m;

	snprintf(name, sizeof name, "/proc/self/fd/%d", (int)q->arg[0]);
	switch (q->op) {
	case VOS_OP_PATH:
		n = readlink(name, path, sizeof path - 1);
		snprintf(name, sizeof name, "/proc/self/fd/%d", root);
		m = readlink(name, from, sizeof from - 1);
		path[n] = 0;
		n -= m + (n > m);
		memcpy(l->data + q->arg[1], path + m + (path[m] == '/'), (size_t)n + 1);
		return n;
	case VOS_OP_DUP:
		return fcntl((int)q->arg[0], F_DUPFD_CLOEXEC, 700);
	case VOS_OP_REOPEN:
		n = open(name, (int)q->arg[1] | O_CLOEXEC);
		if (n < 0)
			return -errno;
		fstat((int)n, &st);
		cqe->aux = st.st_mode;
		m = fcntl((int)n, F_DUPFD_CLOEXEC, 700);
		close((int)n);
		return m;
	default:
		return -ENOSYS;
	}
}

static long perform(struct vos_lane_client *l, const struct vos_req *q, struct vos_cqe *cqe)
{
	const struct vos_call *row = &vos_calls[q->op];
	uint64_t arg[6];
	const char *path = NULL;
	int base = -1;
	long r;

	for (unsigned i = 0; i < 6; i++) {
		arg[i] = q->arg[i];
		switch (VOS_ARG_KIND(row->arg[i])) {
		case VOS_A_ATFD:
			base = (int32_t)arg[i] == VOS_AT_ROOT ? root : (int)arg[i];
			arg[i] = (uint64_t)base;
			break;
		case VOS_A_PATH:
			path = (char *)l->data + arg[i];
			arg[i] = P(path);
			if (base < 0) /* its base is in arg[5]: this kernel wants a path of its own */
				arg[i] = P(in_top("exp/%s", path));
			break;
		case VOS_A_CSTR: case VOS_A_IN: case VOS_A_OUT: case VOS_A_INS: case VOS_A_OUTS: case VOS_A_IOS:
			arg[i] = arg[i] == VOS_NULL ? 0 : P(l->data + arg[i]);
			break;
		}
	}
	if (path && *path && (r = confined(base < 0 ? root : base, path, follows(q), cqe)) < 0)
		return r;
	r = vos_raw6(q->op, (long)arg[0], (long)arg[1], (long)arg[2], (long)arg[3], (long)arg[4], (long)arg[5]);
	if (q->op == __NR_openat && r >= 0) {
		struct stat st;
		int n = fcntl((int)r, F_DUPFD_CLOEXEC, 700);

		fstat(n, &st);
		close((int)r);
		cqe->aux = st.st_mode;
		r = n;
	}
	return r;
}

long vos_remote_call(struct vos_lane_client *l, struct vos_req *q, struct vos_cqe *ret_cqe)
{
	struct vos_cqe cqe = { 0 };

	store_requests++;
	cqe.res = q->op >= VOS_OP_NULL ? own_op(l, q, &cqe) : perform(l, q, &cqe);
	if (ret_cqe)
		*ret_cqe = cqe;
	return cqe.res;
}

int vos_remote_begin(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p)
{
	struct vos_req q = *req;

	vos_remote_call(l, &q, &p->cqe);
	return 0;
}

int vos_remote_wait(struct vos_pending **p, uint32_t n, struct vos_wait *w)
{
	(void)p, (void)n, (void)w;
	return 0;
}

int vos_remote_file(struct vos_lane_client *l, int32_t rfd)
{
	(void)l, (void)rfd;
	return -EOPNOTSUPP;
}

int vos_remote_segment(struct vos_domain *d, uint64_t dev, uint64_t ino, uint64_t size, struct vos_segment *ret)
{
	(void)d, (void)dev, (void)ino, (void)size, (void)ret;
	return -ENOSYS;
}

void vos_remote_segment_filled(struct vos_domain *d, int hold)
{
	(void)d, (void)hold;
}

void store_reboot(void)
{
	for (uint32_t i = 0; i < store_proc.ndomains; i++)
		domain[i].epoch++;
}

/* ---- the test's side ----------------------------------------------------------------------------------------------------- */

const char *in_top(const char *fmt, ...)
{
	static char buf[4][4400];
	static unsigned turn;
	char *b = buf[turn++ % 4];
	int n = snprintf(b, sizeof buf[0], "%s/", top);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b + n, sizeof buf[0] - (size_t)n, fmt, ap);
	va_end(ap);
	return b;
}

void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static void remove_top(void)
{
	char cmd[200];

	snprintf(cmd, sizeof cmd, "rm -rf %s", top);
	if (system(cmd))
		return;
}

static void start_process(void)
{
	static struct vos_carrier c;
	static struct vos_thread t;

	c.self = &c;
	c.thread = &t;
	c.proc = &store_proc;
	c.pid = (uint32_t)getpid();
	c.tid = (uint32_t)gettid();
	t.carrier = &c;
	vos_raw2(__NR_arch_prctl, ARCH_SET_GS, VOS_PTR(&c));
	store_proc.pid = c.pid;
	store_proc.session_fd = -1;
	store_proc.policy = &policy;
	if (vos_fdmap_init(&store_proc) < 0 || vos_path_init(&store_proc) < 0 || vos_table_init(NULL, NULL) < 0)
		abort();
}

void store_start(bool shadow)
{
	struct rlimit rl = { 1024, 1024 };
	char text[400], err[VOS_POLICY_ERROR];

	setrlimit(RLIMIT_NOFILE, &rl);
	strcpy(top, "/tmp/vos-store-XXXXXX");
	if (!mkdtemp(top))
		abort();
	atexit(remove_top);
	mkdir(in_top("exp"), 0755);
	mkdir(in_top("exp/sub"), 0755);
	mkdir(in_top("host"), 0755);
	if (shadow)
		mkdir(in_top("pre"), 0755);
	put_file(in_top("exp/f"), "domain");
	put_file(in_top("exp/sub/g"), "below");
	put_file(in_top("host/h"), "host");
	root = open(in_top("exp"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	root = fcntl(root, F_DUPFD_CLOEXEC, 600);
	snprintf(text, sizeof text, "store=%s/pre=local:/exp", top);
	if (vos_policy_parse(text, &policy, err) < 0)
		abort();
	for (uint32_t i = 0; i < policy.nstores; i++) {
		store_proc.domain[i] = &domain[i];
		domain[i].index = i;
		domain[i].kind = VOS_KIND_STORE;
		domain[i].epoch = 1;
		domain[i].state = VOS_DOM_UP;
		strcpy(domain[i].name, policy.store[i].domain);
		strcpy(domain[i].prefix, policy.store[i].prefix);
		strcpy(domain[i].root, policy.store[i].root);
	}
	store_proc.ndomains = policy.nstores;
	start_process();
}

long call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t g)
{
	struct vos_frame f = { .rax = (uint64_t)nr, .rdi = a, .rsi = b, .rdx = c, .r10 = d, .r8 = e, .r9 = g };

	vos_dispatch(&f);
	return (long)f.rax;
}
