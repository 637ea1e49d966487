//! What a scenario file that is wrong gets told: the claims of the language about its own errors.
//!
//! Each case is a whole file, or the inside of a scenario; what a reader sees is kept as a snapshot.

use scenarios::lang::parse;

/// Puts `body` into a scenario that is otherwise right.
fn around(body: &str) -> String {
    format!("scenario \"case\" {{\n    about \"?\"\n{body}\n}}\n")
}

/// With a region, too.
fn with_region(body: &str) -> String {
    around(&format!("    region \"buf\" at=0x200000 size=\"64K\"\n{body}"))
}

fn told(cases: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (claim, text) in cases {
        let bad = parse("case.kdl", text).expect_err(claim);
        out.push_str(&format!("## {claim}\n\n{}\n", bad.render(100, false)));
    }
    out
}

#[test]
fn text_that_is_not_a_scenario_is_refused_where_it_stops_being_one() {
    let told = told(&[
        ("an empty file", String::new()),
        ("a boolean without its hash", with_region("    gpu xnack=false\n    thread \"t\" { munmap \"buf\" }")),
        ("a string that does not end", "scenario \"case {\n}\n".to_owned()),
        ("a block that does not end", "scenario \"case\" {\n    about \"?\"\n".to_owned()),
        ("a misspelt top-level node", "scenaro \"case\" {\n    about \"?\"\n}\n".to_owned()),
        (
            "two scenarios in one file",
            format!(
                "{}{}",
                with_region("    thread \"t\" { munmap \"buf\" }"),
                "scenario \"other\" {\n    about \"?\"\n    thread \"t\" { exit; }\n}\n"
            ),
        ),
        ("a scenario without a name", "scenario {\n    about \"?\"\n    thread \"t\" { exit; }\n}\n".to_owned()),
        (
            "a name that no file can have",
            "scenario \"My Case\" {\n    about \"?\"\n    thread \"t\" { exit; }\n}\n".to_owned(),
        ),
        ("no question", "scenario \"case\" {\n    thread \"t\" { exit; }\n}\n".to_owned()),
        ("nothing runs", around("")),
        ("a thread that does nothing", around("    thread \"t\" { }")),
        ("a thread without a block", around("    thread \"t\"")),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn a_name_that_nobody_knows_gets_the_one_that_was_probably_meant() {
    let told = told(&[
        ("a misspelt node", with_region("    thraed \"t\" { munmap \"buf\" }")),
        ("a misspelt operation", with_region("    thread \"t\" { munmpa \"buf\" }")),
        ("a misspelt key", with_region("    thread \"t\" { munmap \"buf\" ofset=\"4K\" }")),
        ("a key with the wrong dash", with_region("    thread \"t\" { set-attr \"buf\" gpu_ro=#true }")),
        ("a key that resembles nothing", with_region("    thread \"t\" { munmap \"buf\" colour=\"red\" }")),
        ("an unknown region", with_region("    thread \"t\" { munmap \"bfu\" }")),
        ("an unknown thread", with_region("    thread \"app\" { munmap \"buf\" }\n    thread \"t\" { after \"ap\" }")),
        ("an unknown GPU", with_region("    gpu \"a\"\n    gpu \"b\"\n    thread \"t\" { close gpu=\"c\" }")),
        (
            "a GPU that is not named when there are two",
            with_region("    gpu \"a\"\n    gpu \"b\"\n    thread \"t\" { close; }"),
        ),
        ("an unknown design", with_region("    thread \"t\" { exit; }\n    expect { holds \"hardend\" }")),
        ("an unknown invariant", with_region("    thread \"t\" { exit; }\n    expect { violates \"poc-v1\" \"I13\" }")),
        ("an unknown plant", with_region("    plant \"skip-tlb\"\n    thread \"t\" { exit; }")),
        ("an unknown errno", with_region("    thread \"t\" { set-attr \"buf\" access=\"enable\" returns=\"EFUALT\" }")),
        ("an unknown access", with_region("    thread \"t\" { set-attr \"buf\" access=\"enabled\" }")),
        ("an unknown strategy", with_region("    explore strategy=\"radnom\"\n    thread \"t\" { exit; }")),
        ("a wave that does what only a thread can", with_region("    gpu \"w\" { munmap \"buf\" }")),
        ("a wave that declares its GPU", with_region("    gpu \"w\" xnack=#true { read \"buf\" }")),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn a_place_that_does_not_exist_is_refused() {
    let told = told(&[
        (
            "regions that overlap",
            around(
                "    region \"a\" at=0x200000 size=\"64K\"\n    region \"b\" at=0x20f000 size=\"8K\"\n\
                 \x20   thread \"t\" { exit; }",
            ),
        ),
        (
            "a region that is not aligned",
            around("    region \"a\" at=0x200800 size=\"5000\"\n    thread \"t\" { munmap \"a\" }"),
        ),
        ("a region without an address", around("    region \"a\" size=\"4K\"\n    thread \"t\" { munmap \"a\" }")),
        (
            "a region at the end of the world",
            around("    region \"a\" at=0x7fffffffe000 size=\"4M\"\n    thread \"t\" { exit; }"),
        ),
        ("an offset outside", with_region("    thread \"t\" { munmap \"buf\" offset=\"64K\" }")),
        ("a size that reaches out", with_region("    thread \"t\" { munmap \"buf\" offset=\"60K\" size=\"8K\" }")),
        (
            "an ioctl that is not aligned and not meant to fail",
            with_region("    thread \"t\" { set-attr \"buf\" size=1 access=\"enable\" }"),
        ),
        ("an offset that is not aligned", with_region("    thread \"t\" { munmap \"buf\" offset=0x1800 }")),
        ("an empty interval", with_region("    thread \"t\" { munmap \"buf\" size=0 }")),
        ("a size that is not one", with_region("    thread \"t\" { munmap \"buf\" size=\"4KB\" }")),
        (
            "an exception outside",
            with_region("    thread \"t\" { exit; }\n    expect { mapped \"buf\" size=\"8K\" except=\"8K+4K\" }"),
        ),
        (
            "an exception that is not an interval",
            with_region("    thread \"t\" { exit; }\n    expect { mapped \"buf\" except=\"8K\" }"),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn a_value_that_is_missing_or_of_the_wrong_type_is_named() {
    let told = told(&[
        ("no region", with_region("    thread \"t\" { munmap }")),
        ("no value", with_region("    thread \"t\" { store \"buf\" }")),
        ("no protection", with_region("    thread \"t\" { mprotect \"buf\" }")),
        ("no attribute", with_region("    thread \"t\" { set-attr \"buf\" }")),
        ("no invariant", with_region("    thread \"t\" { exit; }\n    expect { violates \"poc-v1\" }")),
        ("no end of a random search", with_region("    explore strategy=\"random\"\n    thread \"t\" { exit; }")),
        ("a number for a name", with_region("    thread \"t\" { munmap 7 }")),
        ("a string for a boolean", with_region("    thread \"t\" { set-attr \"buf\" gpu-ro=\"yes\" }")),
        ("a boolean for a size", with_region("    thread \"t\" { munmap \"buf\" size=#true }")),
        ("a negative number", with_region("    thread \"t\" { store \"buf\" value=-1 }")),
        ("a word for a value", with_region("    thread \"t\" { load \"buf\" expect=\"seven\" }")),
        ("an argument too many", with_region("    thread \"t\" { munmap \"buf\" 4096 }")),
        ("a block where none belongs", with_region("    thread \"t\" { munmap \"buf\" { exit; } }")),
        ("a GC version that is not one", with_region("    gpu gc=\"9.4\"\n    thread \"t\" { exit; }")),
        ("XNACK where there is none", with_region("    gpu xnack=#true gc=\"11.0.0\"\n    thread \"t\" { exit; }")),
        ("chunk sizes the wrong way round", with_region("    gpu chunk-sizes=\"4K 2M\"\n    thread \"t\" { exit; }")),
        ("a seed that is not used", with_region("    explore seed=3\n    thread \"t\" { exit; }")),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn what_contradicts_itself_is_refused_with_both_places() {
    let runs = "    thread \"t\" { exit; }\n";
    let expect = |lines: &str| with_region(&format!("{runs}    expect {{\n{lines}\n    }}"));
    let told = told(&[
        ("a key twice", with_region("    thread \"t\" { set-attr \"buf\" gpu-ro=#true gpu-ro=#false }")),
        ("two threads of one name", with_region(&format!("{runs}    gpu \"t\" {{ read \"buf\" }}"))),
        (
            "two regions of one name",
            around(&format!(
                "    region \"a\" at=0x200000 size=\"4K\"\n    region \"a\" at=0x300000 size=\"4K\"\n{runs}"
            )),
        ),
        ("a thread called like a worker", around("    thread \"gc_work\" { exit; }")),
        (
            "threads that wait for each other",
            with_region(
                "    thread \"a\" { after \"b\" }\n    thread \"b\" { munmap \"buf\"; after \"c\" }\n\
                 \x20   gpu \"c\" { after \"a\" }",
            ),
        ),
        ("waiting before anything runs", with_region(&format!("    prepare {{ after \"t\" }}\n{runs}"))),
        (
            "a design that holds and does not",
            expect("        holds \"hardened\" \"poc-v1\"\n        violates \"poc-v1\" \"I1\""),
        ),
        (
            "mapped and unmapped",
            expect("        mapped \"buf\" except=\"8K+4K\"\n        unmapped \"buf\" offset=\"8K\" size=\"8K\""),
        ),
        ("two values in one place", expect("        value \"buf\" is=\"1|2\"\n        value \"buf\" is=3")),
        ("two states of the queues", expect("        queues \"running\"\n        queues \"stopped\"")),
        ("two accesses", expect("        attr \"buf\" access=\"enable\"\n        attr \"buf\" access=\"none\"")),
        (
            "a flag set and clear",
            expect("        attr \"buf\" gpu-ro=#true\n        attr \"buf\" offset=\"4K\" gpu-ro=#false"),
        ),
        ("a check that contradicts itself", expect("        attr \"buf\" set-flags=0x18 gpu-exec=#false")),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_text() {
    let text = with_region(
        "    thread \"a\" {\n        munmap \"bfu\"\n        store \"buf\"\n    }\n\
         \x20   gpu \"w\" { read \"buf\" ofset=0 }\n    expect { holds \"hardend\" }",
    );
    let bad = parse("case.kdl", &text).expect_err("four things are wrong");
    let messages: Vec<&str> = bad.problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(
        messages,
        ["unknown region `bfu`", "`store` needs `value`", "`read` does not take `ofset`", "unknown design `hardend`"]
    );
    assert_eq!(bad.to_string(), "case.kdl: 4 problems");
}

#[test]
fn a_region_that_was_refused_is_not_reported_again_where_it_is_used() {
    let text = around("    region \"buf\" at=0x200800 size=\"4K\"\n    thread \"t\" { munmap \"buf\" }");
    let bad = parse("case.kdl", &text).expect_err("unaligned");
    assert_eq!(bad.problems.len(), 1, "{:?}", bad.problems);
}

#[test]
fn places_are_counted_in_characters_also_behind_letters_of_several_bytes() {
    let text = "scenario \"case\" {\n    about \"Größe\"; thread \"t\" { munmap \"bfu\" }\n}\n";
    let bad = parse("case.kdl", text).expect_err("no such region");
    let at = bad.problems[0].labels[0].0;
    assert_eq!(&text[at.offset..at.offset + at.len], "\"bfu\"");
    assert_eq!(bad.line_and_column(at), (2, 40));
}

#[test]
fn what_cannot_be_done_with_memory_and_children_is_refused() {
    let two = |body: &str| {
        with_region(&format!(
            "    region \"there\" at=0x400000 size=\"8K\" mapped=#false\n    thread \"t\" {{ {body} }}"
        ))
    };
    let told = told(&[
        ("an mremap that does nothing", two("mremap \"buf\"")),
        ("an mremap onto itself", two("mremap \"buf\" to=\"buf\"")),
        ("an mremap to nowhere", two("mremap \"buf\" to=\"thre\"")),
        ("an mremap to a place that is too small", two("mremap \"buf\" to=\"there\"")),
        ("an mremap that grows out of its region", two("mremap \"buf\" new-size=\"128K\"")),
        ("an mremap that keeps and resizes", two("mremap \"buf\" to=\"there\" new-size=\"4K\" keep=#true")),
        ("a misspelt advice", two("madvise-fee \"buf\"")),
        (
            "a place with a kind",
            around("    region \"b\" at=4096 size=4096 mapped=#false kind=\"file\"\n    thread \"t\" { exit; }"),
        ),
        ("half a huge page", around("    region \"b\" at=4096 size=4096 kind=\"hugetlb\"\n    thread \"t\" { exit; }")),
        ("a child that nobody forks", with_region("    thread \"t\" process=\"c\" { load \"buf\" }")),
        (
            "a misspelt child",
            with_region("    thread \"t\" { fork \"child\" }\n    thread \"u\" process=\"chld\" { load \"buf\" }"),
        ),
        ("two children of one name", with_region("    thread \"t\" { fork \"c\"; fork \"c\" }")),
        (
            "a child that talks to the driver",
            with_region(
                "    thread \"t\" { fork \"c\" }\n    thread \"u\" process=\"c\" { set-attr \"buf\" access=\"enable\"; read \"buf\"; fork \"d\" }",
            ),
        ),
    ]);
    insta::assert_snapshot!(told);
}
