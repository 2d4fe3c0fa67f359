/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How domains and proxies come up, fork, change credentials, hand over files and end. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "testclient.h"
#include "transport/message.h"

static char root[64];
static int rootfd;
static struct tc_domain d;
static struct tc c;

#define AT ((uint64_t)VOS_AT_ROOT)

static void setup(void)
{
	snprintf(root, sizeof root, "/tmp/vos-life-XXXXXX");
	cr_assert(mkdtemp(root));
	chmod(root, 0777);
	rootfd = open(root, O_RDONLY | O_DIRECTORY);
	tc_start(&d, VOS_KIND_STORE, root);
	cr_assert_eq(tc_join(&d, &c, 4, 64, 65536), 0, "%s", d.msg.text);
}

static void teardown(void)
{
	char cmd[128];

	snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
	cr_expect_eq(system(cmd), 0);
}

TestSuite(life, .init = setup, .fini = teardown, .timeout = 60);

static long open_in(struct tc *x, const char *name, int flags)
{
	return tc(x, __NR_openat, AT, tc_str(x, name), (uint64_t)flags, 0666);
}

/* Whether fd's other end closes within ms. */
static bool hangs_up(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, ms) == 1 && (p.revents & (POLLHUP | POLLRDHUP));
}

static bool gone(uint64_t id, int *ret_status)
{
	while (tc_receive(&d, 5000)) {
		if (d.msg.type == VOS_MSG_GONE && d.msg.proxy == id) {
			if (ret_status)
				*ret_status = d.msg.status;
			return true;
		}
	}
	return false;
}

static bool dies(pid_t pid, int ms)
{
	for (int i = 0; i < ms; i += 5) {
		char path[64], state = 0;
		FILE *f;

		snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
		f = fopen(path, "r");
		if (!f)
			return true;
		if (fscanf(f, "%*d %*s %c", &state) != 1)
			state = 'X';
		fclose(f);
		if (state == 'Z' || state == 'X')
			return true;
		poll(NULL, 0, 5);
	}
	return false;
}

Test(life, client_leaves)
{
	uint64_t id = c.id;
	int status = -1;

	tc_submit(&c, 1, __NR_flock, 0, (uint64_t[6]){ (uint64_t)open_in(&c, "f", O_CREAT | O_RDWR), LOCK_EX });
	tc_leave(&c);
	cr_expect(gone(id, &status));
	cr_expect_eq(status, 0);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, client_says_that_it_leaves)
{
	int status = -1;

	atomic_store(&vos_region_client(c.t.base)->leaving, 1);
	if (vos_server_take_sleep(vos_region_server(c.t.base)))
		c.t.ops->ring_server(&c.t);
	cr_expect(hangs_up(c.t.control_fd, 5000));
	cr_expect(gone(c.id, &status));
	cr_expect_eq(status, 0);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, proxy_killed)
{
	struct tc other;
	int status = 0;

	cr_assert_eq(tc_join(&d, &other, 1, 8, 4096), 0);
	cr_assert_gt(c.pid, 0);
	kill(c.pid, SIGKILL);
	cr_expect(hangs_up(c.t.control_fd, 5000));
	cr_expect(gone(c.id, &status));
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	cr_expect_eq(tc(&other, VOS_OP_NULL), 0);
	/* A fork of one that is gone. */
	struct tc child;

	cr_expect_eq(tc_fork(&c, &child), -ESRCH);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, broker_killed)
{
	struct tc child;

	cr_assert_eq(tc_fork(&c, &child), 0, "%s", d.msg.text);
	kill(d.pid, SIGKILL);
	cr_expect(hangs_up(c.t.control_fd, 5000));
	cr_expect(hangs_up(child.t.control_fd, 5000), "a forked proxy ends with its broker as well");
	waitpid(d.pid, NULL, 0);
	cr_expect(dies(c.pid, 5000) && dies(child.pid, 5000));
}

Test(life, broker_stopped)
{
	/* Killed while it stands still: nobody can tell its proxies but the kernel. */
	kill(d.pid, SIGSTOP);
	kill(d.pid, SIGKILL);
	cr_expect(hangs_up(c.t.control_fd, 5000));
	waitpid(d.pid, NULL, 0);
}

