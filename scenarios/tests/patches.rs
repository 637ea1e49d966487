//! docs/patches.md names what exists, and names all of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root").to_path_buf()
}

/// A row: what the posting calls it, our file, and the item in it (`fn x`, `struct X` ..., none for a whole file).
struct Row {
    patch: String,
    there: String,
    file: String,
    item: Option<String>,
}

/// What stands between backticks in `cell`.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn rows(text: &str) -> Vec<Row> {
    let mut patch = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            patch = heading.chars().take(2).collect();
        }
        let Some(line) = line.strip_prefix('|').and_then(|l| l.strip_suffix('|')) else { continue };
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "three columns: {line}");
        if cells[0] == "there" || cells[0].starts_with("---") {
            continue;
        }
        let here = quoted(cells[1]);
        let (file, item) = match here[..] {
            [file] => (file, None),
            [file, item] => (file, Some(item.to_string())),
            _ => panic!("file and item: {line}"),
        };
        rows.push(Row { patch: patch.clone(), there: cells[0].to_string(), file: file.to_string(), item });
    }
    rows
}

/// Whether `item`, such as `fn enqueue`, is declared in `text`.
fn declares(text: &str, item: &str) -> bool {
    text.match_indices(item).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + item.len()..].chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !word(before) && !word(after)
    })
}

fn book() -> Vec<Row> {
    rows(&std::fs::read_to_string(root().join("docs/patches.md")).expect("docs/patches.md"))
}

#[test]
fn everything_named_is_there() {
    let rows = book();
    assert!(rows.len() > 90, "{} rows", rows.len());
    for row in &rows {
        let text = std::fs::read_to_string(root().join(&row.file));
        let text = text.unwrap_or_else(|e| panic!("{}: {}: {e}", row.there, row.file));
        if let Some(item) = &row.item {
            let kind = item.split(' ').next().expect("a word");
            assert!(["fn", "struct", "enum", "const"].contains(&kind), "{item}");
            assert!(declares(&text, item), "{}: no `{item}` in {}", row.there, row.file);
        }
    }
    let patches: BTreeSet<&str> = rows.iter().map(|r| r.patch.as_str()).collect();
    let all: BTreeSet<String> = (1..=12).map(|n| format!("{n:02}")).collect();
    assert_eq!(patches, all.iter().map(String::as_str).collect());
}

/// The functions of the posting, as the description that the port follows has them.
const POSTED: &[(&str, &[&str])] = &[
    (
        "04",
        &[
            "attr_cache_init",
            "attr_cache_fini",
            "attr_set_default",
            "attr_lookup_page_locked",
            "attr_alloc_range",
            "attr_insert_range_locked",
            "attr_remove_range_locked",
            "attr_tree_create",
            "attr_tree_destroy",
            "attr_get",
        ],
    ),
    (
        "05",
        &[
            "attr_change_trigger",
            "attr_apply",
            "attr_validate_range_vma",
            "attr_set",
            "attr_set_range",
            "attr_set_hole",
            "attr_set_existing",
            "attr_apply_change",
            "attr_clear_pages",
        ],
    ),
    (
        "07",
        &[
            "lock_vm_pd",
            "update_gpu",
            "update_gpu_range",
            "range_map",
            "map_interval",
            "map_attr_ranges",
            "apply_attr_change",
        ],
    ),
    (
        "08",
        &[
            "range_gpu_unmap_in_notifier",
            "range_remove",
            "range_remove_overlaps",
            "range_interval_has_range",
            "range_rebuild_locked",
            "range_invalidate",
        ],
    ),
    (
        "09",
        &[
            "begin_restore",
            "begin_compute",
            "end_compute",
            "range_enqueue",
            "range_dequeue_locked",
            "range_requeue_restore_locked",
            "range_put_if_dequeued",
            "range_process_unmap_interval",
            "range_gc_worker",
            "range_restore_worker",
            "range_flush",
            "range_sync_work",
            "range_work_init",
            "range_work_fini",
        ],
    ),
    ("10", &["cache_init", "init_with_ops", "close", "fini"]),
    ("11", &["lookup_by_pasid", "amdgpu_gem_svm_ioctl", "handle_fault"]),
    ("12", &["amdgpu_vm_init", "amdgpu_vm_make_compute", "amdgpu_vm_fini", "amdgpu_vm_handle_fault", "is_enabled"]),
];

#[test]
fn every_function_of_the_posting_has_its_row() {
    let rows = book();
    for (patch, functions) in POSTED {
        for function in *functions {
            let there = |row: &&Row| row.patch == *patch && quoted(&row.there).contains(function);
            assert!(rows.iter().any(|row| there(&row)), "patch {patch}: `{function}` has no row");
        }
    }
}

#[test]
fn every_function_of_the_port_has_its_row() {
    let rows = book();
    let named: BTreeSet<(&str, &str)> =
        rows.iter().filter_map(|r| Some((r.file.as_str(), r.item.as_deref()?.strip_prefix("fn ")?))).collect();
    let folder = "model/src/amdgpu/poc";
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join(folder)).expect("the port") {
        let path = entry.expect("an entry").path();
        let file = format!("{folder}/{}", path.file_name().expect("a name").to_str().expect("text"));
        let text = std::fs::read_to_string(&path).expect("text");
        for line in text.lines().map(str::trim_start).filter(|l| !l.starts_with("//")) {
            let Some((_, rest)) = format!(" {line}").split_once(" fn ").map(|(a, b)| (a.to_string(), b.to_string()))
            else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(
                named.contains(&(file.as_str(), name.as_str())),
                "`{name}` of {file} has no row in docs/patches.md"
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} functions");
}
