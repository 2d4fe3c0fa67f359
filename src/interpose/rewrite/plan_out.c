/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plan files and listings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plan_out.h"

int vos_plan_build(const struct vos_analysis *a, const struct vos_plan_id *id, void **ret, size_t *ret_size)
{
	size_t nseg = 0, nfix = 0, stub = 0, size;
	struct vos_plan_head *h;
	struct vos_plan_seg *seg;
	struct vos_plan_site *site;
	struct vos_plan_fix *fix;

	for (unsigned i = 0; i < a->elf->nseg; i++)
		nseg += a->elf->seg[i].exec;
	for (size_t i = 0; i < a->nplans; i++) {
		nfix += a->plan[i].site.nfix;
		stub += a->plan[i].site.stub_len;
	}
	size = sizeof *h + nseg * sizeof *seg + a->nplans * sizeof *site + nfix * sizeof *fix + ((stub + 7) & ~7ull);
	if (size > 1u << 30)
		return -EOVERFLOW;
	h = calloc(1, size);
	if (!h)
		return -ENOMEM;
	*h = (struct vos_plan_head){
		.magic = VOS_PLAN_MAGIC, .version = VOS_PLAN_VERSION, .head_size = sizeof *h, .size = size,
		.object_size = id->size, .object_key = id->build_id_len ? 0 : id->key, .vaddr_lo = a->elf->lo,
		.vaddr_hi = a->elf->hi, .build_id_len = id->build_id_len, .nsegs = nseg, .nsites = a->nplans, .nfixes = nfix,
		.stub_size = stub, .not_sites = a->not_sites, .segs_off = sizeof *h,
	};
	memcpy(h->build_id, id->build_id, sizeof h->build_id);
	h->sites_off = h->segs_off + nseg * sizeof *seg;
	h->fixes_off = h->sites_off + a->nplans * sizeof *site;
	h->stub_off = h->fixes_off + nfix * sizeof *fix;
	seg = (void *)((char *)h + h->segs_off);
	site = (void *)((char *)h + h->sites_off);
	fix = (void *)((char *)h + h->fixes_off);
	for (unsigned i = 0; i < a->elf->nseg; i++)
		if (a->elf->seg[i].exec)
			*seg++ = (struct vos_plan_seg){a->elf->seg[i].vaddr, a->elf->seg[i].off, a->elf->seg[i].filesz};
	nfix = stub = 0;
	for (size_t i = 0; i < a->nplans; i++) {
		const struct vos_plan *p = &a->plan[i];

		site[i] = p->site;
		site[i].stub = stub;
		site[i].fix = nfix;
		memcpy((char *)h + h->stub_off + stub, p->stub, p->site.stub_len);
		memcpy(fix + nfix, p->fix, p->site.nfix * sizeof *fix);
		stub += p->site.stub_len;
		nfix += p->site.nfix;
		h->count[p->site.kind]++;
	}
	h->checksum = vos_plan_checksum(h);
	/* The runtime would refuse it as a whole: better to know here. */
	if (vos_plan_check(h, size)) {
		free(h);
		return -EOVERFLOW;
	}
	*ret = h;
	*ret_size = size;
	return 0;
}

static const struct vos_plan_fix *fix_ending(const struct vos_plan *p, unsigned end)
{
	for (unsigned i = 0; i < p->site.nfix; i++)
		if (p->fix[i].end == end)
			return &p->fix[i];
	return NULL;
}

static void print_stub(FILE *to, const struct vos_plan *p, struct vos_disasm *d)
{
	const struct vos_plan_site *s = &p->site;
	uint8_t code[VOS_PLAN_MAX_STUB];
	char text[128];

	memcpy(code, p->stub, s->stub_len);
	for (unsigned i = 0; i < s->nfix; i++) {
		/* As if the stub lay at address 0, so that branches show where they go. */
		int32_t rel = p->fix[i].kind == VOS_FIX_OBJECT ? (int64_t)(p->fix[i].target - p->fix[i].end) : 0;

		memcpy(code + p->fix[i].at, &rel, 4);
	}
	for (unsigned at = 0, n; at < s->stub_len; at += n) {
		const struct vos_plan_fix *f;

		n = vos_disasm_text(d, code + at, s->stub_len - at, at, text, sizeof text);
		if (!n)
			n = 1;
		f = fix_ending(p, at + n);
		fprintf(to, "\tstub+%u:\t%s", at, text);
		if (f && f->kind == VOS_FIX_ENTRY)
			fprintf(to, "\t# entry slot");
		else if (f)
			fprintf(to, "\t# 0x%llx", (unsigned long long)f->target);
		else if (s->flags & VOS_SITE_RESUME_IN_STUB && at == s->call_at)
			fprintf(to, "\t# stub+%llu", (unsigned long long)s->resume);
		fputc('\n', to);
	}
}

