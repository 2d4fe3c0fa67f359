/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adverse.h"

typedef int adverse_case(const struct vos_rewrite_cfg *cfg);

/* In a child, with an end to it. */
static int in_child(adverse_case *fn, const struct vos_rewrite_cfg *cfg)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(20);
		_exit(fn(cfg));
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

/* A policy that lets nothing become executable by mprotect: everything still runs, unpatched. */
static int forbidden(const struct vos_rewrite_cfg *cfg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof code / sizeof *code, code};
	unsigned char was = *(unsigned char *)f_mov;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return 1;
	if (vos_rewrite_init(cfg) || vos_rewrite_sites_left() < 500)
		return 2;
	return *(unsigned char *)f_mov != was || f_mov(1) != getpid() || test_calls ? 3 : 0;
}

/* An empty cache and this for a planner: everything runs, and everything is left to the fallback. */
static int left_alone(const struct vos_rewrite_cfg *cfg)
{
	if (vos_rewrite_init(cfg))
		return 1;
	if (vos_rewrite_sites_left() < 500)
		return 2;
	if (f_mov(1) != getpid() || test_calls)
		return 3;
	/* Nothing of the planner may be left for the program to wait for. */
	return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 4;
}

static int with_planner(const struct vos_rewrite_cfg *cfg, const char *script)
{
	char dir[] = "/tmp/vos-planner-XXXXXX", path[64], cache[96], *env[] = {cache, NULL};
	struct vos_rewrite_cfg c = *cfg;
	FILE *f;
	int r;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof path, "%s/planner", dir);
	snprintf(cache, sizeof cache, "VIRTUOS_CACHE=%s", dir);
	c.planner = path;
	c.envp = env;
	c.planner_ms = 300;
	if (script) {
		f = fopen(path, "w");
		if (!f || fprintf(f, "#!/bin/sh\n%s\n", script) < 0 || fclose(f) || chmod(path, 0755))
			return 2;
	}
	r = in_child(left_alone, &c);
	unlink(path);
	rmdir(dir);
	return r;
}

static int no_planner(const struct vos_rewrite_cfg *cfg)
{
	return with_planner(cfg, NULL);
}

static int hanging_planner(const struct vos_rewrite_cfg *cfg)
{
	return with_planner(cfg, "exec sleep 5");
}

static int silent_planner(const struct vos_rewrite_cfg *cfg)
{
	return with_planner(cfg, "exit 0");
}

static int failing_planner(const struct vos_rewrite_cfg *cfg)
{
	return with_planner(cfg, "exit 3");
}

static int raving_planner(const struct vos_rewrite_cfg *cfg)
{
	return with_planner(cfg, "cat /bin/sh >&3");
}

/* Under a filter that ends whoever asks for anything: new code is known to be unknown, and that is all. */
static int confined(const struct vos_rewrite_cfg *cfg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof code / sizeof *code, code};
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (vos_rewrite_init(cfg) || vos_rewrite_sites_left())
		return 1;
	vos_rewrite_confine();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return 2;
	if (vos_rewrite_protect(p, 4096, PROT_READ | PROT_EXEC) != 1 || vos_rewrite_anon(p + 4096, 4096) != 1 ||
	    vos_rewrite_mapped(p, 4096, 0, 0) != 1 || vos_rewrite_sites_left() != 2)
		return 3;
	vos_rewrite_unmapped(p, 8192);
	return vos_rewrite_sites_left() ? 4 : 0;
}

static int all_patched(const struct vos_rewrite_cfg *cfg)
{
	return vos_rewrite_init(cfg) || vos_rewrite_sites_left() || f_mov(1) != getpid() || !test_calls;
}

/* Damages every plan in the directory. */
static int damage(const char *dir)
{
	char cmd[256];

	snprintf(cmd, sizeof cmd, "for f in %s/*.plan*; do printf x | dd of=$f bs=1 seek=300 conv=notrunc 2>/dev/null || exit 1; done",
		 dir);
	return system(cmd);
}

/* A damaged plan is made anew; a cache that others may write to is not used, nor written to. */
static int bad_cache(const struct vos_rewrite_cfg *cfg)
{
	char dir[] = "/tmp/vos-cache-XXXXXX", cache[64], cmd[64], *env[] = {cache, NULL};
	struct vos_rewrite_cfg c = *cfg;
	int r = 0;

	if (!mkdtemp(dir))
		return 1;
	snprintf(cache, sizeof cache, "VIRTUOS_CACHE=%s", dir);
	c.envp = env;
	if (in_child(all_patched, &c))
		r = 2;
	else if (damage(dir) || in_child(all_patched, &c))
		r = 3;
	else if (damage(dir) || chmod(dir, 0777) || in_child(all_patched, &c))
		r = 4;
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	return system(cmd) ? 5 : r;
}

int run_adverse(const struct vos_rewrite_cfg *cfg)
{
	static const struct {
		const char *name;
		adverse_case *fn;
	} cases[] = {
		{"forbidden", forbidden}, {"no planner", no_planner}, {"hanging planner", hanging_planner},
		{"silent planner", silent_planner}, {"failing planner", failing_planner}, {"raving planner", raving_planner},
		{"bad cache", bad_cache}, {"confined", confined},
	};
	int failures = 0;

	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		int status = in_child(cases[i].fn, cfg);

		printf("%s: %s (%x)\n", cases[i].name, status ? "FAIL" : "ok", (unsigned)status);
		failures += !!status;
	}
	return failures;
}
