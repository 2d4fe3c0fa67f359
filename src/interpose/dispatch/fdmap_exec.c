/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor map across fork, vfork and exec. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include "fdmap_impl.h"
#include "path.h"

static void *map_pages(size_t len)
{
	long a = vos_raw6(__NR_mmap, 0, (long)len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return vos_is_err(a) ? NULL : (void *)a;
}

/* One mapping, of which a process touches a few pages. */
struct tables {
	struct vos_ofd *ofd[VOS_FDS_MAX];
	uint8_t fdkind[VOS_FDS_MAX];
	struct vos_fdmap map;
};

int vos_fdmap_init(struct vos_proc *p)
{
	struct tables *t = map_pages(sizeof *t);

	if (!t)
		return -ENOMEM;
	t->map.placeholder = -1;
	p->ofd = t->ofd;
	p->fdkind = t->fdkind;
	p->priv[VOS_PRIV_FDMAP] = &t->map;
	return 0;
}

void vos_fdmap_locks_taken(struct vos_proc *p)
{
	vos_fdmap_of(p)->posix_locks = true;
}

/* ---- fork ------------------------------------------------------------------------------------------------------------ */

void vos_fdmap_fork_prepare(struct vos_proc *p)
{
	vos_spin_lock(&vos_fdmap_of(p)->lock);
	vos_spin_lock(&vos_ofd_pool.lock);
}

void vos_fdmap_fork_parent(struct vos_proc *p)
{
	vos_spin_unlock(&vos_ofd_pool.lock);
	vos_spin_unlock(&vos_fdmap_of(p)->lock);
}

void vos_fdmap_fork_child(struct vos_proc *p)
{
	struct vos_fdmap *m = vos_fdmap_of(p);

	m->posix_locks = false; /* not inherited */
	/*
	 * References of calls that other threads of the parent had under way came along and would never be given back: count
	 * anew from what this process really has.  Mappings and the cwd add theirs after this.
	 */
	for (struct vos_ofd_chunk *c = vos_ofd_pool.chunks; c; c = c->next)
		for (size_t i = 0; i < VOS_OFD_PER_CHUNK; i++)
			c->ofd[i].refs = c->ofd[i].slots = 0;
	for (uint32_t fd = vos_fdmap_next(p, 0); fd < VOS_FDS_MAX; fd = vos_fdmap_next(p, fd + 1))
		if (p->ofd[fd]) {
			atomic_fetch_add(&p->ofd[fd]->refs, 1);
			atomic_fetch_add(&p->ofd[fd]->slots, 1);
		}
	vos_spin_unlock(&vos_ofd_pool.lock);
	vos_spin_unlock(&m->lock);
}

int vos_fdmap_vfork(struct vos_proc *child, struct vos_proc *parent)
{
	struct vos_fdmap *m, *from = vos_fdmap_of(parent);
	int err;

	child->fdkind = NULL;
	child->ofd = NULL;
	child->priv[VOS_PRIV_FDMAP] = NULL;
	err = vos_fdmap_init(child);
	if (err < 0)
		return err;
	m = vos_fdmap_of(child);
	m->borrowed = true;
	vos_spin_lock(&from->lock);
	m->high = from->high;
	m->open = from->open;
	/* Its table holds the parent's placeholder under the same number; own[] stays empty: those numbers are the parent's. */
	m->placeholder = from->placeholder;
	for (uint32_t fd = vos_fdmap_next(parent, 0); fd < VOS_FDS_MAX; fd = vos_fdmap_next(parent, fd + 1)) {
		struct vos_ofd *o = parent->ofd[fd];

		child->fdkind[fd] = parent->fdkind[fd];
		child->ofd[fd] = o;
		if (o) {
			vos_ofd_ref(o);
			atomic_fetch_add(&o->slots, 1);
		}
	}
	vos_spin_unlock(&from->lock);
	return 0;
}

void vos_fdmap_drop(struct vos_proc *p)
{
	if (!vos_fdmap_of(p))
		return;
	for (uint32_t fd = vos_fdmap_next(p, 0); fd < VOS_FDS_MAX; fd = vos_fdmap_next(p, fd + 1))
		if (p->ofd[fd]) {
			atomic_fetch_sub(&p->ofd[fd]->slots, 1);
			vos_ofd_put(p->ofd[fd]);
		}
	vos_raw2(__NR_munmap, VOS_PTR(p->ofd), sizeof(struct tables));
	p->priv[VOS_PRIV_FDMAP] = NULL;
	p->fdkind = NULL;
	p->ofd = NULL;
}

uint32_t vos_fdmap_domains(const struct vos_proc *p)
{
	uint32_t mask = 0;

	for (uint32_t fd = vos_fdmap_next(p, 0); fd < VOS_FDS_MAX; fd = vos_fdmap_next(p, fd + 1)) {
		const struct vos_ofd *o = p->ofd[fd];

		if (o && o->domain)
			mask |= 1U << o->domain->index;
	}
	return mask | vos_path_domains(p);
}

/* ---- exec ------------------------------------------------------------------------------------------------------------ */

#define SAVE_MAGIC 0x70616d64666f7676ULL
#define NO_DOMAIN  0xffffffffU

/* One record for each slot; the first slot of an ofd carries the ofd.  `size` covers what follows it. */
struct save_slot {
	uint32_t size, fd, kind;
	uint32_t ofd;                /* number of the ofd from 1; 0: none (a marked directory) */
	uint32_t has_ofd, domain;
	int32_t  rfd;
	uint32_t mode, flags, locked, is_dgram, family, blob;
	uint32_t spare;
	uint64_t epoch;
};

struct save_head {
	uint64_t magic;
	uint32_t ofds, posix_locks;
};
#define SAVE_END 0xffffffffU /* in place of the fd: the last record */

static int write_all(int fd, const void *data, size_t len)
{
	for (const char *p = data; len;) {
		long n = vos_raw3(__NR_write, fd, VOS_PTR(p), (long)len);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -ENOSPC;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ofd → number, by the ofd's place in its chunk: no table is needed. */
static uint32_t ofd_number(const struct vos_ofd *o)
{
	uint32_t base = 1;

	for (struct vos_ofd_chunk *c = vos_ofd_pool.chunks; c; c = c->next, base += VOS_OFD_PER_CHUNK)
		if (o >= c->ofd && o < c->ofd + VOS_OFD_PER_CHUNK)
			return base + (uint32_t)(o - c->ofd);
	return 0;
}

static int save_ofd(struct vos_ofd *o, int out, uint32_t fd, uint8_t kind, const uint8_t *seen)
{
	struct { struct save_slot s; char blob[VOS_FD_SAVE_MAX]; } r;

	memset(&r.s, 0, sizeof r.s);
	r.s.fd = fd;
	r.s.kind = kind;
	r.s.size = sizeof r.s;
	if (o) {
		r.s.ofd = ofd_number(o);
		r.s.domain = o->domain ? o->domain->index : NO_DOMAIN;
	}
	if (o && !seen[r.s.ofd]) {
		r.s.has_ofd = 1;
		r.s.rfd = o->rfd;
		r.s.epoch = o->epoch;
		r.s.mode = o->mode;
		r.s.flags = o->flags;
		r.s.locked = o->locked;
		r.s.is_dgram = o->is_dgram;
		r.s.family = o->family ? o->family->id : 0;
		if (o->family && o->family->save) {
			long n = o->family->save(o, r.blob, sizeof r.blob);

			if (n < 0)
				return (int)n;
			r.s.blob = (uint32_t)n;
			r.s.size += (r.s.blob + 7) & ~7U;
		}
	}
	return write_all(out, &r, r.s.size);
}

int vos_fdmap_save(struct vos_proc *p, int out)
{
	struct save_head h = { .magic = SAVE_MAGIC, .posix_locks = vos_fdmap_of(p)->posix_locks };
	struct save_slot end = { .fd = SAVE_END, .size = sizeof end };
	size_t seen_size = 1;
	uint8_t *seen;
	int err;

	for (struct vos_ofd_chunk *c = vos_ofd_pool.chunks; c; c = c->next)
		seen_size += VOS_OFD_PER_CHUNK;
	seen = map_pages(seen_size);
	if (!seen)
		return -ENOMEM;
	h.ofds = (uint32_t)seen_size;
	err = write_all(out, &h, sizeof h);
	for (uint32_t fd = vos_fdmap_next(p, 0); err == 0 && fd < VOS_FDS_MAX; fd = vos_fdmap_next(p, fd + 1)) {
		if (p->fdkind[fd] == VOS_FDKIND_OWN)
			continue;
		err = save_ofd(p->ofd[fd], out, fd, p->fdkind[fd], seen);
		if (p->ofd[fd])
			seen[ofd_number(p->ofd[fd])] = 1;
	}
	/*
	 * Open files without a number here: a mapping's, and in a vfork child those that it closed.  The proxy of the new image has them
	 * all, and a peer would wait for their end; so they travel as records of native slots, and are closed there.
	 */
	for (struct vos_ofd_chunk *c = vos_ofd_pool.chunks; c && err == 0; c = c->next)
		for (size_t i = 0; i < VOS_OFD_PER_CHUNK && err == 0; i++) {
			struct vos_ofd *o = &c->ofd[i];

			/* The working directory travels by itself. */
			if (!o->refs || seen[ofd_number(o)] || (o->family && o->family->id == VOS_FAMILY_CWD) || (o->domain && o->rfd < 0))
				continue;
			err = save_ofd(o, out, 0, VOS_FDKIND_NATIVE, seen);
		}
	if (err == 0)
		err = write_all(out, &end, sizeof end);
	vos_raw2(__NR_munmap, VOS_PTR(seen), (long)seen_size);
	return err;
}

static struct vos_ofd *load_ofd(struct vos_proc *p, const struct save_slot *s)
{
	struct vos_domain *d = s->domain < p->ndomains ? p->domain[s->domain] : NULL;
	struct vos_ofd *o = vos_ofd_new(d, s->rfd, s->mode, s->flags);

	if (!o)
		return NULL;
	o->epoch = s->epoch;
	o->locked = s->locked;
	o->is_dgram = s->is_dgram;
	if (s->family && s->family < VOS_FAMILY_MAX && vos_ofd_families[s->family]) {
		o->family = vos_ofd_families[s->family];
		if (o->family->load && o->family->load(o, s + 1, s->blob) < 0)
			o->family = NULL;
	}
	return o;
}

int vos_fdmap_load(struct vos_proc *p, const void *data, size_t len, size_t *ret_used)
{
	const char *at = data, *end = at + len;
	const struct save_head *h = data;
	struct vos_ofd **by_number;

	if (len < sizeof *h || h->magic != SAVE_MAGIC || h->ofds > VOS_FDS_MAX * 2)
		return -EINVAL;
	by_number = map_pages(h->ofds * sizeof *by_number);
	if (!by_number)
		return -ENOMEM;
	vos_fdmap_of(p)->posix_locks = h->posix_locks;
	at += sizeof *h;
	for (;;) {
		const struct save_slot *s = (const void *)at;
		struct vos_ofd *o;

		if ((size_t)(end - at) < sizeof *s || s->size < sizeof *s + s->blob || s->size > (size_t)(end - at))
			break;
		at += s->size;
		if (s->ofd >= h->ofds || s->fd >= VOS_FDS_MAX)
			break;
		if (s->has_ofd && !by_number[s->ofd])
			by_number[s->ofd] = load_ofd(p, s);
		if (s->kind == VOS_FDKIND_NATIVE)
			continue;
		/* Closed by the exec: close-on-exec is kept by the placeholder. */
		if (vos_raw2(__NR_fcntl, s->fd, F_GETFD) < 0)
			continue;
		o = s->ofd ? by_number[s->ofd] : NULL;
		if (o) {
			vos_ofd_ref(o);
			vos_fd_commit((int)s->fd, o);
		} else if (s->kind == VOS_FDKIND_DIR) {
			vos_fd_mark_dir((int)s->fd, true);
		}
	}
	/* The reference of load_ofd(): what has no slot left is closed in the domain. */
	for (uint32_t i = 0; i < h->ofds; i++)
		vos_ofd_put(by_number[i]);
	vos_raw2(__NR_munmap, VOS_PTR(by_number), (long)(h->ofds * sizeof *by_number));
	*ret_used = (size_t)(at - (const char *)data);
	return 0;
}
