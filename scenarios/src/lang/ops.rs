//! Operations of threads, waves and `prepare`, and the parts they are made of: areas, attributes, outcomes.

use super::ast::*;
use super::error::Problem;
use super::names::{ERRNOS, errno};
use super::node::{Placed, Reader, Sink, place, unknown_node, value_place};
use super::size::human;
use kdl::{KdlEntry, KdlNode, KdlValue};
use model::Errno;
use model::units::{Bytes, PAGE_SIZE};

/// What a CPU thread can do.
pub(super) const THREAD_OPS: &[&str] = &[
    "set-attr",
    "get-attr",
    "reset-attr",
    "evict-vram",
    "munmap",
    "mmap",
    "mprotect",
    "mremap",
    "store",
    "load",
    "dontneed",
    "madvise-free",
    "madvise-cold",
    "pageout",
    "reclaim",
    "collapse",
    "mlock",
    "munlock",
    "oom-reap",
    "migrate",
    "fork",
    "after",
    "close",
    "fini",
    "exit",
    "read",
    "write",
    "add",
    "copy",
];
/// What of it only the process can do that has opened the GPU, or that is no child itself.
const NOT_IN_CHILDREN: &[&str] =
    &["set-attr", "get-attr", "reset-attr", "evict-vram", "close", "fini", "read", "write", "add", "copy", "fork"];
/// What a wave can do.
pub(super) const WAVE_OPS: &[&str] = &["read", "write", "add", "copy", "after"];

/// Which operations are allowed, and what calls return when nothing is said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// In `prepare`: one after the other, and what fails there was not meant.
    Prepare,
    /// In a thread.
    Thread,
    /// In a thread of a child process.
    Child,
    /// In a wave.
    Wave,
}

/// How much of a region an operation means when it does not say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// From `offset` to the end of the region, or `size` bytes.
    Part,
    /// The page at `offset`.
    Page,
    /// The page at `offset`, or `size` bytes.
    Pages,
}

/// Whether an interval must consist of pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alignment {
    /// It must.
    Must,
    /// It must, because the ioctl is not said to be refused.
    MustUnlessRefused,
    /// It need not: the ioctl is meant to be refused with EINVAL.
    NeedNot,
}

impl Alignment {
    fn of_ioctl(returns: &Returns) -> Self {
        if *returns == Returns::OneOf(vec![Err(Errno::EINVAL)]) { Self::NeedNot } else { Self::MustUnlessRefused }
    }
}

/// The names that operations can refer to.
pub(super) struct Scope<'a> {
    pub(super) sink: &'a Sink,
    pub(super) regions: &'a [Region],
    pub(super) gpus: &'a [GpuDecl],
    /// Regions and GPUs whose declaration was refused: using them is not a second problem.
    pub(super) broken: &'a [String],
}

