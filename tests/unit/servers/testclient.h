/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client of a domain server for tests and benchmarks: plain libc, no runtime, no supervisor.  It starts virtuos-domain with
 * itself as the supervisor, makes regions, has proxies spawned and forked, and issues any operation.
 */
#ifndef TESTCLIENT_H
#define TESTCLIENT_H

#include <stdbool.h>
#include <sys/types.h>
#include <virtuos/lane.h>
#include <virtuos/msg.h>
#include <virtuos/transport.h>

struct tc_domain {
	pid_t pid;
	int sock;           /* the supervisor's end */
	uint64_t last_id;
	uint32_t kind;
	struct vos_msg msg; /* the last message that was received */
};

struct tc {
	struct tc_domain *dom;
	uint64_t id;
	pid_t pid;          /* of the proxy */
	struct vos_transport t;
	struct vos_lane_view *lane;
	uint64_t next_user;
	uint64_t used;      /* bytes of lane 0's data area that tc_alloc() gave away */
	bool spin;          /* wait by looking only */
	struct vos_cqe stash[64]; /* completions of lane 0 that came while tc() waited for its own */
	uint32_t nstash;
};

/* The program under test: $VIRTUOS_DOMAIN, or virtuos-domain beside the test's build root. */
/* Starts a domain; aborts the test with a line when it does not come up.  root may be NULL. */
void tc_start(struct tc_domain *d, uint32_t kind, const char *root);
/* The same, but returns the status that the domain reported (text in d->msg.text). */
int  tc_try_start(struct tc_domain *d, uint32_t kind, const char *root, const char *netns);
/* Closes the supervisor's socket and waits for the end: its wait status. */
int  tc_stop(struct tc_domain *d);
/* One message from the broker; false after ms. */
bool tc_receive(struct tc_domain *d, int ms);

/* A proxy, its credentials this process's.  0, or the negative status (text in d->msg.text). */
int  tc_join(struct tc_domain *d, struct tc *c, uint32_t lanes, uint32_t slots, uint64_t data);
int  tc_join_as(struct tc_domain *d, struct tc *c, uint32_t lanes, uint32_t slots, uint64_t data, uint32_t uid, uint32_t gid);
/* A fork of c's proxy. */
int  tc_fork(struct tc *c, struct tc *child);
/* Lets go of the region: the proxy ends. */
void tc_leave(struct tc *c);

/* Submit on a lane; the request's user word. */
uint64_t tc_submit(struct tc *c, uint32_t lane, uint16_t op, uint16_t flags, const uint64_t arg[6]);
/* The next completion of a lane; false after ms or when the proxy has died. */
bool tc_reap(struct tc *c, uint32_t lane, struct vos_cqe *ret, int ms);
/* Submit and wait on lane 0: the result; aborts the test when nothing comes in ten seconds.  The completion in tc_cqe. */
long tc_call(struct tc *c, uint16_t op, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
extern struct vos_cqe tc_cqe;
/* tc(&c, __NR_read, fd, off, len) */
#define tc(c, op, ...) tc_x(c, op, (uint64_t[6]){ __VA_ARGS__ })
long tc_x(struct tc *c, uint16_t op, const uint64_t a[6]);

/* Memory of lane 0's data area: offset, and the address.  tc_reset() gives all back. */
uint64_t tc_alloc(struct tc *c, size_t len);
void *tc_at(struct tc *c, uint64_t off);
uint64_t tc_str(struct tc *c, const char *s);
uint64_t tc_bytes(struct tc *c, const void *p, size_t len);
void tc_reset(struct tc *c);

#endif
