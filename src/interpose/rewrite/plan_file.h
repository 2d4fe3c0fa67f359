/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plan file: what virtuos-planner found out about one object, in a form the runtime can map and use in place.
 *
 * The planner writes it, the runtime (which has no libc) reads it; a golden copy of the layout is asserted below. All
 * numbers are little-endian, all offsets are from the start of the file, every table is 8-byte aligned. Addresses are
 * link-time virtual addresses of the object (its load bias is added by the runtime); for anonymous memory they are the
 * addresses themselves.
 *
 * Trust: the file comes from a directory that only this user can write, so it may put code into the process; but it
 * may also be damaged, of another version, or of another object. vos_plan_check() proves every offset, count and
 * length; what it accepts can be used without further bounds checks. The bytes of the object are compared once more
 * before anything is patched.
 */
#ifndef VOS_REWRITE_PLAN_FILE_H
#define VOS_REWRITE_PLAN_FILE_H

#include <stddef.h>
#include <stdint.h>

#define VOS_PLAN_MAGIC   0x0a4e4c50534f5600ull /* "\0VOSPLN\n" */
#define VOS_PLAN_VERSION 2u
#define VOS_PLAN_ALIGN   4096u /* plans that share one stream start at multiples of this */

#define VOS_PLAN_BUILD_ID_MAX 32u
#define VOS_PLAN_MAX_SEGS     32u
#define VOS_PLAN_MAX_SITES    65536u
#define VOS_PLAN_MAX_MOVED    8u
#define VOS_PLAN_MAX_PATCH    24u /* less than five bytes, and one instruction more */
#define VOS_PLAN_MAX_STUB     160u
#define VOS_PLAN_MAX_FIX      10u

/* How a site is handled.  The order is the order of preference. */
enum vos_plan_kind {
	VOS_PLAN_LEAVE = 0,   /* rt_sigreturn: unwinders and debuggers know these bytes; it is never patched */
	VOS_PLAN_MOV = 1,     /* mov $nr,%eax; syscall -> jmp rel32 */
	VOS_PLAN_PRE = 2,     /* preceding instructions moved into the stub */
	VOS_PLAN_PAD = 3,     /* short jump to a long jump in alignment padding */
	VOS_PLAN_POST = 4,    /* following instructions moved (too): the program resumes inside the stub */
	VOS_PLAN_REFUSED = 5, /* left to the fallback; the reason says why */
	VOS_PLAN_KINDS
};

enum vos_plan_reason {
	VOS_WHY_NONE = 0,
	VOS_WHY_TARGET,     /* a jump target lies inside every possible patch */
	VOS_WHY_UNKNOWN,    /* the function's jump targets cannot be known */
	VOS_WHY_UNMOVABLE,  /* an instruction that would have to move cannot */
	VOS_WHY_ROOM,       /* the function ends too early and there is no padding */
	VOS_WHY_OVERLAP,    /* another patch lies there */
	VOS_WHY_UNSURE,     /* disassembly does not agree on whether this is an instruction */
	VOS_WHY_BAD_CODE,   /* bytes before it cannot be decoded */
	VOS_WHYS
};

/* A 4-byte field of a stub, relative to the end of its instruction. */
enum vos_plan_fix_kind {
	VOS_FIX_OBJECT = 0, /* target is an address of the object */
	VOS_FIX_ENTRY = 1,  /* target is the slot that holds vos_entry's address */
};

struct vos_plan_fix {
	uint64_t target;
	uint16_t at;  /* offset of the field in the stub */
	uint16_t end; /* offset of the end of its instruction in the stub */
	uint16_t kind;
	uint16_t zero;
};

struct vos_plan_seg {
	uint64_t vaddr, off, filesz; /* one executable PT_LOAD */
};

#define VOS_SITE_RESUME_IN_STUB 1u /* resume is an offset in the stub */

