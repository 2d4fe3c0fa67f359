/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * execve and execveat: the new image gets us again, by LD_PRELOAD or, statically linked or of a domain, by virtuos-enter.  Nothing of this
 * process changes before the kernel has accepted.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <virtuos/env.h>
#include <virtuos/policy.h>
#include "../dispatch/mapping.h"
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../entry/carrier.h"
#include "../entry/environ.h"
#include "../entry/exe.h"
#include "../entry/state.h"
#include "../entry/stats.h"
#include "../entry/user.h"
#include "../entry/window.h"
#include "../rt/rt.h"

enum target {
	DYNAMIC,     /* the dynamic loader will bring us in; also what we cannot read: the kernel knows best */
	ENTER,       /* virtuos-enter: statically linked, or of a domain */
	ALONE,       /* left alone, and said */
};

/* What is to be executed, as it becomes known. */
struct exec {
	int64_t dirfd;
	const char *path;            /* runtime memory */
	uint64_t argv;               /* the program's */
	unsigned flags;
	int fd;                      /* memfd of a remote program, or -1 */
	const char *name;            /* a remote program: the name that the program gave; NULL: `path` */
	char text[VOS_PATH_BUF];
	/* A script: its interpreter, when that is what must go through virtuos-enter. */
	char interp[256];
	char interp_arg[256];
	bool script;
	bool far_interp;             /* it or, should it be a script as well, one of those that follow is not for the kernel to find */
	bool far_libraries;          /* LD_LIBRARY_PATH or LD_PRELOAD leads to a domain */
	/* Of a program whose libraries may be a domain's, its dynamic loader: the runtime must be there before that. */
	char loader[256];
	const char *why_alone;
};

/* exec_target(): it is for exec_remote_script(); no negative errno. */
#define VOS_EXEC_ELSEWHERE 0x20000

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool gains_privileges(int fd, const struct stat *st)
{
	char caps[64];

	if ((st->st_mode & S_ISUID) && st->st_uid != (uint32_t)vos_raw0(SYS_geteuid))
		return true;
	if ((st->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st->st_gid != (uint32_t)vos_raw0(SYS_getegid))
		return true;
	return vos_raw4(SYS_fgetxattr, fd, VOS_PTR("security.capability"), VOS_PTR(caps), sizeof caps) > 0 &&
	       vos_raw0(SYS_geteuid) != 0;
}

static enum target look(struct exec *x, int64_t dirfd, const char *path, unsigned flags, unsigned depth);

/* "#!interp arg": the program to look at is the interpreter. */
static enum target look_script(struct exec *x, char *line, unsigned depth)
{
	const struct vos_policy *policy = vos_self()->proc->policy;
	char *p = line + 2, *end = strchr(p, '\n'), *arg;
	enum target t;

	if (!end || depth > 4)
		return DYNAMIC;
	*end = 0;
	p += strspn(p, " \t");
	arg = p + strcspn(p, " \t");
	if (*arg) {
		*arg++ = 0;
		arg += strspn(arg, " \t");
		for (end = arg + strlen(arg); end > arg && (end[-1] == ' ' || end[-1] == '\t'); end--)
			end[-1] = 0;
	}
	if (depth == 0) {
		x->script = true;
		vos_fmt(x->interp, sizeof x->interp, "%s", p);
		vos_fmt(x->interp_arg, sizeof x->interp_arg, "%s", arg);
	}
	if (policy && vos_policy_match(policy, p, strlen(p)))
		x->far_interp = true;
	t = look(x, AT_FDCWD, p, 0, depth + 1);
	/* enter() puts one interpreter before the script, not a row of them. */
	x->far_interp |= t == ENTER && depth > 0;
	return t;
}

static bool read_loader(struct exec *x, int fd, const Elf64_Phdr *p)
{
	if (p->p_filesz < 2 || p->p_filesz > sizeof x->loader ||
	    vos_raw4(SYS_pread64, fd, VOS_PTR(x->loader), (long)p->p_filesz, (long)p->p_offset) != (long)p->p_filesz ||
	    x->loader[p->p_filesz - 1] != 0) {
		x->loader[0] = 0;
		return false;
	}
	return true;
}

static enum target look_elf(struct exec *x, int fd, const char *head, size_t n, unsigned depth)
{
	const Elf64_Ehdr *e = (const void *)head;
	Elf64_Phdr ph[16];
	unsigned count;

	if (n < sizeof *e || (e->e_ident[EI_CLASS] != ELFCLASS64 && e->e_ident[EI_CLASS] != ELFCLASS32) || e->e_version != EV_CURRENT)
		return DYNAMIC; /* no program at all: the kernel will say so */
	if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_machine != EM_X86_64) {
		x->why_alone = "it is not an x86-64 program";
		return ALONE;
	}
	if (e->e_phentsize != sizeof ph[0] || e->e_phnum == 0)
		return DYNAMIC;
	count = e->e_phnum;
	for (unsigned i = 0; i < count; i += 16) {
		unsigned k = count - i < 16 ? count - i : 16;

		if (vos_raw4(SYS_pread64, fd, VOS_PTR(ph), (long)(k * sizeof ph[0]), (long)(e->e_phoff + i * sizeof ph[0])) !=
		    (long)(k * sizeof ph[0]))
			return DYNAMIC;
		for (unsigned j = 0; j < k; j++)
			if (ph[j].p_type == PT_INTERP)
				return ((x->fd >= 0 && depth == 0) || x->far_libraries) && read_loader(x, fd, &ph[j]) ? ENTER : DYNAMIC;
	}
	return ENTER;
}

