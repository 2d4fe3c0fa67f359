/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects: executable mappings with their plans and stubs; writing patches, undoing them, and finding the way back from
 * a stub to the program's own code.
 *
 * Writers hold the lock of this room; vos_rewrite_site_of() reads without one: an object's fields are written before `live`
 * is set, and freed only when no reader is left.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "apply_impl.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define SLOT        16u /* vos_entry's address, at the start of each stub area */
#define STUB_ALIGN  16u
#define CALL_LEN    13u /* lea resume(%rip),%rcx; jmp *slot(%rip) */

struct vos_rewrite *vos_rewrite_state;

static struct vos_object *new_object(void)
{
	struct vos_rewrite *st = vos_rewrite_state;
	uint32_t n = atomic_load_explicit(&st->nobjects, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if (!atomic_load_explicit(&st->object[i].live, memory_order_relaxed))
			return &st->object[i];
	if (n == VOS_REWRITE_OBJECTS)
		return NULL;
	/* Release: pairs with the acquire of nobjects in vos_rewrite_site_of(). */
	atomic_store_explicit(&st->nobjects, n + 1, memory_order_release);
	return &st->object[n];
}

void vos_objects_count(void)
{
	struct vos_rewrite *st = vos_rewrite_state;
	uint32_t sum = st->other_left, n = atomic_load_explicit(&st->nobjects, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++)
		if (atomic_load_explicit(&st->object[i].live, memory_order_relaxed))
			sum += st->object[i].left;
	atomic_store_explicit(&st->left, sum, memory_order_release);
}

static void free_stubs(struct vos_object *o)
{
	if (o->area && !vos_rewrite_state->confined)
		vos_raw2(SYS_munmap, (long)o->area, (long)o->area_len);
	vos_free(o->stub_at);
	o->area = 0;
	o->stub_at = NULL;
}

/* The mapping is gone: nobody finds the object any more, then its memory goes. */
void vos_object_drop(struct vos_object *o)
{
	struct vos_rewrite *st = vos_rewrite_state;

	/* Sequentially consistent, like the readers' count: either they see it dead or we see them. */
	atomic_store(&o->live, 0);
	while (atomic_load(&st->readers))
		__builtin_ia32_pause();
	free_stubs(o);
	if (!vos_rewrite_state->confined)
		vos_plan_release(&o->want);
	o->want.plan = NULL;
	o->left = 0;
}

/* ---- writing ---- */

static bool in_object(const struct vos_object *o, uint64_t vaddr, uint64_t len)
{
	uint64_t a = vaddr + o->bias;

	return a >= o->lo && a <= o->hi && len <= o->hi - a;
}

static bool same(const struct vos_object *o, uint64_t vaddr, const uint8_t *bytes, size_t n)
{
	return in_object(o, vaddr, n) && !memcmp((const void *)(vaddr + o->bias), bytes, n);
}

static bool is_patchable(const struct vos_plan_site *s)
{
	return s->kind != VOS_PLAN_LEAVE && s->kind != VOS_PLAN_REFUSED;
}

static bool original_there(const struct vos_object *o, const struct vos_plan_site *s)
{
	return same(o, s->patch, s->orig, s->patch_len) && (s->kind != VOS_PLAN_PAD || same(o, s->pad, s->pad_orig, 5));
}

static bool put_rel32(uint8_t *at, uint64_t target, uint64_t end)
{
	int64_t rel = (int64_t)(target - end);
	int32_t v = (int32_t)rel;

	memcpy(at, &v, 4);
	return v == rel;
}

/* Copies a stub into the area and binds it.  False when something is out of reach (a damaged plan, or a huge object). */
static bool bind_stub(const struct vos_object *o, const struct vos_plan_site *s, uint32_t at)
{
	const struct vos_plan_fix *f = vos_plan_fixes(o->want.plan) + s->fix;
	uint8_t *stub = (uint8_t *)o->area + at;

	memcpy(stub, vos_plan_stubs(o->want.plan) + s->stub, s->stub_len);
	for (unsigned i = 0; i < s->nfix; i++) {
		uint64_t target = f[i].kind == VOS_FIX_ENTRY ? o->area : f[i].target + o->bias;

		if (!put_rel32(stub + f[i].at, target, (uint64_t)stub + f[i].end))
			return false;
	}
	return true;
}

/*
 * Fills the stub area: after this each site with stub_at is ready to be patched.  0 or a negative errno, nothing is left behind.
 */
static int build_stubs(struct vos_object *o)
{
	const struct vos_plan_head *h = o->want.plan;
	const struct vos_plan_site *s = vos_plan_sites(h);
	uint64_t span_lo = h->vaddr_lo + o->bias, span_hi = h->vaddr_hi + o->bias, size = SLOT;
	uint32_t at = SLOT;
	void *area;
	long r;

	for (uint32_t i = 0; i < h->nsites; i++)
		if (is_patchable(&s[i]) && in_object(o, s[i].vaddr, 2))
			size += (s[i].stub_len + STUB_ALIGN - 1) & ~(uint64_t)(STUB_ALIGN - 1);
	size = (size + 4095) & ~4095ull;
	if (o->lo < span_lo)
		span_lo = o->lo;
	if (o->hi > span_hi)
		span_hi = o->hi;
	o->stub_at = vos_alloc(h->nsites * sizeof *o->stub_at);
	area = o->stub_at ? vos_maps_near(span_lo, span_hi, size) : NULL;
	if (!area) {
		free_stubs(o);
		return -ENOMEM;
	}
	o->area = (uint64_t)area;
	o->area_len = size;
	memcpy(area, &vos_rewrite_state->entry, sizeof vos_rewrite_state->entry);
	for (uint32_t i = 0; i < h->nsites; i++) {
		if (!is_patchable(&s[i]) || !original_there(o, &s[i]) || vos_object_covers(s[i].vaddr + o->bias) ||
		    !bind_stub(o, &s[i], at))
			continue;
		o->stub_at[i] = at;
		at += (s[i].stub_len + STUB_ALIGN - 1) & ~(STUB_ALIGN - 1);
	}
	r = vos_raw3(SYS_mprotect, VOS_PTR(area), (long)size, PROT_READ | PROT_EXEC);
	if (vos_is_err(r)) {
		free_stubs(o);
		return (int)r;
	}
	return 0;
}

static void write_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
	uint64_t at = (uint64_t)to, word = at & ~7ull, v;

