/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtuos doctor: what this machine has and lacks, and the command that mends it. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cli.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#define PR_SYS_DISPATCH_ON 1
#endif
#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum { O_JSON };
static const struct vos_cli_opt opts[] = {
	[O_JSON] = { "json", NULL, "print JSON" },
	{ NULL, NULL, NULL }
};

/* What a missing thing costs. */
enum need {
	NEEDED,  /* nothing works without it: exit code 1 */
	BETTER,  /* a slower or narrower way is taken */
	XEN_ONLY /* matters for domains on Xen alone */
};

struct result {
	bool ok;
	char found[160]; /* what was seen */
};

struct check {
	const char *name;
	enum need need;
	void (*look)(struct result *r);
	const char *without; /* what happens without it */
	const char *mend;    /* a command, or what to do */
};

static void say(struct result *r, bool ok, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct result *r, bool ok, const char *format, ...)
{
	va_list ap;

	r->ok = ok;
	va_start(ap, format);
	vsnprintf(r->found, sizeof r->found, format, ap);
	va_end(ap);
}

/* Runs `f` in a child, so that what it changes or breaks is not this program's; its exit code, 128 + signal, or -1. */
static int in_child(int (*f)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(f());
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void look_fsgsbase(struct result *r)
{
	bool ok = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;

	say(r, ok, ok ? "the processor and the kernel let programs use it" : "rdgsbase is not permitted");
}

static int try_sud(void)
{
	static char selector; /* 0: let pass */

	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) != 0)
		return errno;
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) != 0 ? errno : 0;
}

static void look_sud(struct result *r)
{
	int e = in_child(try_sud);

	say(r, e == 0, e == 0 ? "it can be armed" : "prctl: %s", strerror(e));
}

static void look_uring(struct result *r)
{
	struct io_uring_params p = { 0 };
	long fd = syscall(__NR_io_uring_setup, 2, &p);

	if (fd < 0) {
		say(r, false, "io_uring_setup: %m");
		return;
	}
	close((int)fd);
	say(r, true, "features 0x%x", p.features);
}

static void look_uffd(struct result *r)
{
	long fd = syscall(__NR_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0) {
		say(r, false, "userfaultfd: %m");
		return;
	}
	close((int)fd);
	say(r, true, "for faults of user mode");
}

static int try_userns(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) == 0 ? 0 : errno;
}

static int try_namespaces(void)
{
	return unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) == 0 ? 0 : errno;
}

static void look_namespaces(struct result *r)
{
	int e = in_child(geteuid() == 0 ? try_namespaces : try_userns);

	say(r, e == 0, e == 0 ? "a domain can be put in namespaces of its own" : "unshare: %s", strerror(e));
}

static void look_seccomp(struct result *r)
{
	unsigned action = SECCOMP_RET_KILL_PROCESS;

	if (syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
		say(r, false, "seccomp: %m");
	else
		say(r, true, "filters can be set");
}

static void look_memfd(struct result *r)
{
	int fd = memfd_create("virtuos-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int ok = fd >= 0 && ftruncate(fd, 4096) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;

	say(r, ok, ok ? "memory can be shared and sealed" : "memfd_create: %m");
	if (fd >= 0)
		close(fd);
}

static void look_nofile(struct result *r)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	say(r, lim.rlim_cur >= 1024, "%llu now, %llu at most", (unsigned long long)lim.rlim_cur, (unsigned long long)lim.rlim_max);
}

static void look_memory(struct result *r)
{
	struct rlimit lim;

	getrlimit(RLIMIT_AS, &lim);
	if (lim.rlim_cur == RLIM_INFINITY)
		say(r, true, "not limited");
	else
		say(r, lim.rlim_cur >= 1ULL << 30, "%llu MiB", (unsigned long long)lim.rlim_cur >> 20);
}

static void look_cpus(struct result *r)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	say(r, n >= 2, n == 1 ? "1 processor" : "%d processors", n);
}

static void look_peer(struct result *r, const char *name)
{
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char *path;

	/* vos_cli_peer() says it when nothing is there; here it is a line of the table. */
	dup2(null, STDERR_FILENO);
	path = vos_cli_peer(name);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(null);
	say(r, path != NULL, "%s", path ? path : "not found");
	free(path);
}

static void look_library(struct result *r) { look_peer(r, "libvirtuos.so"); }
static void look_virtuosd(struct result *r) { look_peer(r, "virtuosd"); }
static void look_domain(struct result *r) { look_peer(r, "virtuos-domain"); }
static void look_planner(struct result *r) { look_peer(r, "virtuos-planner"); }
static void look_enter(struct result *r) { look_peer(r, "virtuos-enter"); }

static void look_xen(struct result *r)
{
	char line[256] = "";
	FILE *f = fopen("/proc/xen/capabilities", "re");
	unsigned a, b = 0, c = 0, d = 0;

	__cpuid(0x40000000, a, b, c, d);
	if (f) {
		if (!fgets(line, sizeof line, f))
			line[0] = '\0';
		fclose(f);
		line[strcspn(line, "\n")] = '\0';
		say(r, true, "%s", line[0] ? line : "a guest (domU)");
	} else if (b == 0x566e6558 && c == 0x65584d4d) {
		say(r, false, "a guest of Xen, but /proc/xen is not mounted");
	} else {
		say(r, false, "this kernel does not run on Xen");
	}
}

