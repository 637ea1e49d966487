// SPDX-License-Identifier: GPL-2.0 OR MIT
/* /dev/svmlab_mm. */
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "mmwatch.h"

#define DUMP_PAGES	4096
#define DUMP_VMAS	2048
/* A driver would give up sooner; a chain of collisions longer than this is a fault of the laboratory. */
#define FAULT_TRIES	1000

static void free_watch(struct mmwatch *w)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(w->logs); i++) {
		kvfree(w->logs[i].events);
		kvfree(w->logs[i].vmas);
	}
	kvfree(w->dump);
	kfree(w);
}

static int mmwatch_open(struct inode *inode, struct file *file)
{
	struct mmwatch *w = kzalloc(sizeof(*w), GFP_KERNEL);
	bool failed;
	int i;

	if (!w)
		return -ENOMEM;
	w->dump = kvmalloc(max(DUMP_PAGES * sizeof(struct svmlab_mm_pages), DUMP_VMAS * sizeof(struct svmlab_mm_vma)),
			   GFP_KERNEL);
	failed = !w->dump;
	for (i = 0; i < ARRAY_SIZE(w->logs); i++) {
		w->logs[i].events = kvmalloc_array(LOG_EVENTS, sizeof(*w->logs[i].events), GFP_KERNEL);
		w->logs[i].vmas = kvmalloc_array(LOG_VMAS, sizeof(*w->logs[i].vmas), GFP_KERNEL);
		failed |= !w->logs[i].events || !w->logs[i].vmas;
	}
	if (failed) {
		free_watch(w);
		return -ENOMEM;
	}
	w->log = &w->logs[0];
	w->other_log = &w->logs[1];
	mutex_init(&w->lock);
	mutex_init(&w->user);
	spin_lock_init(&w->log_lock);
	file->private_data = w;
	return 0;
}

static int mmwatch_release(struct inode *inode, struct file *file)
{
	struct mmwatch *w = file->private_data;

	mmwatch_unwatch(w);
	mutex_destroy(&w->user);
	mutex_destroy(&w->lock);
	free_watch(w);
	return 0;
}

/* Copies the log out and empties it. Callbacks may run meanwhile: it is first taken, then copied. */
static int get_events(struct mmwatch *w, struct svmlab_mm_events *arg)
{
	struct mmwatch_log *taken;
	int ret = 0;

	spin_lock(&w->log_lock);
	if (arg->nr_events < w->log->nr_events || arg->nr_vmas < w->log->nr_vmas)
		ret = -ENOSPC;
	arg->nr_events = w->log->nr_events;
	arg->nr_vmas = w->log->nr_vmas;
	if (ret) {
		spin_unlock(&w->log_lock);
		return ret;
	}
	taken = w->log;
	w->log = w->other_log;
	w->other_log = taken;
	w->log->nr_events = w->log->nr_vmas = w->log->lost = 0;
	arg->lost = taken->lost;
	arg->seq_odd = w->depth > 0;
	spin_unlock(&w->log_lock);
	/* The lock of the file keeps the next call, and so the next exchange, away. */
	if (copy_to_user(u64_to_user_ptr(arg->events), taken->events, arg->nr_events * sizeof(*taken->events)) ||
	    copy_to_user(u64_to_user_ptr(arg->vmas), taken->vmas, arg->nr_vmas * sizeof(*taken->vmas)))
		ret = -EFAULT;
	return ret;
}

/* mm_users of the watched address space, or NULL. */
static struct mm_struct *get_mm(struct mmwatch *w)
{
	return w->mm && mmget_not_zero(w->mm) ? w->mm : NULL;
}

static int dump(struct mmwatch *w, struct svmlab_mm_dump *arg, bool pages)
{
	u32 room = min_t(u32, arg->room, pages ? DUMP_PAGES : DUMP_VMAS);
	struct mm_struct *mm;
	size_t size;
	int ret = 0;

	if (arg->start >= arg->end || arg->end > TASK_SIZE || !PAGE_ALIGNED(arg->start | arg->end))
		return -EINVAL;
	mm = get_mm(w);
	if (!mm)
		return -ESRCH;
	mmap_read_lock(mm);
	if (pages)
		arg->found = mmwatch_pages(mm, arg->start, arg->end, w->dump, room);
	else
		arg->found = mmwatch_vmas(mm, arg->start, arg->end, w->dump, room);
	mmap_read_unlock(mm);
	mmput(mm);
	size = pages ? sizeof(struct svmlab_mm_pages) : sizeof(struct svmlab_mm_vma);
	if (arg->found > room)
		ret = -ENOSPC;
	else if (copy_to_user(u64_to_user_ptr(arg->to), w->dump, arg->found * size))
		ret = -EFAULT;
	return ret;
}

