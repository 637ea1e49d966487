/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * User interface of svmlab: a DRM render node (/dev/dri/renderD*) whose GPU is software.
 *
 * One open file is one VM on one GPU, as in amdgpu. A process that wants several GPUs opens the node several times and
 * gives each file another number. A file starts as a graphics VM; SVMLAB_CREATE makes it a compute VM with an SVM
 * instance that mirrors the caller's address space.
 *
 * DRM_IOCTL_AMDGPU_GEM_SVM has the number and the layout of the posted amdgpu series. Everything else is the lab's own,
 * from DRM_SVMLAB_BASE up. What an ioctl returns in errno:
 *
 *	EOPNOTSUPP	SVM without an instance; a design that refuses the GPU; VRAM
 *	ENXIO		a lab ioctl that needs a VM, before CREATE
 *	EBUSY		CREATE: the file has a VM, or the process a GPU of that number
 *	EINVAL		a reserved field that is not 0, an unknown flag or value, a size or alignment that cannot be
 *	E2BIG		an array of more elements than the limits below
 *	EFAULT		a pointer that leads nowhere
 *	EINTR		killed while it waited
 *	ETIME		SETTLE: it does not come to rest
 *
 * Pads and reserved fields must be 0. All integers are in the byte order of the machine, all addresses and sizes in bytes.
 */
#ifndef SVMLAB_DRM_H
#define SVMLAB_DRM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* DRM_IOWR(DRM_COMMAND_BASE + nr, type), without a header of DRM's that not every system has. */
#define SVMLAB_IOWR(nr, type)	_IOWR('d', 0x40 + (nr), type)

/* ------------------------------------------------------------------ amdgpu's */

#define DRM_AMDGPU_GEM_SVM	0x1a

struct drm_amdgpu_svm_attribute {
	__u32 type;
	__u32 value;
};

struct drm_amdgpu_gem_svm {
	__u64 start_addr;
	__u64 size;
	__u32 operation;	/* AMDGPU_SVM_OP_* */
	__u32 nattr;
	__u64 attrs_ptr;	/* struct drm_amdgpu_svm_attribute[nattr] */
};

#define AMDGPU_SVM_OP_SET_ATTR		0
#define AMDGPU_SVM_OP_GET_ATTR		1
#define AMDGPU_SVM_OP_RESET_ATTR	2	/* poc-v8 */

/* ------------------------------------------------------------------ the lab's */

#define DRM_SVMLAB_BASE		0x40
#define DRM_SVMLAB_CREATE	(DRM_SVMLAB_BASE + 0x00)
#define DRM_SVMLAB_CLOSE	(DRM_SVMLAB_BASE + 0x01)
#define DRM_SVMLAB_ACCESS	(DRM_SVMLAB_BASE + 0x02)
#define DRM_SVMLAB_SETTLE	(DRM_SVMLAB_BASE + 0x03)
#define DRM_SVMLAB_STATE	(DRM_SVMLAB_BASE + 0x04)
#define DRM_SVMLAB_RANGES	(DRM_SVMLAB_BASE + 0x05)
#define DRM_SVMLAB_NODES	(DRM_SVMLAB_BASE + 0x06)
#define DRM_SVMLAB_MAPPED	(DRM_SVMLAB_BASE + 0x07)
#define DRM_SVMLAB_HARDWARE	(DRM_SVMLAB_BASE + 0x08)
#define DRM_SVMLAB_LOG		(DRM_SVMLAB_BASE + 0x09)
#define DRM_SVMLAB_GATE		(DRM_SVMLAB_BASE + 0x0a)

/* Which driver. */
#define SVMLAB_DESIGN_POC_V1	0
#define SVMLAB_DESIGN_HARDENED	1
#define SVMLAB_DESIGN_POC_V8	2

/* Which drm_gpusvm is under it. */
#define SVMLAB_FRAMEWORK_PORT	0	/* ours, on interval notifiers */
#define SVMLAB_FRAMEWORK_KERNEL	1	/* the kernel's */

#define SVMLAB_MAX_GPUS		8	/* of one process */

