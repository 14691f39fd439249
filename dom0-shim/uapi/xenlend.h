/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR MIT) */
/*
 * The lender's interface to memory lending: /dev/xen/xenlend.
 *
 * A process of the lender's domain opens the device, an administrator binds the
 * descriptor to one borrower (XENLEND_BIND), and from then on the descriptor may
 * be handed to a process without privileges. XENLEND_SET_USER_MEMORY_REGION
 * follows the rules of KVM_SET_USER_MEMORY_REGION: slots do not overlap, size 0
 * deletes, a slot is never resized, and what is later mapped into the window shows
 * in the borrower at once.
 */
#ifndef _UAPI_XENLEND_H
#define _UAPI_XENLEND_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * From version 2 on programs go on working with later modules, and may ask earlier ones. Structures grow at their
 * end only, and 0 in a field that was not there means what there was before it. The size in a call's number is
 * that of the structure that the program was compiled with: the module takes a short one as if zeros followed it
 * and answers as much as it has room for; of one that is longer than its own the rest has to be zeros (E2BIG),
 * and stays so. Unknown flags and reserved fields that are not 0 are EINVAL, unknown calls ENOTTY.
 */
#define XENLEND_API_VERSION	2
#define XENLEND_IOC_MAGIC	0xC5
/* Grants for the broker: control page, lender-to-broker data, broker-to-lender data. */
#define XENLEND_RING_REFS	3
#define XENLEND_MAX_REGIONS	64
/* A label and the zeros behind it, one at least. */
#define XENLEND_LABEL_BYTES	32
/* Bytes of an aperture, unless the administrator allows more; and the most that may be allowed. */
#define XENLEND_APERTURE_DEFAULT_LIMIT	(1ull << 30)
#define XENLEND_APERTURE_MAX		(64ull << 30)

/* --- for everybody ------------------------------------------------------- */

/* The module's XENLEND_API_VERSION, and the oldest whose programs go on working. */
struct xenlend_version {
	__u32 version;			/* out */
	__u32 oldest;			/* out */
};

/* xenlend_capability.capability */
#define XENLEND_CAP_SLOTS		1	/* regions of a borrower, of all descriptors together: slots are below it */
#define XENLEND_CAP_LABEL_BYTES		2	/* of a label and its zeros */
#define XENLEND_CAP_REGION_FLAGS	3	/* XENLEND_REGION_*; on a bound descriptor those that its Xen can do */
#define XENLEND_CAP_LAST_EVENT		4	/* highest XENLEND_EVENT_* */
#define XENLEND_CAP_COUNTERS		5	/* counts in struct xenlend_counters */
#define XENLEND_CAP_RESOLVE		6	/* 1: XENLEND_RESOLVE, and writes wait for a permission */

/* How much there is of something; 0 also of what the module has never heard of. EINVAL reserved not 0. */
struct xenlend_capability {
	__u32 capability;
	__u32 reserved;
	__u64 value;			/* out */
};

/* --- for administrators (CAP_SYS_ADMIN) ---------------------------------- */

/* xenlend_attach.flags */
#define XENLEND_ATTACH_CHECK	(1u << 0)	/* check mode: verify every acknowledgement */

/*
 * Makes the link for one borrower: checks Xen, sets the broker's target, gives both
 * domains the permanent dummy frame permission, makes rings. The broker must not have run
 * yet. Errors: EPERM; ENXIO not under Xen or not privileged; EPROTO a Xen whose domctl
 * interface is unknown, or whose patches for lending are of another version; EEXIST borrower has a link; ENOENT no such domain; EOPNOTSUPP
 * the domain is no PVH/HVM guest, or stock Xen and no PV lender; EXDEV stock Xen, and the borrower may have
 * devices of the machine, which would reach what is lent; EFBIG the aperture is larger than
 * aperture_limit or XENLEND_APERTURE_MAX; EINVAL aperture wrong (empty, not 2 MiB aligned), an
 * answer not 0.
 */
struct xenlend_attach {
	__u16 borrower;
	__u16 broker;
	__u32 flags;
	__u64 aperture_address;		/* bytes, 2 MiB aligned */
	__u64 aperture_size;		/* bytes, 2 MiB aligned */
	__u32 deadline_ms;		/* without progress of the broker; 0: 3000 */
	__u32 vcpus;			/* of the borrower */
	__u32 ring_refs[XENLEND_RING_REFS];	/* out */
	__u32 event_channel;		/* out: the lender's port, unbound, for the broker */
	__u64 aperture_limit;		/* bytes; 0: XENLEND_APERTURE_DEFAULT_LIMIT */
};

