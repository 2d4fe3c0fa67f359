/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes behind copied mappings: out of files, into segments, and back.  A segment is two memfds that all processes with a shared
 * mapping of the file have: what they map, and its shadow, what of that the file has got.  Both are read and written by calls:
 * others may shorten them at any time, and a load would then be a SIGBUS.
 */
#ifndef VOS_MAPFILE_H
#define VOS_MAPFILE_H

#include <sys/stat.h>
#include "../dispatch/fdmap.h"

/* A remote file with shared mappings in this process. */
struct vos_mapfile {
	struct vos_mapfile *next;
	struct vos_domain *domain;
	uint64_t dev, ino;
	struct vos_ofd *reader;      /* the open file that is read from.  A reference */
	struct vos_ofd *writer;      /* the one that write-back goes through; NULL: none was writable.  A reference */
	uint64_t size;               /* of the file as we know it */
	int segment, shadow, hold;   /* hold: -1 without a supervisor */
	int turn;                    /* the segment opened anew, for flock(): an open file of this process's own; -1 */
	bool forked;                 /* turn is the parent's */
	uint32_t maps;
};

long vos_mapfile_stat(struct vos_ofd *o, struct stat *st);
/*
 * Reads [off, off+len) of o into mem, which is zero; 0 or negative errno.  What lies past the end stays as it is.  Costs
 * what the data cost: holes are not read, pages of zeros not touched.
 */
long vos_mapfile_read(struct vos_ofd *o, unsigned char *mem, uint64_t off, uint64_t len);

/* With its segment, filled.  NULL and *ret_err. */
struct vos_mapfile *vos_mapfile_new(struct vos_ofd *o, const struct stat *st, long *ret_err);
void vos_mapfile_free(struct vos_mapfile *m);
/* What was stored in [from, to) goes to the file.  0 or negative errno: what the file did not take stays to be stored. */
long vos_mapfile_write_back(struct vos_mapfile *m, uint64_t from, uint64_t to);
/* The segment becomes as long as the file is; [off, off+len) of it is taken from there. */
long vos_mapfile_take_over(struct vos_mapfile *m, uint64_t off, uint64_t len);

#endif
