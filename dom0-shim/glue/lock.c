// SPDX-License-Identifier: GPL-2.0
/* Spinlocks and mutexes. */
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "glue.h"

struct xenlend_spinlock {
	spinlock_t lock;
};

struct xenlend_mutex {
	struct mutex mutex;
};

struct xenlend_spinlock *xenlend_spinlock_new(void)
{
	struct xenlend_spinlock *lock = kzalloc(sizeof(*lock), GFP_KERNEL);

	if (lock)
		spin_lock_init(&lock->lock);
	return lock;
}

void xenlend_spinlock_free(struct xenlend_spinlock *lock)
{
	kfree(lock);
}

unsigned long xenlend_spinlock_lock(struct xenlend_spinlock *lock)
{
	unsigned long flags;

	spin_lock_irqsave(&lock->lock, flags);
	return flags;
}

void xenlend_spinlock_unlock(struct xenlend_spinlock *lock, unsigned long flags)
{
	spin_unlock_irqrestore(&lock->lock, flags);
}

struct xenlend_mutex *xenlend_mutex_new(void)
{
	struct xenlend_mutex *mutex = kzalloc(sizeof(*mutex), GFP_KERNEL);

	if (mutex)
		mutex_init(&mutex->mutex);
	return mutex;
}

void xenlend_mutex_free(struct xenlend_mutex *mutex)
{
	kfree(mutex);
}

void xenlend_mutex_lock(struct xenlend_mutex *mutex)
{
	mutex_lock(&mutex->mutex);
}

int xenlend_mutex_lock_killable(struct xenlend_mutex *mutex)
{
	return mutex_lock_killable(&mutex->mutex);
}

void xenlend_mutex_unlock(struct xenlend_mutex *mutex)
{
	mutex_unlock(&mutex->mutex);
}