Test(life, supervisor_goes)
{
	struct tc child;

	cr_assert_eq(tc_fork(&c, &child), 0);
	cr_expect_eq(tc_stop(&d), 0);
	cr_expect(hangs_up(c.t.control_fd, 5000));
	cr_expect(hangs_up(child.t.control_fd, 5000));
}

Test(life, kills_at_random)
{
	/* Broker or proxy dies at any moment of a busy life; whoever is left notices. */
	tc_stop(&d);
	for (int k = 0; k < 60; k++) {
		struct tc x, y;
		pid_t victim;

		tc_start(&d, VOS_KIND_STORE, root);
		cr_assert_eq(tc_join(&d, &x, 2, 64, 65536), 0);
		for (int i = 0; i < 40; i++)
			tc_submit(&x, (uint32_t)i % 2, __NR_newfstatat, 0, (uint64_t[6]){ AT, 64, 128, 0 });
		victim = k % 2 ? x.pid : d.pid;
		if (k % 3 == 0)
			cr_assert_eq(tc_fork(&x, &y), 0);
		for (volatile int spin = 0; spin < k * 2000; spin++)
			;
		kill(victim, SIGKILL);
		cr_assert(hangs_up(x.t.control_fd, 5000), "round %d", k);
		if (k % 3 == 0) {
			if (k % 2)
				cr_assert_eq(tc(&y, VOS_OP_NULL), 0, "the fork lives on");
			else
				cr_assert(hangs_up(y.t.control_fd, 5000), "round %d", k);
			tc_leave(&y);
		}
		tc_leave(&x);
		tc_stop(&d);
	}
}

