/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtuosd: starts domains, watches them, reboots them, and introduces clients to them. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <virtuos/env.h>

struct vos_supervisor vos_sup = {
	.max_regions = 8192,
	.max_bytes = 1ULL << 42, /* of address space: pages are taken as they are touched */
	.beat_ms = 1000,
	.hung_ms = 3000,
};

static struct options {
	int session_fd;
	unsigned session;
	const char *socket;
	const char *domains[64];
	unsigned ndomains;
} opt = { .session_fd = -1, .socket = VOS_SUPERVISOR_SOCKET };

void vos_supervisor_end(const char *why)
{
	if (vos_sup.ending)
		return;
	vos_sup.ending = true;
	vos_chat("ending: %s", why);
	for (struct vos_dom *d = vos_doms; d; d = d->next)
		vos_dom_release(d);
	if (vos_dom_all_gone())
		vos_loop_stop();
}

static void signal_ready(struct vos_source *s, uint32_t events)
{
	struct signalfd_siginfo info;
	siginfo_t child;

	(void)events;
	while (read(s->fd, &info, sizeof info) == (ssize_t)sizeof info)
		if (info.ssi_signo != SIGCHLD)
			vos_supervisor_end(strsignal((int)info.ssi_signo));
	/* One SIGCHLD may stand for many.  Looked at first and reaped after: until then its number is no one else's. */
	for (;;) {
		child.si_pid = 0;
		if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) || child.si_pid == 0)
			return;
		vos_dom_child(child.si_pid, child.si_code == CLD_EXITED ? W_EXITCODE(child.si_status, 0) : child.si_status);
		waitid(P_PID, (id_t)child.si_pid, &child, WEXITED | WNOHANG);
	}
}

static int watch_signals(void)
{
	static struct vos_source source;
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* an inherited SIG_IGN would reap behind our back */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	source.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	source.ready = signal_ready;
	return source.fd < 0 ? -errno : vos_loop_watch(&source);
}

/* virtuos-domain lies beside us, or where it was installed. */
static bool find_domain_server(void)
{
	char self[4096];
	ssize_t n;

	if (vos_sup.program[0])
		return access(vos_sup.program, X_OK) == 0;
	n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n > 0) {
		self[n] = 0;
		if (snprintf(vos_sup.program, sizeof vos_sup.program, "%s/virtuos-domain", dirname(self)) <
			    (int)sizeof vos_sup.program && access(vos_sup.program, X_OK) == 0)
			return true;
	}
	snprintf(vos_sup.program, sizeof vos_sup.program, "%s/virtuos-domain", VOS_LIBEXECDIR);
	return access(vos_sup.program, X_OK) == 0;
}

/* So that `virtuos domain` finds a private supervisor; nothing is lost when it cannot. */
static void listen_abstract(unsigned session)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat ns = { 0 };
	int len;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Without /proc it is 0 on both sides. */
	if (stat("/proc/self/ns/pid", &ns))
		ns.st_ino = 0;
	len = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, VOS_SESSION_ABSTRACT, (unsigned long)ns.st_ino, session);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) == 0 &&
	    listen(fd, 32) == 0 && vos_session_listen(fd) == 0)
		return;
	vos_chat("cannot listen on @%s: %s", a.sun_path + 1, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int listen_at(const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (copy && mkdir(dirname(copy), 0755) && errno != EEXIST)
		vos_say("cannot make %s: %s", copy, strerror(errno));
	free(copy);
	/* Anybody may come: credentials are asked of the kernel. */
	fd = vos_channel_listen(path, 0666);
	if (fd == -EADDRINUSE)
		vos_say("another virtuosd listens on %s", path);
	else if (fd < 0)
		vos_say("cannot listen on %s: %s", path, strerror(-fd));
	return fd < 0 ? fd : vos_session_listen(fd);
}

/* --domain=net=NAME or store=NAME:/DIR: started at once. */
static bool start_named(const char *spec)
{
	uint32_t kind = strncmp(spec, "net=", 4) == 0 ? VOS_KIND_NET : strncmp(spec, "store=", 6) == 0 ? VOS_KIND_STORE : 0;
	char name[VOS_DOMAIN_NAME_MAX];
	const char *rest = strchr(spec, '=') + 1, *root = kind == VOS_KIND_STORE ? strstr(rest, ":/") : NULL, *why = "";
	size_t len = root ? (size_t)(root - rest) : strlen(rest);
	struct vos_dom *d;
	int status;

	if (!kind || len >= sizeof name) {
		vos_say("--domain=%s: say net=NAME or store=NAME:/DIR", spec);
		return false;
	}
	memcpy(name, rest, len);
	name[len] = 0;
	d = vos_dom_get(kind, name, root ? root + 1 : "", &status, &why);
	if (!d) {
		vos_say("--domain=%s: %s", spec, why);
		return false;
	}
	vos_dom_want(d, true);
	return true;
}

static void usage(FILE *to)
{
	fputs("Usage: virtuosd [--socket=PATH] [--domain=net=NAME|store=NAME:/DIR]...\n"
	      "       virtuosd --private --session-fd=N [--session=PID]\n"
	      "Starts service domains, watches them, reboots them, and introduces programs to them.\n\n"
	      "  --socket=PATH     listen there (default " VOS_SUPERVISOR_SOCKET ")\n"
	      "  --domain=SPEC     start this domain now (may be given again); others start on demand\n"
	      "  --private         serve the holders of the session socket, and end with the last of them\n"
	      "  --session-fd=N    descriptor of our end of it\n"
	      "  --session=PID     be found under this number by 'virtuos domain'\n"
	      "  --domain-server=PATH  the program that a domain runs (default: virtuos-domain beside this one)\n"
	      "  --log-fd=N        write the log there (default: standard error)\n"
	      "  --max-regions=N   one user may have so many (default 8192)\n"
	      "  --max-bytes=N     of so many bytes of address space in all\n"
	      "  --beat=MS, --hung=MS  ask a domain so often; count it as hung after so long (1000, 3000)\n"
	      "  --verbose         say more\n", to);
}

/* `arg` as a number up to max; ends the program when it is none. */
static unsigned long long number(const char *what, const char *arg, unsigned long long max)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || n > max) {
		vos_say("--%s=%s: a number up to %llu is wanted", what, arg, max);
		exit(125);
	}
	return n;
}

