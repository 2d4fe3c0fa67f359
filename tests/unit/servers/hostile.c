/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients that mean harm: arguments at random by the table's grammar with shared bytes that change meanwhile, and rings that
 * break the protocol.  The proxy answers or ends with a reason; it never crashes, never hangs, and the broker does not care.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#define VOS_CALLS_TABLE
#include <virtuos/calls.h>
#include "testclient.h"

#define LANES 3u
#define DATA  (256u * 1024)

static char root[64];
static struct tc_domain d;
static struct tc c;
static _Atomic bool stop;
static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 2685821657736338717ull >> 7;
}

static uint64_t below(uint64_t n)
{
	return rnd() % n;
}

static void begin(uint32_t kind)
{
	/* A file of terabytes is no crash, but it is a nuisance. */
	struct rlimit limit = { 8 << 20, 8 << 20 };

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	snprintf(root, sizeof root, "/tmp/vos-hostile-XXXXXX");
	cr_assert(mkdtemp(root));
	chmod(root, 0777);
	tc_start(&d, kind, root);
	cr_assert_eq(tc_join_as(&d, &c, LANES, 64, DATA, geteuid() ? geteuid() : 65534, geteuid() ? getegid() : 65534), 0, "%s",
		     d.msg.text);
}

static void finish(void)
{
	char cmd[256];

	cr_expect_eq(tc_stop(&d), 0);
	snprintf(cmd, sizeof cmd, "chmod -R u+rwx '%s'; rm -rf '%s'", root, root);
	cr_expect_eq(system(cmd), 0);
}

/* Rewrites the data areas under the proxy's eyes. */
static void *scribbler(void *arg)
{
	static const char *const words[] = { "a", "b/c", "../x", "/etc/passwd", "d/", "..", "", "l" };
	uint64_t s = 1;

	(void)arg;
	while (!stop) {
		unsigned char *base = c.lane[s % LANES].data;
		uint64_t at;

		s = s * 6364136223846793005ull + 1442695040888963407ull;
		at = s >> 20;
		if (s >> 63) {
			const char *w = words[at % 8];

			memcpy(base + at % 64 * 64, w, strlen(w) + 1);
		} else {
			base[at % DATA] = (unsigned char)(s >> 50);
			*(uint32_t *)(void *)(base + at % 4096 / 4 * 4) = (uint32_t)(s >> 40);
		}
	}
	return NULL;
}

static uint64_t any_offset(void)
{
	switch (below(8)) {
	case 0: return VOS_NULL;
	case 1: return DATA - below(300);
	case 2: return DATA + below(1 << 20);
	case 3: return rnd();
	case 4: return below(DATA);
	default: return below(64) * 64;
	}
}

static uint64_t any_length(void)
{
	switch (below(6)) {
	case 0: return 0;
	case 1: return rnd();
	case 2: return DATA - below(100);
	default: return below(5000);
	}
}

static uint64_t any_int(void)
{
	switch (below(5)) {
	case 0: return rnd();
	case 1: return 1ull << below(32);
	case 2: return (uint64_t)-(int64_t)below(200);
	default: return below(64);
	}
}

static uint64_t any_fd(void)
{
	return below(20) ? below(60) : any_int();
}

static uint64_t any_arg(uint32_t kind)
{
	switch (VOS_ARG_KIND(kind)) {
	case VOS_A_FD:
		return any_fd();
	case VOS_A_ATFD:
		return below(3) ? (uint64_t)(below(2) ? VOS_AT_ROOT : VOS_AT_CWD) : any_fd();
	case VOS_A_INT:
	case VOS_A_LONG:
		return any_int();
	case VOS_A_CAP:
		return any_length();
	case VOS_A_NONE:
		return below(2) ? any_int() : (uint64_t)VOS_AT_ROOT;
	default:
		return any_offset();
	}
}

/* Waits for the disk, for long; everything else is fair. */
static bool left_out(uint16_t op)
{
	return op == __NR_syncfs || op == VOS_OP_EXPORT;
}

/* What is under way, for the report. */
static struct asked { uint64_t user, arg[6]; uint16_t op, flags; } under_way[LANES][64];

static void note(uint32_t lane, const struct asked *a)
{
	for (unsigned i = 0; i < 64; i++)
		if (!under_way[lane][i].user) {
			under_way[lane][i] = *a;
			return;
		}
}

static bool take(uint32_t lane, int ms)
{
	struct vos_cqe cqe;

	if (!tc_reap(&c, lane, &cqe, ms))
		return false;
	for (unsigned i = 0; i < 64; i++)
		if (under_way[lane][i].user == cqe.user)
			under_way[lane][i].user = 0;
	return true;
}