/* svmlab_create.flags: what the GPU is, and what the module was built with. */
#define SVMLAB_GPU_APU			(1u << 0)
#define SVMLAB_GPU_MULTI_NODE		(1u << 1)	/* several NUMA nodes */
#define SVMLAB_GPU_NORETRY		(1u << 2)	/* amdgpu.noretry=1 */
#define SVMLAB_GPU_SRIOV_WITHOUT_XNACK	(1u << 3)
#define SVMLAB_GPU_RETRY_CAM		(1u << 4)
#define SVMLAB_WITHOUT_SVM		(1u << 5)	/* CONFIG_DRM_AMDGPU_SVM=n */

#define SVMLAB_GC(major, minor, rev)	((major) << 16 | (minor) << 8 | (rev))

/*
 * Makes the file's VM a compute VM (amdgpu_vm_init, amdgpu_vm_make_compute) that mirrors the caller's address space.
 * poc-v8 makes its instance in the first DRM_AMDGPU_GEM_SVM instead, and what is wrong with it is said there.
 */
struct svmlab_create {
	__u32 design;
	__u32 framework;
	__s32 xnack;		/* 0 off, 1 on, -1 as the design decides */
	__u32 gpu;		/* number, below SVMLAB_MAX_GPUS */
	__u32 gc;		/* SVMLAB_GC() */
	__u32 flags;
	__u32 mtype_local;	/* module parameter: 1 NC, 2 CC, else RW */
	__s32 granularity;	/* log2 pages; -1: the module parameter's default, 9 */
	__u64 max_pfn;		/* pages of GPU address space; 0: 2^36 */
	__u64 notifier_size;	/* a power of two of 4 KiB at least; 0: 512 MiB */
	__u64 chunk_sizes;	/* OR of up to eight powers of two, 4 KiB among them; 0: 2 MiB, 64 KiB, 4 KiB */
	__u64 vram_size;	/* 0: none */
	__u64 retry_clock;	/* what the 48-bit fault clock says at the start */
	__u64 reserved;
};

/* svmlab_close.what */
#define SVMLAB_CLOSE	0	/* amdgpu_svm_close: no new work, waits for the workers */
#define SVMLAB_FINI	1	/* amdgpu_vm_fini: closes, takes SVM down, gives the PASID back */

/* The hooks of a file that goes, without closing it. The file's release does what is left. */
struct svmlab_close {
	__u32 what;
	__u32 pad;
};

/* svmlab_access.op */
#define SVMLAB_LOAD	0
#define SVMLAB_STORE	1
#define SVMLAB_ADD	2	/* atomic */

/* svmlab_access.outcome */
#define SVMLAB_DONE		0
#define SVMLAB_FAULT_INVALID	1	/* no valid entry */
#define SVMLAB_FAULT_READ	2	/* entry not readable */
#define SVMLAB_FAULT_WRITE	3	/* entry not writeable */
#define SVMLAB_FAULT_NORETRY	4	/* the entry that ends retry faults */
#define SVMLAB_QUEUE_GONE	5	/* the queue was destroyed */
#define SVMLAB_TIMEOUT_STOPPED	6	/* the queues were stopped all the time */
#define SVMLAB_TIMEOUT_RETRY	7	/* retry faults were not answered, or answered without effect */
#define SVMLAB_NOT_TRIED	8	/* one before it was not SVMLAB_DONE, and SVMLAB_ACCESS_STOP said to end there */
#define SVMLAB_BUS_ERROR	9	/* the entry names no memory */

/* One access of a wave to a 64-bit word. */
struct svmlab_access {
	__u64 addr;		/* multiple of 8 */
	__u64 value;		/* in: stored or added; out, when SVMLAB_DONE: the word read, stored, or the sum */
	__u32 op;
	__u32 outcome;		/* out */
};

#define SVMLAB_MAX_ACCESSES	1024
#define SVMLAB_MAX_TIMEOUT_MS	60000

/* svmlab_accesses.flags */
#define SVMLAB_ACCESS_STOP	(1u << 0)

/* A wave: accesses one after the other. The ioctl is 0 also when accesses fault; see the outcomes. */
struct svmlab_accesses {
	__u64 accesses_ptr;	/* struct svmlab_access[count] */
	__u32 count;
	__u32 timeout_ms;	/* for each access; 0: 10000 */
	__u32 flags;
	__u32 done;		/* out: how many are SVMLAB_DONE */
};

