/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem* and str* under libc's names, hidden (see rt.h).  The compiler may call the first four for a struct assignment, so
 * they must not be written in a way that it would turn into a call of themselves (-fno-tree-loop-distribute-patterns).
 */
#include "rt.h"

/* Short copies by words; long ones by the microcode, whose start-up costs some 30 cycles. */
void *memcpy(void *restrict d, const void *restrict s, size_t n)
{
	unsigned char *dp = d;
	const unsigned char *sp = s;

	if (n >= 256) {
		__asm__ volatile("rep movsb" : "+D"(dp), "+S"(sp), "+c"(n) : : "memory");
		return d;
	}
	for (; n >= 8; n -= 8, dp += 8, sp += 8)
		__builtin_memcpy(dp, sp, 8);
	if (n & 4) {
		__builtin_memcpy(dp, sp, 4);
		dp += 4;
		sp += 4;
	}
	for (n &= 3; n; n--)
		*dp++ = *sp++;
	return d;
}

void *memmove(void *d, const void *s, size_t n)
{
	unsigned char *dp = d;
	const unsigned char *sp = s;

	if (dp <= sp || dp >= sp + n) {
		for (; n >= 8; n -= 8, dp += 8, sp += 8) {
			uint64_t w;

			__builtin_memcpy(&w, sp, 8);
			__builtin_memcpy(dp, &w, 8);
		}
		for (; n; n--)
			*dp++ = *sp++;
		return d;
	}
	while (n--)
		dp[n] = sp[n];
	return d;
}

void *memset(void *d, int c, size_t n)
{
	unsigned char *dp = d;

	__asm__ volatile("rep stosb" : "+D"(dp), "+c"(n) : "a"(c) : "memory");
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (; n >= 8; n -= 8, x += 8, y += 8) {
		uint64_t v, w;

		__builtin_memcpy(&v, x, 8);
		__builtin_memcpy(&w, y, 8);
		if (v != w)
			break;
	}
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *s, int c, size_t n)
{
	const unsigned char *p = s;
	const uint64_t ones = 0x0101010101010101ULL, all = ones * (unsigned char)c;

	/* Eight bytes at a time: whole texts of libraries are searched with it. */
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t w;

		__builtin_memcpy(&w, p, 8);
		w ^= all;
		if ((w - ones) & ~w & (ones << 7))
			break;
	}
	for (; n; n--, p++)
		if (*p == (unsigned char)c)
			return (void *)(uintptr_t)p;
	return NULL;
}

void *memrchr(const void *s, int c, size_t n)
{
	const unsigned char *p = s;

	while (n--)
		if (p[n] == (unsigned char)c)
			return (void *)(uintptr_t)(p + n);
	return NULL;
}

void *memmem(const void *h, size_t hn, const void *n, size_t nn)
{
	const unsigned char *p = h;

	for (; hn >= nn; hn--, p++)
		if (memcmp(p, n, nn) == 0)
			return (void *)(uintptr_t)p;
	return NULL;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

size_t strnlen(const char *s, size_t cap)
{
	size_t n = 0;

	while (n < cap && s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b)
			return (unsigned char)*a - (unsigned char)*b;
		if (!*a)
			break;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	return memrchr(s, c, strlen(s) + 1);
}

char *strstr(const char *h, const char *n)
{
	return memmem(h, strlen(h), n, strlen(n));
}

size_t strspn(const char *s, const char *set)
{
	size_t n = 0;

	while (s[n] && strchr(set, s[n]))
		n++;
	return n;
}

size_t strcspn(const char *s, const char *set)
{
	size_t n = 0;

	while (s[n] && !strchr(set, s[n]))
		n++;
	return n;
}
