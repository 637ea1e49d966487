//! What a scenario file means, and that it survives being written back.

use interleave::lab::Invariant;
use model::Errno;
use model::platform::{GcVersion, Plant};
use model::units::Bytes;
use proptest::prelude::*;
use scenarios::lang::*;
use scenarios::world::Uapi;

/// What memory can do besides, written as a person would.
const MEMORY: &str = r#"scenario "memory" {
    about "What can be done with memory?"
    gpu "gpu0" xnack=#false
    region "buf" at=0x200000 size="2M" prot="rw"
    region "shm" at=0x400000 size="8K" prot="rw" kind="shared"
    region "file" at=0x500000 size="8K" prot="r" populate=#true kind="file"
    region "copy" at=0x600000 size="8K" prot="rw" kind="file-private"
    region "huge" at=0x800000 size="2M" prot="rw" kind="hugetlb"
    region "there" at=0x1000000 size="2M" mapped=#false
    prepare {
        mremap "buf" size="4K" to="there" returns="EINVAL"
    }
    thread "app" {
        fork "child"
        mremap "buf" size="4K" to="there" to-offset="8K" keep=#true
        mremap "buf" offset="4K" size="8K" new-size="4K" returns="ok|EFAULT"
        reclaim "buf" offset="8K" size="4K"
        pageout "buf"
        madvise-free "buf"
        madvise-cold "buf"
        collapse "buf"
        mlock "shm"
        munlock "shm"
    }
    thread "other" process="child" {
        store "shm" offset=0 value=1
        exit
    }
}
"#;

#[test]
fn what_is_done_with_memory_is_written_as_it_was_read() {
    let s = parse("memory.kdl", MEMORY).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    assert_eq!(s.to_kdl(), MEMORY);
    assert_eq!(s.threads[1].process.as_deref(), Some("child"));
    let OpKind::Mremap { area, to: Some(to), len, keep, .. } = &s.threads[0].ops[1].kind else { panic!() };
    assert_eq!((area.bytes.start, to.bytes.start, *len, *keep), (0x20_0000, 0x100_2000, 4096, true));
}

const WHOLE_LANGUAGE: &str = r#"
scenario "whole-language" {
    about "Is everything that can be said understood?"
    gpu "a" xnack=#false
    gpu "b" xnack=#true gc="9.4.2" apu=#true chunk-sizes="64K 4K" notifier-size="2M" granularity=4 vram="16M" hive="h" retry-cam=#true sdma-updates=#true
    region "buf" at=0x200000 size="2M" populate=#true thp=#true
    region "ro" at="0x400000" size=8192 prot="r"
    region "dev" at="8M" size="4K" prot="rw" kind="pfnmap"
    plant "skip-tlb-flush" "skip-read-retry"
    explore strategy="pct" seed=9 depth=2 preemptions=3 executions=100 events=500 timers=1 retries=4
    prepare {
        set-attr "buf" gpu="a" access="enable" gpu-ro=#true coherent=#false granularity=9 preferred-loc="gpu"
        set-attr "dev" gpu="a" access="in-place" returns="EFAULT"
        store "buf" offset="4K" value=7
    }
    thread "ioctl" {
        set-attr "buf" offset="1M" size="4K" gpu="b" access="none" prefetch-loc="system" set-flags=0x30 clr-flags=0x80
        set-attr "buf" offset=1 size=1 gpu="a" access="enable" returns="EINVAL"
        get-attr "buf" gpu="a" access="enable" gpu-ro=#true preferred-loc=5 returns="ok|ENOMEM"
    }
    thread "app" {
        munmap "buf" offset="1M"
        mmap "buf" offset="1M" prot="r" populate=#true
        mprotect "buf" size="4K" prot="none" returns="any"
        load "buf" offset="4K" expect="7|fault"
        store "ro" value=0xff expect="fault"
        dontneed "buf" offset="8K" size="8K"
        migrate "buf" offset="4K" size="4K"
        after "ioctl"
        close gpu="a"
        fini gpu="b"
        exit
    }
    gpu "wave" on="b" {
        after "ioctl"
        read "buf" offset="4K" expect="0|7"
        read "buf" expect=3
        write "buf" value=8 expect="ok|fault"
    }
    expect {
        holds "hardened"
        violates "poc-v1" "I1" "I7"
        mapped "buf" gpu="a" except="1M+4K, 0x108000+4K"
        unmapped "ro" gpu="a"
        value "buf" offset="4K" is="7|8"
        attr "buf" size="1M" gpu="b" access="enable" hive-local=#false
        queues "stopped" gpu="b"
    }
}
"#;

