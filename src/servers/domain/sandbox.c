/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a proxy may do, cut down to what its client could do itself, and then to what its kind needs.  Everything is applied that
 * the machine and our own rights permit; what was not is said once with --verbose.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "servers/domain/domain.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define LANDLOCK_ALL_FS ((LANDLOCK_ACCESS_FS_TRUNCATE << 1) - 1)

#define BIT(c) (1ULL << (c))
#define CAPS_STORE (BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER) | BIT(CAP_FSETID) | \
		    BIT(CAP_LINUX_IMMUTABLE) | BIT(CAP_MKNOD) | BIT(CAP_LEASE) | BIT(CAP_SETFCAP))
#define CAPS_NET   (BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_NET_RAW) | BIT(CAP_NET_BROADCAST))
#define CAPS_RECRED (BIT(CAP_SETUID) | BIT(CAP_SETGID))

static uint64_t caps_of(const struct vos_proxy *p)
{
	return p->kind == VOS_KIND_NET ? CAPS_NET : CAPS_STORE;
}

/* Said by the first proxy for all: what holds for one holds for each. */
static bool said;

void vos_sandbox_said(void)
{
	said = true;
}

static void lacking(const char *what, int err)
{
	if (!said)
		vos_log("not applied to proxies here: %s (%s)", what, strerror(err));
}

static int set_caps(uint64_t permitted, uint64_t effective)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ .permitted = (uint32_t)permitted, .effective = (uint32_t)effective },
		{ .permitted = (uint32_t)(permitted >> 32), .effective = (uint32_t)(effective >> 32) },
	};

	return (int)vos_raw2(__NR_capset, VOS_PTR(&h), VOS_PTR(d));
}

/* An export by its path, opened with the rights of c: a directory that the client cannot search to is not exported to it. */
static int open_export(const char *root, const char *path, const struct vos_creds *c)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC };
	gid_t groups[1024];
	int n = 0;
	bool other = geteuid() == 0 && c->uid != 0;
	long fd, top;

	if (other) {
		n = getgroups(1024, groups);
		if (n < 0 || vos_raw2(__NR_setgroups, c->ngroups, VOS_PTR(c->groups)))
			return -EPERM;
		setfsgid(c->gid);
		setfsuid(c->uid);
	}
	fd = vos_raw4(__NR_openat2, AT_FDCWD, VOS_PTR(root), VOS_PTR(&how), sizeof how);
	if (fd >= 0 && path[0]) {
		how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
		top = fd;
		fd = vos_raw4(__NR_openat2, top, VOS_PTR(path), VOS_PTR(&how), sizeof how);
		vos_raw1(__NR_close, top);
	}
	if (other) {
		setfsuid(geteuid());
		setfsgid(getegid());
		vos_raw2(__NR_setgroups, n, VOS_PTR(groups));
	}
	return (int)fd;
}

