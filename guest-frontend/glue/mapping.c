// SPDX-License-Identifier: GPL-2.0
/* Programs' mappings of the aperture: one address space, faults, zaps. */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pfn_t.h>
#include <linux/pseudo_fs.h>
#include <linux/rwsem.h>
#include <linux/userfaultfd_k.h>

#include "glue.h"

/* The Rust core has these numbers. */
static_assert((__force u32)VM_FAULT_OOM == 0x1);
static_assert((__force u32)VM_FAULT_SIGBUS == 0x2);
static_assert((__force u32)VM_FAULT_NOPAGE == 0x100);
static_assert((__force u32)VM_FAULT_RETRY == 0x400);
static_assert((__force u32)VM_FAULT_FALLBACK == 0x800);

/*
 * Page tables are made before the driver's mutex, since that may wait for memory of the program's cgroup. An
 * entry of 2 MiB must not appear meanwhile: it is made by whoever gets this without waiting.
 */
static DECLARE_RWSEM(xenlend_tables);

static struct vfsmount *xenlend_mount;
static struct inode *xenlend_inode;

static int xenlend_mapping_context(struct fs_context *context)
{
	return init_pseudo(context, 0x786c656e) ? 0 : -ENOMEM;
}

/* Without an owner: it is mounted in here only, from loading to unloading. */
static struct file_system_type xenlend_mapping_type = {
	.name = "xenlend",
	.init_fs_context = xenlend_mapping_context,
	.kill_sb = kill_anon_super,
};

int xenlend_mapping_init(void)
{
	xenlend_mount = kern_mount(&xenlend_mapping_type);
	if (IS_ERR(xenlend_mount))
		return PTR_ERR(xenlend_mount);
	xenlend_inode = alloc_anon_inode(xenlend_mount->mnt_sb);
	if (!IS_ERR(xenlend_inode))
		return 0;
	kern_unmount(xenlend_mount);
	return PTR_ERR(xenlend_inode);
}

void xenlend_mapping_exit(void)
{
	iput(xenlend_inode);
	kern_unmount(xenlend_mount);
}

/* A device node may exist many times, each with an address space of its own. */
void xenlend_mapping_adopt(struct file *file)
{
	file->f_mapping = xenlend_inode->i_mapping;
}

void xenlend_mapping_zap(u64 offset, u64 bytes)
{
	unmap_mapping_range(xenlend_inode->i_mapping, offset, bytes, 1);
}

bool xenlend_mapping_is_mapped(void)
{
	return mapping_mapped(xenlend_inode->i_mapping);
}

static u32 xenlend_mapping_touch(struct vm_fault *fault, bool huge)
{
	struct vm_area_struct *area = fault->vma;
	bool retries = fault->flags & FAULT_FLAG_ALLOW_RETRY;
	bool stays = fault->flags & FAULT_FLAG_RETRY_NOWAIT;
	const struct xenlend_fault touch = {
		.fault = fault,
		.name = (unsigned long)area->vm_private_data,
		.page = fault->pgoff,
		.first = area->vm_pgoff,
		.end = area->vm_pgoff + vma_pages(area),
		.may_wait = retries && !stays,
		.is_retry = !!(fault->flags & FAULT_FLAG_TRIED),
		.must_not_wait = retries && stays,
		.heeds_signals = (fault->flags & (FAULT_FLAG_USER | FAULT_FLAG_INTERRUPTIBLE)) ==
				 (FAULT_FLAG_USER | FAULT_FLAG_INTERRUPTIBLE),
		.slot = pte_index(fault->address),
	};

	/* userfaultfd leaves markers where entries belong: no touch would ever come to an end. */
	if (userfaultfd_armed(area))
		return (__force u32)VM_FAULT_SIGBUS;
	return xenlend_core_fault(&touch, huge);
}

static vm_fault_t xenlend_mapping_fault(struct vm_fault *fault)
{
	return (__force vm_fault_t)xenlend_mapping_touch(fault, false);
}

/*
 * Entries of 2 MiB need a kernel that marks them special: without the mark whoever pins pages (O_DIRECT) takes
 * the frame behind one for a page of this guest's own.
 */
#define XENLEND_HAS_HUGE	IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP)

static vm_fault_t xenlend_mapping_huge_fault(struct vm_fault *fault, unsigned int order)
{
	/* An entry of 2 MiB is put at the address's multiple, which must be the aperture's too. */
	if (order != PMD_ORDER ||
	    (((fault->address >> PAGE_SHIFT) ^ fault->pgoff) & (HPAGE_PMD_NR - 1)))
		return VM_FAULT_FALLBACK;
	return (__force vm_fault_t)xenlend_mapping_touch(fault, true);
}

/*
 * fork() copies entries of 2 MiB without looking again, so one could outlive a zap in the child: the parent
 * has none then. Both address spaces are locked for writing.
 */
