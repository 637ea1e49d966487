//! One program for each operation that tells notifiers something, or that is known not to.
//!
//! A row says what the kernel's documented order of events is; the kernel is held to it, and the simulator to the kernel.

use super::compare::Referee;
use crate::suite::Checks;

/// An operation.
pub(crate) struct Row {
    /// What it is.
    pub(crate) operation: &'static str,
    /// The steps that lead to it.
    pub(crate) before: &'static str,
    /// It.
    pub(crate) step: &'static str,
    /// What the kernel tells then, in the form of [`told`](super::seen::told); alternatives are separated by " or ".
    pub(crate) told: &'static str,
    /// Why the simulator does not do the same.
    pub(crate) apart: Option<&'static str>,
}

const fn row(operation: &'static str, before: &'static str, step: &'static str, told: &'static str) -> Row {
    Row { operation, before, step, told, apart: None }
}

impl Row {
    /// The simulator differs, and why.
    const fn apart(self, why: &'static str) -> Row {
        Row { apart: Some(why), ..self }
    }
}

/// Eight pages of private memory, two of them with something in them.
const SMALL: &str = "mmap 0+8 rw anon; store 1 5; store 2 6";
/// A huge page.
const HUGE: &str = "mmap 512+512 rw anon; store 600 3";

const FILES_STAY: &str = "files stay: nothing truncates, holes, migrates, reclaims or collapses their pages";
const NO_GUARD: &str = "there are no guard markers";
const NO_ADVICE: &str = "this advice is not modelled";
const NO_EXCLUSIVE: &str = "there are no exclusive entries";
const NO_UFFD: &str = "there is no userfaultfd";

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    // ---- mappings go and come
    row("munmap", SMALL, "munmap 1+2", "UNMAP 1..3 R gone"),
    row("munmap over a gap", "mmap 0+2 rw anon; mmap 6+2 rw anon; store 0 1", "munmap 0+8", "UNMAP 0..8 R gone"),
    row("munmap of nothing", SMALL, "munmap 20+4", ""),
    row("mremap that shrinks in place", SMALL, "mremap 0+8 2", "UNMAP 2..8 R gone"),
    row("mmap over a mapping", SMALL, "mmap 1+2 rw anon", "UNMAP 1..3 W"),
    row("mmap where nothing is", SMALL, "mmap 8+8 rw anon", ""),
    row(
        "mremap to where something is",
        "mmap 100+4 rw anon; store 100 1; mmap 0+4 rw anon; store 0 1",
        "mremap 0+4 4 to 100",
        "UNMAP 100..104 W gone; UNMAP 0..4 W; UNMAP 0..4 W gone",
    ),
    row("mremap that moves", SMALL, "mremap 0+8 8 to 100", "UNMAP 0..8 W; UNMAP 0..8 W gone"),
    row("mremap that moves a part", SMALL, "mremap 1+4 4 to 100", "UNMAP 1..5 W; UNMAP 1..5 W gone"),
    row(
        "mremap that moves from the middle of a page table",
        "mmap 520+1016 rw anon; store 520 1; store 900 2",
        "mremap 520+1016 1016 to 1544",
        "UNMAP 512..1536 W; UNMAP 520..1536 W gone",
    ),
    row("mremap DONTUNMAP", SMALL, "mremap 0+8 8 to 100 dontunmap", "UNMAP 0..8 W"),
    row(
        "mremap DONTUNMAP of a part of locked memory",
        "mmap 0+8 rw anon; store 1 5; mlock 0+8",
        "mremap 2+4 4 to 100 dontunmap",
        "UNMAP 2..6 W",
    ),
    row("mremap that grows in place", SMALL, "mremap 0+8 16", ""),
    row(
        "mremap that moves a huge page",
        HUGE,
        "mremap 512+512 512 to 1536",
        "UNMAP 512..1024 W; UNMAP 512..1024 W gone",
    ),
    row(
        "mremap that moves a huge page to where none fits",
        HUGE,
        "mremap 512+512 512 to 1600",
        "UNMAP 512..1024 W; +CLEAR 512..1024 W; UNMAP 512..1024 W gone",
    ),
    // ---- protection
    row("mprotect to read only", SMALL, "mprotect 1+2 r", "PROTECTION_VMA 1..3 W"),
    row("mprotect to writable", "mmap 0+8 r anon; load 1", "mprotect 1+2 rw", "PROTECTION_VMA 1..3 W"),
    row("mprotect to nothing", SMALL, "mprotect 0+8 none", "PROTECTION_VMA 0..8 W"),
    row("mprotect to what it is", SMALL, "mprotect 0+8 rw", ""),
    row("mprotect of memory never touched", "mmap 0+8 rw anon", "mprotect 0+8 r", ""),
    row(
        "mprotect over two mappings",
        "mmap 0+4 rw anon; mmap 4+4 none anon; store 1 1",
        "mprotect 0+8 r",
        "PROTECTION_VMA 0..4 W; PROTECTION_VMA 4..8 W",
    ),
    row(
        "mprotect of GiBs that are not there",
        "mmap 261120+2048 rw anon; store 262200 1",
        "mprotect 261120+2048 r",
        "PROTECTION_VMA 262144..263168 W",
    ),
    // ---- huge entries are cut
    row("munmap inside a huge page", HUGE, "munmap 700+1", "CLEAR 512..1024 W; UNMAP 700..701 R gone"),
    row(
        "munmap where a huge page could be",
        "mmap 512+8 rw anon; store 514 3; mremap 512+8 512",
        "munmap 700+1",
        "CLEAR 512..1024 W; UNMAP 700..701 R gone",
    ),
    row(
        "munmap where a huge page could be, but nothing is",
        "mmap 0+8 rw anon; store 1 1; mmap 512+512 rw anon",
        "munmap 700+1",
        "CLEAR 512..1024 W; UNMAP 700..701 R gone",
    ),
    row("mprotect inside a huge page", HUGE, "mprotect 512+8 r", "CLEAR 512..1024 W; PROTECTION_VMA 512..520 W"),
    row("mlock inside a huge page", HUGE, "mlock 512+8", "CLEAR 512..1024 W"),
    // ---- madvise
    row("MADV_DONTNEED", SMALL, "madvise 1+4 dontneed", "CLEAR 1..5 -"),
    row(
        "MADV_DONTNEED over two mappings",
        "mmap 0+4 rw anon; mmap 4+4 r anon; store 1 1",
        "madvise 0+8 dontneed",
        "CLEAR 0..4 R; CLEAR 4..8 R",
    ),
    row("MADV_DONTNEED inside a huge page", HUGE, "madvise 600+1 dontneed", "CLEAR 600..601 -; +CLEAR 512..1024 -"),
    row("MADV_FREE", SMALL, "madvise 0+8 free", "CLEAR 0..8 -"),
    row("MADV_FREE of a part of a huge page", HUGE, "madvise 600+1 free", "CLEAR 600..601 -; +CLEAR 512..1024 -"),
    row("MADV_COLD", SMALL, "madvise 0+8 cold", ""),
    row("MADV_COLD of a part of a huge page", HUGE, "madvise 600+1 cold", "CLEAR 512..1024 R"),
    row("MADV_PAGEOUT of a huge page", HUGE, "madvise 512+512 pageout", "CLEAR 512..1024 R"),
    row("MADV_PAGEOUT of a page that a child has, too", "mmap 0+8 rw anon; store 1 5; fork", "madvise 0+8 pageout", ""),
    row(
        "MADV_PAGEOUT after MADV_FREE and a store",
        "mmap 0+8 rw anon; store 1 5; madvise 0+8 free; store 1 6",
        "madvise 0+8 pageout",
        "CLEAR 1..2 R",
    ),
    row("MADV_PAGEOUT", SMALL, "madvise 0+8 pageout", "CLEAR 1..2 R; CLEAR 2..3 R"),
    row(
        "MADV_COLLAPSE",
        "mmap 512+8 rw anon; store 514 3; mremap 512+8 512",
        "madvise 512+512 collapse",
        "CLEAR 512..1024 W",
    ),
    // ---- fork and what comes of it
    row("fork", SMALL, "fork", "PROTECTION_PAGE 0..8 W"),
    row("fork of memory never written to", "mmap 0+8 rw anon; load 1", "fork", ""),
    row("fork of shared memory", "mmap 0+8 rw shared; store 1 1", "fork", ""),
    row("write fault on a shared page", "mmap 0+8 rw anon; store 1 5; fork", "store 1 6", "CLEAR 1..2 -"),
    row("write fault in the child", "mmap 0+8 rw anon; store 1 5; fork", "child: store 1 6", "child: CLEAR 1..2 -"),
    row("write fault on a page that is ours alone", "mmap 0+8 rw anon; store 1 5; fork; exit", "store 1 6", ""),
    row("write fault on the zero page", "mmap 0+8 rw anon; load 1", "store 1 5", "CLEAR 1..2 -"),
    row("write fault on the huge zero page", "mmap 512+512 rw anon; load 600", "store 600 3", "CLEAR 512..1024 -"),
    row(
        "write fault on a shared huge page",
        "mmap 512+512 rw anon; store 600 3; fork",
        "store 600 4",
        "CLEAR 512..1024 -; CLEAR 600..601 -",
    ),
    // ---- nothing is told of what appears
    row("first load", "mmap 0+8 rw anon", "load 1", ""),
    row("first store", "mmap 0+8 rw anon", "store 1 5", ""),
    row("first store to a huge page", "mmap 512+512 rw anon", "store 600 1", ""),
    row(
        "store after mprotect to read only and back",
        "mmap 0+8 rw anon; store 1 5; mprotect 0+8 r; mprotect 0+8 rw",
        "store 1 6",
        "",
    ),
    row("swap-in", "mmap 0+8 rw anon; store 1 5; madvise 0+8 pageout", "load 1", ""),
    row("first load of a file", "mmap 0+8 rw file:0:0", "load 1", ""),
    row("first store to a private file mapping", "mmap 0+8 rw private:0:0", "store 1 6", ""),
    // ---- pages move
    row("page migration", SMALL, "migrate 0+8", "CLEAR 1..2 -; CLEAR 2..3 -"),
    row("page migration of a huge page", HUGE, "migrate 600+1", "CLEAR 512..1024 -"),
    row(
        "page migration of a huge page in small entries",
        "mmap 512+512 rw anon; store 600 3; mprotect 520+1 r",
        "migrate 600+1",
        "CLEAR 512..520 -; CLEAR 520..521 -; CLEAR 521..1024 -",
    ),
    row(
        "page migration of a huge page of which a part is gone",
        "mmap 512+512 rw anon; store 600 3; munmap 700+1",
        "migrate 600+1",
        "CLEAR 512..700 -; CLEAR 701..1024 -; CLEAR 600..601 -",
    ),
    row(
        "page migration, where another VMA could map the page",
        "mmap 0+8 rw anon; store 1 5; fork; store 1 6",
        "child: migrate 1+1",
        "CLEAR 1..2 -; child: CLEAR 1..2 -",
    ),
    // ---- the end
    row(
        "exit",
        "mmap 0+8 rw anon; store 1 5; fork; child: store 1 6",
        "exit",
        "child: RELEASE first..last -; child: UNMAP first..last R",
    ),
    // ---- hmm_range_fault
    row("hmm_range_fault that looks", SMALL, "hmm 0+8 look", ""),
    row("hmm_range_fault that reads", SMALL, "hmm 0+8 read", ""),
    row("hmm_range_fault that writes", "mmap 0+8 rw anon; load 1", "hmm 0+8 write", "CLEAR 1..2 R"),
    row("hmm_range_fault without the right to", "mmap 0+8 r anon", "hmm 0+8 write", ""),
    row("hmm_range_fault where nothing is", SMALL, "hmm 0+16 read", ""),
    row("hmm_range_fault that looks where nothing is", SMALL, "hmm 0+16 look", ""),
    // ---- what the simulator does not have
    row("fork of hugetlb memory", "mmap 512+512 rw hugetlb; store 600 1", "fork", "CLEAR 512..1024 W"),
    row(
        "mremap of hugetlb memory",
        "mmap 512+512 rw hugetlb; store 600 1",
        "mremap 512+512 512 to 1536",
        "CLEAR 512..1024 W; UNMAP 512..1024 W gone",
    )
    .apart("hugetlb memory does not move"),
    row("page migration of a file's page", "mmap 0+8 rw file:0:0; load 1", "migrate 0+8", "CLEAR 1..2 -")
        .apart(FILES_STAY),
    row("MADV_PAGEOUT of shared memory", "mmap 0+8 rw shared; store 1 1", "madvise 0+8 pageout", "CLEAR 1..2 R")
        .apart(FILES_STAY),
    row(
        "MADV_COLLAPSE of shared memory",
        "mmap 512+512 rw shared; store 600 1",
        "madvise 512+512 collapse",
        "CLEAR 600..601 -; CLEAR 512..1024 -",
    )
    .apart(FILES_STAY),
    row("punching a hole", "mmap 0+8 rw file:0:0; store 1 1; store 2 1", "punch 0 1+1", "CLEAR 1..2 -")
        .apart(FILES_STAY),
    row("MADV_REMOVE", "mmap 0+8 rw file:0:0; store 1 1; store 2 1", "madvise 1+1 remove", "CLEAR 1..2 -")
        .apart(FILES_STAY),
    row("truncation", "mmap 0+8 rw file:0:0; store 1 1; store 4 1", "truncate 0 3", "CLEAR 3..8 -; CLEAR 3..8 -")
        .apart(FILES_STAY),
    row(
        "truncation under a private copy",
        "mmap 0+8 rw private:0:0; store 4 1",
        "truncate 0 3",
        "CLEAR 3..8 -; CLEAR 3..8 -",
    )
    .apart(FILES_STAY),
    row("punching a hole under a private copy", "mmap 0+8 rw private:0:0; store 4 1", "punch 0 4+1", "CLEAR 4..5 -")
        .apart(FILES_STAY),
    row("MADV_GUARD_INSTALL where something is", SMALL, "madvise 1+1 guard-install", "CLEAR 1..2 -").apart(NO_GUARD),
    row("MADV_GUARD_INSTALL where nothing is", SMALL, "madvise 5+1 guard-install", "").apart(NO_GUARD),
    row("MADV_POPULATE_WRITE", "mmap 0+8 rw anon", "madvise 0+8 populate-write", "").apart(NO_ADVICE),
    row(
        "MADV_POPULATE_WRITE over the zero page",
        "mmap 0+8 rw anon; load 1",
        "madvise 0+8 populate-write",
        "CLEAR 1..2 R",
    )
    .apart(NO_ADVICE),
    row("MADV_WILLNEED", SMALL, "madvise 0+8 willneed", "").apart(NO_ADVICE),
    row("MADV_HUGEPAGE", SMALL, "madvise 0+8 hugepage", "").apart(NO_ADVICE),
    row("MADV_DONTFORK", SMALL, "madvise 0+8 dontfork", "").apart(NO_ADVICE),
    row(
        "MADV_COLLAPSE of small entries of a huge page",
        "mmap 512+512 rw anon; store 600 3; mprotect 520+1 r; mprotect 520+1 rw",
        "madvise 512+512 collapse",
        "CLEAR 512..1024 W",
    ),
    row("split of a folio", HUGE, "split 512+512", "CLEAR 512..1024 R"),
    row(
        "same-page merging",
        "mmap 0+8 rw anon; store 1 5; store 3 5; madvise 0+8 mergeable",
        "ksm",
        "CLEAR 1..2 R; CLEAR 3..4 R; CLEAR 3..4 R or CLEAR 3..4 R; CLEAR 1..2 R; CLEAR 1..2 R",
    )
    .apart("there is no same-page merger"),
    row("make_device_exclusive", SMALL, "exclusive 1", "EXCLUSIVE 1..2 R").apart(NO_EXCLUSIVE),
    row("CPU touch of an exclusive page", "mmap 0+8 rw anon; store 1 5; exclusive 1", "load 1", "CLEAR 1..2 -")
        .apart(NO_EXCLUSIVE),
    row("UFFDIO_ZEROPAGE", "mmap 0+8 rw anon; uffd 0+8 register-missing", "uffd 1+1 zeropage", "").apart(NO_UFFD),
    row(
        "UFFDIO_COPY",
        "mmap 2048+8 rw anon; store 2048 9; mmap 0+8 rw anon; uffd 0+8 register-missing",
        "uffd 1+1 copy",
        "",
    )
    .apart(NO_UFFD),
    row(
        "UFFDIO_MOVE",
        "mmap 2048+8 rw anon; store 2048 9; mmap 0+8 rw anon; uffd 0+8 register-missing",
        "uffd 1+1 move",
        "CLEAR 2048..2049 -",
    )
    .apart(NO_UFFD),
    row(
        "UFFDIO_WRITEPROTECT",
        "mmap 0+8 rw anon; store 1 1; uffd 0+8 register-wp",
        "uffd 0+4 protect",
        "PROTECTION_VMA 0..4 R",
    )
    .apart(NO_UFFD),
    row(
        "UFFDIO_UNREGISTER",
        "mmap 0+8 rw anon; store 1 1; uffd 0+8 register-wp; uffd 0+4 protect",
        "uffd 0+8 unregister",
        "PROTECTION_VMA 0..8 W",
    )
    .apart(NO_UFFD),
    row("clear_refs", SMALL, "clear-refs", "SOFT_DIRTY first..last W").apart("soft-dirty bits are not modelled"),
    row("hmm_range_fault on a guard page", "mmap 0+8 rw anon; madvise 1+1 guard-install", "hmm 1+1 read", "")
        .apart(NO_GUARD),
    row(
        "hmm_range_fault on an exclusive page",
        "mmap 0+8 rw anon; store 1 5; exclusive 1",
        "hmm 1+1 read",
        "CLEAR 1..2 R",
    )
    .apart(NO_EXCLUSIVE),
];

