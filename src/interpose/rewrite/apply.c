/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which memory is patched, and when: all at the start, then each mapping before it becomes executable.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "apply_impl.h"

#define ANON_RUNS 64u /* planners started for anonymous code, at most */

static struct vos_rewrite state, *st; /* vos_rewrite_state */
static char start_maps[64 << 10];

static bool is_file(const struct vos_map *m)
{
	return m->path[0] == '/' && m->ino && strncmp(m->path, "/memfd:", 7) && strncmp(m->path, "/SYSV", 5) &&
	       strncmp(m->path, "/dev/zero", 9);
}

/* [vdso] and [vsyscall] are the kernel's. */
static bool is_kernels(const struct vos_map *m)
{
	return m->path[0] == '[' && (m->path[1] == 'v' || !strcmp(m->path, "[uprobes]"));
}

static bool is_own(const struct vos_map *m)
{
	return m->lo <= st->own && st->own < m->hi;
}

static struct vos_object *live_object(uint32_t i)
{
	return atomic_load_explicit(&st->object[i].live, memory_order_acquire) ? &st->object[i] : NULL;
}

static uint32_t count_objects(void)
{
	return atomic_load_explicit(&st->nobjects, memory_order_acquire);
}

static bool overlaps_live(uint64_t lo, uint64_t hi)
{
	for (uint32_t i = 0; i < count_objects(); i++) {
		struct vos_object *o = live_object(i);

		if (o && o->lo < hi && lo < o->hi)
			return true;
	}
	return false;
}

/* The range is gone.  suspects: only what was never patched goes. */
static void forget(uint64_t lo, uint64_t hi, bool suspects)
{
	for (uint32_t i = 0; i < count_objects(); i++) {
		struct vos_object *o = live_object(i);

		if (!o || o->hi <= lo || hi <= o->lo || (suspects && o->want.plan))
			continue;
		if (lo <= o->lo && o->hi <= hi)
			vos_object_drop(o);
		else if (lo <= o->lo)
			o->lo = hi;
		else if (o->hi <= hi)
			o->hi = lo;
	}
}

/* The range may have been written to: what is no longer patched is no longer an object. */
static void recheck(uint64_t lo, uint64_t hi)
{
	for (uint32_t i = 0; i < count_objects(); i++) {
		struct vos_object *o = live_object(i);

		if (o && lo <= o->lo && o->hi <= hi && !vos_object_intact(o))
			vos_object_drop(o);
	}
}

/* Nothing is known, or can be done, about this range: n sites are suspected in it. */
static uint32_t suspect(uint64_t lo, uint64_t hi, const char *name, uint32_t n)
{
	struct vos_object *o = n ? vos_object_begin(lo, hi, name) : NULL;

	if (!o) {
		st->other_left += n;
		return n;
	}
	return vos_object_suspect(o, n);
}

/* Nothing may be asked any more: whatever was there is replaced by something unknown. */
static uint32_t replace(uint64_t lo, uint64_t hi)
{
	forget(lo, hi, true);
	return overlaps_live(lo, hi) ? 0 : suspect(lo, hi, "", 1);
}

/* ---- raw code ---- */

static uint64_t hash_around(const uint8_t *p, uint64_t lo, uint64_t hi)
{
	uint64_t from = (uint64_t)p - lo > 64 ? (uint64_t)p - 64 : lo, to = hi - (uint64_t)p > 64 ? (uint64_t)p + 64 : hi;
	uint64_t h = (uint64_t)p * 0x9e3779b97f4a7c15ull;

	for (uint64_t at = from; at < to; at++)
		h = (h ^ *(const uint8_t *)at) * 0x100000001b3ull;
	return h;
}

static bool was_seen(uint64_t hash)
{
	for (uint32_t i = 0; i < VOS_REWRITE_SEEN && i < st->nseen; i++)
		if (st->seen[i] == hash)
			return true;
	return false;
}

/* Is each byte pair of the range known: called no instruction before, or patched and kept? */
static bool all_known(uint64_t lo, uint64_t hi)
{
	const uint8_t *p = (const uint8_t *)lo;

	while ((p = vos_pairs_find(p, (const uint8_t *)hi))) {
		if (!was_seen(hash_around(p, lo, hi)) && !vos_object_covers((uint64_t)p))
			return false;
		p += 2;
	}
	return true;
}

/* A plan has been made: pairs that are no site of it are none. */
static void remember_pairs(const struct vos_plan_head *h, uint64_t lo, uint64_t hi)
{
	const uint8_t *p = (const uint8_t *)lo;
	uint32_t i = 0;

	while ((p = vos_pairs_find(p, (const uint8_t *)hi))) {
		while (i < h->nsites && vos_plan_sites(h)[i].vaddr < (uint64_t)p)
			i++;
		if (i == h->nsites || vos_plan_sites(h)[i].vaddr != (uint64_t)p)
			st->seen[st->nseen++ % VOS_REWRITE_SEEN] = hash_around(p, lo, hi);
		p += 2;
	}
}