static enum target look(struct exec *x, int64_t dirfd, const char *path, unsigned flags, unsigned depth)
{
	char head[257];
	struct stat st;
	enum target t = DYNAMIC;
	long fd, n;

	if ((flags & AT_EMPTY_PATH) && !*path)
		fd = vos_raw3(SYS_fcntl, dirfd, F_DUPFD_CLOEXEC, 0);
	else
		fd = vos_raw4(SYS_openat, dirfd, VOS_PTR(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
			      (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0), 0);
	if (fd < 0)
		return DYNAMIC;
	if (vos_raw2(SYS_fstat, fd, VOS_PTR(&st)) == 0 && S_ISREG(st.st_mode)) {
		n = vos_raw4(SYS_pread64, fd, VOS_PTR(head), sizeof head - 1, 0);
		head[n > 0 ? n : 0] = 0;
		if (n > 2 && head[0] == '#' && head[1] == '!') {
			t = look_script(x, head, depth);
		} else if (n > 4 && memcmp(head, ELFMAG, SELFMAG) == 0) {
			if (gains_privileges((int)fd, &st)) {
				x->why_alone = "it gains privileges when it starts";
				t = ALONE;
			} else {
				t = look_elf(x, (int)fd, head, (size_t)n, depth);
			}
		}
	}
	vos_raw1(SYS_close, fd);
	return t;
}

/* Whether a list of paths or libraries has one under a prefix.  text is runtime memory, and is taken apart. */
static bool leads_far(const struct vos_policy *policy, char *text)
{
	for (char *p = text; *p;) {
		size_t n = strcspn(p, ":; ");
		bool last = !p[n];

		p[n] = 0;
		if (*p == '/' && vos_policy_match(policy, p, n))
			return true;
		p += last ? n : n + 1;
	}
	return false;
}

/* The loader looks for libraries before it brings us in. */
static bool has_far_libraries(uint64_t envp)
{
	static const char *const names[] = { "LD_LIBRARY_PATH=", "LD_PRELOAD=" };
	const struct vos_policy *policy = vos_self()->proc->policy;
	bool found = false;
	char *text;
	uint64_t p;

	if (!policy || !policy->nstores || !envp)
		return false;
	text = vos_alloc(VOS_PATH_BUF);
	for (; text && !found && vos_get_user64(&p, envp) == 0 && p; envp += 8) {
		char head[17] = { 0 };

		for (unsigned i = 0; i < 2; i++) {
			size_t n = strlen(names[i]);

			if (vos_strncpy_from_user(head, (const char *)(uintptr_t)p, sizeof head) == -EFAULT)
				break;
			head[sizeof head - 1] = 0;
			if (strncmp(head, names[i], n) == 0 &&
			    vos_strncpy_from_user(text, (const char *)(uintptr_t)(p + n), VOS_PATH_BUF) >= 0)
				found |= leads_far(policy, text);
		}
	}
	vos_free(text);
	return found;
}

/* virtuos-enter: beside this library, else in its installed place. */
static bool find_enter(char *path, size_t cap)
{
	vos_fmt(path, cap, "%s/virtuos-enter", vos_environ_dir() ? vos_environ_dir() : "");
	if (vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(path), 1 /* X_OK */, 0) == 0)
		return true;
	vos_fmt(path, cap, "%s/virtuos-enter", VOS_LIBEXECDIR);
	return vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(path), 1, 0) == 0;
}

