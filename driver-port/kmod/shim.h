/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Between the Rust object and the kernel: what Rust calls (svmlab_c_*, by file) and what it is called for (svmlab_rs_*).
 * The Rust side of the first is driver-port/src/ffi.rs; the two are kept in step by hand.
 *
 * Rust text is a pointer and a length, not terminated. A name is a compile-time constant of the model.
 */
#ifndef SVMLAB_SHIM_H
#define SVMLAB_SHIM_H

#include <linux/types.h>

struct mm_struct;
struct mutex;
struct rw_semaphore;
struct spinlock;
struct device;
struct mmu_notifier;

/* A place in the Rust source. */
struct svmlab_place {
	const char *file;
	size_t file_len;
	u32 line;
	u32 column;
};

/* ---- lock.c ---- */
enum svmlab_lock_kind { SVMLAB_MUTEX, SVMLAB_SPINLOCK, SVMLAB_RWSEM };

struct mutex *svmlab_c_mutex_new(const char *name, size_t len);
void svmlab_c_mutex_free(struct mutex *lock);
void svmlab_c_mutex_lock(struct mutex *lock, u32 subclass);
void svmlab_c_mutex_unlock(struct mutex *lock);
struct spinlock *svmlab_c_spin_new(const char *name, size_t len);
void svmlab_c_spin_free(struct spinlock *lock);
void svmlab_c_spin_lock(struct spinlock *lock);
void svmlab_c_spin_unlock(struct spinlock *lock);
struct rw_semaphore *svmlab_c_rwsem_new(const char *name, size_t len);
void svmlab_c_rwsem_free(struct rw_semaphore *sem);
void svmlab_c_rwsem_down_read(struct rw_semaphore *sem);
void svmlab_c_rwsem_up_read(struct rw_semaphore *sem);
void svmlab_c_rwsem_down_write(struct rw_semaphore *sem);
void svmlab_c_rwsem_up_write(struct rw_semaphore *sem);
void svmlab_c_rwsem_downgrade(struct rw_semaphore *sem);
void svmlab_c_preempt_disable(void);
void svmlab_c_preempt_enable(void);
void svmlab_c_wait_done(const u32 *done);
void svmlab_c_set_done(u32 *done);
void svmlab_c_cond_resched(void);
u64 svmlab_c_current(void);
u64 svmlab_c_now_ms(void);

/* ---- mem.c ---- */
struct svmlab_cache;

struct svmlab_cache *svmlab_c_cache_get(const char *name, size_t len, u32 size, u32 align);
void *svmlab_c_cache_alloc(struct svmlab_cache *cache);
void svmlab_c_cache_free(struct svmlab_cache *cache, void *object);
void *svmlab_c_kvmalloc(size_t size);
void svmlab_c_kvfree(void *memory);
u32 svmlab_c_noreclaim_save(void);
void svmlab_c_noreclaim_restore(u32 flags);
void svmlab_mem_exit(void);

/* ---- work.c ---- */
struct svmlab_wq;
struct svmlab_work;
struct svmlab_dwork;

struct svmlab_wq *svmlab_c_wq_new(const char *name, size_t len, bool ordered);
void svmlab_c_wq_flush(struct svmlab_wq *wq);
void svmlab_c_wq_destroy(struct svmlab_wq *wq);
void svmlab_c_wq_put(struct svmlab_wq *wq);
struct svmlab_work *svmlab_c_work_new(struct svmlab_wq *wq, u32 client, u32 func);
void svmlab_c_work_free(struct svmlab_work *work);
bool svmlab_c_work_queue(struct svmlab_work *work);
void svmlab_c_work_flush(struct svmlab_work *work);
bool svmlab_c_work_cancel_sync(struct svmlab_work *work);
struct svmlab_dwork *svmlab_c_dwork_new(struct svmlab_wq *wq, u32 client, u32 func);
void svmlab_c_dwork_free(struct svmlab_dwork *work);
bool svmlab_c_dwork_queue(struct svmlab_dwork *work, u64 delay_ms);
void svmlab_c_dwork_flush(struct svmlab_dwork *work);
bool svmlab_c_dwork_cancel_sync(struct svmlab_dwork *work);

