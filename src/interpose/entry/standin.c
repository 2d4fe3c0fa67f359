/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Weak stand-ins for what other rooms have not landed yet; each goes when its room comes. */
#include "../dispatch/fdmap.h"
#include "../dispatch/mapping.h"
#include "../dispatch/path.h"

#define WEAK __attribute__((weak))


WEAK void vos_mapping_moved(uint64_t from, uint64_t fl, uint64_t to, uint64_t tl) { (void)from, (void)fl, (void)to, (void)tl; }
WEAK int vos_mapping_may_protect(uint64_t addr, uint64_t len, int prot) { (void)addr, (void)len, (void)prot; return 0; }
WEAK int vos_mapping_msync(uint64_t addr, uint64_t len, int flags, long *ret) { (void)addr, (void)len, (void)flags, (void)ret; return 0; }
WEAK int vos_mapping_madvise(uint64_t addr, uint64_t len, int advice, long *ret) { (void)addr, (void)len, (void)advice, (void)ret; return 0; }
