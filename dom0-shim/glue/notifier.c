// SPDX-License-Identifier: GPL-2.0
/* MMU notifiers: one for each region. */
#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "region.h"
#include "glue.h"

static bool xenlend_region_invalidate(struct mmu_interval_notifier *notifier,
				      const struct mmu_notifier_range *range, unsigned long sequence)
{
	struct xenlend_region *region = container_of(notifier, struct xenlend_region, notifier);

	return xenlend_core_invalidate(region->link, READ_ONCE(region->lease), range->start, range->end,
				       mmu_notifier_range_blockable(range),
				       range->event == MMU_NOTIFY_RELEASE, region, sequence);
}

static const struct mmu_interval_notifier_ops xenlend_region_operations = {
	.invalidate = xenlend_region_invalidate,
};

/* Where notifiers are ended: that waits for as long as the process has invalidations running. */
static struct workqueue_struct *xenlend_retirements;

int xenlend_regions_init(void)
{
	xenlend_retirements = alloc_workqueue("xenlend", WQ_UNBOUND, 0);
	return xenlend_retirements ? 0 : -ENOMEM;
}

void xenlend_regions_exit(void)
{
	destroy_workqueue(xenlend_retirements);
}

static void xenlend_region_retire_work(struct work_struct *work)
{
	struct xenlend_region *region = container_of(work, struct xenlend_region, retirement);

	mmu_interval_notifier_remove(&region->notifier);
	xenlend_region_put(region);
	/* The queue is emptied before the module goes. */
	module_put(THIS_MODULE);
}

struct xenlend_region *xenlend_region_new(void *link)
{
	struct xenlend_region *region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);

	if (!region)
		return NULL;
	kref_init(&region->references);
	mmgrab(current->mm);
	region->mm = current->mm;
	region->link = link;
	region->lease = XENLEND_NO_LEASE;
	INIT_WORK(&region->retirement, xenlend_region_retire_work);
	return region;
}

int xenlend_region_arm(struct xenlend_region *region, unsigned long start, unsigned long bytes)
{
	int error = mmu_interval_notifier_insert(&region->notifier, region->mm, start, bytes,
						 &xenlend_region_operations);

	if (!error)
		__module_get(THIS_MODULE);
	return error;
}

void xenlend_region_name(struct xenlend_region *region, u64 lease)
{
	WRITE_ONCE(region->lease, lease);
}

void xenlend_region_retire(struct xenlend_region *region)
{
	queue_work(xenlend_retirements, &region->retirement);
}

void xenlend_region_get(struct xenlend_region *region)
{
	kref_get(&region->references);
}

static void xenlend_region_free(struct kref *references)
{
	struct xenlend_region *region = container_of(references, struct xenlend_region, references);

	mmdrop(region->mm);
	xenlend_core_put_link(region->link);
	kfree(region);
}

void xenlend_region_put(struct xenlend_region *region)
{
	kref_put(&region->references, xenlend_region_free);
}

void xenlend_region_set_sequence(struct xenlend_region *region, unsigned long sequence)
{
	mmu_interval_set_seq(&region->notifier, sequence);
}

unsigned long xenlend_region_read_begin(struct xenlend_region *region)
{
	return mmu_interval_read_begin(&region->notifier);
}

u64 xenlend_region_current_process(void)
{
	return (uintptr_t)current->mm;
}

u64 xenlend_region_user_limit(void)
{
	return TASK_SIZE_MAX;
}

bool xenlend_region_is_killed(struct xenlend_region *region)
{
	return current->mm == region->mm && fatal_signal_pending(current);
}
