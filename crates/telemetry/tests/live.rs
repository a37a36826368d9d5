//! Scrapes of a real socket and figures of this very process.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]

use model::metrics::names;
use model::{Gap, MetricSeries};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use telemetry::host::{self, Watched};
use telemetry::prometheus::scrape;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that is a second later at each look.
fn clock() -> u64 {
    static SECONDS: AtomicU64 = AtomicU64::new(1);
    SECONDS.fetch_add(1, Ordering::Relaxed) * 1_000_000_000
}

/// Answers every connection with `answer`.
async fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            if stream.read(&mut asked).await.is_ok() {
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    format!("http://me:secret@{address}/metrics")
}

/// Takes until there is something.
async fn first(url: &str) -> (Vec<MetricSeries>, Vec<Gap>) {
    let own = BTreeMap::from([("service.name".to_owned(), "shop".to_owned())]);
    let scraping = scrape(url, EVERY, own, clock).unwrap();
    let taken = tokio::time::timeout(PATIENCE, async {
        loop {
            let (series, gaps) = scraping.take();
            if !series.is_empty() || !gaps.is_empty() {
                return (series, gaps);
            }
            tokio::task::yield_now().await;
        }
    });
    taken.await.unwrap()
}

#[tokio::test]
async fn a_page_of_metrics_is_scraped() {
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nup 1\n").await;
    let (series, gaps) = first(&url).await;
    assert_eq!(
        (series[0].name.as_str(), series[0].service(), series[0].points[0].value),
        ("up", Some("shop"), 1.0)
    );
    assert_eq!(gaps, []);
}

#[tokio::test]
async fn what_cannot_be_scraped_is_a_gap_without_the_password() {
    let missing = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let foreign = serve("220 mail.local ESMTP\r\n").await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = format!("http://me:secret@{}/metrics", taken.local_addr().unwrap());
    drop(taken);
    for (url, told) in
        [(missing, "answered 404"), (foreign, "scrapes failed"), (free, "cannot connect to http://")]
    {
        let (series, gaps) = first(&url).await;
        assert_eq!(series, []);
        assert!(gaps[0].signal == "metrics" && gaps[0].reason.contains(told), "{gaps:?}");
        assert!(!gaps[0].reason.contains("secret"), "{gaps:?}");
    }
}

#[tokio::test]
async fn this_process_has_figures_and_one_that_is_gone_has_a_gap() {
    let own = Watched { role: "trimtab".into(), pid: std::process::id(), include_children: true };
    // Beyond the largest number that Linux gives.
    let gone = Watched { role: "service".into(), pid: 1 << 23, include_children: false };
    let sampling = host::sample(vec![own, gone], EVERY, clock);
    let mut seen: BTreeMap<String, f64> = BTreeMap::new();
    let mut gaps = Vec::new();
    let all = tokio::time::timeout(PATIENCE, async {
        while !seen.contains_key(names::PROCESS_CPU) {
            let figures = sampling.take();
            gaps.extend(figures.gaps);
            seen.extend(figures.series.into_iter().map(|s| (s.name.clone(), s.points[0].value)));
            tokio::task::yield_now().await;
        }
    });
    all.await.unwrap();
    assert!(seen[names::PROCESS_MEMORY] > 1e6, "{seen:?}");
    assert!(seen[names::HOST_MEMORY] > 0.0 && seen[names::HOST_MEMORY] < 1.0, "{seen:?}");
    let told = gaps.iter().filter(|gap| gap.reason.contains("(service) ended")).count();
    assert_eq!(told, 1, "{gaps:?}");
}

#[test]
fn the_environment_names_host_and_processors() {
    let environment = host::environment();
    assert!(!environment.host.is_empty() && environment.cpus > 0 && environment.memory_bytes > 0);
}
