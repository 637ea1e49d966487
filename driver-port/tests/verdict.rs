//! What `vm/lib/verdict.sh` makes of a kernel log: any report is trouble, except the one of the kernel's own that is known
//! by all of its marks.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A report as Linux 7.2 with lockdep made it.
const HUGETLB: &str = include_str!("logs/hugetlb.log");

/// What a kernel log comes to: the lines that tell of trouble, and the reports that are known.
fn verdict(name: &str, log: &str) -> (Vec<String>, Vec<String>) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
    fs::write(&file, log).expect("the folder is cargo's");
    let call = |function: &str| {
        let vm = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm");
        let script = format!(". \"$VM/lib/verdict.sh\"; {function} \"$LOG\" || true");
        let out = Command::new("bash").args(["-euc", &script]).env("VM", vm).env("LOG", &file).output();
        let out = out.expect("there is a bash");
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
    };
    (call("trouble"), call("known_reports"))
}

#[test]
fn the_report_of_hugetlb_memory_is_the_kernels_own() {
    let (trouble, known) = verdict("own", HUGETLB);
    assert_eq!(trouble, [""; 0]);
    assert!(known.len() == 1 && known[0].ends_with("takes the VMA's lock twice"), "{known:?}");
}

#[test]
fn what_comes_before_and_after_it_is_not() {
    let before = "[    1.0] WARNING: drivers/svmlab/a.c:7 at b+0x1/0x2\r\n";
    let after = "[   60.0] BUG: KASAN: slab-use-after-free in b+0x1/0x2 [svmlab]\r\n";
    let (trouble, known) = verdict("around", &format!("{before}{HUGETLB}{after}"));
    assert_eq!(trouble.len(), 2, "{trouble:?}");
    assert_eq!(known.len(), 1);
}

#[test]
fn nothing_that_lacks_a_mark_is_known() {
    let changes = [
        ("a lock of the driver in the cycle", "-> #1 (&resv_map->rw_sema)", "-> #1 (svm_lock)"),
        (
            "a lock of the driver is wanted",
            "(&hugetlb_fault_mutex_table[i]){+.+.}-{4:4}, at: huge",
            "(svm_lock), at: huge",
        ),
        ("somebody else holds it", "at: hugetlb_vma_lock_read+", "at: svmlab_c_lock+"),
        ("the driver on the way", "  hmm_vma_walk_hole+0x19b/0x3a0", "  svmlab_hole+0x19b/0x3a0 [svmlab]"),
        ("another way", "  hmm_vma_walk_hole+0x19b/0x3a0", "  hmm_vma_walk_pmd+0x19b/0x3a0"),
        ("another report in the middle", "stack backtrace:", "BUG: KASAN: slab-out-of-bounds in memcpy+0x1/0x2"),
        ("no end", "</TASK>", ""),
    ];
    for (number, (what, from, to)) in changes.into_iter().enumerate() {
        assert!(HUGETLB.contains(from), "{what}: the log has no {from}");
        let (trouble, known) = verdict(&format!("changed-{number}"), &HUGETLB.replace(from, to));
        assert!(known.is_empty() && !trouble.is_empty(), "{what}: {known:?} {trouble:?}");
    }
}

#[test]
fn a_log_without_a_report_is_clean() {
    let (trouble, known) = verdict("clean", "[    0.1] kasan: KernelAddressSanitizer initialized (generic)\r\n");
    assert_eq!((trouble, known), (Vec::new(), Vec::new()));
}
