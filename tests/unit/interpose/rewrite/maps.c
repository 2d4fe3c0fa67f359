/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading /proc/self/maps, and finding room near an object. */
#include <criterion/criterion.h>
#include <sys/mman.h>

#include "interpose/rewrite/apply_impl.h"

static struct vos_maps text(char *s)
{
	return (struct vos_maps){.buf = s, .cap = strlen(s) + 1, .len = strlen(s)};
}

Test(maps, lines)
{
	char s[] = "00400000-00401000 r-xp 00001000 fe:00 123                /bin/a b (deleted)\n"
		   "7f0000000000-7f0000002000 rw-s 00000000 00:05 0 \n"
		   "7ffff7fc9000-7ffff7fcd000 r--p 00000000 00:00 0                          [vvar]\n";
	struct vos_maps m = text(s);
	struct vos_map x;

	for (int again = 0; again < 3; again++) {
		size_t pos = 0;

		cr_assert(vos_maps_next(&m, &pos, &x));
		cr_assert(x.lo == 0x400000 && x.hi == 0x401000 && x.prot == (PROT_READ | PROT_EXEC) && x.off == 0x1000);
		cr_assert(x.ino == 123 && !x.shared);
		cr_assert_str_eq(x.path, "/bin/a b (deleted)");
		cr_assert(vos_maps_next(&m, &pos, &x));
		cr_assert(x.shared && x.prot == (PROT_READ | PROT_WRITE) && x.hi == 0x7f0000002000);
		cr_assert_str_eq(x.path, "");
		cr_assert(vos_maps_next(&m, &pos, &x));
		cr_assert_str_eq(x.path, "[vvar]");
		cr_assert_not(vos_maps_next(&m, &pos, &x));
	}
}

Test(maps, unfinished)
{
	char s[] = "00400000-00401000 r-xp 00001000 fe:00 123 /bin/a";
	struct vos_maps m = text(s);
	struct vos_map x;
	size_t pos = 0;

	cr_assert(vos_maps_next(&m, &pos, &x));
	cr_assert_str_eq(x.path, "/bin/a");
	cr_assert_not(vos_maps_next(&m, &pos, &x));
}

Test(maps, own)
{
	struct vos_maps m;
	struct vos_map x;
	size_t pos = 0;
	bool found = false;

	cr_assert_eq(vos_maps_read(&m), 0);
	while (vos_maps_next(&m, &pos, &x)) {
		cr_assert(x.lo < x.hi);
		found = found || (x.lo <= (uint64_t)vos_maps_read && (uint64_t)vos_maps_read < x.hi && x.prot & PROT_EXEC);
	}
	cr_assert(found);
	vos_maps_free(&m);
}

static bool reaches(uint64_t a, uint64_t b)
{
	return (a < b ? b - a : a - b) < 1ull << 31;
}

/* Room is found, within reach, again and again. */
Test(maps, near)
{
	uint64_t lo = (uint64_t)vos_maps_read & ~4095ull, libc = (uint64_t)strtol & ~4095ull;

	for (int i = 0; i < 40; i++) {
		uint64_t a = (uint64_t)vos_maps_near(lo, lo + 4096, 8192), b = (uint64_t)vos_maps_near(libc, libc + 4096, 8192);

		cr_assert(a && reaches(a, lo) && reaches(a + 8192, lo + 4096));
		cr_assert(b && reaches(b, libc) && reaches(b + 8192, libc + 4096));
		memset((void *)a, 1, 8192);
		memset((void *)b, 1, 8192);
	}
	cr_assert_null(vos_maps_near(lo, lo + 4096, 1ull << 45));
	cr_assert_null(vos_maps_near(4096, 1ull << 40, 4096));
}
