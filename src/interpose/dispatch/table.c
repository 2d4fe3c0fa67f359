/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of calls, and the handlers that its RUNTIME and SPECIAL rows name. */
#include <string.h>
#define VOS_CALLS_TABLE
#include "table.h"

uint8_t vos_route[VOS_NR_END];
bool vos_mmap_remote;

#define VOS_SYSCALL(n, r, s, b, x, a, t, o) VOS_HANDLER_##r(n)
#define VOS_HANDLER_NATIVE(n)
#define VOS_HANDLER_REMOTE(n)
#define VOS_HANDLER_RUNTIME(n) [__NR_##n] = vos_call_##n,
#define VOS_HANDLER_SPECIAL(n) [__NR_##n] = vos_call_##n,
vos_call_fn *const vos_handler[VOS_NR_END] = {
#include <virtuos/syscalls.def>
};
#undef VOS_SYSCALL

static int number_of(const char *name, size_t len)
{
	for (int nr = 0; nr < VOS_NR_END; nr++)
		if (len && strlen(vos_calls[nr].name) == len && memcmp(vos_calls[nr].name, name, len) == 0)
			return nr;
	return -1;
}

int vos_table_init(const char *overrides, const char **ret_at)
{
	for (int nr = 0; nr < VOS_NR_END; nr++)
		vos_route[nr] = vos_calls[nr].name[0] ? vos_calls[nr].route : VOS_NATIVE;
	while (overrides && *overrides) {
		size_t len = 0;
		int nr;

		while (overrides[len] && overrides[len] != ':' && overrides[len] != ',')
			len++;
		nr = number_of(overrides, len);
		if (nr == __NR_mmap && strncmp(overrides + len, ":remote", 7) == 0 && (!overrides[len + 7] || overrides[len + 7] == ',')) {
			vos_mmap_remote = true;
			overrides += len + 7;
			overrides += *overrides == ',';
			continue;
		}
		if (nr < 0 || strncmp(overrides + len, ":native", 7) != 0 ||
		    (overrides[len + 7] && overrides[len + 7] != ',')) {
			*ret_at = overrides;
			return -EINVAL;
		}
		vos_route[nr] = VOS_NATIVE;
		overrides += len + 7;
		if (*overrides == ',')
			overrides++;
	}
	return 0;
}
