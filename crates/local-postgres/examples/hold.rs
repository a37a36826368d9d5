//! Holds a server until standard input ends: prints its connection string, process id and directory, a line each.

use local_postgres::{LocalPostgres, Options};
use std::io::Read;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = LocalPostgres::start(&Options::default(), &mut say).await?;
    say(&format!("{}\n{}\n{}", server.url(), server.pid(), server.directory().display()));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example prints")]
fn say(line: &str) {
    println!("{line}");
}
