// SPDX-License-Identifier: GPL-2.0
/* Memory of any size, zeroed. */
#include <linux/mm.h>
#include <linux/slab.h>

#include "glue.h"

void *xenlend_memory_new(size_t bytes)
{
	return kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
}

void xenlend_memory_free(void *memory)
{
	kvfree(memory);
}
