// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The DRM device: a render node without a display, whose open files are VMs. Arrays are copied here; what the numbers
 * mean is decided in Rust (driver-port/src/entry.rs).
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_ioctl.h>
#include "shim.h"
#include "svmlab_drm.h"

/* An open file. */
struct svmlab_file {
	struct mutex create_lock;
	struct svmlab_vm *vm;	/* NULL before CREATE; written once, under create_lock */
};

static struct svmlab_vm *vm_of(struct drm_file *drm_file)
{
	struct svmlab_file *file = drm_file->driver_priv;

	return smp_load_acquire(&file->vm);
}

static int svmlab_open(struct drm_device *drm, struct drm_file *drm_file)
{
	struct svmlab_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return -ENOMEM;
	mutex_init(&file->create_lock);
	drm_file->driver_priv = file;
	return 0;
}

/* The last reference to the file is gone; no ioctl of it runs. */
static void svmlab_postclose(struct drm_device *drm, struct drm_file *drm_file)
{
	struct svmlab_file *file = drm_file->driver_priv;

	if (file->vm)
		svmlab_rs_vm_free(file->vm);
	mutex_destroy(&file->create_lock);
	kfree(file);
}

/* ---- ioctls ---- */

static int create_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_file *file = drm_file->driver_priv;
	struct svmlab_vm *vm;
	int err;

	if (!current->mm)
		return -EINVAL;
	mutex_lock(&file->create_lock);
	if (file->vm) {
		err = -EBUSY;
	} else {
		err = svmlab_rs_vm_create(data, current->mm, &vm);
		if (!err)
			smp_store_release(&file->vm, vm);
	}
	mutex_unlock(&file->create_lock);
	return err;
}

static int gem_svm_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);

	if (!vm || !current->mm)
		return -EOPNOTSUPP;
	return svmlab_rs_gem_svm(vm, data, current->mm);
}

static int close_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);

	return vm ? svmlab_rs_close(vm, data) : -ENXIO;
}

static int access_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);
	struct svmlab_accesses *args = data;
	void __user *to = u64_to_user_ptr(args->accesses_ptr);
	struct svmlab_access *accesses;
	int err;

	if (!vm)
		return -ENXIO;
	if (args->count > SVMLAB_MAX_ACCESSES)
		return -E2BIG;
	if (!args->count)
		return -EINVAL;
	accesses = vmemdup_array_user(to, args->count, sizeof(*accesses));
	if (IS_ERR(accesses))
		return PTR_ERR(accesses);
	err = svmlab_rs_access(vm, args, accesses);
	/* What was done was done, also when the rest could not be. */
	if (copy_to_user(to, accesses, array_size(args->count, sizeof(*accesses))))
		err = -EFAULT;
	kvfree(accesses);
	return err;
}

static int settle_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);

	return vm ? svmlab_rs_settle(vm, data) : -ENXIO;
}

static int state_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);

	return vm ? svmlab_rs_state(vm, data) : -ENXIO;
}

/* Asks for up to *count things of this size, copies those that are there, and says in *count how many there are. */
static int copy_list(struct svmlab_vm *vm, u64 ptr, u32 *count, u32 pad, size_t size,
		     int (*list)(struct svmlab_vm *vm, void *room, u32 *count))
{
	u32 room = *count;
	void *things;
	int err;

	if (!vm)
		return -ENXIO;
	if (room > SVMLAB_MAX_RANGES)
		return -E2BIG;
	if (pad)
		return -EINVAL;
	things = kvcalloc(max(room, 1u), size, GFP_KERNEL);
	if (!things)
		return -ENOMEM;
	err = list(vm, things, count);
	if (!err && copy_to_user(u64_to_user_ptr(ptr), things, array_size(min(room, *count), size)))
		err = -EFAULT;
	kvfree(things);
	return err;
}

static int ranges_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_ranges *args = data;

	return copy_list(vm_of(drm_file), args->ranges_ptr, &args->count, args->pad, sizeof(struct svmlab_range),
			 svmlab_rs_ranges);
}

static int nodes_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_nodes *args = data;

	return copy_list(vm_of(drm_file), args->nodes_ptr, &args->count, args->pad, sizeof(struct svmlab_node),
			 svmlab_rs_nodes);
}

static int mapped_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);
	struct svmlab_mapped *args = data;
	struct svmlab_page *pages;
	int err;

	if (!vm)
		return -ENXIO;
	if (args->count > SVMLAB_MAX_PAGES)
		return -E2BIG;
	if (!args->count || !PAGE_ALIGNED(args->start) || args->start >= TASK_SIZE_MAX ||
	    (u64)args->count << PAGE_SHIFT > TASK_SIZE_MAX - args->start)
		return -EINVAL;
	pages = kvcalloc(args->count, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	err = svmlab_rs_mapped(vm, args, pages);
	if (!err && copy_to_user(u64_to_user_ptr(args->pages_ptr), pages, array_size(args->count, sizeof(*pages))))
		err = -EFAULT;
	kvfree(pages);
	return err;
}

