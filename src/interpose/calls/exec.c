/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * execve and execveat: the new image gets us again, by LD_PRELOAD or, statically linked, by virtuos-enter.  Nothing of this
 * process changes before the kernel has accepted.
 */
#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <virtuos/env.h>
#include "../dispatch/path.h"
#include "../dispatch/table.h"
#include "../entry/carrier.h"
#include "../entry/environ.h"
#include "../entry/state.h"
#include "../entry/stats.h"
#include "../entry/user.h"
#include "../entry/window.h"
#include "../rt/rt.h"

enum target {
	DYNAMIC,     /* the dynamic loader will bring us in; also what we cannot read: the kernel knows best */
	STATIC,      /* virtuos-enter */
	ALONE,       /* left alone, and said */
};

/* What is to be executed, as it becomes known. */
struct exec {
	int64_t dirfd;
	const char *path;            /* runtime memory */
	uint64_t argv;               /* the program's */
	unsigned flags;
	int fd;                      /* memfd of a remote program, or -1 */
	char text[VOS_PATH_BUF];
	/* A script: its interpreter, when that is what must go through virtuos-enter. */
	char interp[256];
	char interp_arg[256];
	bool script;
	const char *why_alone;
};

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
	char *p = line + 2, *end = strchr(p, '\n'), *arg;

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
	return look(x, AT_FDCWD, p, 0, depth + 1);
}

static enum target look_elf(struct exec *x, int fd, const char *head, size_t n)
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
				return DYNAMIC;
	}
	return STATIC;
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
				t = look_elf(x, (int)fd, head, (size_t)n);
			}
		}
	}
	vos_raw1(SYS_close, fd);
	return t;
}

/* The kernel's call, with what is known to be executed. */
static long call_kernel(const struct exec *x, char **envp)
{
	if (x->fd >= 0)
		return vos_window6(SYS_execveat, (uint64_t)x->fd, (uint64_t)(uintptr_t)"", x->argv, (uint64_t)(uintptr_t)envp,
				   AT_EMPTY_PATH, 0);
	return vos_window6(SYS_execveat, (uint64_t)x->dirfd, (uint64_t)(uintptr_t)x->path, x->argv, (uint64_t)(uintptr_t)envp, x->flags, 0);
}

static long exec_target(struct exec *x, uint64_t user_envp)
{
	struct vos_proc *p = vos_self()->proc;
	struct vos_state_out state;
	struct vos_environ e;
	char state_word[48], session_word[48], *extra[3];
	unsigned n = 0;
	enum target t;
	long r;

	t = x->fd >= 0 ? look(x, x->fd, "", AT_EMPTY_PATH, 0) : look(x, x->dirfd, x->path, x->flags, 0);
	if (t != DYNAMIC || !vos_environ_self()) {
		if (t == STATIC)
			x->why_alone = "it is statically linked";
		else if (t == DYNAMIC)
			x->why_alone = "libvirtuos.so cannot be found any more";
		/* The kernel may refuse yet; then nothing was left alone, but the line has been said.  It cannot be said later. */
		if (vos_raw4(SYS_faccessat, x->dirfd, VOS_PTR(x->path), 1, 0) == 0)
			vos_say("%s runs without VirtuOS: %s", base_name(x->path), x->why_alone);
		vos_stats_flush();
		if (x->fd >= 0)
			return vos_window6(SYS_execveat, (uint64_t)x->fd, (uint64_t)(uintptr_t)"", x->argv, user_envp, AT_EMPTY_PATH, 0);
		return vos_window6(SYS_execveat, (uint64_t)x->dirfd, (uint64_t)(uintptr_t)x->path, x->argv, user_envp, x->flags, 0);
	}
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
	r = vos_environ_make(&e, user_envp, extra, true);
	if (r == 0) {
		vos_stats_flush();
		r = call_kernel(x, e.v);
		vos_environ_free(&e);
	}
	vos_state_undo(p, &state);
	return r;
}

static long exec_at(struct vos_frame *f, int64_t dirfd, uint64_t path, uint64_t argv, uint64_t envp, unsigned flags)
{
	struct exec *x = vos_alloc(sizeof *x);
	long r;

	(void)f;
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
	if (r == VOS_EXEC_NATIVE)
		r = exec_target(x, envp);
	if (x->fd >= 0)
		vos_raw1(SYS_close, x->fd);
	vos_free(x);
	return r;
}

long vos_call_execve(struct vos_frame *f)
{
	return exec_at(f, AT_FDCWD, f->rdi, f->rsi, f->rdx, 0);
}

long vos_call_execveat(struct vos_frame *f)
{
	if (f->r8 & ~(uint64_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return exec_at(f, (int32_t)f->rdi, f->rsi, f->rdx, f->r10, (unsigned)f->r8);
}