/* A procfs of its own with nothing but processes in it, or the one that is mounted. */
static int proc_dir(void)
{
	long fs = vos_raw2(__NR_fsopen, VOS_PTR("proc"), FSOPEN_CLOEXEC), fd = -1;

	if (fs >= 0) {
		vos_raw6(__NR_fsconfig, fs, FSCONFIG_SET_STRING, VOS_PTR("subset"), VOS_PTR("pid"), 0, 0);
		vos_raw6(__NR_fsconfig, fs, FSCONFIG_SET_STRING, VOS_PTR("hidepid"), VOS_PTR("ptraceable"), 0, 0);
		if (!vos_raw6(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0, 0))
			fd = vos_raw3(__NR_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
		vos_raw1(__NR_close, fs);
	}
	if (fd < 0)
		fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return (int)fd;
}

/* Makes the mounted tree behind fd the root, and lets go of all else. */
static int become_root(int fd)
{
	if (fchdir(fd))
		return -errno;
	if (vos_raw2(__NR_pivot_root, VOS_PTR("."), VOS_PTR("."))) {
		/* Not from an initramfs. */
		return chroot(".") ? -errno : 0;
	}
	return umount2(".", MNT_DETACH) ? -errno : 0;
}

static int pivot_to_export(int *export_fd)
{
	long tree = vos_raw3(__NR_open_tree, *export_fd, VOS_PTR(""), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	long r;

	if (tree < 0)
		return (int)tree;
	/* On its own place: there is always one. */
	r = vos_raw6(__NR_move_mount, tree, VOS_PTR(""), *export_fd, VOS_PTR(""), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH, 0);
	if (!r)
		r = become_root((int)tree);
	if (!r) {
		vos_raw1(__NR_close, *export_fd);
		*export_fd = (int)tree;
		return 0;
	}
	vos_raw1(__NR_close, tree);
	return (int)r;
}

/* An empty tmpfs, nothing can be written to it. */
static int pivot_to_nothing(void)
{
	long fs = vos_raw2(__NR_fsopen, VOS_PTR("tmpfs"), FSOPEN_CLOEXEC), fd, r;

	if (fs < 0)
		return (int)fs;
	r = vos_raw6(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0, 0);
	fd = r ? r : vos_raw3(__NR_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			      MOUNT_ATTR_NOEXEC);
	vos_raw1(__NR_close, fs);
	if (fd < 0)
		return (int)fd;
	r = vos_raw6(__NR_move_mount, fd, VOS_PTR(""), AT_FDCWD, VOS_PTR("/proc"), MOVE_MOUNT_F_EMPTY_PATH, 0);
	if (!r)
		r = become_root((int)fd);
	vos_raw1(__NR_close, fd);
	return (int)r;
}

/* Nothing of the file system but what lies below dir_fd (-1: nothing at all); for those who may not mount. */
static int landlock(int dir_fd)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = LANDLOCK_ALL_FS };
	struct landlock_path_beneath_attr rule = { .allowed_access = LANDLOCK_ALL_FS, .parent_fd = dir_fd };
	long abi = vos_raw3(__NR_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION), fd, r = 0;

	if (abi < 0)
		return (int)abi;
	/* Before version 3 it would forbid renames between directories. */
	if (abi < 3)
		return -EOPNOTSUPP;
	fd = vos_raw3(__NR_landlock_create_ruleset, VOS_PTR(&attr), sizeof attr, 0);
	if (fd < 0)
		return (int)fd;
	if (dir_fd >= 0)
		r = vos_raw4(__NR_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, VOS_PTR(&rule), 0);
	if (!r)
		r = vos_raw2(__NR_landlock_restrict_self, fd, 0);
	vos_raw1(__NR_close, fd);
	return (int)r;
}

static bool net_parted;

void vos_sandbox_part_net(void)
{
	net_parted = !unshare(CLONE_NEWNET);
}

/* Mounts of its own: before the export is opened, for a descriptor belongs to the mounts that it was opened in. */
static bool part(const struct vos_proxy *p)
{
	const int net = p->kind == VOS_KIND_STORE && !net_parted ? CLONE_NEWNET : 0;

	if (!unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | net))
		return true;
	lacking("namespaces", errno);
	return false;
}

/* True when the root is the export, or nothing. */
static bool isolate(struct vos_proxy *p, int *export_fd)
{
	const bool store = p->kind == VOS_KIND_STORE;
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL)) {
		lacking("a root of its own", errno);
		return false;
	}
	r = store ? pivot_to_export(export_fd) : pivot_to_nothing();
	if (r)
		lacking("a root of its own", -r);
	return r == 0;
}