	/* Inside one word, another thread sees the old instruction or the new one, never a half. */
	if (at - word + n <= 8) {
		memcpy(&v, (void *)word, 8);
		memcpy((uint8_t *)&v + (at - word), from, n);
		__atomic_store_n((uint64_t *)word, v, __ATOMIC_RELEASE);
		return;
	}
	memcpy(to, from, n);
}

/* The bytes that go to the patch, and to the padding if it has a part in it. */
static void draw(const struct vos_object *o, const struct vos_plan_site *s, uint32_t stub_at, uint8_t *patch, uint8_t *pad)
{
	uint64_t stub = o->area + stub_at;

	memcpy(patch, s->repl, s->patch_len);
	if (s->kind == VOS_PLAN_PAD) {
		pad[0] = 0xe9;
		put_rel32(pad + 1, stub, s->pad + o->bias + 5);
	} else {
		put_rel32(patch + 1, stub, s->patch + o->bias + 5);
	}
}

static void write_all(struct vos_object *o, bool undo)
{
	const struct vos_plan_site *s = vos_plan_sites(o->want.plan);

	for (uint32_t i = 0; i < o->want.plan->nsites; i++) {
		uint8_t *patch = (uint8_t *)(s[i].patch + o->bias), *pad = (uint8_t *)(s[i].pad + o->bias);
		uint8_t code[VOS_PLAN_MAX_PATCH], jump[5];

		if (!o->stub_at || !o->stub_at[i])
			continue;
		draw(o, &s[i], o->stub_at[i], code, jump);
		/* The padding first, and back last: the short jump must never lead to nops. */
		if (s[i].kind == VOS_PLAN_PAD && !undo)
			write_bytes(pad, jump, 5);
		write_bytes(patch, undo ? s[i].orig : code, s[i].patch_len);
		if (s[i].kind == VOS_PLAN_PAD && undo)
			write_bytes(pad, s[i].pad_orig, 5);
	}
}

static bool patch_there(const struct vos_object *o, uint32_t i)
{
	const struct vos_plan_site *s = vos_plan_sites(o->want.plan) + i;
	uint8_t code[VOS_PLAN_MAX_PATCH], jump[5];

	draw(o, s, o->stub_at[i], code, jump);
	return same(o, s->patch, code, s->patch_len) && (s->kind != VOS_PLAN_PAD || same(o, s->pad, jump, 5));
}

