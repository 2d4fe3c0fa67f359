/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <virtuos/transport.h>
#ifdef VOS_TEST_FAULTY
#include "faulty/faulty.h"
#endif

static const struct vos_transport_ops *const transports[] = {
	&vos_transport_local,
#ifdef VOS_TEST_FAULTY
	&vos_transport_faulty,
#endif
};

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct vos_transport_ops *vos_transport_by_name(const char *name)
{
	for (unsigned i = 0; i < sizeof transports / sizeof transports[0]; i++)
		if (same(transports[i]->name, name))
			return transports[i];
	return 0;
}
