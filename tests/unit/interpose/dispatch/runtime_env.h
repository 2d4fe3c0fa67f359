/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What remote.c needs around it, in a plain test program: carriers, and a descriptor map that moves nothing. */
#ifndef VOS_TEST_RUNTIME_ENV_H
#define VOS_TEST_RUNTIME_ENV_H

#include <asm/prctl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include "harness.h"
#include "kept.h"
#include "interpose/dispatch/fdmap.h"
#include "interpose/dispatch/remote_impl.h"

static struct vos_proc proc;
static struct vos_domain net;
static unsigned restored;
static int restore_calls;

int vos_fd_own(int fd, int *where)
{
	if (where)
		*where = fd;
	return fd;
}

void vos_fd_disown(int fd)
{
	if (fd >= 0)
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

void vos_domain_restored(struct vos_domain *d)
{
	int err = 0;

	restored++;
	/* What the net room does: it calls the domain from in here. */
	for (int i = 0; i < restore_calls; i++) {
		struct vos_lane_client *l = vos_remote_lane(d, &err);
		struct vos_req req = { .op = VOS_OP_NULL };

		if (l)
			vos_remote_call(l, &req, NULL);
	}
}

/* The calling thread becomes a carrier of p. */
static inline struct vos_carrier *become_carrier_of(struct vos_proc *p)
{
	struct vos_carrier *c = kept(calloc(1, sizeof *c));

	c->self = c;
	c->proc = p;
	c->thread = kept(calloc(1, sizeof *c->thread));
	c->thread->carrier = c;
	syscall(SYS_arch_prctl, ARCH_SET_GS, c);
	return c;
}

static inline struct vos_carrier *become_carrier(void)
{
	return become_carrier_of(&proc);
}

static inline void end_carrier(void)
{
	struct vos_carrier *c = vos_self();

	vos_remote_carrier_gone(c);
	free(c->thread);
	free(c);
}

/* A process with one domain, and a supervisor for it. */
static inline struct daemon begin(void)
{
	struct daemon d = daemon_start(NULL);

	strcpy(net.name, "local");
	net.kind = VOS_KIND_NET;
	proc.domain[0] = &net;
	proc.ndomains = 1;
	become_carrier();
	cr_assert_eq(vos_remote_start(&proc, dup(d.session), NULL, NULL, NULL), 0);
	return d;
}

static inline void end(struct daemon *d)
{
	end_carrier();
	close(proc.session_fd);
	if (net.conn)
		vos_conn_put(net.conn);
	daemon_end(d);
}

static inline struct vos_lane_client *lane(void)
{
	int err = 0;
	struct vos_lane_client *l = vos_remote_lane(&net, &err);

	cr_assert(l, "no lane: %d", err);
	return l;
}

static inline long rcall(uint16_t op, uint64_t a, uint64_t b)
{
	struct vos_req req = { .op = op, .arg = { a, b } };

	return vos_remote_call(lane(), &req, NULL);
}

#endif
