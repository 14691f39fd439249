/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR MIT) */
/*
 * A guest's interface to the memory that is lent to it: /dev/xenlend.
 *
 * Leases lie in the aperture, a window of the guest's physical address space. A program lists them,
 * maps what it wants at the lease's offset, and reads events. A touch of a page that is away puts that task
 * to sleep (SIGKILL ends it) until the lender has brought the page back. A lease that has ended, and a lost
 * page of a lease with XENLEND_GUEST_LEASE_LOSS_FAULT, raises SIGBUS.
 *
 * mmap(): MAP_SHARED, offset and length inside one lease; the offset may carry one of XENLEND_GUEST_MAP_*. ENXIO
 * no lease covers it; EINVAL a private mapping, or a flag that this driver does not know; EACCES PROT_WRITE on a
 * read-only lease, or PROT_EXEC; EOPNOTSUPP the lease cannot be mapped as the flag says.
 *
 * How a lease is mapped without a flag is a property of it, XENLEND_GUEST_LEASE_WRITE_BACK. Of one that is
 * write-combining, which is all that an unpatched Xen has, stores may become visible to others in any order: a
 * program needs a fence (sfence) between data and what publishes it, and a ring that both sides poll does not work
 * by ordinary stores alone. Who needs that says so, and is refused rather than served wrongly.
 *
 * Growth. Structures grow at their end only, and XENLEND_GUEST_API_VERSION with them. The driver serves a structure
 * of an older header as far as that goes. What it does not know of a newer one it fills with zeros, and takes for
 * E2BIG unless it is zero. Events stay as large as they are; skip those of a type that you do not know, and
 * ignore flags, capabilities and status values that you do not know. A program built with version 2 or later
 * goes on working.
 *
 * What a mapping does not do: grow (mremap: EFAULT), be pinned (O_DIRECT, vmsplice: EFAULT), be read by
 * a debugger or land in a core dump. See guest-frontend/DESIGN.md.
 */
#ifndef _UAPI_XENLEND_GUEST_H
#define _UAPI_XENLEND_GUEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XENLEND_GUEST_API_VERSION	3
#define XENLEND_GUEST_IOC_MAGIC		0xC5

/* A label and the zeros behind it, one at least. */
#define XENLEND_GUEST_LABEL_BYTES	32

/* xenlend_guest_info.state */
#define XENLEND_GUEST_STATE_NONE	0	/* no broker */
#define XENLEND_GUEST_STATE_CONNECTING	1
#define XENLEND_GUEST_STATE_CONNECTED	2
#define XENLEND_GUEST_STATE_CLOSED	3	/* closing down; another broker may come */

/* xenlend_guest_info.capabilities */
#define XENLEND_GUEST_CAP_MAP_TYPES	(1ull << 0)	/* mmap() knows XENLEND_GUEST_MAP_* */

struct xenlend_guest_info {
	__u32 api_version;		/* the driver's; older ones than this header's have no capabilities */
	__u32 state;
	__u64 aperture_address;		/* physical */
	__u64 aperture_bytes;
	__u64 capabilities;		/* since version 3 */
};

/* Part of mmap()'s offset, at most one: */
#define XENLEND_GUEST_MAP_COHERENT	(1ull << 61)	/* only if stores become visible in order: a write-back lease */
#define XENLEND_GUEST_MAP_UNCACHED	(1ull << 60)	/* a write-combining lease, each access by itself and in order */

/* xenlend_guest_lease.flags */
#define XENLEND_GUEST_LEASE_WRITABLE	(1u << 0)
#define XENLEND_GUEST_LEASE_LOSS_FAULT	(1u << 1)	/* a lost page raises SIGBUS; else it reads as zeros */
#define XENLEND_GUEST_LEASE_WRITE_BACK	(1u << 2)	/* else write-combining */

struct xenlend_guest_lease {
	__u32 index;			/* the lender's region slot */
	__u32 generation;
	__u64 serial;			/* unique while the driver is loaded */
	__u64 offset;			/* in the aperture: what mmap() takes */
	__u64 bytes;
	__u32 flags;
	__u32 reserved;
	char label[XENLEND_GUEST_LABEL_BYTES];	/* what the lender calls it: printable ASCII, may be empty */
};

/*
 * Fills in as many as there is room for; count says how many there are. ENOTCONN no broker. (Number 0x21 was this call
 * in version 1, without labels.)
 */
