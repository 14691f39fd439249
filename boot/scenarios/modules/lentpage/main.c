// SPDX-License-Identifier: GPL-2.0
/*
 * What a borrower's kernel can do with a lent page that no driver does, each with the result that
 * Xen owes it. Loading fails if it was another one. Used by the lab's scenarios alone.
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>
#include <xen/interface/memory.h>
#include <xen/xenbus.h>

#include "lentpage.h"

static char *what;
module_param(what, charp, 0400);
MODULE_PARM_DESC(what, "grant: grants the page to itself and copies from it; string: stores across its start; "
		 "hypercalls: names it in every call that takes a page");

static unsigned long address;
module_param(address, ulong, 0400);
MODULE_PARM_DESC(address, "Where the page is, in the guest's physical address space");

static unsigned long absent;
module_param(absent, ulong, 0400);
MODULE_PARM_DESC(absent, "Where in the aperture nothing is lent: it reads as ones");

/* The page is no memory to Xen: the grant may be made, and using it has to fail cleanly. */
static int copy_from_grant(void)
{
	struct gnttab_copy copy = { .flags = GNTCOPY_source_gref, .len = 8 };
	unsigned int self;
	struct page *page;
	int ref, err = -EIO;

	if (xenbus_scanf(XBT_NIL, "domid", "", "%u", &self) != 1)
		return -ENXIO;
	page = alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	ref = gnttab_grant_foreign_access(self, PHYS_PFN(address), 0);
	if (ref < 0) {
		__free_page(page);
		return ref;
	}
	copy.source.domid = self;
	copy.source.u.ref = ref;
	copy.dest.domid = DOMID_SELF;
	copy.dest.u.gmfn = xen_page_to_gfn(page);
	if (!HYPERVISOR_grant_table_op(GNTTABOP_copy, &copy, 1) && copy.status == GNTST_bad_page)
		err = 0;
	pr_info("lentpage: the copy's status is %d\n", copy.status);
	gnttab_end_foreign_access(ref, NULL);
	__free_page(page);
	return err;
}

static int move_gfn(unsigned long from, unsigned long to)
{
	struct xen_add_to_physmap move = {
		.domid = DOMID_SELF,
		.space = XENMAPSPACE_gmfn,
		.idx = from,
		.gpfn = to,
	};

	return HYPERVISOR_memory_op(XENMEM_add_to_physmap, &move);
}

/*
 * Puts RAM right before the page, and has a string instruction go from emulated memory to an element that
 * begins in the one and ends in the other.
 */
static int store_across(void)
{
	unsigned long before = PHYS_PFN(address) - 1, own, count = 2;
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	u8 __iomem *to, *from;
	void *source, *target;
	int err;

	if (!page)
		return -ENOMEM;
	own = xen_page_to_gfn(page);
	err = move_gfn(own, before);
	if (err) {
		__free_page(page);
		return err;
	}
	err = -ENOMEM;
	to = ioremap(PFN_PHYS(before), 2 * PAGE_SIZE);
	from = ioremap(absent, PAGE_SIZE);
	if (to && from) {
		source = (void __force *)from;
		target = (void __force *)(to + PAGE_SIZE - 4);
		asm volatile("rep movsq" : "+S" (source), "+D" (target), "+c" (count) : : "memory");
		target = (void __force *)(to + PAGE_SIZE - 4);
		err = memchr_inv(target, 0xff, 16) ? -EIO : 0;
	}
	if (to)
		iounmap(to);
	if (from)
		iounmap(from);
	/* Otherwise the kernel has a page less than it believes. */
	if (!move_gfn(before, own))
		__free_page(page);
	return err;
}

static int __init lentpage_init(void)
{
	if (what && !strcmp(what, "grant"))
		return copy_from_grant();
	if (what && !strcmp(what, "string"))
		return store_across();
	if (what && !strcmp(what, "hypercalls"))
		return lentpage_hypercalls(address, absent);
	return -EINVAL;
}
module_init(lentpage_init);

static void __exit lentpage_exit(void)
{
}
module_exit(lentpage_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: a borrower that does odd things to lent pages");
