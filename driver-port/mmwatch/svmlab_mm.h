/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * /dev/svmlab_mm: watch what an address space tells its mmu notifiers, and look at its page tables.
 *
 * One open file watches one address space: that of the process which called SVMLAB_MM_WATCH. The file may be used by
 * another process afterwards, so that a parent can read what its child's exit sent. All structs are the same on
 * 32 and 64 bits; addresses are bytes, ranges half open.
 */
#ifndef SVMLAB_MM_H
#define SVMLAB_MM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* What an entry of the log is. */
enum svmlab_mm_what {
	SVMLAB_MM_INVALIDATE = 0,	/* the interval notifier's callback, inside invalidate_range_start */
	SVMLAB_MM_START = 1,		/* a classic notifier's invalidate_range_start, after the interval notifiers */
	SVMLAB_MM_END = 2,		/* its invalidate_range_end */
	SVMLAB_MM_RELEASE = 3,		/* its release */
};

/* How mmap_lock was held at that moment, by whomever. */
enum svmlab_mm_lock {
	SVMLAB_MM_UNLOCKED = 0,
	SVMLAB_MM_READ = 1,
	SVMLAB_MM_WRITE = 2,
};

struct svmlab_mm_event {
	__u8 what;		/* enum svmlab_mm_what */
	__u8 event;		/* enum mmu_notifier_event of the kernel that runs */
	__u8 blockable;
	__u8 mmap_lock;		/* enum svmlab_mm_lock */
	__u8 other_task;	/* 1: sent by a thread that is not of the watched address space */
	__u8 depth;		/* starts without an end before this one */
	__u16 vmas;		/* VMAs of the window then; they begin at first_vma of the array beside */
	__u32 first_vma;
	__u32 present;		/* pages of event and window that are mapped at this moment */
	__u64 start, end;
	__u64 seq;		/* SVMLAB_MM_INVALIDATE: what the callback gives to mmu_interval_set_seq */
	__u64 owner;		/* meaningful for MIGRATE and EXCLUSIVE */
};

struct svmlab_mm_vma {
	__u64 start, end;
	__u64 flags;		/* vm_flags */
	__u64 pgoff;
	__u32 detached;		/* reserved, 0 */
	__u32 file;		/* 1: has a file */
	__u64 anon_vma;		/* which: 0 for none, else a number that is the same for the same one */
};

enum svmlab_mm_kind {
	SVMLAB_MM_NONE = 0,
	SVMLAB_MM_PRESENT = 1,
	SVMLAB_MM_PROTNONE = 2,		/* present for the kernel, every access faults */
	SVMLAB_MM_SWAP = 3,
	SVMLAB_MM_MIGRATION = 4,
	SVMLAB_MM_DEVICE_PRIVATE = 5,
	SVMLAB_MM_DEVICE_EXCLUSIVE = 6,
	SVMLAB_MM_HWPOISON = 7,
	SVMLAB_MM_GUARD = 8,
	SVMLAB_MM_MARKER = 9,		/* another marker: userfaultfd write protection, poison */
	SVMLAB_MM_OTHER = 10,
};

#define SVMLAB_MM_F_WRITE	(1 << 0)
#define SVMLAB_MM_F_DIRTY	(1 << 1)
#define SVMLAB_MM_F_YOUNG	(1 << 2)
#define SVMLAB_MM_F_HUGE	(1 << 3)	/* a leaf of 2 MiB */
#define SVMLAB_MM_F_ZERO	(1 << 4)	/* a shared zero page, small or huge */
#define SVMLAB_MM_F_UFFD_WP	(1 << 5)
#define SVMLAB_MM_F_ANON	(1 << 6)
#define SVMLAB_MM_F_EXCLUSIVE	(1 << 7)	/* PageAnonExclusive */
#define SVMLAB_MM_F_SWAPCACHE	(1 << 8)
#define SVMLAB_MM_F_LARGE	(1 << 9)	/* part of a large folio */
#define SVMLAB_MM_F_SWAPBACKED	(1 << 10)	/* clear for a page that MADV_FREE gave up */

/* A run of pages that follow each other in everything: entries of one kind, frame numbers in a row, the same word. */
struct svmlab_mm_pages {
	__u64 start;		/* address */
	__u32 count;		/* pages */
	__u16 kind;		/* enum svmlab_mm_kind */
	__u16 flags;
	__u64 pfn;		/* of the first; swap: the entry; 0 for none */
	__u64 word;		/* the first word of each page that is mapped */
	__u32 mapcount;		/* of the first page's folio */
	__u32 reserved;
};

struct svmlab_mm_watch {
	__u64 start, end;	/* the window; both notifiers report what overlaps it */
};

struct svmlab_mm_events {
	__u64 events;		/* struct svmlab_mm_event[] */
	__u64 vmas;		/* struct svmlab_mm_vma[] */
	__u32 nr_events;	/* in: room; out: how many; ENOSPC and nothing taken when they do not fit */
	__u32 nr_vmas;
	__u32 lost;		/* out: did not fit into the log since the last call */
	__u32 seq_odd;		/* out: an invalidation runs now */
};

/* What there is now in a range: ENOSPC when it does not fit. */
struct svmlab_mm_dump {
	__u64 start, end;
	__u64 to;		/* struct svmlab_mm_vma[] or svmlab_mm_pages[]; nothing is reported for empty entries */
	__u32 room;		/* of them */
	__u32 found;		/* out: how many there are */
};

/* hmm_range_fault over a range that lies in the window, as a driver calls it: sequence, mmap_lock, retry. */
struct svmlab_mm_fault {
	__u64 start, end;
	__u64 pfns;		/* __u64[]: bit 63 valid, 62 write, 61 error, 48..52 order, low bits the frame */
	__u32 request;		/* 0 look only, 1 read, 2 write */
	__u32 tries;		/* out: calls of hmm_range_fault */
};

#define SVMLAB_MM_PFN_VALID	(1ULL << 63)
#define SVMLAB_MM_PFN_WRITE	(1ULL << 62)
#define SVMLAB_MM_PFN_ERROR	(1ULL << 61)
#define SVMLAB_MM_PFN_ORDER	48
#define SVMLAB_MM_PFN_FRAME	((1ULL << 48) - 1)

/* make_device_exclusive on one page; the entry stays until the CPU touches it. */
struct svmlab_mm_exclusive {
	__u64 addr;
};

#define SVMLAB_MM_IOC 'M'
#define SVMLAB_MM_WATCH		_IOW(SVMLAB_MM_IOC, 0xe0, struct svmlab_mm_watch)
#define SVMLAB_MM_EVENTS	_IOWR(SVMLAB_MM_IOC, 0xe1, struct svmlab_mm_events)
#define SVMLAB_MM_VMAS		_IOWR(SVMLAB_MM_IOC, 0xe2, struct svmlab_mm_dump)
#define SVMLAB_MM_FAULT		_IOWR(SVMLAB_MM_IOC, 0xe3, struct svmlab_mm_fault)
#define SVMLAB_MM_EXCLUSIVE	_IOW(SVMLAB_MM_IOC, 0xe4, struct svmlab_mm_exclusive)
#define SVMLAB_MM_PAGES		_IOWR(SVMLAB_MM_IOC, 0xe6, struct svmlab_mm_dump)
/* Forgets the address space and the log, so that the file can watch another one. */
#define SVMLAB_MM_UNWATCH	_IO(SVMLAB_MM_IOC, 0xe5)

#endif