Test(life, fork_has_what_its_parent_had)
{
	struct tc child, third;
	long fd = open_in(&c, "f", O_RDWR | O_CREAT), r;
	uint64_t out;

	cr_assert_eq(mkdirat(rootfd, "sub", 0777), 0);
	cr_expect_eq(tc(&c, __NR_umask, 027), 022);
	cr_expect_eq(tc(&c, __NR_chdir, tc_str(&c, "sub"), 0, 0, 0, 0, AT), 0);
	cr_expect_eq(tc(&c, __NR_write, (uint64_t)fd, tc_str(&c, "0123456789"), 10), 10);
	cr_expect_eq(tc(&c, __NR_lseek, (uint64_t)fd, 2, SEEK_SET), 2);
	cr_assert_eq(tc_fork(&c, &child), 0, "%s", d.msg.text);
	cr_expect_neq(child.pid, c.pid);
	out = tc_alloc(&child, 100);
	cr_expect_eq(tc(&child, __NR_read, (uint64_t)fd, out, 3), 3);
	cr_expect_arr_eq(tc_at(&child, out), "234", 3);
	cr_expect_eq(tc(&c, __NR_lseek, (uint64_t)fd, 0, SEEK_CUR), 5, "one offset for both");
	cr_expect_eq(tc(&child, __NR_umask, 0), 027);
	cr_expect_eq(tc(&c, __NR_umask, 027), 027, "its own from now on");
	cr_expect_eq(tc(&child, VOS_OP_PATH, (uint64_t)VOS_AT_CWD, out, 100), 3);
	cr_expect_eq(tc(&child, __NR_close, (uint64_t)fd), 0);
	cr_expect_eq(tc(&c, __NR_read, (uint64_t)fd, tc_alloc(&c, 100), 3), 3, "closed in the child alone");
	r = open_in(&child, "g", O_RDWR | O_CREAT);
	cr_expect_geq(r, 0);
	/* The parent goes, the child stays and forks. */
	kill(c.pid, SIGKILL);
	cr_expect(gone(c.id, NULL));
	cr_assert_eq(tc_fork(&child, &third), 0);
	cr_expect_eq(tc(&third, __NR_write, (uint64_t)r, tc_str(&third, "x"), 1), 1);
	tc_leave(&child);
	cr_expect_eq(tc(&third, __NR_write, (uint64_t)r, tc_str(&third, "y"), 1), 1);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, fork_leaves_waiting_requests_with_the_parent)
{
	long a = open_in(&c, "l", O_RDWR | O_CREAT), b = open_in(&c, "l", O_RDWR);
	int native = openat(rootfd, "l", O_RDWR);
	struct tc child[20];
	struct vos_cqe cqe;

	cr_assert_eq(mkfifoat(rootfd, "fifo", 0666), 0);
	long fifo = open_in(&c, "fifo", O_RDWR);

	cr_assert_eq(flock(native, LOCK_EX), 0);
	/* A worker waits, the ring waits, and a worker opens. */
	tc_submit(&c, 1, __NR_flock, 0, (uint64_t[6]){ (uint64_t)a, LOCK_EX });
	tc_submit(&c, 2, __NR_read, 0, (uint64_t[6]){ (uint64_t)fifo, 0, 100 });
	memcpy(c.lane[3].data, "fifo2", 6);
	cr_assert_eq(mkfifoat(rootfd, "fifo2", 0666), 0);
	tc_submit(&c, 3, __NR_openat, 0, (uint64_t[6]){ AT, 0, O_RDONLY });
	cr_expect(!tc_reap(&c, 1, &cqe, 20));
	for (int i = 0; i < 20; i++) {
		uint64_t user;

		cr_assert_eq(tc_fork(i ? &child[i - 1] : &c, &child[i]), 0, "%s", d.msg.text);
		cr_assert_eq(tc(&child[i], VOS_OP_NULL), 0);
		/* The child's workers are its own. */
		user = tc_submit(&child[i], 1, __NR_flock, 0, (uint64_t[6]){ (uint64_t)b, LOCK_EX });
		cr_assert(!tc_reap(&child[i], 1, &cqe, 5), "%ld", (long)cqe.res);
		tc_submit(&child[i], 1, VOS_OP_CANCEL, 0, (uint64_t[6]){ user });
		cr_assert(tc_reap(&child[i], 1, &cqe, 5000));
		cr_assert(tc_reap(&child[i], 1, &cqe, 5000));
		cr_assert(!tc_reap(&child[i], 2, &cqe, 0) && !tc_reap(&child[i], 3, &cqe, 0));
	}
	flock(native, LOCK_UN);
	cr_assert(tc_reap(&c, 1, &cqe, 5000));
	cr_expect_eq(cqe.res, 0);
	cr_expect_eq(tc(&c, __NR_write, (uint64_t)fifo, tc_str(&c, "abc"), 3), 3);
	cr_assert(tc_reap(&c, 2, &cqe, 5000));
	cr_expect_eq(cqe.res, 3);
	cr_expect_geq(open_in(&child[19], "fifo2", O_WRONLY), 0);
	cr_assert(tc_reap(&c, 3, &cqe, 5000));
	cr_expect_geq(cqe.res, 0);
	for (int i = 0; i < 20; i++)
		tc_leave(&child[i]);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, forks_under_load)
{
	long fd = open_in(&c, "f", O_RDWR | O_CREAT);
	struct tc child;
	struct vos_cqe cqe;
	unsigned under_way = 0, answers = 0;

	for (int k = 0; k < 40; k++) {
		for (uint32_t lane = 1; lane < 4; lane++)
			for (int i = 0; i < 20; i++, under_way++)
				tc_submit(&c, lane, i % 2 ? __NR_fdatasync : __NR_pwrite64, 0,
					  (uint64_t[6]){ (uint64_t)fd, 0, 1000, (uint64_t)i * 1000 });
		cr_assert_eq(tc_fork(&c, &child), 0, "%s", d.msg.text);
		cr_assert_eq(tc(&child, __NR_pwrite64, (uint64_t)fd, 0, 100, 0), 100);
		cr_assert_eq(tc(&child, __NR_fsync, (uint64_t)fd), 0);
		tc_leave(&child);
		for (uint32_t lane = 1; lane < 4; lane++)
			for (int i = 0; i < 20; i++, answers++)
				cr_assert(tc_reap(&c, lane, &cqe, 5000) && (cqe.res == 0 || cqe.res == 1000));
	}
	cr_expect_eq(answers, under_way);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, thousand_lanes)
{
	struct tc x;
	struct vos_cqe cqe;
	static unsigned answers[1000];

	cr_assert_eq(tc_join(&d, &x, 1000, 8, 4096), 0, "%s", d.msg.text);
	for (int k = 0; k < 20; k++) {
		for (uint32_t lane = 0; lane < 1000; lane++)
			tc_submit(&x, lane, k % 2 ? VOS_OP_NULL : __NR_newfstatat, 0, (uint64_t[6]){ AT, 0, 64, 0x1000 });
		for (uint32_t lane = 0; lane < 1000; lane++) {
			cr_assert(tc_reap(&x, lane, &cqe, 5000));
			cr_assert_eq(cqe.res, 0);
			answers[lane]++;
		}
	}
	for (uint32_t lane = 0; lane < 1000; lane++)
		cr_assert_eq(answers[lane], 20);
	tc_leave(&x);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, files_handed_over)
{
	struct tc x;
	long fd = open_in(&c, "f", O_RDWR | O_CREAT), r;
	uint64_t token = tc_alloc(&c, 16), there;

	cr_assert_eq(tc_join(&d, &x, 1, 8, 4096), 0);
	cr_expect_eq(tc(&c, __NR_write, (uint64_t)fd, tc_str(&c, "hello"), 5), 5);
	cr_expect_eq(tc(&c, VOS_OP_EXPORT, (uint64_t)fd, token), 0);
	there = tc_bytes(&x, tc_at(&c, token), 16);
	/* The file outlives its first holder. */
	tc_leave(&c);
	r = tc(&x, VOS_OP_IMPORT, there);
	cr_assert_geq(r, 0, "%ld", r);
	cr_expect_eq(tc_cqe.aux & S_IFMT, S_IFREG);
	cr_expect_eq(tc(&x, __NR_lseek, (uint64_t)r, 0, SEEK_CUR), 5);
	cr_expect_eq(tc(&x, VOS_OP_IMPORT, there), -ENOENT, "once");
	memset(tc_at(&x, there), 0, 16);
	cr_expect_eq(tc(&x, VOS_OP_IMPORT, there), -ENOENT);
	cr_expect_eq(tc(&x, VOS_OP_EXPORT, 2, there), -EBADF, "not the client's");
	cr_expect_eq(tc(&x, VOS_OP_EXPORT, (uint64_t)r, 4090), -EFAULT);
	/* One proxy cannot fill the broker. */
	long last = 0;

	for (int i = 0; i < 300 && last == 0; i++)
		last = tc(&x, VOS_OP_EXPORT, (uint64_t)r, there);
	cr_expect_eq(last, -ETOOMANYREFS);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, many_questions_at_once)
{
	struct vos_cqe cqe;
	long fd = open_in(&c, "f", O_RDWR | O_CREAT);

	for (int k = 0; k < 50; k++) {
		/* More than its socket has room for answers, and a descriptor that is closed before its turn. */
		for (uint32_t lane = 1; lane < 4; lane++)
			for (int i = 0; i < 60; i++)
				tc_submit(&c, lane, VOS_OP_IMPORT, 0, (uint64_t[6]){ 0 });
		long f2 = open_in(&c, "f", O_RDWR);

		tc_submit(&c, 1, VOS_OP_EXPORT, 0, (uint64_t[6]){ (uint64_t)f2, 64 });
		tc_submit(&c, 1, __NR_close, 0, (uint64_t[6]){ (uint64_t)f2 });
		for (uint32_t lane = 1; lane < 4; lane++)
			for (int i = 0; i < (lane == 1 ? 62 : 60); i++) {
				cr_assert(tc_reap(&c, lane, &cqe, 5000));
				cr_assert(cqe.res == -ENOENT || cqe.res == 0 || cqe.res == -EBADF, "%ld", (long)cqe.res);
			}
		tc_reset(&c);
	}
	cr_expect_eq(tc(&c, __NR_close, (uint64_t)fd), 0);
	cr_expect_eq(tc_stop(&d), 0);
}

