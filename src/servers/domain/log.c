/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines for a person. */
#include <stdarg.h>
#include <stdio.h>
#include "servers/domain/domain.h"

static struct {
	const char *name;
	bool verbose;
} logger = { "?", false };

void vos_log_init(const char *name, bool verbose)
{
	logger.name = name;
	logger.verbose = verbose;
}

static void line(const char *format, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof text, format, ap);
	dprintf(2, "virtuos-domain %s: %s\n", logger.name, text);
}

void vos_log(const char *format, ...)
{
	va_list ap;

	if (!logger.verbose)
		return;
	va_start(ap, format);
	line(format, ap);
	va_end(ap);
}

void vos_warn(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	line(format, ap);
	va_end(ap);
}