static uint32_t patch_raw(uint64_t lo, uint64_t hi, int prot, const char *name)
{
	struct vos_plan_want want = {0};
	struct vos_object *o;

	recheck(lo, hi);
	forget(lo, hi, true);
	if (all_known(lo, hi))
		return 0;
	if (st->anon_runs >= ANON_RUNS || vos_plan_memory((const void *)lo, hi - lo, &want))
		return suspect(lo, hi, name, vos_pairs_count(lo, hi));
	st->anon_runs++;
	if (want.plan->vaddr_lo == lo)
		remember_pairs(want.plan, lo, hi);
	else
		vos_plan_release(&want);
	o = vos_object_begin(lo, hi, name);
	if (o) {
		o->want = want;
		return vos_object_patch(o, prot, &(struct vos_file){.fd = -1});
	}
	vos_plan_release(&want);
	return suspect(lo, hi, name, vos_pairs_count(lo, hi));
}

/* ---- files ---- */

struct file_map {
	struct vos_map m;
	struct vos_plan_want want;
	int fd;     /* -1: not open */
	bool known; /* false: its file cannot be had, or is no ELF object: raw code */
	char link[80];
};

static bool open_as(struct file_map *f, const char *path)
{
	long fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(path), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);

	f->fd = -1;
	if (vos_is_err(fd))
		return false;
	/* By now the path may name another file. */
	if (vos_plan_identify((int)fd, f->m.ino, &f->want.id)) {
		vos_raw1(SYS_close, fd);
		return false;
	}
	f->fd = (int)fd;
	f->known = true;
	f->want.path = path;
	return true;
}

static void find_file(struct file_map *f)
{
	f->fd = -1;
	/* Its name and its first page say all that is needed, as a rule: nothing to open. */
	if (f->m.head && !vos_plan_identify_mapped(f->m.path, f->m.ino, f->m.head, 4096, &f->want.id)) {
		f->known = true;
		f->want.path = f->m.path;
		return;
	}
	if (open_as(f, f->m.path))
		return;
	/* Deleted, or in another mount namespace: the mapping itself leads to it, for those who may look (root). */
	vos_fmt(f->link, sizeof f->link, "/proc/%d/map_files/%lx-%lx", (int)vos_raw0(SYS_getpid), f->m.whole_lo, f->m.whole_hi);
	open_as(f, f->link);
}

static uint32_t patch_file(struct file_map *f)
{
	struct vos_object *o = f->known ? vos_object_begin(f->m.lo, f->m.hi, f->m.path) : NULL;
	struct vos_file file = {.fd = f->fd, .path = f->want.path, .ino = f->m.ino, .off = f->m.off};

	if (!o) {
		vos_plan_release(&f->want);
		return patch_raw(f->m.lo, f->m.hi, f->m.prot, f->m.path);
	}
	o->want = f->want;
	o->want.path = NULL;
	return vos_object_patch(o, f->m.prot, &file);
}

/* Patches n mappings of files; the planner is asked once for all of them. */
static uint32_t patch_files(const struct vos_map *list, uint32_t n)
{
	struct file_map *f = vos_alloc((n + 1) * sizeof *f);
	struct vos_plan_want *want = vos_alloc((n + 1) * sizeof *want);
	uint32_t left = 0, known = 0;

	if (!f || !want) {
		for (uint32_t i = 0; i < n; i++)
			left += suspect(list[i].lo, list[i].hi, list[i].path, 1);
		n = 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		f[i].m = list[i];
		find_file(&f[i]);
		if (f[i].known)
			want[known++] = f[i].want;
	}
	if (known)
		vos_plan_load(want, known);
	known = 0;
	for (uint32_t i = 0; i < n; i++)
		if (f[i].known)
			f[i].want = want[known++];
	for (uint32_t i = 0; i < n; i++) {
		left += patch_file(&f[i]);
		if (f[i].fd >= 0)
			vos_raw1(SYS_close, f[i].fd);
	}
	vos_free(f);
	vos_free(want);
	return left;
}

/* ---- the interface ---- */