static void report(uint32_t lane)
{
	for (unsigned i = 0; i < 64; i++) {
		const struct asked *a = &under_way[lane][i];

		if (a->user)
			fprintf(stderr, "lane %u: op %u (%s) flags %u args %lx %lx %lx %lx %lx %lx\n", lane, a->op,
				a->op < VOS_NR_END && vos_calls[a->op].name[0] ? vos_calls[a->op].name : "?", a->flags, (long)a->arg[0],
				(long)a->arg[1], (long)a->arg[2], (long)a->arg[3], (long)a->arg[4], (long)a->arg[5]);
	}
}

static void flood(uint32_t kind, unsigned rounds)
{
	unsigned pending[LANES] = { 0 }, answers = 0;
	pthread_t t;

	begin(kind);
	/* Something to work on. */
	for (int i = 0; i < 10; i++) {
		memcpy(c.lane[0].data, "a", 2);
		if (kind == VOS_KIND_STORE)
			tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, 0, O_RDWR | O_CREAT, 0666);
		else
			tc(&c, __NR_socket, i % 2 ? 2 : 10, 1 + (uint64_t)i / 2 % 2, 0);
	}
	pthread_create(&t, NULL, scribbler, NULL);
	for (unsigned k = 0; k < rounds; k++) {
		uint32_t lane = (uint32_t)below(LANES);
		uint64_t arg[6];
		uint16_t op;

		do
			op = (uint16_t)(below(12) == 0 ? VOS_OP_NULL + below(VOS_OP_END - VOS_OP_NULL + 2) :
					below(40) == 0 ? rnd() : below(VOS_NR_END));
		while (left_out(op) || (op < VOS_NR_END && (!vos_calls[op].name[0] || vos_calls[op].exec == VOS_X_NONE) && below(20)));
		for (unsigned i = 0; i < 6; i++)
			arg[i] = op < VOS_NR_END ? any_arg(vos_calls[op].arg[i]) : below(2) ? any_fd() : any_offset();
		/* Mostly all goes well but for one thing. */
		if (op < VOS_NR_END && below(2))
			for (unsigned i = 0; i < 6; i++) {
				uint32_t a = vos_calls[op].arg[i], kd = VOS_ARG_KIND(a);

				if (kd == VOS_A_IN || kd == VOS_A_OUT || kd == VOS_A_IOVIN || kd == VOS_A_IOVOUT) {
					arg[i] = below(64) * 64;
					arg[VOS_ARG_PARAM(a)] = below(5000);
				} else if (kd == VOS_A_PATH || kd == VOS_A_CSTR) {
					arg[i] = below(64) * 64;
				}
			}
		struct asked a = { .op = op, .flags = below(3) == 0 };

		memcpy(a.arg, arg, sizeof arg);
		a.user = tc_submit(&c, lane, op, a.flags, arg);
		note(lane, &a);
		pending[lane]++;
		while (take(lane, 0))
			pending[lane]--, answers++;
		/* A lane that is half full of waiting requests is cleared. */
		if (pending[lane] > 40) {
			tc_submit(&c, lane, VOS_OP_CANCEL, 0, (uint64_t[6]){ VOS_NULL });
			pending[lane]++;
			while (pending[lane]) {
				if (!take(lane, 10000)) {
					report(lane);
					cr_assert_fail("lane %u: %u requests never ended (round %u)", lane, pending[lane], k);
				}
				pending[lane]--;
				answers++;
			}
		}
	}
	for (uint32_t lane = 0; lane < LANES; lane++) {
		tc_submit(&c, lane, VOS_OP_CANCEL, 0, (uint64_t[6]){ VOS_NULL });
		for (pending[lane]++; pending[lane]; pending[lane]--, answers++)
			if (!take(lane, 10000)) {
				report(lane);
				cr_assert_fail("lane %u: %u requests never ended", lane, pending[lane]);
			}
	}
	stop = true;
	pthread_join(t, NULL);
	cr_expect_geq(answers, rounds);
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0, "it lives");
	tc_leave(&c);
	finish();
}

static unsigned rounds(void)
{
	const char *s = getenv("HOSTILE_ROUNDS");

	if (getenv("HOSTILE_SEED"))
		seed = strtoull(getenv("HOSTILE_SEED"), NULL, 0);
	return s ? (unsigned)atoi(s) : 15000;
}

Test(hostile, storage, .timeout = 250)
{
	flood(VOS_KIND_STORE, rounds());
}

Test(hostile, network, .timeout = 250)
{
	flood(VOS_KIND_NET, rounds());
}

