// SPDX-License-Identifier: GPL-2.0
/*
 * A guest's kernel as the lender: it has 512 pages in a row, releases frames of this guest for a borrower, takes them
 * back by itself, and gives pages back to Xen whatever they are used for. It also has two frames which are no pages
 * of this guest's to lend. Used by the lab's scenarios alone.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>
#include <xen/interface/grant_table.h>
#include <xen/interface/hvm/dm_op.h>
#include <xen/interface/memory.h>
#include <xen/interface/xen.h>
#include <xen/mem-reservation.h>

#define ORDER 9
#define PAGES (1u << ORDER)

#define LEND_RELEASE 66
#define LEND_CHANGE 67
#define LEND_ABSENT (~0ULL)
#define LEND_ANY (~1ULL)

/* The operations as Xen's public header has them, which the kernel's headers have not. */
struct lend_op {
	u32 op, pad, nr, flags;
	u64 done;
	u8 rest[48];
};

struct lend_extent {
	u64 frame, nr;
};

struct lend_entry {
	u64 gfn, nr, old_frame, new_frame;
	u16 old_lender, new_lender;
	u32 flags;
};

static ushort self, borrower;
module_param(self, ushort, 0400);
MODULE_PARM_DESC(self, "this domain's number");
module_param(borrower, ushort, 0400);
MODULE_PARM_DESC(borrower, "the borrower's");

static struct page *run, *ballooned, *granted, *mapped;
static bool given[PAGES];

static ulong first, ballooned_frame, mapped_frame;
module_param(first, ulong, 0444);
MODULE_PARM_DESC(first, "the first page's frame");
module_param(ballooned_frame, ulong, 0444);
MODULE_PARM_DESC(ballooned_frame, "a frame with nothing there");
module_param(mapped_frame, ulong, 0444);
MODULE_PARM_DESC(mapped_frame, "a frame with a grant mapped");

static int error;
static u64 done;

static void operate(u32 number, u32 flags, void *list, size_t bytes)
{
	struct lend_op op = { .op = number, .nr = 1, .flags = flags };
	struct xen_dm_op_buf buffers[2] = { { .size = sizeof(op) }, { .size = bytes } };

	set_xen_guest_handle(buffers[0].h, &op);
	set_xen_guest_handle(buffers[1].h, list);
	error = -HYPERVISOR_dm_op(borrower, 2, buffers);
	done = op.done;
}

/* FLAGS FRAME NUMBER */
static int release(const char *text, const struct kernel_param *parameter)
{
	struct lend_extent extent;
	u32 flags;

	if (sscanf(text, "%u %llu %llu", &flags, &extent.frame, &extent.nr) != 3)
		return -EINVAL;
	operate(LEND_RELEASE, flags, &extent, sizeof(extent));
	return 0;
}

/* FRAME NUMBER of the borrower: whatever is this domain's there goes. */
static int revoke(const char *text, const struct kernel_param *parameter)
{
	struct lend_entry entry = { .old_frame = LEND_ANY, .new_frame = LEND_ABSENT, .old_lender = self };

	if (sscanf(text, "%llu %llu", &entry.gfn, &entry.nr) != 2)
		return -EINVAL;
	operate(LEND_CHANGE, 0, &entry, sizeof(entry));
	return 0;
}

/* FRAME NUMBER of the borrower, FRAME of this domain: no lender's right. */
static int lend(const char *text, const struct kernel_param *parameter)
{
	struct lend_entry entry = { .old_frame = LEND_ABSENT, .new_lender = self };

	if (sscanf(text, "%llu %llu %llu", &entry.gfn, &entry.nr, &entry.new_frame) != 3)
		return -EINVAL;
	operate(LEND_CHANGE, 0, &entry, sizeof(entry));
	return 0;
}

static int outcome(char *text, const struct kernel_param *parameter)
{
	return sysfs_emit(text, "%d %llu\n", error, done);
}

