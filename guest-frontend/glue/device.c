// SPDX-License-Identifier: GPL-2.0
/* /dev/xenlend: a misc device. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>

#include "../uapi/xenlend-guest.h"
#include "glue.h"

/* The Rust core computes the same numbers from its own layouts. */
static_assert(XENLEND_GUEST_INFO == 0x8020C520);
static_assert(XENLEND_GUEST_GET_LEASES == 0xC018C524);
static_assert(XENLEND_GUEST_PREFAULT == 0x4018C522);
static_assert(XENLEND_GUEST_COUNTERS == 0x8060C523);
static_assert(sizeof(struct xenlend_guest_lease) == 72);
static_assert(sizeof(struct xenlend_guest_event) == 32);

static int xenlend_device_open(struct inode *inode, struct file *file)
{
	file->private_data = xenlend_core_open();
	if (!file->private_data)
		return -ENOMEM;
	xenlend_mapping_adopt(file);
	return stream_open(inode, file);
}

static int xenlend_device_release(struct inode *inode, struct file *file)
{
	xenlend_core_release(file->private_data);
	return 0;
}

static long xenlend_device_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	return xenlend_core_ioctl(file->private_data, request, argument);
}

static ssize_t xenlend_device_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	return xenlend_core_read(file->private_data, (unsigned long)buffer, size,
				 !(file->f_flags & O_NONBLOCK));
}

static __poll_t xenlend_device_poll(struct file *file, struct poll_table_struct *table)
{
	return xenlend_core_poll(file->private_data, file, table) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int xenlend_device_mmap(struct file *file, struct vm_area_struct *area)
{
	return xenlend_mapping_make(area);
}

static const struct file_operations xenlend_device_operations = {
	.owner = THIS_MODULE,
	.open = xenlend_device_open,
	.release = xenlend_device_release,
	.unlocked_ioctl = xenlend_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = xenlend_device_read,
	.poll = xenlend_device_poll,
	.mmap = xenlend_device_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
};

static struct miscdevice xenlend_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "xenlend",
	.fops = &xenlend_device_operations,
	.mode = 0600,
};

int xenlend_device_register(void)
{
	return misc_register(&xenlend_device);
}

void xenlend_device_unregister(void)
{
	misc_deregister(&xenlend_device);
}
