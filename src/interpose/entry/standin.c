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
WEAK uint32_t vos_path_domains(const struct vos_proc *p) { (void)p; return 0; }
WEAK _Atomic uint32_t vos_mapping_count;
WEAK void vos_mapping_after(struct vos_ofd *o, unsigned nr, const uint64_t arg[6], long r) { (void)o, (void)nr, (void)arg, (void)r; }
WEAK void vos_mapping_flush(struct vos_ofd *o) { (void)o; }