bool vos_object_intact(const struct vos_object *o)
{
	for (uint32_t i = 0; o->want.plan && o->stub_at && i < o->want.plan->nsites; i++)
		if (o->stub_at[i] && patch_there(o, i))
			return true;
	return false;
}

bool vos_object_covers(uint64_t addr)
{
	struct vos_rewrite *st = vos_rewrite_state;
	uint32_t n = atomic_load_explicit(&st->nobjects, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++) {
		const struct vos_object *o = &st->object[i];
		const struct vos_plan_site *s;

		if (!atomic_load_explicit(&o->live, memory_order_relaxed) || addr < o->lo || addr >= o->hi || !o->stub_at)
			continue;
		s = vos_plan_sites(o->want.plan);
		for (uint32_t k = 0; k < o->want.plan->nsites; k++)
			if (o->stub_at[k] && s[k].vaddr + o->bias == addr && patch_there(o, k))
				return true;
	}
	return false;
}

/* Makes the text writable.  0, or a negative errno with nothing changed. */
static int open_text(const struct vos_object *o, int prot)
{
	long len = (long)(o->hi - o->lo), r;
	int writable = PROT_READ | PROT_WRITE | (vos_rewrite_state->threads ? prot & PROT_EXEC : 0);

	r = vos_raw3(SYS_mprotect, (long)o->lo, len, writable);
	if (vos_is_err(r) && writable & PROT_EXEC)
		r = vos_raw3(SYS_mprotect, (long)o->lo, len, PROT_READ | PROT_WRITE);
	if (vos_is_err(r)) /* it may have failed half-way */
		vos_raw3(SYS_mprotect, (long)o->lo, len, prot);
	return vos_is_err(r) ? (int)r : 0;
}

/* One call for each run of pages with sites costs half of what their faults would.  Older kernels fault. */
static void fault_in(const struct vos_object *o)
{
	const struct vos_plan_head *h = o->want.plan;
	const struct vos_plan_site *s = vos_plan_sites(h);
	uint64_t lo = 0, hi = 0;

	for (uint32_t i = 0; i <= h->nsites; i++) {
		uint64_t from = 0, to = 0;

		if (i < h->nsites) {
			if (!is_patchable(&s[i]) || !in_object(o, s[i].patch, s[i].patch_len))
				continue;
			from = (s[i].patch + o->bias) & ~4095ull;
			to = (s[i].patch + o->bias + s[i].patch_len + 4095) & ~4095ull;
			if (hi && from <= hi && from >= lo) {
				hi = to > hi ? to : hi;
				continue;
			}
		}
		if (hi)
			vos_raw3(SYS_madvise, (long)lo, (long)(hi - lo), MADV_POPULATE_WRITE);
		lo = from;
		hi = to;
	}
}

/*
 * Gives opened text its protection back.  A policy may forbid to execute what was once writable or written (SELinux execmod):
 * then the bytes of the file are mapped afresh.  0, or what mprotect said.
 */
static int close_text(const struct vos_object *o, int prot, const struct vos_file *file)
{
	long len = (long)(o->hi - o->lo), fd = file->fd, r;
	struct stat st;

	r = vos_raw3(SYS_mprotect, (long)o->lo, len, prot);
	if (!vos_is_err(r))
		return 0;
	if (fd < 0 && file->path)
		fd = vos_raw4(SYS_openat, AT_FDCWD, VOS_PTR(file->path), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd >= 0 && (!file->ino || (!vos_raw2(SYS_fstat, fd, VOS_PTR(&st)) && st.st_ino == file->ino)))
		vos_raw6(SYS_mmap, (long)o->lo, len, prot, MAP_PRIVATE | MAP_FIXED, fd, (long)file->off);
	if (fd >= 0 && file->fd < 0)
		vos_raw1(SYS_close, fd);
	return (int)r;
}

/* Writes the patches into opened text and closes it.  0, or a negative errno: the object is as it was. */
static int write_object(struct vos_object *o, int prot, const struct vos_file *file)
{
	long r;

	/* ---- point of no return ---- */
	write_all(o, false);
	r = vos_raw3(SYS_mprotect, (long)o->lo, (long)(o->hi - o->lo), prot);
	if (!vos_is_err(r))
		return 0;
	write_all(o, true);
	close_text(o, prot, file);
	return (int)r;
}