/* Runs workers, delayed ones at once, and the fault handler, until nothing of this VM is queued or running. */
struct svmlab_settle {
	__u32 timeout_ms;	/* 0: 10000 */
	__u32 rounds;		/* out: how often something was left to do */
};

/* svmlab_state.flags */
#define SVMLAB_STATE_RUNNING		(1u << 0)	/* the queues are mapped */
#define SVMLAB_STATE_DESTROYED		(1u << 1)	/* the queues are gone */
#define SVMLAB_STATE_COMPUTE		(1u << 2)	/* the VM is a compute VM */
#define SVMLAB_STATE_INSTANCE		(1u << 3)	/* it has an SVM instance; what follows is its */
#define SVMLAB_STATE_STOPPED_BY_US	(1u << 4)	/* it believes that it has stopped the queues */
#define SVMLAB_STATE_EXITING		(1u << 5)	/* close has begun */
#define SVMLAB_STATE_PENDING		(1u << 6)	/* ranges wait for a worker */
#define SVMLAB_STATE_XNACK		(1u << 7)	/* GPU faults are retried */
#define SVMLAB_STATE_XNACK_DETECTED	(1u << 8)	/* the hardware would */
#define SVMLAB_STATE_GPU_ONLY		(1u << 31)	/* in: what the GPU knows, whoever holds the driver's locks */

struct svmlab_state {
	__u32 flags;
	__u32 quiesced;		/* how many quiesces are not undone (qpd->evicted) */
	__u64 evicted_ranges;	/* poc-v1: notifier callbacks since the last resume */
	__u64 references;	/* of the instance */
	__u64 ranges;		/* how many there are */
	__u64 faults_pending;	/* retry faults in the rings */
	__u64 tlb_entries;	/* cached translations, a huge one counted once */
	__u64 mapped;		/* pages with a valid entry in the page table */
	__u64 dma_live;		/* DMA mappings not taken back; 0 on SVMLAB_FRAMEWORK_KERNEL, which makes them itself */
	/* since CREATE */
	__u64 pte_writes;	/* updates that wrote entries */
	__u64 pages_written;	/* pages that those covered */
	__u64 pte_clears;	/* updates that cleared entries */
	__u64 tlb_flushes;	/* those left out not counted */
	__u64 dma_maps;
	__u64 dma_unmaps;
	__u64 pages_copied;
	__u64 quiesces;		/* asked for by this GPU's driver */
	__u64 resumes;
	__u64 accesses;		/* SVMLAB_DONE */
	__u64 faults;		/* accesses refused for good */
	__u64 retry_faults;	/* raised */
	__u64 reserved[2];
};

/* svmlab_range.flags */
#define SVMLAB_RANGE_GPU_MAPPED		(1u << 0)	/* the driver believes that it is on the GPU */
#define SVMLAB_RANGE_IN_QUEUE		(1u << 1)	/* a worker's queue holds a reference */
#define SVMLAB_RANGE_MIGRATE_DEVMEM	(1u << 2)
#define SVMLAB_RANGE_UNMAPPED		(1u << 3)
#define SVMLAB_RANGE_PARTIAL_UNMAP	(1u << 4)
#define SVMLAB_RANGE_HAS_DEVMEM		(1u << 5)
#define SVMLAB_RANGE_HAS_DMA		(1u << 6)

struct svmlab_range {
	__u64 start;
	__u64 end;		/* exclusive */
	__u64 pte_flags;	/* last programmed */
	__u32 attr_flags;	/* at that time */
	__u32 flags;
	__u64 references;	/* the tree's included */
};

/* The VM's ranges in address order. At rest only: after SETTLE, while nobody else is in a call. */
struct svmlab_ranges {
	__u64 ranges_ptr;	/* struct svmlab_range[count] */
	__u32 count;		/* in: room; out: how many there are, of which the first so many are filled in */
	__u32 pad;
};

#define SVMLAB_MAX_RANGES	65536

/* A stored attribute node: pages are inclusive numbers. */
struct svmlab_node {
	__u64 first;
	__u64 last;
	__s32 preferred_loc;
	__s32 prefetch_loc;
	__u32 flags;
	__u32 granularity;
	__u32 access;		/* 0 none, 1 enable, 2 in place */
	__u32 pad;
};

