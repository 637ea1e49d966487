//! The `svmlab` command; see `scenarios::cli`.

fn main() -> std::process::ExitCode {
    scenarios::cli::main()
}
