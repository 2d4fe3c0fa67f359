/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mappings.  Code is patched before its pages become executable, so no thread ever runs a half-written instruction; and
 * mappings of remote files are dispatch/mapping.h's.
 */
#include <sys/mman.h>
#include "../dispatch/fdmap.h"
#include "../dispatch/mapping.h"
#include "../dispatch/table.h"
#include "../entry/sigsys.h"
#include "../entry/window.h"
#include "../rewrite/apply.h"
#include "../rt/rt.h"

#define PAGE 4096UL

/* The fallback as what is mapped now needs it. */
static void fallback(void)
{
	unsigned left = vos_rewrite_sites_left();

	if (left && !vos_sud_wanted())
		vos_sud_want("code that is writable, or that no plan covers");
	else if (!left && vos_sud_wanted())
		vos_sud_unwant();
}

/* [addr, addr+len) is about to be replaced or taken away. */
static void going(uint64_t addr, uint64_t len)
{
	if (vos_mapping_any())
		vos_mapping_unmap(addr, len);
	vos_rewrite_unmapped((void *)(uintptr_t)addr, (len + PAGE - 1) & ~(PAGE - 1));
}

static long map_code(struct vos_frame *f)
{
	int prot = (int)f->rdx, flags = (int)f->r10, fd = flags & MAP_ANONYMOUS ? -1 : (int)f->r8;
	size_t len = (f->rsi + PAGE - 1) & ~(PAGE - 1);
	long addr, r;

	if (prot & PROT_WRITE || (flags & MAP_TYPE) != MAP_PRIVATE) {
		/* It can change under our feet: it is trapped, not patched. */
		addr = vos_native(f);
		if (!vos_is_err(addr))
			vos_rewrite_protect((void *)addr, len, prot);
		fallback();
		return addr;
	}
	/* To be read at first, also where it is only to be run: the processor may know the difference. */
	addr = vos_window6(SYS_mmap, f->rdi, f->rsi, (uint64_t)((prot & ~PROT_EXEC) | PROT_READ), f->r10, f->r8, f->r9);
	if (vos_is_err(addr))
		return addr;
	vos_self()->counts_native[__NR_mmap]++;
	if (fd >= 0)
		vos_rewrite_mapped((void *)addr, len, fd, f->r9);
	/* Anonymous memory that is new holds no code yet, and cannot get any while it is not writable. */
	r = vos_raw3(SYS_mprotect, addr, (long)len, prot);
	if (r < 0) {
		/* What the kernel says to mmap where it says EACCES to mprotect: the file system is mounted noexec. */
		vos_rewrite_unmapped((void *)addr, len);
		vos_raw2(SYS_munmap, addr, (long)len);
		return r == -EACCES ? -EPERM : r;
	}
	fallback();
	return addr;
}

/* What this kernel maps. */
static long map_here(struct vos_frame *f)
{
	int flags = (int)f->r10;

	if ((flags & MAP_FIXED) && (flags & MAP_FIXED_NOREPLACE) != MAP_FIXED_NOREPLACE)
		going(f->rdi, f->rsi);
	return (int)f->rdx & PROT_EXEC ? map_code(f) : vos_native(f);
}

/* A file that its domain has handed over. */
static long map_given(struct vos_frame *f, int fd)
{
	uint64_t arg = f->r8;
	/* Out of the way of other threads, who could close or replace a number that is not theirs. */
	int own = vos_fd_own(fd, NULL);
	long r;

	vos_self()->counts_remote[__NR_mmap]++;
	f->r8 = (uint64_t)(own < 0 ? fd : own);
	r = map_here(f);
	f->r8 = arg;
	if (own < 0)
		vos_raw1(SYS_close, fd);
	else
		vos_fd_disown(own);
	return r;
}

