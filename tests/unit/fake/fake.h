/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations of fake_domain.c, beside VOS_OP_NULL (→ arg[0] + 1) and VOS_OP_CANCEL. */
#ifndef VOS_TEST_FAKE_H
#define VOS_TEST_FAKE_H

enum {
	FAKE_STATE = 1,      /* (new) → old; a forked proxy inherits it */
	FAKE_PID,            /* → the proxy's */
	FAKE_BROKER,         /* → the broker's pid */
	FAKE_PARK,           /* completes when it is cancelled, or with FAKE_UNPARK */
	FAKE_UNPARK,         /* (result): all parked requests of all lanes complete */
	FAKE_SLEEP,          /* (ms): the whole proxy sleeps */
	FAKE_EXIT,           /* (status): the proxy ends */
	FAKE_FILL,           /* (offset, length, byte) */
	FAKE_MISBEHAVE,      /* (FAKE_*) */
};

enum {
	FAKE_WRONG_USER = 1, /* a completion for a request that was never made */
	FAKE_WILD_USER,
	FAKE_TWICE,          /* two completions for one request */
	FAKE_ABSURD_RES,
	FAKE_ABSURD_TAIL,
	FAKE_ABSURD_HEAD,
	FAKE_STRAY_WAKES,    /* a hundred wakes, then 7 */
	FAKE_FLAGS,          /* all flags set */
	FAKE_DEAF,           /* the proxy hangs */
};

#endif
