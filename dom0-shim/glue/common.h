/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the glue of both modules, the lender's and the borrower's, has in common, grouped by the file
 * that defines each function. Functions give 0 or a negative error number unless said otherwise.
 */
#ifndef XENLEND_COMMON_H
#define XENLEND_COMMON_H

#include <linux/types.h>

struct file;
struct poll_table_struct;
struct xenlend_spinlock;
struct xenlend_mutex;
struct xenlend_wait;

/* --- defined in Rust: module/src/kernel_api/exports.rs -------------------- */

/* Hard interrupt: never sleeps. True if the broker has done something since the last event. */
bool xenlend_core_event(void *link);

/* --- log.c ---------------------------------------------------------------- */

/* Level 0 error, 1 warning, 2 information; each is limited in rate. */
void xenlend_log(int level, const char *text, size_t length);
void __noreturn xenlend_panic(const char *text, size_t length);

/* --- lock.c --------------------------------------------------------------- */

struct xenlend_spinlock *xenlend_spinlock_new(void);
void xenlend_spinlock_free(struct xenlend_spinlock *lock);
unsigned long xenlend_spinlock_lock(struct xenlend_spinlock *lock);
void xenlend_spinlock_unlock(struct xenlend_spinlock *lock, unsigned long flags);
struct xenlend_mutex *xenlend_mutex_new(void);
void xenlend_mutex_free(struct xenlend_mutex *mutex);
void xenlend_mutex_lock(struct xenlend_mutex *mutex);
/* 0, or -EINTR if the task was killed. */
int xenlend_mutex_lock_killable(struct xenlend_mutex *mutex);
void xenlend_mutex_unlock(struct xenlend_mutex *mutex);

/* --- wait.c --------------------------------------------------------------- */

/* How a wait is accounted and what ends it besides a wake-up. */
#define XENLEND_WAIT_UNINTERRUPTIBLE	0
#define XENLEND_WAIT_KILLABLE		1
#define XENLEND_WAIT_INTERRUPTIBLE	2
#define XENLEND_WAIT_IDLE		3

struct xenlend_wait *xenlend_wait_new(void);
void xenlend_wait_free(struct xenlend_wait *wait);
/* Wake-ups so far. */
unsigned long xenlend_wait_count(struct xenlend_wait *wait);
void xenlend_wait_wake(struct xenlend_wait *wait);
/* Until the count is not `seen`: 1 it is not, 0 time is up, negative a signal. ms 0: for ever. */
int xenlend_wait_for(struct xenlend_wait *wait, unsigned long seen, u32 ms, int mode);
void xenlend_wait_poll(struct xenlend_wait *wait, struct file *file, struct poll_table_struct *table);

/* --- memory.c ------------------------------------------------------------- */

void *xenlend_memory_new(size_t bytes);
void xenlend_memory_free(void *memory);

/* --- user.c --------------------------------------------------------------- */

int xenlend_user_read(void *to, unsigned long from, size_t bytes);
int xenlend_user_write(unsigned long to, const void *from, size_t bytes);
bool xenlend_user_is_administrator(void);

/* --- event_channel.c ------------------------------------------------------ */

/* A port that `remote` can bind to, or negative. */
int xenlend_event_channel_new(u16 remote);
void xenlend_event_channel_close(u32 port);
/* The interrupt of the port, or negative: then the port stays. From here on the port goes with its interrupt. */
int xenlend_event_channel_bind(u32 port);
/* Has xenlend_core_event(link) handle it. */
int xenlend_event_channel_handle_irq(int irq, void *link);
/* Lets go of an interrupt that has no handler; closes the port. */
void xenlend_event_channel_put(u32 port);
/* Waits for running handlers; closes the port. */
void xenlend_event_channel_unbind(int irq, void *link);
void xenlend_event_channel_notify(u32 port);

/* --- grant.c -------------------------------------------------------------- */

/* A zeroed page granted to a domain. */
void *xenlend_grant_new(u16 remote, u32 *reference);
/* Frees the page when the domain cannot touch it any more. */
void xenlend_grant_end(void *page, u32 reference);

#endif
