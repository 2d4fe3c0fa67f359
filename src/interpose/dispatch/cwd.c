/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The working directory and the umask.  A remote cwd is a directory descriptor of its own in the proxy, never the proxy's
 * cwd: a vfork child, which uses its parent's proxy, can so have another one.  The kernel's cwd stays where it was.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "../rt/rt.h"
#include "path_impl.h"
#include "spin.h"

struct vos_cwd {
	_Atomic uint32_t lock;
	struct vos_ofd *_Atomic ofd; /* NULL: native */
	bool ancestor;               /* the native cwd lies on the way to a prefix */
	bool hidden;                 /* the native cwd lies in what a prefix hides: see enter_hidden() */
	uint32_t umask;
};

/* What the proxies were told last.  Of this memory: a vfork child and its parent share the proxies. */
static struct { struct vos_conn *conn; uint32_t mask; } told[VOS_DOMAINS_MAX];

static struct vos_cwd *cwd_of(const struct vos_proc *p)
{
	return p->cwd;
}

/* ---- after a reboot of the domain the cwd is opened again by its path -------------------------------------------------- */

static void cwd_release(struct vos_ofd *o)
{
	vos_free(o->net);
	o->net = NULL;
}

/* A directory below the root of d, for a cwd: its remote descriptor or negative errno; -ENOTDIR. */
static long open_dir(struct vos_lane_client *lane, int64_t base, const char *rel)
{
	struct vos_req req = { .op = __NR_openat, .arg = { (uint64_t)base, 0, O_PATH | O_DIRECTORY | O_CLOEXEC } };
	size_t len = strlen(rel) + 1;
	char *mem = vos_lane_alloc(lane, len, &req.arg[1]);
	long r;

	if (!mem)
		return -ENOMEM;
	memcpy(mem, rel, len);
	r = vos_remote_call(lane, &req, NULL);
	vos_lane_free(lane, mem);
	return r;
}

static int cwd_revive(struct vos_ofd *o, struct vos_lane_client *lane)
{
	const char *path = o->net;
	long rfd;

	if (!path)
		return -EIO;
	path += o->domain->prefix[1] ? strlen(o->domain->prefix) : 0;
	while (*path == '/')
		path++;
	rfd = open_dir(lane, VOS_AT_ROOT, *path ? path : ".");
	if (rfd < 0)
		return (int)rfd;
	vos_ofd_rebind(o, (int32_t)rfd, vos_lane_epoch(lane));
	return 0;
}

static const struct vos_ofd_family cwd_family = { .id = VOS_FAMILY_CWD, .release = cwd_release, .revive = cwd_revive };

/* ---- the cwd ------------------------------------------------------------------------------------------------------------ */

static void look_at_native(struct vos_proc *p, struct vos_cwd *c)
{
	char buf[VOS_PATH_BUF];
	long n;

	c->ancestor = c->hidden = false;
	if (!p->policy || !p->policy->nstores)
		return;
	n = vos_path_base_text(AT_FDCWD, buf, sizeof buf);
	if (n < 0)
		return;
	if (n == 0) {
		buf[0] = '/';
		n = 1;
	}
	c->ancestor = vos_policy_is_ancestor(p->policy, buf, (size_t)n);
	c->hidden = vos_policy_match(p->policy, buf, (size_t)n) != NULL;
}

/*
 * Started in a directory that a prefix hides: a person who says `cd /data; virtuos run --store=/data=…` means the domain's.
 */
static void enter_hidden(struct vos_proc *p, struct vos_cwd *c)
{
	char buf[VOS_PATH_BUF];
	const struct vos_policy_store *s;
	long n = vos_path_base_text(AT_FDCWD, buf, sizeof buf);
	struct vos_lane_client *lane;
	struct vos_domain *d;
	const char *rel;
	long rfd;
	int err;

	c->hidden = false;
	s = n > 0 ? vos_policy_match(p->policy, buf, (size_t)n) : NULL;
	if (!s)
		return;
	d = vos_path_store_domain(s);
	lane = vos_remote_lane(d, &err);
	if (!lane)
		return;
	for (rel = buf + s->prefix_len; *rel == '/'; rel++)
		;
	rfd = open_dir(lane, VOS_AT_ROOT, *rel ? rel : ".");
	if (rfd >= 0) {
		struct vos_ofd *o = vos_ofd_new(d, (int32_t)rfd, S_IFDIR, O_PATH);

		if (o)
			vos_cwd_set(o);
	}
}

struct vos_ofd *vos_cwd_get(void)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_cwd *c = cwd_of(p);
	struct vos_ofd *o;

	if (!c)
		return NULL; /* no policy: everything is native */
	if (c->hidden)
		enter_hidden(p, c);
	if (!atomic_load_explicit(&c->ofd, memory_order_relaxed))
		return NULL;
	vos_spin_lock(&c->lock);
	o = c->ofd;
	if (o)
		vos_ofd_ref(o);
	vos_spin_unlock(&c->lock);
	return o;
}

bool vos_cwd_is_ancestor(void)
{
	return cwd_of(vos_proc_self())->ancestor;
}

