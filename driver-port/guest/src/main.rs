//! Process 1 of the virtual machine in which the driver meets a real kernel.
//!
//! It mounts what a process needs, loads the modules in the order the initramfs gives, runs the suites named on the kernel
//! command line, says on the second serial port what came of each check, and reboots, which ends the machine. What the
//! suites are stands in [`suites`]; how one is written in [`suite`].

mod churn;
mod device;
mod driver;
mod fuzz;
mod gpu;
mod hmm;
mod init;
mod lab;
mod mm;
mod platform;
mod races;
mod report;
mod suite;
mod suites;
mod touch;
mod wild;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        init::run();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [platform::CHILD, test] => return platform::child(test),
        // While the initramfs is made.
        ["counterexamples"] => return print(races::counterexamples()),
        _ => {}
    }
    println!(
        "This is process 1 of svmlab's virtual machine; it does nothing anywhere else.\n\
         driver-port/vm/test builds it, boots a kernel with it, and runs these suites:\n"
    );
    for suite in suites::ALL.iter().chain(suites::ON_DEMAND) {
        println!("  {:<8} {}", suite.name, suite.about);
    }
    ExitCode::from(2)
}

fn print(text: Result<String, String>) -> ExitCode {
    match text {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