/* To the client's credentials.  They came from the supervisor. */
static int become_client(struct vos_proxy *p)
{
	const struct vos_creds *c = &p->creds;

	if (geteuid() != 0) {
		/* Groups are ours to begin with when the uid is: an ordinary user's supervisor serves that user alone. */
		return c->uid == geteuid() && c->gid == getegid() ? 0 : -EPERM;
	}
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!(BIT(cap) & (caps_of(p) | CAPS_RECRED)))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	p->privileged = c->uid == 0;
	/* Which rights go with which uid is decided here, not by the kernel's rules for root. */
	if (p->privileged && prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT, 0, 0, 0))
		return -errno;
	if (vos_raw2(__NR_setgroups, c->ngroups, VOS_PTR(c->groups)))
		return -EPERM;
	if (vos_raw3(__NR_setresgid, c->gid, c->gid, c->gid) || vos_raw3(__NR_setresuid, c->uid, c->uid, c->uid))
		return -EPERM;
	if (!p->privileged)
		return 0;
	return set_caps(caps_of(p) | CAPS_RECRED, caps_of(p));
}

int vos_sandbox_recred(struct vos_proxy *p, const struct vos_creds *c)
{
	int r = 0;

	if (!p->privileged)
		/* What an ordinary user can change among his own ids changes nothing that is checked here. */
		return c->uid == p->creds.uid ? 0 : -EPERM;
	r = set_caps(caps_of(p) | CAPS_RECRED, CAPS_RECRED);
	if (!r)
		r = (int)vos_raw2(__NR_setgroups, c->ngroups, VOS_PTR(c->groups));
	if (!r)
		r = (int)vos_raw3(__NR_setresgid, c->gid, c->gid, c->gid);
	if (!r)
		r = (int)vos_raw3(__NR_setresuid, c->uid, c->uid, c->uid);
	if (!r)
		p->creds = *c;
	/* Also after a failure half-way: rights follow the uid that is in force. */
	if (set_caps(caps_of(p) | CAPS_RECRED, geteuid() == 0 ? caps_of(p) : 0))
		vos_proxy_end(p, 1, "capabilities cannot be set");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 0);
	vos_worker_recred(p);
	return r;
}

int vos_sandbox_enter(struct vos_proxy *p, const char *export, char *text, size_t size)
{
	const bool store = p->kind == VOS_KIND_STORE;
	struct rlimit none = { 0, 0 };
	int proc = proc_dir(), export_fd = -1, r;
	bool rooted = part(p);

	if (proc < 0)
		vos_warn("no /proc: calls on extended attributes and a few more will fail");
	if (store) {
		export_fd = open_export(p->cfg->root, export, &p->creds);
		if (export_fd < 0) {
			snprintf(text, size, "%.90s%.90s: %s", p->cfg->root, export, strerror(-export_fd));
			return export_fd;
		}
	}
	rooted = rooted && isolate(p, &export_fd);
	if (proc >= 0) {
		if (fchdir(proc))
			vos_warn("/proc cannot be entered: %s", strerror(errno));
		vos_raw1(__NR_close, proc);
	}
	r = become_client(p);
	if (r) {
		snprintf(text, size, "the credentials of uid %u cannot be taken: %s", p->creds.uid, strerror(-r));
		return r;
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!rooted || !store) {
		r = landlock(store ? export_fd : -1);
		if (r)
			lacking("landlock", -r);
	}
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	p->root_fd = export_fd;
	if (store) {
		p->cwd_fd = fcntl(export_fd, F_DUPFD_CLOEXEC, 0);
		if (p->cwd_fd < 0)
			return -errno;
	}
	return 0;
}

/* ---- the filter ---- */

/* Memory, threads, waiting, the channel. */
static const int common[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(mmap), SCMP_SYS(munmap),
	SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
	SCMP_SYS(clone), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(sched_yield),
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(restart_syscall), SCMP_SYS(ppoll),
	SCMP_SYS(poll), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(eventfd2),
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(fcntl), SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(ioctl),
	SCMP_SYS(readlinkat), SCMP_SYS(getrandom), SCMP_SYS(prctl), SCMP_SYS(setrlimit), SCMP_SYS(prlimit64), SCMP_SYS(geteuid),
	SCMP_SYS(umask), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
	SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(writev),
};

