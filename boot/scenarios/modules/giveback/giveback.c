// SPDX-License-Identifier: GPL-2.0
/*
 * A lender's kernel that gives pages back to Xen whatever they are used for, and says how many pages Xen still has
 * down as its own. What it has given back the kernel never uses again. Used by the lab's scenarios alone.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/interface/memory.h>
#include <xen/interface/xen.h>
#include <xen/mem-reservation.h>

#define PAGES 128

static struct page *pages[PAGES];
static unsigned int given;

static unsigned long frames[PAGES];
static unsigned int count;
module_param_array(frames, ulong, &count, 0444);
MODULE_PARM_DESC(frames, "the pages' frames in the machine");

/* Gives so many more of them back, in their order. */
static int give_back(const char *text, const struct kernel_param *parameter)
{
	unsigned int wanted, i;
	int err = kstrtouint(text, 0, &wanted);

	if (err)
		return err;
	if (wanted > count - given)
		return -EINVAL;
	for (i = 0; i < wanted; i++) {
		struct page *page = pages[given];
		xen_pfn_t frame = frames[given];

		/* No entry of this kernel's is left, so no reference through one. */
		xenmem_reservation_va_mapping_reset(1, &page);
		if (xenmem_reservation_decrease(1, &frame) != 1)
			return -EIO;
		given++;
	}
	return 0;
}

static const struct kernel_param_ops give_back_ops = { .set = give_back };
module_param_cb(give_back, &give_back_ops, NULL, 0200);
MODULE_PARM_DESC(give_back, "gives so many more of them back to Xen");

static int owned(char *text, const struct kernel_param *parameter)
{
	domid_t self = DOMID_SELF;

	return sysfs_emit(text, "%ld\n", (long)HYPERVISOR_memory_op(XENMEM_current_reservation, &self));
}

static const struct kernel_param_ops owned_ops = { .get = owned };
module_param_cb(owned, &owned_ops, NULL, 0444);
MODULE_PARM_DESC(owned, "pages that are this domain's, as Xen counts them");

static int __init giveback_init(void)
{
	for (count = 0; count < PAGES; count++) {
		pages[count] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pages[count])
			break;
		frames[count] = pfn_to_mfn(page_to_pfn(pages[count]));
	}
	if (count == PAGES)
		return 0;
	while (count)
		__free_page(pages[--count]);
	return -ENOMEM;
}

static void __exit giveback_exit(void)
{
	for (; given < count; given++)
		__free_page(pages[given]);
}

module_init(giveback_init);
module_exit(giveback_exit);
MODULE_DESCRIPTION("xenlend scenarios: a lender that gives lent pages back to Xen");
MODULE_LICENSE("GPL");
