//! Both sides run a program; what comes of that.

use super::kernel::Kernel;
use super::op::Program;
use super::rows::Row;
use super::seen;
use super::sim;
use sim_mm::Fault;

/// The kernel, and a simulator that may have a fault planted in it.
pub(crate) struct Referee<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) plant: Option<Fault>,
}

/// What came of a row.
pub(crate) struct Verdict {
    /// What the kernel told.
    pub(crate) told: String,
    /// How the simulator differs.
    pub(crate) differ: Option<String>,
}

impl Referee<'_> {
    /// Runs a program on both sides: nothing when they agree, else where and how they differ.
    ///
    /// # Errors
    /// The laboratory failed, and the program says nothing.
    pub(crate) fn program(&self, program: &Program) -> Result<Option<String>, String> {
        self.both(program).map(|(_, differ)| differ)
    }

    /// Runs a program that was given on the kernel's command line, with `_` for a space; tells what was told.
    ///
    /// # Errors
    /// The difference.
    pub(crate) fn given(&self, text: &str) -> Result<String, String> {
        let program: Program = text.replace('_', " ").parse()?;
        match self.both(&program)? {
            (real, None) => Ok(seen::told(&real[..program.0.len()])),
            (_, Some(how)) => Err(how),
        }
    }

    /// Runs a row.
    ///
    /// # Errors
    /// The kernel does not tell what the row says; or the laboratory failed.
    pub(crate) fn row(&self, row: &Row) -> Result<Verdict, String> {
        let before: Program = row.before.parse()?;
        let all: Program = format!("{}; {}", row.before, row.step).parse()?;
        let steps = all.0.len();
        let (real, differ) = self.both(&all)?;
        let told = seen::told(&real[before.0.len()..steps]);
        if row.told.split(" or ").all(|one| one != told) {
            return Err(format!("`{all}`\nthe kernel should tell: {}\nit tells:               {told}", row.told));
        }
        Ok(Verdict { told, differ })
    }

    fn both(&self, program: &Program) -> Result<(Vec<seen::Seen>, Option<String>), String> {
        let real = self.kernel.run(program).map_err(|error| format!("`{program}`: {error}"))?;
        let differ = |plant| match sim::run(program, plant) {
            Ok(sim) => seen::difference(&real, &sim).map(|(at, how)| {
                let step = program.0.get(at).map_or_else(|| "the end".to_string(), ToString::to_string);
                format!("step {} (`{step}`) of `{program}`\n    {how}", at + 1)
            }),
            Err(beyond) => Some(beyond),
        };
        let mut how = differ(self.plant);
        if self.plant.is_some() && how.is_some() && differ(None).is_some() {
            // That is not the plant.
            how = None;
        }
        Ok((real, how))
    }
}
