// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading. */
#include <linux/module.h>

#include "glue.h"

static bool zap = true;
module_param(zap, bool, 0444);
MODULE_PARM_DESC(zap, "Drop programs' entries of pages that were taken away (else each touch of one stops a vCPU)");

static bool prefault = true;
module_param(prefault, bool, 0444);
MODULE_PARM_DESC(prefault, "Bring pages in for programs that ask before they touch them");

static unsigned int aperture_mib = 256;
module_param(aperture_mib, uint, 0444);
MODULE_PARM_DESC(aperture_mib, "Address space to reserve for lent memory, in MiB; 0: only what the command line reserves");

u64 xenlend_module_aperture_bytes(void)
{
	return (u64)aperture_mib << 20;
}

bool xenlend_module_zaps(void)
{
	return zap;
}

bool xenlend_module_prefaults(void)
{
	return prefault;
}

static int __init xenlend_front_init(void)
{
	int error = xenlend_core_init();

	if (error)
		return error;
	error = xenlend_mapping_init();
	if (error)
		goto core;
	error = xenlend_device_register();
	if (error)
		goto mapping;
	error = xenlend_bus_register();
	if (error)
		goto device;
	error = xenlend_bus_watch();
	if (!error) {
		xenlend_core_loaded();
		return 0;
	}
	xenlend_bus_unregister();
device:
	xenlend_device_unregister();
mapping:
	xenlend_mapping_exit();
core:
	xenlend_core_exit();
	return error;
}

static void __exit xenlend_front_exit(void)
{
	xenlend_bus_unwatch();
	xenlend_bus_unregister();
	xenlend_core_unloading();
	xenlend_device_unregister();
	xenlend_mapping_exit();
	xenlend_core_exit();
}

module_init(xenlend_front_init);
module_exit(xenlend_front_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Maps memory that other Xen domains lend to this one");
MODULE_AUTHOR("xenlend");
MODULE_ALIAS("xen:xenlend");