/* ---- mm.c ---- */
struct svmlab_vma {
	u64 start;
	u64 end;
	u32 flags;		/* SVMLAB_VMA_* */
};

#define SVMLAB_VMA_READ		BIT(0)
#define SVMLAB_VMA_WRITE	BIT(1)
#define SVMLAB_VMA_IO		BIT(2)
#define SVMLAB_VMA_PFNMAP	BIT(3)
#define SVMLAB_VMA_MIXEDMAP	BIT(4)
#define SVMLAB_VMA_ANON		BIT(5)
#define SVMLAB_VMA_HUGETLB	BIT(6)

/* What svmlab_c_hmm_range_fault() is asked to bring about. */
enum svmlab_hmm_request { SVMLAB_HMM_SNAPSHOT, SVMLAB_HMM_READ, SVMLAB_HMM_WRITE };

struct svmlab_sub;

void svmlab_c_mmgrab(struct mm_struct *mm);
void svmlab_c_mmdrop(struct mm_struct *mm);
bool svmlab_c_mmget_not_zero(struct mm_struct *mm);
void svmlab_c_mmput(struct mm_struct *mm);
void svmlab_c_mmput_async(struct mm_struct *mm);
void svmlab_c_mmap_read_lock(struct mm_struct *mm);
void svmlab_c_mmap_read_unlock(struct mm_struct *mm);
void svmlab_c_mmap_write_lock(struct mm_struct *mm);
void svmlab_c_mmap_write_unlock(struct mm_struct *mm);
void svmlab_c_mmap_write_downgrade(struct mm_struct *mm);
bool svmlab_c_find_vma(struct mm_struct *mm, u64 addr, struct svmlab_vma *vma);
bool svmlab_c_is_heap_or_stack(struct mm_struct *mm, u64 start, u64 end);
struct svmlab_sub *svmlab_c_sub_new(u32 client, u64 cookie);
void svmlab_c_sub_free(struct svmlab_sub *sub);
int svmlab_c_sub_insert(struct svmlab_sub *sub, struct mm_struct *mm, u64 start, u64 length, bool locked);
void svmlab_c_sub_remove(struct svmlab_sub *sub);
void svmlab_c_sub_set_seq(struct svmlab_sub *sub, u64 seq);
u64 svmlab_c_sub_read_begin(struct svmlab_sub *sub);
bool svmlab_c_sub_read_retry(struct svmlab_sub *sub, u64 seq);
int svmlab_c_hmm_range_fault(struct svmlab_sub *sub, u64 seq, u64 start, u64 npages, u32 request, u64 owner, u64 *pfns);

/* ---- gpusvm.c ---- */
struct drm_device;
struct drm_gpusvm_notifier;
struct drm_gpusvm_range;
struct svmlab_gpusvm;

/* The device, as long as a file is open. Defined in device.c. */
struct drm_device *svmlab_drm(void);

#define SVMLAB_MAX_CHUNKS	8
/* Room for the kernel's part of a range, before the driver's: RANGE_BYTES of framework/range.rs. */
#define SVMLAB_RANGE_BYTES	256

struct svmlab_gpusvm_config {
	const char *name;
	size_t name_len;
	u64 mm_start;
	u64 mm_range;
	u64 notifier_size;
	u64 chunk_sizes[SVMLAB_MAX_CHUNKS];
	u32 num_chunks;
	u32 client;
	/* Of a whole range, SVMLAB_RANGE_BYTES included. */
	u32 range_size;
	u32 range_align;
	/* Drops the driver's part of a range. */
	void (*drop)(struct drm_gpusvm_range *range);
};

struct svmlab_gpusvm_ctx {
	u64 check_pages_threshold;
	u64 owner;
	u64 timeslice_ms;
	u32 flags;		/* SVMLAB_CTX_* */
};

