// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The two notifiers and the log.
 *
 * Which locks are held inside the callbacks depends on the operation (mmap_lock in either mode, a VMA's lock, a folio
 * lock with rmap locks, none), so that nothing here may rely on one: the VMA tree is walked under RCU, page tables are
 * read without their locks. While the watched process is single threaded and no reclaim runs, both stand still.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "mmwatch.h"

static u8 mmap_lock_state(struct mm_struct *mm)
{
	/* No owner can be told from a reader count; with a single-threaded process it is the operation itself. */
	if (!rwsem_is_locked(&mm->mmap_lock))
		return SVMLAB_MM_UNLOCKED;
	return atomic_long_read(&mm->mmap_lock.count) & 1 ? SVMLAB_MM_WRITE : SVMLAB_MM_READ;
}

static void log_event(struct mmwatch *w, u8 what, const struct mmu_notifier_range *range, unsigned long seq)
{
	struct mm_struct *mm = w->mm;
	struct svmlab_mm_event *e;
	struct mmwatch_log *log;
	u32 n;

	spin_lock(&w->log_lock);
	log = w->log;
	if (what == SVMLAB_MM_END && w->depth)
		w->depth--;
	if (log->nr_events == LOG_EVENTS) {
		log->lost++;
		goto out;
	}
	n = mmwatch_vmas(mm, w->start, w->end, log->vmas + log->nr_vmas, LOG_VMAS - log->nr_vmas);
	if (n > LOG_VMAS - log->nr_vmas) {
		log->lost++;
		goto out;
	}
	e = &log->events[log->nr_events++];
	*e = (struct svmlab_mm_event) {
		.what = what,
		.event = range->event,
		.blockable = mmu_notifier_range_blockable(range),
		.mmap_lock = mmap_lock_state(mm),
		.other_task = current->mm != mm,
		.depth = w->depth,
		.first_vma = log->nr_vmas,
		.vmas = n,
		.present = mmwatch_present(mm, max(range->start, w->start), min(range->end, w->end)),
		.start = range->start,
		.end = range->end,
		.seq = seq,
	};
	/* Other events leave it uninitialised. */
	if (range->event == MMU_NOTIFY_MIGRATE || range->event == MMU_NOTIFY_EXCLUSIVE)
		e->owner = (unsigned long)range->owner;
	log->nr_vmas += n;
out:
	if (what == SVMLAB_MM_START)
		w->depth++;
	spin_unlock(&w->log_lock);
}

static bool on_invalidate(struct mmu_interval_notifier *interval, const struct mmu_notifier_range *range,
			  unsigned long seq)
{
	struct mmwatch *w = container_of(interval, struct mmwatch, interval);

	/* Never refuses: the lock is held for moments only, and for no memory (a driver would try it first). */
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&w->user);
	else if (!mutex_trylock(&w->user))
		return false;
	mmu_interval_set_seq(interval, seq);
	log_event(w, SVMLAB_MM_INVALIDATE, range, seq);
	mutex_unlock(&w->user);
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = on_invalidate,
};

static int on_start(struct mmu_notifier *classic, const struct mmu_notifier_range *range)
{
	struct mmwatch *w = container_of(classic, struct mmwatch, classic);

	if (range->start < w->end && w->start < range->end)
		log_event(w, SVMLAB_MM_START, range, 0);
	return 0;
}

static void on_end(struct mmu_notifier *classic, const struct mmu_notifier_range *range)
{
	struct mmwatch *w = container_of(classic, struct mmwatch, classic);

	if (range->start < w->end && w->start < range->end)
		log_event(w, SVMLAB_MM_END, range, 0);
}

static const struct mmu_notifier_ops classic_ops = {
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
};

/* Watches the caller's address space. Holds w->lock, takes mmap_lock for write. */
int mmwatch_watch(struct mmwatch *w, unsigned long start, unsigned long end)
{
	int ret;

	if (w->mm)
		return -EBUSY;
	if (start >= end || end > TASK_SIZE || !PAGE_ALIGNED(start | end))
		return -EINVAL;
	w->start = start;
	w->end = end;
	w->mm = current->mm;
	mmgrab(w->mm);
	w->classic.ops = &classic_ops;
	ret = mmu_notifier_register(&w->classic, w->mm);
	if (ret)
		goto drop;
	ret = mmu_interval_notifier_insert(&w->interval, w->mm, start, end - start, &interval_ops);
	if (ret)
		goto unregister;
	return 0;

unregister:
	mmu_notifier_unregister(&w->classic, w->mm);
drop:
	mmdrop(w->mm);
	w->mm = NULL;
	return ret;
}

void mmwatch_unwatch(struct mmwatch *w)
{
	if (!w->mm)
		return;
	mmu_interval_notifier_remove(&w->interval);
	mmu_notifier_unregister(&w->classic, w->mm);
	mmdrop(w->mm);
	w->mm = NULL;
	/* No callback runs any more. */
	w->log->nr_events = w->log->nr_vmas = w->log->lost = w->depth = 0;
}