impl Scope<'_> {
    /// The operations in the block of `node`.
    pub(super) fn ops(&self, nodes: &[KdlNode], here: Where) -> Vec<Op> {
        nodes.iter().filter_map(|node| self.op(node, here)).collect()
    }

    fn op(&self, node: &KdlNode, here: Where) -> Option<Op> {
        let mut r = Reader::new(node, self.sink);
        let at = r.head_place();
        let (known, inside): (&[&str], _) = match here {
            Where::Prepare => (THREAD_OPS, "prepare"),
            Where::Thread => (THREAD_OPS, "a thread"),
            Where::Child => (THREAD_OPS, "a thread of a child"),
            Where::Wave => (WAVE_OPS, "a wave"),
        };
        if here == Where::Child && NOT_IN_CHILDREN.contains(&r.name()) {
            let (label, help) = match r.name() {
                "fork" => ("a child forks", "only the first process does; it may do so several times"),
                _ => ("the child has not opened the GPU", "only threads without `process` talk to the driver"),
            };
            self.sink.push(Problem::new(format!("`{}` in a thread of a child", r.name()), at, label).help(help));
            return None;
        }
        if !known.contains(&r.name()) {
            self.misplaced(node, inside, known, here);
            return None;
        }
        let kind = match r.name() {
            "set-attr" => self.set_attr(&mut r, here),
            "get-attr" => self.get_attr(&mut r, here),
            "reset-attr" => {
                let returns = self.returns(&mut r, here);
                let gpu = self.gpu(&mut r);
                let area = self.area(&mut r, Shape::Part, Alignment::of_ioctl(&returns));
                gpu.zip(area).map(|(gpu, area)| OpKind::ResetAttr { gpu, area, returns })
            }
            "evict-vram" => self.gpu(&mut r).map(|gpu| OpKind::EvictVram { gpu }),
            "munmap" => self.area(&mut r, Shape::Part, Alignment::Must).map(|area| OpKind::Munmap { area }),
            "mmap" => {
                let prot = self.prot(&mut r).unwrap_or(Prot::RW);
                let populate = r.bool_prop("populate", false);
                self.area(&mut r, Shape::Part, Alignment::Must).map(|area| OpKind::Mmap { area, prot, populate })
            }
            "mprotect" => {
                let returns = self.returns(&mut r, here);
                let given = self.prot(&mut r);
                let said = r.node.entry("prot").map(|_| ());
                let said = r.require("prot", said, "mprotect \"buf\" prot=\"r\"");
                let area = self.area(&mut r, Shape::Part, Alignment::Must);
                said.and(given).zip(area).map(|(prot, area)| OpKind::Mprotect { area, prot, returns })
            }
            "store" | "write" | "add" => self.store(&mut r),
            "load" | "read" => self.load(&mut r),
            "copy" => self.copy(&mut r),
            "dontneed" => self.area(&mut r, Shape::Part, Alignment::Must).map(|area| OpKind::Dontneed { area }),
            "migrate" => self.area(&mut r, Shape::Part, Alignment::Must).map(|area| OpKind::Migrate { area }),
            "mremap" => self.mremap(&mut r, here),
            "fork" => r
                .string_arg("a name for the child", "fork \"child\"")
                .map(|(child, _)| OpKind::Fork { child: child.to_owned() }),
            name if let Some(advice) = Advice::named(name) => {
                self.area(&mut r, Shape::Part, Alignment::Must).map(|area| OpKind::Advise { advice, area })
            }
            "after" => r
                .string_arg("the name of a thread or wave", "after \"app\"")
                .map(|(actor, _)| OpKind::After { actor: actor.to_owned() }),
            "close" => self.gpu(&mut r).map(|gpu| OpKind::Close { gpu }),
            "fini" => self.gpu(&mut r).map(|gpu| OpKind::Fini { gpu }),
            _ => Some(OpKind::Exit),
        };
        r.finish_without_block();
        kind.map(|kind| Op { kind, at })
    }

    /// A node that stands in the wrong kind of block gets told which one is right.
    fn misplaced(&self, node: &KdlNode, inside: &str, known: &[&str], here: Where) {
        let name = node.name().value();
        let advice = match (here, name) {
            (Where::Wave, "load") => "a wave reads: read \"buf\" offset=0",
            (Where::Wave, "store") => "a wave writes: write \"buf\" offset=0 value=1",
            (Where::Wave, n) if THREAD_OPS.contains(&n) => "only a thread does that; a wave can read, write and wait",
            _ => return unknown_node(node, self.sink, inside, known),
        };
        self.sink.push(
            Problem::new(
                format!("`{name}` does not belong in {inside}"),
                place(node.name().span()),
                format!("not something {inside} can do"),
            )
            .help(advice),
        );
    }

    fn set_attr(&self, r: &mut Reader<'_>, here: Where) -> Option<OpKind> {
        let returns = self.returns(r, here);
        let gpu = self.gpu(r);
        let area = self.area(r, Shape::Part, Alignment::of_ioctl(&returns));
        let attrs = self.attrs(r, gpu.as_deref(), "set-attr \"buf\" access=\"enable\"");
        Some(OpKind::SetAttr { gpu: gpu?, area: area?, attrs: attrs?, returns })
    }

    fn get_attr(&self, r: &mut Reader<'_>, here: Where) -> Option<OpKind> {
        let returns = self.returns(r, here);
        let gpu = self.gpu(r);
        let area = self.area(r, Shape::Part, Alignment::of_ioctl(&returns));
        let checks = self.attrs(r, gpu.as_deref(), "get-attr \"buf\" access=\"enable\"");
        Some(OpKind::GetAttr { gpu: gpu?, area: area?, checks: checks?, returns })
    }

    fn mremap(&self, r: &mut Reader<'_>, here: Where) -> Option<OpKind> {
        const EXAMPLE: &str = "mremap \"buf\" to=\"elsewhere\"";
        let returns = self.returns(r, here);
        let area = self.area(r, Shape::Part, Alignment::Must);
        let to = r.string_prop("to");
        let to_said = r.node.entry("to").is_some();
        let to_offset = r.size_prop("to-offset");
        let new_size = r.size_prop("new-size");
        let keep = r.bool_prop("keep", false);
        let (resized, placed) = (r.node.entry("new-size").is_some(), r.node.entry("to-offset").is_some());
        if !to_said && (keep || placed || !resized) {
            let what = if keep || placed { "says nothing about where to" } else { "changes nothing" };
            self.sink.push(
                Problem::new(format!("this mremap {what}"), r.head_place(), "no `to`")
                    .help(format!("as in: {EXAMPLE}, or to shrink or grow it: mremap \"buf\" new-size=\"4K\"")),
            );
            return None;
        }
        let area = area?;
        let (len, len_at) = match new_size {
            Some(size) => size?,
            None => (area.bytes.len(), r.head_place()),
        };
        if keep && len != area.bytes.len() {
            self.sink.push(
                Problem::new("what is kept cannot change its size, too", len_at, "another size")
                    .help("MREMAP_DONTUNMAP moves pages only: leave `new-size` or `keep` out"),
            );
            return None;
        }
        if !to_said {
            // What it grows into must be declared, so that everybody can see it.
            let region = self.regions.iter().find(|g| g.name == area.region)?;
            let offset = area.bytes.start - region.bytes.start;
            self.within(region, (offset, len_at), Some((len, len_at)), Alignment::Must)?;
            return Some(OpKind::Mremap { area, to: None, len, keep, returns });
        }
        let name = to?;
        let to = self.target(r, name, to_offset, (len, len_at))?;
        if to.bytes.overlaps(&area.bytes) {
            self.sink.push(
                Problem::new("this mremap moves memory onto itself", name.1, "overlaps what is moved")
                    .help("the target is another region, which may be declared with mapped=#false"),
            );
            return None;
        }
        Some(OpKind::Mremap { area, to: Some(to), len, keep, returns })
    }

    fn store(&self, r: &mut Reader<'_>) -> Option<OpKind> {
        let given = r.number_prop("value", u64::MAX);
        let said = r.node.entry("value").map(|_| ());
        let example = format!("{} \"buf\" offset=0 value=7", r.name());
        r.require("value", said, &example);
        let expect = self.seen(r, false);
        let gpu = if r.name() == "store" { Some(String::new()) } else { self.gpu(r) };
        let area = self.area(r, Shape::Pages, Alignment::Must);
        let (((value, _), area), gpu) = given.zip(area).zip(gpu)?;
        Some(match r.name() {
            "store" => OpKind::Store { area, value, expect },
            "write" => OpKind::Write { gpu, area, value, expect },
            _ => OpKind::Add { gpu, area, value, expect },
        })
    }

    fn load(&self, r: &mut Reader<'_>) -> Option<OpKind> {
        let expect = self.seen(r, true);
        let gpu = if r.name() == "load" { Some(String::new()) } else { self.gpu(r) };
        let area = self.area(r, Shape::Pages, Alignment::Must);
        let (area, gpu) = area.zip(gpu)?;
        Some(match r.name() {
            "load" => OpKind::Load { area, expect },
            _ => OpKind::Read { gpu, area, expect },
        })
    }

    fn copy(&self, r: &mut Reader<'_>) -> Option<OpKind> {
        const EXAMPLE: &str = "copy \"buf\" to=\"other\"";
        let expect = self.seen(r, false);
        let gpu = self.gpu(r);
        let area = self.area(r, Shape::Pages, Alignment::Must);
        let to = r.string_prop("to");
        let to = r.require("to", to, EXAMPLE);
        let offset = r.size_prop("to-offset");
        let (area, name) = area.zip(to)?;
        let at = offset.flatten().map_or(name.1, |(_, at)| at);
        let to = self.target(r, name, offset, (area.bytes.len(), at))?;
        Some(OpKind::Copy { gpu: gpu?, area, to, expect })
    }

    /// What `to` and `to-offset` say: so much of the region called `name`. `offset` as it was read: not there, refused,
    /// or a number.
    fn target(
        &self,
        r: &Reader<'_>,
        name: Placed<&str>,
        offset: Option<Option<Placed<u64>>>,
        len: Placed<u64>,
    ) -> Option<Area> {
        let region = self.region_named(r, name)?;
        let offset = offset.unwrap_or(Some((0, name.1)))?;
        let bytes = self.within(region, offset, Some(len), Alignment::Must)?;
        Some(Area { region: region.name.clone(), bytes })
    }

    /// The region called so.
    fn region_named(&self, r: &Reader<'_>, name: Placed<&str>) -> Option<&Region> {
        if self.broken.iter().any(|b| b == name.0) {
            return None;
        }
        let names: Vec<&str> = self.regions.iter().map(|g| g.name.as_str()).collect();
        r.known(name, "region", &names, self.regions.iter().find(|g| g.name == name.0))
    }

    /// The GPU of a node: the one it names, else the only one there is.
    pub(super) fn gpu(&self, r: &mut Reader<'_>) -> Option<String> {
        match r.string_prop("gpu") {
            Some(name) => self.gpu_named(r, name),
            None if r.node.entry("gpu").is_some() => None,
            None => self.only_gpu(r, "gpu"),
        }
    }

    /// The GPU called so.
    pub(super) fn gpu_named(&self, r: &Reader<'_>, name: Placed<&str>) -> Option<String> {
        if self.broken.iter().any(|b| b == name.0) {
            return None;
        }
        let names: Vec<&str> = self.gpus.iter().map(|g| g.name.as_str()).collect();
        let found = self.gpus.iter().find(|g| g.name == name.0).map(|g| g.name.clone());
        r.known(name, "GPU", &names, found)
    }

    /// The GPU that needs no name.
    pub(super) fn only_gpu(&self, r: &Reader<'_>, key: &str) -> Option<String> {
        match self.gpus {
            [only] => Some(only.name.clone()),
            several => {
                let names: Vec<&str> = several.iter().map(|g| g.name.as_str()).collect();
                self.sink.push(
                    Problem::new(format!("`{}` does not say which GPU", r.name()), r.head_place(), "which one?")
                        .help(format!("there are {}; write {key}=\"{}\"", names.join(", "), names.first()?)),
                );
                None
            }
        }
    }

    /// The part of a region that a node names.
    pub(super) fn area(&self, r: &mut Reader<'_>, shape: Shape, alignment: Alignment) -> Option<Area> {
        let example = format!("{} \"buf\" offset=\"4K\"", r.name());
        let name = r.string_arg("the name of a region", &example);
        let offset = r.size_prop("offset");
        let size = match shape {
            Shape::Part | Shape::Pages => r.size_prop("size"),
            Shape::Page => None,
        };
        let region = name.and_then(|name| self.region_named(r, name))?;
        let name = name?;

        // `??`: the key is absent, or its value was refused already
        let (offset, offset_at) = offset.unwrap_or(Some((0, name.1)))?;
        let size = match (shape, size) {
            (Shape::Page, _) | (Shape::Pages, None) => Some((PAGE_SIZE, offset_at)),
            (Shape::Part | Shape::Pages, Some(size)) => Some(size?),
            (Shape::Part, None) => None,
        };
        self.within(region, (offset, offset_at), size, alignment)
            .map(|bytes| Area { region: region.name.clone(), bytes })
    }

    /// `offset` and `size` (or all that is left) as addresses in `region`; complains when they are not inside.
    pub(super) fn within(
        &self,
        region: &Region,
        (offset, offset_at): Placed<u64>,
        size: Option<Placed<u64>>,
        alignment: Alignment,
    ) -> Option<Bytes> {
        let length = region.bytes.len();
        let declared = format!("`{}` is {} long", region.name, human(length));
        let outside = |message, at, label: String| {
            self.sink.push(Problem::new(message, at, label).and(region.at, declared.clone()));
            None
        };
        if offset >= length {
            let message = format!("offset {} is outside of region `{}`", human(offset), region.name);
            return outside(message, offset_at, format!("must be below {}", human(length)));
        }
        let (bytes, size_at) = size.unwrap_or((length - offset, offset_at));
        if bytes > length - offset {
            let message =
                format!("offset {} and size {} reach out of region `{}`", human(offset), human(bytes), region.name);
            return outside(message, size_at, format!("at most {} from there", human(length - offset)));
        }
        let start = region.bytes.start + offset;
        let found = Bytes::new(start, start + bytes);
        if alignment == Alignment::NeedNot {
            return Some(found);
        }
        let mut fine = true;
        for (what, value, at) in [("offset", offset, offset_at), ("size", size.map_or(0, |s| s.0), size_at)] {
            if value % PAGE_SIZE != 0 {
                let mut help = format!("the page boundary below is {}", human(value / PAGE_SIZE * PAGE_SIZE));
                if alignment == Alignment::MustUnlessRefused {
                    help += "; an ioctl that is meant to be refused says so: returns=\"EINVAL\"";
                }
                self.sink.push(
                    Problem::new(format!("{what} {value:#x} is not page aligned"), at, "not a multiple of 4K")
                        .help(help),
                );
                fine = false;
            }
        }
        if bytes == 0 {
            self.sink.push(Problem::new("an empty interval", size_at, "there is nothing in it"));
            fine = false;
        }
        fine.then_some(found)
    }

    /// `prot`, if it is given and right.
    pub(super) fn prot(&self, r: &mut Reader<'_>) -> Option<Prot> {
        let name = r.string_prop("prot")?;
        let all = [Prot::RW, Prot::R, Prot::W, Prot::NONE];
        let found = all.into_iter().find(|p| p.name() == name.0);
        r.known(name, "protection", &all.map(Prot::name), found)
    }

    /// What a call may return.
    fn returns(&self, r: &mut Reader<'_>, here: Where) -> Returns {
        let unsaid = if here == Where::Prepare { Returns::ok() } else { Returns::Any };
        let Some((text, at)) = r.string_prop("returns") else { return unsaid };
        if text.trim() == "any" {
            return Returns::Any;
        }
        let mut names: Vec<String> = ERRNOS.iter().map(Errno::to_string).collect();
        names.extend(["ok".to_owned(), "any".to_owned()]);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut list = Vec::new();
        for word in text.split('|').map(str::trim) {
            let value = if word == "ok" { Some(Ok(())) } else { errno(word).map(Err) };
            match r.known((word, at), "result", &names, value) {
                Some(value) if list.contains(&value) => {
                    self.sink.push(Problem::new(format!("`{word}` is given twice"), at, "in here"));
                }
                Some(value) => list.push(value),
                None => return unsaid,
            }
        }
        Returns::OneOf(list)
    }

    /// `expect` of a load (`values` true) or store.
    fn seen(&self, r: &mut Reader<'_>, values: bool) -> Vec<Seen> {
        let Some(entry) = r.prop("expect") else { return Vec::new() };
        let at = value_place(entry);
        let help = if values { "as in expect=7, expect=\"0|7\" or expect=\"fault\"" } else { "\"ok\" or \"fault\"" };
        let read = |word: &str| match word {
            "fault" => Some(Seen::Fault),
            "ok" if !values => Some(Seen::Done),
            word if values => word.parse().ok().map(Seen::Value),
            _ => None,
        };
        self.alternatives(entry, read, values.then_some(Seen::Value)).unwrap_or_else(|wrong| {
            self.sink.push(
                Problem::new(format!("`{wrong}` is not something that can be seen here"), at, "expected")
                    .help(format!("expected {help}")),
            );
            Vec::new()
        })
    }

    /// Alternatives: a number, or words with `|` between them. The error is the word that was not understood.
    pub(super) fn alternatives<T: PartialEq>(
        &self,
        entry: &KdlEntry,
        read: impl Fn(&str) -> Option<T>,
        number: Option<fn(u64) -> T>,
    ) -> Result<Vec<T>, String> {
        match (entry.value(), number) {
            (KdlValue::Integer(n), Some(number)) => match u64::try_from(*n) {
                Ok(n) => Ok(vec![number(n)]),
                Err(_) => Err(n.to_string()),
            },
            (KdlValue::String(text), _) => {
                let mut list = Vec::new();
                for word in text.split('|').map(str::trim) {
                    let value = read(word).ok_or_else(|| word.to_owned())?;
                    if list.contains(&value) {
                        return Err(format!("{word}|{word}"));
                    }
                    list.push(value);
                }
                Ok(list)
            }
            (other, _) => Err(other.to_string()),
        }
    }

    /// The attributes of a node, in the order written; at least one. `gpu` is what the location `"gpu"` means.
    pub(super) fn attrs(&self, r: &mut Reader<'_>, gpu: Option<&str>, example: &str) -> Option<Vec<Attr>> {
        const OTHERS: &[&str] = &["access", "preferred-loc", "prefetch-loc", "granularity", "set-flags", "clr-flags"];
        let keys: Vec<&'static str> = OTHERS.iter().copied().chain(FLAGS.iter().map(|(name, _)| *name)).collect();
        let found = r.props_in_order(&keys);
        if found.is_empty() && !r.node.entries().iter().any(|e| e.name().is_some_and(|n| !is_place_key(n.value()))) {
            self.sink.push(
                Problem::new(format!("`{}` names no attribute", r.name()), r.head_place(), "nothing asked for")
                    .help(format!("as in: {example}")),
            );
        }
        let mut attrs = Vec::new();
        for (key, entry) in &found {
            attrs.push(self.attr(r, gpu, key, entry));
        }
        let attrs: Option<Vec<Attr>> = attrs.into_iter().collect();
        attrs.filter(|a| !a.is_empty())
    }

    fn attr(&self, r: &Reader<'_>, gpu: Option<&str>, key: &'static str, entry: &KdlEntry) -> Option<Attr> {
        match key {
            "access" => {
                let KdlValue::String(name) = entry.value() else {
                    return self.not_a(entry, key, "\"enable\", \"in-place\" or \"none\"");
                };
                let names: Vec<&str> = Access::ALL.iter().map(|a| a.name()).collect();
                let access = Access::ALL.iter().copied().find(|a| a.name() == name);
                r.known((name, value_place(entry)), "access", &names, access).map(Attr::Access)
            }
            "preferred-loc" => self.location(r, gpu, key, entry).map(Attr::PreferredLoc),
            "prefetch-loc" => self.location(r, gpu, key, entry).map(Attr::PrefetchLoc),
            "granularity" => r_number(self, entry, key).map(Attr::Granularity),
            "set-flags" => r_number(self, entry, key).map(|mask| Attr::Flags { mask, set: true }),
            "clr-flags" => r_number(self, entry, key).map(|mask| Attr::Flags { mask, set: false }),
            flag => {
                let mask = FLAGS.iter().find(|(name, _)| *name == flag)?.1;
                let KdlValue::Bool(set) = entry.value() else { return self.not_a(entry, key, "#true or #false") };
                Some(Attr::Flags { mask, set: *set })
            }
        }
    }

    fn location(&self, r: &Reader<'_>, gpu: Option<&str>, key: &'static str, entry: &KdlEntry) -> Option<u32> {
        let KdlValue::String(name) = entry.value() else { return r_number(self, entry, key) };
        let mut known = vec![("system", Attr::SYSTEM), ("undefined", Attr::UNDEFINED)];
        known.extend(self.gpus.iter().enumerate().map(|(i, g)| (g.name.as_str(), Attr::gpu_id(i))));
        let own = gpu.and_then(|gpu| known.iter().find(|(n, _)| *n == gpu).map(|(_, id)| *id));
        known.extend(own.map(|id| ("gpu", id)));
        let found = known.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
        r.known((name, value_place(entry)), "location", &names, found)
    }

    fn not_a<T>(&self, entry: &KdlEntry, key: &str, expected: &str) -> Option<T> {
        self.sink.push(
            Problem::new(format!("`{key}` must be {expected}"), value_place(entry), "this is not")
                .help(format!("expected {expected}")),
        );
        None
    }
}

/// Keys that say where or how, and so do not name an attribute.
fn is_place_key(key: &str) -> bool {
    matches!(key, "offset" | "size" | "gpu" | "returns")
}

/// A 32-bit number, as the attribute's value is.
fn r_number(scope: &Scope<'_>, entry: &KdlEntry, key: &str) -> Option<u32> {
    match entry.value() {
        KdlValue::Integer(n) if u32::try_from(*n).is_ok() => u32::try_from(*n).ok(),
        _ => scope.not_a(entry, key, "a whole number from 0 to 4294967295"),
    }
}
