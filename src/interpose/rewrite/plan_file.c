/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking and naming plan files.  Linked into the runtime and into the planner: enters no libc, allocates nothing,
 * keeps no state.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>

#include "plan_file.h"

static void copy_bytes(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}

uint64_t vos_plan_checksum(const struct vos_plan_head *h)
{
	size_t skip = offsetof(struct vos_plan_head, checksum) + 8;
	const uint64_t *w = (const uint64_t *)((const char *)h + skip), prime = 0x100000001b3ull;
	uint64_t a = 0xcbf29ce484222325ull, b = ~a, c = a << 1, d = ~c;
	size_t n = (h->size - skip) / 8;

	/* Four sums side by side: one alone would wait for its multiplication at each word, at every start of a program. */
	for (; n >= 4; n -= 4, w += 4) {
		a = (a ^ w[0]) * prime;
		b = (b ^ w[1]) * prime;
		c = (c ^ w[2]) * prime;
		d = (d ^ w[3]) * prime;
	}
	for (; n; n--)
		a = (a ^ *w++) * prime;
	a = (a ^ b) * prime;
	a = (a ^ c) * prime;
	return (a ^ d) * prime;
}

/* Does a table of n entries lie inside the file, aligned, behind the head? */
static bool table_fits(const struct vos_plan_head *h, uint32_t off, uint64_t n, uint64_t entry)
{
	return off >= sizeof *h && off % 8 == 0 && off <= h->size && n * entry <= h->size - off;
}

static bool moved_ok(const struct vos_plan_site *s)
{
	if (s->nmoved > VOS_PLAN_MAX_MOVED)
		return false;
	for (unsigned i = 0; i < s->nmoved; i++)
		if (s->moved_at[i] >= s->stub_len || s->moved_from[i] >= s->patch_len)
			return false;
	return true;
}

static bool patch_ok(const struct vos_plan_head *h, const struct vos_plan_site *s)
{
	const struct vos_plan_fix *f = vos_plan_fixes(h);

	if (s->patch_len < 2 || s->patch_len > VOS_PLAN_MAX_PATCH || s->jump_len > s->patch_len)
		return false;
	if (s->jump_len == 5 ? s->repl[0] != 0xe9 : s->jump_len != 2 || s->repl[0] != 0xeb)
		return false;
	if ((s->jump_len == 2) != (s->kind == VOS_PLAN_PAD))
		return false;
	/* The syscall instruction itself lies in the patch: what is not covered would not be intercepted. */
	if (s->patch > s->vaddr || s->vaddr - s->patch > s->patch_len - 2u)
		return false;
	if (s->orig[s->vaddr - s->patch] != 0x0f || s->orig[s->vaddr - s->patch + 1] != 0x05)
		return false;
	if (s->kind == VOS_PLAN_PAD && s->pad != s->patch + 2 + (int64_t)(int8_t)s->repl[1])
		return false;
	if (s->stub_len < 13 || s->stub_len > VOS_PLAN_MAX_STUB || s->stub > h->stub_size ||
	    s->stub_len > h->stub_size - s->stub)
		return false;
	if (s->call_at > s->stub_len - 13 || !moved_ok(s))
		return false;
	if (s->flags & ~VOS_SITE_RESUME_IN_STUB)
		return false;
	if ((s->flags & VOS_SITE_RESUME_IN_STUB) ? s->resume >= s->stub_len : s->resume != s->vaddr + 2)
		return false;
	if (s->nfix > VOS_PLAN_MAX_FIX || s->fix > h->nfixes || s->nfix > h->nfixes - s->fix)
		return false;
	for (unsigned i = 0; i < s->nfix; i++) {
		const struct vos_plan_fix *x = &f[s->fix + i];

		if (x->kind > VOS_FIX_ENTRY || x->at > s->stub_len - 4 || x->end < x->at + 4 || x->end > s->stub_len)
			return false;
	}
	return true;
}

