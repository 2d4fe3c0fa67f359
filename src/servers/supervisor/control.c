/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VOS_MSG_CONTROL: what `virtuos domain` asks for. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_MS 60000

/* Into the pipe; what does not fit is cut: nobody waits for a reader. */
static void put(int fd, const char *s, size_t len)
{
	if (write(fd, s, len) < 0)
		return;
}

void vos_control_done(struct vos_talk *t, const char *line)
{
	if (t->pipe >= 0) {
		if (line && line[0]) {
			put(t->pipe, line, strlen(line));
			put(t->pipe, "\n", 1);
		}
		close(t->pipe);
	}
	t->pipe = -1;
	t->busy = false;
	if (t->source.fd < 0)
		vos_talk_close(t);
}

/* The answer with the reading end; the writing end in t->pipe.  false: answered with an error. */
static bool open_output(struct vos_talk *t)
{
	struct vos_msg m;
	int p[2];

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK)) {
		vos_talk_fail(t, -errno, "cannot make a pipe: %s", strerror(errno));
		return false;
	}
	/* Room for a list of some thousand domains. */
	fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
	if (t->pipe >= 0)
		close(t->pipe);
	t->pipe = p[1];
	vos_msg_init(&m, VOS_MSG_CONTROL);
	/* The reader need not know of ours: its end blocks. */
	fcntl(p[0], F_SETFL, 0);
	vos_talk_answer(t, &m, p, 1);
	close(p[0]);
	t->busy = true; /* until vos_control_done() */
	return true;
}

static void list(struct vos_talk *t)
{
	if (!open_output(t))
		return;
	for (struct vos_dom *d = vos_doms; d; d = d->next) {
		unsigned proxies = 0;
		uint64_t up = d->state == VOS_DOM_UP ? (vos_now() - d->up_since) / 1000000000u : 0;
		char *name = malloc(4 * strlen(d->label) + 1), *to = name, *line = NULL;
		int n;

		if (!name)
			break;
		for (const char *s = d->label; *s; s++) {
			if ((unsigned char)*s <= ' ' || *s == '\\')
				to += sprintf(to, "\\%03o", (unsigned char)*s);
			else
				*to++ = *s;
		}
		*to = 0;
		for (struct vos_prx *p = d->proxies; p; p = p->next)
			proxies += p->up;
		n = asprintf(&line, "%s %s %s %llu %d %u %llu %llu\n", name, vos_kind_name(d->kind), vos_dom_state_name(d),
			     (unsigned long long)d->epoch, (int)d->pid, proxies, (unsigned long long)d->restarts,
			     (unsigned long long)up);
		if (n > 0) {
			put(t->pipe, line, (size_t)n);
			free(line);
		}
		free(name);
	}
	vos_control_done(t, NULL);
}

/* By its label, with or without its kind before it; or the only one that begins so. */
static struct vos_dom *find(const char *name, unsigned *ret_matches)
{
	struct vos_dom *found = NULL;
	uint32_t kind = 0;

	if (strncmp(name, "net=", 4) == 0) {
		kind = VOS_KIND_NET;
		name += 4;
	} else if (strncmp(name, "store=", 6) == 0) {
		kind = VOS_KIND_STORE;
		name += 6;
	}
	*ret_matches = 0;
	for (struct vos_dom *d = vos_doms; d; d = d->next) {
		if (kind && kind != d->kind)
			continue;
		if (strcmp(d->label, name) == 0) {
			*ret_matches = 1;
			return d;
		}
		if (strncmp(d->label, name, strlen(name)) == 0) {
			found = d;
			++*ret_matches;
		}
	}
	return *ret_matches == 1 ? found : NULL;
}

/* `start` of a domain that nobody has asked for yet: its name says what it is. */
static struct vos_dom *make(const char *name, int *ret_status, const char **ret_why)
{
	uint32_t kind = VOS_KIND_NET;
	char plain[VOS_DOMAIN_NAME_MAX], *root = "";
	const char *slash;

	if (strncmp(name, "net=", 4) == 0)
		name += 4;
	else if (strncmp(name, "store=", 6) == 0)
		name += 6;
	slash = strstr(name, ":/");
	if (slash) {
		kind = VOS_KIND_STORE;
		root = (char *)slash + 1;
	} else
		slash = name + strlen(name);
	if ((size_t)(slash - name) >= sizeof plain) {
		*ret_status = -ENAMETOOLONG;
		*ret_why = "a name that long";
		return NULL;
	}
	memcpy(plain, name, (size_t)(slash - name));
	plain[slash - name] = 0;
	return vos_dom_get(kind, plain, root, ret_status, ret_why);
}

static void command(struct vos_talk *t, const char *verb, const char *name)
{
	unsigned matches;
	struct vos_dom *d = find(name, &matches);
	int status = -ENOENT;
	const char *why = "no such domain ('virtuos domain list' shows them)";

	if (!d && matches > 1) {
		vos_talk_fail(t, -EINVAL, "%s: %u domains begin so ('virtuos domain list' shows them)", name, matches);
		return;
	}
	if (!d && strcmp(verb, "start") == 0)
		d = make(name, &status, &why);
	if (!d) {
		vos_talk_fail(t, status, "%s: %s", name, why);
		return;
	}
	t->dom = d;
	t->until_down = strcmp(verb, "stop") == 0;
	t->deadline = vos_msg_deadline(COMMAND_MS);
	if (strcmp(verb, "kill") == 0) {
		if (d->pid == 0) {
			vos_talk_fail(t, -ESRCH, "%s does not run", d->label);
			return;
		}
		if (open_output(t)) {
			vos_dom_kill(d, "killed by hand");
			vos_control_done(t, NULL);
		}
		return;
	}
	if (!open_output(t))
		return;
	vos_talk_wait(t, &d->watchers);
	if (strcmp(verb, "stop") == 0) {
		d->want = false;
		d->state = VOS_DOM_STOPPED;
		vos_dom_kill(d, "stopped by hand");
	} else if (strcmp(verb, "restart") == 0 && d->pid) {
		d->want = true;
		vos_dom_kill(d, "restarted by hand");
	} else {
		vos_dom_want(d, true);
	}
	vos_talk_domain_moved(d);
}

void vos_control(struct vos_talk *t)
{
	static const char *const verbs[] = { "start", "stop", "restart", "kill" };
	char text[VOS_PATH_MAX], *name;

	memcpy(text, t->msg.text, sizeof text);
	if (strcmp(text, "list") == 0) {
		list(t);
		return;
	}
	if (t->peer.uid != 0 && t->peer.uid != vos_sup.uid) {
		vos_talk_fail(t, -EPERM, "only root and user %u may do that", vos_sup.uid);
		return;
	}
	name = strchr(text, ' ');
	if (name && name[1]) {
		*name++ = 0;
		for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
			if (strcmp(text, verbs[i]) == 0) {
				command(t, text, name);
				return;
			}
		}
	}
	vos_talk_fail(t, -EINVAL, "not a command: list, start NAME, stop NAME, restart NAME or kill NAME");
}
