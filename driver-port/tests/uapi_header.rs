//! `uapi.rs` says what `kmod/svmlab_drm.h` says: a C compiler looks at both.

use driver_port::uapi;
use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Assertions on size and offsets of one struct; a field that C calls otherwise is given as `rust as c`.
macro_rules! layout {
    ($out:ident, $ty:ident is $c:literal: $($field:ident $(as $name:literal)?),* $(,)?) => {{
        writeln!($out, "_Static_assert(sizeof(struct {}) == {}, \"size of {}\");", $c, size_of::<uapi::$ty>(), $c).unwrap();
        // All fields are named here, or this does not compile.
        let uapi::$ty { $($field: _),* } = uapi::$ty::default();
        $(
            #[allow(unused_mut, unused_assignments)]
            let mut name = stringify!($field);
            $(name = $name;)?
            writeln!($out, "_Static_assert(sizeof(((struct {} *)0)->{name}) == {}, \"size of {}.{name}\");", $c,
                size_of_field(|s: &uapi::$ty| &s.$field), $c).unwrap();
            writeln!($out, "_Static_assert(offsetof(struct {}, {name}) == {}, \"{}.{name}\");", $c,
                offset_of!(uapi::$ty, $field), $c).unwrap();
        )*
    }};
}

fn assertions() -> String {
    let mut c = String::from("#include <stddef.h>\n#include \"svmlab_drm.h\"\n");
    layout!(c, SvmAttribute is "drm_amdgpu_svm_attribute": attr_type as "type", value);
    layout!(c, GemSvm is "drm_amdgpu_gem_svm": start_addr, size, operation, nattr, attrs_ptr);
    layout!(c, Create is "svmlab_create": design, framework, xnack, gpu, gc, flags, mtype_local, granularity, max_pfn,
        notifier_size, chunk_sizes, vram_size, retry_clock, reserved);
    layout!(c, Close is "svmlab_close": what, pad);
    layout!(c, Access is "svmlab_access": addr, value, op, outcome);
    layout!(c, Accesses is "svmlab_accesses": accesses_ptr, count, timeout_ms, flags, done);
    layout!(c, Settle is "svmlab_settle": timeout_ms, rounds);
    layout!(c, State is "svmlab_state": flags, quiesced, evicted_ranges, references, ranges, faults_pending, tlb_entries,
        mapped, dma_live, pte_writes, pages_written, pte_clears, tlb_flushes, dma_maps, dma_unmaps, pages_copied, quiesces,
        resumes, accesses, faults, retry_faults, reserved);
    layout!(c, Range is "svmlab_range": start, end, pte_flags, attr_flags, flags, references);
    layout!(c, Ranges is "svmlab_ranges": ranges_ptr, count, pad);
    layout!(c, Node is "svmlab_node": first, last, preferred_loc, prefetch_loc, flags, granularity, access, pad);
    layout!(c, Nodes is "svmlab_nodes": nodes_ptr, count, pad);
    layout!(c, Page is "svmlab_page": pte_flags, cached_flags, flags, pad);
    layout!(c, Mapped is "svmlab_mapped": start, pages_ptr, count, valid);
    layout!(c, Hardware is "svmlab_hardware": what, point, error, value);
    layout!(c, Log is "svmlab_log": text_ptr, size, flags, lost);
    layout!(c, GateStep is "svmlab_gate_step": place, actor, pad);
    layout!(c, Gate is "svmlab_gate": what, actor, place, steps_ptr, count, timeout_ms, passed, held, skipped, late,
        late_step, pad);
    for (name, value) in uapi::CONSTANTS {
        writeln!(c, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    writeln!(c, "_Static_assert(SVMLAB_GC(9, 4, 3) == {}, \"SVMLAB_GC\");", uapi::gc(9, 4, 3)).unwrap();
    c
}

#[test]
fn the_header_and_its_rust_mirror_agree() {
    let source = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("uapi_header.c");
    std::fs::write(&source, assertions()).unwrap();
    let output = Command::new("cc")
        .args(["-fsyntax-only", "-Wall", "-Werror", "-I", concat!(env!("CARGO_MANIFEST_DIR"), "/kmod")])
        .arg(&source)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
