/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program `virtuos`.  A C library's start costs as much as all else that `virtuos run` does for a program without domains, so
 * that plain case is settled here, without one: a dynamically linked program, no option, no configuration file, nothing in the
 * environment that says more.  It leads to what virtuos-cli would do.  Everything else, and everything that goes wrong,
 * is virtuos-cli's, which begins from the beginning.
 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <virtuos/env.h>
#include <virtuos/err.h>
#include <virtuos/raw.h>
#include <interpose/rt/rt.h>
#include "cli.h"

#define WHOLE 4096 /* the first bytes of a program, with its program headers */

long vos_cli_launch(uint64_t *sp);

/* How it was called, and what of the environment matters. */
struct launch {
	char **argv, **envp;
	int argc;
	size_t nenv;
	const char *path, *home, *xdg;
	unsigned words;          /* of VOS_ENV_ALL */
	char own_dir[PATH_MAX];  /* of this program; "": not known */
};

static bool value_of(const char *word, const char *name, const char **ret)
{
	size_t n = strlen(name);

	if (*ret || strncmp(word, name, n) != 0 || word[n] != '=')
		return false;
	*ret = word + n + 1;
	return true;
}

/* False when it holds something that virtuos-cli must look at. */
static bool read_environment(struct launch *l)
{
	const char *ignored[3] = { NULL };

	for (char **e = l->envp; *e; e++, l->nenv++) {
		if (strncmp(*e, "LD_PRELOAD=", 11) == 0)
			return false;
		if (value_of(*e, "PATH", &l->path) || value_of(*e, "HOME", &l->home) || value_of(*e, "XDG_CONFIG_HOME", &l->xdg))
			continue;
		if (strncmp(*e, "VIRTUOS", 7) != 0)
			continue;
		if (!value_of(*e, VOS_ENV_CACHE, &ignored[0]) && !value_of(*e, VOS_ENV_ONLY, &ignored[1]) &&
		    !value_of(*e, VOS_ENV_ROUTE, &ignored[2]))
			return false;
		l->words++;
	}
	return true;
}

/* "dir/name" in to; false when it does not fit. */
static bool join(char *to, const char *dir, size_t n, const char *name)
{
	size_t m = strlen(name);

	if (n + m + 2 > PATH_MAX)
		return false;
	memcpy(to, dir, n);
	to[n] = '/';
	memcpy(to + n + 1, name, m + 1);
	return true;
}

/* Where this program lies. */
static void find_self(struct launch *l)
{
	long n = vos_raw3(SYS_readlink, VOS_PTR("/proc/self/exe"), VOS_PTR(l->own_dir), sizeof l->own_dir - 1);
	char *slash;

	l->own_dir[n > 0 ? n : 0] = 0;
	slash = strrchr(l->own_dir, '/');
	if (slash)
		*slash = 0;
	else
		l->own_dir[0] = 0;
}

/* A file of ours: beside this program (the build folder), else in the installed place. */
static bool find_peer(const struct launch *l, const char *name, const char *installed, char path[PATH_MAX])
{
	if (l->own_dir[0] && join(path, l->own_dir, strlen(l->own_dir), name) &&
	    vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(path), 4 /* R_OK */, 0) == 0)
		return true;
	return join(path, installed, strlen(installed), name) && vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(path), 4, 0) == 0;
}

static long is_there(const char *path)
{
	return vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(path), 0 /* F_OK */, 0);
}

static bool is_unconfigured(const struct launch *l)
{
	char own[PATH_MAX];

	if (is_there(VOS_CLI_SYSTEM_CONFIG) != -ENOENT)
		return false;
	if (l->xdg && l->xdg[0] == '/')
		return join(own, l->xdg, strlen(l->xdg), VOS_CLI_OWN_CONFIG) && is_there(own) == -ENOENT;
	if (l->home && l->home[0] == '/')
		return join(own, l->home, strlen(l->home), ".config/" VOS_CLI_OWN_CONFIG) && is_there(own) == -ENOENT;
	return true;
}

