/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef SVMLAB_GATE_H
#define SVMLAB_GATE_H

#include <linux/types.h>

struct svmlab_gate;

/* The GATE ioctl. */
int svmlab_gate_ioctl(struct svmlab_gate *gate);
/* Nobody uses gates any more. */
void svmlab_gate_exit(void);

/* What Rust calls while a script is armed. */
void svmlab_c_gate(u64 place);
void svmlab_c_gate_work(u64 place, bool begins);

/* Rust's switch: points cost one load as long as it is off. */
void svmlab_rs_gate_arm(bool on);

#endif
