/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The families in the order of their bring-up. */
#include "../dispatch/fdmap.h"
#include "../dispatch/mapping.h"
#include "../dispatch/path.h"
#include "../rewrite/apply.h"
#include "room.h"

/* ---- patches ---- */

static int patches_fork_prepare(struct vos_proc *p)
{
	(void)p;
	vos_rewrite_fork_prepare();
	return 0;
}

static void patches_fork_parent(struct vos_proc *p, long result)
{
	(void)p;
	(void)result;
	vos_rewrite_fork_done(false);
}

static void patches_fork_child(struct vos_proc *p)
{
	(void)p;
	vos_rewrite_fork_done(true);
}

static const struct vos_room patches = {
	.name = "patches",
	.fork_prepare = patches_fork_prepare,
	.fork_parent = patches_fork_parent,
	.fork_child = patches_fork_child,
};

extern const struct vos_room vos_net_room;           /* calls/net_room.c */

/* ---- connections to domains ---- */

/* One fork at a time in this memory (calls/thread.c). */
static struct vos_fork_conns forked;

static int remote_fork_prepare(struct vos_proc *p)
{
	return p->ndomains ? vos_remote_fork_prepare(p, vos_fdmap_domains(p), &forked) : 0;
}

static void remote_fork_parent(struct vos_proc *p, long result)
{
	(void)result;
	if (p->ndomains)
		vos_remote_fork_parent(p, &forked);
}

static void remote_fork_child(struct vos_proc *p)
{
	if (p->ndomains)
		vos_remote_fork_child(p, &forked);
}

static int remote_vfork(struct vos_proc *child, struct vos_proc *parent)
{
	return parent->ndomains ? vos_remote_vfork(child, parent) : 0;
}

static void remote_drop(struct vos_proc *child)
{
	if (child->ndomains)
		vos_remote_vfork_done(child);
}

static void remote_thread_exit(struct vos_carrier *c)
{
	if (c->proc->ndomains)
		vos_remote_carrier_gone(c);
}

static void remote_process_exit(struct vos_proc *p)
{
	if (p->ndomains)
		vos_remote_leave(p);
}

static void remote_cred_changed(struct vos_proc *p)
{
	if (p->ndomains)
		vos_remote_recred(p);
}

static const struct vos_room remote = {
	.name = "domains",
	.fork_prepare = remote_fork_prepare,
	.fork_parent = remote_fork_parent,
	.fork_child = remote_fork_child,
	.vfork = remote_vfork,
	.drop = remote_drop,
	.thread_exit = remote_thread_exit,
	.process_exit = remote_process_exit,
	.cred_changed = remote_cred_changed,
};

/* ---- descriptors, working directory, mappings ---- */

static int fdmap_fork_prepare(struct vos_proc *p)
{
	vos_fdmap_fork_prepare(p);
	return 0;
}

static void fdmap_fork_parent(struct vos_proc *p, long result)
{
	(void)result;
	vos_fdmap_fork_parent(p);
}

static const struct vos_room fdmap = {
	.name = "descriptors",
	.fork_prepare = fdmap_fork_prepare,
	.fork_parent = fdmap_fork_parent,
	.fork_child = vos_fdmap_fork_child,
	.vfork = vos_fdmap_vfork,
	.drop = vos_fdmap_drop,
};

static int path_vfork(struct vos_proc *child, struct vos_proc *parent)
{
	return parent->ndomains ? vos_path_vfork(child, parent) : 0;
}

static void path_drop(struct vos_proc *child)
{
	if (child->ndomains)
		vos_path_drop(child);
}

static void path_fork_child(struct vos_proc *p)
{
	if (p->ndomains)
		vos_path_fork_child(p);
}

static const struct vos_room path = {
	.name = "working directory",
	.fork_child = path_fork_child,
	.vfork = path_vfork,
	.drop = path_drop,
};

static void mapping_fork_child(struct vos_proc *p)
{
	(void)p;
	if (vos_mapping_any())
		vos_mapping_fork_child();
}

static void mapping_process_exit(struct vos_proc *p)
{
	(void)p;
	if (vos_mapping_any())
		vos_mapping_flush_all();
}

static const struct vos_room mapping = {
	.name = "mappings",
	.fork_child = mapping_fork_child,
	.process_exit = mapping_process_exit,
};

const struct vos_room *const vos_rooms[] = {
	&remote,
	&vos_net_room,
	&path,
	&mapping,
	&patches,
	&fdmap, /* last, so first after a fork: it counts references anew in the child, and the others add theirs */
	NULL,
};
