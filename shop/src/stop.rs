//! What ends the shop: a signal, or the end of standard input when a parent process holds the other end.

use std::io::{Read as _, stdin};

use tokio::signal::unix::{SignalKind, signal as listen};
use tokio::sync::oneshot;

/// Ready at the first SIGINT or SIGTERM.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready when standard input has ended. Reads on a plain thread: the runtime's own blocking read
/// would keep the process from ending for any other reason.
pub(crate) async fn stdin_end() {
    let (ended, end) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while matches!(stdin().lock().read(&mut buffer), Ok(1..)) {}
        drop(ended);
    });
    // The sender is only ever dropped, which is the news.
    drop(end.await);
}
