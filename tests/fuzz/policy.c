/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any text is a policy or an error with a message, and a policy that was read is sound. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <virtuos/policy.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[VOS_POLICY_ERROR] = "", *text = malloc(size + 1);
	struct vos_policy p;

	memcpy(text, data, size);
	text[size] = 0;
	if (vos_policy_parse(text, &p, err) < 0) {
		if (!err[0] || strlen(err) >= sizeof err)
			abort();
	} else {
		for (uint32_t i = 0; i < p.nstores; i++) {
			const struct vos_policy_store *s = &p.store[i];

			if (s->prefix[0] != '/' || s->root[0] != '/' || vos_policy_match(&p, s->prefix, strlen(s->prefix)) != s)
				abort();
			vos_policy_is_ancestor(&p, s->root, strlen(s->root));
		}
	}
	free(text);
	return 0;
}
