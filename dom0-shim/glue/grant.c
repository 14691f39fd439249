// SPDX-License-Identifier: GPL-2.0
/* Granted pages. */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>

#include "glue.h"

void *xenlend_grant_new(u16 remote, u32 *reference)
{
	void *page = (void *)get_zeroed_page(GFP_KERNEL);
	int granted;

	if (!page)
		return NULL;
	granted = gnttab_grant_foreign_access(remote, virt_to_gfn(page), 0);
	if (granted < 0) {
		free_page((unsigned long)page);
		return NULL;
	}
	*reference = granted;
	return page;
}

void xenlend_grant_end(void *page, u32 reference)
{
	gnttab_end_foreign_access(reference, virt_to_page(page));
}
