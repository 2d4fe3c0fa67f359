/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain in the test's own process: the vos_remote_* calls of runtime.h carried out on descriptors of this kernel (from
 * FAKE_LOW up), and a process and carriers for the runtime's files to live in.  Death and reboot on demand.
 */
#ifndef FAKE_H
#define FAKE_H

#include "interpose/calls/net.h"

#define FAKE_LOW 700

/* Once, first. */
void fake_start(void);
/* Each further thread, first. */
void fake_thread(void);
/* The domain dies: its descriptors close, requests under way end.  `down`: it stays away until fake_boot(). */
void fake_kill(bool down);
void fake_boot(void);
/* Requests that were begun since the start. */
unsigned fake_requests(void);
/* A remote descriptor for a descriptor of the test, which is moved.  kind: VOS_KIND_*. */
int fake_remote(int fd);

/* The call as a program makes it. */
long call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
#define CALL(nr, ...) CALL_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) call6(__NR_##nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))
#define P(p) ((uint64_t)(uintptr_t)(p))

#endif
