//! A log as a recording, judged: endpoints, goals, findings, gaps.

use access_log::{Collected, Collector, Options, scan};
use expect_test::expect;
use localize::localize;

fn collect(log: &str) -> Collected {
    let mut collector = Collector::default();
    let scan = scan(log.as_bytes(), &Options::default(), |request| collector.take(request)).expect("a log");
    collector.finish(&[("access.log".to_owned(), scan)])
}

/// Ten minutes at one request a second; a large reply takes 1 ms for each kB.
fn log(timed: bool) -> String {
    let mut out = String::new();
    for second in 0..600_u64 {
        let stamp = format!("22/Nov/2026:21:{:02}:{:02} +0000", second / 60, second % 60);
        let (path, ms, status, bytes) = match second % 4 {
            0 => {
                (format!("/orders/{second}"), 40 + second % 7, if second % 40 == 0 { 503 } else { 200 }, 512)
            }
            1 => ("/export".to_owned(), 100 + (second * 37) % 900, 200, (100 + (second * 37) % 900) * 1000),
            2 => ("/login".to_owned(), 10, 302, 0),
            _ => (format!("/wp-admin/{second}.php"), 1, 404, 9),
        };
        let time = if timed { format!(" 0.{ms:03}") } else { String::new() };
        out.push_str(&format!(
            "10.0.0.7 - - [{stamp}] \"GET {path} HTTP/1.1\" {status} {bytes} \"-\" \"x\"{time}\n"
        ));
    }
    out
}

/// The diagnosis, a line for each thing.
fn told(diagnosis: &model::Diagnosis) -> String {
    let mut text = String::new();
    for goal in &diagnosis.goals {
        text.push_str(&format!(
            "{} {:?} {:?}\n",
            goal.goal,
            goal.measured.map(|m| (m * 1e4).round() / 1e4),
            goal.met
        ));
    }
    for e in &diagnosis.recording.endpoints {
        text.push_str(&format!(
            "{} n={} {:.3}/s p50={:.1} p95={:.1} errors={:.3}\n",
            e.endpoint, e.requests, e.rate_per_s, e.p50_ms, e.p95_ms, e.error_share
        ));
    }
    for f in &diagnosis.findings {
        text.push_str(&format!("finding {} {} {}\n", f.rule, f.endpoint, f.title));
    }
    for g in &diagnosis.gaps {
        text.push_str(&format!("gap {}: {}\n", g.signal, g.reason));
    }
    text
}

