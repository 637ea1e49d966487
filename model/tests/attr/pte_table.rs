//! PTE flags and XNACK detection by GC generation: the tables of the specification, row by row.

use model::amdgpu::pte::{mapping_flags, pte_flags, segment_pte_flags};
use model::amdgpu::xnack::xnack_detected;
use model::attr::Flags;
use model::platform::{GcVersion, GpuProperties, Interconnect, Mtype, PteFlags};

fn gpu(major: u8, minor: u8, rev: u8) -> GpuProperties {
    GpuProperties {
        gc: GcVersion(major, minor, rev),
        apu: false,
        multi_node: false,
        mtype_local: 0,
        noretry: false,
        sriov_without_xnack: false,
        max_pfn: 1 << 36,
        default_granularity: 9,
    }
}

/// Memory types for no coherence flag, COHERENT, EXT_COHERENT and both.
fn types(gpu: &GpuProperties) -> [Mtype; 4] {
    let both = Flags::COHERENT | Flags::EXT_COHERENT;
    [Flags::NONE, Flags::COHERENT, Flags::EXT_COHERENT, both].map(|flags| {
        // The other flags have no say in the memory type.
        let others = Flags::HOST_ACCESS | Flags::GPU_RO | Flags::GPU_EXEC | Flags::HIVE_LOCAL;
        let mtype = mapping_flags(gpu, flags).mtype;
        assert_eq!(mapping_flags(gpu, flags | others).mtype, mtype);
        assert_eq!(pte_flags(gpu, flags, false).mtype(), mtype);
        mtype
    })
}

#[test]
fn uncached_exactly_when_coherent_on_the_usual_generations() {
    use Mtype::{Nc, Uc};
    for (major, minor, rev) in [
        (9, 0, 1),
        (9, 4, 0),
        (9, 4, 1),
        (9, 4, 2),
        (10, 3, 0),
        (11, 0, 0),
        (11, 0, 4),
        (11, 5, 0),
        (11, 5, 3),
        (12, 0, 2),
        (12, 1, 0),
    ] {
        for (apu, multi_node) in [(false, false), (true, false), (true, true)] {
            let gpu = GpuProperties { apu, multi_node, mtype_local: 2, ..gpu(major, minor, rev) };
            assert_eq!(types(&gpu), [Nc, Uc, Uc, Uc], "{:?}", gpu.gc);
        }
    }
}

#[test]
fn gc_12_0_0_and_12_0_1_are_never_uncached() {
    for rev in [0, 1] {
        assert_eq!(types(&gpu(12, 0, rev)), [Mtype::Nc; 4]);
    }
}

#[test]
fn the_9_4_3_family_depends_on_where_the_memory_is() {
    use Mtype::{Cc, Nc, Rw, Uc};
    for (major, minor, rev) in [(9, 4, 3), (9, 4, 4), (9, 5, 0)] {
        let discrete = gpu(major, minor, rev);
        let apu = GpuProperties { apu: true, ..discrete };
        // One node: local memory, by module parameter unless extended coherence is asked for.
        for (parameter, local) in [(0, Rw), (1, Nc), (2, Cc), (3, Rw)] {
            let apu = GpuProperties { mtype_local: parameter, ..apu };
            assert_eq!(types(&apu), [local, local, Cc, Cc], "mtype_local {parameter}");
        }
        // Several nodes, and discrete: the parameter has no say.
        for mtype_local in 0..4 {
            let nodes = GpuProperties { multi_node: true, mtype_local, ..apu };
            assert_eq!(types(&nodes), [Nc, Nc, Uc, Uc]);
            for multi_node in [false, true] {
                let discrete = GpuProperties { mtype_local, multi_node, ..discrete };
                let want = if rev == 0 { [Nc, Nc, Uc, Uc] } else { [Uc; 4] };
                assert_eq!(types(&discrete), want, "{:?}", discrete.gc);
            }
        }
    }
}

#[test]
fn system_memory_is_valid_snooped_and_readable_whatever_the_flags() {
    for gc in [(9, 4, 3), (11, 0, 0), (12, 0, 0)] {
        for flags in 0..=0xff {
            for read_only in [false, true] {
                let pte = pte_flags(&gpu(gc.0, gc.1, gc.2), Flags(flags), read_only);
                let always = PteFlags::VALID | PteFlags::SYSTEM | PteFlags::SNOOPED | PteFlags::READABLE;
                assert!(pte.has(always));
                assert_eq!(pte.has(PteFlags::WRITEABLE), flags & 0x08 == 0 && !read_only);
                assert_eq!(pte.has(PteFlags::EXECUTABLE), flags & 0x10 != 0);
                assert_eq!(pte.has(PteFlags::IS_PTE), gc.0 >= 12);
            }
        }
    }
}

#[test]
fn the_bits_are_where_the_hardware_has_them() {
    // COHERENT alone, 11.0.0: valid, system, snooped, readable, writeable, and UC (3) in our memory type field.
    assert_eq!(pte_flags(&gpu(11, 0, 0), Flags::COHERENT, false).0, 0b110_0111 | 3 << 48);
    // Executable, read-only, 12.0.0: IS_PTE is the top bit, memory type NC is 0.
    let flags = Flags::GPU_EXEC | Flags::GPU_RO;
    assert_eq!(pte_flags(&gpu(12, 0, 0), flags, false).0, 0b011_0111 | 1 << 63);
    // The fallback takes away exactly what the mapping loop takes away.
    let all = pte_flags(&gpu(9, 4, 2), Flags::NONE, false);
    assert_eq!(pte_flags(&gpu(9, 4, 2), Flags::NONE, true), all.without(PteFlags::WRITEABLE));
}

