/* SPDX-License-Identifier: GPL-2.0 */
/* A region as the kernel sees it: an address space and a notifier. */
#ifndef XENLEND_REGION_H
#define XENLEND_REGION_H

#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/workqueue.h>

struct xenlend_region {
	struct mmu_interval_notifier notifier;
	struct kref references;
	struct mm_struct *mm;
	void *link;
	/* XENLEND_NO_LEASE until the region has one. */
	u64 lease;
	struct work_struct retirement;
};

int xenlend_regions_init(void);
void xenlend_regions_exit(void);

#endif
