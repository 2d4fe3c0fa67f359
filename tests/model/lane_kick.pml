/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A signal on its way to a client that is about to sleep: vos_remote_kick() against sleep_futex() and sleep_poll().  The client
 * must end its wait, by the signal or by a completion, whichever way they interleave.
 *
 *	-DMODE=1 FUTEX, -DMODE=2 FD
 *	-DKICK_FIRST      the word is taken before sig_pending is set                  (must fail)
 *	-DNO_LOOK         the client does not look for a signal after publishing       (must fail)
 */
#include "tso.h"

#ifndef MODE
#define MODE 1
#endif

SLOT(byte, cq);
SLOT(byte, lane);
SLOT(bool, pending);
bool in_futex, wake_fd;
bool completes;       /* the server may or may not complete the request */

active proctype client()
{
	do
	:: cq == 1 -> break
	:: else ->
#ifndef NO_LOOK
		if :: pending -> break :: else fi;
#endif
		STORE(lane, MODE);
		atomic { FLUSH(lane) };
		if
		:: cq == 1
#ifndef NO_LOOK
		:: pending
#endif
		:: else ->
#if MODE == 1
			atomic { if :: lane == MODE -> in_futex = true :: else fi };
			!in_futex;
#else
			atomic { wake_fd -> wake_fd = false };
#endif
			if :: pending -> break :: else fi
		fi;
		atomic { lane_waits = false; lane = 0 }
	od
}

proctype wake(byte mode)
{
	if
	:: mode == 1 -> in_futex = false
	:: mode == 2 -> wake_fd = true
	:: else
	fi
}

#define TAKE_AND_WAKE \
	atomic { mode = lane; lane = 0 }; \
	if \
	:: mode == 1 -> in_futex = false \
	:: mode == 2 -> wake_fd = true \
	:: else \
	fi

active proctype signal()
{
	byte mode;
#ifdef KICK_FIRST
	TAKE_AND_WAKE;
	STORE(pending, true)
#else
	STORE(pending, true);
	/* The exchange of the word is a fence. */
	atomic { FLUSH(pending); mode = lane; lane = 0 };
	if
	:: mode == 1 -> in_futex = false
	:: mode == 2 -> wake_fd = true
	:: else
	fi
#endif
}

active proctype serve()
{
	byte mode;

	if
	:: true ->
		STORE(cq, 1);
		atomic { FLUSH(cq) };
		if :: lane != 0 -> TAKE_AND_WAKE :: else fi
	:: true
	fi
}

active proctype drain()
{
end:	do
	DRAIN(cq)
	DRAIN(lane)
	DRAIN(pending)
	od
}