/* The attribute nodes in address order. At rest only. */
struct svmlab_nodes {
	__u64 nodes_ptr;	/* struct svmlab_node[count] */
	__u32 count;		/* as in svmlab_ranges */
	__u32 pad;
};

/* svmlab_page.flags */
#define SVMLAB_PAGE_VALID	(1u << 0)	/* the page table has a valid entry */
#define SVMLAB_PAGE_HUGE	(1u << 1)	/* and it is part of a 2 MiB leaf */
#define SVMLAB_PAGE_NORETRY	(1u << 2)	/* the entry that ends retry faults */
#define SVMLAB_PAGE_SAME	(1u << 3)	/* VALID, and the entry's page is the one the CPU page table has */
#define SVMLAB_PAGE_CACHED	(1u << 4)	/* the TLB has an entry */
#define SVMLAB_PAGE_CACHED_SAME	(1u << 5)	/* CACHED, and that entry's page is the one the CPU page table has */
#define SVMLAB_PAGE_CPU		(1u << 6)	/* the CPU page table has a page */
#define SVMLAB_PAGE_CPU_WRITE	(1u << 7)	/* and the CPU may write without a fault */

struct svmlab_page {
	__u64 pte_flags;	/* of the page table's entry, rights and memory type */
	__u64 cached_flags;	/* of the TLB's entry */
	__u32 flags;
	__u32 pad;
};

/* The GPU's page table and TLB, and the CPU's page table, page by page. Faults nothing in. */
struct svmlab_mapped {
	__u64 start;		/* multiple of 4 KiB */
	__u64 pages_ptr;	/* struct svmlab_page[count] */
	__u32 count;		/* pages, at most SVMLAB_MAX_PAGES */
	__u32 valid;		/* out: how many are SVMLAB_PAGE_VALID */
};

#define SVMLAB_MAX_PAGES	16384

/* svmlab_hardware.what: things that happen to a GPU. */
#define SVMLAB_HW_FAIL			0	/* the next time, point fails with error */
#define SVMLAB_HW_SKIP_TLB_FLUSH	1	/* the next value flushes are left out: a planted bug */
#define SVMLAB_HW_EVICT_PAGE_TABLES	2	/* updates get EBUSY ... */
#define SVMLAB_HW_VALIDATE		3	/* ... until now */
#define SVMLAB_HW_UNPLUG		4	/* updates get ENODEV */
#define SVMLAB_HW_RESET			5	/* value 1: a reset begins, 0: it is over; as retry faults can tell */
#define SVMLAB_HW_QUIESCE		6	/* somebody else stops the process's queues ... */
#define SVMLAB_HW_RESUME		7	/* ... and undoes one such stop. EINVAL below zero */
#define SVMLAB_HW_FLUSH_TLB		8	/* whether one is due or not */
/*
 * Not the GPU's: the value-th allocation that the module makes for the calling task fails; 0: none does after all, EBUSY
 * when one was still to come. EOPNOTSUPP in a module that is not for the laboratory.
 */
#define SVMLAB_HW_FAIL_ALLOCATION	9

/* svmlab_hardware.point */
#define SVMLAB_POINT_RESERVE_ROOT	0
#define SVMLAB_POINT_TABLE_ALLOC	1
#define SVMLAB_POINT_DMA_MAP		2	/* EOPNOTSUPP on SVMLAB_FRAMEWORK_KERNEL, which does that itself */
#define SVMLAB_POINT_UNMAP_QUEUES	3	/* the outermost quiesce; EIO: a hang, which counts as stopped */
#define SVMLAB_POINT_MAP_QUEUES		4	/* the outermost resume: they stay stopped */

struct svmlab_hardware {
	__u32 what;
	__u32 point;
	__u32 error;		/* an errno, positive */
	__u32 value;
};

/* svmlab_log.flags */
#define SVMLAB_LOG_ON	(1u << 0)	/* from now on */
#define SVMLAB_LOG_OFF	(1u << 1)
#define SVMLAB_LOG_DRAIN	(1u << 2)	/* copies and forgets what is there, as much as fits */

