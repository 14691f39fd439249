// SPDX-License-Identifier: GPL-2.0
/*
 * A borrower's driver that shakes hands as the real one does and then misbehaves as the parameter says. Used by
 * the lab's scenarios alone.
 *
 * In each way but `aperture` a link lives for so many deeds; then it is closed and made anew, so that the
 * broker meets them over and over, also in the middle of an attach.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/xenbus.h>

#include "hostile.h"

static char *way = "none";
module_param(way, charp, 0444);
MODULE_PARM_DESC(way, "garbage, backwards, flood, changing, aperture");

static ulong deeds;
module_param(deeds, ulong, 0444);
MODULE_PARM_DESC(deeds, "done so far");

static ulong links;
module_param(links, ulong, 0444);
MODULE_PARM_DESC(links, "made so far");

#define PAGES 3
#define DEEDS_PER_LINK 256
#define EVENTS_PER_LINK 200000
/* So many rounds, this far apart, so that the pages come and go meanwhile. */
#define APERTURE_ROUNDS 1000
#define APERTURE_MS 20

/* Offsets in the control page: protocol/DESIGN.md. */
#define TO_US 0
#define TO_BROKER 256
#define PRODUCED 0
#define CONSUMED 128

static struct link {
	struct xenbus_device *device;
	void *pages[PAGES];
	int references[PAGES];
	u32 port;
	u64 gfn, aperture_pages;
	struct task_struct *thread;
	bool exists;
} link;

static u32 *field(int ring, int offset)
{
	return link.pages[0] + ring + offset;
}

static void notify(void)
{
	struct evtchn_send op = { .port = link.port };

	HYPERVISOR_event_channel_op(EVTCHNOP_send, &op);
}

static u8 *put(u8 *at, u64 value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = value | 0x80;
	*at++ = value;
	return at;
}

/* A sound Hello at the start of the ring. */
static void greet(void)
{
	u8 *body = link.pages[2] + 4, *end = body;

	end = put(end, 0);
	end = put(end, 2);
	end = put(end, 2);
	end = put(end, 0);
	end = put(end, link.gfn);
	end = put(end, link.aperture_pages);
	put_unaligned_le32(end - body, link.pages[2]);
	wmb();
	WRITE_ONCE(*field(TO_BROKER, PRODUCED), round_up(4 + (end - body), 8));
	notify();
}

static void garbage(void)
{
	u32 produced = READ_ONCE(*field(TO_BROKER, PRODUCED));

	get_random_bytes(link.pages[2], PAGE_SIZE);
	wmb();
	WRITE_ONCE(*field(TO_BROKER, PRODUCED), produced + 64);
	notify();
}

static void backwards(void)
{
	u32 produced = READ_ONCE(*field(TO_BROKER, PRODUCED));

	/* Every other time what has been said is said to be consumed again: backwards as well. */
	if (deeds & 1)
		WRITE_ONCE(*field(TO_US, CONSUMED), READ_ONCE(*field(TO_US, CONSUMED)) - 8);
	else
		WRITE_ONCE(*field(TO_BROKER, PRODUCED), produced - 8);
	notify();
}

static void changing(void)
{
	int i;

	/* The broker is told first, and may read at any time from here on. */
	notify();
	for (i = 0; i < 4096; i++) {
		u32 value = get_random_u32();

		WRITE_ONCE(((u32 *)link.pages[2])[value % 1024], value >> 10 & 63);
		WRITE_ONCE(*field(TO_BROKER, PRODUCED), READ_ONCE(*field(TO_BROKER, CONSUMED)) + (value >> 16 & 0x1f8));
		if (!(value & 0xf00))
			WRITE_ONCE(*field(TO_US, CONSUMED), READ_ONCE(*field(TO_US, PRODUCED)));
	}
}

static u16 own_domain(void)
{
	return xenbus_read_unsigned("domid", "", 0);
}

