// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The kernel's own drm_gpusvm as the driver's framework: the calls of model/src/framework, one function each. Locks and
 * errors are drm_gpusvm's own.
 *
 * A range is one object: struct compat_range in the first SVMLAB_RANGE_BYTES, and behind it what the driver adds, which
 * only Rust knows. It is written before the range can be found, and dropped when the last reference goes.
 */
#include <linux/build_bug.h>
#include <linux/mmu_notifier.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include "gpusvm_compat.h"
#include "shim.h"

struct svmlab_gpusvm {
	struct drm_gpusvm base;
	u32 client;
	struct svmlab_cache *ranges;
	u32 range_size;
	void (*drop)(struct drm_gpusvm_range *range);
	char *name;
	unsigned long chunk_sizes[SVMLAB_MAX_CHUNKS];
	/* What the next new range is filled with: during find_or_insert, under the driver lock. */
	svmlab_fill_t fill;
	void *fill_arg;
};

static struct svmlab_gpusvm *to_svmlab(struct drm_gpusvm *svm)
{
	return container_of(svm, struct svmlab_gpusvm, base);
}

/* ---- ops ---- */

static struct drm_gpusvm_range *range_alloc(struct drm_gpusvm *gpusvm)
{
	struct svmlab_gpusvm *svm = to_svmlab(gpusvm);
	struct compat_range *range = svmlab_c_cache_alloc(svm->ranges);

	BUILD_BUG_ON(sizeof(struct compat_range) > SVMLAB_RANGE_BYTES);
	BUILD_BUG_ON(offsetof(struct compat_range, base));
	if (!range)
		return NULL;
	memset(range, 0, svm->range_size);
	if (!svm->fill(svm->fill_arg, &range->base)) {
		svmlab_c_cache_free(svm->ranges, range);
		return NULL;
	}
	compat_range_init(range, svmlab_drm());
	return &range->base;
}

static void range_free(struct drm_gpusvm_range *range)
{
	struct svmlab_gpusvm *svm = to_svmlab(range->gpusvm);

	compat_range_exit(range);
	svm->drop(range);
	svmlab_c_cache_free(svm->ranges, range);
}

static void invalidate(struct drm_gpusvm *gpusvm, struct drm_gpusvm_notifier *notifier,
		       const struct mmu_notifier_range *event)
{
	svmlab_rs_gpusvm_invalidate(to_svmlab(gpusvm)->client, (uintptr_t)notifier, event->event, event->start,
				    event->end, mmu_notifier_range_blockable(event), (uintptr_t)event->owner);
}

static const struct drm_gpusvm_ops ops = {
	.range_alloc = range_alloc,
	.range_free = range_free,
	.invalidate = invalidate,
};

/* ---- the instance ---- */

/* drm_gpusvm_init(): takes an mmgrab. Sleeps. */
int svmlab_c_gpusvm_new(const struct svmlab_gpusvm_config *config, struct mm_struct *mm, struct svmlab_gpusvm **out)
{
	static const char ranges[] = "drm_gpusvm_helper_range";
	struct svmlab_gpusvm *svm;
	int err = -ENOMEM;

	if (config->num_chunks > SVMLAB_MAX_CHUNKS)
		return -EINVAL;
	svm = kzalloc(sizeof(*svm), GFP_KERNEL);
	if (!svm)
		return -ENOMEM;
	svm->client = config->client;
	svm->drop = config->drop;
	svm->range_size = config->range_size;
	for (u32 i = 0; i < config->num_chunks; i++)
		svm->chunk_sizes[i] = config->chunk_sizes[i];
	svm->name = kstrndup(config->name, config->name_len, GFP_KERNEL);
	svm->ranges = svmlab_c_cache_get(ranges, sizeof(ranges) - 1, config->range_size, config->range_align);
	if (!svm->name || !svm->ranges)
		goto fail;
	err = compat_gpusvm_init(&svm->base, svm->name, svmlab_drm(), mm, config->mm_start, config->mm_range,
				 config->notifier_size, &ops, svm->chunk_sizes, config->num_chunks);
	if (err)
		goto fail;
	*out = svm;
	return 0;

fail:
	kfree(svm->name);
	kfree(svm);
	return err;
}

/* No range of it is left. */
void svmlab_c_gpusvm_free(struct svmlab_gpusvm *svm)
{
	kfree(svm->name);
	kfree(svm);
}

void svmlab_c_gpusvm_fini(struct svmlab_gpusvm *svm)
{
	drm_gpusvm_fini(&svm->base);
}

void svmlab_c_gpusvm_set_lock(struct svmlab_gpusvm *svm, struct rw_semaphore *lock)
{
	drm_gpusvm_driver_set_lock(&svm->base, lock);
}

void svmlab_c_gpusvm_lock(struct svmlab_gpusvm *svm)
{
	drm_gpusvm_notifier_lock(&svm->base);
}

void svmlab_c_gpusvm_unlock(struct svmlab_gpusvm *svm)
{
	drm_gpusvm_notifier_unlock(&svm->base);
}

bool svmlab_c_gpusvm_has_mapping(struct svmlab_gpusvm *svm, u64 start, u64 end)
{
	return drm_gpusvm_has_mapping(&svm->base, start, end);
}

/* ULONG_MAX: none. */
u64 svmlab_c_gpusvm_find_vma_start(struct svmlab_gpusvm *svm, u64 start, u64 end)
{
	return drm_gpusvm_find_vma_start(&svm->base, start, end);
}

/* ---- notifiers ---- */

struct drm_gpusvm_notifier *svmlab_c_gpusvm_notifier_find(struct svmlab_gpusvm *svm, u64 start, u64 end)
{
	return drm_gpusvm_notifier_find(&svm->base, start, end);
}