/* Collects the executable mappings that are for us; own: the file that holds this code. */
static int collect(struct vos_maps *maps, const char *own, struct vos_map **ret_list, uint32_t *ret_n)
{
	struct vos_map m, head = {.path = ""}, *list = NULL;
	uint32_t n = 0, cap = 0;
	size_t pos = 0;

	while (vos_maps_next(maps, &pos, &m)) {
		if (!m.off && m.ino && m.prot & PROT_READ)
			head = m;
		if (!(m.prot & PROT_EXEC) || is_kernels(&m) || is_own(&m) || (*own && !strcmp(m.path, own)))
			continue;
		/* The mappings of an object lie side by side, the first page of its file in front. */
		if (m.ino && m.ino == head.ino && !strcmp(m.path, head.path))
			m.head = (const void *)head.lo;
		if (!(m.prot & PROT_READ) || m.prot & PROT_WRITE || m.shared) {
			/* Cannot be read, may be written to at any time, or is not ours alone. */
			suspect(m.lo, m.hi, m.path, 1);
			continue;
		}
		if (n == cap) {
			struct vos_map *p = vos_realloc(list, (cap = cap ? cap * 2 : 32) * sizeof *list);

			if (!p) {
				vos_free(list);
				return -ENOMEM;
			}
			list = p;
		}
		list[n++] = m;
	}
	*ret_list = list;
	*ret_n = n;
	return 0;
}

static int walk(struct vos_maps *maps, const char *own)
{
	struct vos_map *list;
	uint32_t n, files = 0;
	int r = collect(maps, own, &list, &n);

	if (r)
		return r;
	for (uint32_t i = 0; i < n; i++)
		if (is_file(&list[i])) {
			struct vos_map m = list[files];

			list[files++] = list[i];
			list[i] = m;
		}
	patch_files(list, files);
	for (uint32_t i = files; i < n; i++)
		patch_raw(list[i].lo, list[i].hi, list[i].prot, list[i].path);
	vos_free(list);
	return 0;
}

int vos_rewrite_init(const struct vos_rewrite_cfg *cfg)
{
	struct vos_maps maps;
	struct vos_map m;
	size_t pos = 0;
	int r;

	st = vos_rewrite_state = &state;
	r = vos_maps_read_into(&maps, start_maps, sizeof start_maps);
	if (r)
		return r;
	vos_lock(&st->lock);
	st->entry = cfg->entry;
	st->own = (uint64_t)cfg->own;
	st->threads = cfg->threads;
	st->up = true;
	for (m.path = ""; vos_maps_next(&maps, &pos, &m); m.path = "")
		if (is_own(&m))
			break;
	vos_plan_loader_init(cfg, m.path);
	r = walk(&maps, m.path);
	st->threads = true; /* sooner or later */
	vos_objects_count();
	vos_unlock(&st->lock);
	vos_maps_free(&maps);
	return r;
}

static uint32_t patch_mapping(uint64_t lo, uint64_t hi, int fd, uint64_t off)
{
	struct file_map f = {.fd = fd, .known = true};
	struct stat sb;
	char path[64], name[256];
	long n;

	forget(lo, hi, false);
	/* What lies behind the end of the file cannot be read, nor run. */
	if (vos_is_err(vos_raw2(SYS_fstat, fd, VOS_PTR(&sb))) || (uint64_t)sb.st_size <= off)
		return 0;
	if (hi - lo > (uint64_t)sb.st_size - off)
		hi = lo + (((uint64_t)sb.st_size - off + 4095) & ~4095ull);
	vos_fmt(path, sizeof path, "/proc/%d/fd/%d", (int)vos_raw0(SYS_getpid), fd);
	n = vos_raw4(SYS_readlinkat, AT_FDCWD, VOS_PTR(path), VOS_PTR(name), sizeof name - 1);
	name[n > 0 ? n : 0] = 0;
	if (vos_plan_identify(fd, 0, &f.want.id))
		return patch_raw(lo, hi, PROT_READ, name);
	f.want.path = path;
	vos_plan_load(&f.want, 1);
	f.m = (struct vos_map){.lo = lo, .hi = hi, .off = off, .prot = PROT_READ, .path = name};
	return patch_file(&f);
}

int vos_rewrite_mapped(void *addr, size_t len, int fd, uint64_t off)
{
	uint64_t lo = (uint64_t)addr, hi = lo + ((len + 4095) & ~4095ull);
	uint32_t left;

	if (fd < 0)
		return vos_rewrite_protect(addr, len, PROT_READ | PROT_EXEC);
	if (!st || !st->up)
		return 1;
	vos_lock(&st->lock);
	left = st->confined ? replace(lo, hi) : patch_mapping(lo, hi, fd, off);
	vos_objects_count();
	vos_unlock(&st->lock);
	return (int)left;
}

int vos_rewrite_anon(void *addr, size_t len)
{
	uint64_t lo = (uint64_t)addr, hi = lo + ((len + 4095) & ~4095ull);
	uint32_t left;

	if (!st || !st->up)
		return (int)vos_pairs_count(lo, hi);
	vos_lock(&st->lock);
	left = st->confined ? replace(lo, hi) : patch_raw(lo, hi, PROT_READ, "");
	vos_objects_count();
	vos_unlock(&st->lock);
	return (int)left;
}

