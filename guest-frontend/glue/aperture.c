// SPDX-License-Identifier: GPL-2.0
/* The aperture's place in the physical address space. */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <asm/processor.h>

#include "glue.h"

/* Free address space that is this driver's from loading to unloading. Not busy: a claim goes inside. */
static struct resource xenlend_aperture_own = { .name = "xenlend", .flags = IORESOURCE_MEM };

int xenlend_aperture_reserve(u64 bytes, u64 lowest, u64 highest, u64 *address)
{
	int error = allocate_resource(&iomem_resource, &xenlend_aperture_own, bytes, lowest, highest, PMD_SIZE,
				      NULL, NULL);

	*address = xenlend_aperture_own.start;
	return error;
}

void xenlend_aperture_give_back(void)
{
	release_resource(&xenlend_aperture_own);
}

u32 xenlend_aperture_address_bits(void)
{
	return boot_cpu_data.x86_phys_bits;
}

bool xenlend_aperture_has_ram(u64 address, u64 bytes)
{
	return region_intersects(address, bytes, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_DISJOINT;
}

int xenlend_aperture_claim(u64 address, u64 bytes)
{
	return request_mem_region(address, bytes, "xenlend") ? 0 : -EBUSY;
}

void xenlend_aperture_release(u64 address, u64 bytes)
{
	release_mem_region(address, bytes);
}

int xenlend_aperture_combine(u64 address, u64 bytes)
{
	return arch_io_reserve_memtype_wc(address, bytes);
}

void xenlend_aperture_uncombine(u64 address, u64 bytes)
{
	arch_io_free_memtype_wc(address, bytes);
}
