/* Threads: life and death, blocking I/O in many at once, every kind of waiting, cancellation, identity. */
#include "check.h"
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void *returns(void *arg)
{
	return (char *)arg + 1;
}

static void create_and_join(void)
{
	pthread_t t[50];
	void *r;

	for (long i = 0; i < 50; i++)
		P0(pthread_create(&t[i], NULL, returns, (void *)i));
	for (long i = 0; i < 50; i++) {
		P0(pthread_join(t[i], &r));
		EQ((long)r, i + 1);
	}
	for (long i = 0; i < 500; i++) {
		P0(pthread_create(&t[0], NULL, returns, (void *)i));
		P0(pthread_join(t[0], &r));
		EQ((long)r, i + 1);
	}
	EQ(pthread_join(pthread_self(), NULL), EDEADLK);
}

static sem_t sem;
static void *posts(void *arg)
{
	sem_post(&sem);
	return NULL;
}

static void detached(void)
{
	pthread_attr_t a;
	pthread_t t;

	P0(pthread_attr_init(&a));
	P0(pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED));
	P0(pthread_attr_setstacksize(&a, 64 * 1024));
	OK(sem_init(&sem, 0, 0));
	for (int i = 0; i < 200; i++)
		P0(pthread_create(&t, &a, posts, NULL));
	for (int i = 0; i < 200; i++)
		OK(sem_wait(&sem));
	P0(pthread_create(&t, NULL, posts, NULL));
	P0(pthread_detach(t));
	OK(sem_wait(&sem));
}

struct pair {
	int fd[2];
	int n;
};
static void *echoes(void *arg)
{
	struct pair *p = arg;
	int v;

	for (int i = 0; i < p->n; i++) {
		EQ(read_all(p->fd[1], &v, sizeof v), sizeof v);
		v += 1000;
		EQ(write(p->fd[1], &v, sizeof v), sizeof v);
	}
	return NULL;
}
static void *asks(void *arg)
{
	struct pair *p = arg;
	int v;

	for (int i = 0; i < p->n; i++) {
		EQ(write(p->fd[0], &i, sizeof i), sizeof i);
		EQ(read_all(p->fd[0], &v, sizeof v), sizeof v);
		EQ(v, i + 1000);
	}
	return NULL;
}

static void blocking_in_many(void)
{
	enum { N = 24 };
	struct pair p[N];
	pthread_t t[N][2];

	for (int i = 0; i < N; i++) {
		p[i].n = 40;
		if (i % 3 == 2)
			OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p[i].fd));
		else
			tcp_pair(p[i].fd);
	}
	for (int i = 0; i < N; i++) {
		P0(pthread_create(&t[i][0], NULL, echoes, &p[i]));
		P0(pthread_create(&t[i][1], NULL, asks, &p[i]));
	}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			P0(pthread_join(t[i][k], NULL));
}

static void *file_worker(void *arg)
{
	char name[32], b[100];
	long id = (long)arg;

	for (int i = 0; i < 60; i++) {
		sprintf(name, "w%ld.%d", id, i % 3);
		int fd = OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
		memset(b, 'a' + id, sizeof b);
		EQ(write(fd, b, sizeof b), sizeof b);
		EQ(pread(fd, b, sizeof b, 0), sizeof b);
		for (unsigned k = 0; k < sizeof b; k++)
			EQ(b[k], 'a' + id);
		OK(close(fd));
		OK(unlink(name));
	}
	return NULL;
}