#define SVMLAB_CTX_READ_ONLY		BIT(0)
#define SVMLAB_CTX_DEVMEM_POSSIBLE	BIT(1)
#define SVMLAB_CTX_DEVMEM_ONLY		BIT(2)
#define SVMLAB_CTX_ALLOW_MIXED		BIT(3)

#define SVMLAB_GPUSVM_MIGRATE_DEVMEM	BIT(0)
#define SVMLAB_GPUSVM_UNMAPPED		BIT(1)
#define SVMLAB_GPUSVM_PARTIAL_UNMAP	BIT(2)
#define SVMLAB_GPUSVM_HAS_DEVMEM_PAGES	BIT(3)
#define SVMLAB_GPUSVM_HAS_DMA_MAPPING	BIT(4)

struct svmlab_dma {
	u64 addr;
	u32 proto;		/* enum drm_interconnect_protocol */
	u8 order;
	bool to_device;
};

/* Writes the driver's part of a range that is new; false: there is none. */
typedef bool (*svmlab_fill_t)(void *arg, struct drm_gpusvm_range *range);

int svmlab_c_gpusvm_new(const struct svmlab_gpusvm_config *config, struct mm_struct *mm, struct svmlab_gpusvm **out);
void svmlab_c_gpusvm_free(struct svmlab_gpusvm *svm);
void svmlab_c_gpusvm_fini(struct svmlab_gpusvm *svm);
void svmlab_c_gpusvm_set_lock(struct svmlab_gpusvm *svm, struct rw_semaphore *lock);
void svmlab_c_gpusvm_lock(struct svmlab_gpusvm *svm);
void svmlab_c_gpusvm_unlock(struct svmlab_gpusvm *svm);
struct drm_gpusvm_notifier *svmlab_c_gpusvm_notifier_find(struct svmlab_gpusvm *svm, u64 start, u64 end);
struct drm_gpusvm_notifier *svmlab_c_gpusvm_notifier_next(struct drm_gpusvm_notifier *notifier, u64 end);
void svmlab_c_gpusvm_notifier_bytes(struct drm_gpusvm_notifier *notifier, u64 *start, u64 *end);
struct drm_gpusvm_range *svmlab_c_gpusvm_range_find(struct drm_gpusvm_notifier *notifier, u64 start, u64 end);
struct drm_gpusvm_range *svmlab_c_gpusvm_range_next(struct drm_gpusvm_range *range, u64 end);
void svmlab_c_gpusvm_range_bytes(struct drm_gpusvm_range *range, u64 *start, u64 *end);
u32 svmlab_c_gpusvm_range_flags(struct drm_gpusvm_range *range);
u32 svmlab_c_gpusvm_range_refcount(struct drm_gpusvm_range *range);
void svmlab_c_gpusvm_range_get(struct drm_gpusvm_range *range);
void svmlab_c_gpusvm_range_put(struct drm_gpusvm_range *range);
int svmlab_c_gpusvm_find_or_insert(struct svmlab_gpusvm *svm, u64 fault, u64 start, u64 end,
				   const struct svmlab_gpusvm_ctx *ctx, svmlab_fill_t fill, void *arg,
				   struct drm_gpusvm_range **out);
void svmlab_c_gpusvm_range_remove(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range);
int svmlab_c_gpusvm_get_pages(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range,
			      const struct svmlab_gpusvm_ctx *ctx);
bool svmlab_c_gpusvm_pages_valid(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range);
bool svmlab_c_gpusvm_dma(struct drm_gpusvm_range *range, u64 slot, struct svmlab_dma *dma);
void svmlab_c_gpusvm_unmap_pages(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range, bool in_notifier);
void svmlab_c_gpusvm_set_unmapped(struct drm_gpusvm_range *range, u64 start, u64 end);
int svmlab_c_gpusvm_range_evict(struct svmlab_gpusvm *svm, struct drm_gpusvm_range *range);
bool svmlab_c_gpusvm_has_mapping(struct svmlab_gpusvm *svm, u64 start, u64 end);
u64 svmlab_c_gpusvm_find_vma_start(struct svmlab_gpusvm *svm, u64 start, u64 end);

