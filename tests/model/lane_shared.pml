/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two threads on one shared lane, each with a request under way; whoever reaps, reaps for both.  The server completes the
 * requests in any order.  Neither may sleep on though its request is done.
 *
 *	-DNO_LOCK         the last look at one's own request is made without the lane's lock (must fail: the other thread has
 *	                  taken the completion off the ring and not marked it yet)
 *	-DNO_COUNT        the word says only that somebody sleeps                      (must fail: a thread that was woken before it
 *	                  slept takes the other's later word for its own)
 *	-DCLEAR           a thread that found its own request done takes `asleep` back        (must fail: it was the other's too)
 */
bool word;              /* lane->asleep: its bit, and its count */
byte count;
byte ring[2];           /* completions, in order: the number of the thread + 1 */
byte tail, head;
bool done[2];
bool lock;
bool in_futex[2];

#define LOCK   atomic { !lock -> lock = true }
#define UNLOCK lock = false

inline reap()
{
	do
	:: head < tail ->
		atomic { who = ring[head] - 1; head++ };
		/* Between these two the completion is nowhere. */
		done[who] = true
	:: else -> break
	od
}

proctype thread(byte me)
{
	byte who, mine;

	do
	:: done[me] -> break
	:: else ->
		/* vos_lane_publish_sleep() */
		atomic { count++; mine = count; word = true };
#ifdef NO_LOCK
		if :: atomic { !lock -> lock = true }; reap(); UNLOCK :: lock fi;
#else
		LOCK;
		reap();
		UNLOCK;
#endif
		if
		:: done[me]
		:: else ->
#ifdef NO_COUNT
			atomic { if :: word -> in_futex[me] = true :: else fi };
#else
			atomic { if :: word && count == mine -> in_futex[me] = true :: else fi };
#endif
			!in_futex[me];
			LOCK;
			reap();
			UNLOCK
		fi;
#ifdef CLEAR
		if :: done[me] -> word = false :: else fi
#endif
	od
}

proctype serve()
{
	byte n = 0, first;
	bool taken;

	if :: first = 0 :: first = 1 fi;
	do
	:: n < 2 ->
		ring[n] = (n == 0 -> first + 1 : 2 - first);
		tail = n + 1;
		atomic { taken = word; word = false };
		if
		:: taken -> d_step { in_futex[0] = false; in_futex[1] = false }
		:: else
		fi;
		n++
	:: else -> break
	od
}

init
{
	atomic { run thread(0); run thread(1); run serve() }
}
