// SPDX-License-Identifier: GPL-2.0
/* PCI devices: where a BAR and its MSI-X structures are. */
#include <linux/pci.h>

#include "glue.h"

/* A device that sleeps too deeply answers all ones, which are no table anywhere. */
static int xenlend_pci_msix(struct pci_dev *device, u32 number, struct xenlend_bar *bar)
{
	u32 table, pending;
	u16 control;

	if (!device->msix_cap)
		return 0;
	if (pci_read_config_word(device, device->msix_cap + PCI_MSIX_FLAGS, &control) ||
	    pci_read_config_dword(device, device->msix_cap + PCI_MSIX_TABLE, &table) ||
	    pci_read_config_dword(device, device->msix_cap + PCI_MSIX_PBA, &pending) ||
	    PCI_POSSIBLE_ERROR(control) || PCI_POSSIBLE_ERROR(table) || PCI_POSSIBLE_ERROR(pending))
		return -EIO;
	control = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
	if ((table & PCI_MSIX_TABLE_BIR) == number) {
		bar->table_address = bar->address + (table & PCI_MSIX_TABLE_OFFSET);
		bar->table_bytes = control * PCI_MSIX_ENTRY_SIZE;
	}
	if ((pending & PCI_MSIX_PBA_BIR) == number) {
		bar->pending_address = bar->address + (pending & PCI_MSIX_PBA_OFFSET);
		bar->pending_bytes = DIV_ROUND_UP(control, 64) * 8;
	}
	return 0;
}

int xenlend_pci_bar(u32 segment, u32 bus, u32 devfn, u32 number, struct xenlend_bar *bar)
{
	struct pci_dev *device;
	int error = -EINVAL;

	memset(bar, 0, sizeof(*bar));
	device = pci_get_domain_bus_and_slot(segment, bus, devfn);
	if (!device)
		return -ENODEV;
	if (number < PCI_STD_NUM_BARS && (pci_resource_flags(device, number) & IORESOURCE_MEM) &&
	    pci_resource_len(device, number)) {
		bar->address = pci_resource_start(device, number);
		bar->bytes = pci_resource_len(device, number);
		error = xenlend_pci_msix(device, number, bar);
	}
	pci_dev_put(device);
	return error;
}
