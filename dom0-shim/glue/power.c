// SPDX-License-Identifier: GPL-2.0
/* Suspend and hibernation of this machine. */
#include <linux/notifier.h>
#include <linux/suspend.h>

#include "glue.h"

/* Before anything is frozen, and after everything was thawed. */
static int xenlend_power_changes(struct notifier_block *block, unsigned long event, void *data)
{
	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		return notifier_from_errno(xenlend_core_sleep());
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		xenlend_core_wake_up();
		return NOTIFY_OK;
	default:
		return NOTIFY_DONE;
	}
}

static struct notifier_block xenlend_power_block = {
	.notifier_call = xenlend_power_changes,
};

int xenlend_power_listen(void)
{
	return register_pm_notifier(&xenlend_power_block);
}

void xenlend_power_end(void)
{
	unregister_pm_notifier(&xenlend_power_block);
}