static void look_device(struct result *r, const char *path)
{
	bool ok = access(path, R_OK | W_OK) == 0;

	say(r, ok, ok ? "%s" : "%s: %s", path, strerror(errno));
}

static void look_gntalloc(struct result *r) { look_device(r, "/dev/xen/gntalloc"); }
static void look_gntdev(struct result *r) { look_device(r, "/dev/xen/gntdev"); }
static void look_evtchn(struct result *r) { look_device(r, "/dev/xen/evtchn"); }

static const struct check checks[] = {
	{ "fsgsbase", NEEDED, look_fsgsbase, "the runtime cannot find its state",
	  "use Linux 5.9 or later on a processor with FSGSBASE (Intel since 2012, AMD since 2019); boot without nofsgsbase" },
	{ "sud", BETTER, look_sud, "call sites that cannot be patched go straight to this kernel, unseen",
	  "use Linux 5.11 or later; in a container, permit prctl(PR_SET_SYSCALL_USER_DISPATCH)" },
	{ "io_uring", BETTER, look_uring, "domains execute each call directly, which is slower",
	  "sysctl kernel.io_uring_disabled=0; in a container, permit io_uring_setup, io_uring_enter, io_uring_register" },
	{ "userfaultfd", BETTER, look_uffd, "files of domains are read whole when they are mapped",
	  "in a container, permit userfaultfd" },
	{ "memfd", NEEDED, look_memfd, "no region can be made", "use Linux 3.17 or later" },
	{ "seccomp", BETTER, look_seccomp, "domains run without a filter", "use a kernel with CONFIG_SECCOMP_FILTER" },
	{ "namespaces", BETTER, look_namespaces, "domains share the namespaces of this session",
	  "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000" },
	{ "nofile", BETTER, look_nofile, "programs run out of descriptors early", "ulimit -n 65536" },
	{ "memory", BETTER, look_memory, "regions may not fit", "ulimit -v unlimited" },
	{ "processors", BETTER, look_cpus, "a program and its domains take turns on one processor", "give the machine a second one" },
	{ "libvirtuos", NEEDED, look_library, "no program can be run", "ninja -C build, or meson install -C build" },
	{ "virtuosd", NEEDED, look_virtuosd, "no domain can be had", "ninja -C build, or meson install -C build" },
	{ "virtuos-domain", NEEDED, look_domain, "no local domain can be had", "ninja -C build, or meson install -C build" },
	{ "virtuos-planner", BETTER, look_planner, "every call takes the slow way", "ninja -C build, or meson install -C build" },
	{ "virtuos-enter", BETTER, look_enter, "static programs cannot be run", "ninja -C build, or meson install -C build" },
	{ "xen", XEN_ONLY, look_xen, "domains are local", "boot this machine as a domain of Xen" },
	{ "xen-gntalloc", XEN_ONLY, look_gntalloc, "no memory can be granted to a domain", "modprobe xen-gntalloc" },
	{ "xen-gntdev", XEN_ONLY, look_gntdev, "no granted memory can be mapped", "modprobe xen-gntdev" },
	{ "xen-evtchn", XEN_ONLY, look_evtchn, "no domain can be rung", "modprobe xen-evtchn" },
};
#define NCHECKS (sizeof checks / sizeof checks[0])

static int take(void *user, int opt, const char *arg)
{
	(void)opt;
	(void)arg;
	*(bool *)user = true;
	return 0;
}

static int main_doctor(const struct vos_cli_command *self, int argc, char **argv)
{
	static const char *const needs[] = { [NEEDED] = "needed", [BETTER] = "better", [XEN_ONLY] = "xen" };
	bool json = false, on_xen = false;
	int rest, missing = 0, code = vos_cli_options(self, argc, argv, take, &json, &rest);

	if (code)
		return code < 0 ? 0 : code;
	if (rest < argc) {
		vos_cli_say("doctor takes no argument");
		return VOS_EXIT_USAGE;
	}
	if (json)
		puts("[");
	for (size_t i = 0; i < NCHECKS; i++) {
		const struct check *c = &checks[i];
		struct result r = { .ok = false };

		c->look(&r);
		if (c->look == look_xen)
			on_xen = r.ok;
		else if (c->need == XEN_ONLY && !on_xen && !json)
			continue; /* said once, by the line "xen" */
		if (!r.ok && c->need == NEEDED)
			missing++;
		if (json) {
			char *found = vos_cli_json(r.found), *mend = vos_cli_json(c->mend), *without = vos_cli_json(c->without);

			printf("%s  {\"name\": \"%s\", \"ok\": %s, \"need\": \"%s\", \"found\": %s, \"without\": %s, \"mend\": %s}",
			       i ? ",\n" : "", c->name, r.ok ? "true" : "false", needs[c->need], found, without, mend);
			free(found);
			free(mend);
			free(without);
		} else {
			printf("%-8s %-16s %s\n", r.ok ? "ok" : c->need == XEN_ONLY ? "no" : "missing", c->name, r.found);
			if (!r.ok)
				printf("%-8s %-16s without it: %s\n%-8s %-16s to mend it: %s\n", "", "", c->without, "", "", c->mend);
		}
	}
	if (json)
		puts("\n]");
	return missing ? VOS_EXIT_FAILED : 0;
}

const struct vos_cli_command vos_cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "Tells what this machine has and lacks, and how to mend it",
	.text = "Exit status: 0 when all that is needed is there, 1 when something needed is missing.\n",
	.opts = opts,
	.usage_exit = VOS_EXIT_USAGE,
	.main = main_doctor,
};