static int fault(struct mmwatch *w, struct svmlab_mm_fault *arg)
{
	static const unsigned long wanted[] = { 0, HMM_PFN_REQ_FAULT, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE };
	struct hmm_range range = { .notifier = &w->interval, .start = arg->start, .end = arg->end };
	unsigned long n = (arg->end - arg->start) >> PAGE_SHIFT, i;
	struct mm_struct *mm;
	u64 *out = NULL;
	int ret;

	if (arg->request >= ARRAY_SIZE(wanted) || !PAGE_ALIGNED(arg->start | arg->end) || arg->start >= arg->end ||
	    n > 4096 || !w->mm || arg->start < w->start || arg->end > w->end)
		return -EINVAL;
	range.default_flags = wanted[arg->request];
	mm = get_mm(w);
	if (!mm)
		return -ESRCH;
	range.hmm_pfns = kvcalloc(n, sizeof(*range.hmm_pfns), GFP_KERNEL);
	out = kvcalloc(n, sizeof(*out), GFP_KERNEL);
	ret = -ENOMEM;
	if (!range.hmm_pfns || !out)
		goto out;
	for (arg->tries = 1; arg->tries <= FAULT_TRIES; arg->tries++) {
		/* What a try left behind asks for nothing: pfn_flags_mask is 0. */
		range.notifier_seq = mmu_interval_read_begin(&w->interval);
		mmap_read_lock(mm);
		ret = hmm_range_fault(&range);
		mmap_read_unlock(mm);
		if (ret == -EBUSY)
			continue;
		if (ret)
			goto out;
		mutex_lock(&w->user);
		if (mmu_interval_read_retry(&w->interval, range.notifier_seq)) {
			mutex_unlock(&w->user);
			ret = -EBUSY;
			continue;
		}
		mutex_unlock(&w->user);
		break;
	}
	if (ret)
		goto out;
	for (i = 0; i < n; i++) {
		unsigned long pfn = range.hmm_pfns[i];

		if (pfn & HMM_PFN_VALID)
			out[i] = SVMLAB_MM_PFN_VALID | (pfn & HMM_PFN_WRITE ? SVMLAB_MM_PFN_WRITE : 0) |
				 (u64)hmm_pfn_to_map_order(pfn) << SVMLAB_MM_PFN_ORDER |
				 page_to_pfn(hmm_pfn_to_page(pfn));
		else if (pfn & HMM_PFN_ERROR)
			out[i] = SVMLAB_MM_PFN_ERROR;
	}
	if (copy_to_user(u64_to_user_ptr(arg->pfns), out, n * sizeof(*out)))
		ret = -EFAULT;
out:
	mmput(mm);
	kvfree(range.hmm_pfns);
	kvfree(out);
	return ret;
}

/* Takes the page away from the CPU for a moment; as a driver does that wants atomics on it. */
static int exclusive(struct mmwatch *w, const struct svmlab_mm_exclusive *arg)
{
	struct mm_struct *mm = get_mm(w);
	struct folio *folio;
	struct page *page;

	if (!mm)
		return -ESRCH;
	mmap_read_lock(mm);
	page = make_device_exclusive(mm, arg->addr, w, &folio);
	mmap_read_unlock(mm);
	mmput(mm);
	if (IS_ERR(page))
		return PTR_ERR(page);
	folio_unlock(folio);
	folio_put(folio);
	return 0;
}

static long mmwatch_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	struct mmwatch *w = file->private_data;
	void __user *to = (void __user *)user;
	union {
		struct svmlab_mm_watch watch;
		struct svmlab_mm_events events;
		struct svmlab_mm_dump dump;
		struct svmlab_mm_fault fault;
		struct svmlab_mm_exclusive exclusive;
	} arg;
	long ret;

	switch (cmd) {
	case SVMLAB_MM_WATCH:
	case SVMLAB_MM_EVENTS:
	case SVMLAB_MM_VMAS:
	case SVMLAB_MM_PAGES:
	case SVMLAB_MM_FAULT:
	case SVMLAB_MM_EXCLUSIVE:
	case SVMLAB_MM_UNWATCH:
		break;
	default:
		return -ENOTTY;
	}
	if (_IOC_SIZE(cmd) && copy_from_user(&arg, to, _IOC_SIZE(cmd)))
		return -EFAULT;
	mutex_lock(&w->lock);
	switch (cmd) {
	case SVMLAB_MM_WATCH:
		ret = mmwatch_watch(w, arg.watch.start, arg.watch.end);
		break;
	case SVMLAB_MM_EVENTS:
		ret = get_events(w, &arg.events);
		break;
	case SVMLAB_MM_VMAS:
		ret = dump(w, &arg.dump, false);
		break;
	case SVMLAB_MM_PAGES:
		ret = dump(w, &arg.dump, true);
		break;
	case SVMLAB_MM_FAULT:
		ret = fault(w, &arg.fault);
		break;
	case SVMLAB_MM_EXCLUSIVE:
		ret = exclusive(w, &arg.exclusive);
		break;
	default:
		mmwatch_unwatch(w);
		ret = 0;
	}
	mutex_unlock(&w->lock);
	if (_IOC_DIR(cmd) & _IOC_READ && (!ret || ret == -ENOSPC) && copy_to_user(to, &arg, _IOC_SIZE(cmd)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations mmwatch_fops = {
	.owner = THIS_MODULE,
	.open = mmwatch_open,
	.release = mmwatch_release,
	.unlocked_ioctl = mmwatch_ioctl,
};

static struct miscdevice mmwatch_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "svmlab_mm",
	.fops = &mmwatch_fops,
};

static int __init mmwatch_init(void)
{
	BUILD_BUG_ON(MMU_NOTIFY_UNMAP != 0 || MMU_NOTIFY_EXCLUSIVE != 7);
	pr_info("svmlab_mm: built for Linux %d.%d\n", LINUX_VERSION_MAJOR, LINUX_VERSION_PATCHLEVEL);
	return misc_register(&mmwatch_device);
}

static void __exit mmwatch_exit(void)
{
	misc_deregister(&mmwatch_device);
}

module_init(mmwatch_init);
module_exit(mmwatch_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("svmlab: what an address space tells its notifiers");
