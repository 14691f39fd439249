/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole contract between the C glue and the Rust core of the module, grouped by
 * the file that defines each function. The glue wraps macros and inline functions of
 * the kernel and decides nothing. Functions give 0 or a negative error number unless said otherwise.
 */
#ifndef XENLEND_GLUE_H
#define XENLEND_GLUE_H

#include <linux/types.h>

#include "common.h"

struct xenlend_pci_device;
struct xenlend_region;
struct xenlend_worker;

/* --- defined in Rust: module/src/kernel_api/exports.rs -------------------- */

int xenlend_core_init(void);
void xenlend_core_exit(void);
/* A descriptor's state, or NULL. */
void *xenlend_core_open(void);
void xenlend_core_release(void *descriptor);
long xenlend_core_ioctl(void *descriptor, u32 request, unsigned long argument);
ssize_t xenlend_core_read(void *descriptor, unsigned long buffer, size_t size, bool may_wait);
/* XENLEND_POLL_*; registers with the link's wait queue first. */
#define XENLEND_POLL_EVENT	1	/* read() gives something, or the end */
#define XENLEND_POLL_END	2	/* the link is over: nothing comes any more */
u32 xenlend_core_poll(void *descriptor, struct file *file, struct poll_table_struct *table);
/* MMU notifier. False: not now (only if !may_sleep). `is_release`: the address space ends. */
bool xenlend_core_invalidate(void *link, u64 lease, unsigned long start,
			     unsigned long end, bool may_sleep, bool is_release,
			     struct xenlend_region *region, unsigned long sequence);
void xenlend_core_work(void *post);
/* Takes over the errand. */
void xenlend_core_wait(void *errand);
void xenlend_core_put_link(void *link);
/* A driver comes to a device or leaves it, or the device goes: before that and after it. May sleep. */
void xenlend_core_device_changes(struct xenlend_pci_device *device);
/* Programs are about to be frozen, and devices to sleep: afterwards nothing is lent. An error forbids it. */
int xenlend_core_sleep(void);
/* They run again, or were not frozen after all. */
void xenlend_core_wake_up(void);

/* --- module.c ------------------------------------------------------------- */

void xenlend_module_get(void);
void xenlend_module_put(void);
/* Test control: frames are added without pausing the borrower. */
bool xenlend_module_adds_unpaused(void);

/* --- power.c -------------------------------------------------------------- */

int xenlend_power_listen(void);
void xenlend_power_end(void);

/* --- clock.c -------------------------------------------------------------- */

u64 xenlend_clock_ns(void);

/* --- xen.c ---------------------------------------------------------------- */

/* Allowed to control other domains. */
bool xenlend_xen_is_control_domain(void);
bool xenlend_xen_is_pv_domain(void);
bool xenlend_xen_is_domain(void);
/* major << 16 | minor */
u32 xenlend_xen_version(void);
u32 xenlend_xen_physical_address_bits(void);
long xenlend_xen_call(u32 call, void *argument);
/* `buffers`: so many struct xen_dm_op_buf. */
long xenlend_xen_dm_op(u16 domain, u32 count, void *buffers);

/* --- notifier.c ----------------------------------------------------------- */

/* Of current's address space; takes over one reference of the link. */
struct xenlend_region *xenlend_region_new(void *link);
/* Takes current's mmap lock to write. */
int xenlend_region_arm(struct xenlend_region *region, unsigned long start, unsigned long bytes);
/* What the notifier hands down: index | generation << 32. */
#define XENLEND_NO_LEASE	(~0ULL)
void xenlend_region_name(struct xenlend_region *region, u64 lease);
/* Ends the notifier, elsewhere and later; takes over one reference. Once, if it is armed. Does not sleep. */
void xenlend_region_retire(struct xenlend_region *region);
void xenlend_region_get(struct xenlend_region *region);
void xenlend_region_put(struct xenlend_region *region);
/* Under the link's spinlock, in the notifier. */
void xenlend_region_set_sequence(struct xenlend_region *region, unsigned long sequence);
unsigned long xenlend_region_read_begin(struct xenlend_region *region);
/* Names current's address space for as long as a region of it lives. */
u64 xenlend_region_current_process(void);
/* One more than the highest byte that a process can have. */
u64 xenlend_region_user_limit(void);
/* The caller is of the region's process, and was killed. */
bool xenlend_region_is_killed(struct xenlend_region *region);

/* --- address_space.c ------------------------------------------------------ */