long vos_call_mmap(struct vos_frame *f)
{
	int flags = (int)f->r10;

	if (!(flags & MAP_ANONYMOUS) && vos_fd_kind(vos_proc_self(), (uint32_t)f->r8) != VOS_FDKIND_NATIVE) {
		struct vos_ofd *o = vos_fd_get(f->r8);
		long r;

		if (o) {
			int fd = o->domain ? vos_mapping_file(o, flags) : -ENODEV;

			if (fd >= 0) {
				r = map_given(f, fd);
				vos_ofd_put(o);
				return r;
			}
			r = fd == -EOPNOTSUPP ? vos_mapping_mmap(f, o) : fd;
			vos_ofd_put(o);
			if (!vos_is_err(r) && ((int)f->rdx & PROT_EXEC)) {
				/* A program or library of a domain: its bytes are there by now. */
				vos_rewrite_protect((void *)r, (f->rsi + PAGE - 1) & ~(PAGE - 1), (int)f->rdx);
				fallback();
			}
			return r;
		}
		if (vos_fd_kind(vos_proc_self(), (uint32_t)f->r8) == VOS_FDKIND_OWN)
			return -EBADF;
	}
	return map_here(f);
}

static long protect(struct vos_frame *f)
{
	int prot = (int)f->rdx;
	size_t len = (f->rsi + PAGE - 1) & ~(PAGE - 1);
	long r;

	if (vos_mapping_any()) {
		int err = vos_mapping_may_protect(f->rdi, f->rsi, prot);

		if (err < 0)
			return err;
	}
	if (f->rdi & (PAGE - 1) || len == 0)
		return vos_native(f);
	if (!(prot & PROT_EXEC)) {
		vos_rewrite_protect((void *)(uintptr_t)f->rdi, len, prot);
		r = vos_native(f);
		if (vos_sud_wanted())
			fallback();
		return r;
	}
	vos_rewrite_protect((void *)(uintptr_t)f->rdi, len, prot);
	do /* the pages are between two protections: not to be seen by a handler */
		r = vos_native(f);
	while (r == -VOS_ERESTARTNOINTR && vos_raw3(SYS_mprotect, (long)f->rdi, (long)f->rsi, prot) != 0);
	if (r == -VOS_ERESTARTNOINTR)
		r = 0;
	fallback();
	return r;
}

long vos_call_mprotect(struct vos_frame *f)
{
	return protect(f);
}

long vos_call_pkey_mprotect(struct vos_frame *f)
{
	return protect(f);
}

long vos_call_munmap(struct vos_frame *f)
{
	bool armed = vos_sud_wanted();
	long r;

	if (!(f->rdi & (PAGE - 1)) && f->rsi)
		going(f->rdi, f->rsi);
	r = vos_native(f);
	if (armed)
		fallback();
	return r;
}

long vos_call_mremap(struct vos_frame *f)
{
	uint64_t from = f->rdi, old = (f->rsi + PAGE - 1) & ~(PAGE - 1), new = (f->rdx + PAGE - 1) & ~(PAGE - 1);
	unsigned undone = 0;
	long r;

	if ((int)f->r10 & MREMAP_FIXED)
		going(f->r8, new);
	/* A jump to a stub is relative: code that may move gets its own bytes back first. */
	if (old && ((int)f->r10 & MREMAP_MAYMOVE))
		undone = vos_rewrite_undo((void *)(uintptr_t)from, old);
	r = vos_native(f);
	if (!vos_is_err(r)) {
		if (vos_mapping_any())
			vos_mapping_moved(from, old, (uint64_t)r, new);
		if ((uint64_t)r != from)
			vos_rewrite_unmapped((void *)(uintptr_t)from, old);
		else if (new < old)
			vos_rewrite_unmapped((void *)(uintptr_t)(from + new), old - new);
	}
	if (undone) {
		if (vos_is_err(r))
			vos_rewrite_protect((void *)(uintptr_t)from, old, PROT_READ | PROT_EXEC);
		else
			vos_rewrite_protect((void *)r, new, PROT_READ | PROT_EXEC);
		fallback();
	}
	return r;
}

long vos_call_msync(struct vos_frame *f)
{
	long r;

	if (vos_mapping_any() && vos_mapping_msync(f->rdi, f->rsi, (int)f->rdx, &r))
		return r;
	return vos_native(f);
}

long vos_call_madvise(struct vos_frame *f)
{
	long r;

	if (vos_mapping_any() && vos_mapping_madvise(f->rdi, f->rsi, (int)f->rdx, &r))
		return r;
	return vos_native(f);
}
