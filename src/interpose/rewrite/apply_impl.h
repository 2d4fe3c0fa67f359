/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the applying half share. */
#ifndef VOS_REWRITE_APPLY_IMPL_H
#define VOS_REWRITE_APPLY_IMPL_H

#include <virtuos/err.h>
#include <virtuos/raw.h>

#include "../rt/rt.h"
#include "apply.h"

/* ---- maps.c ---- */

struct vos_map {
	uint64_t lo, hi, off, ino;
	uint64_t whole_lo, whole_hi; /* as /proc says; lo and hi may be clipped by whoever has it */
	int prot;
	bool shared;
	const char *path; /* NUL-terminated, "" for anonymous memory */
	const void *head; /* where the first page of its file is mapped and can be read, if the search came by; else NULL */
};

struct vos_maps {
	char *buf;
	size_t cap, len;
	bool lent;
};

/* Reads /proc/self/maps.  0, or a negative errno. */
int vos_maps_read(struct vos_maps *m);
/* The same into memory that is lent to it, as long as that suffices. */
int vos_maps_read_into(struct vos_maps *m, char *buf, size_t cap);
void vos_maps_free(struct vos_maps *m);
/* The next mapping at *pos (0 at first), in order of addresses; false at the end.  Writes NULs into the buffer. */
bool vos_maps_next(struct vos_maps *m, size_t *pos, struct vos_map *ret);

/*
 * Maps size bytes readable and writable so that each byte is within a rel32 of each byte of [lo, hi).  NULL when there is
 * no room.
 */
void *vos_maps_near(uint64_t lo, uint64_t hi, size_t size);

/* ---- load.c ---- */

struct vos_plan_want {
	const char *path;               /* to open it again for the planner */
	struct vos_plan_id id;
	const struct vos_plan_head *plan; /* the result; NULL: none */
	size_t plan_len;                /* what to unmap; 0: the plan was allocated */
};

/* Reads the environment, finds the planner. */
void vos_plan_loader_init(const struct vos_rewrite_cfg *cfg, const char *own_path);

/* The identity of an open file.  0; -ENOEXEC when it is no ELF object; or a negative errno. */
int vos_plan_identify(int fd, uint64_t ino, struct vos_plan_id *ret);

/*
 * The same without opening it, by its first page in memory and by what lies at its path now.  A negative errno also where that
 * does not suffice.
 */
int vos_plan_identify_mapped(const char *path, uint64_t ino, const void *head, size_t len, struct vos_plan_id *ret);

/* Loads the plans from the cache; asks the planner for those that are missing. */
void vos_plan_load(struct vos_plan_want *want, unsigned n);

/* The plan of raw code, always from the planner.  0 or a negative errno. */
int vos_plan_memory(const void *code, size_t len, struct vos_plan_want *ret);

void vos_plan_release(struct vos_plan_want *w);

/* ---- patch.c ---- */

#define VOS_REWRITE_OBJECTS 2048u
#define VOS_REWRITE_SEEN    256u

/* One executable mapping. */
struct vos_object {
	uint64_t lo, hi, bias;
	struct vos_plan_want want; /* holds the plan; none: its sites are only suspected */
	uint64_t area, area_len;   /* of the stubs */
	uint32_t *stub_at;         /* by site: offset in the area; 0: not patched */
	uint32_t kind[VOS_PLAN_KINDS], left;
	char name[256];
	_Atomic uint32_t live;
};

struct vos_rewrite {
	_Atomic uint32_t lock;
	_Atomic uint32_t readers;  /* of objects, without the lock */
	_Atomic uint32_t nobjects; /* slots used so far */
	_Atomic uint32_t left;
	const void *entry;
	uint64_t own;
	bool threads, up;
	_Atomic bool confined;     /* no more system calls */
	uint32_t anon_runs;
	uint32_t other_left;       /* suspects for which no object was to be had */
	uint32_t nseen;
	uint64_t seen[VOS_REWRITE_SEEN]; /* hashes of byte pairs that the planner called no instruction */
	struct vos_object object[VOS_REWRITE_OBJECTS]; /* touched on demand */
};

extern struct vos_rewrite *vos_rewrite_state;

/* A free object for [lo, hi), not live yet; NULL when there are too many. */
struct vos_object *vos_object_begin(uint64_t lo, uint64_t hi, const char *name);

/* The file that a mapping shows.  fd and path may be missing (-1, NULL); an ino that is not 0 is what the path must lead to. */
struct vos_file {
	int fd;
	const char *path;
	uint64_t ino, off;
};

/*
 * Patches an object whose plan is set (or missing: its byte pairs are then suspects).  prot: what its mapping has now and
 * gets back.  Returns how many sites are left.  The object is live afterwards, unless it has no site at all.
 */
uint32_t vos_object_patch(struct vos_object *o, int prot, const struct vos_file *file);

/* Makes an object live of which only is known that n sites may be in it.  Returns n. */
uint32_t vos_object_suspect(struct vos_object *o, uint32_t n);

void vos_object_drop(struct vos_object *o);

/* Gives the program its own bytes back, where a patch is in place; the text is then readable and executable. */
bool vos_object_undo(struct vos_object *o);

/* Is any of its patches still in place? */
bool vos_object_intact(const struct vos_object *o);

/* Is addr a syscall instruction that some object has patched, and is the patch in place? */
bool vos_object_covers(uint64_t addr);

/* Sums up what is left. */
void vos_objects_count(void);

/* The bytes 0f 05. */
const uint8_t *vos_pairs_find(const uint8_t *p, const uint8_t *end);
uint32_t vos_pairs_count(uint64_t lo, uint64_t hi);

#endif