static bool in_segs(const struct vos_plan_head *h, uint64_t vaddr, uint64_t len)
{
	const struct vos_plan_seg *s = vos_plan_segs(h);

	for (uint32_t i = 0; i < h->nsegs; i++)
		if (vaddr >= s[i].vaddr && vaddr - s[i].vaddr <= s[i].filesz && len <= s[i].filesz - (vaddr - s[i].vaddr))
			return true;
	return false;
}

int vos_plan_check(const void *data, size_t len)
{
	const struct vos_plan_head *h = data;
	const struct vos_plan_site *s;
	uint32_t count[VOS_PLAN_KINDS] = {0};
	uint64_t stub_end = 0, patch_end = 0;

	if (len < sizeof *h || (uintptr_t)data % 8 || h->magic != VOS_PLAN_MAGIC)
		return -EINVAL;
	if (h->version != VOS_PLAN_VERSION || h->head_size != sizeof *h)
		return -ENOTSUP;
	if (h->size < sizeof *h || h->size > len || h->size % 8 || h->size > 1u << 30)
		return -EINVAL;
	if (h->checksum != vos_plan_checksum(h))
		return -EINVAL;
	if (h->build_id_len > VOS_PLAN_BUILD_ID_MAX || h->nsegs > VOS_PLAN_MAX_SEGS || h->nsites > VOS_PLAN_MAX_SITES)
		return -EINVAL;
	if (!table_fits(h, h->segs_off, h->nsegs, sizeof(struct vos_plan_seg)) ||
	    !table_fits(h, h->sites_off, h->nsites, sizeof *s) ||
	    !table_fits(h, h->fixes_off, h->nfixes, sizeof(struct vos_plan_fix)) ||
	    !table_fits(h, h->stub_off, h->stub_size, 1))
		return -EINVAL;
	if (h->vaddr_lo > h->vaddr_hi || h->vaddr_hi - h->vaddr_lo > 1u << 30)
		return -EINVAL;
	for (uint32_t i = 0; i < h->nsegs; i++) {
		const struct vos_plan_seg *g = vos_plan_segs(h) + i;

		if (g->vaddr < h->vaddr_lo || g->vaddr > h->vaddr_hi || g->filesz > h->vaddr_hi - g->vaddr)
			return -EINVAL;
	}
	s = vos_plan_sites(h);
	for (uint32_t i = 0; i < h->nsites; i++) {
		if (s[i].kind >= VOS_PLAN_KINDS || s[i].why >= VOS_WHYS)
			return -EINVAL;
		/* Sorted: the runtime searches by bisection.  Two patches may not overlap. */
		if (i && s[i].vaddr <= s[i - 1].vaddr)
			return -EINVAL;
		if (!in_segs(h, s[i].vaddr, 2))
			return -EINVAL;
		count[s[i].kind]++;
		if (s[i].kind == VOS_PLAN_LEAVE || s[i].kind == VOS_PLAN_REFUSED) {
			if (s[i].stub_len || s[i].patch_len || s[i].nfix)
				return -EINVAL;
			continue;
		}
		if (!patch_ok(h, &s[i]) || !in_segs(h, s[i].patch, s[i].patch_len))
			return -EINVAL;
		if (s[i].kind == VOS_PLAN_PAD && !in_segs(h, s[i].pad, 5))
			return -EINVAL;
		if (s[i].stub < stub_end || s[i].patch < patch_end)
			return -EINVAL;
		patch_end = s[i].patch + s[i].patch_len;
		stub_end = (uint64_t)s[i].stub + s[i].stub_len;
	}
	for (int k = 0; k < VOS_PLAN_KINDS; k++)
		if (count[k] != h->count[k])
			return -EINVAL;
	return 0;
}

int vos_plan_is_for(const struct vos_plan_head *h, const struct vos_plan_id *id)
{
	if (h->object_size != id->size || h->build_id_len != id->build_id_len)
		return 0;
	for (uint32_t i = 0; i < id->build_id_len; i++)
		if (h->build_id[i] != id->build_id[i])
			return 0;
	return id->build_id_len || h->object_key == id->key;
}

