// SPDX-License-Identifier: GPL-2.0
/*
 * A lent page in every hypercall that takes a page or a buffer of the caller's: to Xen there is nothing, so each
 * has to fail, and the page stays where and what it is.
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/interface/grant_table.h>
#include <xen/interface/memory.h>
#include <xen/interface/vcpu.h>
#include <xen/interface/version.h>
#include <xen/interface/xen.h>
#include <xen/xenbus.h>

#include "lentpage.h"

/* XENMEM_remove_from_physmap: the kernel's headers leave its number out on x86. */
#define REMOVE_FROM_PHYSMAP 15
#define CONTENTS 0x6c656e7470616765ULL

static int failures;

static void expect(const char *name, long found, long expected)
{
	pr_info("lentpage: %s: %ld\n", name, found);
	if (found == expected)
		return;
	pr_err("lentpage: %s should have given %ld\n", name, expected);
	failures++;
}

/* For calls in which Xen has several reasons to refuse: any of them will do. */
static void expect_error(const char *name, long found)
{
	pr_info("lentpage: %s: %ld\n", name, found);
	if (found < 0)
		return;
	pr_err("lentpage: %s should have failed\n", name);
	failures++;
}

/* Gives how many pages Xen took or gave. */
static long reserve(int operation, xen_pfn_t gfn)
{
	struct xen_memory_reservation call = { .nr_extents = 1, .domid = DOMID_SELF };

	set_xen_guest_handle(call.extent_start, &gfn);
	return HYPERVISOR_memory_op(operation, &call);
}

static long exchange(xen_pfn_t in, xen_pfn_t out)
{
	struct xen_memory_exchange call = {
		.in = { .nr_extents = 1, .domid = DOMID_SELF },
		.out = { .nr_extents = 1, .domid = DOMID_SELF },
	};

	set_xen_guest_handle(call.in.extent_start, &in);
	set_xen_guest_handle(call.out.extent_start, &out);
	return HYPERVISOR_memory_op(XENMEM_exchange, &call);
}

static long add(unsigned int space, unsigned long from, unsigned long to)
{
	struct xen_add_to_physmap call = { .domid = DOMID_SELF, .space = space, .idx = from, .gpfn = to };

	return HYPERVISOR_memory_op(XENMEM_add_to_physmap, &call);
}

static long remove_gfn(unsigned long gfn)
{
	struct {
		domid_t domid;
		xen_pfn_t gpfn;
	} call = { DOMID_SELF, gfn };

	return HYPERVISOR_memory_op(REMOVE_FROM_PHYSMAP, &call);
}

/*
 * The spare page is gone for good: Xen takes one for a populate that it then refuses, and has that down as this
 * guest's until it ends.
 */
static void physical_map(unsigned long lent, unsigned long empty, unsigned long own, unsigned long spare)
{
	expect("decrease_reservation", reserve(XENMEM_decrease_reservation, lent), 0);
	/* The guest has all that it may have: one page goes for the one that might come. */
	expect("decrease_reservation of an own page", reserve(XENMEM_decrease_reservation, spare), 1);
	expect("populate_physmap", reserve(XENMEM_populate_physmap, lent), 0);
	expect_error("exchange", exchange(lent, empty));
	expect("add_to_physmap of an own page", add(XENMAPSPACE_gmfn, own, lent), -EPERM);
	expect_error("add_to_physmap from there", add(XENMAPSPACE_gmfn, lent, empty));
	expect("add_to_physmap of shared_info", add(XENMAPSPACE_shared_info, 0, lent), -EPERM);
	expect_error("remove_from_physmap", remove_gfn(lent));
}

static long map_grant(domid_t self, int reference, unsigned long gfn)
{
	struct gnttab_map_grant_ref call = {
		.host_addr = PFN_PHYS(gfn),
		.flags = GNTMAP_host_map,
		.ref = reference,
		.dom = self,
	};
	long error = HYPERVISOR_grant_table_op(GNTTABOP_map_grant_ref, &call, 1);

	return error ? error : call.status;
}

static long copy_grant(domid_t self, int from, int to)
{
	struct gnttab_copy call = {
		.source = { .domid = self, .u.ref = from },
		.dest = { .domid = self, .u.ref = to },
		.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref,
		.len = 8,
	};
	long error = HYPERVISOR_grant_table_op(GNTTABOP_copy, &call, 1);

	return error ? error : call.status;
}