/* Kernel thread only. False: the process is gone. */
bool xenlend_address_space_enter(struct xenlend_region *region);
void xenlend_address_space_leave(struct xenlend_region *region);
/*
 * No fault is taken: -EFAULT if a page is not there. `single`: bytes is 1, 2, 4 or 8 and the address a
 * multiple of it: one access of the processor.
 */
int xenlend_address_space_read(void *to, unsigned long from, size_t bytes, bool single);
int xenlend_address_space_write(unsigned long to, const void *from, size_t bytes, bool single);

/* --- mapping.c ------------------------------------------------------------ */

struct xenlend_vma {
	unsigned long start;
	unsigned long end;
	u32 readable;
	u32 writable;
	u32 pfn_mapped;
	u32 secret;	/* memory of memfd_secret */
};

struct xenlend_frame {
	u64 pfn;
	u64 p2m_entry;
	u64 m2p_pfn;
	u32 is_translated;
	u32 has_page;
	u32 is_special;
	u32 is_zero_page;
	u32 is_device_memory;
	u32 padding;
};

void xenlend_mapping_lock(struct xenlend_region *region);
void xenlend_mapping_unlock(struct xenlend_region *region);
/* False: nothing is mapped there. The following five under the mapping lock. */
bool xenlend_mapping_vma(struct xenlend_region *region, unsigned long address, struct xenlend_vma *vma);
/* 1: the lock was let go of meanwhile. */
int xenlend_mapping_fault(struct xenlend_region *region, unsigned long address, bool write);
/* 1: somebody would have to be waited for. The lock is held all the time. */
int xenlend_mapping_try_fault(struct xenlend_region *region, unsigned long address, bool write);
int xenlend_mapping_pfn(struct xenlend_region *region, unsigned long address, u64 *pfn, u32 *writable);
/* pfns: HMM_PFN_* in and out. -EBUSY: begin again. */
int xenlend_mapping_range(struct xenlend_region *region, unsigned long sequence, unsigned long start,
			  unsigned long end, unsigned long *pfns);
/* Ordinary memory: the frame of one page. -ENOENT: not there, -EACCES: no page of this kernel's, -EBUSY: begin again. */
int xenlend_mapping_page(struct xenlend_region *region, unsigned long address, u64 *pfn, u32 *writable);
/* Ordinary memory only: the page of a pfn that was just looked up will be written. */
void xenlend_mapping_mark_written(u64 pfn);
void xenlend_mapping_frame(u64 pfn, struct xenlend_frame *frame);

/* --- zeros.c -------------------------------------------------------------- */

/* A machine frame of zeros that nobody else has; may sleep. False: memory is short. */
bool xenlend_zeros_new(u64 *mfn);
/* Does not sleep. */
void xenlend_zeros_free(u64 mfn);

/* --- worker.c ------------------------------------------------------------- */

/* Runs xenlend_core_work(post) once, which it takes over if a thread could be made. */
struct xenlend_worker *xenlend_worker_start(void *post, u16 borrower);
/* Runs xenlend_core_wait(errand) once, which it takes over if a thread could be made. */
struct xenlend_worker *xenlend_worker_start_waiter(void *errand, u16 borrower);
/* Ends whatever killable wait it is in. */
void xenlend_worker_interrupt(struct xenlend_worker *worker);
void xenlend_worker_put(struct xenlend_worker *worker);
/* By the worker itself: forgets the interruption. */
void xenlend_worker_resume(void);

/* --- pci.c ---------------------------------------------------------------- */

struct xenlend_msix {
	/* From the BAR's start; 0 bytes if they are not in this BAR. */
	u64 table_offset;
	u64 table_bytes;
	u64 pending_offset;
	u64 pending_bytes;
};

/* A reference, or NULL. */
struct xenlend_pci_device *xenlend_pci_find(u32 segment, u32 bus, u32 devfn);
void xenlend_pci_get(struct xenlend_pci_device *device);
void xenlend_pci_put(struct xenlend_pci_device *device);
/* Where the memory BAR of that number is now. False: there is none. */
bool xenlend_pci_place(struct xenlend_pci_device *device, u32 number, u64 *address, u64 *bytes);
/* -EIO: its configuration cannot be read. */
int xenlend_pci_msix(struct xenlend_pci_device *device, u32 number, struct xenlend_msix *msix);
/* xenlend_core_device_changes() is called from then on, until the other returns. */
int xenlend_pci_watch(void);
void xenlend_pci_unwatch(void);

#endif
