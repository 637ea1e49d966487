// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The module: what is set up when it is loaded, in order, and taken down when it goes. */
#include <linux/module.h>
#include "shim.h"

static int __init svmlab_init(void)
{
	int err = svmlab_device_init();

	if (!err)
		svmlab_selftest_init();
	return err;
}
module_init(svmlab_init);

static void __exit svmlab_exit(void)
{
	svmlab_selftest_exit();
	svmlab_device_exit();
	svmlab_registry_exit();
#ifdef SVMLAB_LAB
	svmlab_gate_exit();
#endif
	svmlab_mem_exit();
	svmlab_log_exit();
}
module_exit(svmlab_exit);

MODULE_DESCRIPTION("GPU SVM driver logic in Rust, on a software GPU");
MODULE_LICENSE("Dual MIT/GPL");