#[test]
fn xnack_by_generation() {
    // (version, XNACK without the noretry parameter, XNACK with it)
    for ((major, minor, rev), retry, noretry) in [
        ((8, 0, 0), false, false),
        ((9, 0, 0), false, false),
        ((9, 0, 1), true, false),
        ((9, 4, 0), true, false),
        ((9, 4, 1), true, false),
        ((9, 4, 2), true, true),
        ((9, 4, 3), true, true),
        ((9, 4, 4), true, true),
        ((9, 4, 5), true, false),
        ((9, 5, 0), true, true),
        ((9, 5, 1), true, false),
        ((10, 1, 0), true, false),
        ((10, 1, 1), false, false),
        ((11, 0, 0), false, false),
        ((12, 0, 1), false, false),
    ] {
        let gpu = gpu(major, minor, rev);
        assert_eq!(xnack_detected(&gpu), retry, "{:?}", gpu.gc);
        assert_eq!(xnack_detected(&GpuProperties { noretry: true, ..gpu }), noretry, "{:?} noretry", gpu.gc);
        assert!(!xnack_detected(&GpuProperties { sriov_without_xnack: true, ..gpu }));
    }
}

/// Memory type of a segment for no coherence flag, COHERENT, EXT_COHERENT and both; SYSTEM and SNOOPED, which do not depend
/// on the flags.
fn segment(gpu: &GpuProperties, proto: Interconnect) -> ([Mtype; 4], bool, bool) {
    let both = Flags::COHERENT | Flags::EXT_COHERENT;
    let bits =
        [Flags::NONE, Flags::COHERENT, Flags::EXT_COHERENT, both].map(|f| segment_pte_flags(gpu, f, false, proto));
    let (system, snooped) = (bits[0].has(PteFlags::SYSTEM), bits[0].has(PteFlags::SNOOPED));
    for flags in bits {
        assert_eq!((flags.has(PteFlags::SYSTEM), flags.has(PteFlags::SNOOPED)), (system, snooped));
        assert!(flags.has(PteFlags::VALID | PteFlags::READABLE | PteFlags::WRITEABLE));
        assert_eq!(flags.has(PteFlags::IS_PTE), gpu.gc >= GcVersion(12, 0, 0));
    }
    (bits.map(PteFlags::mtype), system, snooped)
}

#[test]
fn system_segments_are_as_in_the_first_posting_but_for_12_1_0() {
    for gc in [(9, 4, 1), (9, 4, 2), (9, 4, 3), (9, 4, 4), (9, 5, 0), (11, 0, 0), (12, 0, 0), (12, 0, 1), (10, 3, 0)] {
        for (apu, multi_node) in [(false, false), (true, false), (true, true)] {
            let gpu = GpuProperties { apu, multi_node, ..gpu(gc.0, gc.1, gc.2) };
            for flags in (0..=0xff).map(Flags) {
                for read_only in [false, true] {
                    let segment = segment_pte_flags(&gpu, flags, read_only, Interconnect::System);
                    assert_eq!(segment, pte_flags(&gpu, flags, read_only), "{gc:?} {flags}");
                }
            }
        }
    }
    use Mtype::Uc;
    assert_eq!(segment(&gpu(12, 1, 0), Interconnect::System), ([Uc; 4], true, true));
}

#[test]
fn own_memory_is_not_system_memory_and_not_snooped_except_in_two_families() {
    use Mtype::{Cc, Nc, Rw, Uc};
    let own = |gc: (u8, u8, u8), mtype_local| {
        segment(&GpuProperties { mtype_local, ..gpu(gc.0, gc.1, gc.2) }, Interconnect::Vram)
    };
    for gc in [(9, 4, 1), (9, 4, 2)] {
        assert_eq!(own(gc, 0), ([Rw, Cc, Cc, Cc], false, false), "{gc:?}");
    }
    for gc in [(9, 4, 3), (9, 4, 4), (9, 5, 0)] {
        assert_eq!(own(gc, 0), ([Rw, Rw, Cc, Cc], false, true), "{gc:?}");
        assert_eq!(own(gc, 1), ([Nc, Nc, Cc, Cc], false, true), "{gc:?}");
        assert_eq!(own(gc, 2), ([Cc; 4], false, true), "{gc:?}");
    }
    assert_eq!(own((12, 0, 0), 0), ([Nc; 4], false, false));
    assert_eq!(own((12, 1, 0), 0), ([Rw; 4], false, true));
    assert_eq!(own((12, 1, 0), 1), ([Nc; 4], false, true));
    assert_eq!(own((12, 1, 0), 2), ([Nc; 4], false, true));
    assert_eq!(own((11, 0, 0), 0), ([Nc, Uc, Uc, Uc], false, false));
}

#[test]
fn a_peer_s_memory_is_reached_like_system_memory() {
    use Mtype::{Nc, Uc};
    let peer = |gc: (u8, u8, u8)| segment(&gpu(gc.0, gc.1, gc.2), Interconnect::PeerVram);
    for gc in [(9, 4, 1), (9, 4, 2), (11, 0, 0)] {
        assert_eq!(peer(gc), ([Nc, Uc, Uc, Uc], true, true), "{gc:?}");
    }
    for gc in [(9, 4, 3), (9, 4, 4), (9, 5, 0)] {
        assert_eq!(peer(gc), ([Nc, Nc, Uc, Uc], true, true), "{gc:?}");
    }
    assert_eq!(peer((12, 0, 1)), ([Nc; 4], true, true));
    assert_eq!(peer((12, 1, 0)), ([Uc; 4], true, true));
}