#[test]
fn every_word_of_the_language_means_what_it_says() {
    let s = parse("whole.kdl", WHOLE_LANGUAGE).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    assert_eq!(s.name, "whole-language");
    assert_eq!(s.gpus.len(), 2);
    let b = s.gpu("b").expect("declared");
    assert!(b.xnack && b.apu && b.gc == GcVersion(9, 4, 2));
    assert_eq!(b.chunk_sizes.as_deref(), Some(&[65536, 4096][..]));
    assert_eq!((b.notifier_size, b.granularity), (Some(2 << 20), Some(4)));
    assert_eq!((b.vram, b.hive.as_deref()), (16 << 20, Some("h")));
    assert!(b.retry_cam && b.sdma_updates);
    assert_eq!(s.region("buf").expect("declared").bytes, Bytes::new(0x20_0000, 0x40_0000));
    assert_eq!(s.region("dev").expect("declared").kind, RegionKind::PfnMap);
    assert_eq!(s.plants, [Plant::SkipTlbFlush, Plant::SkipReadRetry]);
    assert_eq!(s.explore.strategy, StrategyHint::Pct { seed: 9, depth: 2 });
    assert_eq!((s.explore.preemptions, s.explore.executions), (Some(3), Some(100)));

    let OpKind::SetAttr { attrs, returns, gpu, .. } = &s.prepare[0].kind else { panic!("{:?}", s.prepare[0]) };
    assert_eq!((gpu.as_str(), returns), ("a", &Returns::ok()));
    let uapi: Vec<(u32, u32)> = attrs.iter().flat_map(|a| Uapi::V1.request(*a, 1)).map(|a| (a.ty, a.value)).collect();
    assert_eq!(uapi, [(2, 1), (5, 8), (6, 2), (7, 9), (0, 1)], "in the order written, with the numbers of the UAPI");

    let OpKind::SetAttr { area, returns, .. } = &s.threads[0].ops[1].kind else { panic!() };
    assert_eq!(area.bytes, Bytes::new(0x20_0001, 0x20_0002));
    assert_eq!(*returns, Returns::OneOf(vec![Err(Errno::EINVAL)]));
    let OpKind::Munmap { area } = &s.threads[1].ops[0].kind else { panic!() };
    assert_eq!(area.bytes, Bytes::new(0x30_0000, 0x40_0000), "an offset alone means up to the end");
    assert_eq!(s.waves[0].gpu, "b");
    let OpKind::Read { area, expect, .. } = &s.waves[0].ops[1].kind else { panic!() };
    assert_eq!(area.bytes, Bytes::new(0x20_1000, 0x20_2000), "an access is to one page");
    assert_eq!(*expect, [Seen::Value(0), Seen::Value(7)]);

    assert_eq!(s.verdict(Design::Hardened).map(|v| &v.answer), Some(&Answer::Holds));
    assert_eq!(
        s.verdict(Design::PocV1).map(|v| &v.answer),
        Some(&Answer::Violates(vec![Invariant::I1, Invariant::I7]))
    );
    let FinalKind::Mapped { except, .. } = &s.finals[0].kind else { panic!() };
    assert_eq!(except.iter().map(|a| a.bytes.start).collect::<Vec<_>>(), [0x30_0000, 0x30_8000]);
}

#[test]
fn what_is_not_said_has_its_usual_value() {
    let s = parse(
        "short.kdl",
        r#"scenario "short" {
            about "?"
            region "buf" at=4096 size=4096
            thread "t" { set-attr "buf" access="enable" }
        }"#,
    )
    .unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    assert_eq!(s.gpus, [GpuDecl::new("gpu0")]);
    assert_eq!(
        s.regions[0],
        Region {
            name: "buf".into(),
            bytes: Bytes::new(4096, 8192),
            prot: Prot::RW,
            populate: false,
            kind: RegionKind::Anon,
            thp: false,
            mapped: true,
            at: Place::default()
        }
    );
    let OpKind::SetAttr { gpu, returns, .. } = &s.threads[0].ops[0].kind else { panic!() };
    assert_eq!((gpu.as_str(), returns), ("gpu0", &Returns::Any), "what races may return anything");
    assert!(s.verdicts.is_empty() && s.finals.is_empty() && s.explore == Explore::default());
}