static void files_in_many(void)
{
	pthread_t t[12];

	for (long i = 0; i < 12; i++)
		P0(pthread_create(&t[i], NULL, file_worker, (void *)i));
	for (int i = 0; i < 12; i++)
		P0(pthread_join(t[i], NULL));
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int turn, total;
static void *takes_turns(void *arg)
{
	int me = (long)arg;

	for (int i = 0; i < 300; i++) {
		P0(pthread_mutex_lock(&m));
		while (turn != me)
			P0(pthread_cond_wait(&c, &m));
		turn = (turn + 1) % 3;
		total++;
		P0(pthread_cond_broadcast(&c));
		P0(pthread_mutex_unlock(&m));
	}
	return NULL;
}

static void mutex_and_condition(void)
{
	pthread_t t[3];

	for (long i = 0; i < 3; i++)
		P0(pthread_create(&t[i], NULL, takes_turns, (void *)i));
	for (int i = 0; i < 3; i++)
		P0(pthread_join(t[i], NULL));
	EQ(total, 900);
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	P0(pthread_mutex_lock(&m));
	EQ(pthread_cond_timedwait(&c, &m, &ts), ETIMEDOUT);
	EQ(pthread_mutex_trylock(&m), EBUSY);
	P0(pthread_mutex_unlock(&m));
	P0(pthread_mutex_lock(&m));
	EQ(pthread_mutex_timedlock(&m, &ts), ETIMEDOUT);
}

static pthread_mutex_t kinds[3];
static int counter;
static void *adds(void *arg)
{
	pthread_mutex_t *k = arg;

	for (int i = 0; i < 5000; i++) {
		P0(pthread_mutex_lock(k));
		counter++;
		P0(pthread_mutex_unlock(k));
	}
	return NULL;
}

static void kinds_of_mutex(void)
{
	pthread_mutexattr_t a;
	pthread_t t[4];

	for (int i = 0; i < 3; i++) {
		P0(pthread_mutexattr_init(&a));
		if (i == 1)
			P0(pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE));
		if (i == 2)
			P0(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
		P0(pthread_mutex_init(&kinds[i], &a));
		counter = 0;
		for (int k = 0; k < 4; k++)
			P0(pthread_create(&t[k], NULL, adds, &kinds[i]));
		for (int k = 0; k < 4; k++)
			P0(pthread_join(t[k], NULL));
		EQ(counter, 20000);
	}
	P0(pthread_mutex_lock(&kinds[1]));
	P0(pthread_mutex_lock(&kinds[1]));
	P0(pthread_mutex_unlock(&kinds[1]));
	P0(pthread_mutex_unlock(&kinds[1]));
	EQ(pthread_mutex_unlock(&kinds[1]), EPERM);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t bar;
static int shared_value, serial;
static void *reads_and_writes(void *arg)
{
	for (int i = 0; i < 200; i++) {
		if (i % 5 == 0) {
			P0(pthread_rwlock_wrlock(&rw));
			shared_value++;
			P0(pthread_rwlock_unlock(&rw));
		} else {
			P0(pthread_rwlock_rdlock(&rw));
			int v = shared_value;
			sched_yield();
			EQ(v, shared_value);
			P0(pthread_rwlock_unlock(&rw));
		}
	}
	if (pthread_barrier_wait(&bar) == PTHREAD_BARRIER_SERIAL_THREAD)
		__atomic_add_fetch(&serial, 1, __ATOMIC_SEQ_CST);
	EQ(shared_value, 240);
	return NULL;
}

static void rwlock_and_barrier(void)
{
	pthread_t t[6];

	P0(pthread_barrier_init(&bar, NULL, 6));
	for (int i = 0; i < 6; i++)
		P0(pthread_create(&t[i], NULL, reads_and_writes, NULL));
	for (int i = 0; i < 6; i++)
		P0(pthread_join(t[i], NULL));
	EQ(serial, 1);
}

static void semaphores_between_processes(void)
{
	sem_t *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	OK(sem_init(&s[0], 1, 0));
	OK(sem_init(&s[1], 1, 0));
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 100; i++) {
			OK(sem_wait(&s[0]));
			OK(sem_post(&s[1]));
		}
		_exit(0);
	}
	for (int i = 0; i < 100; i++) {
		OK(sem_post(&s[0]));
		OK(sem_wait(&s[1]));
	}
	wait_ok(pid);
	ERR(sem_trywait(&s[0]), EAGAIN);
}

static int cancel_fd;
static volatile int cleaned;
static void clean(void *arg)
{
	cleaned++;
}
static void *reads_until_cancelled(void *arg)
{
	char b[4];

	pthread_cleanup_push(clean, NULL);
	for (;;)
		read(cancel_fd, b, sizeof b);
	pthread_cleanup_pop(0);
	return NULL;
}
static void *spins_until_cancelled(void *arg)
{
	int old;

	pthread_cleanup_push(clean, NULL);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	sem_post(&sem);
	for (volatile long i = 0;; i++)
		;
	pthread_cleanup_pop(0);
	return NULL;
}
static void *refuses_for_a_while(void *arg)
{
	int old;
	char b[4];

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	EQ(read_all(cancel_fd, b, 4), 4);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	pthread_testcancel();
	return NULL;
}

