/* The promise of the syscall instruction: which registers survive, what rcx and r11 hold, the red zone, odd numbers. */
#include "check.h"
#include <cpuid.h>

struct gprs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, red[2], flags;
};

/* Loads every register from *in, makes the call, stores every register to *out.  The red zone holds a mark. */
__attribute__((naked, noinline)) static void call(const struct gprs *in, struct gprs *out)
{
	asm volatile(
		"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
		"push %rsi\n" /* out */
		"movabs $0x1122334455667788, %rax\n"
		"mov %rax, -8(%rsp)\n mov %rax, -128(%rsp)\n"
		"mov %rdi, %rax\n"
		"mov 8(%rax), %rbx\n mov 24(%rax), %rdx\n mov 32(%rax), %rsi\n mov 40(%rax), %rdi\n mov 48(%rax), %rbp\n"
		"mov 56(%rax), %r8\n mov 64(%rax), %r9\n mov 72(%rax), %r10\n mov 88(%rax), %r12\n mov 96(%rax), %r13\n"
		"mov 104(%rax), %r14\n mov 112(%rax), %r15\n mov 0(%rax), %rax\n"
		"syscall\n"
		"1:\n"
		"xchg %rax, (%rsp)\n" /* rax = out, result on the stack */
		"mov %rbx, 8(%rax)\n mov %rcx, 16(%rax)\n mov %rdx, 24(%rax)\n mov %rsi, 32(%rax)\n mov %rdi, 40(%rax)\n mov %rbp, 48(%rax)\n"
		"mov %r8, 56(%rax)\n mov %r9, 64(%rax)\n mov %r10, 72(%rax)\n mov %r11, 80(%rax)\n mov %r12, 88(%rax)\n mov %r13, 96(%rax)\n"
		"mov %r14, 104(%rax)\n mov %r15, 112(%rax)\n"
		"lea 1b(%rip), %rcx\n mov %rcx, 120(%rax)\n"
		"mov -8(%rsp), %rcx\n mov %rcx, 128(%rax)\n mov -128(%rsp), %rcx\n mov %rcx, 136(%rax)\n"
		"pop %rcx\n mov %rcx, 0(%rax)\n"
		"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
		"ret\n");
}

static long checked(long nr, long a, long b, long c, long d, long e, long f)
{
	struct gprs in = { nr, 0xb0b0b0b0b0b0b0b0, 0, c, b, a, 0xbabababababababa, e, f, d, 0, 0x1212121212121212, 0x1313131313131313, 0x1414141414141414, 0x1515151515151515 }, out;

	call(&in, &out);
	EQ(out.rbx, in.rbx);
	EQ(out.rdx, in.rdx);
	EQ(out.rsi, in.rsi);
	EQ(out.rdi, in.rdi);
	EQ(out.rbp, in.rbp);
	EQ(out.r8, in.r8);
	EQ(out.r9, in.r9);
	EQ(out.r10, in.r10);
	EQ(out.r12, in.r12);
	EQ(out.r13, in.r13);
	EQ(out.r14, in.r14);
	EQ(out.r15, in.r15);
	EQ(out.rcx, out.rip);
	EQ(out.r11 & 0x202, 0x202);
	EQ(out.red[0], 0x1122334455667788);
	EQ(out.red[1], 0x1122334455667788);
	return out.rax;
}

static void general_registers(void)
{
	char b[16];
	int fd = make_file("f", "0123456789"), s[2];

	tcp_pair(s);
	for (int i = 0; i < 3; i++) {
		EQ(checked(SYS_getpid, 1, 2, 3, 4, 5, 6), getpid());
		EQ(checked(SYS_getppid, -1, -2, -3, -4, -5, -6), getppid());
		EQ(checked(SYS_pread64, fd, (long)b, 10, 0, 5, 6), 10);
		EQ(checked(SYS_write, s[0], (long)"abc", 3, 4, 5, 6), 3);
		EQ(checked(SYS_read, s[1], (long)b, 3, 4, 5, 6), 3);
		EQ(checked(SYS_read, 190, (long)b, 3, 4, 5, 6), -EBADF);
		EQ(checked(SYS_nanosleep, (long)&(struct timespec){ 0, 1000000 }, 0, 3, 4, 5, 6), 0);
		EQ(checked(SYS_sched_yield, 1, 2, 3, 4, 5, 6), 0);
		EQ(checked(SYS_poll, (long)&(struct pollfd){ s[0], POLLIN }, 1, 1, 4, 5, 6), 0);
		EQ(checked(SYS_openat, AT_FDCWD, (long)"missing", O_RDONLY, 0, 5, 6), -ENOENT);
		EQ(checked(SYS_gettimeofday, (long)b, 0, 3, 4, 5, 6), 0);
	}
}

