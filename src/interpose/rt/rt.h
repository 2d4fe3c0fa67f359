/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the runtime has in place of libc.  mem*, str* bear libc's names (string.h declares them, the compiler calls them) but
 * are hidden definitions of our own in rt/mem.c: the linker binds to those, and tests/static proves that nothing is
 * imported.  No handler of the program runs while a thread is in here, so nothing needs to be async-signal-safe.
 */
#ifndef VOS_RT_H
#define VOS_RT_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- locks: one word, 0 when free; a futex when contended.  Not recursive. --------------------------------------- */
void vos_lock(_Atomic uint32_t *l);
void vos_unlock(_Atomic uint32_t *l);
/* Set when threads are uthreads: lets others run while a lock is held by one that is parked; false: sleep as usual. */
extern bool (*vos_lock_wait)(void);

/* ---- memory ------------------------------------------------------------------------------------------------------- */
/* Zeroed, 16-byte aligned, or NULL.  Any thread. */
void *vos_alloc(size_t n);
/* Accepts NULL. */
void vos_free(void *p);
/* The first min(old, new) bytes kept, the rest zeroed; NULL (p untouched) when there is no memory. */
void *vos_realloc(void *p, size_t n);
char *vos_strdup(const char *s);
/* Whole pages, zeroed, reserved and touched on demand; NULL when there is none. */
void *vos_pages(size_t n);
void vos_pages_free(void *p, size_t n);
/* Around fork: nobody holds the allocator's lock in the child. */
void vos_alloc_fork_prepare(void);
void vos_alloc_fork_done(void);

/* ---- text --------------------------------------------------------------------------------------------------------- */
/*
 * printf's %s %c %d %u %x %p %% with l, ll and z, zero padding, a width, "-" and %.*s; nothing else.  The length that the whole text has;
 * at most cap-1 bytes and a NUL are written.
 */
int vos_fmt(char *buf, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vos_vfmt(char *buf, size_t cap, const char *fmt, va_list ap);
/* One line on stderr: "virtuos: " and the text, in one write. */
void vos_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same when VIRTUOS_VERBOSE=1. */
extern bool vos_verbose;
#define vos_note(...) do { if (vos_verbose) vos_say(__VA_ARGS__); } while (0)
/* An invariant is broken: say so and end the process with SIGABRT.  Never for anything that a peer or a program can cause. */
_Noreturn void vos_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define VOS_ASSERT(c) do { if (__builtin_expect(!(c), 0)) vos_panic("%s:%d: broken invariant: %s", __FILE__, __LINE__, #c); } while (0)

/* Decimal digits at *s: their value, and *s moves past them; false when there are none or it overflows. */
bool vos_number(const char **s, uint64_t *ret_value);

/* A growing text; `failed` is set when memory ran out, and adding is then a no-op. */
struct vos_text { char *p; size_t len, cap; bool failed; };
void vos_text_add(struct vos_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vos_text_free(struct vos_text *t);

#endif
