/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "harness.h"
#include "kept.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

TestSuite(supervisor, .timeout = 60);

static char *control(const struct daemon *d, const char *command, int *ret_status)
{
	struct vos_msg m;
	struct vos_msg_fds fds;
	int sock = talk(d);
	char *text = kept(calloc(1, 65536));
	size_t n = 0;
	ssize_t k;

	vos_msg_init(&m, VOS_MSG_CONTROL);
	vos_msg_text(m.text, sizeof m.text, command);
	cr_assert_eq(ask(sock, &m, NULL, 0, &fds), 0);
	close(sock); /* as the CLI does: the pipe outlives the conversation */
	cr_assert_eq(m.type, VOS_MSG_CONTROL);
	*ret_status = m.status;
	if (m.status)
		return strcpy(text, m.text);
	cr_assert_eq(fds.n, 1);
	while (n < 65535 && (k = read(fds.fd[0], text + n, 65535 - n)) > 0)
		n += (size_t)k;
	vos_msg_close_fds(&fds);
	return text;
}

static unsigned long long listed_pid(const struct daemon *d, const char *name, char *ret_state, unsigned *ret_epoch,
				     unsigned *ret_proxies)
{
	int status;
	char *text = control(d, "list", &status), *save, *line;
	unsigned long long pid = 0;

	cr_assert_eq(status, 0);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char n[512], kind[16], state[16];
		unsigned epoch, proxies, restarts, uptime;
		unsigned long long p;

		cr_assert_eq(sscanf(line, "%511s %15s %15s %u %llu %u %u %u", n, kind, state, &epoch, &p, &proxies, &restarts, &uptime), 8,
			     "'%s'", line);
		if (strcmp(n, name) == 0) {
			pid = p;
			strcpy(ret_state, state);
			*ret_epoch = epoch;
			*ret_proxies = proxies;
		}
	}
	free(text);
	return pid;
}

Test(supervisor, joins_serves_and_leaves_nothing_behind)
{
	struct daemon d = daemon_start(NULL);
	struct client a, b;
	char state[16] = "";
	unsigned epoch, proxies;
	pid_t broker, proxy;

	cr_assert_eq(join(&d, &a, "local"), 0);
	cr_assert_eq(a.epoch, 1);
	cr_assert_eq(call(&a, VOS_OP_NULL, 41, 0), 42);
	cr_assert_eq(join(&d, &b, "local"), 0);
	cr_assert_neq(a.proxy, b.proxy);
	cr_assert_eq(call(&b, VOS_OP_NULL, 1, 0), 2);
	proxy = (pid_t)call(&a, FAKE_PID, 0, 0);
	cr_assert_neq(proxy, (pid_t)call(&b, FAKE_PID, 0, 0));
	broker = (pid_t)listed_pid(&d, "local", state, &epoch, &proxies);
	cr_assert_str_eq(state, "up");
	cr_assert_eq(epoch, 1);
	cr_assert_eq(proxies, 2);
	leave(&a);
	await_no_process(proxy);
	for (int i = 0; i < 1000 && proxies != 1; i++) {
		usleep(2000);
		listed_pid(&d, "local", state, &epoch, &proxies);
	}
	cr_assert_eq(proxies, 1, "the supervisor heard of its end");
	daemon_end(&d);
	await_no_process(broker);
	leave(&b);
}

