/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Epoll sets across exec.  The remote sets live on in their proxies, so their descriptors and the list of members travel;
 * members are looked up again at the first use, when all descriptors of the new image are known.
 */
#include "epoll_impl.h"

struct saved_part {
	uint32_t index;
	int32_t  rfd;
	uint64_t epoch;
};

struct saved_item {
	int32_t  fd, rfd;
	uint64_t epoch, data;
	uint32_t events;
	uint32_t flags;              /* 1: duplicate, 2: dead */
};

struct saved_head {
	uint32_t nparts, nitems, natives;
};

long vos_epoll_save(struct vos_ofd *o, void *buf, size_t cap)
{
	struct vos_epoll *e = o->epoll;
	struct saved_head *h = buf;
	struct saved_part *p = (void *)(h + 1);
	struct saved_item *s;
	size_t room;

	if (!e || cap < sizeof *h + VOS_DOMAINS_MAX * sizeof *p)
		return 0;
	h->natives = e->natives;
	h->nitems = 0;
	h->nparts = e->nparts;
	for (uint32_t i = 0; i < h->nparts; i++)
		*p++ = (struct saved_part){ e->part[i].d->index, e->part[i].rfd, e->part[i].epoch };
	s = (void *)p;
	/* More members than fit are forgotten here; their remote registration stays and still delivers. */
	room = (cap - (size_t)((char *)s - (char *)buf)) / sizeof *s;
	vos_epoll_locked();
	for (uint32_t i = 0; i < e->nbuckets; i++)
		for (struct vos_epoll_item *it = e->bucket[i]; it && h->nitems < room; it = it->next) {
			*s++ = (struct saved_item){ it->fd, it->rfd, it->epoch, it->data, it->events,
						    (uint32_t)it->duplicate | (uint32_t)it->dead << 1 };
			h->nitems++;
		}
	vos_epoll_unlocked();
	return (long)((char *)s - (char *)buf);
}

int vos_epoll_load(struct vos_ofd *o, const void *buf, size_t len)
{
	const struct saved_head *h = buf;
	const struct saved_part *p = (const void *)(h + 1);
	struct vos_proc *proc = vos_self()->proc;
	struct vos_epoll *e;
	size_t items;

	if (len < sizeof *h || h->nparts > VOS_DOMAINS_MAX)
		return -EPROTO;
	items = h->nitems * sizeof(struct saved_item);
	if (len != sizeof *h + h->nparts * sizeof *p + items)
		return -EPROTO;
	e = vos_epoll_new();
	if (!e)
		return -ENOMEM;
	e->ofd = o;
	e->natives = h->natives;
	for (uint32_t i = 0; i < h->nparts; i++) {
		if (p[i].index >= proc->ndomains)
			continue;
		e->part[e->nparts] = (struct vos_epoll_remote){ .d = proc->domain[p[i].index], .rfd = p[i].rfd, .epoch = p[i].epoch };
		e->nparts = e->nparts + 1;
	}
	if (items) {
		e->saved = vos_alloc(items);
		if (e->saved) {
			memcpy(e->saved, p + h->nparts, items);
			e->saved_len = items;
		}
	}
	o->epoll = e;
	return 0;
}

void vos_epoll_resolve(struct vos_epoll *e)
{
	struct saved_item *s;
	size_t n;

	if (!e->saved)
		return;
	vos_epoll_locked();
	s = e->saved;
	n = e->saved_len / sizeof *s;
	e->saved = NULL;
	vos_epoll_unlocked();
	for (size_t i = 0; s && i < n; i++) {
		struct vos_ofd *o = vos_fd_get((uint32_t)s[i].fd);

		struct vos_epoll_item as = {
			.fd = s[i].fd, .rfd = s[i].rfd, .epoch = s[i].epoch, .events = s[i].events, .data = s[i].data,
			.duplicate = s[i].flags & 1, .dead = s[i].flags >> 1 & 1,
		};

		/* Closed by the exec: the kernel there has dropped it. */
		if (o && (o->epoll || o->domain))
			vos_epoll_adopt_item(e, &as, o);
		vos_ofd_put(o);
	}
	vos_free(s);
}