/* One mapping that is about to get prot, clipped to the range asked for. */
static uint32_t protect_one(struct vos_map *m, int prot)
{
	if (m->shared || prot & PROT_WRITE || !(prot & PROT_READ) || !(m->prot & PROT_READ)) {
		forget(m->lo, m->hi, true);
		return suspect(m->lo, m->hi, m->path, 1);
	}
	if (m->prot & PROT_EXEC && !(m->prot & PROT_WRITE) && overlaps_live(m->lo, m->hi))
		return 0; /* is so already */
	if (!is_file(m))
		return patch_raw(m->lo, m->hi, m->prot, m->path);
	recheck(m->lo, m->hi);
	forget(m->lo, m->hi, true);
	return overlaps_live(m->lo, m->hi) ? 0 : patch_files(m, 1);
}

/* The bytes 0f 05 across `edge`, of which one side is executable already: no plan of one side alone sees that site. */
static uint32_t straddling(uint64_t edge, const char *name)
{
	if (*(const uint8_t *)(edge - 1) != 0x0f || *(const uint8_t *)edge != 0x05 || vos_object_covers(edge - 1))
		return 0;
	return suspect(edge - 1, edge + 1, name, 1);
}

int vos_rewrite_protect(void *addr, size_t len, int prot)
{
	uint64_t lo = (uint64_t)addr, hi = lo + ((len + 4095) & ~4095ull);
	struct vos_maps maps;
	struct vos_map m;
	const int code = PROT_READ | PROT_EXEC;
	bool before = false, after = false, first = false, last = false;
	uint32_t left = 0;
	size_t pos = 0;

	if (!st || !st->up)
		return prot & PROT_EXEC ? 1 : 0;
	if (!(prot & PROT_EXEC)) {
		if (!overlaps_live(lo, hi))
			return 0;
		vos_lock(&st->lock);
		forget(lo, hi, true);
		vos_objects_count();
		vos_unlock(&st->lock);
		return 0;
	}
	if (st->confined) {
		vos_lock(&st->lock);
		left = replace(lo, hi);
		vos_objects_count();
		vos_unlock(&st->lock);
		return (int)left;
	}
	if (vos_maps_read(&maps))
		return 1;
	vos_lock(&st->lock);
	while (vos_maps_next(&maps, &pos, &m)) {
		before |= m.hi == lo && (m.prot & code) == code;
		after |= m.lo == hi && (m.prot & code) == code;
		first |= m.lo <= lo && lo < m.hi && m.prot & PROT_READ;
		last |= m.lo < hi && hi <= m.hi && m.prot & PROT_READ;
		if (m.hi <= lo || hi <= m.lo || is_kernels(&m) || is_own(&m))
			continue;
		if (m.lo < lo) {
			m.off += lo - m.lo;
			m.lo = lo;
		}
		m.hi = hi < m.hi ? hi : m.hi;
		left += protect_one(&m, prot);
	}
	if (before && first)
		left += straddling(lo, "");
	if (after && last)
		left += straddling(hi, "");
	vos_objects_count();
	vos_unlock(&st->lock);
	vos_maps_free(&maps);
	return (int)left;
}

void vos_rewrite_unmapped(void *addr, size_t len)
{
	uint64_t lo = (uint64_t)addr, hi = lo + ((len + 4095) & ~4095ull);

	if (!st || !overlaps_live(lo, hi))
		return;
	vos_lock(&st->lock);
	forget(lo, hi, false);
	vos_objects_count();
	vos_unlock(&st->lock);
}

unsigned vos_rewrite_undo(void *addr, size_t len)
{
	uint64_t lo = (uint64_t)addr, hi = lo + ((len + 4095) & ~4095ull);
	unsigned n = 0;

	if (!st || st->confined || !overlaps_live(lo, hi))
		return 0;
	vos_lock(&st->lock);
	for (uint32_t i = 0; i < count_objects(); i++) {
		struct vos_object *o = live_object(i);

		if (o && o->lo < hi && lo < o->hi && vos_object_undo(o)) {
			vos_object_drop(o);
			n++;
		}
	}
	vos_objects_count();
	vos_unlock(&st->lock);
	return n;
}

void vos_rewrite_confine(void)
{
	if (st)
		atomic_store(&st->confined, true);
}

unsigned vos_rewrite_sites_left(void)
{
	return st ? atomic_load_explicit(&st->left, memory_order_acquire) : 1;
}

void vos_rewrite_fork_prepare(void)
{
	if (st)
		vos_lock(&st->lock);
}

void vos_rewrite_fork_done(bool child)
{
	if (!st)
		return;
	/* Readers were other threads, which the child does not have. */
	if (child)
		atomic_store(&st->readers, 0);
	vos_unlock(&st->lock);
}
