// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Numbers of instances, which callbacks and work items carry in the place of a pointer. */
#include <linux/xarray.h>
#include "shim.h"

static DEFINE_XARRAY_ALLOC1(entries);

int svmlab_c_registry_add(void *entry)
{
	u32 id;
	int err = xa_alloc(&entries, &id, entry, XA_LIMIT(1, INT_MAX), GFP_KERNEL);

	return err ?: id;
}

void *svmlab_c_registry_find(u32 id)
{
	return xa_load(&entries, id);
}

void svmlab_c_registry_remove(u32 id)
{
	xa_erase(&entries, id);
}

void svmlab_registry_exit(void)
{
	WARN_ON(!xa_empty(&entries));
	xa_destroy(&entries);
}
