/* SPDX-License-Identifier: GPL-2.0-or-later */
/* deny THING... -- COMMAND...: runs COMMAND as on a kernel without THING: sud, io_uring, userfaultfd, memfd, namespaces. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PR_SET_SYSCALL_USER_DISPATCH 59

static const struct {
	const char *thing;
	int call, error;
	unsigned arg; /* 1: only with this first argument */
	scmp_datum_t value;
} rules[] = {
	{ "sud", SCMP_SYS(prctl), EINVAL, 1, PR_SET_SYSCALL_USER_DISPATCH },
	{ "io_uring", SCMP_SYS(io_uring_setup), ENOSYS, 0, 0 },
	{ "userfaultfd", SCMP_SYS(userfaultfd), ENOSYS, 0, 0 },
	{ "memfd", SCMP_SYS(memfd_create), ENOSYS, 0, 0 },
	{ "namespaces", SCMP_SYS(unshare), EPERM, 0, 0 },
};

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int i;

	for (i = 1; ctx && i < argc && strcmp(argv[i], "--") != 0; i++) {
		size_t k, n = sizeof rules / sizeof rules[0];
		int r;

		for (k = 0; k < n && strcmp(rules[k].thing, argv[i]) != 0; k++)
			;
		if (k == n) {
			fprintf(stderr, "deny: %s is not known\n", argv[i]);
			return 2;
		}
		r = rules[k].arg ? seccomp_rule_add(ctx, SCMP_ACT_ERRNO(rules[k].error), rules[k].call, 1,
						    SCMP_A0(SCMP_CMP_EQ, rules[k].value)) :
				   seccomp_rule_add(ctx, SCMP_ACT_ERRNO(rules[k].error), rules[k].call, 0);
		if (r != 0) {
			fprintf(stderr, "deny: %s: %s\n", argv[i], strerror(-r));
			return 2;
		}
	}
	if (!ctx || i + 1 >= argc) {
		fprintf(stderr, "Usage: deny THING... -- COMMAND...\n");
		return 2;
	}
	i++;
	if (seccomp_load(ctx) != 0) {
		perror("deny: seccomp");
		return 2;
	}
	seccomp_release(ctx);
	execvp(argv[i], argv + i);
	perror(argv[i]);
	return 127;
}
