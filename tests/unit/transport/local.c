/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(local, .timeout = 30);

struct server_arg {
	struct vos_transport *t;
	unsigned idle;
};

static void *server_main(void *arg)
{
	struct server_arg *a = arg;

	serve(a->t, a->idle);
	return NULL;
}

static void submit(struct vos_transport *t, struct vos_lane_view *v, const struct vos_req *req)
{
	cr_assert_eq(vos_sq_push(v, req), 0);
	if (vos_server_take_sleep(vos_region_server(t->base)))
		t->ops->ring_server(t);
}

static void await_sleeping(struct vos_transport *t, struct vos_lane_view *v, struct vos_cqe *cqe)
{
	int r;

	while ((r = vos_cq_pop(v, cqe)) == 0) {
		uint32_t word = vos_lane_publish_sleep(v->lane, VOS_ASLEEP_FUTEX);

		if (!vos_cq_ready(v))
			cr_assert_neq(t->ops->sleep_lane(t, v->lane, word, 5000000000u), -ETIMEDOUT, "a wake was lost");
		vos_lane_take_sleep(v->lane);
	}
	cr_assert_eq(r, 1);
}

static void leave(struct vos_transport *t)
{
	atomic_store(&vos_region_client(t->base)->leaving, 1);
	t->ops->ring_server(t);
}

static void null_calls(unsigned idle, unsigned n)
{
	struct both b;
	struct vos_lane_view v;
	pthread_t th;

	connect_both(&b, 2, 4);
	struct server_arg a = { &b.server, idle };
	cr_assert_eq(pthread_create(&th, NULL, server_main, &a), 0);
	vos_lane_view_init(&v, b.client.base, &b.geo, 1);
	for (uint64_t i = 0; i < n; i++) {
		struct vos_req req = { .user = i * 7, .op = VOS_OP_NULL, .arg = { i } };
		struct vos_cqe cqe;

		submit(&b.client, &v, &req);
		await_sleeping(&b.client, &v, &cqe);
		cr_assert_eq(cqe.user, i * 7);
		cr_assert_eq(cqe.res, (int64_t)i + 1);
	}
	leave(&b.client);
	pthread_join(th, NULL);
	b.client.ops->detach(&b.client);
	b.server.ops->detach(&b.server);
}

Test(local, null_calls_server_awake) { null_calls(1000000, 20000); }
Test(local, null_calls_both_sides_sleep_each_time) { null_calls(0, 5000); }

/* Found by tests/model/lane_shared.pml: of two sleepers, one slept on the other's word, and its wake had been before. */
Test(local, a_sleeper_does_not_take_anothers_word_for_its_own)
{
	struct both b;
	struct vos_lane *lane;
	uint32_t mine, other;

	connect_both(&b, 1, 4);
	lane = vos_region_lane(b.client.base, &b.geo, 0);
	mine = vos_lane_publish_sleep(lane, VOS_ASLEEP_FUTEX);
	cr_assert_eq(vos_lane_take_sleep(lane), VOS_ASLEEP_FUTEX);
	cr_assert_eq(vos_lane_take_sleep(lane), VOS_AWAKE, "once for each sleep");
	other = vos_lane_publish_sleep(lane, VOS_ASLEEP_FUTEX);
	cr_assert_neq(mine, other);
	cr_assert_eq(b.client.ops->sleep_lane(&b.client, lane, mine, 2000000000u), 0, "woken already");
	cr_assert_eq(b.client.ops->sleep_lane(&b.client, lane, other, 1000000u), -ETIMEDOUT);
	vos_lane_publish_sleep(lane, VOS_ASLEEP_FD);
	cr_assert_eq(b.client.ops->sleep_lane(&b.client, lane, other, 2000000000u), 0);
	cr_assert_eq(vos_lane_take_sleep(lane), VOS_ASLEEP_FUTEX | VOS_ASLEEP_FD);
	b.client.ops->detach(&b.client);
	b.server.ops->detach(&b.server);
}

