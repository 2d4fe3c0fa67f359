/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One lane: a client and a server that both sleep whenever they can.  N calls complete, or the model stops in an invalid end
 * state: somebody sleeps though there is something for him.  The 50 ms slices of the real client are left out: nothing here
 * may depend on them.
 *
 *	-DMODE=1 FUTEX, -DMODE=2 FD
 *	-DNO_FENCE_PUSH   the pusher looks at `asleep` without a fence after its lap   (must fail)
 *	-DNO_FENCE_SLEEP  the sleeper looks at the ring without a fence after `asleep` (must fail)
 *	-DNO_LAST_LOOK    the sleeper does not look again                              (must fail)
 */
#include "tso.h"

#ifndef MODE
#define MODE 1
#endif
#ifndef N
#define N 3
#endif

#ifdef NO_FENCE_PUSH
#define FENCE_PUSH(var) skip
#else
#define FENCE_PUSH(var) atomic { FLUSH(var) }
#endif
#ifdef NO_FENCE_SLEEP
#define FENCE_SLEEP(var) skip
#else
#define FENCE_SLEEP(var) atomic { FLUSH(var) }
#endif
#ifdef NO_LAST_LOOK
#define LAST_LOOK(c) false
#else
#define LAST_LOOK(c) c
#endif

SLOT(byte, sq);       /* laps of the requests: the latest */
SLOT(byte, cq);       /* of the completions */
SLOT(byte, lane);     /* lane->asleep */
SLOT(bool, server);   /* server->asleep */
bool in_futex, wake_fd, doorbell;
bool client_done;

active proctype client()
{
	byte i = 1;
	byte mode;

	do
	:: i > N -> break
	:: else ->
		/* vos_sq_push(), vos_server_take_sleep() */
		STORE(sq, i);
		FENCE_PUSH(sq);
		if
		:: server -> atomic { if :: server -> server = false; doorbell = true :: else fi }
		:: else
		fi;
		/* vos_remote_wait() */
		do
		:: cq == i -> break
		:: else ->
			STORE(lane, MODE);
			FENCE_SLEEP(lane);
			if
			:: LAST_LOOK(cq == i)
			:: else ->
#if MODE == 1
				/* The kernel compares under its own lock: a system call drains the buffer. */
				atomic { FLUSH(lane); if :: lane == MODE -> in_futex = true :: else fi };
				!in_futex;
#else
				atomic { FLUSH(lane) };
				atomic { wake_fd -> wake_fd = false };
#endif
			fi;
			/* unpublish() */
			atomic { lane_waits = false; lane = 0 }
		od;
		i++
	od;
	client_done = true
}

active proctype serve()
{
	byte j = 1;
	byte mode;

end:	do
	:: j > N -> break
	:: else ->
		if
		:: sq >= j ->
			/* vos_cq_push(), vos_lane_take_sleep() */
			STORE(cq, j);
			FENCE_PUSH(cq);
			if
			:: lane != 0 ->
				atomic { mode = lane; lane = 0 };
				if
				:: mode == 1 -> in_futex = false
				:: mode == 2 -> wake_fd = true
				:: else
				fi
			:: else
			fi;
			j++
		:: else ->
			STORE(server, true);
			FENCE_SLEEP(server);
			if
			:: LAST_LOOK(sq >= j)
			:: else ->
				atomic { FLUSH(server) };
				atomic { doorbell -> doorbell = false }
			fi;
			STORE(server, false)
		fi
	od
}

active proctype drain()
{
end:	do
	DRAIN(sq)
	DRAIN(cq)
	DRAIN(lane)
	DRAIN(server)
	od
}
