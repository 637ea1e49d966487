// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * VMAs and page-table entries as they stand, without faulting anything in.
 *
 * walk_page_range() is not exported, so the walk is by hand. Tables are freed after an RCU grace period
 * (MMU_GATHER_RCU_TABLE_FREE) and entries are read once each: what is found may be old, never wrong memory.
 */
#include <linux/swap.h>		/* before leafops.h, which needs it */
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/leafops.h>
#include <linux/rmap.h>
#include <linux/userfaultfd_k.h>

#include "mmwatch.h"

/* Fills `out` with the VMAs of the range; returns how many there are, which may be more than fit. */
u32 mmwatch_vmas(struct mm_struct *mm, unsigned long start, unsigned long end, struct svmlab_mm_vma *out, u32 room)
{
	VMA_ITERATOR(vmi, mm, start);
	struct anon_vma *known[32];
	struct vm_area_struct *vma;
	u32 n = 0, i, anon = 0;

	rcu_read_lock();
	for_each_vma_range(vmi, vma, end) {
		struct anon_vma *a = READ_ONCE(vma->anon_vma);

		if (n++ >= room)
			continue;
		out[n - 1] = (struct svmlab_mm_vma) {
			.start = vma->vm_start,
			.end = vma->vm_end,
			.flags = vma->vm_flags,
			.pgoff = vma->vm_pgoff,
			.file = !!vma->vm_file,
		};
		if (a) {
			for (i = 0; i < anon && known[i] != a; i++)
				;
			if (i == anon && anon < ARRAY_SIZE(known))
				known[anon++] = a;
			out[n - 1].anon_vma = i + 1;
		}
	}
	rcu_read_unlock();
	return n;
}

