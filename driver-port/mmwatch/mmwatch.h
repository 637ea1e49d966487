/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef MMWATCH_H
#define MMWATCH_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include "svmlab_mm.h"

/* Enough for one operation that copies a huge page by small ones. */
#define LOG_EVENTS	4096
#define LOG_VMAS	8192

/* What notifiers were told since somebody asked. */
struct mmwatch_log {
	struct svmlab_mm_event	*events;
	struct svmlab_mm_vma	*vmas;
	u32			nr_events, nr_vmas, lost;
};

/*
 * What one open file has. The two notifiers see the same invalidations: the interval notifier as a driver does, the
 * classic one also their ends.
 */
struct mmwatch {
	struct mutex		lock;		/* calls on the file, against each other; outermost */
	struct mm_struct	*mm;		/* the watched one, grabbed; NULL before SVMLAB_MM_WATCH. Under lock */
	unsigned long		start, end;	/* the window; constant once mm is set */
	struct mmu_interval_notifier interval;
	struct mmu_notifier	classic;
	void			*dump;		/* room for a dump; under lock */
	struct mutex		user;		/* the driver lock of hmm's protocol; taken inside callbacks */

	spinlock_t		log_lock;	/* all below; innermost, nothing sleeps under it */
	struct mmwatch_log	logs[2];
	struct mmwatch_log	*log;		/* the one that is written to */
	struct mmwatch_log	*other_log;	/* the other; what is in it is under lock */
	u32			depth;
};

/* watch.c */
int mmwatch_watch(struct mmwatch *w, unsigned long start, unsigned long end);
void mmwatch_unwatch(struct mmwatch *w);

/* pages.c; called with mm alive (mm_users or an invalidation of it that runs) */
u32 mmwatch_vmas(struct mm_struct *mm, unsigned long start, unsigned long end, struct svmlab_mm_vma *out, u32 room);
u32 mmwatch_present(struct mm_struct *mm, unsigned long start, unsigned long end);
u32 mmwatch_pages(struct mm_struct *mm, unsigned long start, unsigned long end, struct svmlab_mm_pages *out, u32 room);

#endif
