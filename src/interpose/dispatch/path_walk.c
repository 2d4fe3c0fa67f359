/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paths component by component, in the program's view, where the text alone does not tell.
 *
 * A native path can lead into a prefix through a symlink or "..".  Whether it does is asked of this kernel with one
 * openat2(RESOLVE_NO_SYMLINKS): when that meets no symlink the text is the truth.  Only then are components read one by one.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include "path_impl.h"

#define LINKS_MAX 40             /* as Linux */

struct walk {
	const struct vos_policy *policy;
	unsigned links;
	bool follow_last;
	bool whole;
	bool crossed;                /* was inside a prefix at some point */
	size_t len;
	char cur[VOS_PATH_BUF + 256];   /* where we are: absolute, canonical; "" for the root */
	char rest[2 * VOS_PATH_BUF];    /* what is still to be walked */
	char link[VOS_PATH_BUF];
};

static bool is_dot(const char *s, size_t n)
{
	return n == 1 && s[0] == '.';
}

static bool is_dotdot(const char *s, size_t n)
{
	return n == 2 && s[0] == '.' && s[1] == '.';
}

bool vos_path_shadowed(void)
{
	static _Atomic uint32_t known; /* 1: no prefix exists here; 2: some does.  Policy does not change in a process. */
	const struct vos_policy *y = vos_proc_self()->policy;
	uint32_t k = atomic_load_explicit(&known, memory_order_relaxed);

	if (k == 0) {
		k = 1;
		for (uint32_t i = 0; i < y->nstores; i++)
			if (vos_raw4(__NR_faccessat2, AT_FDCWD, VOS_PTR(y->store[i].prefix), 0, AT_SYMLINK_NOFOLLOW) == 0)
				k = 2;
		atomic_store_explicit(&known, k, memory_order_relaxed);
	}
	return k == 2;
}

long vos_path_base_text(int64_t dirfd, char *buf, size_t cap)
{
	char name[40] = "/proc/self/fd/";
	char digits[12];
	uint32_t fd = (uint32_t)dirfd;
	size_t d = 0, at = 14;
	long n;

	if ((int32_t)dirfd == AT_FDCWD) {
		n = vos_raw2(__NR_getcwd, VOS_PTR(buf), (long)cap);
		if (n > 0)
			n--; /* the kernel counts the NUL */
	} else {
		do
			digits[d++] = (char)('0' + fd % 10);
		while ((fd /= 10) != 0);
		while (d)
			name[at++] = digits[--d];
		name[at] = 0;
		n = vos_raw4(__NR_readlinkat, AT_FDCWD, VOS_PTR(name), VOS_PTR(buf), (long)cap - 1);
	}
	if (n < 0)
		return n;
	if (n == 0 || buf[0] != '/' || (size_t)n >= cap - 1)
		return -ENOENT; /* "(unreachable)…", or not a file */
	if (n == 1)
		n = 0;
	buf[n] = 0;
	return n;
}

/* ---- the question whether a walk is needed ------------------------------------------------------------------------------ */

/* 0: no symlink on the way (also when a component is missing); -ELOOP: there is one; -ENOSYS and others: unknown. */
static long no_symlinks(int64_t dirfd, const char *path, bool follow_last)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | (follow_last ? 0U : (unsigned)O_NOFOLLOW), .resolve = RESOLVE_NO_SYMLINKS };
	long fd = vos_raw4(__NR_openat2, dirfd, VOS_PTR(path), VOS_PTR(&how), sizeof how);

	if (fd < 0)
		return fd;
	vos_raw1(__NR_close, fd);
	return 0;
}

