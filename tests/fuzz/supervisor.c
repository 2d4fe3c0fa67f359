/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients and a broker that say anything, against virtuosd's own code: sessions, conversations, a domain that is up.  fork and
 * kill are ours here (link_args in meson.build): nothing is started and nothing killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
pid_t __wrap_fork(void);
int __wrap_kill(pid_t pid, int sig);

struct vos_supervisor vos_sup = { .private = true, .max_regions = 50, .max_bytes = 1 << 24, .beat_ms = 100000, .hung_ms = 300000 };

void vos_supervisor_end(const char *why)
{
	(void)why;
}

pid_t __wrap_fork(void)
{
	errno = EAGAIN;
	return -1;
}

int __wrap_kill(pid_t pid, int sig)
{
	(void)pid;
	(void)sig;
	errno = ESRCH;
	return -1;
}

static void pair(int fd[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
		abort();
}

static void drain(int sock)
{
	struct vos_msg m;
	struct vos_msg_fds fds;

	while (vos_msg_recv(sock, &m, &fds, 0) == 0)
		vos_msg_close_fds(&fds);
}

/* A domain that is up, with our end of its broker's socket. */
static struct vos_dom *bring_up(int *ret_sock)
{
	int status, sock[2];
	const char *why;
	struct vos_dom *d = vos_dom_get(VOS_KIND_NET, "local", "", &status, &why);
	struct vos_msg m;

	if (!d)
		abort();
	pair(sock);
	vos_timer_clear(&d->timer);
	d->error = 0;
	d->crashes = 0;
	d->want = true;
	d->reaping = false;
	d->pid = 1 << 22;
	d->epoch++;
	d->state = VOS_DOM_STARTING;
	d->beat = 1000;
	d->beat_answered = 0;
	d->broker = (struct vos_source){ sock[0], vos_dom_broker_ready };
	if (vos_loop_watch(&d->broker))
		abort();
	vos_msg_init(&m, VOS_MSG_STATUS);
	vos_msg_send(sock[1], &m, NULL, 0, 0);
	while (vos_loop_turn(false) > 0)
		;
	*ret_sock = sock[1];
	return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	int session[2], broker, talk[4] = { -1, -1, -1, -1 };
	struct vos_dom *d;

	if (!ready) {
		if (vos_loop_init())
			abort();
		vos_sup.uid = geteuid();
		ready = true;
	}
	pair(session);
	if (vos_session_open(session[0], false))
		abort();
	d = bring_up(&broker);
	/* Each step: who speaks, and a message; its first bytes choose sound values, the rest is laid over them. */
	while (size >= 8) {
		uint8_t who = data[0] % 8, nfds = data[1] % 3;
		size_t n = data[7] % 32;
		struct vos_msg m;
		int fds[2], give[2] = { -1, -1 };

		vos_msg_init(&m, data[2] % (VOS_MSG_END + 1));
		m.kind = data[3] % 4;
		m.status = (int8_t)data[4];
		m.proxy = d->proxies ? d->proxies->id + data[5] % 2 : data[5];
		m.fork_of = data[6] & 1 ? m.proxy : 0;
		m.geo.lanes = data[5];
		m.geo.slots = data[6];
		m.geo.data_stride = 4096;
		m.aux[0] = data[4];
		m.aux[2] = 1 + data[5];
		strcpy(m.domain, data[3] & 8 ? "local" : "local:x");
		strcpy(m.text, data[3] & 16 ? "/tmp" : data[3] & 32 ? "list" : data[3] & 64 ? "kill local" : "restart local");
		data += 8;
		size -= 8;
		if (n > size)
			n = size;
		memcpy((unsigned char *)&m + (n ? data[0] * 8u % (sizeof m - 32) : 0), data, n);
		data += n;
		size -= n;
		for (int i = 0; i < nfds; i++)
			give[i] = who < 4 ? dup(0) : d->proxies && d->proxies->conn.region >= 0 ? dup(d->proxies->conn.region) : dup(0);
		if (who == 0) {
			vos_msg_send(session[1], &m, give, nfds, 0);
		} else if (who < 4) {
			vos_msg_send(broker, &m, give, nfds, 0);
		} else {
			int k = who - 4;

			if (talk[k] < 0) {
				struct vos_msg call;

				pair(fds);
				vos_msg_init(&call, VOS_MSG_CALL);
				vos_msg_send(session[1], &call, &fds[1], 1, 0);
				close(fds[1]);
				talk[k] = fds[0];
			}
			vos_msg_send(talk[k], &m, give, nfds, 0);
		}
		for (int i = 0; i < nfds; i++)
			close(give[i]);
		while (vos_loop_turn(false) > 0)
			;
		drain(broker);
		for (int k = 0; k < 4; k++)
			if (talk[k] >= 0)
				drain(talk[k]);
		if (d->broker.fd < 0) {
			close(broker);
			for (int i = 0; i < 20 && d->reaping; i++) {
				usleep(1000);
				vos_loop_turn(false);
			}
			d = bring_up(&broker);
		}
	}
	for (int k = 0; k < 4; k++)
		if (talk[k] >= 0)
			close(talk[k]);
	close(session[1]);
	close(broker);
	vos_dom_kill(d, "end of the input");
	for (int i = 0; i < 20 && (d->reaping || i < 2); i++) {
		vos_loop_turn(false);
		usleep(d->reaping ? 500 : 0);
	}
	/* All that the input made is gone again. */
	if (d->proxies)
		abort();
	return 0;
}
