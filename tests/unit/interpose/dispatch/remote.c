/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client side of lanes, joined through a real virtuosd to a domain server that misbehaves when told. */
#include "runtime_env.h"

#include <sys/eventfd.h>
#include <time.h>

TestSuite(remote, .timeout = 60);

static uint64_t since(uint64_t start)
{
	return (vos_remote_now() - start) / 1000000;
}

Test(remote, calls_and_counts)
{
	struct daemon d = begin();
	struct vos_remote_counts *n = &vos_self()->remote;

	for (uint64_t i = 0; i < 20000; i++)
		cr_assert_eq(rcall(VOS_OP_NULL, i, 0), (long)i + 1);
	cr_assert_eq(n->submits, 20000);
	cr_assert_eq(n->joins, 1);
#ifndef VOS_TEST_PLAIN /* under ThreadSanitizer the answers come too slowly to be met spinning */
	cr_assert_gt(n->spins, 15000, "spins %lu yields %lu sleeps %lu doorbells %lu", n->spins, n->yields, n->sleeps, n->doorbells);
#endif
	cr_log_info("spins %lu yields %lu sleeps %lu doorbells %lu", n->spins, n->yields, n->sleeps, n->doorbells);
	cr_assert_eq(rcall(999, 0, 0), -ENOSYS);
	end(&d);
}

Test(remote, payload_memory_is_reachable_by_the_server)
{
	struct daemon d = begin();
	struct vos_lane_client *l = lane();
	uint64_t off;
	unsigned char *p = vos_lane_alloc(l, 5000, &off);

	cr_assert(p);
	cr_assert_eq((uintptr_t)p % 64, 0);
	struct vos_req req = { .op = FAKE_FILL, .arg = { off, 5000, 0x5a } };
	cr_assert_eq(vos_remote_call(l, &req, NULL), 5000);
	for (int i = 0; i < 5000; i++)
		cr_assert_eq(p[i], 0x5a);
	vos_lane_free(l, p);
	vos_lane_free(l, NULL);
	p = vos_lane_alloc(l, vos_lane_max(l), &off);
	cr_assert(p);
	vos_lane_free(l, p);
	end(&d);
}

Test(remote, a_wait_ends_at_its_deadline_and_the_request_can_be_cancelled)
{
	struct daemon d = begin();
	struct vos_lane_client *l = lane();
	struct vos_pending p, *one = &p;
	struct vos_req req = { .op = FAKE_PARK };
	struct vos_wait w = { .deadline_ns = vos_remote_now() + 120000000 };
	uint64_t start = vos_remote_now();

	cr_assert_eq(vos_remote_begin(l, &req, &p), 0);
	cr_assert_eq(vos_remote_wait(&one, 1, &w), -ETIMEDOUT);
	cr_assert_geq(since(start), 119);
	cr_assert_leq(since(start), 1000);
	vos_remote_cancel(&p);
	cr_assert_eq(p.cqe.res, -ECANCELED);
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	end(&d);
}

static struct vos_carrier *victim;

static void *kicker(void *arg)
{
	usleep((useconds_t)(uintptr_t)arg);
	atomic_store(&victim->thread->sig_pending, 1);
	vos_remote_kick(victim);
	return NULL;
}

Test(remote, a_signal_ends_a_call_with_nothing_done)
{
	struct daemon d = begin();
	unsigned slow = 0;

	victim = vos_self();
	rcall(VOS_OP_NULL, 0, 0);
	for (uintptr_t us = 0; us < 300; us += 3) {
		pthread_t th;
		uint64_t start = vos_remote_now();

		pthread_create(&th, NULL, kicker, (void *)us);
		cr_assert_eq(rcall(FAKE_PARK, 0, 0), -VOS_ERESTARTSYS);
		slow += since(start) > 45;
		pthread_join(th, NULL);
		atomic_store(&victim->thread->sig_pending, 0);
	}
	/* A kick that is lost costs a slice.  So may a busy machine, but not each time. */
	cr_assert_leq(slow, 20);
	end(&d);
}

