//! A tap on a free port, and its end.

use net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tap::{Address, Ledger, Listener, Options};
use tokio::task::JoinHandle;

pub(crate) struct Tap {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) address: Address,
    stop: Shutdown,
    serving: JoinHandle<()>,
}

impl Tap {
    pub(crate) async fn start(listen: &str, to: &str, max_connections: usize) -> Self {
        let to = Address::of_server(to).unwrap();
        let listener = Listener::bind(&Address::to_listen(listen).unwrap()).await.unwrap();
        let address = listener.address().clone();
        let (host, port) = to.parts();
        let (ledger, stop) = (Ledger::new(&host, port), Shutdown::new());
        let gap = Duration::from_millis(200);
        let options = Options { to, max_connections, gap, clock: (1_000_000_000, Instant::now()) };
        let serving = tokio::spawn(tap::run(listener, options, Arc::clone(&ledger), stop.clone()));
        Self { ledger, address, stop, serving }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.parts().1.unwrap()
    }

    /// Ends it; what it saw is in the ledger.
    pub(crate) async fn stop(self) -> Arc<Ledger> {
        self.stop.trigger();
        self.serving.await.unwrap();
        self.ledger
    }
}
