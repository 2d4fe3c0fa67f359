/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of virtuosd share.  One thread, one loop; nothing here waits for a client or a broker: every exchange is
 * a message sent without blocking and a deadline for the answer.
 *
 *	client --CALL--> session --> talk --JOIN--> domain --SPAWN--> broker
 *	client <-JOINED-- talk <-- proxy record <--------SPAWNED-- broker
 */
#ifndef VOS_SUPERVISOR_H
#define VOS_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "servers/common/channel.h"
#include "transport/local/make.h"

#define container_of(p, type, member) ((type *)(void *)((char *)(p) - offsetof(type, member)))

/* ---- loop.c: descriptors and timers ------------------------------------------------------------------------------- */

/* A descriptor that the loop watches; embedded in its owner. */
struct vos_source {
	int fd;                                  /* -1: none */
	void (*ready)(struct vos_source *s, uint32_t events);
};

struct vos_timer {
	uint64_t at;                             /* CLOCK_MONOTONIC ns; 0: not set */
	void (*fire)(struct vos_timer *t);
	struct vos_timer *next, **link;
};

int      vos_loop_init(void);
/* Until vos_loop_stop(). */
void     vos_loop_run(void);
/* What is due and ready now; `wait`: or next.  The number of events. */
int      vos_loop_turn(bool wait);
void     vos_loop_stop(void);
/* Watches s->fd for reading.  0 or negative errno. */
int      vos_loop_watch(struct vos_source *s);
/* Stops watching and closes the descriptor. */
void     vos_loop_forget(struct vos_source *s);
/* Frees p after the events of this turn: one of them may still name it. */
void     vos_loop_free(void *p);
void     vos_timer_set(struct vos_timer *t, uint64_t ms, void (*fire)(struct vos_timer *));
void     vos_timer_clear(struct vos_timer *t);
uint64_t vos_now(void);
/* Closes a stranger's descriptors; one whose close may block is closed by another thread. */
void     vos_close_strange(struct vos_msg_fds *fds);

/* One line to the log. */
void vos_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vos_chat(const char *format, ...) __attribute__((format(printf, 1, 2))); /* only with --verbose */

/* ---- main.c -------------------------------------------------------------------------------------------------------- */

struct vos_supervisor {
	bool  private;                           /* ends with its session */
	bool  verbose;
	bool  ending;
	uid_t uid;
	char  program[4096];                     /* virtuos-domain */
	uint32_t max_regions;                    /* of one user */
	uint64_t max_bytes;
	uint32_t beat_ms, hung_ms;               /* how often a broker is asked, and when it counts as hung */
};
extern struct vos_supervisor vos_sup;

/* Ends all domains, then the loop. */
void vos_supervisor_end(const char *why);

/* ---- domain.c: the life of a domain ---------------------------------------------------------------------------------- */

struct vos_talk;
struct vos_backend;

enum vos_dom_state { VOS_DOM_STARTING, VOS_DOM_UP, VOS_DOM_DOWN, VOS_DOM_STOPPED };

/* One instance: in local mode what is named by kind, name and root. */
struct vos_dom {
	struct vos_dom *next;
	const struct vos_backend *backend;
	uint32_t kind;
	char     name[VOS_DOMAIN_NAME_MAX];
	char    *root;                           /* storage; "" for a network domain */
	char    *label;                          /* as `list` shows it and commands name it */
	enum vos_dom_state state;
	uint64_t epoch;
	pid_t    pid;                            /* of the broker, and of its process group; 0: none, or not yet gone */
	struct vos_source broker;
	struct vos_timer  timer;                 /* starting: the deadline; up: the next beat; down: the next start or look */
	uint64_t beat, beat_answered;            /* numbers */
	uint64_t beat_since;                     /* when the oldest unanswered one was sent */
	uint64_t up_since;                       /* ns */
	uint64_t restarts;
	uint64_t starts[5];                      /* when the last ones were, a ring */
	uint32_t nstarts;
	uint32_t backoff_ms;                     /* 0: none */
	uint32_t crashes;                        /* in a row */
	bool     want;                           /* start again once its remains are gone */
	bool     reaping;                        /* its process group is not yet empty */
	bool     graceful;                       /* and was asked to end, not killed */
	uint64_t down_since;                     /* ns */
	int      error;                          /* why it does not come up by itself: negative errno; 0: it does */
	char     why[512];
	struct vos_prx  *proxies;
	struct vos_talk *waiters;                /* those that want it up */
	struct vos_talk *watchers;               /* CONTROL commands that end when it is up, or down */
};
extern struct vos_dom *vos_doms;

/*
 * The instance; made when it does not exist.  NULL and *ret_status, *ret_why when there can be none.
 */
