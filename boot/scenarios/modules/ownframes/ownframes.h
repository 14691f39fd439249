/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * /dev/ownframes: a driver for the scenarios that owns its frames and takes them away.
 *
 * A descriptor is one object of so many pages, mmapped from offset 0. A zap does what a GPU
 * driver's move does: unmaps the pages (whoever mirrors them is told by the MMU notifier), gives
 * the contents another frame, and from then on nobody may touch the old one. Unlike a GPU driver it
 * can tell whether somebody did: the old frame is filled with poison at once.
 */
#ifndef _OWNFRAMES_H
#define _OWNFRAMES_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define OWNFRAMES_POISON	0xdb

/* Pages come as one run of machine frames, aligned to 2 MiB; pages is a multiple of 512. */
#define OWNFRAMES_CONTIGUOUS	1u
/* The first fault makes a page readable, and the first write after that another fault. */
#define OWNFRAMES_NOTIFY_WRITES	2u

/* Once, before mmap. ENOMEM, EINVAL, EBUSY. */
struct ownframes_create {
	__u32 pages;
	__u32 flags;
};

/* Moves pages to other frames; contiguous objects move 2 MiB at a time. */
struct ownframes_zap {
	__u32 first;
	__u32 count;
};

/* Waits until the page has been faulted in since it was moved last. EINTR. */
struct ownframes_wait {
	__u32 page;
	__u32 reserved;
};

struct ownframes_verify {
	__u64 taken;		/* frames that were taken away so far */
	__u64 dirty;		/* of them, frames in which somebody wrote afterwards */
	__u64 faults;		/* pages faulted in so far */
	__u64 mfn;		/* first page's machine frame now */
};

#define OWNFRAMES_CREATE	_IOW('o', 0x40, struct ownframes_create)
#define OWNFRAMES_ZAP		_IOW('o', 0x41, struct ownframes_zap)
#define OWNFRAMES_WAIT		_IOW('o', 0x42, struct ownframes_wait)
/* Looks at every frame that is away now, and at those that have been looked at on reuse. */
#define OWNFRAMES_VERIFY	_IOR('o', 0x43, struct ownframes_verify)

#endif
