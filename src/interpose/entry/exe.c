/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../rt/rt.h"
#include "../runtime.h"
#include "exe.h"
#include "user.h"

static const char *exe;

const char *vos_exe_path(void)
{
	return exe;
}

void vos_exe_set(const char *path)
{
	exe = path;
}

bool vos_exe_names(const char *path)
{
	uint64_t pid;

	if (!exe || strncmp(path, "/proc/", 6) != 0)
		return false;
	path += 6;
	if (strncmp(path, "self/", 5) == 0) {
		path += 5;
	} else if (strncmp(path, "thread-self/", 12) == 0) {
		path += 12;
	} else if (vos_number(&path, &pid) && *path == '/' && pid == vos_self()->proc->pid) {
		path++;
	} else {
		return false;
	}
	return strcmp(path, "exe") == 0;
}

bool vos_exe_readlink(uint64_t user_path, uint64_t user_buf, uint64_t size, long *ret_result)
{
	char path[64];
	size_t n;

	if (!exe || vos_strncpy_from_user(path, (const char *)(uintptr_t)user_path, sizeof path) < 0 || !vos_exe_names(path))
		return false;
	if ((int)size <= 0) {
		*ret_result = -EINVAL;
		return true;
	}
	n = strlen(exe);
	if (n > size)
		n = size;
	*ret_result = vos_copy_to_user((void *)(uintptr_t)user_buf, exe, n) < 0 ? -EFAULT : (long)n;
	return true;
}