Test(remote, a_signal_ends_a_wait_in_poll)
{
	struct daemon d = begin();
	struct pollfd fds[1 + VOS_WAIT_SPARE] = { { .fd = eventfd(0, 0), .events = POLLIN } };

	victim = vos_self();
	for (uintptr_t us = 0; us < 300; us += 3) {
		struct vos_pending p, *one = &p;
		struct vos_req req = { .op = FAKE_PARK };
		struct vos_wait w = { .deadline_ns = VOS_NEVER, .interruptible = true, .fds = fds, .nfds = 1 };
		uint64_t start = vos_remote_now();
		pthread_t th;

		cr_assert_eq(vos_remote_begin(lane(), &req, &p), 0);
		pthread_create(&th, NULL, kicker, (void *)us);
		cr_assert_eq(vos_remote_wait(&one, 1, &w), -VOS_ERESTARTSYS);
		cr_assert_leq(since(start), 1000);
		pthread_join(th, NULL);
		atomic_store(&victim->thread->sig_pending, 0);
		vos_remote_cancel(&p);
		cr_assert_eq(p.cqe.res, -ECANCELED);
	}
	end(&d);
}

static void *ringer(void *arg)
{
	uint64_t one = 1;

	usleep(20000);
	cr_assert_eq(write(*(int *)arg, &one, 8), 8);
	return NULL;
}

Test(remote, native_descriptors_and_requests_are_waited_for_at_once)
{
	struct daemon d = begin();
	int fd = eventfd(0, EFD_NONBLOCK);
	struct pollfd fds[1 + VOS_WAIT_SPARE] = { { .fd = fd, .events = POLLIN } };
	struct vos_pending p[2], *all[2] = { &p[0], &p[1] };
	struct vos_req park = { .op = FAKE_PARK }, sleep_req = { .op = FAKE_SLEEP, .arg = { 30 } };
	struct vos_wait w = { .deadline_ns = VOS_NEVER, .fds = fds, .nfds = 1 };
	pthread_t th;
	uint64_t v;

	cr_assert_eq(vos_remote_begin(lane(), &park, &p[0]), 0);
	pthread_create(&th, NULL, ringer, &fd);
	cr_assert_eq(vos_remote_wait(all, 1, &w), VOS_WAIT_NATIVE);
	cr_assert(fds[0].revents & POLLIN);
	pthread_join(th, NULL);
	cr_assert_eq(read(fd, &v, 8), 8);
	cr_assert_eq(vos_remote_begin(lane(), &sleep_req, &p[1]), 0);
	cr_assert_eq(vos_remote_wait(all, 2, &w), 1, "the one that ends");
	vos_remote_cancel(&p[0]);
	/* Without requests, and with a deadline that has passed. */
	w.deadline_ns = vos_remote_now() + 10000000;
	cr_assert_eq(vos_remote_wait(NULL, 0, &w), -ETIMEDOUT);
	v = 1;
	cr_assert_eq(write(fd, &v, 8), 8);
	w.deadline_ns = 0;
	cr_assert_eq(vos_remote_wait(NULL, 0, &w), VOS_WAIT_NATIVE, "a poll of zero looks once");
	end(&d);
}

/* ---- threads --------------------------------------------------------------------------------------------------------------- */

static _Atomic unsigned calls_done;

static void *caller(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;

	become_carrier();
	for (uint64_t i = 0; i < n; i++) {
		uint64_t off;
		struct vos_lane_client *l = lane();
		unsigned char *p = vos_lane_alloc(l, 100 + i % 3000, &off);
		struct vos_req req = { .op = FAKE_FILL, .arg = { off, 100, i & 0xff } };

		cr_assert_eq(rcall(VOS_OP_NULL, i, 0), (long)i + 1);
		if (p) {
			cr_assert_eq(vos_remote_call(l, &req, NULL), 100);
			cr_assert_eq(p[99], i & 0xff);
		}
		vos_lane_free(l, p);
		atomic_fetch_add(&calls_done, 1);
	}
	end_carrier();
	return NULL;
}

Test(remote, more_threads_than_lanes_share)
{
	enum { N = 60 };
	struct daemon d = begin();
	pthread_t th[N];

	for (int i = 0; i < N; i++)
		pthread_create(&th[i], NULL, caller, (void *)200);
	for (int i = 0; i < N; i++)
		pthread_join(th[i], NULL);
	cr_assert_eq(calls_done, N * 200);
	/* All lanes are free again. */
	for (uint32_t i = 0; i < net.conn->nlanes; i++)
		cr_assert_not(net.conn->lane[i].active && net.conn->lane[i].users);
	end(&d);
}

static void *parker(void *arg)
{
	(void)arg;
	become_carrier();
	cr_assert_eq(rcall(FAKE_PARK, 0, 0), 55);
	atomic_fetch_add(&calls_done, 1);
	end_carrier();
	return NULL;
}