/* PAGE VALUE: the second eight bytes of it. */
static int poke(const char *text, const struct kernel_param *parameter)
{
	unsigned int page;
	u64 value;

	if (sscanf(text, "%u %llu", &page, &value) != 2 || page >= PAGES || given[page])
		return -EINVAL;
	WRITE_ONCE(((u64 *)page_address(run + page))[1], value);
	return 0;
}

static unsigned int looked_at;

static int look(const char *text, const struct kernel_param *parameter)
{
	unsigned int page;
	int err = kstrtouint(text, 0, &page);

	if (err)
		return err;
	if (page >= PAGES || given[page])
		return -EINVAL;
	looked_at = page;
	return 0;
}

static int peek(char *text, const struct kernel_param *parameter)
{
	return sysfs_emit(text, "%llu\n", READ_ONCE(((u64 *)page_address(run + looked_at))[1]));
}

static int decrease(struct page *page)
{
	xen_pfn_t frame = page_to_pfn(page);

	return xenmem_reservation_decrease(1, &frame) == 1 ? 0 : -EIO;
}

static int give_back(const char *text, const struct kernel_param *parameter)
{
	unsigned int page;
	int err = kstrtouint(text, 0, &page);

	if (err)
		return err;
	if (page >= PAGES || given[page] || page == looked_at)
		return -EINVAL;
	err = decrease(run + page);
	given[page] = !err;
	return err;
}

static int owned(char *text, const struct kernel_param *parameter)
{
	domid_t domain = DOMID_SELF;

	return sysfs_emit(text, "%ld\n", (long)HYPERVISOR_memory_op(XENMEM_current_reservation, &domain));
}

static const struct kernel_param_ops release_ops = { .set = release };
static const struct kernel_param_ops revoke_ops = { .set = revoke };
static const struct kernel_param_ops lend_ops = { .set = lend };
static const struct kernel_param_ops outcome_ops = { .get = outcome };
static const struct kernel_param_ops poke_ops = { .set = poke };
static const struct kernel_param_ops peek_ops = { .set = look, .get = peek };
static const struct kernel_param_ops give_back_ops = { .set = give_back };
static const struct kernel_param_ops owned_ops = { .get = owned };
module_param_cb(release, &release_ops, NULL, 0200);
module_param_cb(revoke, &revoke_ops, NULL, 0200);
module_param_cb(lend, &lend_ops, NULL, 0200);
module_param_cb(outcome, &outcome_ops, NULL, 0400);
module_param_cb(poke, &poke_ops, NULL, 0200);
module_param_cb(peek, &peek_ops, NULL, 0600);
module_param_cb(give_back, &give_back_ops, NULL, 0200);
module_param_cb(owned, &owned_ops, NULL, 0400);

/* A page granted to this domain itself and mapped by it. Xen takes it away from where it was. */
static int map_grant(void)
{
	struct gnttab_map_grant_ref map;
	int ref, err = gnttab_alloc_pages(1, &mapped);

	if (err)
		return err;
	ref = gnttab_grant_foreign_access(self, page_to_pfn(granted), 0);
	if (ref < 0)
		return ref;
	gnttab_set_map_op(&map, (unsigned long)page_address(mapped), GNTMAP_host_map, ref, self);
	err = gnttab_map_refs(&map, NULL, &mapped, 1);
	if (err || map.status != GNTST_okay) {
		pr_err("ownpages: mapping a grant: %d %d\n", err, map.status);
		return -EIO;
	}
	mapped_frame = page_to_pfn(mapped);
	return 0;
}

/* What is made stays, as the module does: the guest is destroyed in the end. */
static int __init ownpages_init(void)
{
	int err;

	run = alloc_pages(GFP_KERNEL | __GFP_ZERO, ORDER);
	ballooned = alloc_page(GFP_KERNEL);
	granted = alloc_page(GFP_KERNEL);
	if (!run || !ballooned || !granted)
		return -ENOMEM;
	first = page_to_pfn(run);
	ballooned_frame = page_to_pfn(ballooned);
	err = decrease(ballooned);
	return err ? err : map_grant();
}
module_init(ownpages_init);

MODULE_DESCRIPTION("xenlend scenarios: a guest that lends its own pages");
MODULE_LICENSE("GPL");