/*
 * What the running Xen can do for this borrower, whether or not it has a link. flags: XENLEND_STATUS_LEND_AWARE.
 * Errors: EPERM; ENXIO, EPROTO as XENLEND_ATTACH; ENOENT no such domain; EINVAL reserved not 0.
 */
struct xenlend_xen {
	__u16 borrower;
	__u16 reserved;
	__u32 flags;			/* out */
};

/* Ends the link: revokes everything, whatever state the broker is in. ENOENT. */
struct xenlend_detach {
	__u16 borrower;
	__u16 reserved[3];
};

/*
 * Allows frames of this BAR of this PCI device to be lent to the borrower, except pages that hold
 * MSI-X tables. This ends when a driver comes to the device or leaves it, when the device goes, and
 * when the BAR is moved or resized: what is lent of it is revoked then, and has to be allowed anew.
 * Allowed twice is allowed once. ENOENT no link; ENODEV no such device; EINVAL no memory BAR; EIO its
 * configuration cannot be read; ENOSPC too many BARs.
 */
struct xenlend_allow_bar {
	__u16 borrower;
	__u8 bar;
	__u8 devfn;
	__u32 segment;
	__u32 bus;
	__u32 reserved;
	__u64 frames;			/* out: how many may be lent */
};

/* Binds this descriptor to one borrower, once. ENOENT no link; EBUSY already bound. */
struct xenlend_bind {
	__u16 borrower;
	__u16 reserved[3];
};

/*
 * Gives the broker the rings and the port that the borrower's frontend has made for it, and waits for its answer.
 * The numbers are the borrower's, and the broker finds out what they are worth. Errors: EPERM; EINVAL
 * reserved or an answer not 0; ENOENT no link; EEXIST a frontend is attached, or on its way in or out; EAGAIN the
 * broker has not answered yet; EREMOTEIO it refuses (failure says why, failure_errno is Xen's); ENOLINK it is gone;
 * EINTR killed, ETIMEDOUT no answer: the frontend may be attached then, detach it.
 */
struct xenlend_attach_frontend {
	__u16 borrower;
	__u16 reserved[3];
	__u32 ring_refs[XENLEND_RING_REFS];	/* grants: control page, data to the borrower, data from it */
	__u32 event_channel;		/* the borrower's port */
	__u32 failure;			/* out: enum xenlend_frontend_failure */
	__u32 failure_errno;		/* out */
};

enum xenlend_frontend_failure {
	XENLEND_FRONTEND_NONE = 0,
	XENLEND_FRONTEND_GRANT = 1,		/* a grant could not be mapped */
	XENLEND_FRONTEND_EVENT_CHANNEL = 2,	/* the port could not be bound */
	XENLEND_FRONTEND_IN_USE = 3,
};

/*
 * Lets the frontend go: when it returns 0 the broker has no page of it mapped and no port bound. EPERM; EINVAL no
 * frontend is attached; ENOENT no link; ENOLINK the broker is gone, or held for good; EINTR killed,
 * ETIMEDOUT no answer: ask again.
 */
struct xenlend_detach_frontend {
	__u16 borrower;
	__u16 reserved[3];
};

/* --- on a bound descriptor ------------------------------------------------ */

/* xenlend_region.flags */
#define XENLEND_REGION_READONLY		(1u << 1)	/* EOPNOTSUPP on stock Xen; the mapping need not be writable */
#define XENLEND_REGION_LOSS_FAULT	(1u << 8)	/* else lost pages read as zeros */
#define XENLEND_REGION_WRITE_BACK	(1u << 9)	/* EOPNOTSUPP on stock Xen */

/*
 * Errors: ENOTCONN not bound; EAGAIN the broker has not answered yet; EINVAL unknown flag,
 * address or size not page aligned, outside the aperture, resize or move, bad slot (XENLEND_CAP_SLOTS are all that a borrower has), nothing to
 * delete, user range wraps; EIO the slot has this very region, but of another process or of one that is
 * gone: delete it first; EILSEQ the label is not printable ASCII (0x20 to 0x7e) and zeros; EEXIST overlaps another slot, or the slot is another descriptor's or
 * still being dropped; EBUSY the pages were another region's and the borrower has not confirmed that its
 * programs have let go of them: again later; ENOMEM; ENOSPC the broker's table is full; ENOLINK the broker is gone (see
 * XENLEND_STATUS); EOPNOTSUPP; EINTR killed while waiting, ETIMEDOUT no answer: nothing is lent then.
 */
struct xenlend_region {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
};

/*
 * As struct xenlend_region, with a label: what the borrower's programs see the lease called, and nobody else but
 * whoever may ask for this link's regions. It may be empty, as it is after XENLEND_SET_USER_MEMORY_REGION, need not be
 * the only one of its kind, and like the size is never changed.
 */
