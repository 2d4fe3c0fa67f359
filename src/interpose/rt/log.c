/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text for people and for files.  Nothing here enters libc. */
#include <signal.h>
#include <virtuos/raw.h>
#include "rt.h"

bool vos_verbose;

struct out { char *p; size_t cap, len; };

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->cap)
		o->p[o->len] = c;
	o->len++;
}

static void put_padded(struct out *o, const char *s, size_t n, size_t width, char pad, bool left)
{
	for (size_t i = n; !left && i < width; i++)
		put(o, pad);
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
	for (size_t i = n; left && i < width; i++)
		put(o, ' ');
}

static void put_number(struct out *o, uint64_t v, bool negative, unsigned base, size_t width, char pad, bool left)
{
	char d[24];
	size_t n = sizeof d;

	do
		d[--n] = "0123456789abcdef"[v % base];
	while (v /= base);
	if (negative)
		d[--n] = '-';
	put_padded(o, d + n, sizeof d - n, width, pad, left);
}

int vos_vfmt(char *buf, size_t cap, const char *fmt, va_list ap)
{
	struct out o = { buf, cap, 0 };

	for (; *fmt; fmt++) {
		size_t width = 0, prec = SIZE_MAX;
		bool left = false;
		int longs = 0;
		char pad = ' ';

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt++;
		if (*fmt == '-')
			left = true, fmt++;
		if (*fmt == '0')
			pad = '0', fmt++;
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (size_t)(*fmt - '0');
		if (fmt[0] == '.' && fmt[1] == '*') {
			prec = (size_t)va_arg(ap, int);
			fmt += 2;
		}
		for (; *fmt == 'l' || *fmt == 'z'; fmt++)
			longs++;
		switch (*fmt) {
		case 'd': {
			int64_t v = longs ? va_arg(ap, long) : va_arg(ap, int);

			put_number(&o, v < 0 ? -(uint64_t)v : (uint64_t)v, v < 0, 10, width, pad, left);
			break;
		}
		case 'u':
		case 'x': {
			uint64_t v = longs ? va_arg(ap, unsigned long) : va_arg(ap, unsigned);

			put_number(&o, v, false, *fmt == 'x' ? 16 : 10, width, pad, left);
			break;
		}
		case 'p':
			put(&o, '0');
			put(&o, 'x');
			put_number(&o, (uint64_t)(uintptr_t)va_arg(ap, void *), false, 16, width, pad, left);
			break;
		case 'c':
			put(&o, (char)va_arg(ap, int));
			break;
		case 's': {
			const char *s = va_arg(ap, const char *);

			if (!s)
				s = "(null)";
			put_padded(&o, s, strnlen(s, prec), width, ' ', left);
			break;
		}
		case '\0':
			fmt--;
			break;
		default:
			put(&o, *fmt);
		}
	}
	if (cap)
		buf[o.len < cap ? o.len : cap - 1] = 0;
	return (int)o.len;
}

int vos_fmt(char *buf, size_t cap, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vos_vfmt(buf, cap, fmt, ap);
	va_end(ap);
	return n;
}

static void say(const char *fmt, va_list ap)
{
	char line[1024] = "virtuos: ";
	int n = 9 + vos_vfmt(line + 9, sizeof line - 10, fmt, ap);

	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	vos_raw3(SYS_write, 2, VOS_PTR(line), n);
}

void vos_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

_Noreturn void vos_panic(const char *fmt, ...)
{
	uint64_t none = 0;
	uint64_t act[4] = { 0 };
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	vos_raw4(SYS_rt_sigaction, SIGABRT, VOS_PTR(act), 0, 8);
	vos_raw4(SYS_rt_sigprocmask, SIG_SETMASK, VOS_PTR(&none), 0, 8);
	vos_raw3(SYS_tgkill, vos_raw0(SYS_getpid), vos_raw0(SYS_gettid), SIGABRT);
	for (;;)
		vos_raw1(SYS_exit_group, 134);
}

bool vos_number(const char **s, uint64_t *ret_value)
{
	const char *p = *s;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	if (p == *s)
		return false;
	*s = p;
	*ret_value = v;
	return true;
}

void vos_text_add(struct vos_text *t, const char *fmt, ...)
{
	char line[1024], *p;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vos_vfmt(line, sizeof line, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof line - 1)
		n = (int)sizeof line - 1;
	if (t->failed)
		return;
	if (t->len + (size_t)n + 1 > t->cap) {
		p = vos_realloc(t->p, (t->len + (size_t)n + 1) * 2);
		if (!p) {
			t->failed = true;
			return;
		}
		t->cap = (t->len + (size_t)n + 1) * 2;
		t->p = p;
	}
	memcpy(t->p + t->len, line, (size_t)n + 1);
	t->len += (size_t)n;
}

void vos_text_free(struct vos_text *t)
{
	vos_free(t->p);
	*t = (struct vos_text){ 0 };
}
