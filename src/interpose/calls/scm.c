/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Remote descriptors over UNIX sockets. */
#include "net.h"

long vos_scm_out(unsigned char *control, size_t len, int ret_fds[VOS_SCM_MAX])
{
	(void)control;
	(void)len;
	(void)ret_fds;
	return 0;
}

void vos_scm_in(uint64_t control, uint64_t len, bool peeked)
{
	(void)control;
	(void)len;
	(void)peeked;
}
