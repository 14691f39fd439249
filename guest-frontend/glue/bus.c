// SPDX-License-Identifier: GPL-2.0
/* The driver's place on xenbus. */
#include <linux/device.h>
#include <linux/iopoll.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

#include "glue.h"

static int xenlend_bus_probe(struct xenbus_device *device, const struct xenbus_device_id *id)
{
	return xenlend_core_probe(device);
}

static void xenlend_bus_changed(struct xenbus_device *device, enum xenbus_state state)
{
	xenlend_core_backend_changed(device, state);
}

static void xenlend_bus_remove(struct xenbus_device *device)
{
	xenlend_core_remove(device);
}

static int xenlend_bus_suspend(struct xenbus_device *device)
{
	xenlend_core_suspend(device);
	return 0;
}

static void xenlend_bus_nodes_changed(struct xenbus_watch *watch, const char *path, const char *token)
{
	xenlend_core_nodes_changed();
}

/* Fires for every change below, once when it is made, and once when this guest has been restored. */
static struct xenbus_watch xenlend_bus_nodes = {
	.node = "device/xenlend",
	.callback = xenlend_bus_nodes_changed,
};

static const struct xenbus_device_id xenlend_bus_ids[] = {
	{ "xenlend" },
	{ "" },
};

static struct xenbus_driver xenlend_bus_driver = {
	.name = "xenlend",
	.ids = xenlend_bus_ids,
	.allow_rebind = true,
	.not_essential = true,
	.probe = xenlend_bus_probe,
	.otherend_changed = xenlend_bus_changed,
	.remove = xenlend_bus_remove,
	.suspend = xenlend_bus_suspend,
};

/* Without an owner: a device alone does not keep the module loaded, descriptors and mappings do. */
int xenlend_bus_register(void)
{
	if (!xen_domain())
		return -ENODEV;
	return __xenbus_register_frontend(&xenlend_bus_driver, NULL, KBUILD_MODNAME);
}

void xenlend_bus_unregister(void)
{
	xenbus_unregister_driver(&xenlend_bus_driver);
}

int xenlend_bus_watch(void)
{
	return register_xenbus_watch(&xenlend_bus_nodes);
}

void xenlend_bus_unwatch(void)
{
	unregister_xenbus_watch(&xenlend_bus_nodes);
}

/* This domain's own folder for what it has to tell. */
int xenlend_bus_offer(u64 first_frame, u64 pages)
{
	return xenbus_printf(XBT_NIL, "data", "xenlend-aperture", "%#llx %llu", first_frame, pages);
}

bool xenlend_bus_is_offered(void)
{
	return xenbus_exists(XBT_NIL, "data", "xenlend-aperture");
}

void xenlend_bus_withdraw(void)
{
	xenbus_rm(XBT_NIL, "data", "xenlend-aperture");
}

void xenlend_bus_keep(struct xenbus_device *device)
{
	get_device(&device->dev);
}

void xenlend_bus_forget(struct xenbus_device *device)
{
	put_device(&device->dev);
}

u32 xenlend_bus_state(struct xenbus_device *device)
{
	return xenbus_read_driver_state(device->nodename);
}

/* Of a device that is bound. */
char *xenlend_bus_otherend(struct xenbus_device *device)
{
	return kstrdup(device->otherend, GFP_KERNEL);
}

void xenlend_bus_free_otherend(char *otherend)
{
	kfree(otherend);
}

bool xenlend_bus_names_another(struct xenbus_device *device, const char *otherend)
{
	char *backend = xenbus_read(XBT_NIL, device->nodename, "backend", NULL);
	bool is_another = !IS_ERR(backend) && strcmp(backend, otherend);

	if (!IS_ERR(backend))
		kfree(backend);
	return is_another;
}

void xenlend_bus_rebind(struct xenbus_device *device)
{
	if (device_reprobe(&device->dev))
		dev_warn(&device->dev, "cannot be bound anew\n");
}

u16 xenlend_bus_backend(struct xenbus_device *device)
{
	return device->otherend_id;
}

int xenlend_bus_read(struct xenbus_device *device, const char *name, u64 *value)
{
	char *text = device->otherend ? xenbus_read(XBT_NIL, device->otherend, name, NULL) : ERR_PTR(-ENODEV);
	int error;

	if (IS_ERR(text))
		return PTR_ERR(text);
	error = kstrtou64(text, 0, value);
	kfree(text);
	return error;
}

int xenlend_bus_write(struct xenbus_device *device, const char *name, u64 value, bool hex)
{
	return xenbus_printf(XBT_NIL, device->nodename, name, hex ? "%#llx" : "%llu", value);
}

int xenlend_bus_switch(struct xenbus_device *device, u32 state)
{
	return xenbus_switch_state(device, state);
}

void xenlend_bus_fail(struct xenbus_device *device, int error, const char *text)
{
	xenbus_dev_fatal(device, error, "%s", text);
}

bool xenlend_bus_exists(struct xenbus_device *device)
{
	return xenbus_exists(XBT_NIL, device->nodename, "state");
}

struct xenlend_bus_wait {
	struct xenbus_watch watch;
	wait_queue_head_t queue;
};

static void xenlend_bus_wake(struct xenbus_watch *watch, const char *path, const char *token)
{
	wake_up(&container_of(watch, struct xenlend_bus_wait, watch)->queue);
}

static bool xenlend_bus_has_let_go(struct xenbus_device *device)
{
	return !device->otherend || xenlend_core_has_let_go(xenbus_read_driver_state(device->otherend));
}

bool xenlend_bus_await_backend(struct xenbus_device *device, u32 ms)
{
	char *node = kasprintf(GFP_KERNEL, "%s/state", device->otherend);
	struct xenlend_bus_wait wait = { .watch = { .node = node, .callback = xenlend_bus_wake } };

	init_waitqueue_head(&wait.queue);
	if (node && device->otherend && !register_xenbus_watch(&wait.watch)) {
		wait_event_timeout(wait.queue, xenlend_bus_has_let_go(device), msecs_to_jiffies(ms));
		unregister_xenbus_watch(&wait.watch);
	}
	kfree(node);
	return xenlend_bus_has_let_go(device);
}

/* A suspend by Xen runs in the thread that calls watches: nobody else would be told. */
bool xenlend_bus_poll_backend(struct xenbus_device *device, u32 ms)
{
	bool let_go;

	return read_poll_timeout(xenlend_bus_has_let_go, let_go, let_go, 10 * USEC_PER_MSEC,
				 ms * USEC_PER_MSEC, false, device) == 0;
}