struct xenlend_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	char label[XENLEND_LABEL_BYTES];
};

/*
 * The first region with a slot >= slot. ENOENT there is none; EINVAL reserved not 0. An unbound descriptor needs
 * CAP_SYS_ADMIN and names the borrower (ENOENT no link); a bound one has its own.
 */
struct xenlend_region_info {
	__u16 borrower;
	__u16 reserved;
	__u32 slot;			/* in and out */
	__u32 flags;			/* out, as all below: XENLEND_REGION_* */
	__u32 reserved2;
	__u64 guest_phys_addr;
	__u64 memory_size;
	char label[XENLEND_LABEL_BYTES];
};

/* xenlend_resolve.answer */
#define XENLEND_RESOLVE_RETRY		1	/* look again, and take back an earlier XENLEND_RESOLVE_LOSS */
#define XENLEND_RESOLVE_LOSS		2	/* nothing will come of it */

/*
 * What is to become of those who wait for pages of a region: for a permission, or for an answer to a fault. A process
 * that changes its mapping need not say so. LOSS ends them by the region's loss policy, and whoever comes later too,
 * until something is invalidated there or RETRY says otherwise; a write that ends so is gone. Errors: ENOTCONN not
 * bound; ENOENT no such region of this descriptor; EINVAL unknown answer, not page aligned, or pages outside the
 * region; ENOSPC more than 4 separate ranges of a region are given up.
 */
struct xenlend_resolve {
	__u32 slot;
	__u32 answer;
	__u64 guest_phys_addr;		/* first byte, as in struct xenlend_region */
	__u64 memory_size;		/* bytes, not 0 */
};

/* xenlend_event.type */
#define XENLEND_EVENT_CONNECTED		1	/* the broker answered; value: protocol version */
#define XENLEND_EVENT_LOST		2	/* pages of a region are lost; address: first byte, value: bytes */
#define XENLEND_EVENT_BROKER_FORCED	3	/* the deadline passed; the lender revoked by itself; the broker goes on */
#define XENLEND_EVENT_BROKER_CONDEMNED	4	/* the broker is held for good; value: enum xenlend_reason */
#define XENLEND_EVENT_DETACHED		5	/* the link is gone */
/*
 * Something that the borrower touched is not permitted; address: first byte, value: enum xenlend_frame_refusal. The
 * touch has ended by the loss policy, or, XENLEND_FRAME_READONLY, waits: until the mapping may be written, the region
 * ends or XENLEND_RESOLVE.
 */
#define XENLEND_EVENT_REFUSED		6
#define XENLEND_EVENT_OVERFLOW		7	/* events were dropped; value: how many */

/*
 * read() gives whole events, and 0 when the link is gone and all have been read; poll() says POLLIN when there is
 * one, POLLIN and POLLHUP when the link is gone.
 */
struct xenlend_event {
	__u32 type;
	__u32 slot;
	__u64 address;
	__u64 value;
};

/* Why a frame may not be lent: XENLEND_EVENT_REFUSED. */
enum xenlend_frame_refusal {
	XENLEND_FRAME_FOREIGN = 1,	/* belongs to another domain (granted or foreign mapped) */
	XENLEND_FRAME_OTHER_MMIO = 2,	/* MMIO outside every allowed BAR */
	XENLEND_FRAME_MSIX = 3,		/* holds an MSI-X table */
	XENLEND_FRAME_SPECIAL = 4,	/* reserved, zero page, or no frame of ordinary RAM */
	XENLEND_FRAME_READONLY = 5,	/* a write waits: the mapping can be read and not be written */
	XENLEND_FRAME_UNMAPPED = 6,	/* nothing is mapped there, or what may not be read */
	XENLEND_FRAME_SECRET = 7,	/* memory of memfd_secret(2), which its process hides from everybody */
};

enum xenlend_reason {
	XENLEND_REASON_NONE = 0,
	XENLEND_REASON_DEADLINE = 1,		/* no progress on an invalidation */
	XENLEND_REASON_BROKER_GONE = 2,		/* its domain has died */
	XENLEND_REASON_BREACH = 3,		/* it broke the protocol */
	XENLEND_REASON_INCOMPATIBLE = 4,	/* no common protocol version */
	XENLEND_REASON_REMOVE_FAILED = 5,	/* it could not remove an entry */
	XENLEND_REASON_LIED = 6,		/* check mode: acknowledged without removing */
	XENLEND_REASON_BORROWER_GONE = 7,
	XENLEND_REASON_OTHER_XEN = 8,		/* module and broker have found different kinds of Xen */
};

