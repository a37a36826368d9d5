//! Reads access logs and prints what is in them; its CPU time over its lines is the reader's speed.
//! `cargo run --release -p access-log --example read -- access.log`

use access_log::{Collector, Options, describe, scan};
use std::fs::File;
use std::io::Write;

fn main() -> anyhow::Result<()> {
    let mut collector = Collector::default();
    let mut logs = Vec::new();
    let mut out = std::io::stdout().lock();
    for path in std::env::args().skip(1) {
        let read = scan(File::open(&path)?, &Options::default(), |request| collector.take(request))?;
        writeln!(out, "{}", describe(&path, &read))?;
        logs.push((path, read));
    }
    write!(out, "{}", collector.finish(&logs).text())?;
    Ok(())
}
