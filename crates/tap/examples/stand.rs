//! A tap alone, for measurements of what it costs: `stand LISTEN TO`.

use anyhow::{Context, Result};
use net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tap::{Address, Ledger, Listener, Options};

/// As the program does.
const TICK: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen = Address::to_listen(&arguments.next().context("LISTEN TO")?)?;
    let to = Address::of_server(&arguments.next().context("LISTEN TO")?)?;
    let ledger = Ledger::new("server", None);
    let book = Arc::clone(&ledger);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            drop(book.take());
        }
    });
    let (gap, clock) = (Duration::from_millis(5), (0, Instant::now()));
    let options = Options { to, max_connections: 1_000, gap, clock };
    tap::run(Listener::bind(&listen).await?, options, ledger, Shutdown::new()).await;
    Ok(())
}
