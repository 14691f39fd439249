// SPDX-License-Identifier: GPL-2.0
/* /dev/xen/xenlend: a misc device. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>

#include "../uapi/xenlend.h"
#include "device.h"
#include "glue.h"

/* The Rust core computes the same numbers from its own layouts. */
static_assert(XENLEND_ATTACH == 0xC038C510);
static_assert(XENLEND_DETACH == 0x4008C511);
static_assert(XENLEND_ALLOW_BAR == 0xC018C512);
static_assert(XENLEND_BIND == 0x4008C513);
/* This one's size is that of its counters, of which there may be more: the number of the first ones stays. */
static_assert(XENLEND_STATUS == 0xC100C514);
static_assert(XENLEND_SET_USER_MEMORY_REGION == 0x4020C515);
static_assert(XENLEND_SET_USER_MEMORY_REGION2 == 0x4040C518);
static_assert(XENLEND_GET_REGION == 0xC040C519);
static_assert(XENLEND_RESOLVE == 0x4018C51C);
static_assert(XENLEND_ATTACH_FRONTEND == 0xC020C516);
static_assert(XENLEND_DETACH_FRONTEND == 0x4008C517);
static_assert(XENLEND_XEN == 0xC008C520);
static_assert(XENLEND_VERSION == 0xC008C521);
static_assert(XENLEND_CAPABILITY == 0xC010C522);
static_assert(sizeof(struct xenlend_event) == 24);

static int xenlend_device_open(struct inode *inode, struct file *file)
{
	file->private_data = xenlend_core_open();
	if (!file->private_data)
		return -ENOMEM;
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
	u32 what = xenlend_core_poll(file->private_data, file, table);

	return (what & XENLEND_POLL_EVENT ? EPOLLIN | EPOLLRDNORM : 0) |
	       (what & XENLEND_POLL_END ? EPOLLHUP : 0);
}

static const struct file_operations xenlend_device_operations = {
	.owner = THIS_MODULE,
	.open = xenlend_device_open,
	.release = xenlend_device_release,
	.unlocked_ioctl = xenlend_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = xenlend_device_read,
	.poll = xenlend_device_poll,
};

static struct miscdevice xenlend_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "xen/xenlend",
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
