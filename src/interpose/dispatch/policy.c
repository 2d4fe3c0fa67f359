/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy line: one pass over the text, into the caller's memory.  Pure and freestanding; see policy.h. */
#include <errno.h>
#include <string.h>
#include <virtuos/policy.h>

struct parser {
	const char *text, *at;
	char *err;
	const char *key_at;          /* where the present word begins, for messages */
};

static size_t put(char *buf, size_t n, const char *s)
{
	while (*s && n < VOS_POLICY_ERROR - 1)
		buf[n++] = *s++;
	buf[n] = 0;
	return n;
}

/* "column 7: what arg".  Always -EINVAL. */
static int fail(struct parser *p, const char *where, const char *what, const char *arg)
{
	char digits[20];
	size_t n = 0, d = sizeof digits - 1, column = (size_t)(where - p->text) + 1;

	digits[d] = 0;
	do
		digits[--d] = (char)('0' + column % 10);
	while ((column /= 10) != 0);
	n = put(p->err, n, "column ");
	n = put(p->err, n, digits + d);
	n = put(p->err, n, ": ");
	n = put(p->err, n, what);
	if (arg) {
		n = put(p->err, n, " '");
		n = put(p->err, n, arg);
		put(p->err, n, "'");
	}
	return -EINVAL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * One character of a word, quotes and backslashes removed.  1 and *ret; 0 at the end of the word; -EINVAL.  *quote is the
 * quote that is open.
 */
static int next_char(struct parser *p, char *quote, char *ret)
{
	for (;;) {
		char c = *p->at;

		if (c == 0)
			return *quote ? fail(p, p->at, "a quote is not closed", NULL) : 0;
		if (*quote == 0 && is_blank(c))
			return 0;
		p->at++;
		if (c == *quote) {
			*quote = 0;
		} else if (*quote == 0 && (c == '\'' || c == '"')) {
			*quote = c;
		} else if (c == '\\' && *quote != '\'') {
			if (*p->at == 0)
				return fail(p, p->at - 1, "a backslash at the end", NULL);
			*ret = *p->at++;
			return 1;
		} else {
			*ret = c;
			return 1;
		}
	}
}

/*
 * Reads up to `stop` (taken and left out) or the end of the word when stop is 0.  The length; -EINVAL when the word ends
 * first or is longer than cap - 1.
 */
static int read_until(struct parser *p, char *quote, char stop, char *buf, size_t cap, const char *what)
{
	const char *start = p->at;
	size_t n = 0;

	for (;;) {
		char c = 0;
		int r = next_char(p, quote, &c);

		if (r < 0)
			return r;
		if (r == 0 && stop == 0)
			break;
		if (r == 0)
			return fail(p, start, "expected", what);
		if (c == stop && stop)
			break;
		if (n + 1 >= cap)
			return fail(p, start, "too long:", what);
		buf[n++] = c;
	}
	buf[n] = 0;
	return (int)n;
}

/* Removes empty and "." components in place.  NULL when it is fine, else what is wrong. */
static const char *canonical(char *s)
{
	char *in = s, *out = s;

	if (*s != '/')
		return "a path must be absolute:";
	while (*in) {
		char *name = in + 1;
		size_t len = 0;

		while (name[len] && name[len] != '/')
			len++;
		in = name + len;
		if (len == 0 || (len == 1 && name[0] == '.'))
			continue;
		if (len == 2 && name[0] == '.' && name[1] == '.')
			return "a path must not contain '..':";
		*out++ = '/';
		memmove(out, name, len);
		out += len;
	}
	if (out == s)
		*out++ = '/';
	*out = 0;
	return NULL;
}

static bool same(const char *a, const char *b)
{
	return strlen(a) == strlen(b) && memcmp(a, b, strlen(a)) == 0;
}

static bool begins(const char *s, const char *with)
{
	return strlen(s) >= strlen(with) && memcmp(s, with, strlen(with)) == 0;
}

/* local, local:NETNS, xen:NAME. */
static const char *bad_domain(const char *s, bool net)
{
	const char *name;

	if (same(s, "local"))
		return NULL;
	if (begins(s, "local:") && !net)
		return "local:NETNS is for net only; a store is local:/dir, not";
	if (!begins(s, "local:") && !begins(s, "xen:"))
		return "a domain is local, local:NETNS (net) or xen:NAME, not";
	for (name = s; *name != ':'; name++)
		;
	if (*++name == 0)
		return "a name is missing after ':' in";
	for (; *name; name++) {
		bool ok = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
			  (*name >= '0' && *name <= '9') || *name == '_' || *name == '-' || *name == '.';

		if (!ok)
			return "a domain's name has letters, digits and _ - . only, not";
	}
	return NULL;
}

static int parse_net(struct parser *p, char *quote, struct vos_policy *out)
{
	const char *start = p->at, *wrong;
	int r;

	if (out->net[0])
		return fail(p, p->key_at, "net is given twice", NULL);
	r = read_until(p, quote, 0, out->net, sizeof out->net, "a domain");
	if (r < 0)
		return r;
	wrong = bad_domain(out->net, true);
	return wrong ? fail(p, start, wrong, out->net) : 0;
}

/* /prefix=DOMAIN:/dir */
static int parse_store(struct parser *p, char *quote, struct vos_policy *out)
{
	struct vos_policy_store s = { 0 };
	char rest[VOS_POLICY_NAME + VOS_POLICY_PATH];
	const char *start = p->at, *wrong;
	size_t cut;
	uint32_t at;
	int r;

	r = read_until(p, quote, '=', s.prefix, sizeof s.prefix, "/prefix=DOMAIN:/dir");
	if (r < 0)
		return r;
	wrong = canonical(s.prefix);
	if (wrong)
		return fail(p, start, wrong, s.prefix);
	start = p->at;
	r = read_until(p, quote, 0, rest, sizeof rest, "DOMAIN:/dir");
	if (r < 0)
		return r;
	for (cut = 0; rest[cut] && !(rest[cut] == ':' && rest[cut + 1] == '/'); cut++)
		;
	if (rest[cut] == 0)
		return fail(p, start, "expected DOMAIN:/dir, not", rest);
	rest[cut] = 0;
	if (cut >= sizeof s.domain)
		return fail(p, start, "a domain's name is too long:", rest);
	memcpy(s.domain, rest, cut + 1);
	wrong = bad_domain(s.domain, false);
	if (wrong)
		return fail(p, start, wrong, s.domain);
	if (strlen(rest + cut + 1) >= sizeof s.root)
		return fail(p, start, "too long:", "the directory");
	memcpy(s.root, rest + cut + 1, strlen(rest + cut + 1) + 1);
	wrong = canonical(s.root);
	if (wrong)
		return fail(p, start, wrong, s.root);
	s.prefix_len = s.prefix[1] ? (uint16_t)strlen(s.prefix) : 0;
	if (out->nstores == VOS_POLICY_STORES)
		return fail(p, p->key_at, "too many stores (15 at most)", NULL);
	for (at = 0; at < out->nstores; at++)
		if (same(out->store[at].prefix, s.prefix))
			return fail(p, p->key_at, "this prefix is given twice:", s.prefix);
	for (at = 0; at < out->nstores && out->store[at].prefix_len >= s.prefix_len; at++)
		;
	memmove(&out->store[at + 1], &out->store[at], (out->nstores - at) * sizeof s);
	out->store[at] = s;
	out->nstores++;
	return 0;
}

/* `two` may be NULL. */
static int parse_choice(struct parser *p, char *quote, const char *zero, const char *one, const char *two, uint8_t *ret)
{
	const char *start = p->at;
	char word[32];
	int r = read_until(p, quote, 0, word, sizeof word, "a word");

	if (r < 0)
		return r;
	if (!same(word, zero) && !same(word, one) && !(two && same(word, two)))
		return fail(p, start, "unknown value", word);
	*ret = same(word, zero) ? 0 : same(word, one) ? 1 : 2;
	return 0;
}

static bool below(const char *path, size_t len, const struct vos_policy_store *s)
{
	return len >= s->prefix_len && memcmp(path, s->prefix, s->prefix_len) == 0 &&
	       (len == s->prefix_len || path[s->prefix_len] == '/');
}

int vos_policy_parse(const char *text, struct vos_policy *ret, char err[VOS_POLICY_ERROR])
{
	struct vos_policy out;
	struct parser p = { .text = text, .at = text, .err = err };

	memset(&out, 0, sizeof out);
	for (;;) {
		char key[16], quote = 0;
		int r;

		while (is_blank(*p.at))
			p.at++;
		if (*p.at == 0)
			break;
		p.key_at = p.at;
		r = read_until(&p, &quote, '=', key, sizeof key, "net=, store=, recover= or threads=");
		if (r < 0)
			return r;
		if (same(key, "net"))
			r = parse_net(&p, &quote, &out);
		else if (same(key, "store"))
			r = parse_store(&p, &quote, &out);
		else if (same(key, "recover"))
			r = parse_choice(&p, &quote, "fail", "replay", NULL, &out.recover);
		else if (same(key, "threads"))
			r = parse_choice(&p, &quote, "kernel", "mn", "mn-spread", &out.threads);
		else
			r = fail(&p, p.key_at, "unknown key", key);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < out.nstores; i++)
		for (uint32_t j = 0; j < out.nstores; j++)
			if (i != j && below(out.store[j].prefix, strlen(out.store[j].prefix), &out.store[i]))
				out.store[i].has_inner = true;
	*ret = out;
	return 0;
}

const struct vos_policy_store *vos_policy_match(const struct vos_policy *p, const char *path, size_t len)
{
	for (uint32_t i = 0; i < p->nstores; i++)
		if (below(path, len, &p->store[i]))
			return &p->store[i];
	return NULL;
}

bool vos_policy_is_ancestor(const struct vos_policy *p, const char *path, size_t len)
{
	if (len == 1)
		len = 0;
	for (uint32_t i = 0; i < p->nstores; i++)
		if (p->store[i].prefix_len > len && memcmp(path, p->store[i].prefix, len) == 0 &&
		    p->store[i].prefix[len] == '/')
			return true;
	return false;
}