/* ---- registry.c ---- */
int svmlab_c_registry_add(void *entry);
void *svmlab_c_registry_find(u32 id);
void svmlab_c_registry_remove(u32 id);
void svmlab_registry_exit(void);

/* ---- log.c ---- */
#define SVMLAB_LOG_TEXT 160

/* A line of the event log. */
struct svmlab_log_line {
	u64 number;		/* from 0, over all tasks */
	u64 time_ns;		/* of the monotonic clock */
	u32 task;		/* pid, as the first namespace knows it */
	u32 len;
	char text[SVMLAB_LOG_TEXT];
};

void svmlab_c_log(const char *text, size_t len);
void svmlab_c_warn(const char *text, size_t len, const struct svmlab_place *place);
void __noreturn svmlab_c_panic(const char *text, size_t len, const struct svmlab_place *place);
/* The first line with this number or, where that is gone, the oldest later one; false: there is none yet. */
bool svmlab_log_read(u64 number, struct svmlab_log_line *line);
/* From now on lines are written, or not. */
void svmlab_log_switch(bool on);
void svmlab_log_exit(void);

/* ---- gate.c ---- */
/* The running task is at this place of an armed script's words. */
void svmlab_c_gate(u64 place, bool visible);
/* The work item whose begin is this place begins to run on this task, or has ended. */
void svmlab_c_gate_work(u64 place, bool begins);
struct svmlab_gate;
/* The GATE ioctl. */
int svmlab_gate_ioctl(struct svmlab_gate *gate);
/* Nobody uses gates any more. */
void svmlab_gate_exit(void);

/* ---- swgpu.c ---- */
struct svmlab_word;

enum svmlab_bus_op { SVMLAB_BUS_LOAD, SVMLAB_BUS_STORE, SVMLAB_BUS_ADD };

u64 svmlab_c_dma_map(struct device *dev, u64 pfn, u32 order, bool to_device);
void svmlab_c_dma_unmap(struct device *dev, u64 addr, u32 order, bool to_device);
u64 svmlab_c_bus_pfn(struct device *dev, u64 addr);
bool svmlab_c_bus_access(struct device *dev, u64 addr, u32 op, u64 *value);
struct svmlab_word *svmlab_c_word_new(u64 value);
void svmlab_c_word_free(struct svmlab_word *word);
u64 svmlab_c_word_load(struct svmlab_word *word);
void svmlab_c_word_store(struct svmlab_word *word, u64 value);
int svmlab_c_word_wait(struct svmlab_word *word, u64 value, u64 until_ms, bool killable);
struct mmu_notifier *svmlab_c_process_get(struct mm_struct *mm);
void svmlab_c_process_put(struct mmu_notifier *notifier);
int svmlab_c_mm_snapshot(struct mm_struct *mm, u64 start, u64 npages, u64 *pfns);
bool svmlab_c_copy_from_user(void *to, u64 from, size_t size);
bool svmlab_c_copy_to_user(u64 to, const void *from, size_t size);

/* ---- device.c ---- */
int svmlab_device_init(void);
void svmlab_device_exit(void);

/* ---- selftest.c ---- */
struct svmlab_thread;

#ifdef SVMLAB_LAB
/* Whether the allocation that is about to be made is one that a test wants to fail. */
bool svmlab_fails(void);
void svmlab_selftest_init(void);
void svmlab_selftest_exit(void);
#else
static inline bool svmlab_fails(void)
{
	return false;
}

static inline void svmlab_selftest_init(void)
{
}

