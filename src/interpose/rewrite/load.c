/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Getting plans: from the cache, or from a planner that is started for what the cache lacks.
 *
 * The planner runs as a child that nobody else notices: no SIGCHLD, not found by the program's wait(), standard streams
 * on /dev/null, an environment of its own (LD_PRELOAD must not be in it).  It answers into a memfd.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "apply_impl.h"

#define STACK    (64u << 10)
#define ENV_MAX  3

/* Its strings are copies: the program may write over its environment.  Small: each start touches it. */
static struct {
	char *cache;            /* NULL: none */
	char *planner;          /* NULL: not looked for yet */
	char *own_dir;          /* ends with '/'; NULL: not known */
	char *envp[ENV_MAX + 1];
	uint32_t planner_ms;
	bool up;
	bool broken;            /* the planner did not answer: do not ask again */
} loader;

static const char *env_of(char *const *envp, const char *name)
{
	size_t n = strlen(name);

	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

/* a (its first n bytes), b and c in one; NULL without memory. */
static char *joined(const char *a, size_t n, const char *b, const char *c)
{
	size_t nb = strlen(b), nc = strlen(c);
	char *s = vos_alloc(n + nb + nc + 1);

	if (s) {
		memcpy(s, a, n);
		memcpy(s + n, b, nb);
		memcpy(s + n + nb, c, nc);
	}
	return s;
}

static char *find_cache(char *const *envp)
{
	const char *named = env_of(envp, "VIRTUOS_CACHE"), *xdg = env_of(envp, "XDG_CACHE_HOME"), *home = env_of(envp, "HOME");

	if (named && *named)
		return vos_strdup(named);
	if (vos_raw0(SYS_geteuid) == 0)
		return vos_strdup("/var/cache/virtuos");
	if (xdg && *xdg == '/')
		return joined(xdg, strlen(xdg), "/virtuos", "");
	return home && *home == '/' ? joined(home, strlen(home), "/.cache/virtuos", "") : NULL;
}

void vos_plan_loader_init(const struct vos_rewrite_cfg *cfg, const char *own_path)
{
	static const char pass[ENV_MAX][16] = {"HOME", "XDG_CACHE_HOME", "VIRTUOS_CACHE"};
	const char *slash = strrchr(own_path, '/');
	unsigned n = 0;

	vos_free(loader.cache);
	vos_free(loader.planner);
	vos_free(loader.own_dir);
	for (unsigned i = 0; i < ENV_MAX; i++)
		vos_free(loader.envp[i]);
	memset(&loader, 0, sizeof loader);
	loader.planner_ms = cfg->planner_ms ? cfg->planner_ms : 5000;
	loader.cache = find_cache(cfg->envp);
	for (unsigned i = 0; i < ENV_MAX; i++) {
		const char *v = env_of(cfg->envp, pass[i]);

		if (v && (loader.envp[n] = joined(pass[i], strlen(pass[i]), "=", v)))
			n++;
	}
	loader.planner = cfg->planner ? vos_strdup(cfg->planner) : NULL;
	loader.own_dir = slash ? joined(own_path, (size_t)(slash + 1 - own_path), "", "") : NULL;
	loader.up = true;
}

/* Looked for when it is needed first: most starts find all plans in the cache.  NULL without memory. */
static const char *planner(void)
{
	if (!loader.planner && loader.own_dir) {
		loader.planner = joined(loader.own_dir, strlen(loader.own_dir), "virtuos-planner", "");
		if (loader.planner && vos_raw4(SYS_faccessat, AT_FDCWD, VOS_PTR(loader.planner), 1, 0)) {
			vos_free(loader.planner);
			loader.planner = NULL;
		}
	}
	if (!loader.planner)
		loader.planner = vos_strdup(VOS_LIBEXECDIR "/virtuos-planner");
	return loader.planner;
}

static long read_at(int fd, void *buf, size_t len, uint64_t off)
{
	long r;

	do
		r = vos_raw4(SYS_pread64, fd, VOS_PTR(buf), (long)len, (long)off);
	while (r == -EINTR);
	return r;
}

/* What its first bytes and its inode say. */
static int identify(const struct stat *st, uint64_t ino, const void *head, size_t len, struct vos_plan_id *ret,
		    uint64_t *ret_note_off, uint64_t *ret_note_len)
{
	int r;

	if (ino && st->st_ino != ino)
		return -ESTALE;
	if (!S_ISREG(st->st_mode))
		return -ENOEXEC;
	*ret = (struct vos_plan_id){0};
	r = vos_plan_elf_id(head, len, ret, ret_note_off, ret_note_len);
	if (r)
		return r;
	ret->size = (uint64_t)st->st_size;
	ret->key = vos_plan_key(st->st_dev, st->st_ino, ret->size,
				(uint64_t)st->st_mtim.tv_sec * 1000000000ull + (uint64_t)st->st_mtim.tv_nsec);
	return 0;
}

int vos_plan_identify_mapped(const char *path, uint64_t ino, const void *head, size_t len, struct vos_plan_id *ret)
{
	uint64_t note_off, note_len;
	struct stat st;
	long r;

	r = vos_raw2(SYS_stat, VOS_PTR(path), VOS_PTR(&st));
	if (vos_is_err(r))
		return (int)r;
	if (st.st_size < (long)len)
		return -ESTALE;
	r = identify(&st, ino, head, len, ret, &note_off, &note_len);
	return r || ret->build_id_len || !note_len ? (int)r : -ENOENT;
}

int vos_plan_identify(int fd, uint64_t ino, struct vos_plan_id *ret)
{
	uint64_t buf[512], note_off, note_len;
	struct stat st;
	long r, n;

	r = vos_raw2(SYS_fstat, fd, VOS_PTR(&st));
	if (vos_is_err(r))
		return (int)r;
	n = S_ISREG(st.st_mode) ? read_at(fd, buf, sizeof buf, 0) : 0;
	if (vos_is_err(n))
		return (int)n;
	r = identify(&st, ino, buf, (size_t)n, ret, &note_off, &note_len);
	if (r)
		return (int)r;
	if (!ret->build_id_len && note_len) {
		r = read_at(fd, buf, note_len < sizeof buf ? note_len : sizeof buf, note_off);
		if (r > 0)
			vos_plan_note_id(buf, (size_t)r, ret);
	}
	return 0;
}

void vos_plan_release(struct vos_plan_want *w)
{
	if (w->plan && w->plan_len)
		vos_raw2(SYS_munmap, VOS_PTR(w->plan), (long)w->plan_len);
	else if (w->plan)
		vos_free((void *)(uintptr_t)w->plan);
	w->plan = NULL;
}

/* Maps [off, off+len) of a file privately; NULL when it cannot be. */
static const void *map_part(int fd, uint64_t off, size_t len)
{
	/* Plans in the cache are ours, and replaced by rename, never written to: what is checked stays so. */
	long r = vos_raw6(SYS_mmap, 0, (long)len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, (long)off);

	return vos_is_err(r) ? NULL : (const void *)r;
}

static void load_cached(int dir, struct vos_plan_want *w)
{
	uint64_t small[128];
	char name[VOS_PLAN_NAME_MAX];
	void *copy = NULL;
	const void *p = NULL;
	size_t len = 0;
	struct stat st;
	long fd, n;

	vos_plan_name(&w->id, name);
	fd = vos_raw4(SYS_openat, dir, VOS_PTR(name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
	if (vos_is_err(fd))
		return;
	/* Most objects have no site: to read the little that says so is cheaper than to map it. */
	n = read_at((int)fd, small, sizeof small, 0);
	if (n > 0 && (size_t)n < sizeof small) {
		len = (size_t)n;
		p = copy = vos_alloc(len);
		if (copy)
			memcpy(copy, small, len);
	} else if (n > 0 && !vos_raw2(SYS_fstat, fd, VOS_PTR(&st)) && S_ISREG(st.st_mode) && st.st_size > 0 &&
		   st.st_size < 1 << 30) {
		len = (size_t)st.st_size;
		p = map_part((int)fd, 0, len);
	}
	vos_raw1(SYS_close, fd);
	if (!p)
		return;
	w->plan = p;
	w->plan_len = copy ? 0 : len;
	if (vos_plan_check(p, len) || !vos_plan_is_for(p, &w->id)) {
		vos_note("damaged plan in the cache: %s", name);
		vos_plan_release(w);
	}
}

/* ---- the planner ---- */

struct child {
	const char *path;
	char *const *argv;
	char *const *envp;
	int out;
	int in; /* standard input, or -1 */
};

/* Runs in the child, on a stack of its own in its parent's memory; the parent waits until it has execed or ended. */
static int child_main(struct child *c)
{
	long null = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR("/dev/null"), O_RDWR, 0);

	/* Our ends must not be 0..2, which are about to be replaced. */
	c->out = (int)vos_raw3(SYS_fcntl, c->out, F_DUPFD, 3);
	if (c->in >= 0)
		c->in = (int)vos_raw3(SYS_fcntl, c->in, F_DUPFD, 3);
	if (c->out < 0)
		return 127;
	vos_raw3(SYS_dup3, c->in >= 0 ? c->in : (int)null, 0, 0);
	vos_raw3(SYS_dup3, null, 1, 0);
	vos_raw3(SYS_dup3, null, 2, 0);
	if (c->out != 3)
		vos_raw3(SYS_dup3, c->out, 3, 0);
	vos_raw3(SYS_close_range, 4, ~0u, 0);
	vos_raw3(SYS_execve, VOS_PTR(c->path), VOS_PTR(c->argv), VOS_PTR(c->envp));
	return 127;
}

static int child_entry(void *arg);
__asm__(".text\n"
	".type vos_plan_clone, @function\n"
	/* long vos_plan_clone(flags, stack, pidfd *, fn, arg): clone, and fn(arg) in the child */
	"vos_plan_clone:\n"
	"	mov %rcx, %r9\n"
	"	xor %r10d, %r10d\n"
	"	mov %r8, %r11\n"
	"	mov %r11, -8(%rsi)\n"
	"	mov %r9, -16(%rsi)\n"
	"	sub $16, %rsi\n"
	"	xor %r8d, %r8d\n"
	"	mov $56, %eax\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	jz 1f\n"
	"	ret\n"
	"1:	xor %ebp, %ebp\n"
	"	pop %rax\n"
	"	pop %rdi\n"
	"	call *%rax\n"
	"	mov %eax, %edi\n"
	"	mov $60, %eax\n"
	"	syscall\n"
	"	hlt\n"
	".size vos_plan_clone, . - vos_plan_clone\n");
long vos_plan_clone(long flags, void *stack, int *pidfd, int (*fn)(void *), void *arg);

static int child_entry(void *arg)
{
	return child_main(arg);
}

static uint64_t now_ms(void)
{
	struct timespec t = {0};

	vos_raw2(SYS_clock_gettime, CLOCK_MONOTONIC, VOS_PTR(&t));
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Waits for the child, ends it at the deadline.  Its exit code, or -1. */
static int reap(int pid, int pidfd, uint64_t deadline)
{
	int status = -1;
	long r;

	for (;;) {
		uint64_t now = now_ms();
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		int wait = now < deadline ? (int)(deadline - now) : 0;

		r = vos_raw3(SYS_poll, VOS_PTR(&p), 1, wait);
		if (r == 1)
			break;
		if (r == 0 || (vos_is_err(r) && r != -EINTR)) {
			vos_raw4(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0);
			break;
		}
	}
	do
		r = vos_raw4(SYS_wait4, pid, VOS_PTR(&status), __WALL, 0);
	while (r == -EINTR);
	return !vos_is_err(r) && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Runs the planner; what it said is in the memfd *ret_fd.  0 or a negative errno. */
static int run_planner(char *const *argv, int in, int *ret_fd)
{
	uint64_t all = ~0ull, old = 0;
	char *stack = vos_pages(STACK);
	struct child c = {.path = planner(), .argv = argv, .envp = loader.envp, .in = in};
	int pidfd = -1, code;
	long pid, out;

	if (!stack || !c.path) {
		vos_pages_free(stack, STACK);
		return -ENOMEM;
	}
	out = vos_raw2(SYS_memfd_create, VOS_PTR("virtuos plans"), MFD_CLOEXEC);
	if (vos_is_err(out)) {
		vos_pages_free(stack, STACK);
		return (int)out;
	}
	c.out = (int)out;
	/* A handler of the program must not run in the child: it would run in the parent's memory. */
	vos_raw4(SYS_rt_sigprocmask, SIG_BLOCK, VOS_PTR(&all), VOS_PTR(&old), 8);
	pid = vos_plan_clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD, stack + STACK, &pidfd, child_entry, &c);
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&old), 0, 8);
	vos_pages_free(stack, STACK);
	if (vos_is_err(pid)) {
		vos_raw1(SYS_close, out);
		return (int)pid;
	}
	code = reap((int)pid, pidfd, now_ms() + loader.planner_ms);
	vos_raw1(SYS_close, pidfd);
	/* 1: it could not read some object, but has answered for the others. */
	if (code != 0 && code != 1) {
		vos_raw1(SYS_close, out);
		return code == 127 ? -ENOENT : -EIO;
	}
	*ret_fd = (int)out;
	return 0;
}

/* Takes the plans out of the planner's answer. */
static void take_answers(int fd, struct vos_plan_want *want, unsigned n)
{
	struct vos_plan_head h;
	uint64_t off = 0;

	while (read_at(fd, &h, sizeof h, off) == (long)sizeof h && h.magic == VOS_PLAN_MAGIC && h.size < 1u << 30) {
		const void *p = map_part(fd, off, (size_t)h.size);
		bool taken = false;

		if (!p)
			return;
		for (unsigned i = 0; i < n && !taken; i++) {
			if (want[i].plan || vos_plan_check(p, (size_t)h.size) || !vos_plan_is_for(p, &want[i].id))
				continue;
			want[i].plan = p;
			want[i].plan_len = (size_t)h.size;
			taken = true;
		}
		if (!taken)
			vos_raw2(SYS_munmap, VOS_PTR(p), (long)h.size);
		off += (h.size + VOS_PLAN_ALIGN - 1) & ~(uint64_t)(VOS_PLAN_ALIGN - 1);
	}
}

static void ask_planner(struct vos_plan_want *want, unsigned n)
{
	char **argv = vos_alloc((n + 4) * sizeof *argv);
	unsigned k = 0;
	int fd, r;

	if (!argv)
		return;
	argv[k++] = (char *)"virtuos-planner";
	argv[k++] = (char *)"--out-fd=3";
	argv[k++] = (char *)"--";
	for (unsigned i = 0; i < n; i++)
		if (!want[i].plan && want[i].path)
			argv[k++] = (char *)want[i].path;
	r = run_planner(argv, -1, &fd);
	vos_free(argv);
	if (r) {
		vos_note("planner %s: error %d", loader.planner ? loader.planner : "", -r);
		loader.broken = true;
		return;
	}
	take_answers(fd, want, n);
	vos_raw1(SYS_close, fd);
}

void vos_plan_load(struct vos_plan_want *want, unsigned n)
{
	unsigned missing = 0;
	struct stat st;
	long dir = -1;

	if (!loader.up)
		return;
	if (loader.cache)
		dir = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(loader.cache), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (!vos_is_err(dir)) {
		/* Plans are code: only we may have written them. */
		if (!vos_raw2(SYS_fstat, dir, VOS_PTR(&st)) && st.st_uid == (uid_t)vos_raw0(SYS_geteuid) && !(st.st_mode & 022))
			for (unsigned i = 0; i < n; i++)
				load_cached((int)dir, &want[i]);
		vos_raw1(SYS_close, dir);
	}
	for (unsigned i = 0; i < n; i++)
		missing += !want[i].plan;
	if (missing && !loader.broken)
		ask_planner(want, n);
}

int vos_plan_memory(const void *code, size_t len, struct vos_plan_want *ret)
{
	char base[32], *argv[] = {(char *)"virtuos-planner", (char *)"--out-fd=3", (char *)"--memory", base, NULL};
	size_t done = 0;
	long in;
	int fd, r;

	if (!loader.up || loader.broken)
		return -ENOENT;
	vos_fmt(base, sizeof base, "--base=%llu", (unsigned long long)(uintptr_t)code);
	in = vos_raw2(SYS_memfd_create, VOS_PTR("virtuos code"), MFD_CLOEXEC);
	if (vos_is_err(in))
		return (int)in;
	while (done < len) {
		long w = vos_raw3(SYS_write, in, VOS_PTR((const char *)code + done), (long)(len - done));

		if (w == -EINTR)
			continue;
		if (w <= 0)
			break;
		done += (size_t)w;
	}
	vos_raw3(SYS_lseek, in, 0, 0);
	*ret = (struct vos_plan_want){.id.size = len};
	r = done == len ? run_planner(argv, (int)in, &fd) : -EIO;
	vos_raw1(SYS_close, in);
	if (r)
		return r;
	take_answers(fd, ret, 1);
	vos_raw1(SYS_close, fd);
	return ret->plan ? 0 : -EIO;
}