/* "#!interp arg": what the kernel makes of the arguments, in runtime memory; the rest are the program's own. */
static int script_argv(const struct exec *x, const char *script, char ***ret_argv)
{
	uint64_t p;
	size_t n = 0, at = 0;
	char **v;

	for (;; n++) {
		if (vos_get_user64(&p, x->argv + 8 * n) < 0)
			return -EFAULT;
		if (!p)
			break;
		if (n > 1u << 20)
			return -E2BIG;
	}
	v = vos_alloc((n + 4) * sizeof *v);
	if (!v)
		return -ENOMEM;
	v[at++] = (char *)(uintptr_t)x->interp;
	if (x->interp_arg[0])
		v[at++] = (char *)(uintptr_t)x->interp_arg;
	v[at++] = (char *)(uintptr_t)script;
	for (size_t i = 1; i < n; i++) {
		if (vos_get_user64(&p, x->argv + 8 * i) < 0) {
			vos_free(v);
			return -EFAULT;
		}
		v[at++] = (char *)(uintptr_t)p;
	}
	*ret_argv = v;
	return 0;
}

/* The dynamic loader of a remote program: a descriptor, here or copied from a domain, that survives the exec. */
static long open_loader(const struct exec *x)
{
	char *found = vos_alloc(VOS_PATH_BUF);
	long fd;

	if (!found)
		return -ENOMEM;
	fd = vos_exec_fetch(AT_FDCWD, (uint64_t)(uintptr_t)x->loader, 0, found);
	if (fd == VOS_EXEC_NATIVE)
		fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(found[0] ? found : x->loader), O_RDONLY, 0);
	else if (fd >= 0)
		vos_raw3(SYS_fcntl, fd, F_SETFD, 0);
	vos_free(found);
	return fd;
}

/* A program, or a script for one, that virtuos-enter brings us into: that in its place. */
static long enter(struct exec *x, const char *helper, uint64_t user_envp, char **extra, unsigned n)
{
	struct vos_environ e;
	const char *path = x->script ? x->interp : x->path;
	size_t size = strlen(path) + (x->name ? strlen(x->name) : strlen(path)) + strlen(x->path) + 64;
	char *word = vos_alloc(size), **argv = NULL;
	long fd = -1, loader = -1, r;

	if (!word)
		return -ENOMEM;
	if (x->script && x->fd < 0)
		r = script_argv(x, x->path, &argv);
	else
		r = 0;
	/* Both must be executable for the caller, as the kernel would ask. */
	if (r == 0 && x->fd < 0)
		r = vos_raw4(SYS_faccessat2, x->dirfd, VOS_PTR(x->path), 1, 0x200 /* AT_EACCESS */ | (x->flags & AT_EMPTY_PATH));
	if (r == 0 && x->script)
		r = vos_raw4(SYS_faccessat2, AT_FDCWD, VOS_PTR(path), 1, 0x200);
	if (r == 0) {
		if (!x->script && x->fd >= 0)
			fd = vos_raw3(SYS_fcntl, x->fd, F_DUPFD, 0);
		else if (!x->script && (x->flags & AT_EMPTY_PATH) && !*x->path)
			fd = vos_raw3(SYS_fcntl, x->dirfd, F_DUPFD, 0);
		else
			fd = vos_raw4(SYS_openat, x->script ? AT_FDCWD : x->dirfd, VOS_PTR(path), O_RDONLY, 0);
		r = fd < 0 ? fd : 0;
	}
	if (r == 0 && x->loader[0]) {
		loader = open_loader(x);
		r = loader < 0 ? loader : 0;
	}
	if (r == 0) {
		bool far = x->fd >= 0 && !x->script;
		/* The kernel names a process after the script. */
		const char *name = x->script && x->fd < 0 && *x->path ? x->path : far && x->name ? x->name : path;

		vos_fmt(word, size, VOS_ENV_ENTER "=%ld,%ld,%lu:%s%s", fd, loader + 1, far ? strlen(path) : 0, far ? path : "",
			name);
		extra[n++] = word;
		extra[n] = NULL;
		r = vos_environ_make(&e, user_envp, extra, true);
	}
	if (r == 0) {
		vos_stats_flush();
		r = vos_window6(SYS_execve, (uint64_t)(uintptr_t)helper, argv ? (uint64_t)(uintptr_t)argv : x->argv,
				(uint64_t)(uintptr_t)e.v, 0, 0, 0);
		vos_environ_free(&e);
	}
	if (fd >= 0)
		vos_raw1(SYS_close, fd);
	if (loader >= 0)
		vos_raw1(SYS_close, loader);
	vos_free(argv);
	vos_free(word);
	return r;
}

