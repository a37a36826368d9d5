//! How long `SELECT 1` takes on several ways to one server: `ways ROUNDS NAME=URL NAME=URL ...`. The ways take turns,
//! block by block, so that what else the machine does falls on all of them.

use anyhow::{Context, Result};
use std::io::Write;
use std::time::Instant;
use tokio_postgres::{Client, NoTls, Statement};

/// Queries on one way before the next has its turn.
const BLOCK: u64 = 50;

struct Way {
    name: String,
    client: Client,
    statement: Statement,
    times_us: Vec<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u64 = arguments.next().context("ROUNDS NAME=URL ...")?.parse()?;
    let mut ways = Vec::new();
    for argument in arguments {
        let (name, url) = argument.split_once('=').context("expected NAME=URL")?;
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let statement = client.prepare("SELECT 1").await?;
        ways.push(Way { name: name.to_owned(), client, statement, times_us: Vec::new() });
    }
    for round in 0..rounds {
        for way in &mut ways {
            for at in 0..BLOCK {
                let begin = Instant::now();
                way.client.query(&way.statement, &[]).await?;
                // The first of a block finds cold caches, the first rounds a cold machine.
                if at > 0 && round > rounds / 20 {
                    way.times_us.push(begin.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
    }
    let mut out = std::io::stdout().lock();
    let mut first = None;
    for way in &mut ways {
        way.times_us.sort_by(f64::total_cmp);
        let [p50, p99] = [50, 99].map(|percent| way.times_us[way.times_us.len() * percent / 100]);
        let (base50, base99) = *first.get_or_insert((p50, p99));
        writeln!(
            out,
            "{:<12} n {:>8}  p50 {p50:>7.1} us  p99 {p99:>7.1} us  more: {:>6.1}, {:>6.1} us",
            way.name,
            way.times_us.len(),
            p50 - base50,
            p99 - base99
        )?;
    }
    Ok(())
}
