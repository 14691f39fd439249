// SPDX-License-Identifier: GPL-2.0
/* A kernel thread in the address space of a region's process. */
#include <linux/kthread.h>
#include <linux/mmu_context.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "region.h"
#include "glue.h"

bool xenlend_address_space_enter(struct xenlend_region *region)
{
	if (!mmget_not_zero(region->mm))
		return false;
	kthread_use_mm(region->mm);
	return true;
}

/* The last user tears the address space down elsewhere, not in the page-in worker. */
void xenlend_address_space_leave(struct xenlend_region *region)
{
	kthread_unuse_mm(region->mm);
	mmput_async(region->mm);
}

static int xenlend_copy_from(void *to, unsigned long from, size_t bytes, bool single)
{
	if (!single)
		return copy_from_user(to, (const void __user *)from, bytes) ? -EFAULT : 0;
	switch (bytes) {
	case 1:
		return get_user(*(u8 *)to, (const u8 __user *)from);
	case 2:
		return get_user(*(u16 *)to, (const u16 __user *)from);
	case 4:
		return get_user(*(u32 *)to, (const u32 __user *)from);
	default:
		return get_user(*(u64 *)to, (const u64 __user *)from);
	}
}

static int xenlend_copy_to(unsigned long to, const void *from, size_t bytes, bool single)
{
	if (!single)
		return copy_to_user((void __user *)to, from, bytes) ? -EFAULT : 0;
	switch (bytes) {
	case 1:
		return put_user(*(const u8 *)from, (u8 __user *)to);
	case 2:
		return put_user(*(const u16 *)from, (u16 __user *)to);
	case 4:
		return put_user(*(const u32 *)from, (u32 __user *)to);
	default:
		return put_user(*(const u64 *)from, (u64 __user *)to);
	}
}

int xenlend_address_space_read(void *to, unsigned long from, size_t bytes, bool single)
{
	int error;

	pagefault_disable();
	error = xenlend_copy_from(to, from, bytes, single);
	pagefault_enable();
	return error;
}

int xenlend_address_space_write(unsigned long to, const void *from, size_t bytes, bool single)
{
	int error;

	pagefault_disable();
	error = xenlend_copy_to(to, from, bytes, single);
	pagefault_enable();
	return error;
}
