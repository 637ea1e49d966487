//! A made-up execution for the tests of this module: partial munmap against SET_ATTR.

use interleave::lab::{Invariant, Stamp, Violation};
use interleave::{Step, Timeline};

pub(super) fn step(stamp: u32, actor: usize, op: &str, held: &[&str], notes: &[&str]) -> Step {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    Step {
        stamp: Stamp(stamp),
        actor,
        op: op.to_owned(),
        object: String::new(),
        file: "model/src/amdgpu/map.rs",
        line: 100 + stamp,
        held: owned(held),
        notes: owned(notes),
        switch: false,
    }
}

pub(super) fn timeline_of(actors: &[&str], steps: Vec<Step>) -> Timeline {
    let actors = actors.iter().map(ToString::to_string).collect();
    Timeline { actors, steps, marks: Vec::new(), violation: None, event_hash: 0x1234 }
}

pub(super) fn timeline() -> Timeline {
    const SVM: &str = "svm_lock(w)";
    const MM: &str = "mmap_lock(w)";
    const NL: &str = "notifier_lock(w)";
    let rows: &[(usize, &str, &[&str], &[&str])] = &[
        (0, "begin", &[], &["SET_ATTR [0x200000, 0x400000) ACCESS"]),
        (
            0,
            "mutex_lock attr_tree.lock",
            &["attr_tree.lock"],
            &[
                "attr tree: pages 0x200-0x3ff -> access=ENABLE flags=HOST_ACCESS|COHERENT",
                "copied attrs; attr_tree.lock dropped",
            ],
        ),
        (0, "queue for down_write svm_lock", &[], &[]),
        (0, "down_write svm_lock", &[SVM], &[]),
        (0, "down_read mmap_lock", &[SVM, "mmap_lock(r)"], &[]),
        (0, "look at page table 0x200-0x3ff", &[SVM, "mmap_lock(r)"], &[]),
        (0, "look at page table 0x200-0x3ff", &[SVM, "mmap_lock(r)"], &[]),
        (0, "down_read notifier_lock", &[SVM, "notifier_lock(r)"], &[]),
        (1, "down_write mmap_lock", &[MM], &["munmap [0x300000, 0x301000)"]),
        (1, "down_write notifier_lock", &[MM, NL], &[]),
        (
            1,
            "change gpu_pt 0x300",
            &[MM, NL],
            &["UNMAP [0x300000, 0x301000) hits range [0x200000, 0x400000): PTEs of [0x300000, 0x301000) cleared, \
               DMA of the whole range unmapped"],
        ),
        (1, "spin_lock gc_lock", &[MM, NL, "gc_lock"], &["range enqueued for GC, hull 0x300-0x300"]),
        (2, "gc_work starts", &[], &[]),
        (2, "queue for down_write svm_lock", &[], &[]),
        (
            0,
            "change gpu_pt 0x200-0x3ff",
            &[SVM, "notifier_lock(r)"],
            &["range [0x200000, 0x400000): PTEs written rw, gpu_mapped"],
        ),
        (4, "look at gpu_pt 0x300", &[], &[]),
        (3, "restore_work starts", &[], &["nothing to restore"]),
        (4, "look at frames 0x17", &[], &["the wave reads 0x300000 through the entry of frame 0x17"]),
    ];
    let steps =
        rows.iter().zip(0..).map(|((actor, op, held, notes), stamp)| step(stamp, *actor, op, held, notes)).collect();
    let mut timeline = timeline_of(&["ioctl", "app", "gc_work", "restore_work", "wave"], steps);
    let what = "the wave reads frame 0x17 at 0x300000; the callback for [0x300000, 0x301000) has returned";
    timeline.violation = Some(Violation::new(Invariant::I1, what, Some(Stamp(10))));
    timeline
}