static void cancelled(void)
{
	pthread_t t;
	void *r;
	int s[2], p[2];

	tcp_pair(s);
	OK(pipe(p));
	OK(sem_init(&sem, 0, 0));
	for (int i = 0; i < 10; i++) {
		cancel_fd = i % 2 ? s[0] : p[0];
		P0(pthread_create(&t, NULL, reads_until_cancelled, NULL));
		if (i > 2)
			settle();
		P0(pthread_cancel(t));
		P0(pthread_join(t, &r));
		CHECK(r == PTHREAD_CANCELED);
		EQ(cleaned, i + 1);
	}
	/* The descriptors are as good as before. */
	EQ(write(s[1], "ab", 2), 2);
	EQ(read(s[0], (char[4]){ 0 }, 4), 2);
	P0(pthread_create(&t, NULL, spins_until_cancelled, NULL));
	OK(sem_wait(&sem));
	P0(pthread_cancel(t));
	P0(pthread_join(t, &r));
	CHECK(r == PTHREAD_CANCELED);
	cancel_fd = s[0];
	P0(pthread_create(&t, NULL, refuses_for_a_while, NULL));
	P0(pthread_cancel(t));
	EQ(write(s[1], "data", 4), 4);
	P0(pthread_join(t, &r));
	CHECK(r == PTHREAD_CANCELED);
}

static __thread int tls = 7;
static __thread char tls_big[5000];
static pthread_key_t key;
static int destroyed;
static void destroy(void *p)
{
	__atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
}
static void *uses_tls(void *arg)
{
	int s[2];
	char b;

	EQ(tls, 7);
	tls = (long)arg;
	tls_big[4000] = tls;
	P0(pthread_setspecific(key, arg));
	tcp_pair(s);
	for (int i = 0; i < 20; i++) {
		EQ(write(s[0], "x", 1), 1);
		EQ(read(s[1], &b, 1), 1);
		sched_yield();
		errno = (long)arg;
		getpid();
		EQ(errno, (long)arg);
		EQ(tls, (long)arg);
		EQ(tls_big[4000], (char)(long)arg);
		CHECK(pthread_getspecific(key) == arg);
	}
	return NULL;
}

static void storage_of_threads(void)
{
	pthread_t t[8];

	P0(pthread_key_create(&key, destroy));
	for (long i = 0; i < 8; i++)
		P0(pthread_create(&t[i], NULL, uses_tls, (void *)(i + 100)));
	for (int i = 0; i < 8; i++)
		P0(pthread_join(t[i], NULL));
	EQ(tls, 7);
	EQ(destroyed, 8);
}

static void *outlives(void *arg)
{
	/* The first thread is gone, or will be. */
	int fd;

	settle();
	fd = open("outlived", O_CREAT | O_WRONLY, 0600);
	_exit(fd >= 0 && write(fd, "yes", 3) == 3 ? 23 : 1);
}

static void main_ends_first(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t t;
		P0(pthread_create(&t, NULL, outlives, NULL));
		pthread_exit(NULL);
	}
	EQ(wait_status(pid), 23 << 8);
	CHECK(strcmp(slurp("outlived"), "yes") == 0);
	/* And when all threads end by pthread_exit, the process ends with 0. */
	pid = fork();
	if (pid == 0) {
		pthread_t t;
		P0(pthread_create(&t, NULL, returns, NULL));
		pthread_exit(NULL);
	}
	EQ(wait_status(pid), 0);
}

static struct gate hold;
static void *holds(void *arg)
{
	uid_t r, e, s;

	gate_wait(&hold);
	OK(getresuid(&r, &e, &s));
	EQ(r, 65534);
	EQ(e, 65534);
	EQ(s, 65534);
	ERR(open("secret", O_RDONLY), EACCES);
	return NULL;
}

static void setuid_reaches_all(void)
{
	pthread_t t[6];

	need_root();
	OK(close(make_file("secret", "x")));
	OK(chmod("secret", 0600));
	gate_init(&hold);
	for (int i = 0; i < 6; i++)
		P0(pthread_create(&t[i], NULL, holds, NULL));
	settle();
	OK(setgid(65534));
	OK(setuid(65534));
	for (int i = 0; i < 6; i++)
		gate_open(&hold);
	for (int i = 0; i < 6; i++)
		P0(pthread_join(t[i], NULL));
	ERR(setuid(0), EPERM);
}

static void *sets_ids(void *arg)
{
	struct stat st;

	for (int i = 0; i < 50; i++) {
		OK(syscall(SYS_setresuid, -1, -1, -1));
		OK(fstat(*(int *)arg, &st));
	}
	return NULL;
}

/* setuid() of a threaded program is a call of each thread, all at once. */
static void ids_from_many_threads(void)
{
	pthread_t t[8];
	int fd = make_file("kept", "x");

	for (int i = 0; i < 8; i++)
		P0(pthread_create(&t[i], NULL, sets_ids, &fd));
	for (int i = 0; i < 8; i++)
		P0(pthread_join(t[i], NULL));
	OK(close(fd));
}

