/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client side of lanes over the faulty transport, the server a thread of this process: so sanitizers see both sides. */
#include "runtime_env.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include "transport/faulty/faulty.h"
#include "transport/local/make.h"

TestSuite(faulty, .timeout = 60);

static struct vos_transport server;
static _Atomic bool stop, silent;
/* How VOS_OP_FILE is served: honestly, or not. */
static _Atomic enum { HONEST, LIAR, FLOOD, PIPE, REFUSER } manner;

/* The file of descriptor n is n bytes long. */
static long gift(const struct vos_req *req)
{
	int fd, pair[2];
	long r = 0;

	switch (atomic_load(&manner)) {
	case REFUSER:
		return -EOPNOTSUPP;
	case LIAR:
		return 0;
	case PIPE:
		cr_assert_eq(pipe(pair), 0);
		r = server.ops->give_file(&server, req->arg[1], pair[0]);
		close(pair[0]);
		close(pair[1]);
		return r;
	default:
		fd = memfd_create("gift", MFD_CLOEXEC);
		cr_assert_eq(ftruncate(fd, (off_t)req->arg[0]), 0);
		for (unsigned i = 0; atomic_load(&manner) == FLOOD && i < 100; i++)
			server.ops->give_file(&server, ~req->arg[1] - i, fd);
		r = server.ops->give_file(&server, req->arg[1], fd);
		close(fd);
		return r;
	}
}

/* Answers with arg[0] + 1, arg[1] µs later; after `idle` empty looks it sleeps. */
static void *serve(void *arg)
{
	static struct vos_lane_view v[VOS_LANES_MAX];
	struct vos_region_server *s = vos_region_server(server.base);
	unsigned looks = 0, idle = (unsigned)(uintptr_t)arg;

	for (uint32_t i = 0; i < server.geo.lanes; i++)
		vos_lane_view_init(&v[i], server.base, &server.geo, i);
	atomic_store(&s->state, VOS_SERVER_UP);
	while (!atomic_load(&stop)) {
		bool found = false;

		for (uint32_t i = 0; i < server.geo.lanes; i++) {
			struct vos_req req;

			while (!atomic_load(&silent) && vos_sq_pop(&v[i], &req) == 1) {
				struct vos_cqe cqe = { .user = req.user, .res = (int64_t)req.arg[0] + 1 };
				uint32_t mode;

				if (req.op == VOS_OP_NULL && req.arg[1])
					usleep((useconds_t)req.arg[1]);
				if (req.op == VOS_OP_FILE)
					cqe.res = gift(&req);
				found = true;
				if (vos_cq_push(&v[i], &cqe))
					return NULL;
				mode = vos_lane_take_sleep(v[i].lane);
				if (mode)
					server.ops->wake_lane(&server, v[i].lane, mode);
			}
		}
		if (found) {
			looks = 0;
		} else if (looks++ < idle) {
			sched_yield();
		} else {
			struct pollfd p = { server.doorbell_fd, POLLIN, 0 };

			looks = 0;
			vos_server_publish_sleep(s);
			for (uint32_t i = 0; i < server.geo.lanes; i++)
				found |= vos_sq_ready(&v[i]);
			/* Short, as rings may be lost here. */
			if (!found && poll(&p, 1, 30) > 0)
				server.ops->drain(&server, server.doorbell_fd);
			atomic_exchange(&s->asleep, 0);
		}
	}
	return NULL;
}

static pthread_t server_thread;

static struct vos_conn *connect_faulty(uint32_t lanes, uint32_t slots, uintptr_t idle)
{
	struct vos_local_conn c;
	struct vos_msg m;
	struct vos_msg_fds fds = { .n = 4 };
	struct vos_conn *conn;
	int err = 0;

	vos_msg_init(&m, VOS_MSG_JOINED);
	cr_assert_eq(vos_region_layout(lanes, slots, 65536, &m.geo), 0);
	cr_assert_eq(vos_local_make(&m.geo, &c), 0);
	strcpy(m.domain, "faulty");
	m.proxy = 1;
	strcpy(net.name, "local");
	net.kind = VOS_KIND_NET;
	proc.domain[0] = &net;
	proc.ndomains = 1;
	proc.session_fd = -1;
	become_carrier();
	vos_spin_init();
	server = (struct vos_transport){ .ops = &vos_transport_faulty, .geo = m.geo, .region_fd = dup(c.region),
		.doorbell_fd = dup(c.doorbell), .wake_fd = dup(c.wake), .control_fd = c.control_proxy };
	cr_assert_eq(server.ops->attach(&server, false), 0);
	fds.fd[0] = c.region;
	fds.fd[1] = c.doorbell;
	fds.fd[2] = c.wake;
	fds.fd[3] = c.control_client;
	conn = vos_conn_new(&net, &m, &fds, true, &err);
	cr_assert(conn, "%d", err);
	net.conn = conn;
	net.epoch = conn->epoch;
	net.state = VOS_DOM_UP;
	pthread_create(&server_thread, NULL, serve, (void *)idle);
	return conn;
}

