/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages, memory, and where the other programs of the product lie. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"

void vos_cli_say(const char *format, ...)
{
	char line[2 * PATH_MAX];
	int saved = errno; /* for %m */
	va_list ap;
	size_t n;

	n = (size_t)snprintf(line, sizeof line, "virtuos: ");
	errno = saved;
	va_start(ap, format);
	vsnprintf(line + n, sizeof line - n - 1, format, ap);
	va_end(ap);
	/* One line, whatever names it holds, and one write, so that lines of two processes do not mix. */
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	n = strlen(line);
	line[n] = '\n';
	if (write(STDERR_FILENO, line, n + 1) < 0)
		return; /* nobody listens */
}

const char *vos_cli_error(int e)
{
	switch (e) {
	case -EPIPE:
	case -ECONNRESET:
		return "it is gone";
	case -EPROTONOSUPPORT:
		return "it speaks another version of the protocol";
	case -EPROTO:
		return "its answer breaks the protocol";
	case -ETIMEDOUT:
		return "it does not answer";
	default:
		return strerror(-e);
	}
}

static void *whole(void *p)
{
	if (!p) {
		vos_cli_say("out of memory");
		exit(VOS_EXIT_OURS);
	}
	return p;
}

void *vos_cli_alloc(size_t n)
{
	return whole(calloc(1, n));
}

char *vos_cli_dup(const char *s)
{
	return whole(strdup(s));
}

char *vos_cli_format(const char *format, ...)
{
	char *s;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&s, format, ap);
	va_end(ap);
	return whole(n < 0 ? NULL : s);
}

char *vos_cli_json(const char *s)
{
	char *out = vos_cli_alloc(6 * strlen(s) + 3), *p = out;

	*p++ = '"';
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			p += sprintf(p, "\\%c", c);
		else if (c < ' ')
			p += sprintf(p, "\\u%04x", c);
		else
			*p++ = (char)c;
	}
	*p++ = '"';
	return out;
}

char *vos_cli_peer(const char *name)
{
	const char *installed = strstr(name, ".so") ? VOS_LIBDIR : VOS_LIBEXECDIR;
	char self[PATH_MAX], *slash, *path;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			path = vos_cli_format("%s/%s", self, name);
			if (access(path, R_OK) == 0)
				return path;
			free(path);
		}
	} else {
		snprintf(self, sizeof self, "?");
	}
	path = vos_cli_format("%s/%s", installed, name);
	if (access(path, R_OK) == 0)
		return path;
	free(path);
	vos_cli_say("%s is neither in %s nor in %s; build or install VirtuOS again", name, self, installed);
	return NULL;
}