static void print_bytes(FILE *to, const char *what, const uint8_t *b, unsigned n)
{
	fprintf(to, "\t%s", what);
	for (unsigned i = 0; i < n; i++)
		fprintf(to, " %02x", b[i]);
	fputc('\n', to);
}

void vos_plan_print(FILE *to, const struct vos_analysis *a, struct vos_disasm *d)
{
	for (size_t i = 0; i < a->nplans; i++) {
		const struct vos_plan *p = &a->plan[i];
		const struct vos_plan_site *s = &p->site;

		fprintf(to, "site 0x%llx: %s", (unsigned long long)s->vaddr, vos_plan_kind_name(s->kind));
		if (s->nr >= 0)
			fprintf(to, ", nr %d", s->nr);
		if (s->why)
			fprintf(to, ": %s", vos_plan_why_name(s->why));
		fputc('\n', to);
		if (!s->patch_len)
			continue;
		fprintf(to, "\tpatch 0x%llx+%u, %s", (unsigned long long)s->patch, s->patch_len,
			s->jump_len == 5 ? "jmp stub" : "short jmp");
		if (s->kind == VOS_PLAN_PAD)
			fprintf(to, " to 0x%llx", (unsigned long long)s->pad);
		if (s->flags & VOS_SITE_RESUME_IN_STUB)
			fprintf(to, ", resumes at stub+%llu\n", (unsigned long long)s->resume);
		else
			fprintf(to, ", resumes at 0x%llx\n", (unsigned long long)s->resume);
		print_bytes(to, "was", s->orig, s->patch_len);
		print_bytes(to, "is ", s->repl, s->patch_len);
		print_stub(to, p, d);
	}
	if (a->not_sites)
		fprintf(to, "%u byte pairs are no instruction\n", a->not_sites);
}

int vos_plan_write(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		size -= n;
	}
	return 0;
}

int vos_plan_check_dir(const char *dir)
{
	struct stat st;

	if (stat(dir, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EPERM;
}

int vos_plan_store(const char *dir, const char *name, const void *data, size_t size)
{
	char path[4096], tmp[4096], self[64];
	int fd, r;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path ||
	    snprintf(tmp, sizeof tmp, "%s/.tmp-%d-%s", dir, getpid(), name) >= (int)sizeof tmp)
		return -ENAMETOOLONG;
	/* linkat() does not replace, so the last step is a rename in any case. */
	fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
	if (fd >= 0) {
		r = vos_plan_write(fd, data, size);
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		if (!r && linkat(AT_FDCWD, self, AT_FDCWD, tmp, AT_SYMLINK_FOLLOW))
			r = -errno;
	} else {
		fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			return -errno;
		r = vos_plan_write(fd, data, size);
	}
	if (!r && rename(tmp, path))
		r = -errno;
	if (r)
		unlink(tmp);
	close(fd);
	return r;
}

int vos_plan_cache_dir(char *buf, size_t size)
{
	const char *named = getenv("VIRTUOS_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (named && *named)
		n = snprintf(buf, size, "%s", named);
	else if (geteuid() == 0)
		n = snprintf(buf, size, "/var/cache/virtuos");
	else if (xdg && *xdg == '/')
		n = snprintf(buf, size, "%s/virtuos", xdg);
	else if (home && *home == '/')
		n = snprintf(buf, size, "%s/.cache/virtuos", home);
	else
		return -ENOENT;
	if (n <= 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	for (char *p = buf + 1;; p++) {
		char c = *p;

		if (c != '/' && c)
			continue;
		*p = 0;
		if (mkdir(buf, 0755) && errno != EEXIST && !c)
			return -errno;
		*p = c;
		if (!c)
			break;
	}
	return vos_plan_check_dir(buf);
}