/* The kernel's call, with what is known to be executed. */
static long call_kernel(const struct exec *x, char **envp)
{
	if (x->fd >= 0)
		return vos_window6(SYS_execveat, (uint64_t)x->fd, (uint64_t)(uintptr_t)"", x->argv, (uint64_t)(uintptr_t)envp,
				   AT_EMPTY_PATH, 0);
	return vos_window6(SYS_execveat, (uint64_t)x->dirfd, (uint64_t)(uintptr_t)x->path, x->argv, (uint64_t)(uintptr_t)envp, x->flags, 0);
}

/* The kernel would look for the interpreter of a script on this host. */
static bool interpreter_is_remote(const struct exec *x)
{
	return x->script && x->far_interp &&
	       vos_raw4(SYS_faccessat2, x->dirfd, VOS_PTR(x->path), 1 /* X_OK */,
			0x200 /* AT_EACCESS */ | (x->flags & AT_EMPTY_PATH)) == 0;
}

static long exec_target(struct exec *x, uint64_t user_envp)
{
	struct vos_proc *p = vos_self()->proc;
	struct vos_state_out state;
	struct vos_environ e;
	char state_word[48], session_word[48], helper[VOS_PATH_BUF], *extra[4];
	unsigned n = 0;
	enum target t;
	long r;

	x->far_libraries = has_far_libraries(user_envp);
	t = x->fd >= 0 ? look(x, x->fd, "", AT_EMPTY_PATH, 0) : look(x, x->dirfd, x->path, x->flags, 0);
	if (x->fd < 0 && interpreter_is_remote(x))
		return VOS_EXEC_ELSEWHERE;
	if (t == ENTER && !find_enter(helper, sizeof helper)) {
		x->why_alone = "it is statically linked, and virtuos-enter is not there";
		t = x->loader[0] ? DYNAMIC : ALONE;
	}
	if (t == ALONE || !vos_environ_self()) {
		if (t != ALONE)
			x->why_alone = "libvirtuos.so cannot be found any more";
		/* The kernel may refuse yet; then nothing was left alone, but the line has been said.  It cannot be said later. */
		if (vos_raw4(SYS_faccessat, x->dirfd, VOS_PTR(x->path), 1, 0) == 0)
			vos_say("%s runs without VirtuOS: %s", base_name(x->path), x->why_alone);
		vos_stats_flush();
		if (x->fd >= 0)
			return vos_window6(SYS_execveat, (uint64_t)x->fd, (uint64_t)(uintptr_t)"", x->argv, user_envp, AT_EMPTY_PATH, 0);
		return vos_window6(SYS_execveat, (uint64_t)x->dirfd, (uint64_t)(uintptr_t)x->path, x->argv, user_envp, x->flags, 0);
	}
	if (vos_mapping_any() && !p->guest)
		vos_mapping_flush_all();
	r = vos_state_save(p, &state);
	if (r < 0)
		return r;
	if (state.fd >= 0) {
		vos_fmt(state_word, sizeof state_word, VOS_ENV_STATE "=%d", state.fd);
		extra[n++] = state_word;
	}
	if (p->session_fd >= 0) {
		vos_fmt(session_word, sizeof session_word, VOS_ENV_SESSION "=%d", p->session_fd);
		extra[n++] = session_word;
	}
	extra[n] = NULL;
	if (t == ENTER) {
		r = enter(x, helper, user_envp, extra, n);
		vos_state_undo(p, &state);
		return r;
	}
	r = vos_environ_make(&e, user_envp, extra, true);
	if (r == 0) {
		vos_stats_flush();
		r = call_kernel(x, e.v);
		vos_environ_free(&e);
	}
	vos_state_undo(p, &state);
	return r;
}

/* `script`: the name of the first script that led here, at some depth; else NULL. */
static long exec_at(int64_t dirfd, uint64_t path, uint64_t argv, uint64_t envp, unsigned flags, const char *script, unsigned depth);