enum {
	O_PRIVATE, O_SESSION_FD, O_SESSION, O_SOCKET, O_DOMAIN, O_LOG_FD, O_REGIONS, O_BYTES, O_BEAT, O_HUNG, O_SERVER, O_VERBOSE,
	O_HELP
};

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "private", no_argument, NULL, O_PRIVATE }, { "session-fd", required_argument, NULL, O_SESSION_FD },
		{ "session", required_argument, NULL, O_SESSION }, { "socket", required_argument, NULL, O_SOCKET },
		{ "domain", required_argument, NULL, O_DOMAIN }, { "log-fd", required_argument, NULL, O_LOG_FD },
		{ "max-regions", required_argument, NULL, O_REGIONS }, { "max-bytes", required_argument, NULL, O_BYTES },
		{ "beat", required_argument, NULL, O_BEAT }, { "hung", required_argument, NULL, O_HUNG },
		{ "domain-server", required_argument, NULL, O_SERVER },
		{ "verbose", no_argument, NULL, O_VERBOSE }, { "help", no_argument, NULL, O_HELP }, { NULL, 0, NULL, 0 }
	};
	int c, log_fd;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case O_PRIVATE: vos_sup.private = true; break;
		case O_SESSION_FD: opt.session_fd = (int)number("session-fd", optarg, 1 << 30); break;
		case O_SESSION: opt.session = (unsigned)number("session", optarg, 1 << 30); break;
		case O_SOCKET: opt.socket = optarg; break;
		case O_REGIONS: vos_sup.max_regions = (uint32_t)number("max-regions", optarg, 1 << 30); break;
		case O_BYTES: vos_sup.max_bytes = number("max-bytes", optarg, 1ULL << 60); break;
		case O_BEAT: vos_sup.beat_ms = (uint32_t)number("beat", optarg, 1 << 20); break;
		case O_HUNG: vos_sup.hung_ms = (uint32_t)number("hung", optarg, 1 << 20); break;
		case O_SERVER:
			if (optarg[0] != '/' || strlen(optarg) >= sizeof vos_sup.program) {
				vos_say("--domain-server=%s: an absolute path is wanted", optarg);
				exit(125);
			}
			strcpy(vos_sup.program, optarg);
			break;
		case O_VERBOSE: vos_sup.verbose = true; break;
		case O_LOG_FD:
			log_fd = (int)number("log-fd", optarg, 1 << 30);
			if (dup2(log_fd, STDERR_FILENO) < 0)
				exit(125);
			break;
		case O_DOMAIN:
			if (opt.ndomains == sizeof opt.domains / sizeof opt.domains[0]) {
				vos_say("too many --domain");
				exit(125);
			}
			opt.domains[opt.ndomains++] = optarg;
			break;
		case 'h':
		case O_HELP:
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(125);
		}
	}
	if (optind < argc || vos_sup.private != (opt.session_fd >= 0)) {
		usage(stderr);
		exit(125);
	}
}

/* Nothing that the starter left open may live on here: a pipe's writing end would keep its reader waiting. */
static void shed_descriptors(void)
{
	if (opt.session_fd > 3)
		close_range(3, (unsigned)opt.session_fd - 1, 0);
	close_range(opt.session_fd >= 3 ? (unsigned)opt.session_fd + 1 : 3, ~0u, 0);
}

int main(int argc, char **argv)
{
	struct rlimit lim;
	int r;

	parse(argc, argv);
	shed_descriptors();
	if (chdir("/"))
		return 125;
	vos_sup.uid = geteuid();
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	/* Proxies whose broker was killed come to us, and are reaped. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!find_domain_server())
		vos_say("%s cannot be run: no domain will start", vos_sup.program);
	r = vos_loop_init();
	if (r == 0)
		r = watch_signals();
	if (r) {
		vos_say("cannot start: %s", strerror(-r));
		return 125;
	}
	if (vos_sup.private) {
		fcntl(opt.session_fd, F_SETFD, FD_CLOEXEC);
		r = vos_session_open(opt.session_fd, true);
		if (r)
			vos_say("--session-fd=%d: not a SOCK_SEQPACKET socket", opt.session_fd);
		else if (opt.session)
			listen_abstract(opt.session);
	} else {
		r = listen_at(opt.socket);
	}
	if (r)
		return 125;
	for (unsigned i = 0; i < opt.ndomains; i++)
		if (!start_named(opt.domains[i]))
			return 125;
	vos_loop_run();
	if (!vos_sup.private)
		unlink(opt.socket);
	return 0;
}
