//! Real kinds of lines, one log each: what is read of them.

use access_log::{Options, Scan, scan};

/// Format, then a line for each request.
fn read_with(log: &str, options: &Options) -> String {
    let mut out = Vec::new();
    let scan: Scan = scan(log.as_bytes(), options, |r| {
        let ms = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| format!("{}", ns as f64 / 1e6));
        out.push(format!(
            "{} {} {} {} ms, upstream {} ms, {} out, {} in, {}",
            r.method,
            r.target,
            r.status,
            ms(r.duration_ns),
            ms(r.upstream_ns),
            r.sent_bytes.map_or("-".to_owned(), |b| b.to_string()),
            r.received_bytes.map_or("-".to_owned(), |b| b.to_string()),
            r.begin_ns / 1_000_000,
        ));
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    let mut text = format!("{}\n{}\n", scan.format, out.join("\n"));
    for assumed in &scan.assumed {
        text.push_str(&format!("assumed: {assumed}\n"));
    }
    for (reason, (count, first)) in &scan.unreadable {
        text.push_str(&format!("{count} {reason}, first line {first}\n"));
    }
    text
}

#[track_caller]
fn check(log: &str, expected: &expect_test::Expect) {
    expected.assert_eq(&read_with(log, &Options::default()));
}

use expect_test::expect;

#[test]
fn nginx_combined() {
    check(
        r#"203.0.113.9 - - [22/Nov/2026:21:03:05 +0100] "GET /orders/17?page=2 HTTP/1.1" 200 5120 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64)"
203.0.113.9 - ann smith [22/Nov/2026:21:03:06 +0100] "POST /orders HTTP/2.0" 201 31 "-" "curl/8.5 \"quoted\""
203.0.113.9 - - [22/Nov/2026:21:03:07 +0100] "\x16\x03\x01" 400 157 "-" "-"
203.0.113.9 - - [22/Nov/2026:21:03:08 +0100] "" 408 0 "-" "-"
"#,
        &expect![[r#"
            combined format of nginx or Apache
            GET /orders/17?page=2 200 - ms, upstream - ms, 5120 out, - in, 1795377785000
            POST /orders 201 - ms, upstream - ms, 31 out, - in, 1795377786000
            2 without a method and a path (other messages, or no HTTP at all), first line 3
        "#]],
    );
}

#[test]
fn nginx_combined_with_request_and_upstream_time() {
    check(
        r#"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 5120 "-" "x" 0.120 0.118
10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /b HTTP/1.1" 502 5120 "-" "x" 0.220 0.100, 0.118
10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /c HTTP/1.1" 304 0 "-" "x" 0.000 -
"#,
        &expect![[r#"
            combined format of nginx or Apache with a response time in seconds
            GET /a 200 120 ms, upstream 118 ms, 5120 out, - in, 1795381384880
            GET /b 502 220 ms, upstream 218 ms, 5120 out, - in, 1795381384780
            GET /c 304 0 ms, upstream - ms, 0 out, - in, 1795381385000
        "#]],
    );
    check(
        r#"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 5120 "-" "x" "203.0.113.1" rt=0.120 uct="0.000" uht="0.110" urt="0.118"
10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /c HTTP/1.1" 304 0 "-" "x" "-" rt=0.000 uct="-" uht="-" urt="-"
"#,
        &expect![[r#"
            combined format of nginx or Apache with a response time in seconds
            GET /a 200 120 ms, upstream 118 ms, 5120 out, - in, 1795381384880
            GET /c 304 0 ms, upstream - ms, 0 out, - in, 1795381385000
        "#]],
    );
}

#[test]
fn ingress_nginx() {
    check(
        r#"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 5120 "-" "x" 431 0.120 [shop-web-80] [] 10.1.2.3:8080 5120 0.118 200 7b2f0d0c9a5e4d1f8a3b6c7d8e9f0a1b
10.0.0.7 - - [22/Nov/2026:21:03:06 +0000] "GET /b HTTP/1.1" 200 12 "-" "x" 331 0.020 [shop-web-80] [] 10.1.2.3:8080 12 0.019 200 8b2f0d0c9a5e4d1f8a3b6c7d8e9f0a1b
"#,
        &expect![[r#"
            combined format of nginx or Apache with a response time in seconds
            GET /a 200 120 ms, upstream 118 ms, 5120 out, - in, 1795381384880
            GET /b 200 20 ms, upstream 19 ms, 12 out, - in, 1795381385980
        "#]],
    );
}

#[test]
fn apache_common_combined_and_times() {
    check(
        "192.0.2.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /apache_pb.gif HTTP/1.0\" 200 2326\n192.0.2.1 - - [10/Oct/2000:13:55:37 -0700] \"GET / HTTP/1.0\" 304 -\n",
        &expect![[r#"
            common log format
            GET /apache_pb.gif 200 - ms, upstream - ms, 2326 out, - in, 971211336000
            GET / 304 - ms, upstream - ms, - out, - in, 971211337000
        "#]],
    );
    check(
        r#"192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 12 "-" "x" 120431
192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 12 "-" "x" 98000
"#,
        &expect![[r#"
            combined format of nginx or Apache with a response time in microseconds
            GET /a 200 120.431 ms, upstream - ms, 12 out, - in, 1795381385000
            GET /a 200 98 ms, upstream - ms, 12 out, - in, 1795381385000
            assumed: the whole number behind the combined format (median 120431) is taken as a response time in microseconds
        "#]],
    );
    check(
        r#"shop.example:443 192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 12 "-" "x" 1 1120431
shop.example:443 192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /a HTTP/1.1" 200 12 "-" "x" 0 98000
"#,
        &expect![[r#"
            virtual host and combined format of nginx or Apache with a response time in microseconds
            GET /a 200 1120.431 ms, upstream - ms, 12 out, - in, 1795381385000
            GET /a 200 98 ms, upstream - ms, 12 out, - in, 1795381385000
        "#]],
    );
    let options =
        Options { format: Some("%h %l %u %t \"%r\" %>s %b %{ms}T".to_owned()), ..Options::default() };
    expect![[r#"
        the given format
        GET /a 200 31 ms, upstream - ms, 12 out, - in, 1795381385000
    "#]]
    .assert_eq(&read_with(
        "192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] \"GET /a HTTP/1.1\" 200 12 31\n",
        &options,
    ));
}

#[test]
fn caddy() {
    check(
        r#"{"level":"info","ts":1795381385.123,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"203.0.113.9","remote_port":"41342","client_ip":"203.0.113.9","proto":"HTTP/2.0","method":"GET","host":"shop.example","uri":"/orders/17?x=1","headers":{"User-Agent":["curl/8.5"],"Accept":["*/*"]},"tls":{"resumed":false}},"bytes_read":0,"user_id":"","duration":0.012345,"size":5120,"status":200,"resp_headers":{"Server":["Caddy"]}}
{"level":"info","ts":1795381386.5,"msg":"certificate renewed"}
"#,
        &expect![[r#"
            Caddy's JSON lines
            GET /orders/17?x=1 200 12.345 ms, upstream - ms, 5120 out, 0 in, 1795381385110
            1 without a method and a path (other messages, or no HTTP at all), first line 2
        "#]],
    );
}

#[test]
fn traefik() {
    check(
        r#"192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /whoami HTTP/1.1" 200 417 "-" "-" 1 "web@docker" "http://172.18.0.3:80" 12ms
192.0.2.1 - - [22/Nov/2026:21:03:05 +0000] "GET /whoami HTTP/1.1" 200 417 "-" "-" 2 "web@docker" "http://172.18.0.3:80" 0ms
"#,
        &expect![[r#"
            Traefik's form of the common log format with a response time
            GET /whoami 200 12 ms, upstream - ms, 417 out, - in, 1795381385000
            GET /whoami 200 0 ms, upstream - ms, 417 out, - in, 1795381385000
        "#]],
    );
    check(
        r#"{"ClientAddr":"192.0.2.1:41342","ClientHost":"192.0.2.1","DownstreamContentSize":417,"DownstreamStatus":200,"Duration":12345678,"OriginContentSize":417,"OriginDuration":12000000,"OriginStatus":200,"Overhead":345678,"RequestAddr":"shop.example","RequestContentSize":7,"RequestHost":"shop.example","RequestMethod":"GET","RequestPath":"/whoami?x=1","RequestPort":"-","RequestProtocol":"HTTP/1.1","RouterName":"web@docker","StartUTC":"2026-11-22T21:03:05.123456789Z","level":"info","msg":"","time":"2026-11-22T21:03:05Z"}
"#,
        &expect![[r#"
            Traefik's JSON lines
            GET /whoami?x=1 200 12.345678 ms, upstream 12 ms, 417 out, 7 in, 1795381384987
        "#]],
    );
}

#[test]
fn haproxy_and_envoy() {
    check(
        r#"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1"
Feb  6 12:14:15 localhost haproxy[14389]: 10.0.1.2:33318 [06/Feb/2009:12:14:15.100] http-in static/<NOSRV> -1/-1/-1/-1/5000 408 212 - - cR-- 1/1/1/1/0 0/0 {|} {} "<BADREQ>"
"#,
        &expect![[r#"
            HAProxy's HTTP log behind a syslog header
            GET /index.html 200 109 ms, upstream 69 ms, 2750 out, - in, 1233922454655
            1 without a method and a path (other messages, or no HTTP at all), first line 2
        "#]],
    );
    check(
        r#"[2026-11-22T21:03:05.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"
[2026-11-22T21:03:06.310Z] "GET /x HTTP/1.1" 0 DC 154 0 226 - "-" "-" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "-"
"#,
        &expect![[r#"
            Envoy's default format
            POST /api/v1/locations 204 226 ms, upstream 100 ms, 0 out, 154 in, 1795381385310
            GET /x 0 226 ms, upstream - ms, 0 out, 154 in, 1795381386310
        "#]],
    );
    check(
        r#"[2026-11-22T21:03:05.310Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 5 4 "-" "curl/7.60.0" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "127.0.0.1:80" outbound|8000||httpbin 10.44.1.27:37652 10.0.0.1:8000 10.44.1.23:46520 - default
"#,
        &expect![[r#"
            Istio's default format
            GET /status/418 418 5 ms, upstream 4 ms, 135 out, 0 in, 1795381385310
        "#]],
    );
}

#[test]
fn json_lines_of_services() {
    check(
        r#"{"time":"2026-11-22T21:03:05.123Z","method":"GET","route":"/customers/{id}/orders","path":"/customers/7/orders","status":200,"duration_ms":12.5,"bytes":812,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}
"#,
        &expect![[r#"
            JSON lines
            GET /customers/7/orders 200 12.5 ms, upstream - ms, 812 out, - in, 1795381385110
        "#]],
    );
    check(
        r#"{"level":30,"time":1795381385123,"pid":7,"hostname":"web","reqId":"req-1","res":{"statusCode":200},"req":{"method":"GET","url":"/a?x=1"},"responseTime":12.5,"msg":"request completed"}
"#,
        &expect![[r#"
            Fastify's JSON lines
            GET /a?x=1 200 12.5 ms, upstream - ms, - out, - in, 1795381385110
        "#]],
    );
    check(
        r#"{"@timestamp":"2026-11-22T21:03:05.123Z","event":{"duration":12345678},"http":{"request":{"method":"GET","body":{"bytes":3}},"response":{"status_code":200,"body":{"bytes":99}}},"url":{"path":"/a","query":"x=1"},"source":{"ip":"192.0.2.1"},"user_agent":{"original":"x"},"trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736"}}
"#,
        &expect![[r#"
            JSON lines
            GET /a?x=1 200 12.345678 ms, upstream - ms, 99 out, 3 in, 1795381385110
        "#]],
    );
    check(
        r#"{"httpRequest":{"requestMethod":"GET","requestUrl":"https://shop.example/a?x=1","status":200,"responseSize":"99","userAgent":"x","remoteIp":"192.0.2.1","latency":"0.012345s"},"timestamp":"2026-11-22T21:03:05.123Z","trace":"projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"}
"#,
        &expect![[r#"
            JSON lines
            GET /a?x=1 200 12.345 ms, upstream - ms, 99 out, - in, 1795381385110
        "#]],
    );
    check(
        r#"{"ts":"2026-11-22T21:03:05Z","http_method":"GET","uri":"/a","code":"200","took":"12.3ms"}
{"ts":"2026-11-22T21:03:05Z","http_method":"GET","uri":"/a","code":"200","took":"1.5s"}
"#,
        &expect![[r#"
            JSON lines
            GET /a 200 12.3 ms, upstream - ms, - out, - in, 1795381384987
            GET /a 200 1500 ms, upstream - ms, - out, - in, 1795381383500
        "#]],
    );
    check(
        r#"{"ts":"2026-11-22T21:03:05Z","method":"GET","uri":"/a","status":200,"latency":0.0123}
{"ts":"2026-11-22T21:03:05Z","method":"GET","uri":"/a","status":200,"latency":0.4}
"#,
        &expect![[r#"
            JSON lines
            GET /a 200 12.3 ms, upstream - ms, - out, - in, 1795381384987
            GET /a 200 400 ms, upstream - ms, - out, - in, 1795381384600
            assumed: the response time's unit is not told; its median of 0.4 is taken as seconds
        "#]],
    );
}

#[test]
fn pairs_of_keys_and_values() {
    check(
        r#"2026-11-22T21:03:05.310Z heroku[router]: at=info method=GET path="/a?x=1" host=shop.example request_id=8601b555 fwd="203.0.113.9" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https ts=2026-11-22T21:03:05Z
time=2026-11-22T21:03:06Z method=GET path=/b format=html controller=Orders status=500 duration=58.33ms view=40.43
"#,
        &expect![[r#"
            lines of key=value
            GET /a?x=1 200 18 ms, upstream - ms, 13 out, - in, 1795381384982
            GET /b 500 58.33 ms, upstream - ms, - out, - in, 1795381385941
        "#]],
    );
}

#[test]
fn envelopes_of_containers_are_taken_off() {
    check(
        r#"{"log":"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /a HTTP/1.1\" 200 5120 \"-\" \"x\" 0.120\n","stream":"stdout","time":"2026-11-22T21:03:05.1Z"}
"#,
        &expect![[r#"
            combined format of nginx or Apache with a response time in seconds in Docker's JSON log
            GET /a 200 120 ms, upstream - ms, 5120 out, - in, 1795381384880
        "#]],
    );
    check(
        "2026-11-22T21:03:05.1Z stdout F 10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /a HTTP/1.1\" 200 5120 \"-\" \"x\" 0.120\n",
        &expect![[r#"
            combined format of nginx or Apache with a response time in seconds in a Kubernetes container log
            GET /a 200 120 ms, upstream - ms, 5120 out, - in, 1795381384880
        "#]],
    );
    check(
        "web-1  | 10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /a HTTP/1.1\" 200 5120 \"-\" \"x\" 0.120\n",
        &expect![[r#"
            combined format of nginx or Apache with a response time in seconds as docker compose prints it
            GET /a 200 120 ms, upstream - ms, 5120 out, - in, 1795381384880
        "#]],
    );
}

#[test]
fn what_cannot_be_read_is_counted_by_reason() {
    let mut log =
        b"10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /a\xff HTTP/1.1\" 200 5 \"-\" \"x\"\n".to_vec();
    log.extend_from_slice(
        b"10.0.0.7 - - [99/Nov/2026:21:03:05 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"x\"\nnoise\n\n",
    );
    log.extend_from_slice(&vec![b'x'; 2 << 20]);
    log.extend_from_slice(b"\n10.0.0.7 - - [22/Nov/2026:21:03");
    let scan = scan(&log[..], &Options::default(), |_| ()).unwrap();
    assert_eq!((scan.lines, scan.requests, scan.not_utf8), (5, 1, 1));
    let reasons: Vec<String> =
        scan.unreadable.iter().map(|(r, (n, at))| format!("{n} {r} at {at}")).collect();
    expect![[r#"
        1 longer than 1 MiB at 5
        1 not of the log's format at 3
        1 without a readable time at 2
        1 cut off at the end of the file at 6"#]]
    .assert_eq(&reasons.join("\n"));
}

#[test]
fn a_file_of_another_kind_is_refused_with_a_hint() {
    for text in ["", "\n\n", "hello\nworld\n", "2026-11-22 INFO started in 3 s\n", "{\"a\":1}\n"] {
        let error = scan(text.as_bytes(), &Options::default(), |_| ()).unwrap_err().to_string();
        assert!(error.contains("no known format") || error.contains("no line"), "{text}: {error}");
    }
    let broken = zstd::encode_all(&b"x"[..], 1).unwrap();
    assert!(scan(&broken[..6], &Options::default(), |_| ()).is_err());
}
