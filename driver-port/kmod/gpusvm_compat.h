/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * drm_gpusvm as this module uses it, whichever kernel it is. Until 7.2 a range holds its pages, and the instance the DRM
 * device; from 7.3 on the driver holds a set of pages for each device, of which it has one.
 *
 * What fails to compile here has changed since: 7.2 and 7.3 are known.
 */
#ifndef SVMLAB_GPUSVM_COMPAT_H
#define SVMLAB_GPUSVM_COMPAT_H

#include <linux/version.h>
#include <drm/drm_gpusvm.h>
#include <drm/drm_pagemap.h>
#include "shim.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 2, 0)
#error "drm_gpusvm before Linux 7.2 is another one"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)

/* A range, first of all. */
struct compat_range {
	struct drm_gpusvm_range base;
	struct drm_gpusvm_pages pages;
};

#define compat_gpusvm_init(svm, name, drm, ...) drm_gpusvm_init(svm, name, __VA_ARGS__)

static inline struct drm_gpusvm_pages *compat_pages(struct drm_gpusvm_range *range)
{
	return &container_of(range, struct compat_range, base)->pages;
}

static inline unsigned long compat_npages(struct drm_gpusvm_range *range)
{
	return drm_gpusvm_range_size(range) >> PAGE_SHIFT;
}

static inline void compat_range_init(struct compat_range *range, struct drm_device *drm)
{
	drm_gpusvm_init_pages(&range->pages, drm);
}

/* drm_gpusvm_fini() takes ranges without asking for their pages; no notifier is left then. */
static inline void compat_range_exit(struct drm_gpusvm_range *range)
{
	if (compat_pages(range)->dma_addr)
		drm_gpusvm_free_pages(range->gpusvm, compat_pages(range), compat_npages(range));
}

static inline u32 compat_range_flags(struct drm_gpusvm_range *range)
{
	struct drm_gpusvm_range_flags of_range = { .__flags = READ_ONCE(range->flags.__flags) };
	struct drm_gpusvm_pages_flags of_pages = { .__flags = READ_ONCE(compat_pages(range)->flags.__flags) };

	return (of_range.migrate_devmem ? SVMLAB_GPUSVM_MIGRATE_DEVMEM : 0) |
	       (of_range.unmapped ? SVMLAB_GPUSVM_UNMAPPED : 0) |
	       (of_range.partial_unmap ? SVMLAB_GPUSVM_PARTIAL_UNMAP : 0) |
	       (of_pages.has_devmem_pages ? SVMLAB_GPUSVM_HAS_DEVMEM_PAGES : 0) |
	       (of_pages.has_dma_mapping ? SVMLAB_GPUSVM_HAS_DMA_MAPPING : 0);
}

static inline int compat_get_pages(struct drm_gpusvm *svm, struct drm_gpusvm_range *range,
				   const struct drm_gpusvm_ctx *ctx)
{
	return drm_gpusvm_get_pages(svm, compat_pages(range), svm->mm, &range->notifier->notifier,
				    drm_gpusvm_range_start(range), drm_gpusvm_range_end(range), ctx);
}

static inline bool compat_pages_valid(struct drm_gpusvm *svm, struct drm_gpusvm_range *range)
{
	return drm_gpusvm_pages_valid(svm, compat_pages(range));
}

static inline void compat_unmap_pages(struct drm_gpusvm *svm, struct drm_gpusvm_range *range,
				      const struct drm_gpusvm_ctx *ctx)
{
	drm_gpusvm_unmap_pages(svm, compat_pages(range), compat_npages(range), ctx);
}

static inline void compat_set_unmapped(struct drm_gpusvm_range *range, const struct mmu_notifier_range *event)
{
	drm_gpusvm_range_set_unmapped(range, compat_pages(range), 1, event);
}

static inline void compat_range_remove(struct drm_gpusvm *svm, struct drm_gpusvm_range *range)
{
	/* While it is in the tree, so that no invalidation misses a range that is DMA mapped. */
	drm_gpusvm_free_pages(svm, compat_pages(range), compat_npages(range));
	drm_gpusvm_range_remove(svm, range);
}

#else

struct compat_range {
	struct drm_gpusvm_range base;
};

#define compat_gpusvm_init drm_gpusvm_init
#define compat_get_pages drm_gpusvm_range_get_pages
#define compat_pages_valid drm_gpusvm_range_pages_valid
#define compat_unmap_pages drm_gpusvm_range_unmap_pages
#define compat_set_unmapped drm_gpusvm_range_set_unmapped
#define compat_range_remove drm_gpusvm_range_remove

static inline struct drm_gpusvm_pages *compat_pages(struct drm_gpusvm_range *range)
{
	return &range->pages;
}

static inline void compat_range_init(struct compat_range *range, struct drm_device *drm)
{
}

static inline void compat_range_exit(struct drm_gpusvm_range *range)
{
}

static inline u32 compat_range_flags(struct drm_gpusvm_range *range)
{
	struct drm_gpusvm_pages_flags flags = { .__flags = READ_ONCE(range->pages.flags.__flags) };

	return (flags.migrate_devmem ? SVMLAB_GPUSVM_MIGRATE_DEVMEM : 0) |
	       (flags.unmapped ? SVMLAB_GPUSVM_UNMAPPED : 0) |
	       (flags.partial_unmap ? SVMLAB_GPUSVM_PARTIAL_UNMAP : 0) |
	       (flags.has_devmem_pages ? SVMLAB_GPUSVM_HAS_DEVMEM_PAGES : 0) |
	       (flags.has_dma_mapping ? SVMLAB_GPUSVM_HAS_DMA_MAPPING : 0);
}

#endif
#endif
