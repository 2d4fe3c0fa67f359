/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transport/local/make.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

void vos_local_close(struct vos_local_conn *c)
{
	int *all[] = { &c->region, &c->doorbell, &c->wake, &c->control_client, &c->control_proxy };

	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
		if (*all[i] >= 0)
			close(*all[i]);
		*all[i] = -1;
	}
}

int vos_local_make(const struct vos_region_geo *geo, struct vos_local_conn *ret)
{
	struct vos_region_head head = {
		.magic = VOS_REGION_MAGIC, .version = VOS_REGION_VERSION, .size = geo->size,
		.lanes = geo->lanes, .slots = geo->slots, .lane_off = geo->lane_off, .lane_stride = geo->lane_stride,
		.data_off = geo->data_off, .data_stride = geo->data_stride,
	};
	struct vos_local_conn c = { -1, -1, -1, -1, -1 };
	int pair[2], r;

	c.region = memfd_create("virtuos-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c.region < 0 || ftruncate(c.region, (off_t)geo->size) ||
	    pwrite(c.region, &head, sizeof head, 0) != (ssize_t)sizeof head ||
	    fcntl(c.region, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		goto failed;
	c.doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c.doorbell < 0 || c.wake < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		goto failed;
	c.control_client = pair[0];
	c.control_proxy = pair[1];
	*ret = c;
	return 0;
failed:
	r = -errno;
	vos_local_close(&c);
	return r;
}
