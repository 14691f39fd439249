// SPDX-License-Identifier: GPL-2.0
/* Wait queues. */
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "glue.h"

struct xenlend_wait {
	wait_queue_head_t queue;
	unsigned long count;
};

struct xenlend_wait *xenlend_wait_new(void)
{
	struct xenlend_wait *wait = kzalloc(sizeof(*wait), GFP_KERNEL);

	if (wait)
		init_waitqueue_head(&wait->queue);
	return wait;
}

void xenlend_wait_free(struct xenlend_wait *wait)
{
	kfree(wait);
}

unsigned long xenlend_wait_count(struct xenlend_wait *wait)
{
	return READ_ONCE(wait->count);
}

/* Under the lock of what is waited for: there is one writer at a time. */
void xenlend_wait_wake(struct xenlend_wait *wait)
{
	WRITE_ONCE(wait->count, wait->count + 1);
	wake_up_all(&wait->queue);
}

/* As wait_event_killable_timeout(), but a freeze of the system leaves the task asleep, and does not wait for it. */
static long xenlend_wait_killable(struct xenlend_wait *wait, unsigned long seen, long timeout)
{
	long __ret = timeout;

	might_sleep();
	if (!___wait_cond_timeout(READ_ONCE(wait->count) != seen))
		__ret = ___wait_event(wait->queue, ___wait_cond_timeout(READ_ONCE(wait->count) != seen),
				      (TASK_KILLABLE | TASK_FREEZABLE), 0, timeout,
				      __ret = schedule_timeout(__ret));
	return __ret;
}

int xenlend_wait_for(struct xenlend_wait *wait, unsigned long seen, u32 ms, int mode)
{
	long timeout = ms ? msecs_to_jiffies(ms) : MAX_SCHEDULE_TIMEOUT;
	long left;

	switch (mode) {
	case XENLEND_WAIT_KILLABLE:
		left = xenlend_wait_killable(wait, seen, timeout);
		break;
	case XENLEND_WAIT_INTERRUPTIBLE:
		left = wait_event_interruptible_timeout(wait->queue, READ_ONCE(wait->count) != seen,
							timeout);
		break;
	case XENLEND_WAIT_IDLE:
		left = wait_event_idle_timeout(wait->queue, READ_ONCE(wait->count) != seen, timeout);
		break;
	default:
		left = wait_event_timeout(wait->queue, READ_ONCE(wait->count) != seen, timeout);
		break;
	}
	return left < 0 ? (int)left : left > 0;
}

void xenlend_wait_poll(struct xenlend_wait *wait, struct file *file, struct poll_table_struct *table)
{
	poll_wait(file, &wait->queue, table);
}
