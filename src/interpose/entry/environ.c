/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <virtuos/env.h>
#include <virtuos/raw.h>
#include <virtuos/err.h>
#include "../rt/rt.h"
#include "environ.h"
#include "user.h"

#define PRELOAD   "LD_PRELOAD="
#define WORDS_MAX 16
#define STRINGS_MAX (1u << 20)

static char *words[WORDS_MAX];
static unsigned nwords;
static char *self_path, *self_dir;
static bool preloaded;

static bool has_name(const char *w, const char *name)
{
	size_t n = strlen(name);

	return strncmp(w, name, n) == 0 && w[n] == '=';
}

static bool ours(const char *w)
{
	static const char *const names[] = VOS_ENV_ALL;

	if (strncmp(w, "VIRTUOS", 7) != 0)
		return false;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (has_name(w, names[i]))
			return true;
	return false;
}

/* The element of a preload list that is this library, by the name of the file. */
static const char *own_element(const char *list, size_t *ret_len)
{
	while (*list) {
		size_t n = strcspn(list, ": ");
		const char *slash = memrchr(list, '/', n);
		const char *base = slash ? slash + 1 : list;

		if ((size_t)(list + n - base) == strlen("libvirtuos.so") && memcmp(base, "libvirtuos.so", 13) == 0) {
			*ret_len = n;
			return list;
		}
		list += n + (list[n] != 0);
	}
	return NULL;
}

/* Brought in by other means than an absolute name in LD_PRELOAD: the kernel knows what is mapped here. */
static char *path_from_maps(const void *self)
{
	char buf[8192];
	size_t have = 0;
	char *found = NULL;
	long fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR("/proc/self/maps"), O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return NULL;
	while (!found) {
		long n = vos_raw3(SYS_read, fd, VOS_PTR(buf + have), (long)(sizeof buf - 1 - have));
		char *line = buf, *end;

		if (n <= 0)
			break;
		have += (size_t)n;
		buf[have] = 0;
		while ((end = strchr(line, '\n')) != NULL) {
			uint64_t lo = 0, hi = 0, *into = &lo;
			const char *s = line;

			*end = 0;
			for (; *s && *s != ' '; s++) {
				if (*s == '-')
					into = &hi;
				else
					*into = *into << 4 | (uint64_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
			}
			s = strchr(line, '/');
			if (s && (uint64_t)(uintptr_t)self >= lo && (uint64_t)(uintptr_t)self < hi) {
				found = vos_strdup(s);
				break;
			}
			line = end + 1;
		}
		have = strlen(line);
		memmove(buf, line, have + 1);
		if (have == sizeof buf - 1)
			break;
	}
	vos_raw1(SYS_close, fd);
	return found;
}

static void remember_self(const char *list, const void *self)
{
	size_t n;
	const char *own = list ? own_element(list, &n) : NULL;
	char *slash;

	preloaded |= own != NULL;
	if (own && own[0] == '/') {
		self_path = vos_alloc(n + 1);
		if (self_path)
			memcpy(self_path, own, n);
	} else {
		self_path = path_from_maps(self);
	}
	if (!self_path)
		return;
	self_dir = vos_strdup(self_path);
	slash = self_dir ? strrchr(self_dir, '/') : NULL;
	if (slash)
		*slash = 0;
	if (slash && strcmp(slash + 1, "virtuos-enter") == 0) {
		/* This image is a statically linked program; those that it starts need the library. */
		vos_free(self_path);
		self_path = vos_alloc(strlen(self_dir) + sizeof VOS_LIBDIR + 32);
		if (!self_path)
			return;
		vos_fmt(self_path, strlen(self_dir) + 32, "%s/libvirtuos.so", self_dir);
		if (vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(self_path), 4 /* R_OK */, 0) < 0)
			vos_fmt(self_path, sizeof VOS_LIBDIR + 32, "%s/libvirtuos.so", VOS_LIBDIR);
	}
}

/* Takes this library out of LD_PRELOAD's value, in place; false when nothing is left. */
static bool scrub_preload(char *word)
{
	char *list = word + strlen(PRELOAD);
	size_t n;
	const char *own;

	while ((own = own_element(list, &n)) != NULL) {
		char *at = list + (own - list), *rest = at + n;

		if (*rest)
			rest++;
		else if (at > list)
			at--;
		memmove(at, rest, strlen(rest) + 1);
	}
	return *list != 0;
}

/*
 * The words between the end of the environment and where it was: the C library knows the auxiliary vector by its address, so that
 * stays, and who walks there from the environment meets entries that say nothing.  An odd word ends the walk: Go
 * then asks /proc.  VOS_ENV_PAD spares it that.
 */
static void fill_gap(char **to, char **end)
{
	for (*to++ = NULL; to < end; to += 2) {
		to[0] = (end - to) % 2 ? (char *)(uintptr_t)AT_IGNORE : NULL;
		to[1] = NULL;
	}
	*end = NULL;
}

