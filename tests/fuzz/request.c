/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A storage proxy in the fuzzer's process: the input is a few requests and the data area that they point into.  Everything from
 * the ring to the system call runs; what is left out below only waits for disks or for a broker that is not there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "servers/domain/domain.h"
#include "transport/local/make.h"

#define DATA     8192u
#define REQUESTS 16u
#define RECORD   20u

static struct vos_proxy proxy;
static struct vos_domain_cfg cfg = { .name = "fuzz", .root = "/" };
static struct vos_lane_view client;
static char scratch[64];
static uint16_t ops[VOS_NR_END + 16];
static unsigned nops;

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size);

static bool left_out(unsigned op)
{
	switch (op) {
	case __NR_syncfs:
	case __NR_fsync:
	case __NR_fdatasync:
	case __NR_sync_file_range:
	case VOS_OP_EXPORT:
	case VOS_OP_IMPORT:
		return true;
	}
	return false;
}

static void must(bool what, const char *text)
{
	if (what)
		return;
	perror(text);
	abort();
}

static void empty(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char sub[4500];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
		if (unlink(sub) && errno == EISDIR) {
			chmod(sub, 0700);
			empty(sub);
			rmdir(sub);
		}
	}
	if (d)
		closedir(d);
}

static void fill(void)
{
	int at = open(scratch, O_RDONLY | O_DIRECTORY);

	mkdirat(at, "d", 0777);
	mkdirat(at, "d/e", 0777);
	close(openat(at, "f", O_CREAT | O_RDWR, 0666));
	symlinkat("f", at, "l");
	symlinkat("/etc", at, "x");
	mkfifoat(at, "p", 0666);
	close(at);
}

static void end(void)
{
	chmod(scratch, 0700);
	empty(scratch);
	rmdir(scratch);
}

static void begin(void)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	struct vos_local_conn conn;
	struct vos_proxy *p = &proxy;
	int pair[2];

	/* Devices could be made and opened as root, and files of others changed. */
	if (geteuid() == 0)
		must(setgid(65534) == 0 && setuid(65534) == 0, "setuid");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	snprintf(scratch, sizeof scratch, "%s/vos-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	must(mkdtemp(scratch) != NULL, "mkdtemp");
	must(vos_region_layout(1, 64, DATA, &p->t.geo) == 0 && vos_local_make(&p->t.geo, &conn) == 0, "region");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "socketpair");
	p->cfg = &cfg;
	p->kind = VOS_KIND_STORE;
	p->channel = pair[0];
	p->t.ops = &vos_transport_local;
	p->t.region_fd = conn.region;
	p->t.doorbell_fd = conn.doorbell;
	p->t.wake_fd = conn.wake;
	p->t.control_fd = conn.control_proxy;
	must(p->t.ops->attach(&p->t, false) == 0 && vos_serve_init(p) == 0 && vos_worker_init(p) == 0, "proxy");
	p->root_fd = open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->cwd_fd = open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(chdir("/proc") == 0, "/proc");
	p->engine = &vos_engine_uring;
	if (p->engine->init(p)) {
		p->engine = &vos_engine_poll;
		must(p->engine->init(p) == 0, "engine");
	}
	vos_lane_view_init(&client, p->t.base, &p->t.geo, 0);
	atomic_store(&vos_region_client(p->t.base)->lanes_used, 1);
	for (unsigned op = 0; op < VOS_NR_END; op++)
		if (vos_calls[op].name[0] && vos_calls[op].exec != VOS_X_NONE && !left_out(op))
			ops[nops++] = (uint16_t)op;
	for (unsigned op = VOS_OP_NULL; op < VOS_OP_END; op++)
		if (!left_out(op))
			ops[nops++] = (uint16_t)op;
	umask(0);
	fill();
	atexit(end);
}

static uint64_t argument(const uint8_t *b)
{
	uint16_t v = (uint16_t)(b[1] | b[2] << 8);

	switch (b[0] % 8) {
	case 0: return VOS_NULL;
	case 1: return (uint64_t)VOS_AT_ROOT;
	case 2: return (uint64_t)VOS_AT_CWD;
	case 3: return 1ull << v % 64;
	case 4: return DATA - v % 64;
	case 5: return (uint64_t)-(int64_t)v;
	default: return v;
	}
}

/* Runs until nothing is under way. */
static void settle(void)
{
	struct timespec start, now;
	struct vos_req req = { .op = VOS_OP_CANCEL, .arg = { VOS_NULL } };
	struct vos_cqe cqe;

	clock_gettime(CLOCK_MONOTONIC, &start);
	must(vos_sq_push(&client, &req) == 0, "push");
	do {
		vos_serve_turn(&proxy);
		proxy.engine->turn(&proxy, false);
		while (vos_cq_pop(&client, &cqe))
			;
		clock_gettime(CLOCK_MONOTONIC, &now);
		must(now.tv_sec - start.tv_sec < 10, "a request never ends");
	} while (proxy.lane[0].ops);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t size)
{
	static unsigned inputs;
	size_t n;

	if (!proxy.t.base)
		begin();
	if (size < 1)
		return 0;
	n = in[0] % REQUESTS + 1;
	if (size < 1 + n * RECORD)
		return 0;
	memset(client.data, 0, DATA);
	memcpy(client.data, in + 1 + n * RECORD, size - 1 - n * RECORD < DATA ? size - 1 - n * RECORD : DATA);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *r = in + 1 + i * RECORD;
		struct vos_req req = { .user = i + 1, .op = ops[r[0] % nops], .flags = r[1] % 4 ? 0 : VOS_REQ_NOWAIT };

		for (unsigned k = 0; k < 6; k++)
			req.arg[k] = argument(r + 2 + 3 * k);
		must(vos_sq_push(&client, &req) == 0, "push");
		vos_serve_turn(&proxy);
		proxy.engine->turn(&proxy, false);
	}
	settle();
	/* Each input begins with the same: no descriptors, and now and then the same files. */
	for (uint32_t fd = 0; fd < proxy.rfd_size; fd++) {
		if (vos_rfd(&proxy, fd)) {
			must(fd != (uint32_t)proxy.root_fd && fd != (uint32_t)proxy.channel, "a descriptor of the proxy became the client's");
			close((int)fd);
			proxy.rfd[fd].kind = VOS_RFD_FREE;
			proxy.rfd[fd].waiting = 0;
		}
	}
	if (++inputs % 512 == 0) {
		chmod(scratch, 0777);
		empty(scratch);
		fill();
	}
	return 0;
}
