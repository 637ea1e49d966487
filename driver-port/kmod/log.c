// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The event log: the newest lines in a ring. And what Rust has to say in the kernel's log. */
#include <linux/bug.h>
#include <linux/cleanup.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "shim.h"

#define LINES 8192

static struct svmlab_log_line *ring;
static u64 next_number;
/* Raw: a line may be written under any lock. */
static DEFINE_RAW_SPINLOCK(ring_lock);
static DEFINE_MUTEX(switch_lock);

void svmlab_c_log(const char *text, size_t len)
{
	struct svmlab_log_line *line;

	guard(raw_spinlock_irqsave)(&ring_lock);
	if (!ring)
		return;
	line = &ring[next_number % LINES];
	line->number = next_number++;
	line->time_ns = ktime_get_ns();
	line->task = task_pid_nr(current);
	line->len = min_t(size_t, len, sizeof(line->text));
	memcpy(line->text, text, line->len);
}

bool svmlab_log_read(u64 number, struct svmlab_log_line *line)
{
	guard(raw_spinlock_irqsave)(&ring_lock);
	if (!ring || number >= next_number)
		return false;
	if (next_number > LINES)
		number = max(number, next_number - LINES);
	*line = ring[number % LINES];
	return true;
}

void svmlab_log_switch(bool on)
{
	guard(mutex)(&switch_lock);
	if (on && !ring) {
		struct svmlab_log_line *memory = vcalloc(LINES, sizeof(*ring));

		if (!memory) {
			pr_warn("svmlab: no memory for the event log\n");
			return;
		}
		scoped_guard(raw_spinlock_irqsave, &ring_lock)
			ring = memory;
	}
	svmlab_rs_log_switch(on);
}

void svmlab_log_exit(void)
{
	vfree(ring);
}

static int log_set(const char *val, const struct kernel_param *kp)
{
	bool on;
	int err = kstrtobool(val, &on);

	if (!err)
		svmlab_log_switch(on);
	return err;
}

static const struct kernel_param_ops log_ops = {
	.set = log_set,
};
module_param_cb(log, &log_ops, NULL, 0200);
MODULE_PARM_DESC(log, "Write down what the driver decides");

void svmlab_c_warn(const char *text, size_t len, const struct svmlab_place *place)
{
	WARN(1, "svmlab: %.*s, at %.*s:%u\n", (int)len, text, (int)place->file_len, place->file, place->line);
}

void __noreturn svmlab_c_panic(const char *text, size_t len, const struct svmlab_place *place)
{
	pr_emerg("svmlab: panic: %.*s, at %.*s:%u\n", (int)len, text, (int)place->file_len, place->file, place->line);
	BUG();
}
