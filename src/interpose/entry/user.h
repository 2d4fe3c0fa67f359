/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of the program, as the kernel would touch it: an address that is not there is -EFAULT, never a crash.  A fault in
 * these functions is mended by vos_sig_entry() (table vos_user_fixups): SIGSEGV and SIGBUS always have our handler and
 * are never masked in the kernel.  Any thread with a carrier; they do not block.
 */
#ifndef VOS_USER_H
#define VOS_USER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* 0 or -EFAULT; a fault may leave part of the destination written, as the kernel does. */
long vos_copy_from_user(void *dst, const void *user_src, size_t n);
long vos_copy_to_region(void *dst, const void *user_src, size_t n); /* dst is in a region: streamed past the cache when large */
long vos_copy_to_user(void *user_dst, const void *src, size_t n);
/* Between two addresses of the program. */
long vos_copy_in_user(void *user_dst, const void *user_src, size_t n);
long vos_clear_user(void *user_dst, size_t n);

/*
 * A NUL-terminated string, at most cap-1 bytes of it: its length without the NUL.  -EFAULT; -ENAMETOOLONG when no NUL stood in
 * the first cap bytes.
 */
long vos_strncpy_from_user(char *dst, const char *user_src, size_t cap);

/* A word as one access; and its exchange: 1 done, 0 it was another value.  -EFAULT. */
long vos_load_user32(uint32_t *ret, uint64_t addr);
long vos_cas_user32(uint64_t addr, uint32_t old, uint32_t new);

static inline long vos_get_user64(uint64_t *ret, uint64_t user)
{
	return vos_copy_from_user(ret, (const void *)(uintptr_t)user, 8);
}

static inline long vos_put_user64(uint64_t user, uint64_t v)
{
	return vos_copy_to_user((void *)(uintptr_t)user, &v, 8);
}

#endif