static int grants(unsigned long lent, unsigned long empty, struct page *own)
{
	unsigned int self;
	int of_lent, of_own;

	if (xenbus_scanf(XBT_NIL, "domid", "", "%u", &self) != 1)
		return -ENXIO;
	of_lent = gnttab_grant_foreign_access(self, lent, 0);
	of_own = gnttab_grant_foreign_access(self, xen_page_to_gfn(own), 0);
	if (of_lent < 0 || of_own < 0)
		return -ENOMEM;
	expect("copy from its grant", copy_grant(self, of_lent, of_own), GNTST_bad_page);
	expect("copy to its grant", copy_grant(self, of_own, of_lent), GNTST_bad_page);
	expect_error("map_grant_ref of its grant", map_grant(self, of_lent, empty));
	expect_error("map_grant_ref on it", map_grant(self, of_own, lent));
	gnttab_end_foreign_access(of_lent, NULL);
	gnttab_end_foreign_access(of_own, NULL);
	return 0;
}

/* Xen reads and writes arguments at linear addresses: `at` is in the page, `across` begins before it. */
static void buffers(void *at, void *across)
{
	expect("a result written to it", HYPERVISOR_xen_version(XENVER_get_features, at), -EFAULT);
	expect("a result written across its start", HYPERVISOR_xen_version(XENVER_extraversion, across), -EFAULT);
	expect("an argument read from it", HYPERVISOR_memory_op(XENMEM_add_to_physmap, at), -EFAULT);
	expect("an event channel's argument", HYPERVISOR_event_channel_op(EVTCHNOP_status, at), -EFAULT);
}

static void other_calls(unsigned long lent)
{
	struct evtchn_expand_array array = { .array_gfn = lent };
	struct evtchn_init_control control = { .control_gfn = lent, .vcpu = 0 };
	struct vcpu_register_vcpu_info info = { .mfn = lent };

	expect_error("expand_array", HYPERVISOR_event_channel_op(EVTCHNOP_expand_array, &array));
	expect_error("init_control", HYPERVISOR_event_channel_op(EVTCHNOP_init_control, &control));
	expect_error("register_vcpu_info", HYPERVISOR_vcpu_op(VCPUOP_register_vcpu_info, 0, &info));
}

int lentpage_hypercalls(unsigned long address, unsigned long empty)
{
	unsigned long lent = PHYS_PFN(address), before = lent - 1, own_before;
	struct page *own = alloc_page(GFP_KERNEL), *spare = alloc_page(GFP_KERNEL), *front = alloc_page(GFP_KERNEL);
	u8 *both = NULL;
	u64 *words;
	int err = -ENOMEM;

	if (!own || !spare || !front)
		goto free;
	/* A page of this guest's right before the lent one, for a buffer that begins in the one and ends in the other. */
	own_before = xen_page_to_gfn(front);
	err = add(XENMAPSPACE_gmfn, own_before, before);
	pr_info("lentpage: the page before: %d\n", err);
	if (err)
		goto free;
	both = memremap(PFN_PHYS(before), 2 * PAGE_SIZE, MEMREMAP_WB);
	err = -ENOMEM;
	if (!both)
		goto back;
	words = (u64 *)(both + PAGE_SIZE);
	WRITE_ONCE(words[0], CONTENTS);
	WRITE_ONCE(words[511], ~CONTENTS);
	physical_map(lent, PHYS_PFN(empty), xen_page_to_gfn(own), xen_page_to_gfn(spare));
	spare = NULL;
	err = grants(lent, PHYS_PFN(empty), own);
	if (err)
		goto unmap;
	buffers(words + 8, both + PAGE_SIZE - 8);
	other_calls(lent);
	if (READ_ONCE(words[0]) != CONTENTS || READ_ONCE(words[511]) != ~CONTENTS) {
		pr_err("lentpage: the page is not what it was\n");
		failures++;
	}
	err = failures ? -EIO : 0;
unmap:
	memunmap(both);
back:
	/* Otherwise the kernel has a page less than it believes. */
	if (add(XENMAPSPACE_gmfn, before, own_before)) {
		pr_err("lentpage: the page before did not go back\n");
		return -EIO;
	}
free:
	if (own)
		__free_page(own);
	if (spare)
		__free_page(spare);
	if (front)
		__free_page(front);
	return err;
}