Test(local, between_two_processes_and_death_is_seen)
{
	struct both b;
	struct vos_lane_view v;
	struct vos_cqe cqe;
	struct vos_req req = { .user = 1, .op = VOS_OP_NULL, .arg = { 41 } };
	pid_t pid;

	connect_both(&b, 2, 4);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		/* The client's end is the parent's alone. */
		b.client.base = NULL;
		b.client.ops->detach(&b.client);
		/* The mapping stays behind at a fork: attach again. */
		if (b.server.ops->attach(&b.server, false))
			_exit(1);
		serve(&b.server, 0);
		_exit(2);
	}
	b.server.ops->detach(&b.server);
	vos_lane_view_init(&v, b.client.base, &b.geo, 0);
	submit(&b.client, &v, &req);
	await_sleeping(&b.client, &v, &cqe);
	cr_assert_eq(cqe.res, 42);
	cr_assert_not(b.client.ops->peer_dead(&b.client));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_assert(b.client.ops->peer_dead(&b.client));
	b.client.ops->detach(&b.client);
}

Test(local, files_are_handed_over)
{
	struct rlimit limit, none;
	struct stat st[2];
	struct both b;
	uint64_t tag = 5;
	int fd, got[3], pair[2];

	connect_both(&b, 1, 2);
	fd = memfd_create("file", MFD_CLOEXEC);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EAGAIN);
	cr_expect_eq(tag, 5);
	for (uint64_t i = 0; i < 3; i++)
		cr_expect_eq(b.server.ops->give_file(&b.server, i << 40, fd), 0);
	for (uint64_t i = 0; i < 3; i++) {
		got[i] = b.client.ops->take_file(&b.client, &tag);
		cr_assert_geq(got[i], 0);
		cr_expect_eq(tag, i << 40);
		cr_expect(!fstat(fd, &st[0]) && !fstat(got[i], &st[1]) && st[0].st_ino == st[1].st_ino);
		close(got[i]);
	}
	/* Words without a file, and with too many, are a breach; none of them stays open. */
	cr_expect_eq(send(b.server.control_fd, &tag, sizeof tag, 0), sizeof tag);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EPROTO);
	cr_expect_eq(send(b.server.control_fd, &tag, 3, 0), 3);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EPROTO);
	cr_assert_eq(pipe(pair), 0);
	{
		union { struct cmsghdr head; char room[CMSG_SPACE(2 * sizeof(int))]; } two = { .head = { CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
		struct iovec iov = { &tag, sizeof tag };
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &two, .msg_controllen = sizeof two };

		memcpy(CMSG_DATA(&two.head), pair, sizeof pair);
		cr_expect_eq(sendmsg(b.server.control_fd, &h, 0), sizeof tag);
	}
	close(pair[0]);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EPROTO);
	signal(SIGPIPE, SIG_IGN);
	cr_expect(write(pair[1], "x", 1) == -1 && errno == EPIPE);
	/* Without room for it. */
	cr_expect_eq(b.server.ops->give_file(&b.server, 9, fd), 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EMFILE);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EAGAIN);
	b.server.ops->detach(&b.server);
	cr_expect_eq(b.client.ops->take_file(&b.client, &tag), -EPIPE);
	b.client.ops->detach(&b.client);
	close(fd);
	close(pair[1]);
}

Test(local, indices_wrap_around)
{
	struct both b;
	struct vos_lane_view c, s;

	connect_both(&b, 1, 8);
	vos_lane_view_init(&c, b.client.base, &b.geo, 0);
	vos_lane_view_init(&s, b.server.base, &b.geo, 0);
	c.sq = s.sq = c.cq = s.cq = c.seen = s.seen = UINT32_MAX - 2;
	atomic_store(&c.lane->sq_tail, c.sq);
	atomic_store(&c.lane->sq_head, c.sq);
	atomic_store(&c.lane->cq_tail, c.sq);
	atomic_store(&c.lane->cq_head, c.sq);
	for (uint64_t round = 0; round < 5; round++) {
		struct vos_req req = { .op = VOS_OP_NULL };
		struct vos_cqe cqe = { 0 };

		for (uint64_t i = 0; i < 8; i++) {
			req.user = round * 8 + i;
			cr_assert_eq(vos_sq_push(&c, &req), 0);
		}
		cr_assert_eq(vos_sq_push(&c, &req), -EAGAIN);
		for (uint64_t i = 0; i < 8; i++) {
			cr_assert_eq(vos_sq_pop(&s, &req), 1);
			cr_assert_eq(req.user, round * 8 + i);
			cqe.user = req.user;
			cr_assert_eq(vos_cq_push(&s, &cqe), 0);
		}
		cr_assert_eq(vos_sq_pop(&s, &req), 0);
		cr_assert_eq(vos_cq_push(&s, &cqe), -EPROTO, "the completion ring is full");
		for (uint64_t i = 0; i < 8; i++) {
			cr_assert_eq(vos_cq_pop(&c, &cqe), 1);
			cr_assert_eq(cqe.user, round * 8 + i);
		}
		cr_assert_eq(vos_cq_pop(&c, &cqe), 0);
	}
	b.client.ops->detach(&b.client);
	b.server.ops->detach(&b.server);
}

