/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Weak stand-ins for what other rooms have not landed yet; each goes when its room comes. */
#include "../dispatch/fdmap.h"
#include "../dispatch/mapping.h"
#include "../dispatch/path.h"

#define WEAK __attribute__((weak))

WEAK void *vos_lane_alloc(struct vos_lane_client *l, size_t len, uint64_t *ret_off) { (void)l, (void)len, (void)ret_off; return NULL; }
WEAK uint64_t vos_lane_epoch(const struct vos_lane_client *l) { (void)l; return 0; }
WEAK void vos_lane_free(struct vos_lane_client *l, void *p) { (void)l, (void)p; }
WEAK size_t vos_lane_max(const struct vos_lane_client *l) { (void)l; return 0; }
WEAK int vos_remote_begin(struct vos_lane_client *l, const struct vos_req *req, struct vos_pending *p) { (void)l, (void)req, (void)p; return -EIO; }
WEAK long vos_remote_call(struct vos_lane_client *l, struct vos_req *req, struct vos_cqe *ret_cqe) { (void)l, (void)req, (void)ret_cqe; return -EIO; }
WEAK int vos_remote_wait(struct vos_pending **p, uint32_t n, struct vos_wait *w) { (void)p, (void)n, (void)w; return -ETIMEDOUT; }
WEAK struct vos_lane_client *vos_remote_lane(struct vos_domain *d, int *ret_err) { (void)d; *ret_err = -EIO; return NULL; }
WEAK struct vos_lane_client *vos_remote_lane_try(struct vos_domain *d, int *ret_err) { return vos_remote_lane(d, ret_err); }
WEAK struct vos_domain *vos_lane_domain(const struct vos_lane_client *l) { (void)l; return NULL; }
WEAK void vos_remote_cancel(struct vos_pending *p) { (void)p; }

WEAK int vos_remote_start(struct vos_proc *p, int fd, const char *supervisor, const char *dir, char *const *envp) { (void)p, (void)fd, (void)supervisor, (void)dir, (void)envp; return -ENOSYS; }
WEAK int vos_remote_fork_prepare(struct vos_proc *p, uint32_t mask, struct vos_fork_conns *f) { (void)p, (void)mask, (void)f; return 0; }
WEAK void vos_remote_fork_parent(struct vos_proc *p, struct vos_fork_conns *f) { (void)p, (void)f; }
WEAK void vos_remote_fork_child(struct vos_proc *p, struct vos_fork_conns *f) { (void)p, (void)f; }
WEAK int vos_remote_vfork(struct vos_proc *child, struct vos_proc *parent) { (void)child, (void)parent; return 0; }
WEAK void vos_remote_vfork_done(struct vos_proc *child) { (void)child; }
WEAK void vos_remote_carrier_gone(struct vos_carrier *c) { (void)c; }
WEAK int vos_remote_recred(struct vos_proc *p) { (void)p; return 0; }
WEAK int vos_remote_exec_prepare(struct vos_proc *p, uint32_t mask, struct vos_exec_conns *x) { (void)p, (void)mask, (void)x; return 0; }
WEAK void vos_remote_exec_undo(struct vos_proc *p, struct vos_exec_conns *x) { (void)p, (void)x; }
WEAK int vos_remote_exec_adopt(struct vos_proc *p, const struct vos_conn_saved *saved, uint32_t n) { (void)p, (void)saved, (void)n; return 0; }
WEAK void vos_remote_kick(struct vos_carrier *c) { (void)c; }
WEAK void vos_mapping_moved(uint64_t from, uint64_t fl, uint64_t to, uint64_t tl) { (void)from, (void)fl, (void)to, (void)tl; }
WEAK int vos_mapping_may_protect(uint64_t addr, uint64_t len, int prot) { (void)addr, (void)len, (void)prot; return 0; }
WEAK int vos_mapping_msync(uint64_t addr, uint64_t len, int flags, long *ret) { (void)addr, (void)len, (void)flags, (void)ret; return 0; }
WEAK int vos_mapping_madvise(uint64_t addr, uint64_t len, int advice, long *ret) { (void)addr, (void)len, (void)advice, (void)ret; return 0; }