Test(remote, sleepers_of_a_shared_lane_are_all_woken)
{
	enum { N = 60 };
	struct daemon d = begin();
	pthread_t th[N];
	uint64_t start;

	rcall(VOS_OP_NULL, 0, 0);
	for (int i = 0; i < N; i++)
		pthread_create(&th[i], NULL, parker, NULL);
	usleep(150000);
	start = vos_remote_now();
	while (atomic_load(&calls_done) < N && since(start) < 5000) {
		rcall(FAKE_UNPARK, 55, 0);
		usleep(1000);
	}
	for (int i = 0; i < N; i++)
		pthread_join(th[i], NULL);
	cr_assert_eq(calls_done, N);
	end(&d);
}

/* ---- death ------------------------------------------------------------------------------------------------------------------- */

Test(remote, death_completes_what_is_under_way_and_the_next_call_joins_again)
{
	struct daemon d = begin();
	struct vos_cqe cqe;
	struct vos_req req = { .op = FAKE_EXIT };
	uint64_t epoch, start;

	rcall(VOS_OP_NULL, 0, 0);
	epoch = net.epoch;
	start = vos_remote_now();
	cr_assert_eq(vos_remote_call(lane(), &req, &cqe), -ECONNRESET);
	cr_assert_eq(cqe.flags, VOS_CQE_DEAD);
	cr_assert_leq(since(start), 500);
	restore_calls = 2;
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	cr_assert_eq(restored, 1);
	cr_assert_neq(net.epoch, epoch, "descriptors of the old proxy are stale, though the domain lived on");
	cr_assert_eq(net.state, VOS_DOM_UP);
	/* The broker, and with it the whole domain. */
	pid_t broker = (pid_t)rcall(FAKE_BROKER, 0, 0);
	kill(broker, SIGKILL);
	long r = rcall(FAKE_PARK, 0, 0);
	cr_assert(r == -ECONNRESET, "%ld", r);
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	cr_assert_eq(restored, 2);
	net.kind = VOS_KIND_NET;
	end(&d);
}

Test(remote, memory_of_a_dead_connection_stays_until_it_is_given_back)
{
	struct daemon d = begin();
	struct vos_lane_client *old = lane();
	uint64_t off;
	char *p = vos_lane_alloc(old, 100, &off);
	struct vos_req req = { .op = FAKE_EXIT };
	struct vos_conn *conn = old->conn;

	memset(p, 7, 100);
	cr_assert_eq(vos_remote_call(old, &req, NULL), -ECONNRESET);
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	cr_assert_neq(lane(), old);
	cr_assert_neq(vos_lane_epoch(old), vos_lane_epoch(lane()));
	cr_assert_eq(p[99], 7);
	cr_assert_eq(conn->refs, 1);
	vos_lane_free(old, p);
	end(&d);
}

static void *victim_thread(void *arg)
{
	unsigned ok = 0, dead = 0;

	(void)arg;
	become_carrier();
	while (!atomic_load(&calls_done)) {
		int err = 0;
		struct vos_lane_client *l = vos_remote_lane(&net, &err);
		struct vos_req req = { .op = VOS_OP_NULL, .arg = { 5 } };
		long r;

		cr_assert(l, "%d", err);
		r = vos_remote_call(l, &req, NULL);
		cr_assert(r == 6 || r == -ECONNRESET, "%ld", r);
		ok += r == 6;
		dead += r != 6;
	}
	end_carrier();
	cr_assert_gt(ok, 0);
	(void)dead;
	return NULL;
}

Test(remote, threads_under_load_survive_kills_at_random_moments, .timeout = 120)
{
	enum { N = 6, KILLS = 40 };
	struct daemon d = begin();
	pthread_t th[N];
	unsigned seed = 12345;

	rcall(VOS_OP_NULL, 0, 0);
	for (int i = 0; i < N; i++)
		pthread_create(&th[i], NULL, victim_thread, NULL);
	for (int i = 0; i < KILLS; i++) {
		int err = 0;
		struct vos_lane_client *l = vos_remote_lane(&net, &err);
		struct vos_req req = { .op = i % 2 ? FAKE_BROKER : FAKE_PID };
		long pid;

		usleep((useconds_t)(rand_r(&seed) % 30000));
		cr_assert(l, "%d", err);
		pid = vos_remote_call(l, &req, NULL);
		if (pid > 1)
			kill((pid_t)pid, SIGKILL);
		usleep((useconds_t)(rand_r(&seed) % 3000) + (i % 2 ? 200000 : 0));
	}
	atomic_store(&calls_done, 1);
	for (int i = 0; i < N; i++)
		pthread_join(th[i], NULL);
	end(&d);
}

