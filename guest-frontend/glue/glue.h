/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole contract between the C glue and the Rust core of the borrower's module, grouped by
 * the file that defines each function; what both modules have is in common.h, beside the lender's
 * glue. The glue wraps macros and inline functions of the kernel and decides nothing. Functions give 0 or
 * a negative error number unless said otherwise.
 */
#ifndef XENLEND_GLUE_H
#define XENLEND_GLUE_H

#include <linux/types.h>

#include "common.h"

struct vm_fault;
struct xenbus_device;

/* A touch that the page table has no entry for; pages count from the aperture's first. */
struct xenlend_fault {
	struct vm_fault *fault;
	u64 name;			/* of the mapping, from xenlend_map */
	u64 page;
	u64 first;			/* pages of the mapping: first and behind the last */
	u64 end;
	u32 may_wait;			/* the locks may be let go of */
	u32 is_retry;
	u32 must_not_wait;		/* may be answered with "retry", but not wait */
	u32 heeds_signals;		/* an instruction of the program: it is run again after any signal's handler */
	u32 slot;			/* the touched page's place in its page table */
};

/* xenlend_map.kind */
#define XENLEND_MAP_WRITE_COMBINING	0
#define XENLEND_MAP_UNCACHED		1
#define XENLEND_MAP_WRITE_BACK		2

/* A mapping that a program asks for. */
struct xenlend_map {
	u64 first;			/* as in mmap()'s offset; out: page of the aperture */
	u64 pages;
	u32 is_shared;
	u32 writes;
	u32 executes;
	u32 may_write;			/* out */
	u64 name;			/* out: for faults */
	u32 kind;			/* out: XENLEND_MAP_* */
};

/* --- defined in Rust: module/src/kernel_api/exports.rs -------------------- */

int xenlend_core_init(void);
void xenlend_core_exit(void);
/* The driver is on the bus, or has left it. */
void xenlend_core_loaded(void);
void xenlend_core_unloading(void);
/* A descriptor's state, or NULL. */
void *xenlend_core_open(void);
void xenlend_core_release(void *descriptor);
long xenlend_core_ioctl(void *descriptor, u32 request, unsigned long argument);
ssize_t xenlend_core_read(void *descriptor, unsigned long buffer, size_t size, bool may_wait);
/* Whether there is an event; registers with the driver's wait queue first. */
bool xenlend_core_poll(void *descriptor, struct file *file, struct poll_table_struct *table);
int xenlend_core_map(struct xenlend_map *map);
/* A vm_fault_t. Lets go of the fault's locks if that is VM_FAULT_RETRY and may_wait was set. */
u32 xenlend_core_fault(const struct xenlend_fault *fault, bool huge);
void xenlend_core_work(void);
int xenlend_core_probe(struct xenbus_device *device);
void xenlend_core_backend_changed(struct xenbus_device *device, u32 state);
bool xenlend_core_has_let_go(u32 state);
void xenlend_core_remove(struct xenbus_device *device);
/* All programs are frozen, and this guest may go on as another domain. */
void xenlend_core_suspend(struct xenbus_device *device);
/* Nodes of the device have changed, or this guest has another xenstore: in xenbus's own thread. */
void xenlend_core_nodes_changed(void);

/* --- module.c ------------------------------------------------------------- */

/* Parameters, constant after loading. */
bool xenlend_module_zaps(void);
bool xenlend_module_prefaults(void);
u64 xenlend_module_aperture_bytes(void);

/* --- device.c ------------------------------------------------------------- */

int xenlend_device_register(void);
void xenlend_device_unregister(void);

/* --- mapping.c ------------------------------------------------------------ */

