//! Whatever a file holds: no panic, every line is accounted for, memory stays in bounds.

use access_log::{Collector, Options, scan};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A line of each kind; mutations start from these.
const SEEDS: &[&str] = &[
    r#"203.0.113.9 - ann [22/Nov/2026:21:03:05 +0100] "GET /orders/17?page=2 HTTP/1.1" 200 5120 "-" "x \"y\"" 0.120 0.100, 0.118 : -"#,
    r#"shop:443 192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 12 "-" "x" 1 1120431"#,
    r#"192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /whoami HTTP/1.1" 200 417 "-" "-" 1 "web@docker" "http://172.18.0.3:80" 12ms"#,
    r#"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 5 "-" "x" rt=0.120 urt="0.118" [shop] [] é"#,
    r#"{"ts":1795381385.123,"logger":"http.log.access.log0","request":{"client_ip":"203.0.113.9","method":"GET","host":"shop","uri":"/a\u00e9?x=1","headers":{"User-Agent":["curl"]}},"duration":0.012,"size":5120,"status":200}"#,
    r#"{"log":"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /a HTTP/1.1\" 200 5120 \"-\" \"x\" 0.120\n","stream":"stdout","time":"2026-11-22T21:03:05.1Z"}"#,
    r#"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1""#,
    r#"[2026-11-22T21:03:05.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "ns" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80""#,
    r#"time=2026-11-22T21:03:06Z method=GET path="/b c" status=500 duration=58.33ms fwd="a\"b""#,
    "web-1  | 2026-11-22T21:03:05.1Z stdout F \u{fffd}",
];

/// Bytes that formats live by.
const MARKS: &[u8] = b"\"[]{}\\/ =:,.-+$%\n\r\t#0123456789eE\xff\xc3\x00";

fn mutated(random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut log = Vec::new();
    for _ in 0..random.random_range(1..12) {
        log.extend_from_slice(SEEDS[random.random_range(0..SEEDS.len())].as_bytes());
        log.push(b'\n');
    }
    for _ in 0..random.random_range(0..20) {
        let at = random.random_range(0..log.len());
        match random.random_range(0..4) {
            0 => log[at] = MARKS[random.random_range(0..MARKS.len())],
            1 => log.insert(at, MARKS[random.random_range(0..MARKS.len())]),
            2 => {
                let end = (at + random.random_range(1..40)).min(log.len());
                log.drain(at..end);
                if log.is_empty() {
                    log.push(b'\n');
                }
            }
            _ => log.truncate(at.max(1)),
        }
    }
    log
}

#[test]
fn no_mutation_of_any_format_panics_or_loses_a_line() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let formats: [Option<&str>; 6] = [
        None,
        None,
        Some(
            "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" $request_time $upstream_response_time",
        ),
        Some("%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" %D"),
        Some("envoy"),
        Some("json"),
    ];
    for round in 0..4000 {
        let log = mutated(&mut random);
        let format = formats[random.random_range(0..formats.len())];
        let options = Options { format: format.map(str::to_owned), ..Options::default() };
        let mut collector = Collector::default();
        let mut seen = 0;
        let Ok(scan) = scan(&log[..], &options, |request| {
            seen += 1;
            assert!(request.path().starts_with('/'), "round {round}");
            collector.take(request);
        }) else {
            continue;
        };
        assert_eq!(scan.lines, scan.requests + scan.unread(), "round {round}");
        assert_eq!(seen, scan.requests, "round {round}");
        let collected = collector.finish(&[("log".to_owned(), scan)]);
        let counted: u64 = collected.endpoints.iter().map(|e| e.requests).sum();
        assert_eq!(counted, collected.requests, "round {round}");
        assert!(!collected.text().is_empty());
    }
}

#[test]
fn no_format_string_panics() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    let parts = [
        "$request",
        "$",
        "${",
        "}",
        "%",
        "%{",
        "%t",
        "%>s",
        "%D",
        "%REQ(",
        ")%",
        "\"",
        "'",
        " ",
        "log_format x '",
        "LogFormat \"",
        "\\",
        "é",
        "[$time_local]",
        "$status",
    ];
    for round in 0..5000 {
        let format: String =
            (0..random.random_range(0..10)).map(|_| parts[random.random_range(0..parts.len())]).collect();
        let options = Options { format: Some(format), ..Options::default() };
        let log = format!("{}\n", SEEDS[round % SEEDS.len()]);
        // Either a reason or a count: both are fine, a panic is not.
        if let Ok(scan) = scan(log.as_bytes(), &options, |_| ()) {
            assert_eq!(scan.lines, scan.requests + scan.unread());
        }
    }
}

#[test]
fn deep_and_wide_json_is_bounded() {
    let deep = format!("{{\"request\":{}1{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    let wide: String = (0..20_000).map(|n| format!("\"k{n}\":{n},")).collect();
    let wide = format!(
        "{{{wide}\"ts\":1795381385,\"method\":\"GET\",\"path\":\"/a\",\"status\":200,\"duration_ms\":1}}\n"
    );
    let log = format!("{wide}{deep}{wide}");
    let scan = scan(log.as_bytes(), &Options::default(), |_| ()).unwrap();
    assert_eq!((scan.requests, scan.unread()), (2, 1));
}

#[test]
fn compressed_data_that_breaks_off_is_judged_as_far_as_it_goes() {
    let mut log = String::new();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    for n in 0..20_000 {
        log.push_str(&format!(
            "10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /a{}/{n} HTTP/1.1\" 200 5 \"-\" \"x\"\n",
            random.random::<u64>()
        ));
    }
    let whole = zstd::encode_all(log.as_bytes(), 1).unwrap();
    let scan = scan(&whole[..whole.len() / 2], &Options::default(), |_| ()).unwrap();
    assert!(scan.ended_early.is_some() && scan.requests > 1000, "{scan:?}");
}