bool vos_object_undo(struct vos_object *o)
{
	if (!o->want.plan || !o->stub_at || open_text(o, PROT_READ | PROT_EXEC))
		return false;
	for (uint32_t i = 0; i < o->want.plan->nsites; i++)
		if (o->stub_at[i] && !patch_there(o, i))
			o->stub_at[i] = 0; /* the program has written there since */
	write_all(o, true);
	vos_raw3(SYS_mprotect, (long)o->lo, (long)(o->hi - o->lo), PROT_READ | PROT_EXEC);
	return true;
}

/* ---- objects ---- */

const uint8_t *vos_pairs_find(const uint8_t *p, const uint8_t *end)
{
	for (; end - p >= 2 && (p = memchr(p, 0x0f, (size_t)(end - p - 1))); p++)
		if (p[1] == 0x05)
			return p;
	return NULL;
}

uint32_t vos_pairs_count(uint64_t lo, uint64_t hi)
{
	const uint8_t *p = (const uint8_t *)lo, *end = (const uint8_t *)hi;
	uint32_t n = 0;

	while ((p = vos_pairs_find(p, end))) {
		n++;
		p += 2;
	}
	return n;
}

/* Finds where the object of a plan lies, given that the mapping at lo shows the file from off on. */
static bool find_bias(struct vos_object *o, uint64_t off)
{
	const struct vos_plan_head *h = o->want.plan;
	const struct vos_plan_seg *s = vos_plan_segs(h);
	uint64_t len = o->hi - o->lo;

	for (uint32_t i = 0; i < h->nsegs; i++) {
		uint64_t first = s[i].off & ~4095ull;

		if (off > s[i].off + s[i].filesz || off + len <= first)
			continue;
		if (off >= first ? off - first < s[i].filesz + 4096 : first - off < len) {
			o->bias = o->lo - off + s[i].off - s[i].vaddr;
			return true;
		}
	}
	return false;
}

static bool something_to_patch(const struct vos_object *o)
{
	const struct vos_plan_site *s = vos_plan_sites(o->want.plan);

	for (uint32_t i = 0; i < o->want.plan->nsites; i++)
		if (is_patchable(&s[i]) && in_object(o, s[i].vaddr, 2))
			return true;
	return false;
}

uint32_t vos_object_patch(struct vos_object *o, int prot, const struct vos_file *file)
{
	const struct vos_plan_head *h = o->want.plan;
	const struct vos_plan_site *s;
	uint32_t sites = 0;
	int r;

	if (!h || !find_bias(o, file->off)) {
		uint32_t n = vos_pairs_count(o->lo, o->hi);

		if (n)
			vos_note("%s: no plan, %u sites suspected", o->name, n);
		vos_plan_release(&o->want);
		return vos_object_suspect(o, n);
	}
	s = vos_plan_sites(h);
	r = something_to_patch(o) ? open_text(o, prot) : 0;
	if (!r && something_to_patch(o)) {
		fault_in(o);
		r = build_stubs(o);
		if (r)
			close_text(o, prot, file);
		else
			r = write_object(o, prot, file);
	}
	if (r) {
		vos_note("%s: cannot be patched: error %d", o->name, -r);
		free_stubs(o);
	}
	for (uint32_t i = 0; i < h->nsites; i++) {
		bool patched = o->stub_at && o->stub_at[i];

		/* Raw code is planned again as it grows: what another object has patched looks like a stray site. */
		if (!in_object(o, s[i].vaddr, 2) || (!patched && vos_object_covers(s[i].vaddr + o->bias)))
			continue;
		sites++;
		if (!is_patchable(&s[i]) || patched)
			o->kind[s[i].kind]++;
		else if (same(o, s[i].vaddr, (const uint8_t *)"\x0f\x05", 2))
			o->left++;
	}
	o->left += o->kind[VOS_PLAN_REFUSED];
	if (!sites) {
		vos_plan_release(&o->want);
		return 0;
	}
	/* Release: pairs with the acquire in vos_rewrite_site_of(). */
	atomic_store_explicit(&o->live, 1, memory_order_release);
	return o->left;
}

uint32_t vos_object_suspect(struct vos_object *o, uint32_t n)
{
	if (!n)
		return 0;
	o->left = n;
	atomic_store_explicit(&o->live, 1, memory_order_release);
	return n;
}

