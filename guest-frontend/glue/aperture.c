// SPDX-License-Identifier: GPL-2.0
/* The aperture's place in the physical address space. */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <asm/processor.h>

#include "glue.h"

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