int vos_cwd_set(struct vos_ofd *o)
{
	struct vos_proc *p = vos_proc_self();
	struct vos_cwd *c = cwd_of(p);
	char path[VOS_PATH_BUF];
	struct vos_ofd *old;

	c->ancestor = c->hidden = false;
	if (!o)
		look_at_native(p, c);
	if (!o)
		c->hidden = false; /* it came here by itself: through a descriptor */
	if (o) {
		o->family = &cwd_family;
		o->net = vos_path_of(o, path, sizeof path) > 0 ? vos_strdup(path) : NULL;
	}
	vos_spin_lock(&c->lock);
	old = c->ofd;
	c->ofd = o;
	vos_spin_unlock(&c->lock);
	vos_ofd_put(old);
	return 0;
}

uint32_t vos_path_domains(const struct vos_proc *p)
{
	struct vos_cwd *c = cwd_of(p);
	struct vos_ofd *o = c ? atomic_load(&c->ofd) : NULL;

	return o ? 1U << o->domain->index : 0;
}

/* ---- umask -------------------------------------------------------------------------------------------------------------- */

uint32_t vos_cwd_umask(uint32_t mask, bool set)
{
	struct vos_cwd *c = cwd_of(vos_proc_self());
	uint32_t old = c ? c->umask : 0;

	if (c && set)
		c->umask = mask & 0777;
	return old;
}

long vos_cwd_sync_umask(struct vos_domain *d)
{
	uint32_t mask = cwd_of(vos_proc_self())->umask;
	struct vos_req req = { .op = __NR_umask, .arg = { mask } };
	struct vos_lane_client *lane;
	int err;
	long r;

	lane = vos_remote_lane(d, &err);
	if (!lane)
		return err;
	if (told[d->index].conn == d->conn && told[d->index].mask == mask)
		return 0;
	r = vos_remote_call(lane, &req, NULL);
	if (r < 0)
		return r;
	told[d->index].conn = d->conn;
	told[d->index].mask = mask;
	return 0;
}

/* ---- life of a process --------------------------------------------------------------------------------------------------- */

int vos_path_init(struct vos_proc *p)
{
	struct vos_cwd *c = vos_alloc(sizeof *c);

	if (!c)
		return -ENOMEM;
	c->umask = (uint32_t)vos_raw1(__NR_umask, 0);
	vos_raw1(__NR_umask, c->umask);
	p->cwd = c;
	look_at_native(p, c);
	vos_ofd_family_add(&cwd_family);
	return 0;
}

void vos_path_fork_child(struct vos_proc *p)
{
	struct vos_cwd *c = cwd_of(p);

	c->lock = 0;
	/* vos_fdmap_fork_child() counted descriptors only. */
	if (c->ofd)
		vos_ofd_ref(c->ofd);
}

int vos_path_vfork(struct vos_proc *child, struct vos_proc *parent)
{
	struct vos_cwd *c = vos_alloc(sizeof *c), *from = cwd_of(parent);

	if (!c)
		return -ENOMEM;
	vos_spin_lock(&from->lock);
	c->ofd = from->ofd;
	c->ancestor = from->ancestor;
	c->hidden = from->hidden;
	c->umask = from->umask;
	if (c->ofd)
		vos_ofd_ref(c->ofd);
	vos_spin_unlock(&from->lock);
	child->cwd = c;
	return 0;
}

void vos_path_drop(struct vos_proc *p)
{
	struct vos_cwd *c = cwd_of(p);

	if (!c)
		return;
	vos_ofd_put(c->ofd);
	vos_free(c);
	p->cwd = NULL;
}

struct saved_cwd {
	uint32_t remote, domain;
	int32_t rfd;
	uint32_t len;                /* of the path that follows, with its padding to 8 */
	uint64_t epoch;
};

int vos_path_save(struct vos_proc *p, int fd)
{
	struct { struct saved_cwd s; char path[VOS_PATH_BUF + 8]; } r;
	struct vos_ofd *o = vos_cwd_get();

	(void)p;
	memset(&r.s, 0, sizeof r.s);
	if (o) {
		r.s.remote = 1;
		r.s.domain = o->domain->index;
		r.s.rfd = o->rfd;
		r.s.epoch = o->epoch;
		if (o->net) {
			size_t n = strlen(o->net) + 1;

			memcpy(r.path, o->net, n);
			r.s.len = (uint32_t)((n + 7) & ~7UL);
		}
		vos_ofd_put(o);
	}
	if (vos_raw3(__NR_write, fd, VOS_PTR(&r), (long)(sizeof r.s + r.s.len)) != (long)(sizeof r.s + r.s.len))
		return -ENOSPC;
	return 0;
}

int vos_path_load(struct vos_proc *p, const void *data, size_t len, size_t *ret_used)
{
	const struct saved_cwd *s = data;
	struct vos_cwd *c = cwd_of(p);

	if (len < sizeof *s || s->len > len - sizeof *s)
		return -EINVAL;
	if (c && s->remote && s->domain < p->ndomains) {
		struct vos_ofd *o = vos_ofd_new(p->domain[s->domain], s->rfd, S_IFDIR, O_PATH);

		if (!o)
			return -ENOMEM;
		o->epoch = s->epoch;
		o->family = &cwd_family;
		o->net = s->len ? vos_strdup((const char *)(s + 1)) : NULL;
		vos_ofd_put(c->ofd);
		c->ofd = o;
		c->ancestor = c->hidden = false;
	}
	*ret_used = sizeof *s + s->len;
	return 0;
}