/* As execvp(3) looks: the first that is there, if it can be run. */
static bool look_up(const struct launch *l, const char *name, char path[PATH_MAX])
{
	if (strchr(name, '/') || !*name) {
		size_t n = strlen(name);

		if (!n || n >= PATH_MAX)
			return false;
		memcpy(path, name, n + 1);
		return true;
	}
	for (const char *dir = l->path; dir && *dir == '/';) {
		size_t n = strcspn(dir, ":");
		long r;

		if (!join(path, dir, n, name))
			return false;
		r = is_there(path);
		/* A directory that may not be searched holds no program. */
		if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
			return r == 0;
		dir += n + (dir[n] == ':');
	}
	return false;
}

/* A dynamically linked program for x86-64 that may be run, and gains no rights by it. */
static bool is_plain(const char *path)
{
	union { char bytes[WHOLE]; Elf64_Ehdr e; } head;
	struct stat st;
	char cap[64];
	long fd, n;

	if (vos_raw2(SYS_stat, VOS_PTR(path), VOS_PTR(&st)) != 0 || !S_ISREG(st.st_mode) || st.st_mode & (S_ISUID | S_ISGID) ||
	    vos_raw4(SYS_faccessat2, AT_FDCWD, VOS_PTR(path), 1 /* X_OK */, AT_EACCESS) != 0)
		return false;
	if (vos_raw0(SYS_geteuid) != 0 &&
	    vos_raw4(SYS_getxattr, VOS_PTR(path), VOS_PTR("security.capability"), VOS_PTR(cap), sizeof cap) >= 0)
		return false;
	fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd < 0)
		return false;
	n = vos_raw3(SYS_read, fd, VOS_PTR(&head), sizeof head);
	vos_raw1(SYS_close, fd);
	if (n < (long)sizeof head.e || memcmp(head.e.e_ident, ELFMAG, SELFMAG) != 0 || head.e.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e.e_machine != EM_X86_64 || head.e.e_phentsize != sizeof(Elf64_Phdr))
		return false;
	for (unsigned i = 0; i < head.e.e_phnum; i++) {
		Elf64_Phdr ph;

		if (head.e.e_phoff > (size_t)n || (size_t)n - head.e.e_phoff < (i + 1) * sizeof ph)
			break;
		memcpy(&ph, head.bytes + head.e.e_phoff + i * sizeof ph, sizeof ph);
		if (ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* virtuos run [--] PROGRAM [ARGUMENT]...: returns when virtuos-cli must see to it. */
static void run(struct launch *l)
{
	char path[PATH_MAX], preload[PATH_MAX + 16] = "LD_PRELOAD=", *library = preload + strlen(preload), **v;
	int first = 2;
	size_t n = 0;

	if (l->argc < 3 || strcmp(l->argv[1], "run") != 0)
		return;
	if (strcmp(l->argv[2], "--") == 0)
		first++;
	else if (l->argv[2][0] == '-')
		return;
	if (first >= l->argc || !read_environment(l) || !is_unconfigured(l) || !look_up(l, l->argv[first], path) || !is_plain(path) ||
	    !find_peer(l, "libvirtuos.so", VOS_LIBDIR, library) || library[strcspn(library, " :")])
		return;
	v = vos_alloc((l->nenv + 4) * sizeof *v);
	if (!v)
		return;
	for (; n < l->nenv; n++)
		v[n] = l->envp[n];
	v[n++] = (char *)(uintptr_t)VOS_ENV_POLICY "=";
	v[n++] = preload;
	/* These two are even in number. */
	if (l->words % 2)
		v[n++] = (char *)(uintptr_t)VOS_ENV_PAD "=";
	vos_raw3(SYS_execve, VOS_PTR(path), VOS_PTR(l->argv + first), VOS_PTR(v));
}

long vos_cli_launch(uint64_t *sp)
{
	static struct launch l;
	char cli[PATH_MAX];

	l.argc = (int)sp[0];
	l.argv = (char **)(sp + 1);
	l.envp = l.argv + l.argc + 1;
	find_self(&l);
	run(&l);
	if (find_peer(&l, "virtuos-cli", VOS_LIBEXECDIR, cli))
		vos_raw3(SYS_execve, VOS_PTR(cli), VOS_PTR(l.argv), VOS_PTR(l.envp));
	vos_say("virtuos-cli is neither in %s nor in %s; build or install VirtuOS again", l.own_dir[0] ? l.own_dir : "?", VOS_LIBEXECDIR);
	return VOS_EXIT_OURS;
}