/* The proxy ends, says why, and the next client is served. */
static void expect_end(const char *what)
{
	struct pollfd p = { .fd = c.t.control_fd, .events = POLLRDHUP };
	struct tc next;
	bool gone = false;

	cr_expect_eq(poll(&p, 1, 5000), 1, "%s: the proxy goes on", what);
	while (!gone && tc_receive(&d, 5000))
		gone = d.msg.type == VOS_MSG_GONE && d.msg.proxy == c.id;
	cr_expect(gone, "%s: nobody told", what);
	cr_expect(WIFEXITED(d.msg.status) && WEXITSTATUS(d.msg.status) == 1, "%s: status %x", what, d.msg.status);
	cr_expect_eq(atomic_load(&vos_region_server(c.t.base)->state), VOS_SERVER_DEAD);
	cr_assert_eq(tc_join(&d, &next, 1, 8, 4096), 0);
	cr_expect_eq(tc(&next, VOS_OP_NULL), 0);
	tc_leave(&next);
	tc_leave(&c);
	finish();
}

static void ring(void)
{
	atomic_store(&vos_region_server(c.t.base)->asleep, 0);
	c.t.ops->ring_server(&c.t);
}

Test(hostile, absurd_indices, .timeout = 30)
{
	/* The published indices are for others: a proxy believes none of them. */
	begin(VOS_KIND_STORE);
	atomic_store(&c.lane[1].lane->sq_tail, 0x80000000u);
	atomic_store(&c.lane[0].lane->sq_tail, 65);
	ring();
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0);
	/* Nor a lap that is not its turn's. */
	vos_lane_req(&c.lane[0], c.lane[0].sq)->lap = 7;
	ring();
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0);
	tc_leave(&c);
	finish();
}

Test(hostile, too_many_lanes, .timeout = 30)
{
	begin(VOS_KIND_NET);
	atomic_store(&vos_region_client(c.t.base)->lanes_used, LANES + 1);
	ring();
	expect_end("more lanes than there are");
}

Test(hostile, completions_not_taken, .timeout = 30)
{
	begin(VOS_KIND_STORE);
	/* As many as the ring holds, twice, and none is taken. */
	for (int i = 0; i < 130; i++) {
		struct vos_req req = { .user = (uint64_t)i, .op = VOS_OP_NULL };

		while (vos_sq_push(&c.lane[0], &req) == -EAGAIN)
			if (c.t.ops->peer_dead(&c.t))
				break;
		if (vos_server_take_sleep(vos_region_server(c.t.base)))
			c.t.ops->ring_server(&c.t);
	}
	expect_end("a completion ring that overflows");
}

Test(hostile, more_waiting_than_slots, .timeout = 30)
{
	struct vos_req req = { .op = __NR_flock };
	int native;
	char path[128];

	begin(VOS_KIND_STORE);
	memcpy(c.lane[0].data, "lock", 5);
	snprintf(path, sizeof path, "%s/lock", root);
	native = open(path, O_CREAT | O_RDWR, 0666);
	chmod(path, 0666);
	cr_assert_eq(syscall(SYS_flock, native, 2), 0);
	req.arg[0] = (uint64_t)tc(&c, __NR_openat, (uint64_t)VOS_AT_ROOT, 0, O_RDWR);
	cr_assert_lt(req.arg[0], 1000);
	req.arg[1] = 2;
	for (int i = 0; i < 100; i++) {
		while (vos_sq_push(&c.lane[0], &req) == -EAGAIN)
			if (c.t.ops->peer_dead(&c.t))
				break;
		if (vos_server_take_sleep(vos_region_server(c.t.base)))
			c.t.ops->ring_server(&c.t);
	}
	expect_end("more requests under way than slots");
}

Test(hostile, garbage_everywhere, .timeout = 60)
{
	/* The whole of what the client may write, at random, again and again; whatever happens, the broker lives. */
	for (int k = 0; k < 30; k++) {
		struct tc next;

		if (k == 0)
			begin(VOS_KIND_STORE);
		else
			cr_assert_eq(tc_join(&d, &c, LANES, 64, DATA), 0, "round %d: %s", k, d.msg.text);
		for (uint32_t lane = 0; lane < LANES; lane++) {
			for (unsigned i = 0; i < 64 * sizeof(struct vos_req) / 8; i++)
				((uint64_t *)(void *)c.lane[lane].lane->rings)[i] = rnd();
			for (uint32_t i = 0, n = (uint32_t)below(65); i < n; i++)
				vos_lane_req(&c.lane[lane], i)->lap = 1;
			atomic_store(&c.lane[lane].lane->sq_tail, (uint32_t)below(1000));
		}
		ring();
		cr_assert_eq(tc_join(&d, &next, 1, 8, 4096), 0);
		cr_expect_eq(tc(&next, VOS_OP_NULL), 0);
		tc_leave(&next);
		tc_leave(&c);
	}
	finish();
}
