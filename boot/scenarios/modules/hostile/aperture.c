// SPDX-License-Identifier: GPL-2.0
/*
 * Puts this guest's own pages and grants into the aperture, and takes away what is there, by every call that
 * Xen offers to a guest. Pages that Xen takes are not given back: the guest is thrown away afterwards.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>
#include <xen/interface/grant_table.h>
#include <xen/interface/memory.h>
#include <xen/interface/xen.h>

#include "hostile.h"

/* XENMEM_remove_from_physmap: the kernel's headers leave its number out on x86. */
#define REMOVE_FROM_PHYSMAP 15

/* Pages of the aperture that are tried: where the scenario lends, and where nobody does. */
#define LENT 4096
#define TRIED 8

enum deed { DECREASE, POPULATE, ADD, MAP, REMOVE, DEEDS };

static const char *const names[DEEDS] = {
	"decrease_reservation", "populate_physmap", "add_to_physmap", "map_grant_ref", "remove_from_physmap",
};

static long reserve(int operation, u64 gfn)
{
	xen_pfn_t extent = gfn;
	struct xen_memory_reservation call = { .nr_extents = 1, .domid = DOMID_SELF };

	set_xen_guest_handle(call.extent_start, &extent);
	return HYPERVISOR_memory_op(operation, &call) == 1 ? 0 : -1;
}

/* A page of this guest's that Xen may have. */
static u64 own_page(void)
{
	return virt_to_gfn((void *)__get_free_page(GFP_KERNEL | __GFP_NOFAIL));
}

static long map_grant(u16 self, u64 gfn)
{
	int reference = gnttab_grant_foreign_access(self, own_page(), 0);
	struct gnttab_map_grant_ref call = {
		.host_addr = gfn << PAGE_SHIFT,
		.flags = GNTMAP_host_map,
		.ref = reference,
		.dom = self,
	};
	long error = HYPERVISOR_grant_table_op(GNTTABOP_map_grant_ref, &call, 1);

	return error ? error : call.status;
}

static long carry_out(enum deed deed, u16 self, u64 gfn)
{
	struct xen_add_to_physmap add = { .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .gpfn = gfn };
	struct {
		domid_t domid;
		xen_pfn_t gpfn;
	} remove = { DOMID_SELF, gfn };

	switch (deed) {
	case DECREASE:
		return reserve(XENMEM_decrease_reservation, gfn);
	case POPULATE:
		/* The guest has all that it may have: one page goes for the one that comes. */
		reserve(XENMEM_decrease_reservation, own_page());
		return reserve(XENMEM_populate_physmap, gfn);
	case ADD:
		add.idx = own_page();
		return HYPERVISOR_memory_op(XENMEM_add_to_physmap, &add);
	case MAP:
		return map_grant(self, gfn);
	default:
		return HYPERVISOR_memory_op(REMOVE_FROM_PHYSMAP, &remove);
	}
}

void hostile_aperture(u16 self, u64 gfn, u64 pages)
{
	static u64 round;
	/* Each page meets one deed, and the next in the next round. */
	u64 i, lent = gfn + LENT, empty = gfn + pages / 2;
	int refused[2][DEEDS] = {}, first[2][DEEDS] = {};

	for (i = 0; i < 2 * TRIED; i++) {
		enum deed deed = (i / 2 + round) % DEEDS;
		int where = i & 1;
		long error = carry_out(deed, self, (where ? empty : lent) + i / 2);

		if (error) {
			refused[where][deed]++;
			first[where][deed] = error;
		}
	}
	if (round < DEEDS)
		for (i = 0; i < DEEDS; i++)
			pr_info("hostile: round %llu %s: lent pages: refused %d (%d), empty ones: %d (%d)\n", round,
				names[i], refused[0][i], first[0][i], refused[1][i], first[1][i]);
	round++;
}