struct vm_area_struct;
/* The one address space of all descriptors, so that one call finds every mapping. */
int xenlend_mapping_init(void);
void xenlend_mapping_exit(void);
void xenlend_mapping_adopt(struct file *file);
int xenlend_mapping_make(struct vm_area_struct *area);
/* Takes bytes of the aperture out of every page table; 0 bytes: everything from there on. */
void xenlend_mapping_zap(u64 offset, u64 bytes);
/* Whether any program has anything mapped. */
bool xenlend_mapping_is_mapped(void);
/* Whether single pages can be inserted without memory; if not, has it so, which may wait for memory. */
bool xenlend_fault_has_table(struct vm_fault *fault);
int xenlend_fault_make_table(struct vm_fault *fault);
/* Each a vm_fault_t; the pages are inside the mapping and the fault's locks are held. */
u32 xenlend_fault_insert(struct vm_fault *fault, u64 page, u64 frame);
/* Of the mapping's own type, whatever xenlend_aperture_combine() has said. */
u32 xenlend_fault_insert_typed(struct vm_fault *fault, u64 page, u64 frame);
u32 xenlend_fault_insert_huge(struct vm_fault *fault, u64 frame);
/* Lets go of the fault's locks; nothing of the fault may be used after it. Gives what keeps the driver. */
void *xenlend_fault_unlock(struct vm_fault *fault);
void xenlend_fault_forget(void *kept);

/* --- aperture.c ----------------------------------------------------------- */

u32 xenlend_aperture_address_bits(void);
/* Takes free address space for this driver, once. */
int xenlend_aperture_reserve(u64 bytes, u64 lowest, u64 highest, u64 *address);
void xenlend_aperture_give_back(void);
bool xenlend_aperture_has_ram(u64 address, u64 bytes);
/* Nobody else gets these addresses. */
int xenlend_aperture_claim(u64 address, u64 bytes);
void xenlend_aperture_release(u64 address, u64 bytes);
/* Whoever maps them maps them write-combining. */
int xenlend_aperture_combine(u64 address, u64 bytes);
void xenlend_aperture_uncombine(u64 address, u64 bytes);

/* --- work.c --------------------------------------------------------------- */

/* Has xenlend_core_work() run, once more if it is running. Never sleeps. */
void xenlend_work_queue(void);
/* Waits for its end; it does not run until it is queued again. */
void xenlend_work_cancel(void);

/* --- bus.c ---------------------------------------------------------------- */

int xenlend_bus_register(void);
/* From here on nodes that change are told of. */
int xenlend_bus_watch(void);
void xenlend_bus_unwatch(void);
/* Tells dom0's tool where the aperture may be, or that it may not be there any more. */
int xenlend_bus_offer(u64 first_frame, u64 pages);
bool xenlend_bus_is_offered(void);
void xenlend_bus_withdraw(void);
void xenlend_bus_unregister(void);
/* A counted reference, of a device that is bound or not. */
void xenlend_bus_keep(struct xenbus_device *device);
void xenlend_bus_forget(struct xenbus_device *device);
/* Its own state, 0 if its nodes are not there. */
u32 xenlend_bus_state(struct xenbus_device *device);
/* Where its backend is, of a device that is bound. Or NULL; to be freed. */
char *xenlend_bus_otherend(struct xenbus_device *device);
void xenlend_bus_free_otherend(char *otherend);
/* Whether its nodes are there, and name another backend. */
bool xenlend_bus_names_another(struct xenbus_device *device, const char *otherend);
/* Unbinds it, and binds it as a new one. */
void xenlend_bus_rebind(struct xenbus_device *device);
/* From here on: of a device that is bound, but for xenlend_bus_switch(). */
u16 xenlend_bus_backend(struct xenbus_device *device);
/* A number among the backend's nodes. */
int xenlend_bus_read(struct xenbus_device *device, const char *name, u64 *value);
/* One of the device's own nodes, decimal or hexadecimal with 0x. */
int xenlend_bus_write(struct xenbus_device *device, const char *name, u64 value, bool hex);
int xenlend_bus_switch(struct xenbus_device *device, u32 state);
/* Writes the error node and says Closing. */
void xenlend_bus_fail(struct xenbus_device *device, int error, const char *text);
/* Whether the device's own nodes are there. */
bool xenlend_bus_exists(struct xenbus_device *device);
/* Waits until the backend has let go, or so long; the first not in xenbus's own thread. Whether it has. */
bool xenlend_bus_await_backend(struct xenbus_device *device, u32 ms);
bool xenlend_bus_poll_backend(struct xenbus_device *device, u32 ms);

#endif
