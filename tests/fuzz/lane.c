/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server that writes anything anywhere in the region, against the client's lanes; and a client that does, against the pop and
 * push of a server.  Requests complete once, with values that a completion may have, and no memory but the region is touched.
 */
#include <asm/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "interpose/dispatch/fdmap.h"
#include "interpose/dispatch/remote_impl.h"
#include "transport/local/make.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UNDER_WAY 12

static struct vos_carrier carrier;
static struct vos_thread thread;
static struct vos_proc proc;
static struct vos_domain net = { .kind = VOS_KIND_NET, .name = "local" };

int vos_fd_own(int fd, int *where)
{
	if (where)
		*where = fd;
	return fd;
}

void vos_fd_disown(int fd)
{
	close(fd);
}

uint64_t vos_fd_limit_lift(void)
{
	return 0;
}

void vos_fd_limit_restore(uint64_t soft)
{
	(void)soft;
}

static struct vos_conn *fresh(struct vos_local_conn *c)
{
	struct vos_msg m;
	struct vos_msg_fds fds = { .n = 4 };
	struct vos_conn *conn;
	int err;

	vos_msg_init(&m, VOS_MSG_JOINED);
	strcpy(m.domain, "local");
	m.proxy = 1;
	if (vos_region_layout(2, 16, 8192, &m.geo) || vos_local_make(&m.geo, c))
		abort();
	fds.fd[0] = dup(c->region);
	fds.fd[1] = dup(c->doorbell);
	fds.fd[2] = dup(c->wake);
	fds.fd[3] = dup(c->control_client);
	conn = vos_conn_new(&net, &m, &fds, true, &err);
	if (!conn)
		abort();
	return conn;
}

static void finish(struct vos_pending *p)
{
	if (p->cqe.res < -4095 || (p->cqe.flags & ~(VOS_CQE_ESCAPE | VOS_CQE_DEAD)))
		abort();
	p->lane = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vos_pending p[UNDER_WAY] = { 0 };
	struct vos_wait w = { .deadline_ns = 0 };
	struct vos_lane_view server;
	struct vos_local_conn c;
	struct vos_conn *conn;
	struct vos_lane_client *l;
	int err = 0;

	if (!carrier.self) {
		carrier = (struct vos_carrier){ .self = &carrier, .proc = &proc, .thread = &thread };
		thread.carrier = &carrier;
		proc.domain[0] = &net;
		proc.ndomains = 1;
		proc.session_fd = -1;
		syscall(SYS_arch_prctl, ARCH_SET_GS, &carrier);
	}
	conn = fresh(&c);
	net.conn = conn;
	net.epoch = 1;
	net.state = VOS_DOM_UP;
	l = vos_remote_lane(&net, &err);
	if (!l)
		abort();
	vos_lane_view_init(&server, conn->t.base, &conn->t.geo, 0);
	while (size >= 8) {
		uint8_t op = data[0] % 6, k = data[1] % UNDER_WAY;
		uint32_t off = (uint32_t)data[2] << 8 | data[3];
		struct vos_req req = { .op = VOS_OP_NULL };
		struct vos_pending *one = &p[k];
		struct vos_cqe cqe;

		switch (op) {
		case 0:
			/* Anything, anywhere but the head of the region. */
			off = VOS_PAGE + off % (uint32_t)(conn->t.geo.size - VOS_PAGE - 4);
			memcpy((char *)conn->t.base + off, data + 4, 4);
			break;
		case 1:
			if (!one->lane && vos_remote_begin(l, &req, one) == 0 && !one->lane)
				abort();
			break;
		case 2:
			if (one->lane && vos_remote_wait(&one, 1, &w) == 0)
				finish(one);
			break;
		case 3:
			/* An honest answer, or nearly. */
			if (vos_sq_pop(&server, &req) == 1) {
				cqe = (struct vos_cqe){ .user = req.user ^ (data[4] & 1), .res = (int8_t)data[5], .flags = data[6] };
				vos_cq_push(&server, &cqe);
			}
			break;
		case 4: {
			uint64_t at;
			void *mem = vos_lane_alloc(l, off, &at);

			if (mem) {
				memset(mem, 1, off);
				vos_lane_free(l, mem);
			}
			break;
		}
		default:
			vos_conn_look(conn);
		}
		data += 8;
		size -= 8;
	}
	vos_conn_died(conn, -EPIPE);
	for (unsigned i = 0; i < UNDER_WAY; i++) {
		struct vos_pending *one = &p[i];

		if (!one->lane)
			continue;
		if (vos_remote_wait(&one, 1, &w) != 0)
			abort();
		finish(one);
	}
	if (l->held)
		abort();
	vos_remote_carrier_gone(&carrier);
	if (conn->refs != 1)
		abort();
	vos_conn_put(conn);
	vos_local_close(&c);
	return 0;
}