struct vos_object *vos_object_begin(uint64_t lo, uint64_t hi, const char *name)
{
	struct vos_object *o = new_object();

	if (!o)
		return NULL;
	o->lo = lo;
	o->hi = hi;
	o->bias = o->area = 0;
	o->stub_at = NULL;
	o->left = 0;
	memset(o->kind, 0, sizeof o->kind);
	o->want = (struct vos_plan_want){0};
	vos_fmt(o->name, sizeof o->name, "%s", *name ? name : "anonymous");
	return o;
}

/* ---- looking up ---- */

static void place_in_stub(const struct vos_object *o, const struct vos_plan_site *s, uint32_t in, struct vos_rewrite_place *ret)
{
	uint64_t after = s->patch + o->bias + s->patch_len;

	ret->site = s->vaddr + o->bias;
	ret->resume = s->flags & VOS_SITE_RESUME_IN_STUB ? o->area + o->stub_at[s - vos_plan_sites(o->want.plan)] + s->resume :
							 s->resume + o->bias;
	ret->where = in < (uint32_t)s->call_at + CALL_LEN ? VOS_REWRITE_BEFORE : VOS_REWRITE_AFTER;
	ret->rcx_lost = in > s->call_at;
	ret->rip = in >= s->call_at && ret->where == VOS_REWRITE_BEFORE ? ret->site : after;
	for (unsigned i = 0; i < s->nmoved; i++)
		if ((in < s->call_at) == (s->moved_at[i] < s->call_at) && s->moved_at[i] <= in)
			ret->rip = in >= s->call_at && ret->where == VOS_REWRITE_BEFORE ? ret->site :
										 s->patch + o->bias + s->moved_from[i];
	/* The jump back at the end of a tail. */
	if (ret->where == VOS_REWRITE_AFTER && in + 5 == s->stub_len &&
	    vos_plan_stubs(o->want.plan)[s->stub + in] == 0xe9)
		ret->rip = after;
}

static bool find_in(const struct vos_object *o, uint64_t rip, struct vos_rewrite_place *ret)
{
	const struct vos_plan_site *s;

	if (!o->want.plan || !o->stub_at)
		return false;
	s = vos_plan_sites(o->want.plan);
	if (rip - o->area < o->area_len) {
		uint32_t at = (uint32_t)(rip - o->area);

		for (uint32_t i = 0; i < o->want.plan->nsites; i++)
			if (o->stub_at[i] && at >= o->stub_at[i] && at - o->stub_at[i] < s[i].stub_len) {
				place_in_stub(o, &s[i], at - o->stub_at[i], ret);
				return true;
			}
		return false;
	}
	if (rip < o->lo || rip >= o->hi || !o->kind[VOS_PLAN_PAD])
		return false;
	for (uint32_t i = 0; i < o->want.plan->nsites; i++)
		if (o->stub_at[i] && s[i].kind == VOS_PLAN_PAD && s[i].pad + o->bias == rip) {
			place_in_stub(o, &s[i], 0, ret);
			return true;
		}
	return false;
}

bool vos_rewrite_site_of(uint64_t rip, struct vos_rewrite_place *ret)
{
	struct vos_rewrite *st = vos_rewrite_state;
	bool found = false;
	uint32_t n;

	if (!st)
		return false;
	/* Sequentially consistent: pairs with vos_object_drop(). */
	atomic_fetch_add(&st->readers, 1);
	n = atomic_load_explicit(&st->nobjects, memory_order_acquire);
	for (uint32_t i = 0; i < n && !found; i++)
		if (atomic_load(&st->object[i].live))
			found = find_in(&st->object[i], rip, ret);
	atomic_fetch_sub(&st->readers, 1);
	return found;
}

bool vos_rewrite_stats(unsigned i, struct vos_rewrite_stats *ret)
{
	const struct vos_rewrite *st = vos_rewrite_state;
	const struct vos_object *o;

	if (!st || i >= atomic_load_explicit(&st->nobjects, memory_order_acquire))
		return false;
	o = &st->object[i];
	memset(ret, 0, sizeof *ret);
	if (!atomic_load_explicit(&o->live, memory_order_acquire))
		return true;
	memcpy(ret->name, o->name, sizeof ret->name);
	memcpy(ret->kind, o->kind, sizeof ret->kind);
	ret->lo = o->lo;
	ret->hi = o->hi;
	ret->fallback = o->left;
	return true;
}