void vos_environ_take(char **envp, const void *self)
{
	char **to = envp, **from;
	bool preload_seen = false;

	for (from = envp; *from; from++) {
		char *w = *from;

		if (ours(w)) {
			/* The state is for this image alone. */
			if (nwords < WORDS_MAX && !has_name(w, VOS_ENV_STATE) && !has_name(w, VOS_ENV_PAD))
				words[nwords++] = w;
			continue;
		}
		if (strncmp(w, PRELOAD, strlen(PRELOAD)) == 0 && !preload_seen) {
			preload_seen = true;
			remember_self(w + strlen(PRELOAD), self);
			if (!scrub_preload(w))
				continue;
		}
		*to++ = w;
	}
	if (!self_path)
		remember_self(NULL, self);
	/* The program may write over its environment (setproctitle): keep copies. */
	for (unsigned i = 0; i < nwords; i++)
		words[i] = vos_strdup(words[i]);
	fill_gap(to, from);
}

bool vos_environ_preloaded(void)
{
	return preloaded;
}

const char *vos_environ_self(void)
{
	return self_path;
}

const char *vos_environ_dir(void)
{
	return self_dir;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return a[n] && strncmp(a, b, n + 1) == 0;
}

int vos_environ_make(struct vos_environ *e, unsigned long user_envp, char *const *extra, bool preload)
{
	size_t n = 0, cap = 0, own;
	uint64_t p;
	char start[32];
	bool given[WORDS_MAX] = { false }, odd = false; /* the number of words that will be taken out again */

	*e = (struct vos_environ){ 0 };
	if (user_envp)
		for (;; n++) {
			if (vos_get_user64(&p, user_envp + 8 * n) < 0)
				return -EFAULT;
			if (!p)
				break;
			if (n > STRINGS_MAX)
				return -E2BIG;
		}
	cap = n + nwords + 16;
	e->v = vos_alloc(cap * sizeof *e->v);
	if (!e->v)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; user_envp; i++) {
		if (vos_get_user64(&p, user_envp + 8 * i) < 0)
			goto fault;
		if (!p || n + nwords + 15 >= cap)
			break;
		e->v[n] = (char *)(uintptr_t)p;
		if (vos_strncpy_from_user(start, e->v[n], sizeof start) == -EFAULT)
			goto fault;
		start[sizeof start - 1] = 0;
		if (ours(start)) {
			/* What the program itself says to its child counts. */
			odd = !odd;
			for (unsigned w = 0; w < nwords; w++)
				given[w] |= same_name(words[w], start);
		} else if (preload && self_path && strncmp(start, PRELOAD, strlen(PRELOAD)) == 0 && !e->preload) {
			char *list = vos_alloc(65536 + strlen(self_path) + 32);
			size_t at;
			long len;

			if (!list)
				goto nomem;
			at = (size_t)vos_fmt(list, strlen(self_path) + 32, PRELOAD "%s", self_path);
			list[at] = ':';
			len = vos_strncpy_from_user(list + at + 1, e->v[n] + strlen(PRELOAD), 65536);
			if (len < 0) {
				vos_free(list);
				if (len == -EFAULT)
					goto fault;
				n++;
				continue;
			}
			if (len == 0)
				list[at] = 0;
			e->preload = list;
			if (own_element(list + at + 1, &own))
				memmove(list + strlen(PRELOAD), list + at + 1, strlen(list + at + 1) + 1);
			e->v[n] = list;
		}
		n++;
	}
	if (preload && self_path && !e->preload) {
		e->preload = vos_alloc(strlen(self_path) + 32);
		if (!e->preload)
			goto nomem;
		vos_fmt(e->preload, strlen(self_path) + 32, PRELOAD "%s", self_path);
		e->v[n++] = e->preload;
	}
	if (e->preload && own_element(e->preload + strlen(PRELOAD), &own) == e->preload + strlen(PRELOAD) &&
	    !e->preload[strlen(PRELOAD) + own])
		odd = !odd;
	for (unsigned w = 0; w < nwords; w++) {
		for (unsigned i = 0; extra && extra[i]; i++)
			given[w] |= same_name(words[w], extra[i]);
		if (!given[w] && words[w]) {
			e->v[n++] = words[w];
			odd = !odd;
		}
	}
	for (unsigned i = 0; extra && extra[i] && n + 2 < cap; i++) {
		e->v[n++] = extra[i];
		odd = !odd;
	}
	if (odd)
		e->v[n++] = (char *)(uintptr_t)VOS_ENV_PAD "=";
	e->v[n] = NULL;
	return 0;
fault:
	vos_environ_free(e);
	return -EFAULT;
nomem:
	vos_environ_free(e);
	return -ENOMEM;
}

void vos_environ_free(struct vos_environ *e)
{
	vos_free(e->v);
	vos_free(e->preload);
	*e = (struct vos_environ){ 0 };
}