/* The page-table entry of the 2 MiB level for addr, or none. Sets *next to the end of what the answer is about. */
static pmd_t *pmd_of(struct mm_struct *mm, unsigned long addr, unsigned long end, unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	*next = pgd_addr_end(addr, end);
	if (pgd_none(READ_ONCE(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	*next = p4d_addr_end(addr, end);
	if (p4d_none(READ_ONCE(*p4d)))
		return NULL;
	pud = pud_offset(p4d, addr);
	*next = pud_addr_end(addr, end);
	if (pud_none(READ_ONCE(*pud)) || pud_leaf(READ_ONCE(*pud)))
		return NULL;
	*next = pmd_addr_end(addr, end);
	return pmd_offset(pud, addr);
}

/* What a software entry is: neither empty nor present. */
static void leaf_state(softleaf_t leaf, struct svmlab_mm_pages *p)
{
	p->pfn = leaf.val;
	if (softleaf_is_swap(leaf)) {
		p->kind = SVMLAB_MM_SWAP;
	} else if (softleaf_is_migration(leaf)) {
		p->kind = SVMLAB_MM_MIGRATION;
		p->pfn = softleaf_to_pfn(leaf);
		p->flags |= softleaf_is_migration_write(leaf) ? SVMLAB_MM_F_WRITE : 0;
	} else if (softleaf_is_device_private(leaf)) {
		p->kind = SVMLAB_MM_DEVICE_PRIVATE;
		p->pfn = softleaf_to_pfn(leaf);
		p->flags |= softleaf_is_device_private_write(leaf) ? SVMLAB_MM_F_WRITE : 0;
	} else if (softleaf_is_device_exclusive(leaf)) {
		p->kind = SVMLAB_MM_DEVICE_EXCLUSIVE;
		p->pfn = softleaf_to_pfn(leaf);
	} else if (softleaf_is_hwpoison(leaf)) {
		p->kind = SVMLAB_MM_HWPOISON;
	} else if (softleaf_is_guard_marker(leaf)) {
		p->kind = SVMLAB_MM_GUARD;
	} else if (softleaf_is_marker(leaf)) {
		p->kind = SVMLAB_MM_MARKER;
		p->flags |= softleaf_is_uffd_wp_marker(leaf) ? SVMLAB_MM_F_UFFD_WP : 0;
	} else {
		p->kind = SVMLAB_MM_OTHER;
	}
}

static void page_state(unsigned long pfn, struct svmlab_mm_pages *p)
{
	struct page *page = pfn_to_page(pfn);
	struct folio *folio = page_folio(page);
	u64 *word;

	p->pfn = pfn;
	/* The huge zero folio has no name outside of the kernel proper: it is what is neither anonymous nor of a file. */
	if (is_zero_pfn(pfn) || (folio_test_large(folio) && !folio_test_anon(folio) && !folio->mapping))
		p->flags |= SVMLAB_MM_F_ZERO;
	else
		p->mapcount = folio_mapcount(folio);
	if (folio_test_anon(folio)) {
		p->flags |= SVMLAB_MM_F_ANON;
		if (PageAnonExclusive(page))
			p->flags |= SVMLAB_MM_F_EXCLUSIVE;
	}
	if (folio_test_swapcache(folio))
		p->flags |= SVMLAB_MM_F_SWAPCACHE;
	if (folio_test_swapbacked(folio))
		p->flags |= SVMLAB_MM_F_SWAPBACKED;
	if (folio_test_large(folio))
		p->flags |= SVMLAB_MM_F_LARGE;
	word = kmap_local_page(page);
	p->word = READ_ONCE(*word);
	kunmap_local(word);
}

static void pte_state(pte_t pte, struct svmlab_mm_pages *p)
{
	if (pte_none(pte))
		return;
	if (!pte_present(pte)) {
		leaf_state(softleaf_from_pte(pte), p);
		p->flags |= pte_swp_uffd_wp_any(pte) ? SVMLAB_MM_F_UFFD_WP : 0;
		return;
	}
	p->kind = pte_protnone(pte) ? SVMLAB_MM_PROTNONE : SVMLAB_MM_PRESENT;
	p->flags |= (pte_write(pte) ? SVMLAB_MM_F_WRITE : 0) | (pte_dirty(pte) ? SVMLAB_MM_F_DIRTY : 0) |
		    (pte_young(pte) ? SVMLAB_MM_F_YOUNG : 0) | (pte_uffd_wp(pte) ? SVMLAB_MM_F_UFFD_WP : 0);
	page_state(pte_pfn(pte), p);
}

static void pmd_state(pmd_t pmd, unsigned long addr, struct svmlab_mm_pages *p)
{
	p->flags |= SVMLAB_MM_F_HUGE;
	if (!pmd_present(pmd)) {
		leaf_state(softleaf_from_pmd(pmd), p);
		return;
	}
	p->kind = pmd_protnone(pmd) ? SVMLAB_MM_PROTNONE : SVMLAB_MM_PRESENT;
	p->flags |= (pmd_write(pmd) ? SVMLAB_MM_F_WRITE : 0) | (pmd_dirty(pmd) ? SVMLAB_MM_F_DIRTY : 0) |
		    (pmd_young(pmd) ? SVMLAB_MM_F_YOUNG : 0) | (pmd_uffd_wp(pmd) ? SVMLAB_MM_F_UFFD_WP : 0);
	page_state(pmd_pfn(pmd) + ((addr & ~PMD_MASK) >> PAGE_SHIFT), p);
}

static bool is_huge(pmd_t pmd)
{
	return !pmd_none(pmd) && (pmd_leaf(pmd) || !pmd_present(pmd));
}

/* How many pages of the range the CPU can reach. */
u32 mmwatch_present(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	unsigned long addr, next;
	u32 n = 0;

	rcu_read_lock();
	for (addr = start; addr < end; addr = next) {
		pmd_t *pmdp = pmd_of(mm, addr, end, &next), pmd;

		if (!pmdp)
			continue;
		pmd = pmdp_get_lockless(pmdp);
		if (is_huge(pmd)) {
			n += pmd_present(pmd) && !pmd_protnone(pmd) ? (next - addr) >> PAGE_SHIFT : 0;
		} else if (!pmd_none(pmd)) {
			for (; addr < next; addr += PAGE_SIZE) {
				pte_t pte = ptep_get_lockless(pte_offset_kernel(&pmd, addr));

				n += pte_present(pte) && !pte_protnone(pte);
			}
		}
	}
	rcu_read_unlock();
	return n;
}

/* Whether the page that `p` tells of continues the run. */
static bool continues(const struct svmlab_mm_pages *run, const struct svmlab_mm_pages *p)
{
	u64 step = run->flags & SVMLAB_MM_F_ZERO && !(run->flags & SVMLAB_MM_F_HUGE) ? 0 : run->count;

	return run->start + (u64)run->count * PAGE_SIZE == p->start && run->kind == p->kind && run->flags == p->flags &&
	       run->pfn + step == p->pfn && run->word == p->word && run->mapcount == p->mapcount;
}

/* Fills `out` with the runs of the range that are not empty; returns how many there are, which may be more than fit. */
u32 mmwatch_pages(struct mm_struct *mm, unsigned long start, unsigned long end, struct svmlab_mm_pages *out, u32 room)
{
	unsigned long addr, next;
	u32 n = 0;

	rcu_read_lock();
	for (addr = start; addr < end; addr = next) {
		pmd_t *pmdp = pmd_of(mm, addr, end, &next), pmd;

		if (!pmdp)
			continue;
		pmd = pmdp_get_lockless(pmdp);
		if (pmd_none(pmd))
			continue;
		for (; addr < next; addr += PAGE_SIZE) {
			struct svmlab_mm_pages p = { .start = addr, .count = 1 };

			if (is_huge(pmd))
				pmd_state(pmd, addr, &p);
			else
				pte_state(ptep_get_lockless(pte_offset_kernel(&pmd, addr)), &p);
			if (p.kind == SVMLAB_MM_NONE)
				continue;
			if (n && n <= room && continues(&out[n - 1], &p)) {
				out[n - 1].count++;
				continue;
			}
			if (n < room)
				out[n] = p;
			n++;
		}
	}
	rcu_read_unlock();
	return n;
}
