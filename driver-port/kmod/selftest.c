// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The platform tried in the kernel it runs on (laboratory only): /sys/kernel/debug/svmlab.
 *
 *	selftests	reading it lists the tests, a line each
 *	selftest	writing a name runs that test, in the address space of whoever writes; what is read from the same open
 *			file after that is what was wrong, and empty when nothing was
 *	plants, plant	the same of bugs on purpose, by which one sees that KASAN, lockdep and KCSAN see
 *
 * The tests are in Rust, driver-port/src/selftest. Here is what they need beyond the platform: a second task, memory of the
 * task to map and unmap, and a look at what the kernel keeps.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "shim.h"

/* ---- a second task ---- */

struct svmlab_thread {
	void (*run)(void *arg);
	void *arg;
	struct mm_struct *mm;
	struct completion done;
};

static int thread_main(void *data)
{
	struct svmlab_thread *thread = data;

	kthread_use_mm(thread->mm);
	thread->run(thread->arg);
	kthread_unuse_mm(thread->mm);
	complete(&thread->done);
	return 0;
}

struct svmlab_thread *svmlab_c_thread_run(void (*run)(void *arg), void *arg)
{
	struct svmlab_thread *thread = kzalloc(sizeof(*thread), GFP_KERNEL);
	struct task_struct *task;

	if (!thread)
		return NULL;
	thread->run = run;
	thread->arg = arg;
	/* Whoever runs it waits for it, so its mm stays. */
	thread->mm = current->mm;
	init_completion(&thread->done);
	task = kthread_run(thread_main, thread, "svmlab_test");
	if (IS_ERR(task)) {
		kfree(thread);
		return NULL;
	}
	return thread;
}

void svmlab_c_thread_join(struct svmlab_thread *thread)
{
	wait_for_completion(&thread->done);
	kfree(thread);
}

void svmlab_c_sleep_ms(u32 ms)
{
	fsleep(ms * USEC_PER_MSEC);
}

bool svmlab_c_in_atomic(void)
{
	return in_atomic();
}

bool svmlab_c_is_noreclaim(void)
{
	return current->flags & PF_MEMALLOC;
}

/* ---- allocations that fail ---- */

static struct task_struct *failing;
static u32 fail_after;

bool svmlab_c_fail_allocation(u32 nth)
{
	bool pending = READ_ONCE(failing);

	WRITE_ONCE(fail_after, nth);
	WRITE_ONCE(failing, nth ? current : NULL);
	return pending;
}

bool svmlab_fails(void)
{
	u32 after;

	if (likely(READ_ONCE(failing) != current))
		return false;
	after = READ_ONCE(fail_after) - 1;
	WRITE_ONCE(fail_after, after);
	if (after)
		return false;
	WRITE_ONCE(failing, NULL);
	return true;
}

/* ---- memory of the running task ---- */

u64 svmlab_c_map(u64 addr, u64 size, bool write)
{
	unsigned long at = vm_mmap(NULL, addr, size, PROT_READ | (write ? PROT_WRITE : 0),
				   MAP_PRIVATE | MAP_ANONYMOUS | (addr ? MAP_FIXED : 0), 0);

	return IS_ERR_VALUE(at) ? 0 : at;
}

bool svmlab_c_unmap(u64 addr, u64 size)
{
	return !vm_munmap(addr, size);
}

bool svmlab_c_poke(u64 addr, u64 value)
{
	return !put_user(value, (u64 __user *)(uintptr_t)addr);
}

u64 svmlab_c_peek_frame(u64 pfn)
{
	u64 *page = kmap_local_page(pfn_to_page(pfn));
	u64 value = READ_ONCE(*page);

	kunmap_local(page);
	return value;
}

struct mm_struct *svmlab_c_current_mm(void)
{
	return current->mm;
}

/* mm_users and mm_count, and where the stack was when the program began */
void svmlab_c_mm_facts(struct mm_struct *mm, u64 facts[3])
{
	facts[0] = atomic_read(&mm->mm_users);
	facts[1] = atomic_read(&mm->mm_count);
	facts[2] = READ_ONCE(mm->start_stack);
}

/* ---- the files ---- */

static int list_show(struct seq_file *file, void *unused)
{
	bool plants = file->private;
	const char *name;
	size_t len;
	u32 number;

	for (number = 0; (name = svmlab_rs_selftest_name(plants, number, &len)); number++)
		seq_printf(file, "%.*s\n", (int)len, name);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(list);

static ssize_t run_write(struct file *file, const char __user *buf, size_t size, loff_t *pos)
{
	bool plants = file_inode(file)->i_private;
	char *text = simple_transaction_get(file, buf, size);
	const char *name, *wanted;
	size_t len;
	u32 number;

	if (IS_ERR(text))
		return PTR_ERR(text);
	wanted = strim(text);
	for (number = 0; (name = svmlab_rs_selftest_name(plants, number, &len)); number++) {
		if (strlen(wanted) != len || memcmp(wanted, name, len))
			continue;
		simple_transaction_set(file, svmlab_rs_selftest(plants, number, text, SIMPLE_TRANSACTION_LIMIT));
		return size;
	}
	return -ENOENT;
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.write = run_write,
	.read = simple_transaction_read,
	.release = simple_transaction_release,
	.llseek = default_llseek,
};

static struct dentry *folder;

void svmlab_selftest_init(void)
{
	folder = debugfs_create_dir("svmlab", NULL);
	debugfs_create_file("selftests", 0400, folder, (void *)false, &list_fops);
	debugfs_create_file("selftest", 0600, folder, (void *)false, &run_fops);
	debugfs_create_file("plants", 0400, folder, (void *)true, &list_fops);
	debugfs_create_file("plant", 0600, folder, (void *)true, &run_fops);
}

void svmlab_selftest_exit(void)
{
	debugfs_remove(folder);
}
