/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtuos-domain: the server of one service domain.  virtuosd starts it; in a Xen guest, its init does. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "servers/domain/domain.h"

static const char help[] =
"usage: virtuos-domain --kind=net|store|any --name=NAME --broker-fd=N [options]\n"
"\n"
"The server of one service domain: executes the system calls of programs that run under virtuos.  It is started by\n"
"virtuosd, not by hand.\n"
"\n"
"  --kind=KIND      what it serves: net (sockets), store (files), any\n"
"  --name=NAME      the domain's name, for messages\n"
"  --broker-fd=N    the socket to the supervisor\n"
"  --root=DIR       store: the directory that exports lie in (default: /)\n"
"  --netns=NAME     net: the named network namespace to live in (default: the host's)\n"
"  --epoch=N        how many times the domain has been started\n"
"  --no-io-uring    wait with poll and threads, as on a kernel without it\n"
"  --verbose        say what could not be applied\n"
"  --help, --version\n";

static bool number(const char *s, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || end == s || *end || *s == '-' || v > max)
		return false;
	*ret = v;
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kind", required_argument, NULL, 'k' },      { "name", required_argument, NULL, 'n' },
		{ "root", required_argument, NULL, 'r' },      { "netns", required_argument, NULL, 's' },
		{ "broker-fd", required_argument, NULL, 'b' }, { "epoch", required_argument, NULL, 'e' },
		{ "no-io-uring", no_argument, NULL, 'u' },     { "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },            { "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct vos_domain_cfg cfg = { .name = "?", .root = "/", .broker_fd = -1, .epoch = 1 };
	const uint32_t net = 1u << VOS_KIND_NET, store = 1u << VOS_KIND_STORE;
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'k':
			cfg.kinds = !strcmp(optarg, "net") ? net : !strcmp(optarg, "store") ? store :
				    !strcmp(optarg, "any") ? net | store : 0;
			if (!cfg.kinds) {
				fprintf(stderr, "virtuos-domain: --kind=%s: net, store or any\n", optarg);
				return 2;
			}
			break;
		case 'n':
			cfg.name = optarg;
			break;
		case 'r':
			cfg.root = optarg;
			break;
		case 's':
			cfg.netns = optarg;
			if (!*optarg || strchr(optarg, '/') || strlen(optarg) > 255) {
				fprintf(stderr, "virtuos-domain: --netns=%s: the name of a namespace in /run/netns\n", optarg);
				return 2;
			}
			break;
		case 'b':
			if (!number(optarg, INT_MAX, &v)) {
				fprintf(stderr, "virtuos-domain: --broker-fd=%s is not a descriptor\n", optarg);
				return 2;
			}
			cfg.broker_fd = (int)v;
			break;
		case 'e':
			if (!number(optarg, UINT64_MAX, &cfg.epoch)) {
				fprintf(stderr, "virtuos-domain: --epoch=%s is not a number\n", optarg);
				return 2;
			}
			break;
		case 'u':
			cfg.no_uring = true;
			break;
		case 'v':
			cfg.verbose = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'V':
			puts("virtuos-domain " VOS_VERSION_STRING);
			return 0;
		default:
			return 2;
		}
	}
	if (optind < argc || !cfg.kinds || cfg.broker_fd < 0) {
		fprintf(stderr, "virtuos-domain: --kind and --broker-fd are needed; virtuosd starts this program (--help)\n");
		return 2;
	}
	vos_log_init(cfg.name, cfg.verbose);
	return vos_broker_run(&cfg);
}