#[test]
fn a_scenario_written_back_is_the_same_scenario() {
    let first = parse("whole.kdl", WHOLE_LANGUAGE).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    let text = first.to_kdl();
    let again = parse("again.kdl", &text).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    assert_eq!(again, first);
    assert_eq!(again.to_kdl(), text);
}

#[test]
fn written_scenarios_look_as_a_person_would_write_them() {
    let s = parse("whole.kdl", WHOLE_LANGUAGE).unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    insta::assert_snapshot!(s.to_kdl());
}

#[test]
fn the_builder_makes_what_the_text_makes() {
    let built = ScenarioBuilder::new("munmap-vs-set-attr", "Does it leave stale entries?")
        .region("buf", 0x20_0000, 2 << 20)
        .thread("ioctl", |t| t.set_attr("buf", 0, None, &[Attr::Access(Access::Enable)]))
        .thread("app", |t| t.munmap("buf", 1 << 20, 4096))
        .wave("wave", |w| w.read("buf", 0, &[]))
        .holds(Design::Hardened)
        .violates(Design::PocV1, &[Invariant::I1])
        .mapped("buf", &[(1 << 20, 4096)])
        .build()
        .unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    let written = parse(
        "written.kdl",
        r#"
        scenario "munmap-vs-set-attr" {
            about "Does it leave stale entries?"
            gpu xnack=#false
            region "buf" at=0x200000 size="2M" prot="rw" populate=#true
            thread "ioctl" { set-attr "buf" access="enable" }
            thread "app"   { munmap "buf" offset="1M" size="4K" }
            gpu "wave"     { read "buf" offset="0" }
            expect { holds "hardened"; violates "poc-v1" "I1"; mapped "buf" except="1M+4K"; }
        }"#,
    )
    .unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    assert_eq!(built, written);
}

#[test]
fn the_builder_is_told_what_a_file_would_be_told() {
    let bad = ScenarioBuilder::new("bad", "?")
        .region("buf", 0x20_0000, 4096)
        .thread("t", |t| t.munmap("bfu", 0, None))
        .build()
        .expect_err("no such region");
    assert_eq!(bad.problems[0].message, "unknown region `bfu`");
}