struct vos_dom *vos_dom_get(uint32_t kind, const char *name, const char *root, int *ret_status, const char **ret_why);
/* Starts it unless it is up or on its way.  `by_hand`: also one that was stopped or given up. */
void vos_dom_want(struct vos_dom *d, bool by_hand);
/* SIGKILL to the whole process group; what follows depends on d->want. */
void vos_dom_kill(struct vos_dom *d, const char *why);
/* The end: closes the broker's socket and gives it a moment before the SIGKILL. */
void vos_dom_release(struct vos_dom *d);
/* A child ended, and is still a zombie: its number, which is its group's, cannot be another's yet. */
void vos_dom_child(pid_t pid, int status);
/* Sends to the broker, which must be up; a failure kills the domain.  0 or negative errno. */
int  vos_dom_send(struct vos_dom *d, const struct vos_msg *m, const int *fds, uint32_t nfds);
/* A broker has something to say (the loop's, and the fuzzer's). */
void vos_dom_broker_ready(struct vos_source *s, uint32_t events);
/* Whether nothing of any domain is left. */
bool vos_dom_all_gone(void);
const char *vos_dom_state_name(const struct vos_dom *d);
const char *vos_kind_name(uint32_t kind);

/* ---- introduce.c: proxies ---------------------------------------------------------------------------------------------- */

/* What one user has. */
struct vos_quota {
	struct vos_quota *next;
	uid_t    uid;
	uint32_t regions, talks;
	uint64_t bytes;
};
/* NULL when there is no memory. */
struct vos_quota *vos_quota_of(uid_t uid);

/* One proxy, from SPAWN until GONE. */
struct vos_prx {
	struct vos_prx *next;
	struct vos_dom *dom;
	uint64_t id;
	struct vos_quota *quota;
	uint64_t bytes;
	uid_t    uid;
	pid_t    client, pid;
	bool     up;                             /* SPAWNED came */
	dev_t    region_dev;
	ino_t    region_ino;
	struct vos_region_geo geo;
	struct vos_local_conn conn;              /* open until the client has it */
	struct vos_talk *talk;                   /* who waits; NULL once answered or given up */
	struct vos_timer timer;                  /* for SPAWNED */
};

/* The domain is up: makes the proxy that the talk's JOIN asks for, or answers it. */
void vos_introduce(struct vos_talk *t);
void vos_introduce_recred(struct vos_talk *t);
/* SPAWNED, RECRED or GONE from a broker.  0, or -EPROTO when it makes no sense. */
int  vos_introduce_message(struct vos_dom *d, const struct vos_msg *m);
/* The domain died: its proxies are gone; JOINs under way go back among its waiters. */
void vos_introduce_died(struct vos_dom *d);
/* The talk is closed: nobody waits any more. */
void vos_introduce_given_up(struct vos_talk *t);

/* ---- talk.c: sessions and conversations ---------------------------------------------------------------------------------- */

/* One conversation with a client. */
struct vos_talk {
	struct vos_source source;
	struct vos_channel_peer peer;
	struct vos_quota *quota;
	struct vos_msg msg;                      /* the request under way */
	struct vos_msg_fds fds;                  /* its descriptors */
	bool     busy;                           /* a request is under way */
	struct vos_dom *dom;                     /* that it waits for */
	struct vos_talk *next, **link;           /* in dom's waiters or watchers */
	struct vos_prx *prx;                     /* JOIN, RECRED: that is under way */
	struct vos_timer timer;                  /* while it waits for the domain */
	uint64_t deadline;                       /* ns */
	struct vos_seg *seg;                     /* that it holds */
	uint8_t  token[16];                      /* HOLD: of the exported file that lives as long as this talk */
	uint64_t held_epoch;                     /* of the domain then; 0: holds none */
	struct vos_dom *held;
	int      pipe;                           /* CONTROL: the output; -1 */
	bool     until_down;                     /* watcher: ends when the domain is down, not up */
};

/* Watches a session socket.  `holds`: the supervisor ends with it.  0 or negative errno; owns fd then. */
int  vos_session_open(int fd, bool holds);
int  vos_session_listen(int fd);
/* Answers the request under way; the talk is ready for the next. */
void vos_talk_answer(struct vos_talk *t, struct vos_msg *answer, const int *fds, uint32_t nfds);
void vos_talk_fail(struct vos_talk *t, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void vos_talk_close(struct vos_talk *t);
/* The request under way goes on as t->dom's state permits: executed, put among the waiters, or failed. */
void vos_talk_go(struct vos_talk *t);
/* Into a list of its domain (waiters, watchers) until the talk's deadline. */
void vos_talk_wait(struct vos_talk *t, struct vos_talk **list);
void vos_talk_unwait(struct vos_talk *t);
/* The domain has come up, or will not: its waiters go on. */
void vos_talk_domain_moved(struct vos_dom *d);

/* ---- control.c, segment.c ------------------------------------------------------------------------------------------------- */

void vos_control(struct vos_talk *t);
/* A watcher's domain moved, or its time is up: the output ends. */
void vos_control_done(struct vos_talk *t, const char *line);

void vos_segment(struct vos_talk *t);
void vos_segment_release(struct vos_talk *t);

#endif
