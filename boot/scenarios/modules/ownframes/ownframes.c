// SPDX-License-Identifier: GPL-2.0
/*
 * A test driver that owns its frames: see ownframes.h. Used by the lab's scenarios alone.
 *
 * Every object has a spare frame (or run of 512) for each one in use. The spare ones hold poison
 * and nobody has a right to them, so every byte that is not poison was written by somebody who
 * should not have.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/xen/page.h>

#include "ownframes.h"

#define RUN_ORDER 9
#define RUN_PAGES (1u << RUN_ORDER)
#define MAX_PAGES 8192

static uint fault_delay_ms;
module_param(fault_delay_ms, uint, 0644);
MODULE_PARM_DESC(fault_delay_ms, "a fault takes so long: a lender that is slow");

/* Frames that move together: one, or 512 that are one run in the machine. */
struct run {
	struct page *allocation, *first;
};

struct object {
	struct mutex lock;	/* as a GPU driver's: held while pages are moved and while they fault */
	struct address_space *mapping;
	u32 pages;
	u32 run;		/* pages that move together: 1 or 512 */
	bool notify_writes;	/* entries are read-only until the first write */
	struct run *frames, *spare;	/* in use, and taken away */
	bool *faulted;		/* for each page: since its last move */
	u64 taken, dirty, faults;
	wait_queue_head_t fault_wait;
};

static bool is_poison(struct page *frame, u32 pages)
{
	u32 i;

	for (i = 0; i < pages; i++)
		if (memchr_inv(page_address(frame + i), OWNFRAMES_POISON, PAGE_SIZE))
			return false;
	return true;
}

static void poison(struct page *frame, u32 pages)
{
	memset(page_address(frame), OWNFRAMES_POISON, (size_t)pages * PAGE_SIZE);
}

/*
 * A PV domain's frames are numbered by Xen, and 2 MiB that start at a multiple of 2 MiB here rarely
 * do so in the machine: such a run is somewhere inside an allocation of twice the size, or not.
 */
static struct page *find_run(struct page *allocation)
{
	unsigned long pfn = page_to_pfn(allocation), skip, i;

	skip = -pfn_to_mfn(pfn) & (RUN_PAGES - 1);
	for (i = 1; i < RUN_PAGES; i++)
		if (pfn_to_mfn(pfn + skip + i) != pfn_to_mfn(pfn + skip) + i)
			return NULL;
	return pfn_to_mfn(pfn + skip) & (RUN_PAGES - 1) ? NULL : allocation + skip;
}

static bool allocate_run(struct run *run)
{
	struct page *misfit, *next;
	LIST_HEAD(misfits);
	int tries;

	/* Most of a dom0's memory is contiguous in the machine: pass over what is not. */
	for (tries = 0; tries < 32 && !run->first; tries++) {
		struct page *allocation = alloc_pages(GFP_KERNEL | __GFP_ZERO, RUN_ORDER + 1);

		if (!allocation)
			break;
		run->first = find_run(allocation);
		if (run->first)
			run->allocation = allocation;
		else
			list_add(&allocation->lru, &misfits);
	}
	list_for_each_entry_safe(misfit, next, &misfits, lru) {
		list_del(&misfit->lru);
		__free_pages(misfit, RUN_ORDER + 1);
	}
	return run->first;
}

static bool allocate(struct object *object, struct run *run)
{
	if (object->run == RUN_PAGES)
		return allocate_run(run);
	run->allocation = alloc_page(GFP_KERNEL | __GFP_ZERO);
	run->first = run->allocation;
	return run->first;
}

static void free_runs(struct object *object, struct run *runs)
{
	u32 i;

	for (i = 0; runs && i < object->pages / object->run; i++)
		if (runs[i].allocation)
			__free_pages(runs[i].allocation,
				     object->run == RUN_PAGES ? RUN_ORDER + 1 : 0);
	kvfree(runs);
}

static void free_frames(struct object *object)
{
	free_runs(object, object->frames);
	free_runs(object, object->spare);
	kvfree(object->faulted);
	object->frames = NULL;
	object->spare = NULL;
	object->faulted = NULL;
	object->pages = 0;
}

static int create(struct object *object, const struct ownframes_create *request)
{
	bool contiguous = request->flags & OWNFRAMES_CONTIGUOUS;
	u32 i;

	if (object->pages)
		return -EBUSY;
	if (!request->pages || request->pages > MAX_PAGES || request->flags & ~(OWNFRAMES_CONTIGUOUS | OWNFRAMES_NOTIFY_WRITES))
		return -EINVAL;
	object->run = contiguous ? RUN_PAGES : 1;
	object->notify_writes = request->flags & OWNFRAMES_NOTIFY_WRITES;
	if (request->pages % object->run)
		return -EINVAL;
	object->pages = request->pages;
	object->frames = kvcalloc(object->pages / object->run, sizeof(*object->frames), GFP_KERNEL);
	object->spare = kvcalloc(object->pages / object->run, sizeof(*object->spare), GFP_KERNEL);
	object->faulted = kvcalloc(object->pages, sizeof(*object->faulted), GFP_KERNEL);
	if (!object->frames || !object->spare || !object->faulted)
		goto no_memory;
	for (i = 0; i < object->pages / object->run; i++) {
		if (!allocate(object, &object->frames[i]) || !allocate(object, &object->spare[i]))
			goto no_memory;
		poison(object->spare[i].first, object->run);
	}
	return 0;

no_memory:
	free_frames(object);
	return -ENOMEM;
}