struct xenlend_guest_leases {
	__u64 leases;			/* in: pointer to struct xenlend_guest_lease[capacity] */
	__u32 capacity;			/* in */
	__u32 count;			/* out */
	__u32 lease_bytes;		/* in: sizeof(struct xenlend_guest_lease), or 0 for that of version 2; since version 3 */
	__u32 reserved;			/* 0 */
};

/*
 * Has pages brought in; an XENLEND_GUEST_EVENT_PREFAULTED with the cookie follows on this descriptor. EINVAL
 * not whole pages; ENXIO no lease covers them; EAGAIN too many requests whose completion has not been read.
 * What the lender had taken away before the call is asked for again, whether this guest has heard of it or not. The
 * lender may take the pages away again at any time: where it does so only between uses, by agreement with the
 * program, all instructions on the pages are exact, on stock Xen too.
 */
struct xenlend_guest_prefault {
	__u64 offset;
	__u64 bytes;
	__u64 cookie;
};

/* xenlend_guest_event.type */
#define XENLEND_GUEST_EVENT_CONNECTED	1	/* a broker answered; value: protocol version */
#define XENLEND_GUEST_EVENT_LEASE	2	/* offset, bytes; value: serial */
#define XENLEND_GUEST_EVENT_ENDED	3	/* as above: the lease is over */
#define XENLEND_GUEST_EVENT_REVOKED	4	/* as above: these pages have moved, the next touch asks for them */
#define XENLEND_GUEST_EVENT_LOST	5	/* as above: these pages will never come back */
#define XENLEND_GUEST_EVENT_CLOSING	6	/* all leases are over; value: XENLEND_GUEST_CLOSING_* */
#define XENLEND_GUEST_EVENT_PREFAULTED	7	/* offset, bytes; value: cookie; status: XENLEND_GUEST_PREFAULT_* */
#define XENLEND_GUEST_EVENT_LOOK_AGAIN	8	/* events were dropped (value: how many): list the leases anew */

/* Why all leases are over. */
#define XENLEND_GUEST_CLOSING_BACKEND	1	/* the broker was taken away, the driver unbound, the guest suspended */
#define XENLEND_GUEST_CLOSING_BROKER	2	/* the broker ended the link */
#define XENLEND_GUEST_CLOSING_BREACH	3	/* the broker broke the protocol */
#define XENLEND_GUEST_CLOSING_VERSION	4	/* no common protocol version */

#define XENLEND_GUEST_PREFAULT_PRESENT		0	/* all there, or were after the call */
#define XENLEND_GUEST_PREFAULT_LOST		1	/* a page is lost */
#define XENLEND_GUEST_PREFAULT_UNAVAILABLE	2	/* a page could not be had now; it may still be touched */
#define XENLEND_GUEST_PREFAULT_ENDED		3	/* the lease is over */

/* read() gives whole events; poll() says POLLIN when there is one. */
struct xenlend_guest_event {
	__u32 type;
	__u32 status;
	__u64 offset;
	__u64 bytes;
	__u64 value;
};

/* Since the driver was loaded. */
struct xenlend_guest_counters {
	__u64 guest_page_faults;	/* touches that the driver was asked about */
	__u64 zaps;			/* ranges taken out of programs' page tables */
	__u64 pages_inserted;		/* 4 KiB entries */
	__u64 entries_2mib;
	__u64 waits;			/* tasks that slept for a page */
	__u64 prefaults;
	__u64 bus_errors;
	__u64 unavailable;		/* pages left to the access itself */
	__u64 forced_insertions;	/* absent pages mapped because the fault could not wait */
	__u64 messages_sent;
	__u64 messages_received;
	__u64 links;
};

#define XENLEND_GUEST_INFO	_IOR(XENLEND_GUEST_IOC_MAGIC, 0x20, struct xenlend_guest_info)
#define XENLEND_GUEST_GET_LEASES _IOWR(XENLEND_GUEST_IOC_MAGIC, 0x24, struct xenlend_guest_leases)
#define XENLEND_GUEST_PREFAULT	_IOW(XENLEND_GUEST_IOC_MAGIC, 0x22, struct xenlend_guest_prefault)
#define XENLEND_GUEST_COUNTERS	_IOR(XENLEND_GUEST_IOC_MAGIC, 0x23, struct xenlend_guest_counters)

#endif