fn op() -> impl Strategy<Value = OpKind> {
    let area = (0u64..16, 1u64..16).prop_map(|(first, n)| {
        let end = (first + n).min(16);
        Area { region: "buf".into(), bytes: Bytes::new(0x20_0000 + first * 4096, 0x20_0000 + end * 4096) }
    });
    let both = area.clone().prop_flat_map(|from| {
        (0..=16 - from.bytes.len() / 4096).prop_map(move |first| {
            let start = 0x20_0000 + first * 4096;
            let to = Area { region: "buf".into(), bytes: Bytes::new(start, start + from.bytes.len()) };
            (from.clone(), to)
        })
    });
    let page = (0u64..16)
        .prop_map(|p| Area { region: "buf".into(), bytes: Bytes::new(0x20_0000 + p * 4096, 0x20_1000 + p * 4096) });
    let attr = prop_oneof![
        any::<u32>().prop_map(Attr::PreferredLoc),
        prop_oneof![Just(Attr::SYSTEM), Just(Attr::UNDEFINED), Just(Attr::gpu_id(0)), Just(Attr::gpu_id(1))]
            .prop_map(Attr::PrefetchLoc),
        prop_oneof![Just(Access::None), Just(Access::Enable), Just(Access::InPlace)].prop_map(Attr::Access),
        (0u32..0x200, any::<bool>()).prop_map(|(mask, set)| Attr::Flags { mask, set }),
        any::<u32>().prop_map(Attr::Granularity),
    ];
    let returns = prop_oneof![
        Just(Returns::Any),
        Just(Returns::ok()),
        Just(Returns::OneOf(vec![Ok(()), Err(Errno::EFAULT)])),
        Just(Returns::OneOf(vec![Err(Errno::ENOMEM)])),
    ];
    let prot = prop_oneof![Just(Prot::NONE), Just(Prot::R), Just(Prot::W), Just(Prot::RW)];
    let seen = proptest::sample::subsequence(vec![Seen::Value(0), Seen::Value(u64::MAX), Seen::Fault], 0..=3);
    let done = proptest::sample::subsequence(vec![Seen::Done, Seen::Fault], 0..=2);
    prop_oneof![
        (area.clone(), attr, returns.clone(), any::<bool>(), any::<bool>()).prop_map(|(area, a, returns, set, b)| {
            let gpu = if b { "b" } else { "a" }.to_owned();
            if set {
                OpKind::SetAttr { gpu, area, attrs: vec![a], returns }
            } else {
                OpKind::GetAttr { gpu, area, checks: vec![a], returns }
            }
        }),
        area.clone().prop_map(|area| OpKind::Munmap { area }),
        (area.clone(), prot.clone(), any::<bool>()).prop_map(|(area, prot, populate)| OpKind::Mmap {
            area,
            prot,
            populate
        }),
        (area.clone(), prot, returns).prop_map(|(area, prot, returns)| OpKind::Mprotect { area, prot, returns }),
        (page.clone(), any::<u64>(), done.clone()).prop_map(|(area, value, expect)| OpKind::Store {
            area,
            value,
            expect
        }),
        (page, seen.clone()).prop_map(|(area, expect)| OpKind::Load { area, expect }),
        (area.clone(), seen).prop_map(|(area, expect)| OpKind::Read { gpu: "b".into(), area, expect }),
        (area.clone(), any::<u64>(), done.clone()).prop_map(|(area, value, expect)| OpKind::Add {
            gpu: "a".into(),
            area,
            value,
            expect
        }),
        (both, done).prop_map(|((area, to), expect)| OpKind::Copy { gpu: "b".into(), area, to, expect }),
        area.clone().prop_map(|area| OpKind::ResetAttr { gpu: "a".into(), area, returns: Returns::Any }),
        area.clone().prop_map(|area| OpKind::Dontneed { area }),
        area.clone().prop_map(|area| OpKind::Migrate { area }),
        Just(OpKind::EvictVram { gpu: "a".into() }),
        (area.clone(), proptest::sample::select(Advice::ALL))
            .prop_map(|(area, advice)| OpKind::Advise { advice, area }),
        (area, any::<bool>()).prop_map(|(area, keep)| {
            let len = area.bytes.len();
            let to = Area { region: "there".into(), bytes: Bytes::new(0x80_0000, 0x80_0000 + len) };
            OpKind::Mremap { area, to: Some(to), len, keep, returns: Returns::ok() }
        }),
        Just(OpKind::Close { gpu: "b".into() }),
        Just(OpKind::Exit),
    ]
}

proptest! {
    #[test]
    fn any_scenario_survives_being_written(
        about in "[ -~äöü\\n\\t\"\\\\]{1,40}",
        prepare in proptest::collection::vec(op(), 0..4),
        ops in proptest::collection::vec(op(), 1..8),
    ) {
        prop_assume!(!about.trim().is_empty());
        let op = |kind: &OpKind| Op { kind: kind.clone(), at: Place::default() };
        let built = ScenarioBuilder::new("any", about.trim())
            .gpu(GpuDecl::new("a"))
            .gpu(GpuDecl::new("b"))
            .region("buf", 0x20_0000, 64 << 10)
            .unmapped_region("there", 0x80_0000, 64 << 10)
            .prepare(|p| prepare.iter().fold(p, |p, kind| p.op(kind.clone())))
            .thread("t", |t| ops.iter().fold(t, |t, kind| t.op(kind.clone())))
            .build()
            .map_err(|bad| TestCaseError::fail(bad.render(100, false)))?;
        prop_assert_eq!(&built.about, about.trim());
        prop_assert_eq!(built.prepare, prepare.iter().map(op).collect::<Vec<_>>());
        prop_assert_eq!(&built.threads[0].ops, &ops.iter().map(op).collect::<Vec<_>>());
    }
}
