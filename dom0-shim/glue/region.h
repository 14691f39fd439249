/* SPDX-License-Identifier: GPL-2.0 */
/* A region as the kernel sees it: an address space and a notifier. */
#ifndef XENLEND_REGION_H
#define XENLEND_REGION_H

#include <linux/kref.h>
#include <linux/mmu_notifier.h>

struct xenlend_region {
	struct mmu_interval_notifier notifier;
	struct kref references;
	struct mm_struct *mm;
	void *link;
	u32 index;
	u32 generation;
};

#endif
