// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Memory. Everything the model allocates is GFP_KERNEL: it allocates where it may sleep, and where reclaim must not be
 * entered it says so for the task (memalloc_noreclaim_save), as amdgpu does around page-table updates.
 */
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "shim.h"

/*
 * One kmem_cache for each name and size, shared by all instances and kept until the module goes: the kernel does not like
 * two caches of one name, and an instance's objects may outlive it (a range that somebody still holds).
 */
struct svmlab_cache {
	struct list_head link;
	struct kmem_cache *cache;
	char *name;
	u32 size;
	u32 align;
};

static LIST_HEAD(caches);
static DEFINE_MUTEX(caches_lock);

struct svmlab_cache *svmlab_c_cache_get(const char *name, size_t len, u32 size, u32 align)
{
	struct svmlab_cache *cache;
	char *full = svmlab_fails() ? NULL : kasprintf(GFP_KERNEL, "svmlab_%.*s_%u", (int)len, name, size);

	if (!full)
		return NULL;
	guard(mutex)(&caches_lock);
	list_for_each_entry(cache, &caches, link) {
		if (!strcmp(cache->name, full) && cache->align >= align) {
			kfree(full);
			return cache;
		}
	}
	cache = kzalloc(sizeof(*cache), GFP_KERNEL);
	if (!cache)
		goto no_cache;
	/* Not merged with other caches of the same size, so that a dangling pointer stays among its own kind. */
	cache->cache = kmem_cache_create(full, size, align, SLAB_NO_MERGE, NULL);
	if (!cache->cache)
		goto no_kmem_cache;
	cache->name = full;
	cache->size = size;
	cache->align = align;
	list_add(&cache->link, &caches);
	return cache;

no_kmem_cache:
	kfree(cache);
no_cache:
	kfree(full);
	return NULL;
}

void *svmlab_c_cache_alloc(struct svmlab_cache *cache)
{
	return svmlab_fails() ? NULL : kmem_cache_alloc(cache->cache, GFP_KERNEL);
}

void svmlab_c_cache_free(struct svmlab_cache *cache, void *object)
{
	kmem_cache_free(cache->cache, object);
}

void *svmlab_c_kvmalloc(size_t size)
{
	/* More would be a warning there. */
	return size <= INT_MAX && !svmlab_fails() ? kvmalloc(size, GFP_KERNEL) : NULL;
}

void svmlab_c_kvfree(void *memory)
{
	kvfree(memory);
}

u32 svmlab_c_noreclaim_save(void)
{
	return memalloc_noreclaim_save();
}

void svmlab_c_noreclaim_restore(u32 flags)
{
	memalloc_noreclaim_restore(flags);
}

/* The kernel says which objects are left, if any are. */
void svmlab_mem_exit(void)
{
	struct svmlab_cache *cache, *next;

	list_for_each_entry_safe(cache, next, &caches, link) {
		kmem_cache_destroy(cache->cache);
		kfree(cache->name);
		kfree(cache);
	}
}
