//! One signal for "end now", seen by every clone; once given it stays given.

use tokio::sync::watch;

/// A cheap handle: clones share the signal. Dropping all handles does not give it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    signal: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { signal: watch::Sender::new(false) }
    }
}

impl Shutdown {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; giving it again changes nothing.
    pub fn trigger(&self) {
        self.signal.send_replace(true);
    }

    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.signal.borrow()
    }

    /// Returns once the signal is given; at once if it already was. May be dropped at any time.
    pub async fn wait(&self) {
        let mut seen = self.signal.subscribe();
        // The sender lives as long as `self`, so that waiting cannot fail.
        drop(seen.wait_for(|given| *given).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_signal_and_late_ones_too() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        let waiting = tokio::spawn(async move { clone.wait().await });
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        waiting.await.unwrap();
        shutdown.wait().await;
        assert!(shutdown.is_triggered());
    }
}
