/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The broker of a domain: makes proxies as its supervisor asks, reaps them, and carries open files from one to another.
 * It never waits for a proxy: one that does not take its messages is ended.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "servers/common/channel.h"
#include "servers/domain/domain.h"

#define PROXIES_MAX     65536u
#define TOKENS_MAX      4096u
#define TOKENS_OF_ONE   256u
/* A descriptor may lie in a socket's queue for a while before its receiver runs. */
#define TOKEN_SECONDS   600
#define SUPERVISOR_MS   5000
/* A slow disk is no reason to end anybody. */
#define BEAT_SECONDS    10
#define HUNG_SECONDS    60
/* But one that was stopped waits for no disk. */
#define STOPPED_SECONDS 3

struct proxy {
	struct proxy *next;
	uint64_t id, fork_of;
	pid_t    pid;          /* 0: a fork that has not said so yet */
	int      channel;
	bool     announced;    /* the supervisor has had its SPAWNED */
	bool     up;           /* and with success: its end will be told */
	bool     beating;      /* has answered the last beat */
	time_t   beat_at;      /* when that was sent */
	time_t   stopped_at;   /* by a signal; 0: it runs */
};

/* An open file on its way between two proxies. */
struct token {
	uint8_t  key[16];
	int      fd;
	uint64_t owner;
	time_t   until;
	bool     held;               /* until the supervisor says otherwise */
};

struct broker {
	const struct vos_domain_cfg *cfg;
	int epfd, sigfd;
	struct proxy *proxies;
	uint32_t nproxies;
	bool stopped;          /* one of them is */
	struct token token[TOKENS_MAX];
	uint32_t ntokens;
	struct vos_msg in, out;
};

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void to_supervisor(struct broker *b, const struct vos_msg *m)
{
	int r = vos_msg_send(b->cfg->broker_fd, m, NULL, 0, vos_msg_deadline(SUPERVISOR_MS));

	if (!r)
		return;
	if (r == -ETIMEDOUT)
		vos_warn("the supervisor takes no messages: ending");
	exit(r == -ETIMEDOUT ? 1 : 0);
}

static void announce(struct broker *b, struct proxy *p, int status, const char *text)
{
	if (p->announced)
		return;
	p->announced = true;
	p->up = status == 0;
	p->beating = true;
	p->beat_at = now_s();
	vos_msg_init(&b->out, VOS_MSG_SPAWNED);
	b->out.status = status;
	b->out.proxy = p->id;
	b->out.pid = (uint32_t)p->pid;
	if (text)
		vos_msg_text(b->out.text, sizeof b->out.text, text);
	to_supervisor(b, &b->out);
}

static struct proxy *by_id(struct broker *b, uint64_t id)
{
	struct proxy *p = b->proxies;

	while (p && p->id != id)
		p = p->next;
	return p;
}

static struct proxy *by_pid(struct broker *b, pid_t pid)
{
	struct proxy *p = b->proxies;

	while (p && p->pid != pid)
		p = p->next;
	return p;
}

static void drop(struct broker *b, struct proxy *p)
{
	struct proxy **at = &b->proxies;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	b->nproxies--;
	/* Closing alone is not enough: a child that was forked just now still holds all our descriptors, and the set its entry. */
	epoll_ctl(b->epfd, EPOLL_CTL_DEL, p->channel, NULL);
	close(p->channel);
	free(p);
}

static struct proxy *add(struct broker *b, uint64_t id, int channel)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct proxy *p;

	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->id = id;
	p->channel = channel;
	ev.data.ptr = p;
	if (epoll_ctl(b->epfd, EPOLL_CTL_ADD, channel, &ev)) {
		free(p);
		return NULL;
	}
	p->next = b->proxies;
	b->proxies = p;
	b->nproxies++;
	return p;
}

/* An answer.  A proxy asks a bounded number of questions at a time: one that has no room for the answers is broken. */
static void answer_proxy(struct proxy *p, const struct vos_msg *m, const int *fds, uint32_t nfds)
{
	if (vos_msg_send(p->channel, m, fds, nfds, 0) == -ETIMEDOUT && p->pid > 0) {
		vos_warn("proxy %llu takes no answers: killed", (unsigned long long)p->id);
		kill(p->pid, SIGKILL);
	}
}