Test(supervisor, a_killed_broker_is_rebooted_and_its_clients_see_it)
{
	struct daemon d = daemon_start(NULL);
	struct client c, other;
	struct timespec a, b;
	char state[16] = "";
	unsigned epoch, proxies;
	pid_t broker, proxy;

	cr_assert_eq(join(&d, &c, "local"), 0);
	cr_assert_eq(join(&d, &other, "local:other"), 0);
	proxy = (pid_t)call(&c, FAKE_PID, 0, 0);
	for (unsigned round = 1; round <= 4; round++) {
		broker = (pid_t)listed_pid(&d, "local", state, &epoch, &proxies);
		cr_assert_eq(epoch, round);
		clock_gettime(CLOCK_MONOTONIC, &a);
		kill(broker, SIGKILL);
		await_no_process(proxy);
		cr_assert(c.t.ops->peer_dead(&c.t));
		leave(&c);
		cr_assert_eq(join(&d, &c, "local"), 0);
		clock_gettime(CLOCK_MONOTONIC, &b);
		cr_assert_eq(c.epoch, round + 1);
		cr_assert_eq(call(&c, VOS_OP_NULL, 1, 0), 2);
		proxy = (pid_t)call(&c, FAKE_PID, 0, 0);
		cr_log_info("rebooted in %ld us", (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
		cr_assert_eq(call(&other, VOS_OP_NULL, 1, 0), 2, "the other domain notices nothing");
	}
	leave(&c);
	leave(&other);
	daemon_end(&d);
}

Test(supervisor, a_hung_broker_is_killed_and_rebooted)
{
	struct daemon d = daemon_start((const char *[]){ "--beat=50", "--hung=200", NULL });
	struct client c, e;
	char state[16] = "";
	unsigned epoch, proxies;
	pid_t broker, proxy;

	cr_assert_eq(join(&d, &c, "local"), 0);
	proxy = (pid_t)call(&c, FAKE_PID, 0, 0);
	broker = (pid_t)listed_pid(&d, "local", state, &epoch, &proxies);
	kill(broker, SIGSTOP);
	await_no_process(proxy);
	cr_assert_eq(join(&d, &e, "local"), 0);
	cr_assert_eq(e.epoch, 2);
	cr_assert_eq(call(&e, VOS_OP_NULL, 1, 0), 2);
	leave(&c);
	leave(&e);
	daemon_end(&d);
}

Test(supervisor, a_crash_loop_is_slowed_down_and_ends_in_an_error)
{
	struct daemon d = daemon_start(NULL);
	struct vos_msg m;
	struct client c;
	char state[16] = "";
	unsigned epoch, proxies;
	int r;

	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local:crash", "");
	m.aux[0] = 1500;
	r = join_as(&d, &c, &m, NULL, 0);
	cr_assert_eq(r, -EAGAIN, "got %d", r);
	listed_pid(&d, "local:crash", state, &epoch, &proxies);
	cr_assert_geq(epoch, 5);
	cr_assert_leq(epoch, 10, "started %u times in 1.5 s", epoch);
	cr_assert_eq(join(&d, &c, "local"), 0, "others are served meanwhile");
	cr_assert_eq(call(&c, VOS_OP_NULL, 1, 0), 2);
	leave(&c);
	daemon_end(&d);
}

Test(supervisor, what_cannot_start_is_told_in_one_line)
{
	static const struct { uint32_t kind; const char *name, *root; int status; const char *text; } all[] = {
		{ VOS_KIND_NET, "local:refuse", "", -ENOENT, "namespace" },
		{ VOS_KIND_STORE, "local", "/no/such/directory", -ENOENT, "no such directory" },
		{ VOS_KIND_STORE, "local", "relative", -EINVAL, "absolute" },
		{ VOS_KIND_STORE, "nosuch", "/tmp", -ENOENT, "no such domain" },
		{ VOS_KIND_NET, "xen:disk0", "", -ENOENT, "Xen" },
		{ VOS_KIND_NET, "local:../../etc", "", -ENOENT, "no such domain" },
		{ 0, "local", "/tmp", -EINVAL, "kind" },
		{ VOS_KIND_NET, "local:noproxy", "", -EAGAIN, "no proxy today" },
	};
	struct daemon d = daemon_start(NULL);
	struct client c;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct vos_msg m;
		int r;

		wish(&m, VOS_MSG_JOIN, all[i].kind, all[i].name, all[i].root);
		r = join_as(&d, &c, &m, NULL, 0);
		cr_assert_eq(r, all[i].status, "%s: %d %s", all[i].name, r, m.text);
		cr_assert(strstr(m.text, all[i].text), "%s: '%s'", all[i].name, m.text);
		cr_assert_null(strchr(m.text, '\n'));
	}
	daemon_end(&d);
}

Test(supervisor, a_missing_root_that_appears_is_served)
{
	struct daemon d = daemon_start(NULL);
	char dir[] = "/tmp/virtuos-test-XXXXXX";
	struct vos_msg m;
	struct client c;

	cr_assert(mkdtemp(dir));
	rmdir(dir);
	wish(&m, VOS_MSG_JOIN, VOS_KIND_STORE, "local", dir);
	cr_assert_eq(join_as(&d, &c, &m, NULL, 0), -ENOENT);
	mkdir(dir, 0700);
	wish(&m, VOS_MSG_JOIN, VOS_KIND_STORE, "local", dir);
	cr_assert_eq(join_as(&d, &c, &m, NULL, 0), 0);
	cr_assert_eq(call(&c, VOS_OP_NULL, 1, 0), 2);
	leave(&c);
	daemon_end(&d);
	rmdir(dir);
}

Test(supervisor, a_mute_or_rude_broker_is_not_waited_for)
{
	struct daemon d = daemon_start((const char *[]){ "--beat=50", "--hung=300", NULL });
	struct vos_msg m;
	struct client c;
	char state[16] = "";
	unsigned epoch, proxies;
	int r;

	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local:mute", "");
	m.aux[0] = 200;
	cr_assert_eq(join_as(&d, &c, &m, NULL, 0), -EAGAIN);
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local:rude", "");
	m.aux[0] = 1000;
	r = join_as(&d, &c, &m, NULL, 0);
	if (r == 0)
		leave(&c);
	for (int i = 0; i < 1000; i++) {
		listed_pid(&d, "local:rude", state, &epoch, &proxies);
		if (epoch > 1)
			break;
		usleep(2000);
	}
	cr_assert_gt(epoch, 1, "a breach of the protocol is a reason to reboot");
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local:hang", "");
	m.aux[0] = 1000;
	r = join_as(&d, &c, &m, NULL, 0);
	cr_assert_lt(r, 0);
	daemon_end(&d);
}

Test(supervisor, quotas_hold_and_come_back)
{
	struct daemon d = daemon_start((const char *[]){ "--max-regions=3", NULL });
	struct client c[4];
	struct vos_msg m;
	int r = -1;

	for (int i = 0; i < 3; i++)
		cr_assert_eq(join(&d, &c[i], "local"), 0);
	cr_assert_eq(join(&d, &c[3], "local"), -EDQUOT);
	leave(&c[0]);
	for (int i = 0; i < 1000 && r; i++) {
		usleep(2000);
		r = join(&d, &c[3], "local");
	}
	cr_assert_eq(r, 0);
	for (int i = 1; i < 4; i++)
		leave(&c[i]);
	daemon_end(&d);

	d = daemon_start((const char *[]){ "--max-bytes=1000000", NULL });
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.geo.data_stride = 1 << 20;
	cr_assert_eq(join_as(&d, &c[0], &m, NULL, 0), -EDQUOT);
	cr_assert_eq(join(&d, &c[0], "local"), 0);
	leave(&c[0]);
	daemon_end(&d);
}

Test(supervisor, wishes_are_clamped)
{
	struct daemon d = daemon_start(NULL);
	struct client c;
	struct vos_msg m;

	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.geo = (struct vos_region_geo){ .lanes = ~0u, .slots = 1000, .data_stride = ~0ull };
	cr_assert_eq(join_as(&d, &c, &m, NULL, 0), 0);
	cr_assert_leq(c.t.geo.lanes, 64);
	cr_assert_eq(c.t.geo.slots, 256);
	leave(&c);
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.geo = (struct vos_region_geo){ 0 };
	cr_assert_eq(join_as(&d, &c, &m, NULL, 0), 0);
	cr_assert_eq(call(&c, VOS_OP_NULL, 1, 0), 2);
	leave(&c);
	daemon_end(&d);
}

Test(supervisor, a_proxy_forks_for_who_holds_its_region_only)
{
	struct daemon d = daemon_start(NULL);
	struct client c, child, stranger;
	struct vos_msg m;

	cr_assert_eq(join(&d, &c, "local"), 0);
	cr_assert_eq(join(&d, &stranger, "local"), 0);
	call(&c, FAKE_STATE, 77, 0);
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.fork_of = c.proxy;
	cr_assert_eq(join_as(&d, &child, &m, &c.t.region_fd, 1), 0);
	cr_assert_eq(call(&child, FAKE_STATE, 78, 0), 77, "the forked proxy has the state of its parent");
	cr_assert_eq(call(&c, FAKE_STATE, 79, 0), 77, "and its own from then on");
	cr_assert_neq(call(&c, FAKE_PID, 0, 0), call(&child, FAKE_PID, 0, 0));

	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.fork_of = c.proxy;
	cr_assert_eq(join_as(&d, &child, &m, NULL, 0), -EPERM, "without its region");
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.fork_of = c.proxy;
	cr_assert_eq(join_as(&d, &child, &m, &stranger.t.region_fd, 1), -EPERM, "with another's region");
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
	m.fork_of = c.proxy + 1000;
	cr_assert_eq(join_as(&d, &child, &m, &c.t.region_fd, 1), -ESRCH);
	leave(&c);
	leave(&stranger);
	daemon_end(&d);
}

Test(supervisor, recred_needs_the_region_too)
{
	struct daemon d = daemon_start(NULL);
	struct client c;
	struct vos_msg m;
	struct vos_msg_fds fds;
	int sock = talk(&d);

	cr_assert_eq(join(&d, &c, "local"), 0);
	wish(&m, VOS_MSG_RECRED, VOS_KIND_NET, "local", "");
	m.proxy = c.proxy;
	cr_assert_eq(ask(sock, &m, &c.t.region_fd, 1, &fds), 0);
	cr_assert_eq(m.type, VOS_MSG_STATUS);
	cr_assert_eq(m.status, 0);
	wish(&m, VOS_MSG_RECRED, VOS_KIND_NET, "local", "");
	m.proxy = c.proxy;
	cr_assert_eq(ask(sock, &m, NULL, 0, &fds), 0, "the conversation goes on");
	cr_assert_eq(m.status, -ESRCH);
	close(sock);
	leave(&c);
	daemon_end(&d);
}

Test(supervisor, malformed_messages_harm_nobody)
{
	struct daemon d = daemon_start(NULL);
	struct client c;
	struct vos_msg m;
	struct vos_msg_fds fds;
	int sock, p[2], r;

	cr_assert_eq(join(&d, &c, "local"), 0);
	/* On the session, which others share: ignored. */
	for (int i = 0; i < 50; i++)
		cr_assert_geq(send(d.session, "rubbish", 7, MSG_NOSIGNAL), 0);
	vos_msg_init(&m, VOS_MSG_CALL);
	cr_assert_eq(vos_msg_send(d.session, &m, NULL, 0, vos_msg_deadline(1000)), 0);
	cr_assert_eq(pipe(p), 0);
	cr_assert_eq(vos_msg_send(d.session, &m, p, 2, vos_msg_deadline(1000)), 0);
	cr_assert_eq(vos_msg_send(d.session, &m, p, 1, vos_msg_deadline(1000)), 0, "not a socket");
	vos_msg_init(&m, VOS_MSG_SPAWN);
	cr_assert_eq(vos_msg_send(d.session, &m, NULL, 0, vos_msg_deadline(1000)), 0);

	/* On a conversation: it ends, and nothing else. */
	sock = talk(&d);
	cr_assert_geq(send(sock, "rubbish", 7, MSG_NOSIGNAL), 0);
	cr_assert_eq(vos_msg_recv(sock, &m, &fds, vos_msg_deadline(5000)), -EPIPE);
	close(sock);
	sock = talk(&d);
	vos_msg_init(&m, VOS_MSG_JOIN);
	m.version = 9;
	cr_assert_eq(vos_msg_send(sock, &m, NULL, 0, vos_msg_deadline(1000)), 0);
	cr_assert_eq(vos_msg_recv(sock, &m, &fds, vos_msg_deadline(5000)), 0);
	cr_assert_eq(m.status, -EPROTONOSUPPORT);
	cr_assert(strstr(m.text, "version"));
	close(sock);
	sock = talk(&d);
	vos_msg_init(&m, VOS_MSG_GONE);
	m.proxy = c.proxy;
	cr_assert_eq(ask(sock, &m, NULL, 0, &fds), 0);
	cr_assert_eq(m.status, -EPROTO, "a client is no broker");
	close(sock);

	/* Two requests at once; a client that leaves while it is served. */
	sock = talk(&d);
	wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local:mute", "");
	cr_assert_eq(vos_msg_send(sock, &m, NULL, 0, vos_msg_deadline(1000)), 0);
	cr_assert_eq(vos_msg_send(sock, &m, NULL, 0, vos_msg_deadline(1000)), 0);
	r = vos_msg_recv(sock, &m, &fds, vos_msg_deadline(5000));
	cr_assert(r == -EPIPE || r == -ECONNRESET, "%d", r);
	close(sock);
	for (int i = 0; i < 20; i++) {
		sock = talk(&d);
		wish(&m, VOS_MSG_JOIN, VOS_KIND_NET, "local", "");
		cr_assert_eq(vos_msg_send(sock, &m, NULL, 0, vos_msg_deadline(1000)), 0);
		close(sock);
	}
	cr_assert_eq(call(&c, VOS_OP_NULL, 1, 0), 2);
	leave(&c);
	cr_assert_eq(join(&d, &c, "local"), 0);
	leave(&c);
	daemon_end(&d);
}

Test(supervisor, clients_that_do_not_read_hold_up_nobody)
{
	struct daemon d = daemon_start(NULL);
	struct vos_msg m;
	struct client c;
	int sock = talk(&d);

	/* Until its socket is full of answers. */
	for (int i = 0; i < 2000; i++) {
		wish(&m, VOS_MSG_STATE, VOS_KIND_NET, "nosuch", "");
		if (vos_msg_send(sock, &m, NULL, 0, 0))
			usleep(100);
	}
	cr_assert_eq(join(&d, &c, "local"), 0);
	close(sock);
	leave(&c);
	daemon_end(&d);
}

static int segment(int sock, uint64_t ino, uint64_t size, uint64_t word, struct vos_msg *m, struct vos_msg_fds *fds)
{
	wish(m, VOS_MSG_SHMAP, VOS_KIND_STORE, "local", "/tmp");
	m->aux[0] = 8;
	m->aux[1] = ino;
	m->aux[2] = size;
	m->aux[3] = word;
	cr_assert_eq(ask(sock, m, NULL, 0, fds), 0);
	return m->status;
}

Test(supervisor, segments_are_shared_and_forgotten_with_their_holders)
{
	struct daemon d = daemon_start(NULL);
	struct vos_msg m;
	struct vos_msg_fds a, b;
	struct stat st, st2;
	int one = talk(&d), two = talk(&d), three = talk(&d);

	cr_assert_eq(segment(one, 9, 5000, 0, &m, &a), 0, "%s", m.text);
	cr_assert_eq(m.aux[1], VOS_SHMAP_FRESH);
	cr_assert_eq(a.n, 2);
	cr_assert_eq(segment(one, 9, 5000, 1, &m, &b), 0);
	cr_assert_eq(segment(two, 9, 50000, 0, &m, &b), 0);
	cr_assert_eq(m.aux[1], VOS_SHMAP_READY);
	fstat(a.fd[0], &st);
	fstat(b.fd[0], &st2);
	cr_assert_eq(st.st_ino, st2.st_ino);
	cr_assert_eq(st2.st_size, 50000, "grown");
	cr_assert_eq(segment(two, 9, 100, 1, &m, &(struct vos_msg_fds){ 0 }), -EBUSY, "who need not fill it");
	close(one);
	close(two);
	for (int i = 0; i < 1000; i++) {
		struct vos_msg_fds c;

		segment(three, 9, 100, 0, &m, &c);
		vos_msg_close_fds(&c);
		if (m.aux[1])
			break;
		close(three);
		three = talk(&d);
		usleep(2000);
	}
	cr_assert_eq(m.aux[1], VOS_SHMAP_FRESH, "forgotten with its last holder");
	wish(&m, VOS_MSG_SHMAP, VOS_KIND_STORE, "local", "/tmp");
	cr_assert_lt(segment(three, 9, 100, 0, &m, &(struct vos_msg_fds){ 0 }), 0);
	close(three);
	vos_msg_close_fds(&a);
	vos_msg_close_fds(&b);
	daemon_end(&d);
}

Test(supervisor, a_segment_is_waited_for_until_it_is_filled)
{
	struct daemon d = daemon_start(NULL);
	struct vos_msg m;
	struct vos_msg_fds a, b, none;
	int one = talk(&d), two = talk(&d), three = talk(&d);

	cr_assert_eq(segment(one, 10, 5000, 0, &m, &a), 0);
	cr_assert_eq(m.aux[1], VOS_SHMAP_FRESH);
	for (int i = 0; i < 2; i++) {
		wish(&m, VOS_MSG_SHMAP, VOS_KIND_STORE, "local", "/tmp");
		m.aux[0] = 8;
		m.aux[1] = 10;
		m.aux[2] = 5000;
		cr_assert_eq(vos_msg_send(i ? three : two, &m, NULL, 0, 0), 0);
	}
	cr_assert_eq(vos_msg_recv(two, &m, &b, vos_msg_deadline(50)), -ETIMEDOUT);
	cr_assert_eq(vos_msg_recv(three, &m, &b, vos_msg_deadline(50)), -ETIMEDOUT);
	/* Who was to fill it is gone: another is to. */
	close(one);
	struct pollfd p[2] = { { two, POLLIN, 0 }, { three, POLLIN, 0 } };
	cr_assert_eq(poll(p, 2, 5000), 1);
	int first = p[0].revents ? two : three, second = p[0].revents ? three : two;
	cr_assert_eq(vos_msg_recv(first, &m, &b, vos_msg_deadline(5000)), 0);
	cr_assert_eq(m.aux[1], VOS_SHMAP_FRESH);
	cr_assert_eq(vos_msg_recv(second, &m, &none, vos_msg_deadline(50)), -ETIMEDOUT);
	cr_assert_eq(segment(first, 10, 5000, 1, &m, &none), 0);
	cr_assert_eq(vos_msg_recv(second, &m, &none, vos_msg_deadline(5000)), 0);
	cr_assert_eq(m.aux[1], VOS_SHMAP_READY);
	vos_msg_close_fds(&none);
	/* What was stored and not brought to the file is there for the next. */
	cr_assert_eq(pwrite(b.fd[0], "stored", 6, 100), 6);
	close(first);
	close(second);
	for (int i = 0; i < 1000; i++) {
		three = talk(&d);
		cr_assert_eq(segment(three, 10, 5000, 0, &m, &none), 0);
		if (m.aux[1])
			break;
		vos_msg_close_fds(&none);
		close(three);
		usleep(2000);
	}
	cr_assert_eq(m.aux[1], VOS_SHMAP_LEFT);
	char text[7] = "";
	cr_assert_eq(pread(none.fd[0], text, 6, 100), 6);
	cr_assert_str_eq(text, "stored");
	close(three);
	vos_msg_close_fds(&a);
	vos_msg_close_fds(&b);
	vos_msg_close_fds(&none);
	daemon_end(&d);
}

Test(supervisor, control)
{
	struct daemon d = daemon_start(NULL);
	struct client c;
	char state[16] = "", *text;
	unsigned epoch, proxies;
	pid_t proxy;
	int status;

	text = control(&d, "start local", &status);
	cr_assert_eq(status, 0);
	cr_assert_str_eq(text, "");
	listed_pid(&d, "local", state, &epoch, &proxies);
	cr_assert_str_eq(state, "up", "start ends when it is up");
	cr_assert_eq(join(&d, &c, "local"), 0);
	proxy = (pid_t)call(&c, FAKE_PID, 0, 0);
	text = control(&d, "restart net=local", &status);
	cr_assert_eq(status, 0);
	cr_assert_not(process_exists(proxy));
	listed_pid(&d, "local", state, &epoch, &proxies);
	cr_assert_str_eq(state, "up");
	cr_assert_eq(epoch, 2);
	leave(&c);
	text = control(&d, "stop local", &status);
	cr_assert_eq(status, 0);
	listed_pid(&d, "local", state, &epoch, &proxies);
	cr_assert_str_eq(state, "stopped");
	cr_assert_eq(join(&d, &c, "local"), -ENETDOWN, "who is stopped is not started by a client");
	text = control(&d, "start local", &status);
	cr_assert_eq(join(&d, &c, "local"), 0);
	cr_assert_eq(c.epoch, 3);
	text = control(&d, "kill local", &status);
	cr_assert_eq(status, 0);
	leave(&c);
	cr_assert_eq(join(&d, &c, "local"), 0);
	cr_assert_eq(c.epoch, 4);
	leave(&c);
	text = control(&d, "start store=local:/tmp", &status);
	cr_assert_eq(status, 0);
	listed_pid(&d, "local:/tmp", state, &epoch, &proxies);
	cr_assert_str_eq(state, "up");
	text = control(&d, "start local:refuse", &status);
	cr_assert_eq(status, 0);
	cr_assert(strstr(text, "namespace"), "'%s'", text);
	text = control(&d, "kill nosuch", &status);
	cr_assert_eq(status, -ENOENT);
	text = control(&d, "explode local", &status);
	cr_assert_eq(status, -EINVAL);
	text = control(&d, "kill loc", &status);
	cr_assert_eq(status, -EINVAL, "several begin so");
	daemon_end(&d);
}

Test(supervisor, a_killed_supervisor_takes_its_domains_down)
{
	struct daemon d = daemon_start(NULL);
	struct client c;
	char state[16] = "";
	unsigned epoch, proxies;
	pid_t broker, proxy;

	cr_assert_eq(join(&d, &c, "local"), 0);
	proxy = (pid_t)call(&c, FAKE_PID, 0, 0);
	broker = (pid_t)listed_pid(&d, "local", state, &epoch, &proxies);
	kill(d.pid, SIGKILL);
	cr_assert_neq(await_end(d.pid, 2000), -1);
	await_no_process(broker);
	await_no_process(proxy);
	cr_assert(c.t.ops->peer_dead(&c.t));
	leave(&c);
	close(d.session);
}

Test(supervisor, ends_on_sigterm_with_everything)
{
	struct daemon d = daemon_start(NULL);
	struct client c;
	pid_t proxy;

	cr_assert_eq(join(&d, &c, "local"), 0);
	proxy = (pid_t)call(&c, FAKE_PID, 0, 0);
	kill(d.pid, SIGTERM);
	cr_assert_eq(await_end(d.pid, 5000), 0);
	cr_assert_not(process_exists(proxy));
	leave(&c);
	close(d.session);
}

Test(supervisor, the_session_lives_as_long_as_one_holder)
{
	struct daemon d = daemon_start(NULL);
	int copy = dup(d.session), sock;
	struct vos_msg m;
	struct vos_msg_fds fds;

	close(d.session);
	d.session = copy;
	sock = talk(&d);
	wish(&m, VOS_MSG_STATE, VOS_KIND_NET, "local", "");
	cr_assert_eq(ask(sock, &m, NULL, 0, &fds), 0);
	cr_assert_eq(m.type, VOS_MSG_STATE);
	cr_assert_eq(m.status, 0);
	cr_assert_eq(m.epoch, 1);
	close(sock);
	daemon_end(&d);
}