/* getpid with these flags set; the flags before, after, and r11's. */
__attribute__((naked, noinline)) static void flags_across(unsigned long set, unsigned long out[3])
{
	asm volatile("push %rbx\n pushfq\n pop %rax\n and $~0xcd5, %rax\n or %rdi, %rax\n mov %rax, 0(%rsi)\n"
		     "mov %rax, %rbx\n mov $39, %eax\n push %rbx\n popfq\n"
		     "syscall\n"
		     "pushfq\n pop %rax\n cld\n mov %rax, 8(%rsi)\n mov %r11, 16(%rsi)\n pop %rbx\n ret\n");
}

static void status_flags(void)
{
	/* Carry, parity, adjust, zero, sign, direction, overflow. */
	static const unsigned long sets[] = { 0, 0x1, 0x40 | 0x800, 0x400, 0x80 | 0x10, 0xcd5 };
	unsigned long out[3];

	for (unsigned i = 0; i < sizeof sets / sizeof sets[0]; i++) {
		flags_across(sets[i], out);
		EQ(out[1] & 0xcd5, out[0] & 0xcd5);
		EQ(out[2] & 0xcd5, out[0] & 0xcd5);
	}
}

static void numbers_out_of_range(void)
{
	static const long bad[] = { 1000, 600, 400, 511, 1 << 20, 0x7fffffff, -1, -4096, 0x200000000L + 1000 };

	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
		EQ(checked(bad[i], 1, 2, 3, 4, 5, 6), -ENOSYS);
	/* The x32 bit: some kernels serve it, most say ENOSYS. */
	long r = checked(0x40000000 + SYS_getpid, 1, 2, 3, 4, 5, 6);
	CHECK(r == -ENOSYS || r == getpid());
	ERR(syscall(180 /* nfsservctl, gone */), ENOSYS);
	ERR(syscall(156 /* _sysctl, gone */), ENOSYS);
}

static void dirty_upper_halves(void)
{
	const long dirt = 0x5a5a5a5a00000000;
	char b[16];
	int fd = make_file("f", "0123456789"), s[2];

	tcp_pair(s);
	EQ(checked(SYS_pread64, dirt | fd, (long)b, 4, 0, dirt, dirt), 4);
	EQ(checked(SYS_lseek, dirt | fd, 3, dirt | SEEK_SET, 0, 0, 0), 3);
	EQ(checked(SYS_openat, dirt | (unsigned)AT_FDCWD, (long)"f", dirt | O_RDONLY, dirt, 0, 0) > 0, 1);
	EQ(checked(SYS_sendto, dirt | s[0], (long)"xy", 2, dirt | MSG_NOSIGNAL, 0, dirt), 2);
	EQ(checked(SYS_recvfrom, dirt | s[1], (long)b, 16, dirt | MSG_PEEK, 0, 0), 2);
	long d = checked(SYS_dup, dirt | fd, 0, 0, 0, 0, 0);
	CHECK(d > 0);
	EQ(checked(SYS_fcntl, dirt | d, dirt | F_GETFD, 0, 0, 0, 0), 0);
	EQ(checked(SYS_dup2, dirt | fd, dirt | d, 0, 0, 0, 0), d);
	EQ(checked(SYS_poll, (long)&(struct pollfd){ s[1], POLLIN }, 1, dirt, 0, 0, 0), 1);
	EQ(checked(SYS_close, dirt | d, 0, 0, 0, 0, 0), 0);
	long t = checked(SYS_socket, dirt | AF_INET, dirt | SOCK_STREAM, dirt, 0, 0, 0);
	CHECK(t > 0);
	EQ(checked(SYS_listen, dirt | t, dirt | 5, 0, 0, 0, 0), 0);
	EQ(checked(SYS_kill, dirt | getpid(), dirt, 0, 0, 0, 0), 0);
	/* The number itself is 32 bits, too. */
	EQ(checked(dirt | SYS_getpid, 0, 0, 0, 0, 0, 0), getpid());
}

