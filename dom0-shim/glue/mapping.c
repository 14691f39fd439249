// SPDX-License-Identifier: GPL-2.0
/* What a process has mapped: VMAs, faults, page-table entries, frames. */
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/ioport.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/page-flags.h>
#include <asm/xen/page.h>
#include <xen/features.h>

#include "region.h"
#include "glue.h"

/* The Rust core has these numbers. */
static_assert(HMM_PFN_VALID == 1UL << 63);
static_assert(HMM_PFN_WRITE == 1UL << 62);
static_assert(HMM_PFN_ERROR == 1UL << 61);
static_assert(HMM_PFN_FLAGS == 0xFFUL << 56);
static_assert(HMM_PFN_REQ_FAULT == HMM_PFN_VALID && HMM_PFN_REQ_WRITE == HMM_PFN_WRITE);
static_assert(FOREIGN_FRAME_BIT == 1UL << 63);
static_assert(IDENTITY_FRAME_BIT == 1UL << 62);
static_assert(INVALID_P2M_ENTRY == ~0UL);

void xenlend_mapping_lock(struct xenlend_region *region)
{
	mmap_read_lock(region->mm);
}

void xenlend_mapping_unlock(struct xenlend_region *region)
{
	mmap_read_unlock(region->mm);
}

bool xenlend_mapping_vma(struct xenlend_region *region, unsigned long address, struct xenlend_vma *out)
{
	struct vm_area_struct *vma = vma_lookup(region->mm, address);

	if (!vma)
		return false;
	out->start = vma->vm_start;
	out->end = vma->vm_end;
	out->readable = !!(vma->vm_flags & VM_READ);
	out->writable = !!(vma->vm_flags & VM_WRITE);
	out->pfn_mapped = !!(vma->vm_flags & (VM_PFNMAP | VM_IO));
	/* vma_is_secretmem() is not for modules; all files of that kind are in a filesystem of their own. */
	out->secret = vma->vm_file && file_inode(vma->vm_file)->i_sb->s_magic == SECRETMEM_MAGIC;
	return true;
}

int xenlend_mapping_fault(struct xenlend_region *region, unsigned long address, bool write)
{
	bool unlocked = false;
	int error = fixup_user_fault(region->mm, address, write ? FAULT_FLAG_WRITE : 0, &unlocked);

	return error ? error : unlocked;
}

int xenlend_mapping_try_fault(struct xenlend_region *region, unsigned long address, bool write)
{
	struct vm_area_struct *vma = vma_lookup(region->mm, address);
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT;
	vm_fault_t result;

	if (!vma || !(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		return -EFAULT;
	result = handle_mm_fault(vma, address, flags | (write ? FAULT_FLAG_WRITE : 0), NULL);
	if (result & VM_FAULT_ERROR)
		return vm_fault_to_errno(result, 0);
	/* Without a wait the lock is only let go of by what is done. */
	if (result & VM_FAULT_COMPLETED)
		mmap_read_lock(region->mm);
	return !!(result & VM_FAULT_RETRY);
}

int xenlend_mapping_pfn(struct xenlend_region *region, unsigned long address, u64 *pfn, u32 *writable)
{
	struct follow_pfnmap_args args = { .address = address };
	int error;

	args.vma = vma_lookup(region->mm, address);
	if (!args.vma)
		return -EFAULT;
	error = follow_pfnmap_start(&args);
	if (error)
		return error;
	*pfn = args.pfn;
	*writable = args.writable;
	follow_pfnmap_end(&args);
	return 0;
}

int xenlend_mapping_range(struct xenlend_region *region, unsigned long sequence, unsigned long start,
			  unsigned long end, unsigned long *pfns)
{
	struct hmm_range range = {
		.notifier = &region->notifier,
		.notifier_seq = sequence,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.default_flags = 0,
		.pfn_flags_mask = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};

	return hmm_range_fault(&range);
}

int xenlend_mapping_page(struct xenlend_region *region, unsigned long address, u64 *pfn, u32 *writable)
{
	unsigned long found = 0;
	/* Whatever is invalidated meanwhile is found by the access. */
	int error = xenlend_mapping_range(region, READ_ONCE(region->notifier.invalidate_seq), address,
					  address + PAGE_SIZE, &found);

	if (error)
		return error;
	if (found & HMM_PFN_ERROR)
		return -EACCES;
	if (!(found & HMM_PFN_VALID))
		return -ENOENT;
	*pfn = found & ~HMM_PFN_FLAGS;
	*writable = !!(found & HMM_PFN_WRITE);
	return 0;
}

/*
 * The borrower writes without this kernel's page-table entry, which may be writable and clean:
 * without the mark, reclaim would drop what it wrote. The reference keeps the page what it is meanwhile;
 * if it has become another's, that one is written out once too often.
 */
void xenlend_mapping_mark_written(u64 pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));

	if (!folio_try_get(folio))
		return;
	if (folio_test_anon(folio) || folio_test_swapbacked(folio))
		folio_set_dirty(folio);
	folio_put(folio);
}

void xenlend_mapping_frame(u64 pfn, struct xenlend_frame *frame)
{
	struct page *page;

	frame->pfn = pfn;
	frame->is_translated = xen_feature(XENFEAT_auto_translated_physmap);
	frame->p2m_entry = __pfn_to_mfn(pfn);
	frame->m2p_pfn = mfn_to_pfn_no_overrides(frame->p2m_entry & ~(FOREIGN_FRAME_BIT | IDENTITY_FRAME_BIT));
	frame->is_device_memory = region_intersects(PFN_PHYS(pfn), PAGE_SIZE, IORESOURCE_MEM,
						    IORES_DESC_NONE) != REGION_DISJOINT;
	frame->has_page = pfn_valid(pfn);
	frame->is_special = false;
	frame->is_zero_page = false;
	if (!frame->has_page)
		return;
	page = pfn_to_page(pfn);
	frame->is_special = PageReserved(page) || PageSlab(page) || PageTable(page) || PageOffline(page) ||
			    is_zone_device_page(page);
	frame->is_zero_page = is_zero_pfn(pfn);
}
