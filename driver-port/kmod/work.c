// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Workqueues and work items. */
#include <linux/cleanup.h>
#include <linux/kref.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "shim.h"

/* How many functions work items have: WorkFunc of the model, numbered in kernel/work.rs. */
#define FUNCS 8

/*
 * The queue, which somebody may still want to queue on when it was destroyed. In C that is a use after free; here it is a
 * warning, as the kernel's own is for queueing on a queue that drains.
 */
struct svmlab_wq {
	struct kref kref;	/* its maker, and its items */
	spinlock_t lock;
	struct workqueue_struct *wq;	/* NULL once it was destroyed */
};

struct svmlab_work {
	struct work_struct work;
	struct svmlab_wq *wq;
	u32 client;
	u32 func;
};

struct svmlab_dwork {
	struct delayed_work work;
	struct svmlab_wq *wq;
	u32 client;
	u32 func;
};

static void wq_release(struct kref *kref)
{
	kfree(container_of(kref, struct svmlab_wq, kref));
}

struct svmlab_wq *svmlab_c_wq_new(const char *name, size_t len, bool ordered)
{
	struct svmlab_wq *wq = svmlab_fails() ? NULL : kzalloc(sizeof(*wq), GFP_KERNEL);

	if (!wq)
		return NULL;
	kref_init(&wq->kref);
	spin_lock_init(&wq->lock);
	if (ordered)
		wq->wq = alloc_ordered_workqueue("%.*s", 0, (int)len, name);
	else
		wq->wq = alloc_workqueue("%.*s", WQ_UNBOUND, 0, (int)len, name);
	if (!wq->wq) {
		kfree(wq);
		return NULL;
	}
	return wq;
}

void svmlab_c_wq_flush(struct svmlab_wq *wq)
{
	struct workqueue_struct *queue = READ_ONCE(wq->wq);

	if (queue)
		flush_workqueue(queue);
}

void svmlab_c_wq_destroy(struct svmlab_wq *wq)
{
	struct workqueue_struct *queue;

	queue = READ_ONCE(wq->wq);
	if (!queue)
		return;
	/* What is pending runs, and may queue again. Then the door is closed. */
	drain_workqueue(queue);
	scoped_guard(spinlock_irqsave, &wq->lock)
		WRITE_ONCE(wq->wq, NULL);
	destroy_workqueue(queue);
}

void svmlab_c_wq_put(struct svmlab_wq *wq)
{
	svmlab_c_wq_destroy(wq);
	kref_put(&wq->kref, wq_release);
}

/* ---- work_struct ---- */

static void run_work(struct work_struct *w)
{
	struct svmlab_work *work = container_of(w, struct svmlab_work, work);

	svmlab_rs_work(work->client, work->func);
}

struct svmlab_work *svmlab_c_work_new(struct svmlab_wq *wq, u32 client, u32 func)
{
	/* A lock class for each function: who flushes one does not wait for another. */
	static struct lock_class_key keys[FUNCS] __maybe_unused;
	struct svmlab_work *work;

	if (WARN_ON(func >= FUNCS))
		return NULL;
	work = svmlab_fails() ? NULL : kzalloc(sizeof(*work), GFP_KERNEL);
	if (!work)
		return NULL;
	__INIT_WORK_KEY(&work->work, run_work, 0, &keys[func]);
	kref_get(&wq->kref);
	work->wq = wq;
	work->client = client;
	work->func = func;
	return work;
}

void svmlab_c_work_free(struct svmlab_work *work)
{
	kref_put(&work->wq->kref, wq_release);
	kfree(work);
}

bool svmlab_c_work_queue(struct svmlab_work *work)
{
	guard(spinlock_irqsave)(&work->wq->lock);
	if (WARN_ONCE(!work->wq->wq, "svmlab: work of function %u queued on a destroyed queue\n", work->func))
		return false;
	return queue_work(work->wq->wq, &work->work);
}

void svmlab_c_work_flush(struct svmlab_work *work)
{
	flush_work(&work->work);
}

bool svmlab_c_work_cancel_sync(struct svmlab_work *work)
{
	return cancel_work_sync(&work->work);
}

/* ---- delayed_work ---- */

static void run_dwork(struct work_struct *w)
{
	struct svmlab_dwork *work = container_of(to_delayed_work(w), struct svmlab_dwork, work);

	svmlab_rs_work(work->client, work->func);
}

struct svmlab_dwork *svmlab_c_dwork_new(struct svmlab_wq *wq, u32 client, u32 func)
{
	static struct lock_class_key keys[FUNCS] __maybe_unused;
	struct svmlab_dwork *work;

	if (WARN_ON(func >= FUNCS))
		return NULL;
	work = svmlab_fails() ? NULL : kzalloc(sizeof(*work), GFP_KERNEL);
	if (!work)
		return NULL;
	INIT_DELAYED_WORK(&work->work, run_dwork);
	lockdep_init_map(&work->work.work.lockdep_map, "(work_completion)svmlab_dwork", &keys[func], 0);
	kref_get(&wq->kref);
	work->wq = wq;
	work->client = client;
	work->func = func;
	return work;
}

void svmlab_c_dwork_free(struct svmlab_dwork *work)
{
	kref_put(&work->wq->kref, wq_release);
	kfree(work);
}

bool svmlab_c_dwork_queue(struct svmlab_dwork *work, u64 delay_ms)
{
	guard(spinlock_irqsave)(&work->wq->lock);
	if (WARN_ONCE(!work->wq->wq, "svmlab: delayed work of function %u queued on a destroyed queue\n", work->func))
		return false;
	return queue_delayed_work(work->wq->wq, &work->work, msecs_to_jiffies(delay_ms));
}

void svmlab_c_dwork_flush(struct svmlab_dwork *work)
{
	flush_delayed_work(&work->work);
}

bool svmlab_c_dwork_cancel_sync(struct svmlab_dwork *work)
{
	return cancel_delayed_work_sync(&work->work);
}