static const int net[] = {
	SCMP_SYS(connect), SCMP_SYS(accept4), SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(shutdown), SCMP_SYS(bind),
	SCMP_SYS(listen), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt),
};

static const int store[] = {
	SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(faccessat2), SCMP_SYS(fstatfs),
	SCMP_SYS(readahead), SCMP_SYS(fadvise64), SCMP_SYS(getdents), SCMP_SYS(getdents64), SCMP_SYS(fchmod), SCMP_SYS(fchmodat),
	SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(utimensat), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(mkdirat),
	SCMP_SYS(mknodat), SCMP_SYS(symlinkat), SCMP_SYS(linkat), SCMP_SYS(unlinkat), SCMP_SYS(renameat2), SCMP_SYS(setxattr),
	SCMP_SYS(fsetxattr), SCMP_SYS(getxattr), SCMP_SYS(fgetxattr), SCMP_SYS(listxattr), SCMP_SYS(flistxattr),
	SCMP_SYS(removexattr), SCMP_SYS(fremovexattr), SCMP_SYS(flock), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(syncfs),
	SCMP_SYS(sync_file_range), SCMP_SYS(sendfile), SCMP_SYS(copy_file_range), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
};

static int allow(scmp_filter_ctx f, const int *list, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = seccomp_rule_add_exact(f, SCMP_ACT_ALLOW, list[i], 0);
	return r;
}

/* By kind and whether credentials may change; made once by the broker, for building takes longer than all else together. */
static struct sock_fprog programs[VOS_KIND_STORE + 1][2];

static int build(uint32_t kind, bool privileged, struct sock_fprog *ret)
{
	/* Not a kill: a call that was forgotten here is an error to the client. */
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r, fd = -1;
	off_t size;

	if (!f)
		return -ENOMEM;
	r = allow(f, common, sizeof common / sizeof common[0]);
	if (!r && kind == VOS_KIND_NET) {
		r = allow(f, net, sizeof net / sizeof net[0]);
		if (!r)
			r = seccomp_rule_add_exact(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0_32(SCMP_CMP_EQ, AF_INET, 0));
		if (!r)
			r = seccomp_rule_add_exact(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0_32(SCMP_CMP_EQ, AF_INET6, 0));
	}
	if (!r && kind == VOS_KIND_STORE) {
		r = allow(f, store, sizeof store / sizeof store[0]);
		/* By number: newer than the library. */
		if (!r)
			r = seccomp_rule_add(f, SCMP_ACT_ALLOW, __NR_fchmodat2, 0);
		if (!r)
			r = seccomp_rule_add(f, SCMP_ACT_ALLOW, __NR_cachestat, 0);
	}
	if (!r && privileged) {
		static const int recred[] = { SCMP_SYS(setgroups), SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(capset) };

		r = allow(f, recred, sizeof recred / sizeof recred[0]);
	}
	if (!r) {
		fd = memfd_create("filter", MFD_CLOEXEC);
		r = fd < 0 ? -errno : seccomp_export_bpf(f, fd);
	}
	seccomp_release(f);
	if (!r) {
		size = lseek(fd, 0, SEEK_END);
		ret->len = (unsigned short)((size_t)size / sizeof ret->filter[0]);
		ret->filter = malloc((size_t)size);
		if (!ret->filter || pread(fd, ret->filter, (size_t)size, 0) != size)
			r = -EIO;
	}
	if (fd >= 0)
		close(fd);
	return r;
}

int vos_sandbox_prepare(uint32_t kinds)
{
	int r = 0;

	for (uint32_t kind = VOS_KIND_NET; kind <= VOS_KIND_STORE && !r; kind++)
		for (int privileged = 0; privileged < 2 && !r; privileged++)
			if (kinds & 1u << kind)
				r = build(kind, privileged, &programs[kind][privileged]);
	return r;
}

int vos_sandbox_filter(struct vos_proxy *p)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &programs[p->kind][p->privileged]) ? -errno : 0;
}