/* 0, or the errno of SPAWNED. */
static int spawn(struct broker *b, const struct vos_msg *m, struct vos_msg_fds *fds)
{
	int pair[2], give[5], r;
	struct proxy *p, *parent = NULL;
	pid_t pid;

	if (fds->n != 4 || !m->proxy || by_id(b, m->proxy) || m->kind > 31 || !(b->cfg->kinds & 1u << m->kind))
		return -EINVAL;
	if (b->nproxies >= PROXIES_MAX)
		return -EAGAIN;
	if (m->fork_of) {
		parent = by_id(b, m->fork_of);
		if (!parent)
			return -ESRCH;
	}
	r = vos_channel_pair(pair);
	if (r)
		return r;
	p = add(b, m->proxy, pair[0]);
	if (!p) {
		close(pair[0]);
		close(pair[1]);
		return -ENOMEM;
	}
	if (parent) {
		p->fork_of = parent->id;
		memcpy(give, fds->fd, 4 * sizeof give[0]);
		give[4] = pair[1];
		/* Should the parent die with this unread, its end of the new channel closes, and that is the answer. */
		r = vos_msg_send(parent->channel, m, give, 5, 0);
		close(pair[1]);
		/* Busy, with more forks asked of it than its socket holds; or just gone. */
		if (r) {
			p->announced = true;
			drop(b, p);
		}
		return r == -ETIMEDOUT ? -EAGAIN : r ? -ESRCH : 0;
	}
	pid = fork();
	if (pid == 0)
		vos_proxy_main(b->cfg, m, fds->fd, pair[1]);
	r = pid < 0 ? -errno : 0;
	vos_sandbox_said();
	close(pair[1]);
	p->pid = pid;
	if (r) {
		p->announced = true;
		drop(b, p);
	}
	return r;
}

static void put_token(struct broker *b, uint32_t i)
{
	close(b->token[i].fd);
	b->token[i] = b->token[--b->ntokens];
}

static void expire_tokens(struct broker *b)
{
	time_t now = now_s();

	for (uint32_t i = 0; i < b->ntokens;)
		if (!b->token[i].held && b->token[i].until <= now)
			put_token(b, i);
		else
			i++;
}

static int export_file(struct broker *b, struct proxy *p, struct vos_msg_fds *fds, uint8_t key[16])
{
	struct token *t;
	uint32_t own = 0;

	expire_tokens(b);
	for (uint32_t i = 0; i < b->ntokens; i++)
		own += b->token[i].owner == p->id;
	if (fds->n != 1)
		return -EBADF;
	if (own >= TOKENS_OF_ONE || b->ntokens == TOKENS_MAX)
		return -ETOOMANYREFS;
	t = &b->token[b->ntokens];
	if (getrandom(t->key, sizeof t->key, 0) != (ssize_t)sizeof t->key)
		return -EIO;
	t->fd = vos_msg_take(fds, 0);
	t->owner = p->id;
	t->held = false;
	t->until = now_s() + TOKEN_SECONDS;
	b->ntokens++;
	memcpy(key, t->key, 16);
	return 0;
}

/* The index of a token, or -ENOENT; the comparison takes as long for a near miss as for any other. */
static int find_token(struct broker *b, const uint8_t key[16])
{
	int found = -ENOENT;

	expire_tokens(b);
	for (uint32_t i = 0; i < b->ntokens; i++) {
		unsigned diff = 0;

		for (unsigned k = 0; k < 16; k++)
			diff |= b->token[i].key[k] ^ key[k];
		if (!diff)
			found = (int)i;
	}
	return found;
}

