// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Where an actor is held. */
#include "shim.h"

void svmlab_c_gate(u32 kind, const struct svmlab_place *place)
{
}
