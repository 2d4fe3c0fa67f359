/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a request to arguments that the kernel may be given.  The table says what each argument is; nothing here knows a
 * call by name.  Every byte that the client can still change is read once: strings and structs are copied, plain data is left
 * to the kernel, which copies it itself.
 */
#include <fcntl.h>
#include "servers/domain/domain.h"

unsigned char *vos_validate_range(struct vos_proxy *p, uint32_t lane, uint64_t off, uint64_t len)
{
	const struct vos_lane_view *v = &p->lane[lane].view;

	if (off > v->data_size || len > v->data_size - off)
		return NULL;
	return v->data + off;
}

/* Copies a NUL-terminated string of the lane's data area; the copy alone is searched for its end. */
static int copy_string(struct vos_proxy *p, uint32_t lane, uint64_t off, char *ret)
{
	const struct vos_lane_view *v = &p->lane[lane].view;
	size_t room, done = 0;

	if (off >= v->data_size)
		return -EFAULT;
	room = v->data_size - off < VOS_PATH_MAX ? v->data_size - off : VOS_PATH_MAX;
	while (done < room) {
		size_t n = room - done < 128 ? room - done : 128;

		memcpy(ret + done, v->data + off + done, n);
		if (memchr(ret + done, 0, n))
			return 0;
		done += n;
	}
	return room < VOS_PATH_MAX ? -EFAULT : -ENAMETOOLONG;
}

static int at_fd(struct vos_proxy *p, uint64_t arg, long *ret)
{
	int32_t fd = (int32_t)arg;

	if (fd == VOS_AT_CWD || fd == VOS_AT_ROOT)
		fd = fd == VOS_AT_CWD ? p->cwd_fd : p->root_fd;
	else if (!vos_rfd(p, fd))
		fd = -1;
	*ret = fd;
	return fd < 0 ? -EBADF : 0;
}

/* Bytes of the data area; with no length the offset means nothing. */
static int bytes(struct vos_proxy *p, struct vos_op *op, uint64_t off, uint64_t len, long *ret)
{
	unsigned char *at;

	if (off == VOS_NULL) {
		*ret = 0;
		return len ? -EFAULT : 0;
	}
	at = vos_validate_range(p, op->lane, off, len);
	if (!at)
		return -EFAULT;
	*ret = VOS_PTR(at);
	return 0;
}

int vos_validate(struct vos_proxy *p, struct vos_op *op, const struct vos_req *req)
{
	const struct vos_call *call = &vos_calls[req->op < VOS_NR_END ? req->op : 0];
	unsigned strings = 0, structs = 0;
	uint64_t base = req->arg[5];
	int r = 0;

	if (req->op >= VOS_NR_END || !call->name[0] || call->exec == VOS_X_NONE)
		return -ENOSYS;
	if (req->flags & ~VOS_REQ_NOWAIT)
		return -EINVAL;
	for (unsigned i = 0; i < 6 && !r; i++) {
		uint64_t v = req->arg[i], param = VOS_ARG_PARAM(call->arg[i]);
		unsigned char *at;

		switch (VOS_ARG_KIND(call->arg[i])) {
		case VOS_A_NONE:
			/* Beyond the call's arguments; the special forms of PROTOCOL.md put a size there. */
			op->a[i] = (long)v;
			break;
		case VOS_A_INT:
		case VOS_A_SIG:
			op->a[i] = (int32_t)v;
			break;
		case VOS_A_LONG:
		case VOS_A_CAP:
		case VOS_A_PTR:
			op->a[i] = (long)v;
			break;
		case VOS_A_FD:
			op->a[i] = (int32_t)v;
			if (!vos_rfd(p, (int32_t)v))
				r = -EBADF;
			else if (op->fd < 0)
				op->fd = (int32_t)v;
			break;
		case VOS_A_ATFD:
			r = at_fd(p, v, &op->a[i]);
			break;
		case VOS_A_PATH:
		case VOS_A_CSTR:
			if (v == VOS_NULL) {
				op->a[i] = 0;
				break;
			}
			r = copy_string(p, op->lane, v, p->str[strings]);
			op->a[i] = VOS_PTR(p->str[strings]);
			strings++;
			break;
		case VOS_A_IN:
		case VOS_A_OUT:
		case VOS_A_IOVIN:
		case VOS_A_IOVOUT:
			r = bytes(p, op, v, req->arg[param], &op->a[i]);
			break;
		case VOS_A_INS:
		case VOS_A_IOS:
			op->a[i] = 0;
			if (v == VOS_NULL)
				break;
			at = vos_validate_range(p, op->lane, v, param);
			if (!at || param > VOS_OP_IN_MAX) {
				r = -EFAULT;
				break;
			}
			memcpy(op->in[structs], at, param);
			op->a[i] = VOS_PTR(op->in[structs]);
			if (VOS_ARG_KIND(call->arg[i]) == VOS_A_IOS) {
				op->ios_out[structs] = at;
				op->ios_len[structs] = (uint32_t)param;
			}
			structs++;
			break;
		case VOS_A_OUTS:
			op->a[i] = 0;
			if (v == VOS_NULL)
				break;
			at = vos_validate_range(p, op->lane, v, param);
			if (!at)
				r = -EFAULT;
			op->a[i] = VOS_PTR(at);
			break;
		case VOS_A_OUTL: {
			/* The capacity word is read here, once; A_LENP then only learns where it stands. */
			uint64_t lenp = req->arg[param];

			op->a[i] = op->a[param] = 0;
			if ((v == VOS_NULL) != (lenp == VOS_NULL)) {
				r = -EFAULT;
				break;
			}
			if (v == VOS_NULL)
				break;
			op->lenp_out = vos_validate_range(p, op->lane, lenp, sizeof op->lenp);
			if (!op->lenp_out) {
				r = -EFAULT;
				break;
			}
			memcpy(&op->lenp, op->lenp_out, sizeof op->lenp);
			if (op->lenp > INT_MAX) {
				r = -EINVAL;
				break;
			}
			r = bytes(p, op, v, op->lenp, &op->a[i]);
			break;
		}
		case VOS_A_LENP:
			op->a[i] = op->lenp_out ? VOS_PTR(&op->lenp) : 0;
			break;
		}
	}
	/* A path without a directory of its own before it has its base here; the table cannot say so. */
	if (!r && VOS_ARG_KIND(call->arg[0]) == VOS_A_PATH)
		r = at_fd(p, base, &op->a[5]);
	return r;
}

void vos_validate_out(struct vos_op *op)
{
	if (op->lenp_out)
		memcpy(op->lenp_out, &op->lenp, sizeof op->lenp);
	for (unsigned i = 0; i < 2; i++)
		if (op->ios_out[i])
			memcpy(op->ios_out[i], op->in[i], op->ios_len[i]);
}