#[test]
fn a_log_with_times_is_judged_as_a_recording_is() {
    let collected = collect(&log(true));
    let goals = [
        "p95(GET /orders/{id}) < 45 ms",
        "p95(GET /login) < 20 ms",
        "errors(GET /orders/{id}) < 5 %",
        "rate(GET /export) > 0.2/s",
    ];
    let goals = goals.iter().map(|g| g.parse().unwrap()).collect();
    let diagnosis =
        localize(&collected.recording, &localize::Options { goals, ..localize::Options::default() });
    let text = told(&diagnosis);
    expect![[r#"
        p95(GET /orders/{id}) < 45 ms Some(46.186) Some(false)
        p95(GET /login) < 20 ms Some(10.03) Some(true)
        errors(GET /orders/{id}) < 5 % Some(0.1) Some(false)
        rate(GET /export) > 0.2/s Some(0.25) Some(true)
        GET (not found) n=150 0.250/s p50=1.0 p95=1.0 errors=0.000
        GET /export n=150 0.250/s p50=539.8 p95=948.0 errors=0.000
        GET /login n=150 0.250/s p50=10.0 p95=10.0 errors=0.000
        GET /orders/{id} n=150 0.250/s p50=42.8 p95=46.2 errors=0.100
        finding failing_requests GET /orders/{id} 10.0 % of the requests fail: 503
        finding slow_endpoint GET /orders/{id} slow, and nothing within it was seen: p95 46 ms
        finding large_payload GET /export replies with 547 kB
        gap log: 150 requests for paths that were never found (400, 404, 405) are one endpoint, `(not found)`: most often /wp-admin/103.php (1), /wp-admin/107.php (1), /wp-admin/11.php (1)
        gap traces: an access log shows requests from outside: no step within them can be seen
    "#]].assert_eq(&text);
    expect![[r#"
        Statuses and sizes
          GET (not found): 150 requests, 0.25/s, 404 100.0 %, size p50 9 B p95 9 B
          GET /export: 150 requests, 0.25/s, 200 100.0 %, size p50 538.7 kB p95 956.4 kB
          GET /login: 150 requests, 0.25/s, 302 100.0 %, size p50 at most 1 B p95 at most 1 B
          GET /orders/{id}: 150 requests, 0.25/s, 200 90.0 %, !503 10.0 %, size p50 509 B p95 509 B
        Over time (from the log's start)
               from      rate       p50       p95       p99  errors
            0:00:00     1.0/s   40.1 ms  731.0 ms  878.8 ms    4.0%
            0:00:50     1.0/s   10.0 ms  841.5 ms  990.0 ms    2.0%
            0:01:40     1.0/s   40.1 ms  832.5 ms  979.3 ms    2.0%
            0:02:30     1.0/s   10.0 ms  805.9 ms  948.0 ms    2.0%
            0:03:20     1.0/s   40.1 ms  780.1 ms  927.7 ms    4.0%
            0:04:10     1.0/s   10.0 ms  755.1 ms  907.8 ms    2.0%
            0:05:00     1.0/s   40.1 ms  731.0 ms  878.8 ms    2.0%
            0:05:50     1.0/s   10.0 ms  841.5 ms  990.0 ms    2.0%
            0:06:40     1.0/s   40.1 ms  832.5 ms  979.3 ms    4.0%
            0:07:30     1.0/s   10.0 ms  805.9 ms  958.3 ms    2.0%
            0:08:20     1.0/s   40.1 ms  788.6 ms  937.8 ms    2.0%
            0:09:10     1.0/s   10.0 ms  763.4 ms  907.8 ms    2.0%
    "#]]
    .assert_eq(&collected.text());
}

#[test]
fn a_log_without_times_tells_rates_statuses_and_sizes_and_what_to_add() {
    let collected = collect(&log(false));
    assert!(collected.recording.latencies.is_empty() && collected.recording.spans.is_empty());
    let gaps: Vec<String> =
        collected.recording.run.gaps.iter().map(|g| format!("{}\n  {}", g.reason, g.hint)).collect();
    expect![[r#"
        access.log: it tells no response time: rates, statuses and sizes are all that can be judged
          nginx: log_format timed '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_time $upstream_response_time'; access_log ... timed;; Apache: LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" %D" timed
        150 requests for paths that were never found (400, 404, 405) are one endpoint, `(not found)`: most often /wp-admin/103.php (1), /wp-admin/107.php (1), /wp-admin/11.php (1)
          links that lead nowhere, or scanners; nothing to do where it is the latter"#]].assert_eq(&gaps.join("\n"));
    let orders = collected.endpoints.iter().find(|e| e.name == "GET /orders/{id}").unwrap();
    assert_eq!((orders.requests, orders.errors, orders.statuses[&503]), (150, 15, 15));
    let counted: f64 = collected
        .recording
        .series(access_log::series::REQUESTS)
        .filter(|s| s.attribute("http.route") == Some("/orders/{id}"))
        .filter_map(|s| s.points.last())
        .map(|p| p.value)
        .sum();
    assert!((counted - 150.0).abs() < 0.5);
}

#[test]
fn every_request_is_in_one_cell_whatever_the_paths_and_the_time() {
    let mut out = String::new();
    for n in 0..60_000_u64 {
        let name: String = (0..4).map(|d| char::from(b'a' + (((n * 7919) >> (d * 4)) % 16) as u8)).collect();
        let (day, hour) = (1 + n / 2400, n / 100 % 24);
        out.push_str(&format!(
            "{{\"time\":\"2026-11-{:02}T{hour:02}:{:02}:{:02}Z\",\"method\":\"GET\",\"path\":\"/{}/{name}\",\"status\":200,\"duration_ms\":{}}}\n",
            1 + day % 28, n % 60, n * 7 % 60, ["u", "blog", "x"][(n % 3) as usize], n % 50
        ));
    }
    let collected = collect(&out);
    let counted: u64 = collected.recording.latencies.iter().map(|c| c.response.count()).sum();
    assert_eq!(counted, 60_000);
    let names: Vec<&str> = collected.endpoints.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["GET /blog/{name}", "GET /u/{name}", "GET /x/{name}"]);
    assert!(collected.recording.latencies.len() <= 100_000);
    let mut sorted = collected.recording.latencies.iter().map(|c| (c.operation, c.cell)).collect::<Vec<_>>();
    sorted.dedup();
    assert_eq!(sorted.len(), collected.recording.latencies.len());
}
