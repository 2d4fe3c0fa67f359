/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "cli.h"

#define INTERPRETERS_MAX 5 /* the kernel's limit, BINPRM_RECURSION */
#define HEAD 4096

/* 0, or why this file cannot be executed. */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	if (!S_ISREG(st.st_mode))
		return EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/* As execvp(3): the first that can be run; else, if one was there that cannot, that it cannot. */
static char *look_up(const char *name, int *ret_error)
{
	const char *dirs = getenv("PATH"), *end;
	int seen = ENOENT;

	if (strchr(name, '/')) {
		*ret_error = executable(name);
		return vos_cli_dup(name);
	}
	if (!dirs)
		dirs = "/bin:/usr/bin";
	for (;; dirs = end + 1) {
		char *path;
		int e;

		end = strchrnul(dirs, ':');
		path = end == dirs ? vos_cli_dup(name) : vos_cli_format("%.*s/%s", (int)(end - dirs), dirs, name);
		e = executable(path);
		if (e == 0) {
			*ret_error = 0;
			return path;
		}
		/* A directory that may not be searched holds no program, as the shell sees it. */
		if (e == EACCES && access(path, F_OK) == 0)
			seen = EACCES;
		free(path);
		if (!*end)
			break;
	}
	*ret_error = seen;
	return vos_cli_dup(name);
}

static int cannot(struct vos_cli_program *p, const char *name, int error)
{
	if (error == ENOENT || error == ENOTDIR) {
		p->why = vos_cli_format("%s: no such program%s", name, strchr(name, '/') ? "" : " in PATH");
		return VOS_EXIT_NOT_FOUND;
	}
	p->why = vos_cli_format("%s: cannot be run: %s", name, error == EISDIR ? "it is a directory" : strerror(error));
	return VOS_EXIT_CANNOT_RUN;
}

