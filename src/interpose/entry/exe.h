/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program's own file, when the kernel believes it to be virtuos-enter. */
#ifndef VOS_EXE_H
#define VOS_EXE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Its absolute path; NULL when the kernel knows the program itself. */
const char *vos_exe_path(void);
void vos_exe_set(const char *path);
/* Whether `path` is one of the names of this process's /proc/PID/exe. */
bool vos_exe_names(const char *path);
/*
 * readlink(2) of that: true, and *ret_result is what the call answers.  `user_path`, `user_buf`: addresses of the program.
 */
bool vos_exe_readlink(uint64_t user_path, uint64_t user_buf, uint64_t size, long *ret_result);

#endif
