/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy put together from files, VIRTUOS and options.  its grammar is policy.h's; here only values are laid over others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"

/* One word of VIRTUOS that stands for any bytes. */
static void quote(char **to, const char *s)
{
	char *p = *to;

	for (; *s; s++) {
		if (strchr(" \t\n\\'\"", *s))
			*p++ = '\\';
		*p++ = *s;
	}
	*p = '\0';
	*to = p;
}

static char *quoted(const char *s)
{
	char *out = vos_cli_alloc(2 * strlen(s) + 1), *p = out;

	quote(&p, s);
	return out;
}

/* Parses `text`, of which the first `skip` bytes are ours.  NULL or the message without its "column N: ", and the offset. */
static char *parse(const char *text, size_t skip, struct vos_policy *ret, size_t *ret_at)
{
	char err[VOS_POLICY_ERROR] = "";
	const char *why = err;
	unsigned column;
	int used = 0;

	if (vos_policy_parse(text, ret, err) == 0)
		return NULL;
	*ret_at = 0;
	if (sscanf(err, "column %u: %n", &column, &used) == 1 && used > 0) {
		why = err + used;
		if (column > skip)
			*ret_at = column - 1 - skip;
	}
	return vos_cli_dup(why);
}

static char *lay_store(struct vos_policy *p, const struct vos_policy_store *s)
{
	for (uint32_t i = 0; i < p->nstores; i++)
		if (strcmp(p->store[i].prefix, s->prefix) == 0) {
			p->store[i] = *s;
			return NULL;
		}
	if (p->nstores == VOS_POLICY_STORES)
		return vos_cli_format("more than %d prefixes", VOS_POLICY_STORES);
	p->store[p->nstores++] = *s;
	return NULL;
}

char *vos_cli_policy_set(struct vos_policy *p, const char *key, const char *value, bool raw, size_t *ret_at)
{
	struct vos_policy one;
	char *word, *text, *wrong;

	*ret_at = 0;
	if (strcmp(key, "net") == 0 && strcmp(value, "none") == 0) {
		p->net[0] = '\0';
		return NULL;
	}
	word = raw ? quoted(value) : vos_cli_dup(value);
	text = vos_cli_format("%s=%s", key, word);
	wrong = parse(text, strlen(key) + 1, &one, ret_at);
	free(text);
	free(word);
	if (wrong)
		return wrong;
	if (strcmp(key, "net") == 0)
		memcpy(p->net, one.net, sizeof p->net);
	else if (strcmp(key, "recover") == 0)
		p->recover = one.recover;
	else if (strcmp(key, "threads") == 0)
		p->threads = one.threads;
	/* More than one word in a value of a file: all of them count. */
	for (uint32_t i = 0; i < one.nstores && !wrong; i++)
		wrong = lay_store(p, &one.store[i]);
	return wrong;
}

char *vos_cli_policy_lay(struct vos_policy *p, const char *text, size_t *ret_at)
{
	struct vos_policy over;
	char *wrong = parse(text, 0, &over, ret_at);

	if (wrong)
		return wrong;
	if (over.net[0])
		memcpy(p->net, over.net, sizeof p->net);
	if (over.recover)
		p->recover = over.recover;
	if (over.threads)
		p->threads = over.threads;
	for (uint32_t i = 0; i < over.nstores && !wrong; i++)
		wrong = lay_store(p, &over.store[i]);
	return wrong;
}

char *vos_cli_policy_text(const struct vos_policy *p)
{
	char *text = vos_cli_alloc(256 + VOS_POLICY_STORES * (2 * (VOS_POLICY_NAME + 2 * VOS_POLICY_PATH) + 16)), *t = text;

	if (p->net[0]) {
		t += sprintf(t, "net=");
		quote(&t, p->net);
	}
	for (uint32_t i = 0; i < p->nstores; i++) {
		t += sprintf(t, "%sstore=", t == text ? "" : " ");
		quote(&t, p->store[i].prefix);
		*t++ = '=';
		quote(&t, p->store[i].domain);
		*t++ = ':';
		quote(&t, p->store[i].root);
	}
	if (p->recover == VOS_RECOVER_REPLAY)
		t += sprintf(t, "%srecover=replay", t == text ? "" : " ");
	if (p->threads != VOS_THREADS_KERNEL)
		t += sprintf(t, "%sthreads=%s", t == text ? "" : " ", p->threads == VOS_THREADS_MN ? "mn" : "mn-spread");
	return text;
}