/* Whether exec would raise rights (AT_SECURE): the loader then ignores LD_PRELOAD, and rightly so. */
static bool privileged(const char *path)
{
	struct statvfs fs;
	struct stat st;
	char cap[64];

	if (stat(path, &st) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return false;
	if (statvfs(path, &fs) == 0 && (fs.f_flag & ST_NOSUID))
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		return true;
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		return true;
	return geteuid() != 0 && getxattr(path, "security.capability", cap, sizeof cap) > 0;
}

/* 0 and the head, NUL-ended, of an executable file; else an errno.  A file that may be run but not read is EACCES here. */
static int read_head(const char *path, char head[HEAD + 1], size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return errno;
	while (len < HEAD && (n = read(fd, head + len, HEAD - len)) > 0)
		len += (size_t)n;
	close(fd);
	head[len] = '\0';
	*ret_len = len;
	return n < 0 ? errno : 0;
}

static bool has_interpreter(const char *head, size_t len)
{
	const Elf64_Ehdr *e = (const void *)head;

	for (unsigned i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr ph;
		size_t at = e->e_phoff + (size_t)i * e->e_phentsize;

		if (e->e_phentsize < sizeof ph || at > len || len - at < sizeof ph)
			break;
		memcpy(&ph, head + at, sizeof ph);
		if (ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* "#!interpreter argument" as the kernel splits it. */
static int script(char *head, char **ret_interp, char **ret_arg)
{
	char *p = head + 2 + strspn(head + 2, " \t"), *end = p + strcspn(p, "\n"), *arg;

	*end = '\0';
	while (end > p && strchr(" \t", end[-1]))
		*--end = '\0';
	arg = p + strcspn(p, " \t");
	if (*arg) {
		*arg++ = '\0';
		arg += strspn(arg, " \t");
	}
	if (!*p)
		return ENOEXEC;
	*ret_interp = p;
	*ret_arg = *arg ? arg : NULL;
	return 0;
}

/* Puts `first` and, when given, `second` before what stands in p->before. */
static void prepend(struct vos_cli_program *p, const char *first, const char *second)
{
	size_t n = 0, k = 0;
	char **b;

	while (p->before && p->before[n])
		n++;
	b = vos_cli_alloc((n + 3) * sizeof *b);
	b[k++] = vos_cli_dup(first);
	if (second)
		b[k++] = vos_cli_dup(second);
	if (n)
		memcpy(b + k, p->before, n * sizeof *b);
	free(p->before);
	p->before = b;
}

int vos_cli_program_find(const char *name, struct vos_cli_program *ret)
{
	struct vos_cli_program p = { 0 };
	char *head = vos_cli_alloc(HEAD + 1), *interp = NULL, *arg = NULL;
	int error, code = 0;
	size_t len = 0;

	p.path = look_up(name, &error);
	p.elf = vos_cli_dup(p.path);
	if (error) {
		code = cannot(&p, name, error);
		goto out;
	}
	for (int depth = 0;; depth++) {
		if (privileged(p.elf)) {
			p.kind = VOS_PROGRAM_PRIVILEGED;
			break;
		}
		error = read_head(p.elf, head, &len);
		if (error == EACCES)
			break; /* run but not read: it stays dynamic, the loader sees to it */
		if (error) {
			code = cannot(&p, p.elf, error);
			break;
		}
		if (len >= 2 && head[0] == '#' && head[1] == '!') {
			error = depth < INTERPRETERS_MAX ? script(head, &interp, &arg) : ELOOP;
			if (error) {
				code = cannot(&p, name, error);
				break;
			}
			error = executable(interp);
			if (error) {
				p.why = vos_cli_format("%s: cannot be run: its interpreter %s: %s", name, interp, strerror(error));
				code = VOS_EXIT_CANNOT_RUN;
				break;
			}
			/* The script's own path comes after its interpreter and the interpreter's argument. */
			if (!p.before)
				prepend(&p, p.path, NULL);
			prepend(&p, interp, arg);
			free(p.elf);
			p.elf = vos_cli_dup(interp);
			continue;
		}
		if (len < sizeof(Elf64_Ehdr) || memcmp(head, ELFMAG, SELFMAG) != 0) {
			if (depth > 0 || memchr(head, '\0', len)) {
				code = cannot(&p, name, ENOEXEC);
				break;
			}
			/* No #! line: execvp hands it to the shell. */
			prepend(&p, p.path, NULL);
			prepend(&p, "/bin/sh", NULL);
			free(p.elf);
			p.elf = vos_cli_dup("/bin/sh");
			continue;
		}
		if (head[EI_CLASS] != ELFCLASS64 || ((const Elf64_Ehdr *)(const void *)head)->e_machine != EM_X86_64) {
			p.why = vos_cli_format("%s: cannot be run: %s is not a 64-bit x86 program, and VirtuOS serves no other", name,
					       p.elf);
			code = VOS_EXIT_CANNOT_RUN;
			break;
		}
		p.kind = has_interpreter(head, len) ? VOS_PROGRAM_DYNAMIC : VOS_PROGRAM_STATIC;
		break;
	}
out:
	free(head);
	*ret = p;
	return code;
}

static bool below(const char *path, const struct vos_policy_store *s)
{
	return strncmp(path, s->prefix, s->prefix_len) == 0 && (path[s->prefix_len] == '/' || path[s->prefix_len] == '\0');
}

/* Whether a path, as written or where it leads, lies under a prefix. */
static bool routed(const struct vos_policy *policy, const char *here, const char *path)
{
	char *whole = path[0] == '/' ? vos_cli_dup(path) : vos_cli_format("%s/%s", here, path), *real = realpath(path, NULL);
	bool found = false;

	for (uint32_t i = 0; i < policy->nstores && !found; i++)
		found = below(whole, &policy->store[i]) || (real && below(real, &policy->store[i])) ||
			/* "/srv//data", "/srv/../srv/data": not judged here. */
			strstr(whole, "//") || strstr(whole, "/.");
	free(whole);
	free(real);
	return found;
}

/* Whether the dynamic loader is told to look under a prefix, which it does before the runtime is there. */
static bool has_far_libraries(const struct vos_policy *policy, const char *here)
{
	static const char *const names[] = { "LD_LIBRARY_PATH", "LD_PRELOAD" };
	bool found = false;

	for (size_t i = 0; i < 2; i++) {
		char *list = vos_cli_dup(getenv(names[i]) ? getenv(names[i]) : ""), *rest = list, *one;

		while ((one = strsep(&rest, ":; ")))
			found |= one[0] == '/' && routed(policy, here, one);
		free(list);
	}
	return found;
}

bool vos_cli_program_far(const struct vos_policy *policy, const char *name, int code, const struct vos_cli_program *p)
{
	const char *dirs = getenv("PATH"), *end;
	char here[PATH_MAX];
	bool found;

	if (policy->nstores == 0 || p->kind == VOS_PROGRAM_PRIVILEGED)
		return false;
	if (code)
		return true;
	if (!getcwd(here, sizeof here))
		return true;
	found = has_far_libraries(policy, here) || routed(policy, here, p->path) || routed(policy, here, p->elf);
	for (size_t i = 0; p->before && p->before[i] && !found; i++)
		found = p->before[i][0] == '/' && routed(policy, here, p->before[i]);
	/* A directory that is searched before the one where the host has it. */
	for (; !strchr(name, '/') && dirs && !found; dirs = end + 1) {
		char *dir;

		end = strchrnul(dirs, ':');
		dir = vos_cli_format("%.*s", (int)(end - dirs), dirs);
		found = routed(policy, here, *dir ? dir : ".");
		free(dir);
		if (!*end || (strncmp(p->path, dirs, (size_t)(end - dirs)) == 0 && p->path[end - dirs] == '/' &&
			      strcmp(p->path + (end - dirs) + 1, name) == 0))
			break;
	}
	return found;
}

void vos_cli_program_finish(struct vos_cli_program *p)
{
	for (size_t i = 0; p->before && p->before[i]; i++)
		free(p->before[i]);
	free(p->before);
	free(p->path);
	free(p->elf);
	free(p->why);
}
