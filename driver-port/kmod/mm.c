// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Address spaces: references, mmap_lock, VMAs, interval notifiers, hmm. */
#include <linux/build_bug.h>
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "shim.h"

/* ---- references ---- */

void svmlab_c_mmgrab(struct mm_struct *mm)
{
	mmgrab(mm);
}

void svmlab_c_mmdrop(struct mm_struct *mm)
{
	mmdrop(mm);
}

bool svmlab_c_mmget_not_zero(struct mm_struct *mm)
{
	return mmget_not_zero(mm);
}

void svmlab_c_mmput(struct mm_struct *mm)
{
	mmput(mm);
}

void svmlab_c_mmput_async(struct mm_struct *mm)
{
	mmput_async(mm);
}

/* ---- mmap_lock, VMAs ---- */

void svmlab_c_mmap_read_lock(struct mm_struct *mm)
{
	mmap_read_lock(mm);
}

void svmlab_c_mmap_read_unlock(struct mm_struct *mm)
{
	mmap_read_unlock(mm);
}

void svmlab_c_mmap_write_lock(struct mm_struct *mm)
{
	mmap_write_lock(mm);
}

void svmlab_c_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

void svmlab_c_mmap_write_downgrade(struct mm_struct *mm)
{
	mmap_write_downgrade(mm);
}

bool svmlab_c_find_vma(struct mm_struct *mm, u64 addr, struct svmlab_vma *out)
{
	struct vm_area_struct *vma = find_vma(mm, addr);

	if (!vma)
		return false;
	out->start = vma->vm_start;
	out->end = vma->vm_end;
	out->flags = (vma->vm_flags & VM_READ ? SVMLAB_VMA_READ : 0) |
		     (vma->vm_flags & VM_WRITE ? SVMLAB_VMA_WRITE : 0) |
		     (vma->vm_flags & VM_IO ? SVMLAB_VMA_IO : 0) |
		     (vma->vm_flags & VM_PFNMAP ? SVMLAB_VMA_PFNMAP : 0) |
		     (vma->vm_flags & VM_MIXEDMAP ? SVMLAB_VMA_MIXEDMAP : 0) |
		     (vma_is_anonymous(vma) ? SVMLAB_VMA_ANON : 0) |
		     (is_vm_hugetlb_page(vma) ? SVMLAB_VMA_HUGETLB : 0);
	return true;
}

/* vma_is_initial_heap(), vma_is_initial_stack() of a VMA that is not there any more, mmap_lock being dropped. */
bool svmlab_c_is_heap_or_stack(struct mm_struct *mm, u64 start, u64 end)
{
	bool heap = start < READ_ONCE(mm->brk) && end > READ_ONCE(mm->start_brk);
	u64 stack = READ_ONCE(mm->start_stack);

	return heap || (start <= stack && end >= stack);
}

/* ---- interval notifiers ---- */

struct svmlab_sub {
	struct mmu_interval_notifier notifier;
	u32 client;
	u64 cookie;
};

static bool invalidate(struct mmu_interval_notifier *notifier, const struct mmu_notifier_range *range,
		       unsigned long seq)
{
	struct svmlab_sub *sub = container_of(notifier, struct svmlab_sub, notifier);

	/* The numbers of callback.rs. */
	BUILD_BUG_ON(MMU_NOTIFY_UNMAP != 0 || MMU_NOTIFY_CLEAR != 1 || MMU_NOTIFY_PROTECTION_VMA != 2 ||
		     MMU_NOTIFY_PROTECTION_PAGE != 3 || MMU_NOTIFY_SOFT_DIRTY != 4 || MMU_NOTIFY_RELEASE != 5 ||
		     MMU_NOTIFY_MIGRATE != 6 || MMU_NOTIFY_EXCLUSIVE != 7);
	return svmlab_rs_invalidate(sub->client, sub->cookie, range->event, range->start, range->end,
				    mmu_notifier_range_blockable(range), (uintptr_t)range->owner, seq);
}

static const struct mmu_interval_notifier_ops sub_ops = {
	.invalidate = invalidate,
};

struct svmlab_sub *svmlab_c_sub_new(u32 client, u64 cookie)
{
	struct svmlab_sub *sub = svmlab_fails() ? NULL : kzalloc(sizeof(*sub), GFP_KERNEL);

	if (sub) {
		sub->client = client;
		sub->cookie = cookie;
	}
	return sub;
}

void svmlab_c_sub_free(struct svmlab_sub *sub)
{
	kfree(sub);
}

int svmlab_c_sub_insert(struct svmlab_sub *sub, struct mm_struct *mm, u64 start, u64 length, bool locked)
{
	if (locked)
		return mmu_interval_notifier_insert_locked(&sub->notifier, mm, start, length, &sub_ops);
	return mmu_interval_notifier_insert(&sub->notifier, mm, start, length, &sub_ops);
}

void svmlab_c_sub_remove(struct svmlab_sub *sub)
{
	mmu_interval_notifier_remove(&sub->notifier);
	kfree(sub);
}

void svmlab_c_sub_set_seq(struct svmlab_sub *sub, u64 seq)
{
	mmu_interval_set_seq(&sub->notifier, seq);
}

u64 svmlab_c_sub_read_begin(struct svmlab_sub *sub)
{
	return mmu_interval_read_begin(&sub->notifier);
}

bool svmlab_c_sub_read_retry(struct svmlab_sub *sub, u64 seq)
{
	return mmu_interval_read_retry(&sub->notifier, seq);
}

/* ---- hmm ---- */

int svmlab_c_hmm_range_fault(struct svmlab_sub *sub, u64 seq, u64 start, u64 npages, u32 request, u64 owner, u64 *pfns)
{
	struct hmm_range range = {
		.notifier = &sub->notifier,
		.notifier_seq = seq,
		.start = start,
		.end = start + (npages << PAGE_SHIFT),
		.hmm_pfns = (unsigned long *)pfns,
		.dev_private_owner = (void *)(uintptr_t)owner,
	};

	/* The constants of mm/hmm.rs. */
	BUILD_BUG_ON(HMM_PFN_VALID != BIT_ULL(63) || HMM_PFN_WRITE != BIT_ULL(62) || HMM_PFN_ERROR != BIT_ULL(61) ||
		     HMM_PFN_ORDER_SHIFT != 53);
	if (request != SVMLAB_HMM_SNAPSHOT)
		range.default_flags |= HMM_PFN_REQ_FAULT;
	if (request == SVMLAB_HMM_WRITE)
		range.default_flags |= HMM_PFN_REQ_WRITE;
	return hmm_range_fault(&range);
}
