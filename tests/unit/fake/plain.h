/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Criterion's words without Criterion: its way of starting tests does not survive ThreadSanitizer.  Each test runs in a forked
 * child; results come as TAP.
 */
#ifndef VOS_TEST_PLAIN_H
#define VOS_TEST_PLAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
	const char *name;
	void (*fn)(void);
	unsigned timeout;
	struct plain_test *next;
};
static struct plain_test *plain_tests;

struct plain_options { unsigned timeout; };

#define TestSuite(suite, ...) extern int plain_unused_##suite
#define Test(suite, what, ...) \
	static void plain_##what(void); \
	__attribute__((constructor)) static void plain_add_##what(void) \
	{ \
		static struct plain_test t = { #suite "::" #what, plain_##what, 0, NULL }; \
		struct plain_options o = { __VA_ARGS__ }; \
		t.timeout = o.timeout ? o.timeout : 60; \
		t.next = plain_tests; \
		plain_tests = &t; \
	} \
	static void plain_##what(void)

#define plain_check(c, text) do { \
	if (!(c)) { \
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, text); \
		_exit(1); \
	} } while (0)
#define cr_assert(c, ...)       plain_check(c, #c)
#define cr_assert_not(c, ...)   plain_check(!(c), "not " #c)
#define cr_assert_null(p, ...)  plain_check((p) == NULL, #p " == NULL")
#define cr_assert_eq(a, b, ...) plain_check((a) == (b), #a " == " #b)
#define cr_assert_neq(a, b, ...) plain_check((a) != (b), #a " != " #b)
#define cr_assert_lt(a, b, ...) plain_check((a) < (b), #a " < " #b)
#define cr_assert_gt(a, b, ...) plain_check((a) > (b), #a " > " #b)
#define cr_assert_leq(a, b, ...) plain_check((a) <= (b), #a " <= " #b)
#define cr_assert_geq(a, b, ...) plain_check((a) >= (b), #a " >= " #b)
#define cr_log_info(...) do { } while (0)

int main(void)
{
	unsigned n = 0, k = 0, bad = 0;

	for (struct plain_test *t = plain_tests; t; t = t->next)
		n++;
	printf("1..%u\n", n);
	for (struct plain_test *t = plain_tests; t; t = t->next) {
		int status = 0;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			alarm(t->timeout);
			t->fn();
			/* exit: the sanitizer's own status when it has found anything. */
			exit(0);
		}
		waitpid(pid, &status, 0);
		printf("%s %u - %s%s\n", status ? "not ok" : "ok", ++k, t->name,
		       WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? " timed out" : "");
		bad += status != 0;
	}
	return bad != 0;
}

#endif
