//! `shop serve` and `shop seed`: reads the command line, hands over to the library, reports its error.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use shop::{Config, SeedOptions, run, seed, stop_signal};

const HELP: &str = "\
The shop: an orders API with every common performance fault behind a switch.

    shop serve                    serve until SIGINT or SIGTERM
    shop seed [--reset] [--scale N] [--seed N]
                                  create the tables and fill them; --reset drops what is there,
                                  --scale 0.01 makes a hundredth of the data

Example:

    export DATABASE_URL=postgres://postgres@127.0.0.1/shop
    shop seed && SHOP_SWITCHES=order_items=batched,connection=pool shop serve

Environment: DATABASE_URL, REDIS_URL, SHOP_LISTEN, SHOP_INVENTORY_LISTEN, SHOP_MAIL_LISTEN,
SHOP_SWITCHES, SHOP_ACCESS_LOG (a path, stderr or off), SHOP_EXIT_WITH_STDIN (0 or 1), OTEL_*.
README.md describes each.
";

enum Command {
    Help,
    Serve,
    Seed(SeedOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match command(std::env::args().skip(1)) {
        Ok(Command::Help) => write_out(HELP),
        Ok(Command::Serve) => serve().await,
        Ok(Command::Seed(options)) => fill(&options).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "shop: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn command(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Command> {
    let command = match arguments.next().as_deref() {
        None | Some("--help" | "-h" | "help") => return Ok(Command::Help),
        Some("serve") => Command::Serve,
        Some("seed") => return seed_options(arguments),
        Some(other) => bail!("there is no command `{other}`; see shop --help"),
    };
    match arguments.next().as_deref() {
        None => Ok(command),
        Some("--help" | "-h") => Ok(Command::Help),
        Some(other) => bail!("serve does not know `{other}`; its settings come from the environment"),
    }
}

fn seed_options(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Command> {
    let mut options = SeedOptions::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--reset" => options.reset = true,
            "--seed" => options.seed = value()?.parse().context("--seed must be a whole number")?,
            "--scale" => {
                let scale: f64 = value()?.parse().context("--scale must be a number")?;
                options = options.scaled(scale)?;
            }
            other => bail!("seed does not know `{other}`; see shop --help"),
        }
    }
    Ok(Command::Seed(options))
}

async fn serve() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    run(config, stop_signal()?).await
}

async fn fill(options: &SeedOptions) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let report = seed(&config.database_url, options).await?;
    write_out(&format!("{report}\n"))
}

fn write_out(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}
