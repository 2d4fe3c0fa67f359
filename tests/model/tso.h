/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What x86 lets a processor do with its stores: they wait in a buffer of its own and reach memory later.  Each variable that one
 * process stores without a locked instruction has a slot here; process `drain` empties any slot at any time.  (The order
 * among slots is free: weaker than x86, so what holds here holds there.)
 */
#define SLOT(type, var)      type var; bool var##_waits; type var##_new
#define STORE(var, value)    d_step { var##_new = value; var##_waits = true }
#define FLUSH(var)           if :: var##_waits -> var = var##_new; var##_waits = false :: else fi
#define DRAIN(var)           :: atomic { var##_waits -> var = var##_new; var##_waits = false }