Test(remote, what_a_hostile_server_makes_up_ends_its_connection_and_nothing_else)
{
	static const uint64_t all[] = { FAKE_WRONG_USER, FAKE_WILD_USER, FAKE_ABSURD_RES };
	struct daemon d = begin();
	unsigned lost = 0;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		cr_assert_eq(rcall(FAKE_MISBEHAVE, all[i], 0), -ECONNRESET, "%lu", all[i]);
		cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2, "a new connection serves");
	}
	cr_assert_eq(rcall(FAKE_MISBEHAVE, FAKE_ABSURD_TAIL, 0), 0, "a tail leads nobody anywhere");
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	cr_assert_eq(rcall(FAKE_MISBEHAVE, FAKE_ABSURD_HEAD, 0), 0);
	for (int i = 0; i < 600; i++) {
		long r = rcall(VOS_OP_NULL, 1, 0);

		cr_assert(r == 2 || r == -ECONNRESET, "%ld", r);
		lost += r != 2;
	}
	cr_assert_leq(lost, 1, "an absurd head costs one connection at most");
	cr_assert_eq(rcall(FAKE_MISBEHAVE, FAKE_TWICE, 0), 0);
	lost = 0;
	for (int i = 0; i < 3; i++)
		lost += rcall(VOS_OP_NULL, 1, 0) != 2;
	cr_assert_leq(lost, 1, "an answer given twice costs one connection at most, whenever it is seen");
	cr_assert_eq(rcall(FAKE_MISBEHAVE, FAKE_STRAY_WAKES, 0), 7, "stray wakes harm nothing");
	struct vos_cqe cqe;
	struct vos_req req = { .op = FAKE_MISBEHAVE, .arg = { FAKE_FLAGS } };
	cr_assert_eq(vos_remote_call(lane(), &req, &cqe), 0);
	cr_assert_eq(cqe.flags, VOS_CQE_ESCAPE, "a server cannot claim its own death");
	end(&d);
}

Test(remote, a_proxy_that_hangs_is_given_up_when_a_cancel_goes_unanswered)
{
	struct daemon d = begin();
	uint64_t start;
	pthread_t th;

	/* Joined: the signal is for the call. */
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	start = vos_remote_now();
	victim = vos_self();
	pthread_create(&th, NULL, kicker, (void *)20000);
	cr_assert_eq(rcall(FAKE_MISBEHAVE, FAKE_DEAF, 0), -ECONNRESET);
	cr_assert_leq(since(start), 8000);
	pthread_join(th, NULL);
	atomic_store(&victim->thread->sig_pending, 0);
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	end(&d);
}

Test(remote, a_domain_that_will_not_come_is_an_error_at_once)
{
	struct daemon d = begin();
	uint64_t start = vos_remote_now();
	int err = 0;

	strcpy(net.name, "local:refuse");
	cr_assert_null(vos_remote_lane(&net, &err));
	cr_assert_eq(err, -ENETDOWN);
	cr_assert_leq(since(start), 2000);
	strcpy(net.name, "local");
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	end(&d);
}

Test(remote, a_try_does_not_wait_for_a_reboot)
{
	struct daemon d = begin();
	uint64_t start;
	int err = 0;

	strcpy(net.name, "local:mute");
	start = vos_remote_now();
	cr_assert_null(vos_remote_lane_try(&net, &err));
	cr_assert_eq(err, -EAGAIN);
	cr_assert_leq(since(start), 200);
	/* And a signal ends the patience of one that waits. */
	victim = vos_self();
	pthread_t th;
	pthread_create(&th, NULL, kicker, (void *)50000);
	start = vos_remote_now();
	cr_assert_null(vos_remote_lane(&net, &err));
	cr_assert_eq(err, -VOS_ERESTARTSYS);
	cr_assert_leq(since(start), 1000);
	pthread_join(th, NULL);
	end(&d);
}

