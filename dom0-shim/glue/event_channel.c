// SPDX-License-Identifier: GPL-2.0
/* Event channels. */
#include <linux/interrupt.h>
#include <asm/xen/hypercall.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>

#include "glue.h"

int xenlend_event_channel_new(u16 remote)
{
	struct evtchn_alloc_unbound op = { .dom = DOMID_SELF, .remote_dom = remote };
	int error = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &op);

	return error ? error : op.port;
}

void xenlend_event_channel_close(u32 port)
{
	struct evtchn_close op = { .port = port };

	HYPERVISOR_event_channel_op(EVTCHNOP_close, &op);
}

static irqreturn_t xenlend_event_channel_handle(int irq, void *link)
{
	/* Who sends events for nothing gets them later. */
	xen_irq_lateeoi(irq, xenlend_core_event(link) ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

int xenlend_event_channel_bind(u32 port)
{
	return bind_evtchn_to_irq_lateeoi(port);
}

int xenlend_event_channel_handle_irq(int irq, void *link)
{
	return request_irq(irq, xenlend_event_channel_handle, 0, "xenlend", link);
}

void xenlend_event_channel_put(u32 port)
{
	evtchn_put(port);
}

void xenlend_event_channel_unbind(int irq, void *link)
{
	unbind_from_irqhandler(irq, link);
}

void xenlend_event_channel_notify(u32 port)
{
	notify_remote_via_evtchn(port);
}
