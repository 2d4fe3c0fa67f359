/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the program sees of its environment, and what its children get. */
#include <criterion/criterion.h>
#include <string.h>
#include "../../fake/kept.h"
#include "interpose/entry/environ.h"
#include "interpose/rt/rt.h"

static char *dup_all(char **to, const char *const *from)
{
	int n = 0;

	for (; from[n]; n++)
		to[n] = kept(strdup(from[n]));
	to[n] = NULL;
	return to[0];
}

static void same(char **got, const char *const *want)
{
	int n = 0;

	for (; want[n]; n++)
		cr_assert(got[n] && strcmp(got[n], want[n]) == 0, "word %d is %s, not %s", n, got[n] ? got[n] : "(none)", want[n]);
	cr_assert_null(got[n]);
}

static void take(char **env, const char *const *from)
{
	dup_all(env, from);
	vos_environ_take(env, NULL);
}

Test(environ, ours_are_taken_and_come_back)
{
	static const char *const from[] = { "A=1", "LD_PRELOAD=/x/libvirtuos.so", "VIRTUOS=net=local", "VIRTUOSO=mine", "VIRTUOS_STATE=7", "B=2", NULL };
	static const char *const left[] = { "A=1", "VIRTUOSO=mine", "B=2", NULL };
	static const char *const child[] = { "A=1", "VIRTUOSO=mine", "B=2", "LD_PRELOAD=/x/libvirtuos.so", "VIRTUOS=net=local", NULL };
	static const char *const empty[] = { "LD_PRELOAD=/x/libvirtuos.so", "VIRTUOS=net=local", NULL };
	struct vos_environ e;
	char *env[16], *none[] = { NULL };

	take(env, from);
	same(env, left);
	cr_assert_str_eq(vos_environ_self(), "/x/libvirtuos.so");
	cr_assert_str_eq(vos_environ_dir(), "/x");
	cr_assert(vos_environ_preloaded());
	cr_assert_eq(vos_environ_make(&e, (unsigned long)env, NULL, true), 0);
	same(e.v, child);
	vos_environ_free(&e);
	/* env -i, and a NULL vector, which Linux takes as an empty one. */
	cr_assert_eq(vos_environ_make(&e, (unsigned long)none, NULL, true), 0);
	same(e.v, empty);
	vos_environ_free(&e);
	cr_assert_eq(vos_environ_make(&e, 0, NULL, true), 0);
	same(e.v, empty);
	vos_environ_free(&e);
}

Test(environ, a_list_of_preloads_keeps_the_rest)
{
	static const char *const from[] = { "LD_PRELOAD=a.so:/x/libvirtuos.so b.so", NULL };
	static const char *const left[] = { "LD_PRELOAD=a.so:b.so", NULL };
	char *given[] = { "LD_PRELOAD=mine.so", NULL }, *with[] = { "LD_PRELOAD=mine.so:/x/libvirtuos.so", NULL };
	static const char *const child[] = { "LD_PRELOAD=/x/libvirtuos.so:mine.so", NULL };
	static const char *const kept[] = { "LD_PRELOAD=mine.so:/x/libvirtuos.so", NULL };
	struct vos_environ e;
	char *env[4];

	take(env, from);
	same(env, left);
	cr_assert_eq(vos_environ_make(&e, (unsigned long)given, NULL, true), 0);
	same(e.v, child);
	vos_environ_free(&e);
	cr_assert_eq(vos_environ_make(&e, (unsigned long)with, NULL, true), 0);
	same(e.v, kept);
	vos_environ_free(&e);
}

Test(environ, what_the_program_says_counts)
{
	static const char *const from[] = { "LD_PRELOAD=/x/libvirtuos.so", "VIRTUOS=net=local", "VIRTUOS_SESSION=5", NULL };
	char *given[] = { "VIRTUOS=", "C=3", NULL }, *extra[] = { "VIRTUOS_SESSION=9", NULL };
	static const char *const child[] = { "VIRTUOS=", "C=3", "LD_PRELOAD=/x/libvirtuos.so", "VIRTUOS_SESSION=9", "VIRTUOS_PAD=", NULL };
	struct vos_environ e;
	char *env[8];

	take(env, from);
	cr_assert_null(env[0]);
	cr_assert_eq(vos_environ_make(&e, (unsigned long)given, extra, true), 0);
	same(e.v, child);
	vos_environ_free(&e);
}

Test(rt, text)
{
	char b[64];
	const char *s = "42x";
	uint64_t v = 0;
	struct vos_text t = { 0 };

	cr_assert_eq(vos_fmt(b, sizeof b, "%s %d %u %lx %c%% %05u %-4s| %.*s", "a", -7, 7u, 0xabcUL, 'z', 42u, "l", 2, "xyz"), 28);
	cr_assert_str_eq(b, "a -7 7 abc z% 00042 l   | xy" , "%s", b);
	cr_assert_eq(vos_fmt(b, 4, "%s", "abcdef"), 6);
	cr_assert_str_eq(b, "abc");
	cr_assert(vos_number(&s, &v) && v == 42 && *s == 'x');
	cr_assert_not(vos_number(&s, &v));
	s = "18446744073709551616";
	cr_assert_not(vos_number(&s, &v));
	for (int i = 0; i < 1000; i++)
		vos_text_add(&t, "%d,", i % 10);
	cr_assert(!t.failed && t.len == 2000 && strlen(t.p) == 2000);
	vos_text_free(&t);
}

Test(rt, memory_is_zeroed_aligned_and_kept)
{
	char *p[200];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 200; i++) {
			size_t n = (size_t)i * i * 7 + 1;

			p[i] = vos_alloc(n);
			cr_assert(p[i] && (uintptr_t)p[i] % 16 == 0);
			for (size_t k = 0; k < n; k += 61)
				cr_assert_eq(p[i][k], 0);
			memset(p[i], i, n);
		}
		for (int i = 0; i < 200; i++) {
			p[i] = vos_realloc(p[i], (size_t)i * 900 + 2);
			cr_assert_eq(p[i][0], (char)i);
			vos_free(p[i]);
		}
	}
	vos_free(NULL);
	cr_assert_null(vos_alloc(~(size_t)0));
}
