/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains of this machine: virtuos-domain in a process group of its own, which dies with us. */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <virtuos/transport.h>

static bool local_has(uint32_t kind, const char *name, const char **ret_why)
{
	const char *ns = name + strlen(vos_transport_local.name);

	*ret_why = "no such domain; this machine has: local, and for net local:NETNS";
	if (*ns == 0)
		return true;
	/* It becomes part of a path below /run/netns. */
	ns++;
	if (kind != VOS_KIND_NET || *ns == 0 || *ns == '.' || *ns == '-')
		return false;
	for (; *ns; ns++)
		if (!(*ns >= 'a' && *ns <= 'z') && !(*ns >= 'A' && *ns <= 'Z') && !(*ns >= '0' && *ns <= '9') &&
		    !strchr("_.-", *ns))
			return false;
	return true;
}

/* In the child: becomes the broker. */
static void become_broker(const struct vos_dom *d, int sock, pid_t parent)
{
	char kind[16], name[VOS_DOMAIN_NAME_MAX + 8], epoch[32], *root; /* or namespace */
	char *argv[8] = { "virtuos-domain", kind, name, "--broker-fd=3", epoch };
	int n = 5, null;
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	sock = fcntl(sock, F_DUPFD, 8);
	if (sock < 0 || dup2(sock, 3) < 0 || close_range(4, ~0u, 0))
		_exit(126);
	snprintf(kind, sizeof kind, "--kind=%s", vos_kind_name(d->kind));
	snprintf(name, sizeof name, "--name=%s", d->name);
	snprintf(epoch, sizeof epoch, "--epoch=%llu", (unsigned long long)d->epoch);
	if (d->kind == VOS_KIND_STORE) {
		if (asprintf(&root, "--root=%s", d->root) < 0)
			_exit(126);
		argv[n++] = root;
	}
	if (d->kind == VOS_KIND_NET && d->name[5] == ':') {
		if (asprintf(&root, "--netns=%s", d->name + 6) < 0)
			_exit(126);
		argv[n++] = root;
	}
	if (vos_sup.verbose)
		argv[n++] = "--verbose";
	execv(vos_sup.program, argv);
	_exit(127);
}

static int local_start(struct vos_dom *d, int *ret_sock)
{
	int pair[2], r = vos_channel_pair(pair);
	pid_t me = getpid();

	if (r)
		return r;
	d->pid = fork();
	if (d->pid == 0)
		become_broker(d, pair[1], me);
	r = errno;
	close(pair[1]);
	if (d->pid < 0) {
		close(pair[0]);
		return -r;
	}
	/* Also here: whichever of the two comes first, a kill of the group finds it. */
	setpgid(d->pid, d->pid);
	*ret_sock = pair[0];
	return 0;
}

static void local_kill(struct vos_dom *d)
{
	kill(-d->pid, SIGKILL);
}

static bool local_left(struct vos_dom *d)
{
	return kill(-d->pid, 0) == 0 || errno != ESRCH;
}

static int local_connect(struct vos_dom *d, const struct vos_region_geo *geo, struct vos_local_conn *ret)
{
	(void)d;
	return vos_local_make(geo, ret);
}

const struct vos_backend vos_backend_local = {
	.name = "local",
	.has = local_has,
	.start = local_start,
	.kill = local_kill,
	.left = local_left,
	.connect = local_connect,
};