Test(remote, a_supervisor_that_is_gone_is_an_error)
{
	struct daemon d = begin();
	int err = 0;

	kill(d.pid, SIGKILL);
	await_end(d.pid, 2000);
	cr_assert_null(vos_remote_lane(&net, &err));
	cr_assert_eq(err, -ENETDOWN);
}

/* ---- fork, vfork, exec ---------------------------------------------------------------------------------------------------------- */

static void in_child(void (*fn)(struct vos_fork_conns *f), struct vos_fork_conns *f)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		vos_remote_fork_child(&proc, f);
		fn(f);
		_exit(0);
	}
	vos_remote_fork_parent(&proc, f);
	status = await_end(pid, 10000);
	cr_assert_eq(status, 0, "the child: %x", status);
}

static void child_with_state(struct vos_fork_conns *f)
{
	(void)f;
	if (rcall(FAKE_STATE, 6, 0) != 5 || net.conn->epoch != net.epoch)
		_exit(1);
}

static void child_lazy(struct vos_fork_conns *f)
{
	(void)f;
	if (net.conn || rcall(FAKE_STATE, 6, 0) != 0)
		_exit(1);
}

Test(remote, fork_forks_the_proxy_or_joins_later)
{
	struct daemon d = begin();
	struct vos_fork_conns f;
	uint64_t epoch;

	rcall(FAKE_STATE, 5, 0);
	epoch = net.epoch;
	cr_assert_eq(vos_remote_fork_prepare(&proc, 1, &f), 0);
	cr_assert(f.conn[0]);
	cr_assert_eq(f.conn[0]->epoch, epoch);
	in_child(child_with_state, &f);
	cr_assert_eq(rcall(FAKE_STATE, 5, 0), 5);
	cr_assert_eq(vos_remote_fork_prepare(&proc, 0, &f), 0);
	in_child(child_lazy, &f);
	/* A fork that failed leaves nothing. */
	cr_assert_eq(vos_remote_fork_prepare(&proc, 1, &f), 0);
	vos_remote_fork_parent(&proc, &f);
	/* A dead domain does not stop a fork. */
	kill((pid_t)rcall(FAKE_PID, 0, 0), SIGKILL);
	usleep(50000);
	cr_assert_eq(vos_remote_fork_prepare(&proc, 1, &f), 0);
	vos_remote_fork_parent(&proc, &f);
	end(&d);
}

Test(remote, a_vfork_child_uses_its_parents_lanes_and_joins_for_itself)
{
	struct daemon d = begin();
	struct vos_carrier *parent = vos_self(), *mine;
	struct vos_proc child = proc;
	struct vos_exec_conns x;

	cr_assert_eq(vos_remote_vfork(&child, &proc), 0);
	mine = become_carrier_of(&child);
	child.carriers = mine;
	cr_assert_eq(rcall(FAKE_STATE, 5, 0), 0);
	cr_assert_null(net.conn, "what the child joined is its own");
	vos_remote_vfork_done(&child);
	syscall(SYS_arch_prctl, ARCH_SET_GS, parent);
	cr_assert_eq(rcall(FAKE_STATE, 5, 0), 0);

	child = proc;
	cr_assert_eq(vos_remote_vfork(&child, &proc), 0);
	mine = become_carrier_of(&child);
	child.carriers = mine;
	cr_assert_eq(rcall(FAKE_STATE, 5, 0), 5, "the parent's proxy");
	cr_assert_eq(vos_remote_exec_prepare(&child, 1, &x), 0);
	cr_assert_eq(x.n, 1);
	cr_assert(x.forked.conn[0], "the new image gets a fork of the proxy");
	cr_assert_neq(x.saved[0].proxy, net.conn->proxy);
	cr_assert_eq(x.saved[0].epoch, net.epoch);
	vos_remote_exec_undo(&child, &x);
	vos_remote_vfork_done(&child);
	syscall(SYS_arch_prctl, ARCH_SET_GS, parent);
	cr_assert_eq(rcall(FAKE_STATE, 5, 0), 5);
	end(&d);
}

