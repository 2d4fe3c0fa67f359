/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plan files: sound ones are taken, damaged ones are refused, whatever is damaged. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "consume.h"
#include "interpose/rewrite/plan_out.h"

static const uint8_t code[] = {
	0xb8, 39, 0, 0, 0, 0x0f, 0x05,             /* mov $39,%eax; syscall */
	0x48, 0x89, 0xf7, 0x44, 0x89, 0xc8, 0x0f, 0x05, /* mov; mov; syscall */
	0xb8, 15, 0, 0, 0, 0x0f, 0x05,             /* rt_sigreturn */
	0xc3,
};

static struct vos_plan_head *make(size_t *ret_size)
{
	struct vos_disasm *d = vos_disasm_new();
	struct vos_plan_id id = {.build_id = {1, 2, 3, 4}, .build_id_len = 4, .size = 4096};
	uint8_t page[4096];
	struct vos_analysis a;
	struct vos_elf e;
	void *plan = NULL;

	memset(page, 0xcc, sizeof page);
	for (unsigned i = 0; i < 8; i++)
		memcpy(page + 64 + i * 64, code, sizeof code);
	vos_elf_memory(&e, page, sizeof page, 0x10000);
	cr_assert(d);
	cr_assert_eq(vos_analyse(&e, d, &a), 0);
	cr_assert_eq(vos_plan_build(&a, &id, &plan, ret_size), 0);
	vos_analysis_finish(&a);
	vos_disasm_free(d);
	return plan;
}

Test(plan_file, sound)
{
	size_t size;
	struct vos_plan_head *h = make(&size);
	struct vos_plan_id id = {.build_id = {1, 2, 3, 4}, .build_id_len = 4, .size = 4096};

	cr_assert_eq(vos_plan_check(h, size), 0);
	cr_assert(consume_plan(h));
	cr_assert_eq(h->nsites, 24);
	cr_assert_eq(h->count[VOS_PLAN_LEAVE], 8);
	cr_assert(vos_plan_is_for(h, &id));
	id.build_id[3] = 5;
	cr_assert_not(vos_plan_is_for(h, &id));
	id.build_id[3] = 4;
	id.size++;
	cr_assert_not(vos_plan_is_for(h, &id));
	free(h);
}

Test(plan_file, truncated)
{
	size_t size;
	struct vos_plan_head *h = make(&size);

	for (size_t n = 0; n < size; n++)
		cr_assert_neq(vos_plan_check(h, n), 0, "%zu of %zu bytes were taken", n, size);
	free(h);
}

Test(plan_file, other_version)
{
	size_t size;
	struct vos_plan_head *h = make(&size);

	h->version++;
	cr_assert_eq(vos_plan_check(h, size), -ENOTSUP);
	h->version--;
	h->head_size++;
	cr_assert_eq(vos_plan_check(h, size), -ENOTSUP);
	free(h);
}

/* Any single byte: the checksum sees it. */
Test(plan_file, damaged)
{
	size_t size;
	struct vos_plan_head *h = make(&size);
	uint8_t *b = (uint8_t *)h;

	for (size_t i = 0; i < size; i++) {
		b[i] ^= 0x40;
		cr_assert_neq(vos_plan_check(h, size), 0, "byte %zu", i);
		b[i] ^= 0x40;
	}
	free(h);
}

/* With the checksum made good again: whatever is still taken reaches nowhere it should not. */
Test(plan_file, hostile)
{
	static const uint8_t values[] = {0, 1, 2, 4, 5, 7, 8, 16, 0x7f, 0x80, 0xc8, 0xe9, 0xeb, 0xff};
	size_t size;
	struct vos_plan_head *h = make(&size);
	uint8_t *b = (uint8_t *)h;
	unsigned taken = 0;

	for (size_t i = 0; i < size; i++) {
		for (unsigned v = 0; v < sizeof values; v++) {
			uint8_t old = b[i];

			b[i] = values[v];
			if (h->size == size)
				h->checksum = vos_plan_checksum(h);
			if (!vos_plan_check(h, size)) {
				taken++;
				cr_assert(consume_plan(h), "byte %zu = %u", i, values[v]);
			}
			b[i] = old;
		}
	}
	cr_assert(taken > 0);
	free(h);
}

Test(plan_file, names)
{
	struct vos_plan_id id = {.build_id = {0xab, 0x01}, .build_id_len = 2, .size = 0x1234, .key = 9};
	char name[VOS_PLAN_NAME_MAX];

	vos_plan_name(&id, name);
	cr_assert_str_eq(name, "bab01-000000001234.plan2");
	id.build_id_len = 0;
	vos_plan_name(&id, name);
	cr_assert_str_eq(name, "f0000000000000009-000000001234.plan2");
	memset(id.build_id, 0xff, sizeof id.build_id);
	id.build_id_len = VOS_PLAN_BUILD_ID_MAX;
	vos_plan_name(&id, name);
	cr_assert(strlen(name) < VOS_PLAN_NAME_MAX);
	cr_assert_neq(vos_plan_key(1, 2, 3, 4), vos_plan_key(1, 2, 3, 5));
}

Test(plan_file, notes)
{
	static const uint32_t good[] = {4, 3, 5, 0x00554e47, 0, 4, 4, 3, 0x00554e47, 0x04030201};
	static const uint32_t bad[] = {4, 0xffffffff, 3, 0x00554e47, 1};
	static const uint32_t huge[] = {4, 64, 3, 0x00554e47, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	struct vos_plan_id id = {0};

	cr_assert_eq(vos_plan_note_id(good, sizeof good, &id), 0);
	cr_assert_eq(id.build_id_len, 4);
	cr_assert_eq(id.build_id[0], 1);
	for (size_t n = 0; n < sizeof good; n++)
		cr_assert_eq(vos_plan_note_id(good, n, &id), -ENOENT);
	cr_assert_eq(vos_plan_note_id(bad, sizeof bad, &id), -ENOENT);
	cr_assert_eq(vos_plan_note_id(huge, sizeof huge, &id), -ENOENT);
}

/* The cache directory must be ours, and ours alone. */
Test(plan_file, directory)
{
	char dir[] = "/tmp/vos-plan-XXXXXX", path[128], buf[128];

	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/a/b", dir);
	setenv("VIRTUOS_CACHE", path, 1);
	cr_assert_eq(vos_plan_cache_dir(buf, sizeof buf), 0);
	cr_assert_str_eq(buf, path);
	cr_assert_eq(vos_plan_store(buf, "x", "abc", 3), 0);
	cr_assert_eq(vos_plan_store(buf, "x", "abcd", 4), 0);
	cr_assert_eq(chmod(path, 0777), 0);
	cr_assert_eq(vos_plan_cache_dir(buf, sizeof buf), -EPERM);
	cr_assert_eq(vos_plan_check_dir("/nonexistent"), -ENOENT);
	cr_assert_eq(vos_plan_check_dir("/proc/self/status"), -ENOTDIR);
	snprintf(buf, sizeof buf, "rm -r %s", dir);
	cr_assert_eq(system(buf), 0);
}
