/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Path arguments: the quick decisions, by the text alone.  The slow ones: path_walk.c.  The cwd: cwd.c. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "../entry/user.h"
#include "../entry/exe.h"
#include "../rt/rt.h"
#include "path_impl.h"
#include "table.h"

/* The next component of *s: its length, *s at its first byte; 0 at the end. */
size_t vos_path_component(const char **s)
{
	size_t n = 0;

	while (**s == '/')
		++*s;
	while ((*s)[n] && (*s)[n] != '/')
		n++;
	return n;
}

static bool is_dot(const char *s, size_t n)
{
	return n == 1 && s[0] == '.';
}

static bool is_dotdot(const char *s, size_t n)
{
	return n == 2 && s[0] == '.' && s[1] == '.';
}

bool vos_path_has_dotdot(const char *s)
{
	size_t n;

	for (; (n = vos_path_component(&s)) != 0; s += n)
		if (is_dotdot(s, n))
			return true;
	return false;
}

/* How an absolute text lies to one prefix. */
enum { LEX_MISS, LEX_ANCESTOR, LEX_INSIDE, LEX_DOTDOT };

static int lex_match(const char *prefix, size_t prefix_len, const char *text, const char **ret_rest)
{
	const char *want = prefix, *end = prefix + prefix_len;

	for (;;) {
		size_t n, w;

		while (want < end && *want == '/')
			want++;
		if (want == end) {
			*ret_rest = text;
			return LEX_INSIDE;
		}
		for (w = 0; want + w < end && want[w] != '/'; w++)
			;
		while ((n = vos_path_component(&text)) != 0 && is_dot(text, n))
			text += n;
		if (n == 0)
			return LEX_ANCESTOR;
		if (is_dotdot(text, n))
			return LEX_DOTDOT;
		if (n != w || memcmp(text, want, n) != 0)
			return LEX_MISS;
		text += n;
		want += w;
	}
}

struct vos_lex vos_path_lex(const struct vos_policy *y, const char *text)
{
	struct vos_lex l = { .store = NULL };

	for (uint32_t i = 0; i < y->nstores; i++) {
		const char *rest;

		switch (lex_match(y->store[i].prefix, y->store[i].prefix_len, text, &rest)) {
		case LEX_INSIDE:
			l.store = &y->store[i];
			l.rest = rest;
			return l;
		case LEX_DOTDOT:
			l.dotdot = true;
			break;
		case LEX_ANCESTOR:
			l.ancestor = true;
			break;
		}
	}
	return l;
}

struct vos_domain *vos_path_store_domain(const struct vos_policy_store *s)
{
	struct vos_proc *p = vos_proc_self();

	return p->domain[vos_policy_store_index(p->policy, s)];
}

int vos_path_remote(struct vos_path *p, const struct vos_policy_store *s, const char *rest)
{
	size_t len;

	while (*rest == '/')
		rest++;
	len = strlen(rest);
	vos_ofd_put(p->base);
	p->base = NULL;
	p->domain = vos_path_store_domain(s);
	p->is_root = vos_path_only_dots(rest);
	p->itself = p->rewritten = p->ancestor = false;
	p->proc_fd = -1;
	if (len == 0) {
		p->text[0] = '.';
		p->text[1] = 0;
		p->len = 1;
		return 0;
	}
	memmove(p->text, rest, len + 1);
	p->len = (uint16_t)len;
	return 0;
}

bool vos_path_only_dots(const char *s)
{
	size_t n;

	for (; (n = vos_path_component(&s)) != 0; s += n)
		if (!is_dot(s, n))
			return false;
	return true;
}

/* The descriptor itself, or a path that begins at it. */
static int from_descriptor(struct vos_path *p, struct vos_ofd *o, bool itself)
{
	const struct vos_policy *y = vos_proc_self()->policy;

	p->base = o;
	p->domain = o->domain;
	p->itself = itself;
	/* Another prefix lies within this one: only a walk in the program's view finds it. */
	if (!itself && o->domain && o->domain->kind == VOS_KIND_STORE)
		for (uint32_t i = 0; i < y->nstores; i++)
			if (vos_path_store_domain(&y->store[i]) == o->domain && y->store[i].has_inner)
				return vos_path_escape(p);
	return 0;
}

static int absolute(struct vos_path *p)
{
	struct vos_lex l = vos_path_lex(vos_proc_self()->policy, p->text);

	if (l.store && !l.store->has_inner)
		return vos_path_remote(p, l.store, l.rest);
	if (l.store || l.dotdot)
		return vos_path_walk(p, p->text, true);
	p->ancestor = l.ancestor;
	return vos_path_check_native(p, true);
}

static int relative(struct vos_path *p)
{
	uint8_t kind = VOS_FDKIND_NATIVE;
	struct vos_ofd *o;

	if ((int32_t)p->dirfd == AT_FDCWD) {
		o = vos_cwd_get();
	} else {
		kind = vos_fd_kind(vos_proc_self(), (uint32_t)p->dirfd);
		if (kind == VOS_FDKIND_OWN)
			return -EBADF;
		o = vos_fd_get((uint64_t)p->dirfd);
	}
	if (o && o->domain)
		return from_descriptor(p, o, false);
	vos_ofd_put(o);
	if (kind == VOS_FDKIND_DIR || ((int32_t)p->dirfd == AT_FDCWD && vos_cwd_is_ancestor())) {
		char joined[VOS_PATH_BUF * 2];
		struct vos_lex l;
		long n = vos_path_base_text(p->dirfd, joined, VOS_PATH_BUF);

		if (n < 0)
			return 0; /* deleted, or no /proc: nothing of ours can lie below */
		joined[n++] = '/';
		memcpy(joined + n, p->text, p->len + 1);
		l = vos_path_lex(vos_proc_self()->policy, joined);
		if (l.store && !l.store->has_inner)
			return vos_path_remote(p, l.store, l.rest);
		if (l.store || l.dotdot)
			return vos_path_walk(p, joined, true);
		p->ancestor = l.ancestor;
	}
	return vos_path_check_native(p, false);
}