Test(remote, the_next_image_goes_on_with_the_same_proxy)
{
	struct daemon d = begin();
	struct vos_exec_conns x;
	struct vos_pending orphan;
	struct vos_req park = { .op = FAKE_PARK };
	struct vos_conn *old;
	uint64_t start;

	rcall(FAKE_STATE, 5, 0);
	/* A request of a thread that exec ended. */
	cr_assert_eq(vos_remote_begin(lane(), &park, &orphan), 0);
	cr_assert_eq(vos_remote_exec_prepare(&proc, 1, &x), 0);
	cr_assert_eq(x.n, 1);
	cr_assert_not(fcntl(x.saved[0].control_fd, F_GETFD) & FD_CLOEXEC);
	vos_remote_exec_undo(&proc, &x);
	cr_assert(fcntl(net.conn->t.control_fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(vos_remote_exec_prepare(&proc, 1, &x), 0);
	/* As exec would: all memory is gone, the descriptors are not. */
	old = net.conn;
	vos_self()->lane[0] = NULL;
	net.conn = NULL;
	net.epoch = 0;
	cr_assert_eq(vos_remote_exec_adopt(&proc, x.saved, x.n), 0);
	cr_assert_eq(net.epoch, old->epoch);
	cr_assert_eq(rcall(FAKE_STATE, 6, 0), 5);
	cr_assert(lane()->index != 0 || net.conn->lane[0].orphans == 0,
		  "a lane with requests of the last image is not used before they have ended");
	start = vos_remote_now();
	while (net.conn->lane[0].orphans && since(start) < 2000) {
		vos_remote_reap(&net.conn->lane[0]);
		usleep(1000);
	}
	cr_assert_eq(net.conn->lane[0].orphans, 0, "they were cancelled");
	cr_assert(fcntl(net.conn->t.control_fd, F_GETFD) >= 0);
	/* Rubbish in the state is refused. */
	vos_conn_put(net.conn);
	end_carrier();
	become_carrier();
	net.conn = NULL;
	x.saved[0].region_fd = open("/dev/null", O_RDWR);
	x.saved[0].control_fd = dup(0);
	x.saved[0].wake_fd = dup(0);
	x.saved[0].doorbell_fd = dup(0);
	cr_assert_lt(vos_remote_exec_adopt(&proc, x.saved, 1), 0);
	cr_assert_null(net.conn);
	close(proc.session_fd);
	kill(d.pid, SIGTERM);
	daemon_end(&d);
}

Test(remote, credentials_and_segments)
{
	struct daemon d = begin();
	struct vos_segment s = { -1, -1, -1, 9 }, again;

	rcall(VOS_OP_NULL, 0, 0);
	cr_assert_eq(vos_remote_recred(&proc), 0);
	cr_assert_eq(rcall(VOS_OP_NULL, 1, 0), 2);
	cr_assert_eq(vos_remote_segment(&net, 1, 2, 4096, &s), 0);
	cr_assert_eq(s.made, VOS_SHMAP_FRESH);
	cr_assert(s.fd >= 0 && s.shadow >= 0 && s.hold >= 0);
	vos_remote_segment_filled(&net, s.hold);
	cr_assert_eq(vos_remote_segment(&net, 1, 2, 4096, &again), 0);
	cr_assert_eq(again.made, VOS_SHMAP_READY);
	for (int i = 0; i < 2; i++, s = again) {
		close(s.fd);
		close(s.shadow);
		close(s.hold);
	}
	end(&d);
}

Test(remote, a_private_supervisor_is_started_and_ends_with_us)
{
	char dir[] = VIRTUOSD;
	char *envp[] = { "PATH=/usr/bin:/bin", "LD_PRELOAD=/nonexistent.so", "VIRTUOS=net=local", NULL };
	int err = 0;
	siginfo_t si;

	*strrchr(dir, '/') = 0;
	proc.domain[0] = &net;
	proc.ndomains = 1;
	net.kind = VOS_KIND_NET;
	strcpy(net.name, "local:no-such-namespace");
	become_carrier();
	cr_assert_eq(vos_remote_start(&proc, -1, NULL, dir, envp), 0);
	cr_assert_geq(proc.session_fd, 0);
	cr_assert_null(vos_remote_lane(&net, &err));
	cr_assert_eq(err, -ENETDOWN);
	cr_assert_eq(waitid(P_ALL, 0, &si, WEXITED | WNOHANG), -1, "no child that we did not make");
	cr_assert_eq(errno, ECHILD);
	close(proc.session_fd);
	cr_assert_lt(vos_remote_start(&proc, -1, NULL, "/nonexistent", envp), 0);
	cr_assert_lt(vos_remote_start(&proc, 0, NULL, dir, envp), 0, "not a session");
	cr_assert_lt(vos_remote_start(&proc, -1, "@virtuos-nobody-is-here", dir, envp), 0);
}
