/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two lanes of one region whose owners sleep in poll on the one `wake` descriptor.  Each hears of its rings through an
 * edge-triggered epoll set of its own.
 *
 *	-DSHARED_DRAIN    both poll and drain the descriptor itself                     (must fail: one robs the other)
 */
byte lane[2];           /* asleep; locked instructions only: no store buffers */
byte cq[2];
bool edge[2];           /* the set of this owner has an event */
bool level;             /* the descriptor is readable */

#ifdef SHARED_DRAIN
#define RING         level = true
#define HEARD(i)     level
#define TAKE(i)      level = false
#else
#define RING         edge[0] = true; edge[1] = true
#define HEARD(i)     edge[i]
#define TAKE(i)      edge[i] = false
#endif

proctype owner(byte i)
{
	do
	:: cq[i] == 1 -> break
	:: else ->
		lane[i] = 2;
		if
		:: cq[i] == 1
		:: else ->
			/* ppoll returns when it is readable; the descriptor is read in another call. */
			HEARD(i);
			TAKE(i)
		fi;
		lane[i] = 0
	od
}

proctype serve(byte i)
{
	byte mode;

	cq[i] = 1;
	atomic { mode = lane[i]; lane[i] = 0 };
	if
	:: mode == 2 -> d_step { RING }
	:: else
	fi
}

init
{
	atomic { run owner(0); run owner(1); run serve(0); run serve(1) }
}