static int misbehave(void *unused)
{
	ulong begin = deeds, limit = DEEDS_PER_LINK;

	greet();
	if (!strcmp(way, "flood"))
		limit = EVENTS_PER_LINK;
	else if (!strcmp(way, "aperture"))
		limit = APERTURE_ROUNDS;
	while (!kthread_should_stop() && deeds - begin < limit) {
		if (!strcmp(way, "garbage"))
			garbage();
		else if (!strcmp(way, "backwards"))
			backwards();
		else if (!strcmp(way, "flood"))
			notify();
		else if (!strcmp(way, "changing"))
			changing();
		else if (!strcmp(way, "aperture")) {
			hostile_aperture(own_domain(), link.gfn, link.aperture_pages);
			msleep(APERTURE_MS);
		}
		deeds++;
		cond_resched();
	}
	/* The pages that Xen has taken are gone: one link of this kind. */
	if (!kthread_should_stop() && strcmp(way, "aperture"))
		xenbus_switch_state(link.device, XenbusStateClosing);
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static void stop(void)
{
	if (link.thread)
		kthread_stop(link.thread);
	link.thread = NULL;
}

static void unmake(void)
{
	struct evtchn_close op = { .port = link.port };
	int i;

	stop();
	if (!link.exists)
		return;
	link.exists = false;
	HYPERVISOR_event_channel_op(EVTCHNOP_close, &op);
	for (i = 0; i < PAGES; i++)
		gnttab_end_foreign_access(link.references[i], virt_to_page(link.pages[i]));
}

/* A node of the backend's, or all ones. */
static u64 theirs(const char *name)
{
	char *text = xenbus_read(XBT_NIL, link.device->otherend, name, NULL);
	u64 value = U64_MAX;

	if (!IS_ERR(text)) {
		if (kstrtou64(text, 0, &value))
			value = U64_MAX;
		kfree(text);
	}
	return value;
}

static void ours(const char *name, const char *form, u64 value)
{
	xenbus_printf(XBT_NIL, link.device->nodename, name, form, value);
}

/* As the real driver does. Whatever fails is a bug of this file: the scenario sees that nothing is done. */
static void make(void)
{
	struct evtchn_alloc_unbound op = { .dom = DOMID_SELF, .remote_dom = link.device->otherend_id };
	char name[] = "ring-ref-0";
	int i;

	if (link.exists || HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &op))
		return;
	link.port = op.port;
	for (i = 0; i < PAGES; i++) {
		link.pages[i] = (void *)get_zeroed_page(GFP_KERNEL | __GFP_NOFAIL);
		link.references[i] = gnttab_grant_foreign_access(op.remote_dom, virt_to_gfn(link.pages[i]), 0);
		name[sizeof(name) - 2] = '0' + i;
		ours(name, "%llu", link.references[i]);
	}
	link.exists = true;
	link.gfn = theirs("aperture-gfn");
	link.aperture_pages = theirs("aperture-pages");
	ours("event-channel", "%llu", link.port);
	ours("aperture-gfn", "%#llx", link.gfn);
	ours("aperture-pages", "%llu", link.aperture_pages);
	ours("protocol", "%llu", 1);
	xenbus_switch_state(link.device, XenbusStateInitialised);
}

static void changed(struct xenbus_device *device, enum xenbus_state backend)
{
	switch (backend) {
	case XenbusStateInitWait:
		make();
		break;
	case XenbusStateConnected:
		if (device->state != XenbusStateInitialised)
			break;
		xenbus_switch_state(device, XenbusStateConnected);
		links++;
		link.thread = kthread_run(misbehave, NULL, "hostile");
		if (IS_ERR(link.thread))
			link.thread = NULL;
		break;
	case XenbusStateClosing:
		stop();
		xenbus_switch_state(device, XenbusStateClosing);
		break;
	case XenbusStateClosed:
		unmake();
		xenbus_switch_state(device, XenbusStateClosed);
		break;
	default:
		break;
	}
}

static int probe(struct xenbus_device *device, const struct xenbus_device_id *id)
{
	link.device = device;
	/* The driver before may have left it closed. */
	return xenbus_switch_state(device, XenbusStateInitialising);
}

static void remove_device(struct xenbus_device *device)
{
	unmake();
	xenbus_switch_state(device, XenbusStateClosed);
	link.device = NULL;
}

static const struct xenbus_device_id ids[] = { { "xenlend" }, { "" } };

static struct xenbus_driver driver = {
	.name = "hostile",
	.ids = ids,
	.allow_rebind = true,
	.not_essential = true,
	.probe = probe,
	.otherend_changed = changed,
	.remove = remove_device,
};

static int __init hostile_init(void)
{
	/* Without an owner, as the real one: a device alone does not keep the module loaded. */
	return __xenbus_register_frontend(&driver, NULL, KBUILD_MODNAME);
}

static void __exit hostile_exit(void)
{
	xenbus_unregister_driver(&driver);
}

module_init(hostile_init);
module_exit(hostile_exit);
MODULE_DESCRIPTION("xenlend scenarios: a borrower that attacks its broker");
MODULE_LICENSE("GPL");