static void finish(void)
{
	end_carrier();
	atomic_store(&stop, true);
	pthread_join(server_thread, NULL);
	if (net.conn)
		vos_conn_put(net.conn);
	server.ops->detach(&server);
}

static _Atomic unsigned failures;

static void *worker(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg, seed = n;

	become_carrier();
	for (uint64_t i = 0; i < n; i++) {
		struct vos_req req = { .op = VOS_OP_NULL, .arg = { i, rand_r(&seed) % 20 ? 0 : rand_r(&seed) % 200 } };
		struct vos_lane_client *l = lane();
		uint64_t off;
		void *p = vos_lane_alloc(l, 1 + rand_r(&seed) % 2000, &off);

		if (vos_remote_call(l, &req, NULL) != (long)i + 1)
			atomic_fetch_add(&failures, 1);
		vos_lane_free(l, p);
	}
	end_carrier();
	return NULL;
}

static void storm(unsigned threads, unsigned calls, uint32_t lanes, uint32_t slots, uintptr_t idle)
{
	pthread_t th[64];
	struct vos_conn *conn = connect_faulty(lanes, slots, idle);

	for (unsigned i = 0; i < threads; i++)
		pthread_create(&th[i], NULL, worker, (void *)(uintptr_t)calls);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(th[i], NULL);
	cr_assert_eq(failures, 0);
	for (uint32_t i = 0; i < conn->nlanes; i++)
		cr_assert_eq(conn->lane[i].held, 0);
	finish();
}

Test(faulty, storm_without_faults) { storm(8, 2000, 8, 32, 50); }
Test(faulty, storm_where_both_sides_sleep_each_time) { storm(4, 1000, 8, 32, 0); }
Test(faulty, storm_on_one_shared_lane) { storm(16, 500, 1, 32, 20); }
Test(faulty, storm_on_more_threads_than_slots) { storm(40, 100, 1, 16, 20); }

Test(faulty, late_and_repeated_wakes)
{
	vos_faults.delay_us = 300;
	vos_faults.duplicates = 3;
	storm(4, 200, 8, 32, 0);
}

Test(faulty, stray_and_interrupted_sleeps)
{
	vos_faults.stray = 2;
	vos_faults.interrupted = 3;
	storm(8, 500, 4, 32, 0);
}

Test(faulty, lost_rings_cost_time_and_nothing_else)
{
	vos_faults.mute = 5;
	storm(4, 50, 8, 32, 0);
}

static void *killer(void *arg)
{
	usleep(50000);
	atomic_store((_Atomic uint32_t *)arg, 1);
	return NULL;
}

