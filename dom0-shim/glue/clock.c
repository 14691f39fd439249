// SPDX-License-Identifier: GPL-2.0
/* Monotonic time. */
#include <linux/timekeeping.h>

#include "glue.h"

u64 xenlend_clock_ns(void)
{
	return ktime_get_ns();
}