static inline void svmlab_selftest_exit(void)
{
}
#endif
/* Runs run(arg) in a task of its own, in the address space of the running one, which is to join it. */
struct svmlab_thread *svmlab_c_thread_run(void (*run)(void *arg), void *arg);
void svmlab_c_thread_join(struct svmlab_thread *thread);
void svmlab_c_sleep_ms(u32 ms);
bool svmlab_c_in_atomic(void);
bool svmlab_c_is_noreclaim(void);
/* The nth allocation of the running task fails, from 1; 0: none does. Whether one was still to fail, of any task. */
bool svmlab_c_fail_allocation(u32 nth);
/* Private anonymous memory, at addr unless that is 0; 0: it failed. */
u64 svmlab_c_map(u64 addr, u64 size, bool write);
bool svmlab_c_unmap(u64 addr, u64 size);
bool svmlab_c_poke(u64 addr, u64 value);
/* The first word of a page frame. */
u64 svmlab_c_peek_frame(u64 pfn);
struct mm_struct *svmlab_c_current_mm(void);
void svmlab_c_mm_facts(struct mm_struct *mm, u64 facts[3]);

/* ---- what Rust is called for ---- */

/* The invalidate op of the subscription (client, cookie); false: it would sleep and must not. */
bool svmlab_rs_invalidate(u32 client, u64 cookie, u32 event, u64 start, u64 end, bool blockable, u64 owner, u64 seq);
/* The invalidate op of drm_gpusvm for the instance client, notifier lock held for write. */
void svmlab_rs_gpusvm_invalidate(u32 client, u64 notifier, u32 event, u64 start, u64 end, bool blockable, u64 owner);
/* A work item runs. */
void svmlab_rs_work(u32 client, u32 func);
/* Whether places are told: one load each as long as they are not. */
void svmlab_rs_gate_arm(bool on);
/* The name of a test, or of a planted bug; NULL: there are not so many. */
const char *svmlab_rs_selftest_name(bool plants, u32 number, size_t *len);
/* Runs it: how many bytes of text say what was wrong, 0 when nothing was. */
size_t svmlab_rs_selftest(bool plants, u32 number, char *text, size_t size);
/* Whether notes are made. */
void svmlab_rs_log_switch(bool on);
/* The module is loaded, with this device on the bus; a negative errno. */
int svmlab_rs_init(struct device *dev);
/* It goes: no file is open, and no process_release runs or will. */
void svmlab_rs_exit(void);
/* The address space of this number is about to be taken apart. */
void svmlab_rs_process_release(u64 mm);

/* The VM of an open file, in Rust. */
struct svmlab_vm;
struct svmlab_create;
struct drm_amdgpu_gem_svm;
struct svmlab_close;
struct svmlab_accesses;
struct svmlab_access;
struct svmlab_settle;
struct svmlab_state;
struct svmlab_mapped;
struct svmlab_page;
struct svmlab_hardware;

/* The ioctls: 0 or a negative errno. Arrays are kernel memory of as many elements as the arguments say. */
int svmlab_rs_vm_create(const struct svmlab_create *args, struct mm_struct *mm, struct svmlab_vm **vm);
/* Takes down what is left, when nobody uses it any more. */
void svmlab_rs_vm_free(struct svmlab_vm *vm);
int svmlab_rs_gem_svm(struct svmlab_vm *vm, const struct drm_amdgpu_gem_svm *args, struct mm_struct *mm);
int svmlab_rs_close(struct svmlab_vm *vm, const struct svmlab_close *args);
int svmlab_rs_access(struct svmlab_vm *vm, struct svmlab_accesses *args, struct svmlab_access *accesses);
int svmlab_rs_settle(struct svmlab_vm *vm, struct svmlab_settle *args);
int svmlab_rs_state(struct svmlab_vm *vm, struct svmlab_state *state);
/* room: struct svmlab_range or svmlab_node [*count]; afterwards *count is how many there are. */
int svmlab_rs_ranges(struct svmlab_vm *vm, void *room, u32 *count);
int svmlab_rs_nodes(struct svmlab_vm *vm, void *room, u32 *count);
int svmlab_rs_mapped(struct svmlab_vm *vm, struct svmlab_mapped *args, struct svmlab_page *pages);
int svmlab_rs_hardware(struct svmlab_vm *vm, const struct svmlab_hardware *args);

#endif
