/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of the control channels: client ↔ supervisor, supervisor ↔ broker, broker ↔ proxy.  One SOCK_SEQPACKET
 * message holds one struct vos_msg, and carries the descriptors that its type names (SCM_RIGHTS, in that order).
 * PROTOCOL.md tells who sends what, and wins over this header.  Every field is checked by the receiver.
 */
#ifndef VOS_MSG_H
#define VOS_MSG_H

#include <stdint.h>
#include "region.h"

#define VOS_MSG_MAGIC   0x564f534dU /* "VOSM" */
#define VOS_MSG_VERSION 1

#define VOS_DOMAIN_NAME_MAX 64   /* with the NUL */
#define VOS_PATH_MAX        4096
#define VOS_GROUPS_MAX      64

enum vos_msg_type {
	VOS_MSG_CALL    = 1,  /* client → supervisor, on the session socket: fd {the supervisor's end of a socket pair}.
	                       * All that follows travels on that pair; its SO_PEERCRED are the client's credentials. */
	VOS_MSG_JOIN    = 2,  /* client → supervisor: wants a proxy in `domain` (kind, root, lanes…, fork_of, flags) */
	VOS_MSG_JOINED  = 3,  /* answer: status 0, epoch, proxy, geo; fds {region, doorbell, wake, control} */
	VOS_MSG_SPAWN   = 4,  /* supervisor → broker: as JOIN, with creds; fds {region, doorbell, wake, proxy's control end} */
	VOS_MSG_SPAWNED = 5,  /* broker → supervisor: status, proxy */
	VOS_MSG_GONE    = 6,  /* broker → supervisor: proxy ended; status = wait status */
	VOS_MSG_BEAT    = 7,  /* supervisor → broker and back: alive */
	VOS_MSG_STATE   = 8,  /* client → supervisor: state of `domain`; answer the same type: status, epoch, text */
	VOS_MSG_CONTROL = 9,  /* CLI → supervisor: domain command in `text` (list, start, restart, kill, stop NAME); answer
	                       * of the same type: status, fd {pipe with the output} */
	VOS_MSG_RECRED  = 10, /* client → supervisor: give proxy my credentials of now; answered with status */
	VOS_MSG_EXPORT  = 11, /* proxy → broker: keep fd {open file} under `token` */
	VOS_MSG_IMPORT  = 12, /* proxy → broker: answer carries fd {open file}, status */
	VOS_MSG_STATUS  = 13, /* a plain answer: status, text */
	VOS_MSG_SHMAP   = 14, /* client → supervisor: the shared segment of file (domain, dev, ino, size): answer status,
	                       * aux 1 = VOS_SHMAP_READY, _FRESH or _LEFT, fds {segment, shadow}; later, aux 3 = 1: filled */
	VOS_MSG_HOLD    = 15, /* client → supervisor: an exported file (kind, domain, token) is to be kept while this
	                       * conversation is open; answered by the same, whole.  Supervisor → broker: status 1 keep, 0 drop */
	VOS_MSG_END
};

enum { VOS_SHMAP_READY, VOS_SHMAP_FRESH, VOS_SHMAP_LEFT };
enum { VOS_KIND_NET = 1, VOS_KIND_STORE = 2 };

struct vos_msg {
	uint32_t magic, version;
	uint32_t type;
	int32_t  status;               /* 0 or negative errno */
	uint32_t kind;                 /* VOS_KIND_* */
	uint32_t flags;
	uint64_t epoch;                /* how many times the domain was started; from 1 */
	uint64_t proxy;                /* the supervisor's name for a proxy; never reused */
	uint64_t fork_of;              /* 0, or the proxy that is to be forked */
	struct vos_region_geo geo;     /* JOIN: lanes, slots, data_stride as wished; later as laid out */
	uint32_t pid, uid, gid, ngroups;
	uint32_t groups[VOS_GROUPS_MAX];
	uint64_t aux[4];
	uint8_t  token[16];
	char     domain[VOS_DOMAIN_NAME_MAX]; /* "local", "local:NETNS", "xen:disk0" */
	char     text[VOS_PATH_MAX];          /* JOIN: root of the export; answers: one line for a person */
};

#endif
