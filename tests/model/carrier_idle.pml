/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Carriers of uthreads that go to sleep (vos_ut_idle_locked()), another that readies a uthread for one of them
 * (vos_ut_ready_locked(), vos_ut_wake()), and a helper that has finished a job, which any carrier may take
 * (vos_ut_wake_any()).  The uthread is taken by its carrier and the job by someone, whatever the order.
 *
 *	-DNO_FENCE_WAKE   no fence between the push and the look at `asleep`              (must fail)
 *	-DNO_FENCE_SLEEP  no fence between `asleep` and the last look                     (must fail)
 *	-DNO_LAST_LOOK    the carrier sleeps without looking again                        (must fail)
 */
#include "tso.h"

SLOT(bool, asleep0);
SLOT(bool, asleep1);
/* The push, and with it the release of the lock behind it: stores become visible in their order. */
SLOT(bool, run0);
bool lock, jobs;
bool taken, reaped;
bool futex0, futex1;

#define LOCK   atomic { !lock -> lock = true }
#define UNLOCK lock = false

inline carrier(asleep, asleep_waits, asleep_new, futex, mine)
{
	do
	:: LOCK;
		if :: jobs -> jobs = false; reaped = true :: else fi;
idle:
		if
		:: mine && run0 -> run0 = false; taken = true; UNLOCK
		:: else ->
			UNLOCK;
			d_step { asleep_new = true; asleep_waits = true };
#ifndef NO_FENCE_SLEEP
			d_step { if :: asleep_waits -> asleep = asleep_new; asleep_waits = false :: else fi };
#endif
			if
#ifndef NO_LAST_LOOK
			:: jobs || (mine && run0)
#endif
			:: else ->
				/* The kernel compares the word as it is in memory: a call is a fence as well. */
				d_step { if :: asleep_waits -> asleep = asleep_new; asleep_waits = false :: else fi };
				atomic { if :: asleep -> futex = true :: else fi };
end_asleep:
				!futex
			fi;
			d_step { asleep_waits = false; asleep = false };
			LOCK;
			if :: jobs -> jobs = false; reaped = true :: else fi;
			goto idle
		fi
	od
}

active proctype home()
{
	carrier(asleep0, asleep0_waits, asleep0_new, futex0, true)
}

active proctype other()
{
	carrier(asleep1, asleep1_waits, asleep1_new, futex1, false)
}

active proctype readies()
{
	bool was;

	LOCK;
	STORE(run0, true);
#ifndef NO_FENCE_WAKE
	atomic { if :: run0_waits -> run0 = true; run0_waits = false; lock = false :: else fi };
#endif
	atomic { was = asleep0; asleep0 = false };
	if :: was -> futex0 = false :: else fi
}

active proctype helper()
{
	bool was;

	/* A locked instruction. */
	jobs = true;
	if
	:: asleep0 -> atomic { was = asleep0; asleep0 = false }; if :: was -> futex0 = false :: else fi
	:: else ->
		if
		:: asleep1 -> atomic { was = asleep1; asleep1 = false }; if :: was -> futex1 = false :: else fi
		:: else
		fi
	fi
}

active proctype wanted()
{
	taken && reaped
}

active proctype drain()
{
end:
	do
	:: atomic { run0_waits -> run0 = true; run0_waits = false; lock = false }
	DRAIN(asleep0)
	DRAIN(asleep1)
	od
}