static void xenlend_mapping_open(struct vm_area_struct *area)
{
	struct vm_area_struct *from;

	if (area->vm_mm == current->mm)
		return;
	from = vma_lookup(current->mm, area->vm_start);
	if (from && from->vm_ops == area->vm_ops)
		zap_vma_ptes(from, from->vm_start, from->vm_end - from->vm_start);
}

/* Without zaps the end of the last mapping is what the work item waits for; it is out of the tree by now. */
static void xenlend_mapping_close(struct vm_area_struct *area)
{
	if (!xenlend_module_zaps())
		xenlend_work_queue();
}

static const struct vm_operations_struct xenlend_mapping_operations = {
	.open = xenlend_mapping_open,
	.close = xenlend_mapping_close,
	.fault = xenlend_mapping_fault,
	.huge_fault = XENLEND_HAS_HUGE ? xenlend_mapping_huge_fault : NULL,
};

int xenlend_mapping_make(struct vm_area_struct *area)
{
	struct xenlend_map map = {
		.first = area->vm_pgoff,
		.pages = vma_pages(area),
		.is_shared = !!(area->vm_flags & VM_MAYSHARE),
		.writes = !!(area->vm_flags & VM_WRITE),
		.executes = !!(area->vm_flags & VM_EXEC),
	};
	int error = xenlend_core_map(&map);

	if (error)
		return error;
	vm_flags_mod(area, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP | VM_HUGEPAGE,
		     VM_MAYEXEC | (map.may_write ? 0 : VM_MAYWRITE));
	area->vm_pgoff = map.first;
	if (map.kind == XENLEND_MAP_WRITE_COMBINING)
		area->vm_page_prot = pgprot_writecombine(area->vm_page_prot);
	else if (map.kind == XENLEND_MAP_UNCACHED)
		area->vm_page_prot = pgprot_noncached(area->vm_page_prot);
	area->vm_private_data = (void *)(unsigned long)map.name;
	area->vm_ops = &xenlend_mapping_operations;
	return 0;
}

bool xenlend_fault_has_table(struct vm_fault *fault)
{
	return !pmd_none(READ_ONCE(*fault->pmd));
}

int xenlend_fault_make_table(struct vm_fault *fault)
{
	int error = 0;

	down_read(&xenlend_tables);
	if (!xenlend_fault_has_table(fault))
		error = apply_to_page_range(fault->vma->vm_mm, fault->address & PAGE_MASK, PAGE_SIZE, NULL, NULL);
	up_read(&xenlend_tables);
	return error;
}

u32 xenlend_fault_insert(struct vm_fault *fault, u64 page, u64 frame)
{
	struct vm_area_struct *area = fault->vma;
	unsigned long address = area->vm_start + ((page - area->vm_pgoff) << PAGE_SHIFT);

	/* Another touch has put an entry of 2 MiB there, under the same mutex as this. */
	if (pmd_trans_huge(READ_ONCE(*fault->pmd)))
		return (__force u32)VM_FAULT_NOPAGE;
	return (__force u32)vmf_insert_pfn_prot(area, address, frame, area->vm_page_prot);
}

struct xenlend_entry {
	struct vm_area_struct *area;
	u64 frame;
};

static int xenlend_entry_set(pte_t *entry, unsigned long address, void *data)
{
	const struct xenlend_entry *wanted = data;

	if (pte_none(ptep_get(entry)))
		set_pte_at(wanted->area->vm_mm, address, entry,
			   pte_mkspecial(pfn_pte(wanted->frame, wanted->area->vm_page_prot)));
	return 0;
}

/* vmf_insert_pfn_prot() would give it the type that the kernel keeps for the whole aperture. */
u32 xenlend_fault_insert_typed(struct vm_fault *fault, u64 page, u64 frame)
{
	struct vm_area_struct *area = fault->vma;
	unsigned long address = area->vm_start + ((page - area->vm_pgoff) << PAGE_SHIFT);
	struct xenlend_entry wanted = { .area = area, .frame = frame };
	int error = apply_to_page_range(area->vm_mm, address, PAGE_SIZE, xenlend_entry_set, &wanted);

	return (__force u32)(error ? vmf_error(error) : VM_FAULT_NOPAGE);
}

u32 xenlend_fault_insert_huge(struct vm_fault *fault, u64 frame)
{
	vm_fault_t result;

	if (!XENLEND_HAS_HUGE || !down_write_trylock(&xenlend_tables))
		return (__force u32)VM_FAULT_FALLBACK;
	result = vmf_insert_pfn_pmd(fault, __pfn_to_pfn_t(frame, PFN_DEV), fault->flags & FAULT_FLAG_WRITE);
	up_write(&xenlend_tables);
	return (__force u32)result;
}

/* The mapping may go with its locks; its file keeps the module. */
void *xenlend_fault_unlock(struct vm_fault *fault)
{
	struct file *file = get_file(fault->vma->vm_file);

	release_fault_lock(fault);
	return file;
}

void xenlend_fault_forget(void *kept)
{
	fput(kept);
}