static void *named(void *arg)
{
	char b[32];

	P0(pthread_setname_np(pthread_self(), "worker-name"));
	gate_open(&hold);
	EQ(read(cancel_fd, b, 1), 1);
	OK(prctl(PR_GET_NAME, b));
	CHECK(strcmp(b, "worker-name") == 0);
	return NULL;
}

static void names(void)
{
	pthread_t t;
	char b[32];
	int p[2];

	OK(pipe(p));
	cancel_fd = p[0];
	gate_init(&hold);
	P0(pthread_create(&t, NULL, named, NULL));
	gate_wait(&hold);
	P0(pthread_getname_np(t, b, sizeof b));
	CHECK(strcmp(b, "worker-name") == 0);
	P0(pthread_getname_np(pthread_self(), b, sizeof b));
	CHECK(strcmp(b, "worker-name") != 0);
	EQ(write(p[1], "x", 1), 1);
	P0(pthread_join(t, NULL));
}

static void *dies_holding(void *arg)
{
	P0(pthread_mutex_lock(arg));
	return NULL;
}

static void robust(void)
{
	pthread_mutexattr_t a;
	pthread_mutex_t *k = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t t;

	P0(pthread_mutexattr_init(&a));
	P0(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST));
	P0(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED));
	P0(pthread_mutex_init(k, &a));
	P0(pthread_create(&t, NULL, dies_holding, k));
	EQ(pthread_join(t, NULL), 0);
	EQ(pthread_mutex_lock(k), EOWNERDEAD);
	P0(pthread_mutex_consistent(k));
	P0(pthread_mutex_unlock(k));
	pid_t pid = fork();
	if (pid == 0) {
		P0(pthread_mutex_lock(k));
		kill(getpid(), SIGKILL);
	}
	wait_status(pid);
	EQ(pthread_mutex_lock(k), EOWNERDEAD);
	P0(pthread_mutex_consistent(k));
	P0(pthread_mutex_unlock(k));
}

static void *tid_of(void *arg)
{
	int *cleared;

	/* The word that its end clears, which pthread_join() waits for: told, and set to what it is. */
	if (prctl(PR_GET_TID_ADDRESS, &cleared) == 0) {
		EQ(*cleared, gettid());
		EQ(syscall(SYS_set_tid_address, cleared), gettid());
	}
	*(pid_t *)arg = gettid();
	EQ(getpid(), check_main_pid ? getpid() : 0);
	return NULL;
}

static void identities(void)
{
	pthread_t t;
	pid_t tid = 0;

	P0(pthread_create(&t, NULL, tid_of, &tid));
	P0(pthread_join(t, NULL));
	CHECK(tid > 0 && tid != gettid());
	EQ(gettid(), getpid());
	/* A joined thread's id is no one's. */
	EQ(syscall(SYS_tgkill, getpid(), gettid(), 0), 0);
	ERR(syscall(SYS_tgkill, getpid(), tid, 0), ESRCH);
}

static void *forks(void *arg)
{
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			char b[4];
			int fd = open("f", O_RDONLY);
			_exit(fd >= 0 && read(fd, b, 3) == 3 && gettid() == getpid() ? 0 : 1);
		}
		EQ(wait_status(pid), 0);
	}
	return NULL;
}

static void fork_from_threads(void)
{
	pthread_t t[4], w[2];
	struct pair p = { .n = 2000 };

	OK(close(make_file("f", "abc")));
	tcp_pair(p.fd);
	P0(pthread_create(&w[0], NULL, echoes, &p));
	P0(pthread_create(&w[1], NULL, asks, &p));
	for (int i = 0; i < 4; i++)
		P0(pthread_create(&t[i], NULL, forks, NULL));
	for (int i = 0; i < 4; i++)
		P0(pthread_join(t[i], NULL));
	for (int i = 0; i < 2; i++)
		P0(pthread_join(w[i], NULL));
}

static const struct check_case cases[] = {
	CASE_IN_MAIN(create_and_join), CASE(detached), CASE(blocking_in_many), CASE(files_in_many), CASE(mutex_and_condition),
	CASE(kinds_of_mutex), CASE(rwlock_and_barrier), CASE(semaphores_between_processes), CASE(cancelled), CASE(storage_of_threads),
	CASE(main_ends_first), CASE(setuid_reaches_all), CASE(ids_from_many_threads), CASE(names), CASE(robust),
	CASE(identities), CASE(fork_from_threads),
};
CHECK_MAIN(cases)
