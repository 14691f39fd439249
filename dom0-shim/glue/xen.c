// SPDX-License-Identifier: GPL-2.0
/* Hypercalls. */
#include <asm/processor.h>
#include <asm/xen/hypercall.h>
#include <xen/interface/version.h>
#include <xen/xen.h>

#include "glue.h"

bool xenlend_xen_is_domain(void)
{
	return xen_domain();
}

bool xenlend_xen_is_control_domain(void)
{
	return xen_initial_domain();
}

bool xenlend_xen_is_pv_domain(void)
{
	return xen_pv_domain();
}

u32 xenlend_xen_version(void)
{
	return HYPERVISOR_xen_version(XENVER_version, NULL);
}

u32 xenlend_xen_physical_address_bits(void)
{
	return boot_cpu_data.x86_phys_bits;
}

long xenlend_xen_dm_op(u16 domain, u32 count, void *buffers)
{
	return HYPERVISOR_dm_op(domain, count, buffers);
}

long xenlend_xen_call(u32 call, void *argument)
{
	return privcmd_call(call, (unsigned long)argument, 0, 0, 0, 0);
}