static bool begins(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* Through /proc and /dev/fd a native path reaches remote descriptors. */
static bool may_be_magic(const char *s)
{
	const struct vos_proc *p = vos_proc_self();

	return (begins(s, "/proc/") || begins(s, "/dev/fd") || begins(s, "/dev/std")) && (vos_fdmap_any(p) || vos_path_domains(p));
}

/* The program's path made absolute; p->text may be relative. */
static long full_text(const struct vos_path *p, char *buf, size_t cap)
{
	long n = 0;

	if (p->text[0] != '/') {
		n = vos_path_base_text(p->dirfd, buf, VOS_PATH_BUF);
		if (n < 0)
			return n;
		buf[n++] = '/';
	}
	if ((size_t)n + p->len + 1 > cap)
		return -ENAMETOOLONG;
	memcpy(buf + n, p->text, p->len + 1U);
	return n + p->len;
}

static int walk_text(struct vos_path *p)
{
	char full[2 * VOS_PATH_BUF];

	/* No path of its own (deleted, or not a directory): this kernel knows best what to answer. */
	if (full_text(p, full, sizeof full) < 0)
		return 0;
	return vos_path_walk(p, full, true);
}

int vos_path_check_native(struct vos_path *p, bool abs)
{
	bool dotdot = vos_path_has_dotdot(p->text);
	long r;

	if (abs && may_be_magic(p->text))
		return walk_text(p);
	if (!dotdot && !vos_path_shadowed()) {
		p->unsure = true;
		return 0;
	}
	r = no_symlinks(abs ? AT_FDCWD : p->dirfd, p->text, !(p->flags & VOS_WALK_NOFOLLOW));
	if (!dotdot && (r == 0 || r == -ENOENT || r == -ENOTDIR || r == -EACCES || r == -EBADF || r == -ENAMETOOLONG))
		return 0;
	return walk_text(p);
}

bool vos_path_retry(struct vos_path *p, long err)
{
	if (!p->unsure || p->domain)
		return false;
	if (err != -ENOENT && err != -ENOTDIR && err != -ELOOP && err != -EACCES)
		return false;
	p->unsure = false;
	if (no_symlinks(p->text[0] == '/' ? AT_FDCWD : p->dirfd, p->text, !(p->flags & VOS_WALK_NOFOLLOW)) != -ELOOP)
		return false;
	return walk_text(p) == 0 && (p->domain || p->rewritten);
}

/* ---- the walk ------------------------------------------------------------------------------------------------------------ */

static const struct vos_policy_store *inside(const struct walk *w)
{
	return vos_policy_match(w->policy, w->len ? w->cur : "/", w->len ? w->len : 1);
}

/* The part of cur below the prefix, relative. */
static const char *below(const struct walk *w, const struct vos_policy_store *s)
{
	const char *b = w->cur + s->prefix_len;

	while (*b == '/')
		b++;
	return b;
}

static int append(struct walk *w, const char *name, size_t n)
{
	if (w->len + 1 + n + 1 > VOS_PATH_BUF)
		return -ENAMETOOLONG;
	w->cur[w->len] = '/';
	memcpy(w->cur + w->len + 1, name, n);
	w->len += 1 + n;
	w->cur[w->len] = 0;
	return 0;
}

static void parent(struct walk *w)
{
	while (w->len && w->cur[--w->len] != '/')
		;
	w->cur[w->len] = 0;
}

/* The target of cur when it is a symlink: its length; 0 when it is none; negative errno. */
static long read_link(struct walk *w)
{
	const struct vos_policy_store *s = inside(w);
	struct vos_lane_client *lane;
	struct vos_domain *d;
	struct vos_req req = { .op = __NR_readlinkat };
	const char *rel;
	size_t len;
	int err;
	char *mem;
	long n;

	if (!s) {
		n = vos_raw4(__NR_readlinkat, AT_FDCWD, VOS_PTR(w->cur), VOS_PTR(w->link), VOS_PATH_BUF - 1);
		return n == -EINVAL ? 0 : n;
	}
	rel = below(w, s);
	len = strlen(rel) + 1;
	if (len == 1)
		return 0;
	d = vos_path_store_domain(s);
	lane = vos_remote_lane(d, &err);
	if (!lane)
		return err;
	mem = vos_lane_alloc(lane, 2 * VOS_PATH_BUF, &req.arg[1]);
	if (!mem)
		return -ENOMEM;
	memcpy(mem, rel, len);
	req.arg[0] = (uint64_t)VOS_AT_ROOT;
	req.arg[2] = req.arg[1] + VOS_PATH_BUF;
	req.arg[3] = VOS_PATH_BUF - 1;
	n = vos_remote_call(lane, &req, NULL);
	if (n > 0) {
		n = n < VOS_PATH_BUF ? n : VOS_PATH_BUF - 1;
		memcpy(w->link, mem + VOS_PATH_BUF, (size_t)n);
	}
	vos_lane_free(lane, mem);
	return n == -EINVAL ? 0 : n;
}

/* The link's target stands before what is left. */
static int expand(struct walk *w, size_t n)
{
	size_t left = strlen(w->rest);

	if (++w->links > LINKS_MAX)
		return -ELOOP;
	if (n + left + 2 > sizeof w->rest)
		return -ENAMETOOLONG;
	memmove(w->rest + n + (left != 0), w->rest, left + 1);
	memcpy(w->rest, w->link, n);
	if (left)
		w->rest[n] = '/';
	if (w->link[0] == '/')
		w->len = 0;
	else
		parent(w);
	w->cur[w->len] = 0;
	return 0;
}

/* /proc/<our pid>/…: the number at the end of cur when cur is "/proc/PID/fd/N"; -1: not such a path; -2: the cwd link. */
static long magic(const struct walk *w)
{
	const char *s = w->cur;
	uint64_t pid = 0, fd = 0;

	if (!begins(s, "/proc/"))
		return -1;
	for (s += 6; *s >= '0' && *s <= '9'; s++)
		pid = pid * 10 + (uint64_t)(*s - '0');
	if (begins(s, "/task/"))
		for (s += 6; *s >= '0' && *s <= '9'; s++)
			;
	if (pid != vos_self()->pid)
		return -1;
	if (strcmp(s, "/cwd") == 0)
		return -2;
	if (!begins(s, "/fd/") || s[4] == 0)
		return -1;
	for (s += 4; *s >= '0' && *s <= '9'; s++)
		fd = fd * 10 + (uint64_t)(*s - '0');
	return *s || fd >= VOS_FDS_MAX ? -1 : (long)fd;
}

/* The walk ends at a descriptor of ours: `rest` follows it, or it is meant itself. */
static int end_at(struct vos_path *p, struct walk *w, struct vos_ofd *o)
{
	const char *rest = w->rest;

	while (*rest == '/')
		rest++;
	vos_ofd_put(p->base);
	p->base = o;
	p->domain = o->domain;
	p->itself = *rest == 0;
	p->len = (uint16_t)strlen(rest);
	if (p->len >= VOS_PATH_BUF)
		return -ENAMETOOLONG;
	memcpy(p->text, rest, p->len + 1U);
	return 0;
}

/* What is left is `rest`, at cur: native or remote by cur. */
static int end(struct vos_path *p, struct walk *w, const char *rest)
{
	const struct vos_policy_store *s = inside(w);
	size_t n;

	while (*rest == '/' && rest[1] == '/')
		rest++;
	if (s) {
		const char *b = below(w, s);
		size_t blen = strlen(b);

		n = strlen(rest);
		if (blen + n + 2 > VOS_PATH_BUF)
			return -ENAMETOOLONG;
		memcpy(w->link, b, blen);
		if (blen && n && rest[0] != '/')
			w->link[blen++] = '/';
		memcpy(w->link + blen, rest, n + 1);
		vos_path_remote(p, s, w->link);
		return 0;
	}
	vos_ofd_put(p->base);
	p->base = NULL;
	p->domain = NULL;
	p->itself = false;
	p->ancestor = vos_policy_is_ancestor(w->policy, w->len ? w->cur : "/", w->len ? w->len : 1);
	if (!w->crossed)
		return 0; /* this kernel finds the same with the program's own text */
	if (w->len + strlen(rest) + 2 > VOS_PATH_BUF)
		return -ENAMETOOLONG;
	memcpy(p->text, w->cur, w->len);
	p->len = (uint16_t)w->len;
	if (p->len == 0 || (*rest && *rest != '/'))
		p->text[p->len++] = '/';
	memcpy(p->text + p->len, rest, strlen(rest) + 1);
	p->len = (uint16_t)(p->len + strlen(rest));
	p->rewritten = true;
	return 0;
}

/* A link of /proc/PID, whose text is not its meaning; /proc/self and /proc/mounts are ordinary ones. */
static bool is_magic(const struct walk *w, size_t len)
{
	const char *s = w->cur;

	if (!begins(s, "/proc/"))
		return false;
	for (s += 6; *s && *s != '/'; s++)
		;
	return *s || (len && w->link[0] == '/');
}

/* One component of `rest`.  1: go on; 0: p is settled; negative errno. */
static int step(struct vos_path *p, struct walk *w)
{
	const char *name = w->rest;
	const char *after;
	const struct vos_policy_store *s;
	size_t n = vos_path_component(&name);
	bool last, slash;
	long fd, t;
	int err;

	if (n == 0)
		return end(p, w, w->rest[0] ? "/" : "");
	after = name + n;
	last = vos_path_component(&after) == 0;
	slash = name[n] == '/';
	if (is_dot(name, n) || is_dotdot(name, n)) {
		if (n == 2)
			parent(w);
		/* "dir/." is a directory or an error, as "dir/" is. */
		memmove(w->rest, last ? "/" : after, last ? 2 : strlen(after) + 1);
		return 1;
	}
	err = append(w, name, n);
	if (err < 0)
		return err;
	s = inside(w);
	if (s)
		w->crossed = true;
	/* A prefix and what leads to it are directories, whatever this kernel has there. */
	if ((s && w->len == s->prefix_len) || vos_policy_is_ancestor(w->policy, w->cur, w->len))
		goto next;
	if (s && w->whole && !s->has_inner)
		return end(p, w, name + n);
	fd = s ? -1 : magic(w);
	if (fd != -1) {
		struct vos_ofd *o = fd == -2 ? vos_cwd_get() : vos_fd_get((uint64_t)fd);

		if (o && !o->domain) {
			vos_ofd_put(o);
			o = NULL;
		}
		if (o && last && !slash && !w->follow_last) {
			p->proc_fd = fd == -2 ? AT_FDCWD : (int)fd;
			vos_ofd_put(p->base);
			p->base = o;
			p->domain = NULL; /* lstat and the like: this kernel's own link */
			return 0;
		}
		if (o) {
			memmove(w->rest, name + n, strlen(name + n) + 1);
			return end_at(p, w, o);
		}
	}
	if (last && !slash && !w->follow_last)
		goto next;
	t = read_link(w);
	if (t < 0) /* missing or forbidden: the call itself will say so, at this place */
		return t == -ENOENT || t == -EACCES || t == -ENOTDIR ? end(p, w, name + n) : (int)t;
	if (t > 0 && !s && is_magic(w, (size_t)t) && (last || w->link[0] != '/'))
		return end(p, w, name + n);
	if (t > 0) {
		memmove(w->rest, name + n, strlen(name + n) + 1);
		return expand(w, (size_t)t) < 0 ? -ELOOP : 1;
	}
next:
	memmove(w->rest, name + n, strlen(name + n) + 1);
	return 1;
}

int vos_path_walk(struct vos_path *p, const char *path, bool whole)
{
	struct walk w;
	int r;

	if (strlen(path) >= sizeof w.rest)
		return -ENAMETOOLONG;
	w.policy = vos_proc_self()->policy;
	w.links = 0;
	w.whole = whole;
	w.follow_last = !(p->flags & VOS_WALK_NOFOLLOW);
	w.len = 0;
	w.cur[0] = 0;
	w.crossed = false;
	memcpy(w.rest, path, strlen(path) + 1);
	while ((r = step(p, &w)) > 0)
		;
	p->walked = true;
	p->unsure = false;
	return r;
}

int vos_path_escape(struct vos_path *p)
{
	char full[2 * VOS_PATH_BUF];
	const struct vos_domain *d = p->domain;
	size_t n;

	if (p->itself)
		return -EXDEV;
	if (p->base) {
		long r = vos_path_of(p->base, full, VOS_PATH_BUF);

		if (r < 0)
			return (int)r;
		n = (size_t)r;
	} else {
		n = d->prefix[1] ? strlen(d->prefix) : 0;
		memcpy(full, d->prefix, n);
	}
	full[n++] = '/';
	memcpy(full + n, p->text, p->len + 1U);
	return vos_path_walk(p, full, false);
}
