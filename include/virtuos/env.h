/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `virtuos run`, a user who sets LD_PRELOAD by hand, and the runtime tell each other through the environment, and how a
 * supervisor is found.  The runtime reads these at the start of an image, hides them from the program, and puts them
 * back into the environment of each exec.
 */
#ifndef VOS_ENV_H
#define VOS_ENV_H

/* The policy: see policy.h.  Absent or empty: everything is native. */
#define VOS_ENV_POLICY     "VIRTUOS"
/* Number of the session descriptor that this process inherited.  Absent: the runtime starts a private supervisor, or
 * connects to the one that VIRTUOS_SUPERVISOR names, when the policy names a domain. */
#define VOS_ENV_SESSION    "VIRTUOS_SESSION"
/* Path of the socket of a supervisor that runs already; '@' first: abstract. */
#define VOS_ENV_SUPERVISOR "VIRTUOS_SUPERVISOR"
/*
 * Absolute path of a file, made and emptied by `virtuos run`.  It holds one JSON array; each process adds an object as it
 * ends or becomes another image: open, flock(LOCK_EX), then one pwrite of "[\n" OBJECT "\n]\n" when the file is empty, else of
 * ",\n" OBJECT "\n]\n" at its size less 3.  So it is whole JSON at every moment.  `virtuos stat FILE` sums the numbers of all
 * objects, whatever they are called.  At least:
 *	{"pid": 1, "program": "/bin/x", "calls": {"read": {"native": 1, "runtime": 0, "remote": 2}, …},
 *	 "sites": {"/lib/libc.so.6": {"jump": 1, …one for each kind of plan…, "fallback": 0}, …},
 *	 "fallback_hits": 0, "doorbells": 0, "spins": 0, "sleeps": 0, "bytes_in": 0, "bytes_out": 0}
 */
#define VOS_ENV_STATS      "VIRTUOS_STATS"
/* "1": the runtime says on stderr what it patched, what it left alone and why. */
#define VOS_ENV_VERBOSE    "VIRTUOS_VERBOSE"
/* Interpose the program of this name (its last path component) alone. */
#define VOS_ENV_ONLY       "VIRTUOS_ONLY"
/* "openat:native,read:native": bisects a misbehaving call. */
#define VOS_ENV_ROUTE      "VIRTUOS_ROUTE"
/* Folder of the plans for patching; else /var/cache/virtuos (root) or $XDG_CACHE_HOME/virtuos. */
#define VOS_ENV_CACHE      "VIRTUOS_CACHE"
/* The runtime's own, from image to image across exec: descriptor of a sealed memfd. */
#define VOS_ENV_STATE      "VIRTUOS_STATE"
/*
 * Likewise, for virtuos-enter alone: FD[,LOADER[,N]]:PATH.  FD is the program that it is to enter, LOADER its dynamic loader's descriptor
 * plus one (0: none), PATH the name by which it was executed.  N: the first N bytes of PATH stand before it and are where
 * the program lies, when that is a domain's affair.
 */
#define VOS_ENV_ENTER      "VIRTUOS_ENTER"

/*
 * Nothing: whoever makes an environment adds it so that our words in it, LD_PRELOAD included when no library but ours stands
 * there, are even in number.  Taken out they leave room for whole entries before the auxiliary vector; programs that walk from one to
 * the other (Go's, musl) then find their way.
 */
#define VOS_ENV_PAD        "VIRTUOS_PAD"
#define VOS_ENV_ALL        { VOS_ENV_POLICY, VOS_ENV_SESSION, VOS_ENV_SUPERVISOR, VOS_ENV_STATS, VOS_ENV_VERBOSE, VOS_ENV_ONLY, \
			     VOS_ENV_ROUTE, VOS_ENV_CACHE, VOS_ENV_STATE, VOS_ENV_ENTER, VOS_ENV_PAD }

/*
 * The system's supervisor, used only when --supervisor or VIRTUOS_SUPERVISOR says so ("system" stands for this path).
 * A connection to it is a session socket: each conversation on it begins with VOS_MSG_CALL.
 */
#define VOS_SUPERVISOR_SOCKET "/run/virtuos/supervisor.sock"

/*
 * A private supervisor is started as
 *
 *	virtuosd --private --session-fd=N --session=PID [--verbose]
 *
 * N is its end of a SOCK_SEQPACKET pair whose other end is the session descriptor of the program; it ends, with its
 * domains, once the last holder of that other end is gone.  PID is the program's process: the supervisor listens on the
 * abstract SOCK_SEQPACKET address VOS_SESSION_ABSTRACT, so that `virtuos domain` finds it: %lu is the inode of
 * /proc/self/ns/pid, for numbers of processes mean something within a PID namespace only, and %u is PID.  An abstract
 * address leaves nothing behind.  Each side checks the other's uid (SO_PEERCRED): the same, or root.
 * Whoever starts it forks twice, so that the program does not find a child that it never made, and in a session of its
 * own (setsid), so that no signal of a terminal reaches it.
 */
#define VOS_SESSION_ABSTRACT "virtuos-session-%lu-%u"

#endif
