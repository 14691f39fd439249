// SPDX-License-Identifier: GPL-2.0
/* Kernel messages. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/kernel.h>
#include <linux/panic.h>
#include <linux/printk.h>

#include "glue.h"

void xenlend_log(int level, const char *text, size_t length)
{
	switch (level) {
	case 0:
		pr_err_ratelimited("%.*s\n", (int)length, text);
		break;
	case 1:
		pr_warn_ratelimited("%.*s\n", (int)length, text);
		break;
	default:
		pr_info_ratelimited("%.*s\n", (int)length, text);
		break;
	}
}

void __noreturn xenlend_panic(const char *text, size_t length)
{
	panic(KBUILD_MODNAME ": %.*s", (int)length, text);
}
