/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared mappings of files of domains that cannot hand them over: two memfds for each (domain, dev, ino), what is mapped and its
 * shadow, so that all processes that map a file shared see each other's stores and know which of them the file has not got.
 * A talk that asked for a segment holds it for as long as it is open.  One of them fills it; the others wait for that.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT_MAX (1ULL << 46)
#define FILL_MS     60000
#define LOOK_MAX    (256u << 20) /* bytes that are compared, to see that the file has got everything: nobody else is served meanwhile */
/* Of one user: segments whose last holder left stores behind that the file has not got. */
#define LEFT_MAX    64u

struct vos_seg {
	struct vos_seg *next;      /* latest first */
	struct vos_dom *dom;
	uid_t    uid;
	uint64_t epoch, dev, ino, size;
	int      fd, shadow;
	unsigned holders;
	bool     left;             /* its last holder was killed: what differs from the shadow is still to be stored */
	struct vos_talk *filler;   /* who is to say that it can be used; NULL: it can */
	struct vos_talk *waiters;  /* for that */
};
static struct vos_seg *segments;

static void drop(struct vos_seg *s)
{
	struct vos_seg **link = &segments;

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	close(s->fd);
	close(s->shadow);
	free(s);
}

static void give(struct vos_talk *t)
{
	struct vos_seg *s = t->seg;
	const int fds[2] = { s->fd, s->shadow };
	struct vos_msg m;

	vos_msg_init(&m, VOS_MSG_SHMAP);
	m.aux[1] = s->filler != t ? VOS_SHMAP_READY : s->left ? VOS_SHMAP_LEFT : VOS_SHMAP_FRESH;
	m.aux[2] = s->size;
	vos_talk_answer(t, &m, fds, 2);
}

/* The file has got all that was stored. */
static bool clean(const struct vos_seg *s)
{
	static unsigned char a[65536], b[65536];
	uint64_t looked = 0;
	off_t at = 0;

	while (looked < LOOK_MAX) {
		off_t x = lseek(s->fd, at, SEEK_DATA), y = lseek(s->shadow, at, SEEK_DATA);
		ssize_t n, m;

		if (x < 0 && y < 0)
			return true;
		at = x < 0 || (y >= 0 && y < x) ? y : x;
		n = pread(s->fd, a, sizeof a, at);
		m = pread(s->shadow, b, sizeof b, at);
		if (n != m || n <= 0 || memcmp(a, b, (size_t)n))
			return false;
		at += n;
		looked += (uint64_t)n;
	}
	return false;
}

/* Those whose domain was started again meanwhile hold what nobody will ask for. */
static void keep_left(struct vos_seg *s)
{
	unsigned n = 0;

	s->left = true;
	for (struct vos_seg *i = segments, *next; i; i = next) {
		next = i->next;
		if (i->uid == s->uid && i->left && !i->holders && (++n > LEFT_MAX || i->epoch != i->dom->epoch))
			drop(i);
	}
}

void vos_segment_release(struct vos_talk *t)
{
	struct vos_seg *s = t->seg;

	t->seg = NULL;
	if (!s)
		return;
	s->holders--;
	if (s->filler == t) {
		s->filler = s->waiters;
		if (s->filler) {
			give(s->filler);
			return;
		}
		if (!s->left && !s->holders) {
			drop(s);
			return;
		}
	}
	if (s->holders)
		return;
	if (clean(s))
		drop(s);
	else
		keep_left(s);
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

/* A later word of a holder. */
static void said(struct vos_talk *t)
{
	struct vos_seg *s = t->seg;
	struct vos_msg m;

	if (t->msg.aux[3] != 1 || s->filler != t) {
		vos_talk_fail(t, -EBUSY, "one segment a conversation");
		return;
	}
	s->filler = NULL;
	s->left = false;
	while (s->waiters)
		give(s->waiters);
	vos_msg_init(&m, VOS_MSG_SHMAP);
	vos_talk_answer(t, &m, NULL, 0);
}

static struct vos_seg *make(const struct vos_talk *t)
{
	struct vos_seg *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->fd = memfd_create("virtuos-segment", MFD_CLOEXEC);
	s->shadow = memfd_create("virtuos-shadow", MFD_CLOEXEC);
	if (s->fd < 0 || s->shadow < 0) {
		close(s->fd);
		close(s->shadow);
		free(s);
		return NULL;
	}
	s->dom = t->dom;
	s->uid = t->peer.uid;
	s->epoch = t->dom->epoch;
	s->dev = t->msg.aux[0];
	s->ino = t->msg.aux[1];
	s->next = segments;
	segments = s;
	return s;
}

void vos_segment(struct vos_talk *t)
{
	uint64_t size = t->msg.aux[2];
	struct vos_seg *s;

	if (t->seg) {
		said(t);
		return;
	}
	if (size == 0 || size > SEGMENT_MAX) {
		vos_talk_fail(t, -EINVAL, "a segment of %llu bytes", (unsigned long long)size);
		return;
	}
	s = find(t);
	if (!s) {
		s = make(t);
		if (!s) {
			vos_talk_fail(t, -ENOMEM, "the supervisor is out of memory");
			return;
		}
		s->filler = t;
	} else if (s->left && !s->holders) {
		s->filler = t;
	}
	t->seg = s;
	s->holders++;
	if (size > s->size) {
		if (ftruncate(s->fd, (off_t)size) || ftruncate(s->shadow, (off_t)size)) {
			int r = -errno;

			vos_segment_release(t);
			vos_talk_fail(t, r, "cannot make a segment: %s", strerror(-r));
			return;
		}
		s->size = size;
	}
	if (s->filler && s->filler != t) {
		t->deadline = vos_msg_deadline(FILL_MS);
		vos_talk_wait(t, &s->waiters);
	} else {
		give(t);
	}
}
