/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <virtuos/policy.h>

static struct vos_policy p;
static char err[VOS_POLICY_ERROR];

#define GOOD(text) cr_assert_eq(vos_policy_parse(text, &p, err), 0, "%s", err)
#define BAD(text, message) do { \
	cr_expect_eq(vos_policy_parse(text, &p, err), -EINVAL); \
	cr_expect_str_eq(err, message); \
} while (0)

Test(policy, empty_is_all_native)
{
	GOOD("");
	GOOD("  \t\n ");
	cr_assert_eq(p.net[0], 0);
	cr_assert_eq(p.nstores, 0);
}

Test(policy, longest_prefix_first)
{
	GOOD("net=local:ns1 store=/a=local:/x store=/a/b//c/=xen:disk-0:/y/./z store=/=local:/");
	cr_assert_str_eq(p.net, "local:ns1");
	cr_assert_eq(p.nstores, 3);
	cr_assert_str_eq(p.store[0].prefix, "/a/b/c");
	cr_assert_str_eq(p.store[0].domain, "xen:disk-0");
	cr_assert_str_eq(p.store[0].root, "/y/z");
	cr_assert_str_eq(p.store[2].prefix, "/");
	cr_assert_eq(p.store[2].prefix_len, 0);
	cr_assert(!p.store[0].has_inner && p.store[1].has_inner && p.store[2].has_inner);
	cr_assert_eq(vos_policy_store_index(&p, &p.store[1]), 2);
}

static const char *match(const char *path)
{
	const struct vos_policy_store *s = vos_policy_match(&p, path, strlen(path));

	return s ? s->prefix : "-";
}

Test(policy, match_ends_at_a_component)
{
	GOOD("store=/data=local:/x store=/data/in=local:/y");
	cr_expect_str_eq(match("/data"), "/data");
	cr_expect_str_eq(match("/data/x"), "/data");
	cr_expect_str_eq(match("/database"), "-");
	cr_expect_str_eq(match("/dat"), "-");
	cr_expect_str_eq(match("/data/in"), "/data/in");
	cr_expect_str_eq(match("/data/inner"), "/data");
	cr_expect(vos_policy_is_ancestor(&p, "/", 1));
	cr_expect(vos_policy_is_ancestor(&p, "/data", 5));
	cr_expect(!vos_policy_is_ancestor(&p, "/dat", 4));
	cr_expect(!vos_policy_is_ancestor(&p, "/data/in", 8));
}

Test(policy, quotes_and_escapes)
{
	GOOD("store='/my data'=local:/a\\ b store=\"/q\\\"uote\"=local:'/c'\"d\"");
	cr_assert_eq(p.nstores, 2);
	cr_assert_str_eq(p.store[0].prefix, "/my data");
	cr_assert_str_eq(p.store[0].root, "/a b");
	cr_assert_str_eq(p.store[1].prefix, "/q\"uote");
	cr_assert_str_eq(p.store[1].root, "/cd");
}

Test(policy, errors_say_where)
{
	BAD("net=", "column 5: a domain is local, local:NETNS (net) or xen:NAME, not ''");
	BAD("net=local: ", "column 5: a name is missing after ':' in 'local:'");
	BAD("net=local net=local", "column 11: net is given twice");
	BAD("nett=local", "column 1: unknown key 'nett'");
	BAD("store=/a", "column 7: expected '/prefix=DOMAIN:/dir'");
	BAD("store=/a=local", "column 10: expected DOMAIN:/dir, not 'local'");
	BAD("store=a=local:/", "column 7: a path must be absolute: 'a'");
	BAD("store=/a/..=local:/", "column 7: a path must not contain '..': '/a/..'");
	BAD("store=/a=local:/x store=/a/=local:/y", "column 19: this prefix is given twice: '/a'");
	BAD("store=/a=local:ns:/x", "column 10: local:NETNS is for net only; a store is local:/dir, not 'local:ns'");
	BAD("  net='x", "column 9: a quote is not closed");
	BAD("recover=maybe", "column 9: unknown value 'maybe'");
}

Test(policy, a_bad_line_leaves_the_old_policy)
{
	GOOD("net=local");
	cr_assert_eq(vos_policy_parse("net=xen:a store=/=", &p, err), -EINVAL);
	cr_assert_str_eq(p.net, "local");
}

Test(policy, too_much)
{
	char text[4096], *at = text;

	for (int i = 0; i < 16; i++)
		at += sprintf(at, "store=/p%d=local:/x ", i);
	cr_assert_eq(vos_policy_parse(text, &p, err), -EINVAL);
	cr_assert(strstr(err, "too many stores"));
	strcpy(text, "store=/");
	memset(text + 7, 'a', 300);
	strcpy(text + 307, "=local:/");
	cr_assert_eq(vos_policy_parse(text, &p, err), -EINVAL);
	cr_assert(strstr(err, "too long"));
}
