// SPDX-License-Identifier: GPL-2.0
/* Kernel threads of a link: its workers, and those that wait for pages. */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "glue.h"

/* A task is all there is; the type is for the contract. */
static struct task_struct *task_of(struct xenlend_worker *worker)
{
	return (struct task_struct *)worker;
}

static int xenlend_worker_main(void *post)
{
	/* Only xenlend_worker_interrupt() gets through, no process's kill(): ends killable waits inside faults. */
	allow_kernel_signal(SIGKILL);
	xenlend_core_work(post);
	module_put_and_kthread_exit(0);
	return 0;
}

/* Waits for one page, and ends. */
static int xenlend_waiter_main(void *errand)
{
	allow_kernel_signal(SIGKILL);
	xenlend_core_wait(errand);
	module_put_and_kthread_exit(0);
	return 0;
}

static struct xenlend_worker *xenlend_worker_make(int (*main)(void *), void *of, const char *name, u16 borrower)
{
	struct task_struct *task = kthread_create(main, of, name, borrower);

	if (IS_ERR(task))
		return NULL;
	get_task_struct(task);
	__module_get(THIS_MODULE);
	wake_up_process(task);
	return (struct xenlend_worker *)task;
}

struct xenlend_worker *xenlend_worker_start(void *post, u16 borrower)
{
	return xenlend_worker_make(xenlend_worker_main, post, "xenlend/%u", borrower);
}

struct xenlend_worker *xenlend_worker_start_waiter(void *errand, u16 borrower)
{
	return xenlend_worker_make(xenlend_waiter_main, errand, "xenlend-wait/%u", borrower);
}

void xenlend_worker_interrupt(struct xenlend_worker *worker)
{
	send_sig(SIGKILL, task_of(worker), 1);
}

void xenlend_worker_put(struct xenlend_worker *worker)
{
	put_task_struct(task_of(worker));
}

void xenlend_worker_resume(void)
{
	flush_signals(current);
}