/* Vector registers across calls; plain SSE always, AVX when the processor has it. */
static void sse_across(long nr, long a, long b, long c)
{
	unsigned char in[16][16], out[16][16];

	for (int i = 0; i < 16; i++)
		fill(in[i], 16, i, nr);
	asm volatile(
		"mov %[in], %%r12\n mov %[out], %%r13\n"
		"movdqu 0(%%r12), %%xmm0\n movdqu 16(%%r12), %%xmm1\n movdqu 32(%%r12), %%xmm2\n movdqu 48(%%r12), %%xmm3\n"
		"movdqu 64(%%r12), %%xmm4\n movdqu 80(%%r12), %%xmm5\n movdqu 96(%%r12), %%xmm6\n movdqu 112(%%r12), %%xmm7\n"
		"movdqu 128(%%r12), %%xmm8\n movdqu 144(%%r12), %%xmm9\n movdqu 160(%%r12), %%xmm10\n movdqu 176(%%r12), %%xmm11\n"
		"movdqu 192(%%r12), %%xmm12\n movdqu 208(%%r12), %%xmm13\n movdqu 224(%%r12), %%xmm14\n movdqu 240(%%r12), %%xmm15\n"
		"syscall\n"
		"movdqu %%xmm0, 0(%%r13)\n movdqu %%xmm1, 16(%%r13)\n movdqu %%xmm2, 32(%%r13)\n movdqu %%xmm3, 48(%%r13)\n"
		"movdqu %%xmm4, 64(%%r13)\n movdqu %%xmm5, 80(%%r13)\n movdqu %%xmm6, 96(%%r13)\n movdqu %%xmm7, 112(%%r13)\n"
		"movdqu %%xmm8, 128(%%r13)\n movdqu %%xmm9, 144(%%r13)\n movdqu %%xmm10, 160(%%r13)\n movdqu %%xmm11, 176(%%r13)\n"
		"movdqu %%xmm12, 192(%%r13)\n movdqu %%xmm13, 208(%%r13)\n movdqu %%xmm14, 224(%%r13)\n movdqu %%xmm15, 240(%%r13)\n"
		: "+a"(nr), "+D"(a), "+S"(b), "+d"(c)
		: [in] "r"(in), [out] "r"(out)
		: "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	CHECK(memcmp(in, out, sizeof in) == 0);
}

__attribute__((target("avx"))) static void avx_across(long nr, long a, long b, long c)
{
	unsigned char in[8][32], out[8][32];

	for (int i = 0; i < 8; i++)
		fill(in[i], 32, i, nr + 77);
	asm volatile(
		"mov %[in], %%r12\n mov %[out], %%r13\n"
		"vmovdqu 0(%%r12), %%ymm0\n vmovdqu 32(%%r12), %%ymm1\n vmovdqu 64(%%r12), %%ymm5\n vmovdqu 96(%%r12), %%ymm7\n"
		"vmovdqu 128(%%r12), %%ymm8\n vmovdqu 160(%%r12), %%ymm11\n vmovdqu 192(%%r12), %%ymm14\n vmovdqu 224(%%r12), %%ymm15\n"
		"syscall\n"
		"vmovdqu %%ymm0, 0(%%r13)\n vmovdqu %%ymm1, 32(%%r13)\n vmovdqu %%ymm5, 64(%%r13)\n vmovdqu %%ymm7, 96(%%r13)\n"
		"vmovdqu %%ymm8, 128(%%r13)\n vmovdqu %%ymm11, 160(%%r13)\n vmovdqu %%ymm14, 192(%%r13)\n vmovdqu %%ymm15, 224(%%r13)\n"
		"vzeroupper\n"
		: "+a"(nr), "+D"(a), "+S"(b), "+d"(c)
		: [in] "r"(in), [out] "r"(out)
		: "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "memory", "xmm0", "xmm1", "xmm5", "xmm7", "xmm8", "xmm11", "xmm14", "xmm15");
	CHECK(memcmp(in, out, sizeof in) == 0);
}

static void vectors_with(void (*across)(long, long, long, long))
{
	static char b[200000];
	int fd = make_file("f", ""), s[2];

	EQ(write(fd, b, sizeof b), sizeof b);
	OK(lseek(fd, 0, SEEK_SET));
	tcp_pair(s);
	EQ(write(s[0], b, 100), 100);
	across(SYS_getpid, 0, 0, 0);
	across(SYS_sched_yield, 0, 0, 0);
	across(SYS_read, fd, (long)b, sizeof b);
	across(SYS_write, fd, (long)b, sizeof b);
	across(SYS_read, s[1], (long)b, 100);
	across(SYS_write, s[0], (long)b, 1000);
	across(SYS_read, s[1], (long)b, 50);
	across(SYS_nanosleep, (long)&(struct timespec){ 0, 5000000 }, 0, 0);
	across(SYS_stat, (long)"f", (long)b, 0);
	across(SYS_read, -1, (long)b, 1);
	across(SYS_poll, (long)&(struct pollfd){ s[0], POLLIN }, 1, 5);
	across(SYS_mmap, 0, 4096, PROT_READ);
}

static void sse_registers(void)
{
	vectors_with(sse_across);
}

static void avx_registers(void)
{
	if (!__builtin_cpu_supports("avx"))
		skip("this processor has no AVX");
	vectors_with(avx_across);
}

static void *vector_thread(void *arg)
{
	int *s = arg;
	char b[8];

	for (int i = 0; i < 200; i++) {
		sse_across(SYS_write, s[0], (long)"12345678", 8);
		sse_across(SYS_read, s[1], (long)b, 8);
		if (__builtin_cpu_supports("avx"))
			avx_across(SYS_sched_yield, 0, 0, 0);
	}
	return NULL;
}

static void vectors_in_threads(void)
{
	pthread_t t[6];
	int s[6][2];

	for (int i = 0; i < 6; i++) {
		tcp_pair(s[i]);
		P0(pthread_create(&t[i], NULL, vector_thread, s[i]));
	}
	for (int i = 0; i < 6; i++)
		P0(pthread_join(t[i], NULL));
}

__attribute__((target("avx512f,avx512bw"))) static void avx512_across(long nr, unsigned char (*in)[64])
{
	unsigned char out[7][64];

	asm volatile(
		"vmovdqu64 0(%[in]), %%zmm0\n vmovdqu64 64(%[in]), %%zmm9\n vmovdqu64 128(%[in]), %%zmm15\n"
		"vmovdqu64 192(%[in]), %%zmm16\n vmovdqu64 256(%[in]), %%zmm22\n vmovdqu64 320(%[in]), %%zmm31\n"
		"kmovq 384(%[in]), %%k0\n kmovq 392(%[in]), %%k1\n kmovq 400(%[in]), %%k7\n"
		"syscall\n"
		"vmovdqu64 %%zmm0, 0(%[out])\n vmovdqu64 %%zmm9, 64(%[out])\n vmovdqu64 %%zmm15, 128(%[out])\n"
		"vmovdqu64 %%zmm16, 192(%[out])\n vmovdqu64 %%zmm22, 256(%[out])\n vmovdqu64 %%zmm31, 320(%[out])\n"
		"kmovq %%k0, 384(%[out])\n kmovq %%k1, 392(%[out])\n kmovq %%k7, 400(%[out])\n"
		"vzeroupper\n"
		: "+a"(nr)
		: [in] "r"(in), [out] "r"(out)
		: "rcx", "r11", "memory", "xmm0", "xmm9", "xmm15");
	CHECK(memcmp(in, out, 6 * 64 + 24) == 0);
}

static void x87_across(long nr, double v)
{
	unsigned short cw = 0x0b7f, got_cw;
	double got;

	/* A value left on the stack of the unit, and a rounding mode. */
	asm volatile("fldcw %[cw]\n fldl %[v]\n syscall\n fstpl %[got]\n fnstcw %[got_cw]\n fninit"
		     : "+a"(nr), [got] "=m"(got), [got_cw] "=m"(got_cw)
		     : [cw] "m"(cw), [v] "m"(v)
		     : "rcx", "r11", "memory");
	CHECK(got == v);
	EQ(got_cw, cw);
}

static void mxcsr_across(long nr, unsigned mode)
{
	unsigned mx = 0x1f80 | mode << 13, got;

	asm volatile("ldmxcsr %[mx]\n syscall\n stmxcsr %[got]\n ldmxcsr %[usual]"
		     : "+a"(nr), [got] "=m"(got)
		     : [mx] "m"(mx), [usual] "m"((unsigned){ 0x1f80 })
		     : "rcx", "r11", "memory");
	EQ(got & 0xe000, mx & 0xe000);
}

__attribute__((target("avx"))) static void nothing_across(long nr)
{
	unsigned char out[3][32], zero[32] = { 0 };

	asm volatile("vzeroall\n syscall\n vmovdqu %%ymm0, 0(%[out])\n vmovdqu %%ymm7, 32(%[out])\n vmovdqu %%ymm15, 64(%[out])\n"
		     : "+a"(nr) : [out] "r"(out) : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	for (int i = 0; i < 3; i++)
		CHECK(memcmp(out[i], zero, 32) == 0);
}

static void *unit_thread(void *arg)
{
	long me = (long)arg;
	unsigned char z[7][64];

	for (int i = 0; i < 500; i++) {
		switch (me % 6) {
		case 0:
			sse_across(SYS_sched_yield, 0, 0, 0);
			break;
		case 1:
			if (__builtin_cpu_supports("avx"))
				avx_across(SYS_sched_yield, 0, 0, 0);
			break;
		case 2:
			if (__builtin_cpu_supports("avx512bw")) {
				for (int k = 0; k < 7; k++)
					fill(z[k], 64, i + k, me);
				avx512_across(SYS_sched_yield, z);
			}
			break;
		case 3:
			x87_across(SYS_sched_yield, me + i / 7.0);
			break;
		case 4:
			mxcsr_across(SYS_sched_yield, (me + i) & 3);
			break;
		case 5:
			if (__builtin_cpu_supports("avx"))
				nothing_across(SYS_sched_yield);
			break;
		}
	}
	return NULL;
}

/* Threads that use different units of the processor and give way to each other. */
static void units_in_threads(void)
{
	pthread_t t[12];

	for (long i = 0; i < 12; i++)
		P0(pthread_create(&t[i], NULL, unit_thread, (void *)(i * 5 % 12)));
	for (long i = 0; i < 12; i++)
		P0(pthread_join(t[i], NULL));
}

static volatile sig_atomic_t hits;
static void clobbers(int sig, siginfo_t *si, void *uc)
{
	hits++;
	asm volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pxor %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
}

static void registers_across_an_interrupted_call(void)
{
	struct sigaction sa = { .sa_sigaction = clobbers, .sa_flags = SA_SIGINFO };
	struct itimerval t = { { 0, 2000 }, { 0, 2000 } };
	char b[4];
	int s[2];

	tcp_pair(s);
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(setitimer(ITIMER_REAL, &t, NULL));
	for (int i = 0; i < 10; i++) {
		EQ(checked(SYS_read, s[0], (long)b, 4, 0x44, 0x55, 0x66), -EINTR);
		sse_across(SYS_read, s[0], (long)b, 4);
	}
	OK(setitimer(ITIMER_REAL, &(struct itimerval){ { 0 } }, NULL));
	CHECK(hits >= 20);
}

static void control_words(void)
{
	/* The rounding modes of both units stay. */
	unsigned mx = 0x3f80, got;
	unsigned short cw = 0x0f7f, got2;
	char b[16];
	int fd = make_file("f", "0123456789");

	asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(mx), "m"(cw));
	long n = syscall(SYS_pread64, fd, b, 10L, 0L);
	asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(got), "=m"(got2));
	asm volatile("ldmxcsr %0\n fninit" : : "m"((unsigned){ 0x1f80 }));
	EQ(n, 10);
	EQ(got & 0x6000, mx & 0x6000);
	EQ(got2, cw);
}

static void stack_at_the_edge(void)
{
	/* A call made with hardly any stack left below: nothing may be written there. */
	char *area = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = make_file("f", "0123456789");
	char b[16];
	long r;

	OK(mprotect(area, 4096, PROT_NONE));
	for (long nr = 0; nr < 2; nr++) {
		asm volatile("mov %%rsp, %%r12\n mov %[sp], %%rsp\n xor %%r10d, %%r10d\n syscall\n mov %%r12, %%rsp"
			     : "=a"(r)
			     : "a"(nr ? SYS_getpid : SYS_pread64), "D"((long)fd), "S"(b), "d"(10L), [sp] "r"(area + 4096 + 16)
			     : "rcx", "r8", "r9", "r10", "r11", "r12", "memory");
		EQ(r, nr ? getpid() : 10);
	}
}

static void gs_and_fs(void)
{
	/* The program's own bases: set and read back through arch_prctl. */
	unsigned long fs, gs;

	OK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs));
	CHECK(fs == *(unsigned long *)fs);
	OK(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &gs));
	(void)gs;
	ERR(syscall(SYS_arch_prctl, 0x7777, 0L), EINVAL);
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(general_registers), CASE(status_flags), CASE(numbers_out_of_range), CASE(dirty_upper_halves), CASE(sse_registers),
	CASE(avx_registers), CASE(vectors_in_threads), CASE(units_in_threads), CASE(registers_across_an_interrupted_call), CASE(control_words),
	CASE(stack_at_the_edge), CASE(gs_and_fs),
};
CHECK_MAIN(cases)
