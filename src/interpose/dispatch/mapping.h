/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory mapped from remote files.  calls/memory.c (entry's) keeps mmap, munmap, mremap, mprotect, msync and madvise; it asks
 * here whenever a remote file may be meant.  With no copied mapping in the process every question is one load.
 */
#ifndef VOS_MAPPING_H
#define VOS_MAPPING_H

#include "../runtime.h"
#include "fdmap.h"

extern _Atomic uint32_t vos_mapping_count;   /* mappings of remote files in this process */
static inline bool vos_mapping_any(void)
{
	return atomic_load_explicit(&vos_mapping_count, memory_order_relaxed) != 0;
}

/*
 * The file itself, for a mapping by this kernel: a descriptor, the caller's.  -EOPNOTSUPP: it cannot be had, vos_mapping_mmap()
 * maps a copy (or refuses); or the mmap's own error.
 */
int vos_mapping_file(struct vos_ofd *o, int flags);
/* mmap(2) with the frame's arguments, of the remote file o (the caller's reference stays the caller's).  Address or errno. */
long vos_mapping_mmap(struct vos_frame *f, struct vos_ofd *o);
/*
 * Call before the kernel unmaps or replaces [addr, addr+len) (munmap, mmap MAP_FIXED, mremap's target): shared pages are
 * written back and the range is forgotten.  May make remote calls.
 */
void vos_mapping_unmap(uint64_t addr, uint64_t len);
/* After a successful mremap. */
void vos_mapping_moved(uint64_t from, uint64_t from_len, uint64_t to, uint64_t to_len);
/* After a successful mprotect: a file opened O_RDONLY must stay unwritable when shared.  -EACCES before, when not allowed. */
int vos_mapping_may_protect(uint64_t addr, uint64_t len, int prot);
/* msync(2) on remote mappings in the range: 1 when there were any (written back, *ret is the result), 0 when none. */
int vos_mapping_msync(uint64_t addr, uint64_t len, int flags, long *ret);
/* madvise(2): MADV_DONTNEED on a private file mapping brings the file's bytes back.  1 when handled, *ret the result. */
int vos_mapping_madvise(uint64_t addr, uint64_t len, int advice, long *ret);

/* All shared mappings are written back: before exec, exit_group and the last thread's exit. */
void vos_mapping_flush_all(void);
/* Before a remote read, fsync, stat or copy of o by this process; cheap when o has no shared mapping. */
void vos_mapping_flush(struct vos_ofd *o);
/* After a remote write of [off, off+len) (or truncation: len 0) to o: live shared mappings take it over. */
#define VOS_MAPPING_END (~0ULL) /* as off: appended */
void vos_mapping_written(struct vos_ofd *o, uint64_t off, uint64_t len);

/* After a truncation by path. */
void vos_mapping_truncated(struct vos_domain *d);
/* After any remote call nr on o with result r, when there are mappings: what it changed in the file shows in them. */
void vos_mapping_after(struct vos_ofd *o, unsigned nr, const uint64_t arg[6], long r);

/* fork: called in the child.  exec needs nothing: mappings end there. */
void vos_mapping_fork_child(void);

#endif