/* Whether pid is a child of ours that no other record claims: a proxy's word alone is not taken for it. */
static bool is_unclaimed_child(struct broker *b, pid_t pid)
{
	siginfo_t si;

	if (pid <= 0 || by_pid(b, pid))
		return false;
	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void from_proxy(struct broker *b, struct proxy *p, struct vos_msg *m, struct vos_msg_fds *fds)
{
	struct proxy *other;
	int i, fd;

	switch (m->type) {
	case VOS_MSG_STATUS:
		if (!p->pid && is_unclaimed_child(b, (pid_t)m->pid))
			p->pid = (pid_t)m->pid;
		if (m->status && m->text[0])
			vos_warn("proxy %llu: %s", (unsigned long long)p->id, m->text);
		/* A fork whose word was not believed is none. */
		announce(b, p, m->status || p->pid > 0 ? m->status : -EPROTO, m->text);
		break;
	case VOS_MSG_SPAWNED:
		other = by_id(b, m->proxy);
		if (other && !other->announced && other->fork_of == p->id && m->status < 0)
			announce(b, other, m->status, "the proxy could not be forked");
		break;
	case VOS_MSG_BEAT:
		p->beating = true;
		break;
	case VOS_MSG_EXPORT:
		m->status = export_file(b, p, fds, m->token);
		answer_proxy(p, m, NULL, 0);
		break;
	case VOS_MSG_IMPORT:
		i = find_token(b, m->token);
		m->status = i < 0 ? i : 0;
		if (i < 0) {
			answer_proxy(p, m, NULL, 0);
			break;
		}
		fd = b->token[i].fd;
		answer_proxy(p, m, &fd, 1);
		if (!b->token[i].held)
			put_token(b, (uint32_t)i);
		break;
	case VOS_MSG_RECRED:
		m->proxy = p->id;
		if (p->up && m->status <= 0)
			to_supervisor(b, m);
		break;
	}
}

/* All that a proxy has said.  False once its end is closed. */
static bool read_channel(struct broker *b, struct proxy *p)
{
	struct vos_msg_fds fds;
	int r;

	while ((r = vos_msg_recv(p->channel, &b->in, &fds, 0)) == 0) {
		from_proxy(b, p, &b->in, &fds);
		vos_msg_close_fds(&fds);
	}
	if (r == -EPROTO || r == -EPROTONOSUPPORT) {
		vos_warn("proxy %llu sent no valid message", (unsigned long long)p->id);
		if (p->pid > 0)
			kill(p->pid, SIGKILL);
	}
	return r == -ETIMEDOUT;
}

/* A proxy that hangs is a client that hangs; its end is an error, and a fresh start. */
static void look_after(struct broker *b)
{
	time_t now = now_s();

	b->stopped = false;
	for (struct proxy *p = b->proxies; p; p = p->next) {
		if (p->stopped_at && now - p->stopped_at >= STOPPED_SECONDS) {
			vos_warn("proxy %llu was stopped: killed", (unsigned long long)p->id);
			kill(p->pid, SIGKILL);
			p->stopped_at = 0;
		}
		b->stopped |= p->stopped_at != 0;
		if (!p->up || now - p->beat_at < BEAT_SECONDS)
			continue;
		if (p->beating) {
			p->beating = false;
			p->beat_at = now;
			vos_msg_init(&b->out, VOS_MSG_BEAT);
			vos_msg_send(p->channel, &b->out, NULL, 0, 0);
		} else if (now - p->beat_at >= HUNG_SECONDS) {
			/* It may be us who stood still: its answer then lies there. */
			read_channel(b, p);
			if (p->beating)
				continue;
			vos_warn("proxy %llu hangs: killed", (unsigned long long)p->id);
			kill(p->pid, SIGKILL);
			p->beat_at = now;
		}
	}
}

static void channel_closed(struct broker *b, struct proxy *p)
{
	if (p->pid > 0) {
		/* The reaper takes it from here. */
		epoll_ctl(b->epfd, EPOLL_CTL_DEL, p->channel, NULL);
		return;
	}
	announce(b, p, -ESRCH, "the proxy to be forked is gone");
	drop(b, p);
}

static void reap(struct broker *b)
{
	struct proxy *p;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
		p = by_pid(b, pid);
		if (!p)
			continue;
		if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
			p->stopped_at = WIFSTOPPED(status) ? now_s() : 0;
			b->stopped |= WIFSTOPPED(status);
			continue;
		}
		read_channel(b, p);
		if (WIFSIGNALED(status))
			vos_log("proxy %llu: killed by signal %d", (unsigned long long)p->id, WTERMSIG(status));
		if (!p->announced) {
			announce(b, p, -EIO, "the proxy died before it was up");
		} else if (p->up) {
			vos_msg_init(&b->out, VOS_MSG_GONE);
			b->out.proxy = p->id;
			b->out.status = status;
			to_supervisor(b, &b->out);
		}
		drop(b, p);
	}
}

