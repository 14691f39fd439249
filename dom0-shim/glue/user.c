// SPDX-License-Identifier: GPL-2.0
/* The calling process: its memory and its rights. */
#include <linux/capability.h>
#include <linux/uaccess.h>

#include "glue.h"

int xenlend_user_read(void *to, unsigned long from, size_t bytes)
{
	return copy_from_user(to, (const void __user *)from, bytes) ? -EFAULT : 0;
}

int xenlend_user_write(unsigned long to, const void *from, size_t bytes)
{
	return copy_to_user((void __user *)to, from, bytes) ? -EFAULT : 0;
}

bool xenlend_user_is_administrator(void)
{
	return capable(CAP_SYS_ADMIN);
}
