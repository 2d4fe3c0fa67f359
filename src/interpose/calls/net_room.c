/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets and epoll in the life of a process. */
#include "../entry/room.h"
#include "net.h"

extern const struct vos_room vos_net_room;

static int init(struct vos_proc *p)
{
	(void)p;
	vos_sock_init();
	vos_epoll_init();
	return 0;
}

static int fork_prepare(struct vos_proc *p)
{
	(void)p;
	vos_epoll_fork_prepare();
	return 0;
}

static void fork_parent(struct vos_proc *p, long result)
{
	(void)p;
	(void)result;
	vos_epoll_fork_parent();
}

const struct vos_room vos_net_room = {
	.name = "net",
	.init = init,
	.fork_prepare = fork_prepare,
	.fork_parent = fork_parent,
	.fork_child = vos_epoll_fork_child,
};