static int recred(struct tc *x, uint32_t uid, uint32_t gid)
{
	static struct vos_msg m;

	vos_msg_init(&m, VOS_MSG_RECRED);
	m.proxy = x->id;
	m.uid = uid;
	m.gid = gid;
	cr_assert_eq(vos_msg_send(d.sock, &m, NULL, 0, vos_msg_deadline(5000)), 0);
	while (tc_receive(&d, 5000))
		if (d.msg.type == VOS_MSG_RECRED && d.msg.proxy == x->id)
			return d.msg.status;
	return -ETIMEDOUT;
}

Test(life, credentials)
{
	struct tc user, child;
	uint64_t out, name;
	struct stat *st;
	long r;

	if (geteuid())
		cr_skip_test("only root has several");
	close(openat(rootfd, "private", O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(tc_join_as(&d, &user, 2, 16, 65536, 1234, 5678), 0, "%s", d.msg.text);
	cr_expect_eq(open_in(&user, "private", O_RDONLY), -EACCES);
	cr_expect_geq(open_in(&c, "private", O_RDONLY), 0);
	r = open_in(&user, "mine", O_CREAT | O_RDWR);
	cr_assert_geq(r, 0);
	out = tc_alloc(&user, 256);
	st = tc_at(&user, out);
	cr_expect_eq(tc(&user, __NR_fstat, (uint64_t)r, out), 0);
	cr_expect(st->st_uid == 1234 && st->st_gid == 5678);
	cr_expect_eq(tc(&user, __NR_fchown, (uint64_t)r, 0, 0), -EPERM);
	cr_expect_eq(recred(&user, 0, 0), -EPERM, "what was never root does not become it");
	cr_expect_eq(open_in(&user, "private", O_RDONLY), -EACCES);
	/* A root that becomes somebody, as a daemon does, and root again. */
	out = tc_alloc(&c, 256);
	st = tc_at(&c, out);
	name = tc_str(&c, "private");
	cr_expect_eq(recred(&c, 1234, 5678), 0);
	cr_expect_eq(tc(&c, __NR_openat, AT, name, O_RDONLY), -EACCES);
	r = open_in(&c, "hers", O_CREAT | O_RDWR);
	cr_assert_geq(r, 0);
	cr_expect_eq(tc(&c, __NR_fstat, (uint64_t)r, out), 0);
	cr_expect(st->st_uid == 1234 && st->st_gid == 5678);
	cr_assert_eq(tc_fork(&c, &child), 0);
	cr_expect_eq(open_in(&child, "private", O_RDONLY), -EACCES);
	cr_expect_eq(recred(&child, 0, 0), 0);
	cr_expect_geq(open_in(&child, "private", O_RDONLY), 0);
	cr_expect_eq(tc(&c, __NR_openat, AT, name, O_RDONLY), -EACCES);
	cr_expect_eq(recred(&c, 0, 0), 0);
	cr_expect_geq(tc(&c, __NR_openat, AT, name, O_RDONLY), 0);
	/* Workers too. */
	cr_assert_eq(mkfifoat(rootfd, "fifo", 0600), 0);
	memcpy(c.lane[1].data, "fifo", 5);
	tc_submit(&c, 1, __NR_openat, 0, (uint64_t[6]){ AT, 0, O_WRONLY });
	r = open_in(&c, "fifo", O_RDONLY);
	cr_expect_geq(r, 0);
	cr_expect(tc_reap(&c, 1, &tc_cqe, 5000) && tc_cqe.res >= 0);
	cr_expect_eq(recred(&c, 1234, 5678), 0);
	cr_expect_eq(tc(&c, __NR_openat, AT, tc_str(&c, "fifo"), O_RDONLY), -EACCES);
	cr_expect_eq(tc_stop(&d), 0);
}

static void status_of(pid_t pid, const char *key, char *out, size_t size)
{
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	out[0] = 0;
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			snprintf(out, size, "%s", line + strlen(key) + 2);
	if (f)
		fclose(f);
	out[strcspn(out, "\n")] = 0;
}

static bool same_ns(pid_t pid, const char *kind)
{
	char path[64], a[128] = "", b[128] = "";

	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
	if (readlink(path, a, sizeof a - 1) < 0)
		return true;
	snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
	return readlink(path, b, sizeof b - 1) < 0 || !strcmp(a, b);
}

Test(life, sandbox)
{
	struct tc_domain nd;
	struct tc n;
	char text[256];

	status_of(c.pid, "Seccomp", text, sizeof text);
	cr_expect_str_eq(text, "2");
	status_of(c.pid, "NoNewPrivs", text, sizeof text);
	cr_expect_str_eq(text, "1");
	tc_start(&nd, VOS_KIND_NET, NULL);
	cr_assert_eq(tc_join(&nd, &n, 1, 8, 4096), 0);
	status_of(n.pid, "Seccomp", text, sizeof text);
	cr_expect_str_eq(text, "2");
	/* What belongs to the other kind is not served. */
	cr_expect_lt(tc(&n, __NR_openat, AT, tc_str(&n, "x"), O_RDONLY), 0);
	cr_expect_lt(tc(&n, __NR_chdir, tc_str(&n, "x"), 0, 0, 0, 0, AT), 0);
	cr_expect_lt(tc(&c, __NR_socket, AF_INET, SOCK_STREAM, 0), 0);
	if (geteuid() == 0) {
		unsigned long caps;

		status_of(c.pid, "CapEff", text, sizeof text);
		caps = strtoul(text, NULL, 16);
		cr_expect(caps && !(caps & 1ul << 21 /* SYS_ADMIN */) && !(caps & 1ul << 19 /* SYS_PTRACE */), "%s", text);
		cr_expect(!same_ns(c.pid, "net") && !same_ns(c.pid, "mnt") && !same_ns(c.pid, "ipc"));
		cr_expect(same_ns(n.pid, "net") && !same_ns(n.pid, "mnt"));
	}
	tc_leave(&n);
	tc_leave(&c);
	cr_expect_eq(tc_stop(&nd), 0);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, bad_starts)
{
	struct tc_domain bad;
	struct tc x;
	int status;

	cr_expect_eq(tc_try_start(&bad, VOS_KIND_STORE, "/nonexistent/place", NULL), -ENOENT);
	cr_expect(strstr(bad.msg.text, "/nonexistent/place"), "%s", bad.msg.text);
	status = tc_stop(&bad);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	cr_expect_eq(tc_try_start(&bad, VOS_KIND_STORE, "/etc/passwd", NULL), -ENOTDIR);
	tc_stop(&bad);
	cr_expect_lt(tc_try_start(&bad, VOS_KIND_NET, NULL, "no-such-namespace"), 0);
	cr_expect(strstr(bad.msg.text, "no-such-namespace"), "%s", bad.msg.text);
	status = tc_stop(&bad);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	/* The root vanishes after the start. */
	rmdir(root);
	cr_expect_lt(tc_join(&d, &x, 1, 8, 4096), 0);
	cr_expect(d.msg.text[0], "%s", d.msg.text);
	cr_expect_eq(tc(&c, VOS_OP_NULL), 0);
	mkdir(root, 0777);
	cr_expect_eq(tc_stop(&d), 0);
}

Test(life, quick_to_come_up)
{
	struct timespec a, b;
	struct tc x[50];
	double ms;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(tc_join(&d, &x[i], 1, 8, 4096), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	ms = ((double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6) / 50;
	fprintf(stderr, "a join: %.2f ms\n", ms);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 50; i++) {
		struct tc y;

		cr_assert_eq(tc_fork(&x[i], &y), 0);
		tc_leave(&y);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	ms = ((double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6) / 50;
	fprintf(stderr, "a fork: %.2f ms\n", ms);
	for (int i = 0; i < 50; i++)
		tc_leave(&x[i]);
	cr_expect_eq(tc_stop(&d), 0);
}
