/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include "../dispatch/fdmap.h"
#include "../dispatch/path.h"
#include "../rt/rt.h"
#include "carrier.h"
#include "state.h"

#define MAGIC 0x45584543534f56ULL /* "VOSEXEC" */
#define VERSION 1

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct head {
	uint64_t magic;
	uint32_t version;
	uint32_t pid;                  /* an exec keeps it: a state that someone inherited by mistake is not taken */
	uint64_t ignored, masked;
	uint32_t domains, conns;
};

static uint64_t ignored_of_ours(const struct vos_proc *p)
{
	uint64_t set = 0;

	for (int sig = 1; sig <= VOS_NSIG; sig++)
		if ((VOS_SIG_OURS & vos_sigbit(sig)) && p->sigtab->act[sig].handler == (uint64_t)(uintptr_t)SIG_IGN)
			set |= vos_sigbit(sig);
	return set;
}

static bool put(int fd, const void *data, size_t n)
{
	return vos_raw3(SYS_write, fd, VOS_PTR(data), (long)n) == (long)n;
}

int vos_state_save(struct vos_proc *p, struct vos_state_out *out)
{
	struct head h = { .magic = MAGIC, .version = VERSION, .pid = (uint32_t)vos_raw0(SYS_getpid) };
	uint32_t mask = vos_fdmap_domains(p);
	int err;

	out->fd = -1;
	out->conns.n = 0;
	h.ignored = ignored_of_ours(p);
	h.masked = vos_self()->thread->sigmask;
	h.domains = p->ndomains;
	if (p->ndomains == 0 && h.ignored == 0 && h.masked == 0)
		return 0;
	err = vos_remote_exec_prepare(p, mask, &out->conns);
	if (err < 0)
		return err;
	h.conns = out->conns.n;
	out->fd = (int)vos_raw2(SYS_memfd_create, VOS_PTR("virtuos-exec"), MFD_ALLOW_SEALING);
	err = out->fd < 0 ? out->fd : 0;
	if (err == 0 && (!put(out->fd, &h, sizeof h) || !put(out->fd, out->conns.saved, h.conns * sizeof out->conns.saved[0])))
		err = -ENOMEM;
	if (err == 0)
		err = vos_fdmap_save(p, out->fd);
	if (err == 0)
		err = vos_path_save(p, out->fd);
	if (err == 0)
		err = (int)vos_raw3(SYS_fcntl, out->fd, F_ADD_SEALS, SEALS);
	if (err < 0) {
		vos_state_undo(p, out);
		return err;
	}
	return 0;
}

void vos_state_undo(struct vos_proc *p, struct vos_state_out *out)
{
	if (out->fd >= 0)
		vos_raw1(SYS_close, out->fd);
	out->fd = -1;
	if (p->ndomains)
		vos_remote_exec_undo(p, &out->conns);
}

bool vos_state_open(struct vos_state_in *in, const char *word)
{
	uint64_t fd;
	const struct head *h;
	long size, at;

	*in = (struct vos_state_in){ 0 };
	if (!word || !vos_number(&word, &fd) || *word || fd > INT32_MAX)
		return false;
	if (vos_raw2(SYS_fcntl, (long)fd, F_GET_SEALS) != SEALS)
		return false;
	size = vos_raw3(SYS_lseek, (long)fd, 0, 2 /* SEEK_END */);
	at = size < (long)sizeof *h ? -EINVAL : vos_raw6(SYS_mmap, 0, size, PROT_READ, MAP_PRIVATE, (long)fd, 0);
	if (vos_is_err(at))
		return false;
	h = (const void *)at;
	if (h->magic != MAGIC || h->version != VERSION || h->pid != (uint32_t)vos_raw0(SYS_getpid) || h->conns > VOS_DOMAINS_MAX ||
	    sizeof *h + h->conns * sizeof(struct vos_conn_saved) > (size_t)size) {
		vos_raw2(SYS_munmap, at, size);
		return false;
	}
	vos_raw1(SYS_close, (long)fd);
	in->data = (const char *)at;
	in->len = (size_t)size;
	in->ignored = h->ignored;
	in->masked = h->masked;
	return true;
}

void vos_state_load(struct vos_state_in *in, struct vos_proc *p)
{
	const struct head *h = (const void *)in->data;
	size_t used, at;
	int err = 0;

	if (!h)
		return;
	at = sizeof *h + h->conns * sizeof(struct vos_conn_saved);
	if (h->domains != p->ndomains) {
		/* The program gave its child another policy: what the old one had open is gone. */
		if (h->conns)
			vos_say("the policy changed across exec: descriptors of the old domains are closed");
	} else if (p->ndomains) {
		struct vos_conn_saved saved[VOS_DOMAINS_MAX];

		memcpy(saved, in->data + sizeof *h, h->conns * sizeof saved[0]);
		err = vos_remote_exec_adopt(p, saved, h->conns);
		if (err < 0)
			vos_say("connections of the last image are lost (error %d)", -err);
		err = vos_fdmap_load(p, in->data + at, in->len - at, &used);
		if (err == 0) {
			at += used;
			err = vos_path_load(p, in->data + at, in->len - at, &used);
		}
		if (err < 0)
			vos_say("descriptors of the last image are lost (error %d)", -err);
	}
	vos_raw2(SYS_munmap, VOS_PTR(in->data), (long)in->len);
	in->data = NULL;
}
