// SPDX-License-Identifier: GPL-2.0
/* Pages of zeros of this kernel's own, lent where a process has nothing. */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <asm/xen/page.h>

#include "glue.h"

bool xenlend_zeros_new(u64 *mfn)
{
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN);

	if (!page)
		return false;
	*mfn = pfn_to_mfn(page_to_pfn(page));
	return true;
}

void xenlend_zeros_free(u64 mfn)
{
	__free_page(pfn_to_page(mfn_to_pfn(mfn)));
}
