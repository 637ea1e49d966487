//! Prints docs/peer-tests.md: `cargo run -p scenarios --example peer-table > docs/peer-tests.md`.

fn main() -> Result<(), String> {
    let corpus = scenarios::cli::load_corpus().map_err(|bad| bad.render(100, false))?;
    print!("{}", scenarios::peer::chapter(&corpus)?);
    Ok(())
}
