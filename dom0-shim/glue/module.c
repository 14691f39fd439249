// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading. */
#include <linux/module.h>

#include "device.h"
#include "region.h"
#include "glue.h"

/* The control of a test: the borrower dies of it. Taints the kernel. */
static bool test_unpaused_adds;
module_param_unsafe(test_unpaused_adds, bool, 0400);
MODULE_PARM_DESC(test_unpaused_adds, "Add frames without pausing the borrower: kills it (for tests only)");

bool xenlend_module_adds_unpaused(void)
{
	return test_unpaused_adds;
}

void xenlend_module_get(void)
{
	__module_get(THIS_MODULE);
}

void xenlend_module_put(void)
{
	module_put(THIS_MODULE);
}

static int __init xenlend_init(void)
{
	int error = xenlend_regions_init();

	if (error)
		return error;
	error = xenlend_core_init();
	if (error)
		goto exit_regions;
	error = xenlend_pci_watch();
	if (error)
		goto exit_core;
	error = xenlend_power_listen();
	if (error)
		goto unwatch;
	error = xenlend_device_register();
	if (error)
		goto end_power;
	return 0;

end_power:
	xenlend_power_end();
unwatch:
	xenlend_pci_unwatch();
exit_core:
	xenlend_core_exit();
exit_regions:
	xenlend_regions_exit();
	return error;
}

static void __exit xenlend_exit(void)
{
	xenlend_device_unregister();
	xenlend_power_end();
	xenlend_pci_unwatch();
	xenlend_regions_exit();
	xenlend_core_exit();
}

module_init(xenlend_init);
module_exit(xenlend_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Lends memory of this domain to other Xen domains");
MODULE_AUTHOR("xenlend");
