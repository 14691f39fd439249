// SPDX-License-Identifier: GPL-2.0
/* PCI devices: where a BAR and its MSI-X structures are, and word of what becomes of a device. */
#include <linux/notifier.h>
#include <linux/pci.h>

#include "glue.h"

/* A device is all there is; the type is for the contract. */
static struct pci_dev *device_of(struct xenlend_pci_device *device)
{
	return (struct pci_dev *)device;
}

struct xenlend_pci_device *xenlend_pci_find(u32 segment, u32 bus, u32 devfn)
{
	return (struct xenlend_pci_device *)pci_get_domain_bus_and_slot(segment, bus, devfn);
}

void xenlend_pci_get(struct xenlend_pci_device *device)
{
	pci_dev_get(device_of(device));
}

void xenlend_pci_put(struct xenlend_pci_device *device)
{
	pci_dev_put(device_of(device));
}

bool xenlend_pci_place(struct xenlend_pci_device *of, u32 number, u64 *address, u64 *bytes)
{
	struct pci_dev *device = device_of(of);

	if (number >= PCI_STD_NUM_BARS || !(pci_resource_flags(device, number) & IORESOURCE_MEM) ||
	    (pci_resource_flags(device, number) & (IORESOURCE_UNSET | IORESOURCE_DISABLED)))
		return false;
	*address = pci_resource_start(device, number);
	*bytes = pci_resource_len(device, number);
	return *bytes;
}

/* A device that sleeps too deeply answers all ones, which are no table anywhere. */
int xenlend_pci_msix(struct xenlend_pci_device *of, u32 number, struct xenlend_msix *msix)
{
	struct pci_dev *device = device_of(of);
	u32 table, pending;
	u16 control;

	memset(msix, 0, sizeof(*msix));
	if (!device->msix_cap)
		return 0;
	if (pci_read_config_word(device, device->msix_cap + PCI_MSIX_FLAGS, &control) ||
	    pci_read_config_dword(device, device->msix_cap + PCI_MSIX_TABLE, &table) ||
	    pci_read_config_dword(device, device->msix_cap + PCI_MSIX_PBA, &pending) ||
	    PCI_POSSIBLE_ERROR(control) || PCI_POSSIBLE_ERROR(table) || PCI_POSSIBLE_ERROR(pending))
		return -EIO;
	control = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
	if ((table & PCI_MSIX_TABLE_BIR) == number) {
		msix->table_offset = table & PCI_MSIX_TABLE_OFFSET;
		msix->table_bytes = control * PCI_MSIX_ENTRY_SIZE;
	}
	if ((pending & PCI_MSIX_PBA_BIR) == number) {
		msix->pending_offset = pending & PCI_MSIX_PBA_OFFSET;
		msix->pending_bytes = DIV_ROUND_UP(control, 64) * 8;
	}
	return 0;
}

/* Before and after a driver comes or goes, and when the device goes. */
static int xenlend_pci_event(struct notifier_block *block, unsigned long event, void *of)
{
	struct device *device = of;

	if (event != BUS_NOTIFY_ADD_DEVICE)
		xenlend_core_device_changes((struct xenlend_pci_device *)to_pci_dev(device));
	return NOTIFY_DONE;
}

static struct notifier_block xenlend_pci_block = { .notifier_call = xenlend_pci_event };

int xenlend_pci_watch(void)
{
	return bus_register_notifier(&pci_bus_type, &xenlend_pci_block);
}

void xenlend_pci_unwatch(void)
{
	bus_unregister_notifier(&pci_bus_type, &xenlend_pci_block);
}