static int zap(struct object *object, const struct ownframes_zap *request)
{
	u32 first = request->first, count = request->count, run = object->run, i, page;

	if (!count || first >= object->pages || count > object->pages - first ||
	    first % run || count % run)
		return -EINVAL;
	unmap_mapping_range(object->mapping, (loff_t)first << PAGE_SHIFT,
			    (loff_t)count << PAGE_SHIFT, 1);
	/* The notifiers have returned: from here on the old frames are nobody's but ours. */
	for (i = first / run; i < (first + count) / run; i++) {
		struct run old = object->frames[i], new = object->spare[i];

		if (!is_poison(new.first, run))
			object->dirty++;
		memcpy(page_address(new.first), page_address(old.first), (size_t)run * PAGE_SIZE);
		poison(old.first, run);
		object->frames[i] = new;
		object->spare[i] = old;
		object->taken += run;
	}
	for (page = first; page < first + count; page++)
		object->faulted[page] = false;
	return 0;
}

static int verify(struct object *object, struct ownframes_verify *answer)
{
	u32 i;

	for (i = 0; i < object->pages / object->run; i++) {
		if (is_poison(object->spare[i].first, object->run))
			continue;
		object->dirty++;
		/* Counted: not again on reuse. */
		poison(object->spare[i].first, object->run);
	}
	answer->taken = object->taken;
	answer->dirty = object->dirty;
	answer->faults = object->faults;
	answer->mfn = object->pages ? pfn_to_mfn(page_to_pfn(object->frames[0].first)) : 0;
	return 0;
}

static vm_fault_t fault(struct vm_fault *vmf)
{
	struct object *object = vmf->vma->vm_private_data;
	vm_fault_t status = VM_FAULT_SIGBUS;
	struct page *frame;

	if (READ_ONCE(fault_delay_ms))
		msleep(READ_ONCE(fault_delay_ms));
	mutex_lock(&object->lock);
	if (vmf->pgoff < object->pages) {
		frame = object->frames[vmf->pgoff / object->run].first + vmf->pgoff % object->run;
		status = vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(frame));
		object->faults++;
		object->faulted[vmf->pgoff] = true;
	}
	mutex_unlock(&object->lock);
	wake_up_all(&object->fault_wait);
	return status;
}

/* The entry is that of a page which is in its place: the kernel makes it writable. */
static vm_fault_t first_write(struct vm_fault *vmf)
{
	return 0;
}

static const struct vm_operations_struct vm_operations = { .fault = fault };

/* Where there is such a function the kernel makes every first entry read-only. */
static const struct vm_operations_struct notified_vm_operations = {
	.fault = fault,
	.pfn_mkwrite = first_write,
};

static int map(struct file *file, struct vm_area_struct *vma)
{
	struct object *object = file->private_data;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = object->notify_writes ? &notified_vm_operations : &vm_operations;
	vma->vm_private_data = object;
	return 0;
}

static bool was_faulted(struct object *object, u32 page)
{
	bool faulted;

	mutex_lock(&object->lock);
	faulted = page >= object->pages || object->faulted[page];
	mutex_unlock(&object->lock);
	return faulted;
}

static long control(struct file *file, unsigned int command, unsigned long argument)
{
	struct object *object = file->private_data;
	void __user *user = (void __user *)argument;
	union {
		struct ownframes_create create;
		struct ownframes_zap zap;
		struct ownframes_wait wait;
		struct ownframes_verify verify;
	} data = {};
	long status;

	if (_IOC_DIR(command) & _IOC_WRITE && _IOC_SIZE(command) <= sizeof(data) &&
	    copy_from_user(&data, user, _IOC_SIZE(command)))
		return -EFAULT;
	if (command == OWNFRAMES_WAIT)
		return wait_event_interruptible(object->fault_wait,
						was_faulted(object, data.wait.page));
	mutex_lock(&object->lock);
	switch (command) {
	case OWNFRAMES_CREATE:
		status = create(object, &data.create);
		break;
	case OWNFRAMES_ZAP:
		status = zap(object, &data.zap);
		break;
	case OWNFRAMES_VERIFY:
		status = verify(object, &data.verify);
		break;
	default:
		status = -ENOTTY;
	}
	mutex_unlock(&object->lock);
	if (!status && command == OWNFRAMES_VERIFY &&
	    copy_to_user(user, &data.verify, sizeof(data.verify)))
		return -EFAULT;
	return status;
}

static int open(struct inode *inode, struct file *file)
{
	struct object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	mutex_init(&object->lock);
	init_waitqueue_head(&object->fault_wait);
	/*
	 * All descriptors of a misc device share the inode's address space, and a zap of one object
	 * would unmap the others at the same offsets: each gets its own.
	 */
	object->mapping = kzalloc(sizeof(*object->mapping), GFP_KERNEL);
	if (!object->mapping) {
		kfree(object);
		return -ENOMEM;
	}
	address_space_init_once(object->mapping);
	object->mapping->host = inode;
	object->mapping->a_ops = inode->i_mapping->a_ops;
	file->f_mapping = object->mapping;
	file->private_data = object;
	return 0;
}

static int release(struct inode *inode, struct file *file)
{
	struct object *object = file->private_data;

	/* No mapping is left: a mapping holds the file. */
	free_frames(object);
	file->f_mapping = inode->i_mapping;
	kfree(object->mapping);
	kfree(object);
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = open,
	.release = release,
	.mmap = map,
	.unlocked_ioctl = control,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ownframes",
	.fops = &operations,
	.mode = 0600,
};
module_misc_device(device);

MODULE_DESCRIPTION("xenlend scenarios: a driver that owns its frames");
MODULE_LICENSE("GPL");
