// SPDX-License-Identifier: GPL-2.0
/* The work item that handles what the broker says. */
#include <linux/workqueue.h>

#include "glue.h"

static void xenlend_work_run(struct work_struct *work)
{
	xenlend_core_work();
}

static DECLARE_WORK(xenlend_work, xenlend_work_run);

void xenlend_work_queue(void)
{
	queue_work(system_unbound_wq, &xenlend_work);
}

void xenlend_work_cancel(void)
{
	cancel_work_sync(&xenlend_work);
}