static int hardware_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_vm *vm = vm_of(drm_file);

	return vm ? svmlab_rs_hardware(vm, data) : -ENXIO;
}

/* ---- the event log ---- */

static u64 log_next;	/* the first line that was not drained */
static DEFINE_MUTEX(log_lock);

/* Lines into text, whole ones only, as many as fit. The bytes, and in *lost the lines that were overwritten. */
static size_t drain(char *text, size_t size, u64 *lost)
{
	struct svmlab_log_line line;
	size_t used = 0;
	int len;

	while (svmlab_log_read(log_next, &line)) {
		u64 us = line.time_ns / 1000;

		len = snprintf(text + used, size - used, "%llu.%06llu %u: %.*s\n", us / 1000000, us % 1000000,
			       line.task, (int)line.len, line.text);
		if (len >= size - used)
			break;
		used += len;
		*lost += line.number - log_next;
		log_next = line.number + 1;
	}
	return used;
}

static int log_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	struct svmlab_log *args = data;
	u32 size = args->size;
	char *text = NULL;
	int err = 0;

	if (args->flags & ~(SVMLAB_LOG_ON | SVMLAB_LOG_OFF | SVMLAB_LOG_DRAIN) ||
	    (args->flags & SVMLAB_LOG_ON && args->flags & SVMLAB_LOG_OFF))
		return -EINVAL;
	if (size > SVMLAB_MAX_LOG)
		return -E2BIG;
	if (args->flags & SVMLAB_LOG_DRAIN && size) {
		text = kvmalloc(size, GFP_KERNEL);
		if (!text)
			return -ENOMEM;
	}
	mutex_lock(&log_lock);
	args->lost = 0;
	args->size = text ? drain(text, size, &args->lost) : 0;
	if (args->flags & (SVMLAB_LOG_ON | SVMLAB_LOG_OFF))
		svmlab_log_switch(args->flags & SVMLAB_LOG_ON);
	mutex_unlock(&log_lock);
	if (copy_to_user(u64_to_user_ptr(args->text_ptr), text, args->size))
		err = -EFAULT;
	kvfree(text);
	return err;
}

#ifdef SVMLAB_LAB
static int gate_ioctl(struct drm_device *drm, void *data, struct drm_file *drm_file)
{
	return svmlab_gate_ioctl(data);
}
#endif

/* ---- the driver ---- */

static const struct drm_ioctl_desc svmlab_ioctls[] = {
	DRM_IOCTL_DEF_DRV(AMDGPU_GEM_SVM, gem_svm_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_CREATE, create_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_CLOSE, close_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_ACCESS, access_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_SETTLE, settle_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_STATE, state_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_RANGES, ranges_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_NODES, nodes_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_MAPPED, mapped_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_HARDWARE, hardware_ioctl, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(SVMLAB_LOG, log_ioctl, DRM_RENDER_ALLOW),
#ifdef SVMLAB_LAB
	DRM_IOCTL_DEF_DRV(SVMLAB_GATE, gate_ioctl, DRM_RENDER_ALLOW),
#endif
};

static const struct file_operations svmlab_fops = {
	.owner = THIS_MODULE,
	.open = drm_open,
	.release = drm_release,
	.unlocked_ioctl = drm_ioctl,
	.compat_ioctl = drm_compat_ioctl,
	.poll = drm_poll,
	.read = drm_read,
	.llseek = noop_llseek,
	.fop_flags = FOP_UNSIGNED_OFFSET,
};

static const struct drm_driver svmlab_driver = {
	.driver_features = DRIVER_RENDER,
	.name = "svmlab",
	.desc = "software GPU with shared virtual memory",
	.major = 1,
	.fops = &svmlab_fops,
	.open = svmlab_open,
	.postclose = svmlab_postclose,
	.ioctls = svmlab_ioctls,
	.num_ioctls = ARRAY_SIZE(svmlab_ioctls),
};

static struct platform_device *platform;
static struct drm_device *drm;

struct drm_device *svmlab_drm(void)
{
	return drm;
}

int svmlab_device_init(void)
{
	int err;

	platform = platform_device_register_simple("svmlab", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	/* As much as an entry of the GPU's page table holds. */
	err = dma_set_mask_and_coherent(&platform->dev, DMA_BIT_MASK(48));
	if (err)
		goto unregister;
	err = svmlab_rs_init(&platform->dev);
	if (err)
		goto unregister;
	drm = drm_dev_alloc(&svmlab_driver, &platform->dev);
	if (IS_ERR(drm)) {
		err = PTR_ERR(drm);
		goto rs_exit;
	}
	err = drm_dev_register(drm, 0);
	if (err)
		goto put;
	return 0;
put:
	drm_dev_put(drm);
rs_exit:
	svmlab_rs_exit();
unregister:
	platform_device_unregister(platform);
	return err;
}

/* No file is open: each holds the module. */
void svmlab_device_exit(void)
{
	drm_dev_unregister(drm);
	drm_dev_put(drm);
	/* Until then the release of a process that is gone may still be running here. */
	mmu_notifier_synchronize();
	svmlab_rs_exit();
	platform_device_unregister(platform);
}