/// Checks every row; with `table`, also says it as a row of a Markdown table.
pub(crate) fn run(checks: &mut Checks<'_>, referee: &Referee<'_>, table: bool) {
    for row in ROWS {
        let mut told = None;
        checks.check(row.operation, || {
            let said = check(row, referee)?;
            told = Some(said.clone());
            let remark = if said.is_empty() { "nothing is told".to_string() } else { said };
            Ok::<_, String>(row.apart.map_or(remark.clone(), |why| format!("{remark} (the simulator differs: {why})")))
        });
        if let Some(told) = told.filter(|_| table) {
            let told = if told.is_empty() { "–".to_string() } else { format!("`{told}`") };
            let sim = row.apart.map_or("the same".to_string(), |why| format!("**differs**: {why}"));
            checks.say(&format!("md | {} | `{}` | `{}` | {told} | {sim} |", row.operation, row.before, row.step));
        }
    }
}

/// What the kernel told.
fn check(row: &Row, referee: &Referee<'_>) -> Result<String, String> {
    let verdict = referee.row(row)?;
    match (verdict.differ, row.apart) {
        (None, None) | (Some(_), Some(_)) => Ok(verdict.told),
        (Some(how), None) => Err(how),
        (None, Some(why)) => Err(format!("the simulator does the same, though \"{why}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::Program;
    use super::ROWS;

    #[test]
    fn every_row_can_be_read_and_has_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for row in ROWS {
            assert!(names.insert(row.operation), "{}", row.operation);
            for text in [row.before, row.step] {
                text.parse::<Program>().unwrap_or_else(|error| panic!("{}: {error}", row.operation));
            }
        }
    }
}
