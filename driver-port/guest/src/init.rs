//! What process 1 does around the suites.

use crate::report::Report;
use crate::suite::{Args, Suite};
use crate::{lab, suites};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use std::error::Error;
use std::fs::{self, File, OpenOptions};

/// The port of the report; the kernel's own messages, and what this program writes to stderr, go to the first.
const REPORT_PORT: &str = "/dev/ttyS1";

/// What is mounted where, in this order. The kernel has mounted nothing for a program in an initramfs.
const FILE_SYSTEMS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("debugfs", "/sys/kernel/debug"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/tmp"),
];

/// Everything; then the end of the machine.
pub(crate) fn run() -> ! {
    if let Err(error) = machine() {
        eprintln!("guest: {error}");
    }
    // With -no-reboot that ends QEMU, on every kernel; powering off wants ACPI.
    let error = reboot(RebootCommand::Restart).err();
    panic!("the machine does not reboot: {error:?}");
}

fn machine() -> Result<(), Box<dyn Error>> {
    for (kind, place) in FILE_SYSTEMS {
        fs::create_dir_all(place)?;
        mount(*kind, *place, *kind, MountFlags::empty(), None).map_err(|e| format!("{kind} at {place}: {e}"))?;
    }
    let port = report_port().map_err(|e| format!("{REPORT_PORT}: {e}"))?;
    let mut report = Report::to(port.try_clone()?);

    let (names, args) = Args::parse(std::env::args().skip(1));
    let known = |name: &String| suites::ALL.iter().chain(suites::ON_DEMAND).any(|suite| suite.name == name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        return Err(format!("there is no suite {name}").into());
    }
    lab::FIRST.run(&mut report, &args);
    let asked = |suite: &&Suite| names.iter().any(|name| name == suite.name);
    let wanted = suites::ALL.iter().filter(|suite| names.is_empty() || asked(suite));
    for suite in wanted.chain(suites::ON_DEMAND.iter().filter(asked)) {
        suite.run(&mut report, &args);
    }
    lab::LAST.run(&mut report, &args);
    report.end();
    Ok(tcdrain(&port)?)
}

/// The port, set to pass bytes as they are.
fn report_port() -> Result<File, Box<dyn Error>> {
    let port = OpenOptions::new().read(true).write(true).open(REPORT_PORT)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}
