// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the software GPU stands on: the bus, the memory behind it, words to wait for, and the end of a process. */
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include "shim.h"

/* ---- the bus ---- */

static enum dma_data_direction direction(bool to_device)
{
	return to_device ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

/* DMA_MAPPING_ERROR when it cannot be. Does not sleep. */
u64 svmlab_c_dma_map(struct device *dev, u64 pfn, u32 order, bool to_device)
{
	BUILD_BUG_ON(DMA_MAPPING_ERROR != ~0ULL);
	return dma_map_page(dev, pfn_to_page(pfn), 0, PAGE_SIZE << order, direction(to_device));
}

void svmlab_c_dma_unmap(struct device *dev, u64 addr, u32 order, bool to_device)
{
	dma_unmap_page(dev, addr, PAGE_SIZE << order, direction(to_device));
}

/* The page frame behind a bus address, or ~0 when it is none of RAM. There is no IOMMU before this device. */
u64 svmlab_c_bus_pfn(struct device *dev, u64 addr)
{
	u64 pfn = PHYS_PFN(dma_to_phys(dev, addr));

	return pfn_valid(pfn) ? pfn : ~0ULL;
}

/*
 * Reads or writes the aligned word at a bus address, whoever has the page now: the hardware does not ask either. So it is
 * here that KASAN sees a page that was freed under the GPU. false: no memory answers.
 */
bool svmlab_c_bus_access(struct device *dev, u64 addr, u32 op, u64 *value)
{
	u64 pfn = svmlab_c_bus_pfn(dev, addr);
	u64 *word;

	if (pfn == ~0ULL)
		return false;
	/* Hardware would write into everybody's zeroes; here they are in memory that nobody may write to. */
	if (op != SVMLAB_BUS_LOAD && is_zero_pfn(pfn))
		return false;
	word = (u64 *)((char *)page_address(pfn_to_page(pfn)) + offset_in_page(addr));
	switch (op) {
	case SVMLAB_BUS_LOAD:
		*value = READ_ONCE(*word);
		break;
	case SVMLAB_BUS_STORE:
		WRITE_ONCE(*word, *value);
		break;
	default:
		*value = atomic64_add_return(*value, (atomic64_t *)word);
	}
	return true;
}

/* ---- a word that tasks wait for ---- */

struct svmlab_word {
	atomic64_t value;
	wait_queue_head_t wait;
};

struct svmlab_word *svmlab_c_word_new(u64 value)
{
	struct svmlab_word *word = kmalloc(sizeof(*word), GFP_KERNEL);

	if (word) {
		atomic64_set(&word->value, value);
		init_waitqueue_head(&word->wait);
	}
	return word;
}

/* Nobody waits for it. */
void svmlab_c_word_free(struct svmlab_word *word)
{
	kfree(word);
}

u64 svmlab_c_word_load(struct svmlab_word *word)
{
	return atomic64_read_acquire(&word->value);
}

/* Fully ordered: who stops the GPU first says so and then looks who is in flight. Any context. */
void svmlab_c_word_store(struct svmlab_word *word, u64 value)
{
	atomic64_xchg(&word->value, value);
	wake_up_all(&word->wait);
}

/* Sleeps while the word has value, up to until_ms of svmlab_c_now_ms(): 0, -ETIME, or -EINTR when killed. */
int svmlab_c_word_wait(struct svmlab_word *word, u64 value, u64 until_ms, bool killable)
{
	u64 now = svmlab_c_now_ms();
	/* One tick more: it is not over before its time. */
	long left = until_ms > now ? msecs_to_jiffies(min_t(u64, until_ms - now, INT_MAX)) + 1 : 0;

	might_sleep();
	if (killable)
		left = wait_event_killable_timeout(word->wait, svmlab_c_word_load(word) != value, left);
	else
		left = wait_event_timeout(word->wait, svmlab_c_word_load(word) != value, left);
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ETIME;
}

/* ---- the process ---- */

/* As amdkfd has it: one notifier for each process, whose release comes before the address space is taken apart. */
static struct mmu_notifier *process_alloc(struct mm_struct *mm)
{
	return kzalloc(sizeof(struct mmu_notifier), GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

static void process_free(struct mmu_notifier *notifier)
{
	kfree(notifier);
}

static void process_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	svmlab_rs_process_release((uintptr_t)mm);
}

static const struct mmu_notifier_ops process_ops = {
	.release = process_release,
	.alloc_notifier = process_alloc,
	.free_notifier = process_free,
};

/* mm is current's. Takes mmap_lock for write. A negative errno as a pointer. */
struct mmu_notifier *svmlab_c_process_get(struct mm_struct *mm)
{
	return mmu_notifier_get(&process_ops, mm);
}

void svmlab_c_process_put(struct mmu_notifier *notifier)
{
	mmu_notifier_put(notifier);
}

/* ---- looking at a process ---- */

static bool snapshot_invalidate(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range,
				unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	return true;
}

static const struct mmu_interval_notifier_ops snapshot_ops = {
	.invalidate = snapshot_invalidate,
};

/*
 * What the CPU page table has for npages pages from start, as hmm_range_fault() says it, faulting nothing in. The caller
 * holds a user reference of mm and not its mmap_lock. 0; -EBUSY when it changes all the time; -ENOMEM.
 */
int svmlab_c_mm_snapshot(struct mm_struct *mm, u64 start, u64 npages, u64 *pfns)
{
	struct mmu_interval_notifier notifier = {};
	struct hmm_range range = {
		.notifier = &notifier,
		.start = start,
		.end = start + (npages << PAGE_SHIFT),
		.hmm_pfns = (unsigned long *)pfns,
	};
	unsigned int tries = 100;
	int err;

	err = mmu_interval_notifier_insert(&notifier, mm, start, npages << PAGE_SHIFT, &snapshot_ops);
	if (err)
		return err;
	do {
		memset(pfns, 0, npages * sizeof(*pfns));
		range.notifier_seq = mmu_interval_read_begin(&notifier);
		mmap_read_lock(mm);
		err = hmm_range_fault(&range);
		mmap_read_unlock(mm);
		if (!err && mmu_interval_read_retry(&notifier, range.notifier_seq))
			err = -EBUSY;
	} while (err == -EBUSY && --tries);
	mmu_interval_notifier_remove(&notifier);
	return err;
}

/* ---- user memory ---- */

bool svmlab_c_copy_from_user(void *to, u64 from, size_t size)
{
	return !copy_from_user(to, u64_to_user_ptr(from), size);
}

bool svmlab_c_copy_to_user(u64 to, const void *from, size_t size)
{
	return !copy_to_user(u64_to_user_ptr(to), from, size);
}