enum xenlend_link_state {
	XENLEND_STATE_CONNECTING = 1,
	XENLEND_STATE_CONNECTED = 2,
	XENLEND_STATE_FORCED = 3,		/* resumed after a forced revocation, not heard from yet */
	XENLEND_STATE_CONDEMNED = 4,		/* broker paused for good: borrower and broker must be destroyed */
};

/* Cumulative counts of one link. */
struct xenlend_counters {
	__u64 invalidations;		/* notifier calls that touched present pages */
	__u64 unrelated_invalidations;	/* notifier calls that cost no message */
	__u64 revoked_pages;
	__u64 stage2_faults;		/* a vCPU stood still: Access messages, on lend-aware Xen Want messages for vCPUs */
	__u64 page_ins;			/* lookups that ended in a Present */
	__u64 adds_2mib;
	__u64 adds_4kib;
	__u64 laters;
	__u64 retries;			/* page-ins that an invalidation overtook */
	__u64 migrations_to_vram;	/* a region's page came back in a BAR after RAM */
	__u64 migrations_to_ram;
	__u64 dom0_mapping_hypercalls;	/* removals of entries by the lender itself */
	__u64 pause_brackets;
	__u64 messages_sent;
	__u64 messages_received;
	__u64 forced_revocations;
	__u64 lies;			/* check mode: entries that were still there after an acknowledgement */
	__u64 deny_failures;		/* permission withdrawals that Xen refused */
	__u64 lost_pages;
	__u64 refused_frames;
	__u64 present_pages;		/* now */
	__u64 lent_bytes;		/* size of all regions now */
	__u64 revoke_ns_max;
	__u64 revoke_ns_p50;		/* from a log-linear histogram: within 7 % */
	__u64 revoke_ns_p99;
	__u64 wants;			/* Want messages for tasks of the borrower that sleep for pages */
	__u64 borrower_attached;	/* now: 1 while the broker serves a frontend, 2 when that broke its contract */
};

/* xenlend_status.flags: Xen knows lent frames (`boot/xen`); else they are mapped as MMIO. */
#define XENLEND_STATUS_LEND_AWARE	(1u << 16)

struct xenlend_status {
	__u16 borrower;			/* in: this one; or with next != 0 the first with a domid >= this */
	__u16 broker;
	__u16 next;
	__u16 state;			/* enum xenlend_link_state */
	__u32 reason;			/* enum xenlend_reason */
	__u32 regions;
	__u32 protocol_version;
	__u32 flags;			/* XENLEND_ATTACH_*, XENLEND_STATUS_* */
	__u64 aperture_address;
	__u64 aperture_size;
	struct xenlend_counters counters;
};

#define XENLEND_ATTACH		_IOWR(XENLEND_IOC_MAGIC, 0x10, struct xenlend_attach)
#define XENLEND_DETACH		_IOW(XENLEND_IOC_MAGIC, 0x11, struct xenlend_detach)
#define XENLEND_ALLOW_BAR	_IOWR(XENLEND_IOC_MAGIC, 0x12, struct xenlend_allow_bar)
#define XENLEND_BIND		_IOW(XENLEND_IOC_MAGIC, 0x13, struct xenlend_bind)
/* ENOENT when there is no (further) link. Needs CAP_SYS_ADMIN on an unbound descriptor. */
#define XENLEND_STATUS		_IOWR(XENLEND_IOC_MAGIC, 0x14, struct xenlend_status)
#define XENLEND_SET_USER_MEMORY_REGION _IOW(XENLEND_IOC_MAGIC, 0x15, struct xenlend_region)
#define XENLEND_SET_USER_MEMORY_REGION2 _IOW(XENLEND_IOC_MAGIC, 0x18, struct xenlend_region2)
#define XENLEND_GET_REGION	_IOWR(XENLEND_IOC_MAGIC, 0x19, struct xenlend_region_info)
#define XENLEND_RESOLVE		_IOW(XENLEND_IOC_MAGIC, 0x1c, struct xenlend_resolve)
#define XENLEND_XEN		_IOWR(XENLEND_IOC_MAGIC, 0x20, struct xenlend_xen)
#define XENLEND_VERSION		_IOWR(XENLEND_IOC_MAGIC, 0x21, struct xenlend_version)
#define XENLEND_CAPABILITY	_IOWR(XENLEND_IOC_MAGIC, 0x22, struct xenlend_capability)
#define XENLEND_ATTACH_FRONTEND	_IOWR(XENLEND_IOC_MAGIC, 0x16, struct xenlend_attach_frontend)
#define XENLEND_DETACH_FRONTEND	_IOW(XENLEND_IOC_MAGIC, 0x17, struct xenlend_detach_frontend)

#endif