/* The module's event log: lines of text, "seconds task: what". Of all VMs; needs no CREATE. */
struct svmlab_log {
	__u64 text_ptr;
	__u32 size;		/* in: room, at most SVMLAB_MAX_LOG; out: bytes copied */
	__u32 flags;
	__u64 lost;		/* out: lines that found no room since the last drain */
};

#define SVMLAB_MAX_LOG	(1u << 20)

/* svmlab_gate.what */
#define SVMLAB_GATE_ARM		0	/* steps_ptr, count, timeout_ms: from now on this is the script */
#define SVMLAB_GATE_ENTER	1	/* the calling thread is actor */
#define SVMLAB_GATE_POINT	2	/* actor is at place, and is held until it is its turn */
#define SVMLAB_GATE_LEAVE	3	/* actor does nothing any more */
#define SVMLAB_GATE_DISARM	4	/* everybody goes on */
#define SVMLAB_GATE_STATE	5

#define SVMLAB_GATE_ACTORS	16
#define SVMLAB_GATE_STEPS	65536
#define SVMLAB_GATE_TIMEOUT_MS	10000
#define SVMLAB_GATE_ANYWHERE	0	/* a place: wherever the actor comes next, once this is its next step */

/* An actor at a place: a hash of what names it (a line of the driver, a work item's begin, an operation of a thread). */
struct svmlab_gate_step {
	__u64 place;
	__u32 actor;
	__u32 pad;
};

/*
 * Who must have done what before whom. Of the module, not of the file; ARM replaces the script that was. A wait that lasts
 * longer than timeout_ms ends, disarms the script, and is told here.
 */
struct svmlab_gate {
	__u32 what;
	__u32 actor;
	__u64 place;
	__u64 steps_ptr;	/* struct svmlab_gate_step[count] */
	__u32 count;
	__u32 timeout_ms;
	/* out, of the script that was armed last */
	__u32 passed;		/* steps done */
	__u32 held;		/* of these, how many had to wait */
	__u32 skipped;		/* steps whose place was not met */
	__u32 late;		/* 1: a wait had no end of its own ... */
	__u32 late_step;	/* ... for the turn of this step */
	__u32 pad;
};

#define DRM_IOCTL_AMDGPU_GEM_SVM \
	SVMLAB_IOWR(DRM_AMDGPU_GEM_SVM, struct drm_amdgpu_gem_svm)
#define DRM_IOCTL_SVMLAB_CREATE \
	SVMLAB_IOWR(DRM_SVMLAB_CREATE, struct svmlab_create)
#define DRM_IOCTL_SVMLAB_CLOSE \
	SVMLAB_IOWR(DRM_SVMLAB_CLOSE, struct svmlab_close)
#define DRM_IOCTL_SVMLAB_ACCESS \
	SVMLAB_IOWR(DRM_SVMLAB_ACCESS, struct svmlab_accesses)
#define DRM_IOCTL_SVMLAB_SETTLE \
	SVMLAB_IOWR(DRM_SVMLAB_SETTLE, struct svmlab_settle)
#define DRM_IOCTL_SVMLAB_STATE \
	SVMLAB_IOWR(DRM_SVMLAB_STATE, struct svmlab_state)
#define DRM_IOCTL_SVMLAB_RANGES \
	SVMLAB_IOWR(DRM_SVMLAB_RANGES, struct svmlab_ranges)
#define DRM_IOCTL_SVMLAB_NODES \
	SVMLAB_IOWR(DRM_SVMLAB_NODES, struct svmlab_nodes)
#define DRM_IOCTL_SVMLAB_MAPPED \
	SVMLAB_IOWR(DRM_SVMLAB_MAPPED, struct svmlab_mapped)
#define DRM_IOCTL_SVMLAB_HARDWARE \
	SVMLAB_IOWR(DRM_SVMLAB_HARDWARE, struct svmlab_hardware)
#define DRM_IOCTL_SVMLAB_LOG \
	SVMLAB_IOWR(DRM_SVMLAB_LOG, struct svmlab_log)
#define DRM_IOCTL_SVMLAB_GATE \
	SVMLAB_IOWR(DRM_SVMLAB_GATE, struct svmlab_gate)

#endif
