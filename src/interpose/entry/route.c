/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../rt/rt.h"
#include "route.h"

/*
 * 64 KiB so that vos_entry needs no comparison (it changes no flag): any 16-bit number has its byte, and what is no call goes
 * the slow way.  Only the first page is ever touched.
 */
uint8_t vos_route[65536] = { [0 ... 65535] = VOS_GO_SLOW };

static uint64_t pinned[(VOS_NR_END + 63) / 64];

/* Calls whose first argument is a descriptor but does not decide alone. */
static bool more_than_fd(unsigned nr)
{
	switch (nr) {
	case __NR_fchdir:
	case __NR_dup2:
	case __NR_dup3:
	case __NR_sendfile:
	case __NR_splice:
	case __NR_tee:
	case __NR_copy_file_range:
	case __NR_epoll_ctl:
	case __NR_sendmsg:
	case __NR_recvmsg:
	case __NR_sendmmsg:
	case __NR_recvmmsg:
	case __NR_fanotify_mark:
		return true;
	default:
		return false;
	}
}

void vos_route_set(unsigned nr, uint8_t go)
{
	if (nr < VOS_NR_END && !(pinned[nr / 64] >> nr % 64 & 1))
		vos_route[nr] = go;
}

static void pin(const char *text)
{
	while (*text) {
		size_t n = strcspn(text, ","), name = strcspn(text, ":");
		unsigned nr;

		for (nr = 0; nr < VOS_NR_END; nr++)
			if (vos_calls[nr].name && strlen(vos_calls[nr].name) == name && memcmp(vos_calls[nr].name, text, name) == 0)
				break;
		if (name >= n || nr == VOS_NR_END || n - name != 7 || memcmp(text + name, ":native", 7) != 0) {
			vos_say("VIRTUOS_ROUTE: '%.*s' is not CALL:native; ignored", (int)n, text);
		} else {
			vos_route[nr] = VOS_GO_NATIVE;
			pinned[nr / 64] |= 1ULL << nr % 64;
		}
		text += n;
		text += *text == ',';
	}
}

void vos_route_init(const char *text)
{
	for (unsigned nr = 0; nr < VOS_NR_END; nr++) {
		const struct vos_call *c = &vos_calls[nr];

		if (!c->name)
			continue;
		if (c->route == VOS_NATIVE)
			vos_route[nr] = VOS_GO_NATIVE;
		else if (c->route != VOS_RUNTIME && c->arg[0] == VOS_A_FD && !more_than_fd(nr))
			vos_route[nr] = VOS_GO_FD;
	}
	vos_route[__NR_getpid] = VOS_GO_GETPID;
	vos_route[__NR_gettid] = VOS_GO_GETTID;
	if (text)
		pin(text);
}
