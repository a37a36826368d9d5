//! Whether a service answers at all, reached as the load would reach it: one `GET` of its base URL, any status will do,
//! whatever its body.

use crate::http::{Client, Request, Settings};
use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// # Errors
/// No answer within the time; the text holds no secrets.
pub async fn reach(url: &str, settings: &Settings, timeout: Duration) -> Result<()> {
    let mut settings = settings.clone();
    let url = url.to_owned();
    settings.keep_alive = false;
    let (done, told) = oneshot::channel();
    // The client lives on one thread, with a runtime of its own.
    std::thread::Builder::new()
        .name("reach".to_owned())
        .spawn(move || drop(done.send(ask(&url, settings, timeout))))
        .context("no thread")?;
    told.await.context("the thread ended without an answer")?
}

fn ask(url: &str, settings: Settings, timeout: Duration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let mut request = Request::new(http::Method::GET, url)?;
        request.timeout = timeout;
        (request.keep_body, request.keep_head) = (false, false);
        let response = Client::new(settings)?.pool().send(&request).await;
        match response.failure {
            None => Ok(()),
            // It may stream without end, or be cut short: this is no request of the load.
            Some(_) if response.status != 0 => Ok(()),
            Some(failure) => bail!("{}", failure.text),
        }
    })
}
