/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What path.c, path_walk.c and cwd.c share. */
#ifndef VOS_PATH_IMPL_H
#define VOS_PATH_IMPL_H

#include "marshal.h"
#include "path.h"

/* An absolute text against all prefixes. */
struct vos_lex {
	const struct vos_policy_store *store; /* inside: the longest prefix */
	const char *rest;            /* what follows the prefix */
	bool ancestor;               /* the text ends on the way to a prefix */
	bool dotdot;                 /* ".." stands where it matters: only a walk tells */
};
struct vos_lex vos_path_lex(const struct vos_policy *y, const char *text);

size_t vos_path_component(const char **s);
bool vos_path_has_dotdot(const char *s);
bool vos_path_only_dots(const char *s);
struct vos_domain *vos_path_store_domain(const struct vos_policy_store *s);
/* p is `rest` below the root of s; rest may lie in p->text. */
int vos_path_remote(struct vos_path *p, const struct vos_policy_store *s, const char *rest);

/* p begins outside: whether it stays there.  abs: p->text is absolute. */
int vos_path_check_native(struct vos_path *p, bool abs);
/*
 * The slow way: `path` absolute, in the program's view.  `whole`: what lies inside a prefix is left to the proxy as a whole;
 * else symlinks there are read one by one.
 */
int vos_path_walk(struct vos_path *p, const char *path, bool whole);

/* The path of a native dirfd or of the native cwd: its length without the NUL, no trailing slash; or negative errno. */
long vos_path_base_text(int64_t dirfd, char *buf, size_t cap);
bool vos_cwd_is_ancestor(void);
/* Whether some prefix exists as a directory of this kernel, so that a native call could succeed where it must not. */
bool vos_path_shadowed(void);

#endif
