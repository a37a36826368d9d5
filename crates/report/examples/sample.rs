//! Writes the pages that the tests look at into a directory, to look at while working on `ui/report`:
//! `cargo run -p report --example sample -- DIRECTORY`.

#[path = "../tests/report/sample.rs"]
mod sample;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    for (name, page) in sample::pages() {
        std::fs::write(directory.join(format!("{name}.html")), page)?;
    }
    Ok(())
}
