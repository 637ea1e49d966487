// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Locks, and what little else of the scheduler the model needs.
 *
 * Each lock is in memory of its own: it must not move, its size depends on the configuration, and the Rust object that
 * owns it is built by value. Its lockdep class is its name in the model, so that a report speaks the model's language and
 * two instances' locks are one class, as they would be with an init in one place of C.
 */
#include <linux/cleanup.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/wait_bit.h>
#include "shim.h"

/* ---- lock classes ---- */

/* lockdep keeps name and key for ever, so both are in the module's own memory. */
struct svmlab_lock_class {
	enum svmlab_lock_kind kind;
	char name[40];
	struct lock_class_key key;
};

static struct svmlab_lock_class classes[64];
static unsigned int nr_classes;
static DEFINE_SPINLOCK(classes_lock);

/* The class of this name, made by whoever asks first; NULL: the table is full, or a test wants that. */
static struct svmlab_lock_class *lock_class(enum svmlab_lock_kind kind, const char *name, size_t len)
{
	struct svmlab_lock_class *class;

	if (svmlab_fails())
		return NULL;
	if (WARN_ON(len >= sizeof(class->name)))
		return NULL;
	guard(spinlock)(&classes_lock);
	for (class = classes; class < classes + nr_classes; class++)
		if (class->kind == kind && !strncmp(class->name, name, len) && !class->name[len])
			return class;
	if (WARN_ON(nr_classes == ARRAY_SIZE(classes)))
		return NULL;
	nr_classes++;
	class->kind = kind;
	memcpy(class->name, name, len);
	return class;
}

/* ---- struct mutex ---- */

struct mutex *svmlab_c_mutex_new(const char *name, size_t len)
{
	struct svmlab_lock_class *class = lock_class(SVMLAB_MUTEX, name, len);
	struct mutex *lock = class ? kmalloc(sizeof(*lock), GFP_KERNEL) : NULL;

	if (lock)
		__mutex_init(lock, class->name, &class->key);
	return lock;
}

void svmlab_c_mutex_free(struct mutex *lock)
{
	mutex_destroy(lock);
	kfree(lock);
}

void svmlab_c_mutex_lock(struct mutex *lock, u32 subclass)
{
	mutex_lock_nested(lock, subclass);
}

void svmlab_c_mutex_unlock(struct mutex *lock)
{
	mutex_unlock(lock);
}

/* ---- spinlock_t ---- */

spinlock_t *svmlab_c_spin_new(const char *name, size_t len)
{
	struct svmlab_lock_class *class = lock_class(SVMLAB_SPINLOCK, name, len);
	spinlock_t *lock = class ? kmalloc(sizeof(*lock), GFP_KERNEL) : NULL;

	if (lock) {
		spin_lock_init(lock);
		lockdep_set_class_and_name(lock, &class->key, class->name);
	}
	return lock;
}

void svmlab_c_spin_free(spinlock_t *lock)
{
	kfree(lock);
}

void svmlab_c_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}

void svmlab_c_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

/* ---- struct rw_semaphore ---- */

struct rw_semaphore *svmlab_c_rwsem_new(const char *name, size_t len)
{
	struct svmlab_lock_class *class = lock_class(SVMLAB_RWSEM, name, len);
	struct rw_semaphore *sem = class ? kmalloc(sizeof(*sem), GFP_KERNEL) : NULL;

	if (sem)
		__init_rwsem(sem, class->name, &class->key);
	return sem;
}

void svmlab_c_rwsem_free(struct rw_semaphore *sem)
{
	kfree(sem);
}

void svmlab_c_rwsem_down_read(struct rw_semaphore *sem)
{
	down_read(sem);
}

void svmlab_c_rwsem_up_read(struct rw_semaphore *sem)
{
	up_read(sem);
}

void svmlab_c_rwsem_down_write(struct rw_semaphore *sem)
{
	down_write(sem);
}

void svmlab_c_rwsem_up_write(struct rw_semaphore *sem)
{
	up_write(sem);
}

void svmlab_c_rwsem_downgrade(struct rw_semaphore *sem)
{
	downgrade_write(sem);
}

/* ---- the task ---- */

void svmlab_c_preempt_disable(void)
{
	preempt_disable();
}

void svmlab_c_preempt_enable(void)
{
	preempt_enable();
}

/* A completion is a word that is set once: struct completion cannot be moved, and this can. */
void svmlab_c_wait_done(const u32 *done)
{
	might_sleep();
	wait_var_event((u32 *)done, smp_load_acquire(done));
}

void svmlab_c_set_done(u32 *done)
{
	store_release_wake_up(done, 1);
}

void svmlab_c_cond_resched(void)
{
	cond_resched();
}

u64 svmlab_c_current(void)
{
	return (uintptr_t)current;
}

u64 svmlab_c_now_ms(void)
{
	return jiffies64_to_msecs(get_jiffies_64());
}