Test(local, absurd_indices_are_the_peers_fault)
{
	struct both b;
	struct vos_lane_view c, s;
	struct vos_req req = { 0 };
	struct vos_cqe cqe = { 0 };

	connect_both(&b, 1, 8);
	vos_lane_view_init(&c, b.client.base, &b.geo, 0);
	vos_lane_view_init(&s, b.server.base, &b.geo, 0);
	/* Tails are not read at all. */
	atomic_store(&c.lane->cq_tail, 9);
	atomic_store(&c.lane->sq_tail, 0x80000000u);
	cr_assert_eq(vos_cq_pop(&c, &cqe), 0);
	cr_assert_eq(vos_sq_pop(&s, &req), 0);
	/* A head counts once the ring seems full. */
	for (int i = 0; i < 8; i++)
		cr_assert_eq(vos_sq_push(&c, &req), 0);
	cr_assert_eq(vos_sq_push(&c, &req), -EAGAIN);
	atomic_store(&c.lane->sq_head, 9);
	cr_assert_eq(vos_sq_push(&c, &req), -EPROTO, "more taken than given");
	atomic_store(&c.lane->sq_head, 0x80000000u);
	cr_assert_eq(vos_sq_push(&c, &req), -EPROTO);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(vos_cq_push(&s, &cqe), 0);
	cr_assert_eq(vos_cq_push(&s, &cqe), -EPROTO);
	atomic_store(&c.lane->cq_head, 0x80000000u);
	cr_assert_eq(vos_cq_push(&s, &cqe), -EPROTO);
	/* An entry of another lap is none. */
	vos_lane_view_init(&c, b.client.base, &b.geo, 0);
	c.cq = 8;
	cr_assert_eq(vos_cq_pop(&c, &cqe), 0);
	b.client.ops->detach(&b.client);
	b.server.ops->detach(&b.server);
}

Test(local, a_region_that_could_shrink_is_refused)
{
	struct vos_region_geo g;
	struct vos_transport t = { .ops = &vos_transport_local, .doorbell_fd = -1, .wake_fd = -1, .control_fd = -1 };

	cr_assert_eq(vos_region_layout(1, 8, 4096, &g), 0);
	t.geo = g;
	t.region_fd = memfd_create("unsealed", MFD_ALLOW_SEALING);
	cr_assert_eq(ftruncate(t.region_fd, (off_t)g.size), 0);
	cr_assert_eq(t.ops->attach(&t, true), -EPROTO);
	fcntl(t.region_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	cr_assert_eq(t.ops->attach(&t, true), 0);
	munmap(t.base, g.size);
	t.geo.size += 4096;
	cr_assert_eq(t.ops->attach(&t, true), -EPROTO, "another size than the layout's");
	t.geo = g;
	t.geo.data_off -= 4096;
	cr_assert_eq(t.ops->attach(&t, true), -EPROTO, "data over the rings");
	t.ops->detach(&t);
	cr_assert_eq(t.region_fd, -1);
}

Test(local, layout_refuses_nonsense)
{
	struct vos_region_geo g;

	cr_assert_eq(vos_region_layout(0, 8, 4096, &g), -EINVAL);
	cr_assert_eq(vos_region_layout(1, 7, 4096, &g), -EINVAL);
	cr_assert_eq(vos_region_layout(1, VOS_SLOTS_MAX * 2, 4096, &g), -EINVAL);
	cr_assert_eq(vos_region_layout(VOS_LANES_MAX + 1, 8, 4096, &g), -EINVAL);
	cr_assert_eq(vos_region_layout(1, 8, 0, &g), -EINVAL);
	cr_assert_eq(vos_region_layout(1, 8, 1ULL << 33, &g), -EINVAL);
}

Test(local, found_by_name)
{
	cr_assert_eq(vos_transport_by_name("local"), &vos_transport_local);
	cr_assert_null(vos_transport_by_name("loc"));
	cr_assert_null(vos_transport_by_name("local2"));
}