struct vos_plan_site {
	uint64_t vaddr;    /* of the syscall instruction */
	uint64_t patch;    /* address of the first byte written */
	uint64_t pad;      /* PAD: address of the 5 bytes that hold the long jump */
	uint64_t resume;   /* where the program goes on: an address, or an offset in the stub */
	int32_t nr;        /* the call's number if it is known, else -1 */
	uint32_t stub;     /* offset into the stub bytes */
	uint32_t fix;      /* index of the first fixup */
	uint16_t stub_len; /* 0 for LEAVE and REFUSED */
	uint16_t call_at;  /* offset in the stub where moved code ends and the call begins */
	uint8_t kind, why, flags;
	uint8_t nfix;
	uint8_t patch_len; /* bytes compared, and replaced, at patch */
	uint8_t jump_len;  /* the jump at the start of the patch: 5 (rel32 to the stub) or 2 (rel8 to the pad) */
	uint8_t nmoved;
	uint8_t zero;
	uint8_t orig[VOS_PLAN_MAX_PATCH];
	uint8_t repl[VOS_PLAN_MAX_PATCH]; /* what is written; a rel32 in it is filled in by the runtime */
	uint8_t pad_orig[8];
	/* The i-th moved instruction: where it lies in the stub, and where it came from (relative to patch). */
	uint8_t moved_at[VOS_PLAN_MAX_MOVED], moved_from[VOS_PLAN_MAX_MOVED];
};

struct vos_plan_head {
	uint64_t magic;
	uint32_t version, head_size;
	uint64_t size;        /* of this plan, in bytes */
	uint64_t checksum;    /* vos_plan_checksum(): of everything after this field */
	uint64_t object_size;
	uint64_t object_key;  /* hash of dev, ino, size, mtime for an object without a build-id, else 0 */
	uint64_t vaddr_lo, vaddr_hi; /* what the object's PT_LOADs span: stubs must reach all of it */
	uint8_t build_id[VOS_PLAN_BUILD_ID_MAX];
	uint32_t build_id_len;
	uint32_t nsegs, nsites, nfixes, stub_size;
	uint32_t segs_off, sites_off, fixes_off, stub_off;
	uint32_t count[VOS_PLAN_KINDS]; /* sites by kind */
	uint32_t not_sites;   /* byte pairs 0f 05 that are no instruction */
};

_Static_assert(sizeof(struct vos_plan_fix) == 16, "plan file layout");
_Static_assert(sizeof(struct vos_plan_seg) == 24, "plan file layout");
_Static_assert(sizeof(struct vos_plan_site) == 128, "plan file layout");
_Static_assert(sizeof(struct vos_plan_head) == 160, "plan file layout");

static inline const struct vos_plan_seg *vos_plan_segs(const struct vos_plan_head *h)
{
	return (const void *)((const char *)h + h->segs_off);
}

static inline const struct vos_plan_site *vos_plan_sites(const struct vos_plan_head *h)
{
	return (const void *)((const char *)h + h->sites_off);
}

static inline const struct vos_plan_fix *vos_plan_fixes(const struct vos_plan_head *h)
{
	return (const void *)((const char *)h + h->fixes_off);
}

static inline const uint8_t *vos_plan_stubs(const struct vos_plan_head *h)
{
	return (const uint8_t *)h + h->stub_off;
}

/* What identifies an object.  key is used only when there is no build-id. */
struct vos_plan_id {
	uint8_t build_id[VOS_PLAN_BUILD_ID_MAX];
	uint32_t build_id_len;
	uint64_t size, key;
};

#define VOS_PLAN_NAME_MAX 112

/*
 * Is [data, data+len) a sound plan?  0, or -EINVAL (damaged), -ENOTSUP (another version).  len may be larger than the
 * plan.  data must be 8-byte aligned.  Enters no libc; any thread may call it.
 */
int vos_plan_check(const void *data, size_t len);

/* Is a checked plan the plan of this object? */
int vos_plan_is_for(const struct vos_plan_head *h, const struct vos_plan_id *id);

/* The checksum of a plan whose head.size is right: FNV-1a over every fourth 64-bit word, four times, and over the four sums. */
uint64_t vos_plan_checksum(const struct vos_plan_head *h);

/* The plan's file name in the cache directory, NUL-terminated. */
void vos_plan_name(const struct vos_plan_id *id, char name[VOS_PLAN_NAME_MAX]);

/* object_key of a file without a build-id. */
uint64_t vos_plan_key(uint64_t dev, uint64_t ino, uint64_t size, uint64_t mtime_ns);

/*
 * Reads the identity of an ELF object from its first bytes: id->build_id if a PT_NOTE in them holds it.  0, or -ENOEXEC
 * when this is no x86-64 ELF file.  ret_note_off/len: where the first notes outside of [data,len) lie, or 0.
 */
int vos_plan_elf_id(const void *data, size_t len, struct vos_plan_id *id, uint64_t *ret_note_off, uint64_t *ret_note_len);

/* The build-id among notes, copied to id; 0 or -ENOENT. */
int vos_plan_note_id(const void *notes, size_t len, struct vos_plan_id *id);

#endif
