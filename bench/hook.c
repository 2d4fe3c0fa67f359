/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a call costs that stays on this kernel, or that the runtime answers itself.  Runs natively and under VirtuOS. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "measure.h"

static int zero_fd;

static void do_getppid(void *arg) { (void)arg; getppid(); }
static void do_getpid(void *arg) { (void)arg; getpid(); }
static void do_lseek(void *arg) { (void)arg; lseek(zero_fd, 0, SEEK_CUR); }
static void do_syscall(void *arg) { (void)arg; syscall(SYS_getppid); }

static void do_read(void *arg)
{
	char c;

	(void)arg;
	if (read(zero_fd, &c, 1) != 1)
		die("read");
}

static void do_open(void *arg)
{
	int fd = open("/dev/null", O_RDONLY);

	(void)arg;
	if (fd < 0)
		die("/dev/null");
	close(fd);
}

static void do_code(void *code)
{
	void (*f)(void);

	memcpy(&f, &code, sizeof f);
	f();
}

int main(void)
{
	/* mov $110 (getppid),%eax; syscall; ret */
	static const unsigned char text[] = { 0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	void *page;

	zero_fd = open("/dev/zero", O_RDONLY);
	if (zero_fd < 0)
		die("/dev/zero");
	figure("getppid", fastest(do_getppid, NULL));
	figure("syscall", fastest(do_syscall, NULL));
	figure("lseek", fastest(do_lseek, NULL));
	figure("read", fastest(do_read, NULL));
	figure("open_close", fastest(do_open, NULL));
	figure("getpid", fastest(do_getpid, NULL));
	/* Last: memory both writable and executable makes the runtime arm the fallback, which slows down all that follows. */
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("mmap");
	memcpy(page, text, sizeof text);
	figure("fallback", fastest(do_code, page));
	return 0;
}