static void dies(_Atomic uint32_t *how, unsigned ms)
{
	struct vos_conn *conn = connect_faulty(4, 32, 0);
	struct vos_req req = { .op = VOS_OP_NULL };
	struct vos_cqe cqe;
	struct timespec a, b;
	pthread_t th;

	atomic_store(&silent, true);
	pthread_create(&th, NULL, killer, how);
	clock_gettime(CLOCK_MONOTONIC, &a);
	cr_assert_eq(vos_remote_call(lane(), &req, &cqe), -ECONNRESET);
	clock_gettime(CLOCK_MONOTONIC, &b);
	cr_assert_eq(cqe.flags, VOS_CQE_DEAD);
	cr_assert_leq((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000, ms);
	cr_assert_eq(net.state, VOS_DOM_DOWN);
	cr_assert(vos_conn_dead(conn));
	pthread_join(th, NULL);
	finish();
}

Test(faulty, a_dead_peer_is_seen_within_a_slice)
{
	dies(&vos_faults.dead, 50 + 60 + 40);
}

Test(faulty, the_state_word_tells_when_the_transport_does_not)
{
	vos_faults.blind = 1;
	struct vos_conn *conn = connect_faulty(4, 32, 0);
	struct vos_lane_client *l = lane();
	struct vos_req req = { .op = VOS_OP_NULL };

	cr_assert_eq(vos_remote_call(l, &req, NULL), 1);
	atomic_store(&silent, true);
	atomic_store(&vos_region_server(server.base)->state, VOS_SERVER_DEAD);
	cr_assert_eq(vos_remote_call(l, &req, NULL), -ECONNRESET);
	cr_assert(vos_conn_dead(conn));
	finish();
}

Test(faulty, all_threads_hear_of_a_death)
{
	enum { N = 12 };
	pthread_t th[N];

	connect_faulty(4, 32, 50);
	vos_remote_call(lane(), &(struct vos_req){ .op = VOS_OP_NULL }, NULL);
	atomic_store(&silent, true);
	for (int i = 0; i < N; i++)
		pthread_create(&th[i], NULL, worker, (void *)1);
	usleep(100000);
	atomic_store(&vos_faults.dead, 1);
	for (int i = 0; i < N; i++)
		pthread_join(th[i], NULL);
	cr_assert_eq(failures, N);
	finish();
}

static int files_open(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void *taker(void *arg)
{
	uint64_t n = (uintptr_t)arg;
	struct stat st;

	become_carrier();
	for (uint64_t i = 0; i < 300; i++) {
		int fd = vos_remote_file(lane(), (int32_t)(n * 1000 + i));

		cr_assert_geq(fd, 0, "%d", fd);
		cr_assert_eq(fstat(fd, &st), 0);
		cr_assert_eq((uint64_t)st.st_size, n * 1000 + i, "another's file");
		close(fd);
	}
	end_carrier();
	return NULL;
}

Test(faulty, each_thread_gets_the_file_that_it_asked_for)
{
	enum { N = 8 };
	pthread_t th[N];
	int open_before;

	connect_faulty(4, 32, 50);
	vos_faults.delay_us = 20;
	open_before = files_open();
	for (uintptr_t i = 0; i < N; i++)
		pthread_create(&th[i], NULL, taker, (void *)i);
	for (int i = 0; i < N; i++)
		pthread_join(th[i], NULL);
	cr_assert_eq(files_open(), open_before);
	finish();
}

Test(faulty, a_server_that_hands_over_other_things_is_not_believed)
{
	int before, fd;

	connect_faulty(4, 32, 50);
	before = files_open();
	atomic_store(&manner, LIAR);
	cr_assert_eq(vos_remote_file(lane(), 5), -EIO);
	atomic_store(&manner, PIPE);
	cr_assert_eq(vos_remote_file(lane(), 5), -EIO);
	atomic_store(&manner, REFUSER);
	cr_assert_eq(vos_remote_file(lane(), 5), -EOPNOTSUPP);
	atomic_store(&manner, FLOOD);
	fd = vos_remote_file(lane(), 5);
	cr_assert_geq(fd, 0);
	close(fd);
	/* What nobody asked for is not kept without bound. */
	cr_assert_leq(files_open(), before + (int)VOS_FILES_WAITING);
	atomic_store(&manner, HONEST);
	fd = vos_remote_file(lane(), 6);
	cr_assert_geq(fd, 0);
	close(fd);
	finish();
}

Test(faulty, a_region_that_cannot_be_attached_is_an_error)
{
	struct vos_local_conn c;
	struct vos_msg m;
	struct vos_msg_fds fds = { .n = 4 };
	int err = 0;

	vos_msg_init(&m, VOS_MSG_JOINED);
	vos_region_layout(2, 16, 4096, &m.geo);
	vos_local_make(&m.geo, &c);
	vos_faults.attach_error = ENOMEM;
	for (int round = 0; round < 3; round++) {
		const char *name[] = { "faulty", "nosuch", "faulty" };

		fds = (struct vos_msg_fds){ 4, { dup(c.region), dup(c.doorbell), dup(c.wake), dup(c.control_client), -1, -1, -1, -1 } };
		strcpy(m.domain, name[round]);
		if (round == 2)
			m.geo.slots = 4; /* fewer than a client needs */
		cr_assert_null(vos_conn_new(&net, &m, &fds, true, &err));
		cr_assert_eq(err, round == 0 ? -ENOMEM : -EPROTO);
		vos_msg_close_fds(&fds);
	}
	vos_local_close(&c);
}

/* Whatever a mad server leaves in the region: calls end, and nothing outside the region is touched. */
Test(faulty, damage_of_every_kind_ends_calls_and_nothing_else, .timeout = 120)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		enum vos_damage what = (enum vos_damage)(seed % VOS_DAMAGE_END);
		struct vos_conn *conn = connect_faulty(2, 16, 20);
		struct vos_lane_client *l = lane();
		bool ended = false;

		for (int i = 0; i < 40 && !ended; i++) {
			struct vos_pending p, *one = &p;
			struct vos_req req = { .op = VOS_OP_NULL, .arg = { 1 } };
			struct vos_wait w = { .deadline_ns = vos_remote_now() + 20000000 };
			int r = vos_remote_begin(l, &req, &p);

			if (i == 10) {
				atomic_store(&silent, true);
				vos_faulty_damage(&server, what, seed);
				atomic_store(&silent, false);
			}
			if (r) {
				ended = true;
				break;
			}
			r = vos_remote_wait(&one, 1, &w);
			if (r == -ETIMEDOUT) {
				/* The rings are out of step for good: the connection is given up, and so completes it. */
				vos_conn_died(conn, -EPIPE);
				w.deadline_ns = VOS_NEVER;
				r = vos_remote_wait(&one, 1, &w);
				ended = true;
			}
			cr_assert_eq(r, 0);
			cr_assert(p.cqe.res >= -4095);
			cr_assert_eq(p.cqe.flags & ~(VOS_CQE_ESCAPE | VOS_CQE_DEAD), 0);
		}
		finish();
		atomic_store(&stop, false);
		net.conn = NULL;
	}
}