int vos_path_resolve(struct vos_path *p, int64_t dirfd, uint64_t user, unsigned flags)
{
	struct vos_ofd *o = NULL;
	long n;

	memset(p, 0, offsetof(struct vos_path, text));
	p->flags = flags;
	p->dirfd = dirfd;
	p->proc_fd = -1;
	p->text[0] = 0;
	if (user == 0 && (flags & VOS_WALK_NULL_EMPTY)) {
		flags |= VOS_WALK_EMPTY;
	} else {
		n = vos_strncpy_from_user(p->text, (const char *)(uintptr_t)user, VOS_PATH_BUF);
		if (n < 0)
			return (int)n;
		p->len = (uint16_t)n;
	}
	if (!(flags & VOS_WALK_NOFOLLOW) && vos_exe_names(p->text)) {
		/* The kernel's link leads to virtuos-enter. */
		n = vos_fmt(p->text, VOS_PATH_BUF, "%s", vos_exe_path());
		p->len = (uint16_t)n;
		n = absolute(p);
		p->rewritten |= !p->domain;
		return (int)n;
	}
	if (p->text[0] == '/')
		return absolute(p);
	if (p->text[0])
		return relative(p);
	if (!(flags & VOS_WALK_EMPTY))
		return -ENOENT;
	if ((int32_t)dirfd == AT_FDCWD)
		o = user ? vos_cwd_get() : NULL;
	else if (vos_fd_kind(vos_proc_self(), (uint32_t)dirfd) == VOS_FDKIND_OWN)
		return -EBADF;
	else
		o = vos_fd_get((uint64_t)dirfd);
	if (o && o->domain)
		return from_descriptor(p, o, true);
	vos_ofd_put(o);
	return 0;
}

void vos_path_done(struct vos_path *p)
{
	vos_ofd_put(p->base);
	p->base = NULL;
}

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

static void set_arg(struct vos_frame *f, unsigned i, uint64_t v)
{
	uint64_t *reg[6] = { &f->rdi, &f->rsi, &f->rdx, &f->r10, &f->r8, &f->r9 };

	*reg[i] = v;
}

long vos_path_native(struct vos_frame *f, unsigned path_at, struct vos_path *p)
{
	struct vos_frame g;

	if (!p->rewritten)
		return vos_native(f);
	g = *f;
	set_arg(&g, path_at, (uint64_t)VOS_PTR(p->text));
	return vos_native(&g);
}

long vos_path_call(struct vos_frame *f, unsigned path_at, struct vos_path *p, unsigned nr, const uint64_t arg[6])
{
	long r;

	/* Each turn has walked once more; a directory that is moved under us all the time must not hold us for ever. */
	for (unsigned turn = 0; turn < 8; turn++) {
		struct vos_cqe cqe = { 0 };

		if (!p->domain) {
			r = vos_path_native(f, path_at, p);
			if (!vos_path_retry(p, r))
				return r;
			continue;
		}
		vos_self()->counts_remote[f->rax]++;
		r = vos_path_send(nr, arg, p, NULL, &cqe);
		if (!(cqe.flags & VOS_CQE_ESCAPE))
			return r;
		r = vos_path_escape(p);
		if (r < 0)
			return r;
	}
	return -ELOOP;
}

/* Whether o has no name any more, and " (deleted)" is not a part of one. */
static bool is_deleted(struct vos_ofd *o, const char *text, size_t len)
{
	static const char mark[] = " (deleted)";
	uint64_t arg[6] = { 0 };
	struct stat st;

	if (len < sizeof mark - 1 || memcmp(text + len - (sizeof mark - 1), mark, sizeof mark - 1) != 0)
		return false;
	return vos_ofd_call_buf(o, __NR_fstat, arg, 1, &st, 0, sizeof st, NULL) < 0 || st.st_nlink == 0;
}

long vos_path_of(struct vos_ofd *o, char *buf, size_t cap)
{
	uint64_t arg[6] = { 0, 0, VOS_PATH_BUF };
	const char *prefix = o->domain->prefix;
	size_t plen = prefix[1] ? strlen(prefix) : 0;
	char below[VOS_PATH_BUF + 1];
	long n;

	n = vos_ofd_call_buf(o, VOS_OP_PATH, arg, 1, below, 0, VOS_PATH_BUF, NULL);
	if (n < 0)
		return n == -ERANGE ? -ENAMETOOLONG : n;
	if (n >= VOS_PATH_BUF)
		return -EIO;
	if (plen + 1 + (size_t)n + 1 > cap)
		return -ENAMETOOLONG;
	memcpy(buf, prefix, plen);
	if (n || plen == 0)
		buf[plen++] = '/';
	memcpy(buf + plen, below, (size_t)n);
	n += (long)plen;
	buf[n] = 0;
	return is_deleted(o, buf, (size_t)n) ? -ENOENT : n;
}
