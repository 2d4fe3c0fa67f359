/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection of the local transport with both ends in this process, and a server that answers VOS_OP_NULL. */
#ifndef VOS_TEST_FIXTURE_H
#define VOS_TEST_FIXTURE_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <virtuos/lane.h>
#include <virtuos/transport.h>
#include "transport/local/make.h"

struct both {
	struct vos_region_geo geo;
	struct vos_transport client, server;
};

static inline struct vos_transport side(const struct vos_region_geo *g, const struct vos_local_conn *c, int control)
{
	return (struct vos_transport){
		.ops = &vos_transport_local, .geo = *g,
		.region_fd = fcntl(c->region, F_DUPFD_CLOEXEC, 0), .doorbell_fd = fcntl(c->doorbell, F_DUPFD_CLOEXEC, 0),
		.wake_fd = fcntl(c->wake, F_DUPFD_CLOEXEC, 0), .control_fd = fcntl(control, F_DUPFD_CLOEXEC, 0),
	};
}

static inline void connect_both(struct both *b, uint32_t lanes, uint32_t slots)
{
	struct vos_local_conn c;

	cr_assert_eq(vos_region_layout(lanes, slots, 65536, &b->geo), 0);
	cr_assert_eq(vos_local_make(&b->geo, &c), 0);
	b->client = side(&b->geo, &c, c.control_client);
	b->server = side(&b->geo, &c, c.control_proxy);
	vos_local_close(&c);
	cr_assert_eq(b->client.ops->attach(&b->client, true), 0);
	cr_assert_eq(b->server.ops->attach(&b->server, false), 0);
}

/*
 * Serves all lanes until the client leaves: each request is answered with arg[0] + 1.  Sleeps on its doorbell when `idle`
 * looks found nothing.
 */
static inline void serve(struct vos_transport *t, unsigned idle)
{
	struct vos_lane_view v[8];
	struct vos_region_server *s = vos_region_server(t->base);
	struct vos_region_client *c = vos_region_client(t->base);
	unsigned looks = 0;

	for (uint32_t i = 0; i < t->geo.lanes; i++)
		vos_lane_view_init(&v[i], t->base, &t->geo, i);
	atomic_store(&s->state, VOS_SERVER_UP);
	while (!atomic_load(&c->leaving)) {
		bool found = false;

		for (uint32_t i = 0; i < t->geo.lanes; i++) {
			struct vos_req req;
			int r = vos_sq_pop(&v[i], &req);
			struct vos_cqe cqe = { .user = req.user, .res = (int64_t)req.arg[0] + 1 };

			if (r < 0)
				return;
			if (r == 0)
				continue;
			found = true;
			if (vos_cq_push(&v[i], &cqe))
				return;
			uint32_t mode = vos_lane_take_sleep(v[i].lane);
			if (mode)
				t->ops->wake_lane(t, v[i].lane, mode);
		}
		if (found) {
			looks = 0;
			continue;
		}
		if (looks++ < idle) {
			sched_yield();
			continue;
		}
		looks = 0;
		vos_server_publish_sleep(s);
		for (uint32_t i = 0; i < t->geo.lanes; i++)
			found |= vos_sq_ready(&v[i]);
		if (!found && !atomic_load(&c->leaving)) {
			struct pollfd p[2] = { { t->doorbell_fd, POLLIN, 0 }, { t->control_fd, POLLRDHUP, 0 } };

			if (poll(p, 2, 5000) == 0)
				return;
			if (p[1].revents)
				return;
			t->ops->drain(t, t->doorbell_fd);
		}
		atomic_exchange(&s->asleep, 0);
	}
}

#endif
