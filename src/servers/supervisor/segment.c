/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared mappings of remote files: one memfd for each (domain, dev, ino), so that all processes that map a file shared see
 * each other's stores.  A talk that asked for a segment holds it for as long as it is open.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT_MAX (1ULL << 46)

struct vos_seg {
	struct vos_seg *next;
	struct vos_dom *dom;
	uid_t    uid;
	uint64_t epoch, dev, ino, size;
	int      fd;
	unsigned holders;
};
static struct vos_seg *segments;

void vos_segment_release(struct vos_talk *t)
{
	struct vos_seg *s = t->seg, **link = &segments;

	t->seg = NULL;
	if (!s || --s->holders)
		return;
	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	close(s->fd);
	free(s);
}

/* What the client says of dev and ino cannot be checked here; so users share no segment, whatever they say. */
static struct vos_seg *find(const struct vos_talk *t)
{
	const struct vos_msg *m = &t->msg;
	struct vos_seg *s = segments;

	while (s && !(s->dom == t->dom && s->uid == t->peer.uid && s->epoch == t->dom->epoch && s->dev == m->aux[0] &&
		      s->ino == m->aux[1]))
		s = s->next;
	return s;
}

void vos_segment(struct vos_talk *t)
{
	uint64_t size = t->msg.aux[2];
	struct vos_seg *s = find(t);
	struct vos_msg m;
	bool fresh = !s;

	if (t->seg) {
		vos_talk_fail(t, -EBUSY, "one segment a conversation");
		return;
	}
	if (size == 0 || size > SEGMENT_MAX) {
		vos_talk_fail(t, -EINVAL, "a segment of %llu bytes", (unsigned long long)size);
		return;
	}
	if (fresh) {
		s = calloc(1, sizeof *s);
		if (s)
			s->fd = memfd_create("virtuos-segment", MFD_CLOEXEC);
		if (!s || s->fd < 0) {
			free(s);
			vos_talk_fail(t, -ENOMEM, "the supervisor is out of memory");
			return;
		}
		*s = (struct vos_seg){ segments, t->dom, t->peer.uid, t->dom->epoch, t->msg.aux[0], t->msg.aux[1], 0, s->fd, 0 };
		segments = s;
	}
	t->seg = s;
	s->holders++;
	if (size > s->size) {
		if (ftruncate(s->fd, (off_t)size)) {
			int r = -errno;

			vos_segment_release(t);
			vos_talk_fail(t, r, "cannot make a segment: %s", strerror(-r));
			return;
		}
		s->size = size;
	}
	vos_msg_init(&m, VOS_MSG_SHMAP);
	m.aux[1] = fresh;
	m.aux[2] = s->size;
	vos_talk_answer(t, &m, &s->fd, 1);
}