static char *put_hex(char *p, uint64_t v, int digits)
{
	while (digits--)
		*p++ = "0123456789abcdef"[v >> 4 * digits & 15];
	return p;
}

void vos_plan_name(const struct vos_plan_id *id, char name[VOS_PLAN_NAME_MAX])
{
	static const char suffix[] = ".plan2"; /* VOS_PLAN_VERSION: versions may share a directory */
	char *p = name;

	if (id->build_id_len) {
		*p++ = 'b';
		for (uint32_t i = 0; i < id->build_id_len; i++)
			p = put_hex(p, id->build_id[i], 2);
	} else {
		*p++ = 'f';
		p = put_hex(p, id->key, 16);
	}
	*p++ = '-';
	p = put_hex(p, id->size, 12);
	copy_bytes(p, suffix, sizeof suffix);
}

uint64_t vos_plan_key(uint64_t dev, uint64_t ino, uint64_t size, uint64_t mtime_ns)
{
	uint64_t v[4] = {dev, ino, size, mtime_ns}, sum = 0xcbf29ce484222325ull;

	for (int i = 0; i < 4; i++) {
		sum = (sum ^ v[i]) * 0x9e3779b97f4a7c15ull;
		sum ^= sum >> 29;
	}
	return sum ? sum : 1;
}

int vos_plan_note_id(const void *notes, size_t len, struct vos_plan_id *id)
{
	const uint8_t *p = notes;

	while (len >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name, desc;

		copy_bytes(&n, p, sizeof n);
		name = ((uint64_t)n.n_namesz + 3) & ~3ull;
		desc = ((uint64_t)n.n_descsz + 3) & ~3ull;
		if (name + desc > len - sizeof n)
			return -ENOENT;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && p[sizeof n] == 'G' && p[sizeof n + 1] == 'N' &&
		    p[sizeof n + 2] == 'U' && n.n_descsz && n.n_descsz <= VOS_PLAN_BUILD_ID_MAX) {
			copy_bytes(id->build_id, p + sizeof n + name, n.n_descsz);
			id->build_id_len = n.n_descsz;
			return 0;
		}
		p += sizeof n + name + desc;
		len -= sizeof n + name + desc;
	}
	return -ENOENT;
}

int vos_plan_elf_id(const void *data, size_t len, struct vos_plan_id *id, uint64_t *ret_note_off, uint64_t *ret_note_len)
{
	Elf64_Ehdr eh;
	uint64_t far_off = 0, far_len = 0;

	id->build_id_len = 0;
	if (len < sizeof eh)
		return -ENOEXEC;
	copy_bytes(&eh, data, sizeof eh);
	if (eh.e_ident[0] != 0x7f || eh.e_ident[1] != 'E' || eh.e_ident[2] != 'L' || eh.e_ident[3] != 'F' ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB || eh.e_machine != EM_X86_64 ||
	    eh.e_phentsize != sizeof(Elf64_Phdr))
		return -ENOEXEC;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		if (eh.e_phoff > len || len - eh.e_phoff < (uint64_t)(i + 1) * sizeof ph)
			break;
		copy_bytes(&ph, (const char *)data + eh.e_phoff + i * sizeof ph, sizeof ph);
		if (ph.p_type != PT_NOTE)
			continue;
		if (ph.p_offset > len || ph.p_filesz > len - ph.p_offset) {
			if (!far_len) {
				far_off = ph.p_offset;
				far_len = ph.p_filesz;
			}
			continue;
		}
		if (!vos_plan_note_id((const char *)data + ph.p_offset, ph.p_filesz, id)) {
			far_len = far_off = 0;
			break;
		}
	}
	*ret_note_off = far_off;
	*ret_note_len = far_len;
	return 0;
}