static void from_supervisor(struct broker *b)
{
	struct vos_msg_fds fds;
	struct proxy *p;
	int r = vos_msg_recv(b->cfg->broker_fd, &b->in, &fds, 0);

	if (r == -ETIMEDOUT)
		return;
	if (r == -EPROTO || r == -EPROTONOSUPPORT)
		vos_warn("the supervisor sent a message of another version: ending");
	if (r)
		/* A reset: it went with words of ours unread. */
		exit(r == -EPIPE || r == -ECONNRESET ? 0 : 1);
	switch (b->in.type) {
	case VOS_MSG_SPAWN: {
		uint64_t id = b->in.proxy;

		r = spawn(b, &b->in, &fds);
		if (r) {
			vos_msg_init(&b->out, VOS_MSG_SPAWNED);
			b->out.status = r;
			b->out.proxy = id;
			to_supervisor(b, &b->out);
		}
		break;
	}
	case VOS_MSG_BEAT:
		to_supervisor(b, &b->in);
		break;
	case VOS_MSG_HOLD:
		r = find_token(b, b->in.token);
		if (r >= 0 && b->in.status)
			b->token[r].held = true;
		else if (r >= 0)
			put_token(b, (uint32_t)r);
		break;
	case VOS_MSG_RECRED:
		p = by_id(b, b->in.proxy);
		/* Else it is gone, and GONE, which is on its way, is the answer. */
		if (p && p->up && vos_msg_send(p->channel, &b->in, NULL, 0, 0) == -ETIMEDOUT) {
			b->in.status = -EAGAIN;
			to_supervisor(b, &b->in);
		}
		break;
	}
	vos_msg_close_fds(&fds);
}

/* The domain cannot be: the supervisor says so to a person; without one, we do. */
static int refuse(struct broker *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct broker *b, const char *format, ...)
{
	char text[1024];
	int err = errno;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	vos_msg_init(&b->out, VOS_MSG_STATUS);
	b->out.status = err ? -err : -EIO;
	vos_msg_text(b->out.text, sizeof b->out.text, text);
	if (vos_msg_send(b->cfg->broker_fd, &b->out, NULL, 0, vos_msg_deadline(SUPERVISOR_MS)))
		vos_warn("%s", text);
	return 1;
}

/* 0, or an exit status after a line. */
static int prepare(struct broker *b)
{
	const struct vos_domain_cfg *cfg = b->cfg;
	struct rlimit rl;
	char path[512];
	int fd;

	if (cfg->kinds & 1u << VOS_KIND_STORE) {
		/* Each proxy opens it anew, as its client; a mistake is told here. */
		fd = open(cfg->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return refuse(b, "the root %s cannot be opened: %s", cfg->root, strerror(errno));
		close(fd);
	}
	if (cfg->kinds == 1u << VOS_KIND_STORE)
		vos_sandbox_part_net();
	errno = -vos_sandbox_prepare(cfg->kinds);
	if (errno)
		return refuse(b, "the filter of system calls cannot be made: %s", strerror(errno));
	if (cfg->kinds & 1u << VOS_KIND_STORE)
		vos_exec_locks_prepare();
	if (cfg->netns) {
		snprintf(path, sizeof path, "/run/netns/%s", cfg->netns);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setns(fd, CLONE_NEWNET))
			return refuse(b, "the network namespace %s cannot be entered: %s", cfg->netns, strerror(errno));
		close(fd);
	}
	/* The client's limits are the client's; here only the kernel's ceiling counts. */
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	return 0;
}

int vos_broker_run(const struct vos_domain_cfg *cfg)
{
	static struct broker broker;
	struct broker *b = &broker;
	struct epoll_event ev[64], add_ev = { .events = EPOLLIN };
	sigset_t set;

	b->cfg = cfg;
	/* The kernel ends the domain with its supervisor, should neither be able to. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 0);
	if (prepare(b))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	b->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	b->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (b->sigfd < 0 || b->epfd < 0)
		return refuse(b, "cannot start: %s", strerror(errno));
	add_ev.data.ptr = NULL;
	if (epoll_ctl(b->epfd, EPOLL_CTL_ADD, cfg->broker_fd, &add_ev)) {
		vos_warn("--broker-fd=%d is no socket: %s", cfg->broker_fd, strerror(errno));
		return 1;
	}
	add_ev.data.ptr = b;
	epoll_ctl(b->epfd, EPOLL_CTL_ADD, b->sigfd, &add_ev);
	vos_msg_init(&b->out, VOS_MSG_STATUS);
	to_supervisor(b, &b->out);
	for (;;) {
		bool child = false;
		int n = epoll_wait(b->epfd, ev, 64, b->stopped ? 1000 : b->nproxies || b->ntokens ? BEAT_SECONDS * 1000 : -1);

		expire_tokens(b);
		look_after(b);
		/* Channels before the reaper: what a proxy said as it ended is still read, and no record goes before its event. */
		for (int i = 0; i < n; i++) {
			struct signalfd_siginfo si;

			if (ev[i].data.ptr == NULL)
				from_supervisor(b);
			else if (ev[i].data.ptr == b)
				child = read(b->sigfd, &si, sizeof si) > 0;
			else if (!read_channel(b, ev[i].data.ptr))
				channel_closed(b, ev[i].data.ptr);
		}
		if (child)
			reap(b);
	}
}