/*
 * A script on a domain, or one whose interpreter is there.  What the kernel would hand its interpreter is a name of our copy;
 * the program's own name for it leads the interpreter to the domain by itself.
 */
static long exec_remote_script(struct exec *x, uint64_t user_path, uint64_t envp, const char *script, unsigned depth)
{
	char *name = vos_alloc(VOS_PATH_BUF), **argv;
	long r;

	if (!name)
		return -ENOMEM;
	r = vos_strncpy_from_user(name, (const char *)(uintptr_t)user_path, VOS_PATH_BUF);
	if (r >= 0 && (r == 0 || (name[0] != '/' && x->dirfd != AT_FDCWD))) {
		if (x->fd >= 0 || x->text[0] == '/')
			vos_fmt(name, VOS_PATH_BUF, "%s", x->text);
		else
			vos_fmt(name, VOS_PATH_BUF, x->text[0] ? "/dev/fd/%d/%s" : "/dev/fd/%d", (int)x->dirfd, x->text);
	}
	if (r >= 0)
		r = script_argv(x, name, &argv);
	if (r >= 0) {
		r = exec_at(AT_FDCWD, (uint64_t)(uintptr_t)x->interp, (uint64_t)(uintptr_t)argv, envp, 0, script ? script : name, depth + 1);
		vos_free(argv);
	}
	vos_free(name);
	return r;
}

/* The name that the program gave is what AT_EXECFN and the name of the process are made of. */
static long exec_remote(struct exec *x, uint64_t user_path, uint64_t envp, const char *script)
{
	char *name = vos_alloc(VOS_PATH_BUF);
	long r;

	if (!name)
		return -ENOMEM;
	r = vos_strncpy_from_user(name, (const char *)(uintptr_t)user_path, VOS_PATH_BUF);
	if (r >= 0) {
		if (script)
			x->name = script;
		else if (r > 0 && (name[0] == '/' || x->dirfd == AT_FDCWD))
			x->name = name;
		r = exec_target(x, envp);
	}
	vos_free(name);
	return r;
}

static long exec_at(int64_t dirfd, uint64_t path, uint64_t argv, uint64_t envp, unsigned flags, const char *script, unsigned depth)
{
	struct exec *x;
	long r;

	if (depth > 4)
		return -ELOOP;
	x = vos_alloc(sizeof *x);
	if (!x)
		return -ENOMEM;
	x->dirfd = dirfd;
	x->argv = argv;
	x->flags = flags;
	x->path = x->text;
	x->fd = -1;
	r = VOS_EXEC_NATIVE;
	if (vos_self()->proc->ndomains)
		r = vos_exec_fetch(dirfd, path, flags, x->text);
	if (r == VOS_EXEC_NATIVE && !x->text[0]) {
		r = vos_strncpy_from_user(x->text, (const char *)(uintptr_t)path, sizeof x->text);
		if (r >= 0)
			r = VOS_EXEC_NATIVE;
	} else if (r == VOS_EXEC_NATIVE) {
		x->dirfd = AT_FDCWD;
	} else if (r >= 0) {
		x->fd = (int)r;
		r = VOS_EXEC_NATIVE;
	}
	if (r == VOS_EXEC_NATIVE && vos_exe_names(x->text)) {
		/* The kernel would start virtuos-enter there. */
		vos_fmt(x->text, sizeof x->text, "%s", vos_exe_path());
		x->dirfd = AT_FDCWD;
	}
	if (r == VOS_EXEC_NATIVE && x->fd >= 0) {
		look(x, x->fd, "", AT_EMPTY_PATH, 0);
		r = x->script ? exec_remote_script(x, path, envp, script, depth) : exec_remote(x, path, envp, script);
	} else if (r == VOS_EXEC_NATIVE) {
		r = exec_target(x, envp);
		if (r == VOS_EXEC_ELSEWHERE)
			r = exec_remote_script(x, path, envp, script, depth);
	}
	if (x->fd >= 0)
		vos_raw1(SYS_close, x->fd);
	vos_free(x);
	return r;
}

long vos_call_execve(struct vos_frame *f)
{
	return exec_at(AT_FDCWD, f->rdi, f->rsi, f->rdx, 0, NULL, 0);
}

long vos_call_execveat(struct vos_frame *f)
{
	if (f->r8 & ~(uint64_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return exec_at((int32_t)f->rdi, f->rsi, f->rdx, f->r10, (unsigned)f->r8, NULL, 0);
}