struct drm_gpusvm_notifier *svmlab_c_gpusvm_notifier_next(struct drm_gpusvm_notifier *notifier, u64 end)
{
	notifier = __drm_gpusvm_notifier_next(notifier);
	return notifier && drm_gpusvm_notifier_start(notifier) < end ? notifier : NULL;
}

void svmlab_c_gpusvm_notifier_bytes(struct drm_gpusvm_notifier *notifier, u64 *start, u64 *end)
{
	*start = drm_gpusvm_notifier_start(notifier);
	*end = drm_gpusvm_notifier_end(notifier);
}

/* ---- ranges ---- */

struct drm_gpusvm_range *svmlab_c_gpusvm_range_find(struct drm_gpusvm_notifier *notifier, u64 start, u64 end)
{
	return drm_gpusvm_range_find(notifier, start, end);
}

struct drm_gpusvm_range *svmlab_c_gpusvm_range_next(struct drm_gpusvm_range *range, u64 end)
{
	range = __drm_gpusvm_range_next(range);
	return range && drm_gpusvm_range_start(range) < end ? range : NULL;
}

void svmlab_c_gpusvm_range_bytes(struct drm_gpusvm_range *range, u64 *start, u64 *end)
{
	*start = drm_gpusvm_range_start(range);
	*end = drm_gpusvm_range_end(range);
}

/* SVMLAB_GPUSVM_* */
u32 svmlab_c_gpusvm_range_flags(struct drm_gpusvm_range *range)
{
	return compat_range_flags(range);
}

u32 svmlab_c_gpusvm_range_refcount(struct drm_gpusvm_range *range)
{
	return kref_read(&range->refcount);
}

void svmlab_c_gpusvm_range_get(struct drm_gpusvm_range *range)
{
	drm_gpusvm_range_get(range);
}

void svmlab_c_gpusvm_range_put(struct drm_gpusvm_range *range)
{
	drm_gpusvm_range_put(range);
}

static struct drm_gpusvm_ctx to_ctx(const struct svmlab_gpusvm_ctx *ctx)
{
	return (struct drm_gpusvm_ctx) {
		.device_private_page_owner = (void *)(uintptr_t)ctx->owner,
		.check_pages_threshold = ctx->check_pages_threshold,
		.timeslice_ms = ctx->timeslice_ms,
		.read_only = !!(ctx->flags & SVMLAB_CTX_READ_ONLY),
		.devmem_possible = !!(ctx->flags & SVMLAB_CTX_DEVMEM_POSSIBLE),
		.devmem_only = !!(ctx->flags & SVMLAB_CTX_DEVMEM_ONLY),
		.allow_mixed = !!(ctx->flags & SVMLAB_CTX_ALLOW_MIXED),
	};
}

/* The driver lock is held, so that no other call of this kind is under way. */
int svmlab_c_gpusvm_find_or_insert(struct svmlab_gpusvm *svm, u64 fault, u64 start, u64 end,
				   const struct svmlab_gpusvm_ctx *ctx, svmlab_fill_t fill, void *arg,
				   struct drm_gpusvm_range **out)
{
	struct drm_gpusvm_ctx to = to_ctx(ctx);
	struct drm_gpusvm_range *range;

	svm->fill = fill;
	svm->fill_arg = arg;
	range = drm_gpusvm_range_find_or_insert(&svm->base, fault, start, end, &to);
	svm->fill = NULL;
	svm->fill_arg = NULL;
	if (IS_ERR(range))
		return PTR_ERR(range);
	*out = range;
	return 0;
}

void svmlab_c_gpusvm_range_remove(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range)
{
	compat_range_remove(&svm->base, range);
}

int svmlab_c_gpusvm_get_pages(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range,
			      const struct svmlab_gpusvm_ctx *ctx)
{
	struct drm_gpusvm_ctx to = to_ctx(ctx);

	return compat_get_pages(&svm->base, range, &to);
}

bool svmlab_c_gpusvm_pages_valid(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range)
{
	return compat_pages_valid(&svm->base, range);
}

/* The mapping in this slot of the DMA array; false: there is no array. Notifier lock held, slot below the mappings. */
bool svmlab_c_gpusvm_dma(struct drm_gpusvm_range *range, u64 slot, struct svmlab_dma *dma)
{
	const struct drm_pagemap_addr *addr = compat_pages(range)->dma_addr;

	/* The numbers of framework/instance.rs. */
	BUILD_BUG_ON(DRM_INTERCONNECT_SYSTEM != 0 || DRM_INTERCONNECT_DRIVER != 1);
	if (!addr)
		return false;
	addr += slot;
	dma->addr = addr->addr;
	dma->proto = addr->proto;
	dma->order = addr->order;
	dma->to_device = addr->dir == DMA_TO_DEVICE;
	return true;
}

/* in_notifier: the caller is the invalidate op. Otherwise takes the notifier lock. */
void svmlab_c_gpusvm_unmap_pages(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range, bool in_notifier)
{
	struct drm_gpusvm_ctx ctx = { .in_notifier = in_notifier };

	compat_unmap_pages(&svm->base, range, &ctx);
}

/* Looks at nothing of the event but where it is. */
void svmlab_c_gpusvm_set_unmapped(struct drm_gpusvm_range *range, u64 start, u64 end)
{
	struct mmu_notifier_range event = { .event = MMU_NOTIFY_UNMAP, .start = start, .end = end };

	compat_set_unmapped(range, &event);
}

int svmlab_c_gpusvm_range_evict(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range)
{
	return drm_gpusvm_range_evict(&svm->base, range);
}
