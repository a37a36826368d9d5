//! Conversations as lines: `10 > Q SELECT 1` is sent by the client at 10 ns, `<` by the server; `+` joins messages that
//! come at once.

use super::*;
use model::Value;
use rand::{Rng, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt::Write;

const HELLO: &str = "0 > start user=me,database=shop,application_name=web
1 < R + S application_name=web + K + Z I
";

/// A message as drawn: its type, then what its body holds.
fn message(drawn: &str) -> Vec<u8> {
    let (kind, rest) = drawn.trim().split_once(' ').unwrap_or((drawn.trim(), ""));
    let zero = |text: &str| [text.as_bytes(), &[0]].concat();
    let fields = |text: &str| text.split(',').flat_map(|f| f.split('=')).flat_map(zero).collect::<Vec<u8>>();
    let body = match kind {
        "start" => [&196_608_u32.to_be_bytes()[..], &fields(rest), &[0]].concat(),
        "tls" => TLS.to_be_bytes().to_vec(),
        "cancel" => [&CANCEL.to_be_bytes()[..], &[0; 8]].concat(),
        "raw" => return rest.as_bytes().to_vec(),
        "S" if rest.contains('=') => fields(rest),
        "P" => {
            let (name, text) = rest.split_once('|').unwrap();
            [zero(name), zero(text), vec![0, 0]].concat()
        }
        "B" => {
            let parts: Vec<&str> = rest.split('|').collect();
            [zero(parts[0]), zero(parts[1]), parts[2].as_bytes().to_vec()].concat()
        }
        "E" if rest.len() == 5 => [zero("SERROR"), [b"C", rest.as_bytes(), &[0]].concat(), vec![0]].concat(),
        "E" => [zero(rest), vec![0; 4]].concat(),
        "Z" => rest.as_bytes().to_vec(),
        "K" => [&77_u32.to_be_bytes()[..], b"secret-key"].concat(),
        "" => vec![],
        _ => zero(rest),
    };
    let mut out = Vec::new();
    if kind.len() == 1 {
        out.extend(kind.as_bytes());
    }
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

struct Talk {
    ledger: Arc<Ledger>,
    session: Session,
    last_ns: u64,
}

impl Talk {
    fn new() -> Self {
        let ledger = Ledger::new("db", Some(5432));
        Self { session: Session::new(Arc::clone(&ledger), 1, 1_000), ledger, last_ns: 0 }
    }

    fn say(&mut self, drawn: &str, step: usize) {
        for line in drawn.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            self.last_ns = words.next().unwrap().parse().unwrap();
            let by_client = words.next() == Some(">");
            let bytes: Vec<u8> = words.next().unwrap().split(" + ").flat_map(message).collect();
            for part in bytes.chunks(step) {
                match by_client {
                    true => self.session.client_said(part, self.last_ns),
                    false => self.session.server_said(part, self.last_ns),
                }
            }
        }
    }

    fn end(&mut self) -> String {
        self.session.end(End::Closed, self.last_ns + 1);
        let table = self.ledger.take();
        let mut out = String::new();
        for row in table.rows() {
            let fields = row.fields();
            let rows = ["db.response.returned_rows", "db.response.affected_rows"]
                .iter()
                .find_map(|key| row.attribute(key).map(|value| format!(" {}={value}", &key[12..16])));
            let error = row.attribute("error.type").map(|value| format!(" {value}")).unwrap_or_default();
            let shared =
                row.attribute("trimtab.time_shared_by").map(|n| format!(" /{n}")).unwrap_or_default();
            let indent = if fields.parent_id == 0 { "" } else { "  " };
            let end = fields.start_ns + fields.duration_ns.cast_unsigned();
            let rows = rows.unwrap_or_default();
            writeln!(out, "{indent}{} {}..{end}{rows}{shared}{error}", row.name(), fields.start_ns).unwrap();
        }
        for event in self.ledger.events() {
            writeln!(out, "{event}").unwrap();
        }
        out
    }
}

/// What comes of a conversation after the usual start, however its bytes are cut.
fn talk(drawn: &str) -> String {
    let mut results = (1..40).chain([1_000]).map(|step| {
        let mut talk = Talk::new();
        talk.say(HELLO, step);
        talk.say(drawn, step);
        talk.end()
    });
    let first = results.next().unwrap();
    for (at, other) in results.enumerate() {
        assert_eq!(first, other, "cut every {} bytes", at + 2);
    }
    first
}

#[track_caller]
fn check(drawn: &str, expected: &str) {
    let unindented = |text: &str| {
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            writeln!(out, "{}", line.strip_prefix("        ").unwrap_or(line).trim_end()).unwrap();
        }
        out
    };
    assert_eq!(unindented(&talk(drawn)), unindented(expected));
}

#[test]
fn simple_queries_are_statements_and_a_transaction_is_a_unit() {
    check(
        "10 > Q SELECT * FROM orders WHERE id = 7
         30 < T + D + D + C SELECT 2 + Z I
         40 > Q BEGIN
         41 < C BEGIN + Z T
         50 > Q UPDATE orders SET state = 'x'
         60 < C UPDATE 3 + Z T
         70 > Q COMMIT
         80 < C COMMIT + Z I",
        "
        burst: SELECT orders WHERE id = ? 0..30
          connect 0..1
          SELECT orders 10..30 retu=2
        transaction: UPDATE orders 40..80
          BEGIN 40..41 affe=0
          UPDATE orders 50..60 affe=3
          COMMIT 70..80 affe=0",
    );
}

#[test]
fn prepared_statements_are_known_by_name_and_preparing_is_a_trip() {
    check(
        "10 > P s1|SELECT * FROM items WHERE id = $1 + D + S
         20 < 1 + t + T + Z I
         30 > B |s1|a + E + S
         50 < 2 + D + C SELECT 1 + Z I
         60 > B |s1|b + E + S
         70 < 2 + C SELECT 0 + Z I
         80 > C Ss1 + B |s1|b + E + S
         90 < 3 + E 26000 + Z I",
        "
        burst: SELECT items WHERE id = ? 0..90
          connect 0..1
          PREPARE SELECT items 10..20
          SELECT items 30..50 retu=1
          SELECT items 60..70 retu=0
          unseen statement 80..90 affe=0 26000",
    );
}

#[test]
fn statements_of_one_series_share_their_time_and_a_begin_takes_none() {
    check(
        "10 > P |BEGIN + B ||x + E + P |SELECT 1 + B ||x + D + E + S
         30 < 1 + 2 + C BEGIN + 1 + 2 + T + D + C SELECT 1 + Z T
         40 > B ||x + E + B ||x + E + S
         60 < 2 + D + C SELECT 1 + 2 + D + C SELECT 1
         70 < Z T
         80 > Q COMMIT
         90 < C COMMIT + Z I",
        "
        transaction: BEGIN 0..90
          connect 0..1
          BEGIN 10..10 affe=0 /2
          SELECT 10..30 retu=1 /2
          SELECT 40..50 retu=1 /2
          SELECT 50..70 retu=1 /2
          COMMIT 80..90 affe=0",
    );
}

#[test]
fn after_an_error_everything_up_to_the_sync_is_skipped() {
    check(
        "10 > P |SELECT a + B ||x + E + P |SELECT b + B ||x + E + S + P |SELECT c + B ||x + E + S
         20 < 1 + 2 + E 22012 + Z I
         30 < 1 + 2 + C SELECT 0 + Z I
         40 > P |SELECT d + H
         50 < E 42601
         60 > B ||x + E + S
         70 < Z I
         80 > Q SELECT e
         90 < T + D + E 57014 + Z I",
        "
        burst: SELECT 0..90
          connect 0..1
          SELECT 10..20 affe=0 22012
          SELECT 20..30 retu=0
          SELECT 40..50 affe=0 42601
          SELECT 80..90 retu=1 57014",
    );
}

#[test]
fn copies_function_calls_notices_and_cursors_pass() {
    check(
        "10 > Q COPY t FROM STDIN
         20 < G
         30 > d data + d data + c
         40 < C COPY 2 + Z I
         50 > Q COPY t TO STDOUT
         60 < H + d data + N note + d data + c + C COPY 2 + Z I
         70 > F x
         80 < A hear + V + Z I
         90 > P |SELECT 1 + B c1|| + E c1 + H
         100 < 1 + 2 + D + D + s
         110 > E c1 + S
         120 < D + C SELECT 1 + Z I
         130 > Q SELECT 1; UPDATE t SET a = 1; SELECT 2
         140 < T + D + C SELECT 1 + C UPDATE 5 + T + D + C SELECT 1 + Z I
         150 > Q
         160 < I + Z I",
        "
        burst: COPY t 0..160
          connect 0..1
          COPY t 10..40 affe=2
          COPY t 50..60 affe=2
          function call 70..80
          SELECT 90..100 retu=2
          SELECT 110..120 retu=1
          SELECT t 130..140 retu=7
          empty statement 150..160 affe=0",
    );
}

#[test]
fn a_copy_swallows_the_sync_that_was_sent_with_it() {
    let after = "
         60 > Q SELECT 1
         70 < T + D + C SELECT 1 + Z I";
    let expected = |end| {
        format!(
            "burst: COPY t 0..70
          connect 0..1
          PREPARE COPY t 5..6
          COPY t 10..{end}
          SELECT 60..70 retu=1"
        )
    };
    let prepared = "5 > P s|COPY t FROM STDIN + S
         6 < 1 + Z I
         ";
    // The driver waits for the server, sends a second Sync.
    check(
        &format!(
            "{prepared}10 > B |s| + E + S
         20 < 2 + G
         30 > d data + c + S
         50 < C COPY 1 + Z I{after}"
        ),
        &expected("50 affe=1"),
    );
    // The driver sends all at once.
    check(
        &format!(
            "{prepared}10 > B |s| + E + S + d data + c + S
         20 < 2 + G
         50 < C COPY 1 + Z I{after}"
        ),
        &expected("50 affe=1"),
    );
    // The data is refused.
    check(
        &format!(
            "{prepared}10 > B |s| + E + S
         20 < 2 + G
         30 > d data
         40 < E 22P04
         45 > d data + c + S
         50 < Z I{after}"
        ),
        &expected("40 affe=0 22P04"),
    );
}

#[test]
fn a_connection_that_ends_within_a_statement_is_an_error_of_it() {
    check(
        "10 > Q SELECT pg_sleep(10)",
        "
        burst: SELECT 0..11
          connect 0..1
          SELECT 10..11 affe=0 closed",
    );
    // The server's last word belongs to nobody.
    check("10 < E 57P01", "");
}

#[test]
fn what_does_not_fit_is_not_looked_at_any_more() {
    for (drawn, why) in [
        ("10 < C SELECT 1", "an answer that does not fit what was asked"),
        ("10 < Z I", "a readiness that nothing asked for"),
        ("10 > y", "an unknown message of the client, or too many without an answer"),
        ("10 > Q SELECT 1\n11 < 1", "an answer that does not fit what was asked"),
        ("10 > raw Q\0\0\0\x01", "the client's bytes are no messages"),
    ] {
        let mut talk = Talk::new();
        talk.say(HELLO, 100);
        talk.say("2 > Q SELECT 1\n3 < T + D + C SELECT 1 + Z I", 100);
        talk.say(drawn, 100);
        talk.say("20 > Q SELECT 2\n21 < T + D + C SELECT 1 + Z I", 100);
        let seen = talk.end();
        assert!(seen.contains("SELECT 2..3 retu=1"), "{seen}");
        let told = format!("connection 1 was not understood after 1 statements ({why})");
        assert!(seen.contains(&told) && seen.lines().count() == 4, "{drawn}: {seen}");
        assert_eq!(talk.ledger.counts().not_understood, 1);
    }
}

#[test]
fn encrypted_connections_are_told_and_refused_encryption_is_no_obstacle() {
    for (drawn, expected) in [
        ("0 > tls\n1 < raw S\n2 > raw \x16\x03\x01", "connection 1 is encrypted by TLS"),
        ("0 > raw \x16\x03\x01\x02\x03\x04", "connection 1 is encrypted by TLS"),
        ("0 > tls\n1 < raw G\n2 > raw abc", "connection 1 is encrypted by GSSAPI"),
        ("0 > tls\n1 < raw x", "was not understood after 0 statements (an unknown answer"),
        ("0 > raw GET / HTTP/1.1", "was not understood after 0 statements (the client's bytes"),
        ("0 < raw x", "was not understood after 0 statements (the server spoke first"),
    ] {
        for step in [1, 100] {
            let mut talk = Talk::new();
            talk.say(drawn, step);
            let seen = talk.end();
            assert!(seen.contains(expected) && seen.lines().count() == 1, "{drawn:?}: {seen}");
        }
    }
    for step in [1, 3, 100] {
        let mut talk = Talk::new();
        talk.say("0 > tls\n0 < raw N\n0 > tls\n0 < raw N", step);
        talk.say(HELLO, step);
        talk.say("2 > Q SELECT 1\n3 < T + D + C SELECT 1 + Z I", step);
        assert_eq!(talk.end(), "burst: SELECT 0..3\n  connect 0..1\n  SELECT 2..3 retu=1\n");
    }
}

#[test]
fn a_cancel_request_and_a_refused_password_are_no_statements() {
    let mut talk = Talk::new();
    talk.say("0 > cancel", 100);
    assert_eq!((talk.end().as_str(), talk.ledger.counts().cancels), ("", 1));
    let mut talk = Talk::new();
    talk.say("0 > start user=me\n1 < R\n2 > p hunter2\n9 < E 28P01", 100);
    assert_eq!(talk.end(), "burst: no statement 0..9\n  connect 0..9 28P01\n");
}

#[test]
fn values_and_secrets_are_nowhere_in_what_is_kept() {
    let mut talk = Talk::new();
    talk.say("0 > start user=me\n1 < R\n2 > p hunter2\n3 < R + K + Z I", 100);
    talk.say("4 > Q SELECT * FROM a WHERE b = 'hunter2'\n5 < E 42P01 + Z I", 100);
    talk.say("6 > P |SELECT $1 + B ||hunter2 + E + S\n7 < 1 + 2 + D hunter2 + C SELECT 1 + Z I", 100);
    talk.session.end(End::Closed, 9);
    let table = talk.ledger.take();
    let texts: Vec<&str> = table.strings.iter().collect();
    assert!(!texts.iter().any(|text| text.contains("hunter2") || text.contains("secret")), "{texts:?}");
    assert!(texts.contains(&"SELECT * FROM a WHERE b = $1"), "{texts:?}");
}

#[test]
fn equal_values_have_equal_hashes_and_a_traceparent_is_no_value() {
    let mut talk = Talk::new();
    talk.say(HELLO, 100);
    let parent = "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'";
    for sql in [
        "SELECT 1".to_owned(),
        "SELECT 2".to_owned(),
        "SELECT 1".to_owned(),
        format!("SELECT 1 /*{parent}*/"),
        format!("SELECT 1 /*{}*/", parent.replace("5bd6", "5bd7")),
    ] {
        talk.say(&format!("5 > Q {sql}\n6 < T + D + C SELECT 1 + Z I"), 100);
    }
    talk.session.end(End::Closed, 9);
    let table = talk.ledger.take();
    let hashes: Vec<String> = table
        .rows()
        .filter_map(|row| row.attribute("db.query.parameter.hash").map(|value| value.to_string()))
        .collect();
    assert_eq!((hashes.len(), &hashes[0]), (5, &hashes[2]));
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!([&hashes[0], &hashes[0]], [&hashes[3], &hashes[4]]);
    let traces: Vec<u128> = table.rows().map(|row| row.fields().trace_id >> 112).collect();
    assert_eq!(traces[traces.len() - 2..], [0x5bd6, 0x5bd7]);
    assert_eq!(table.row(5).attribute("db.query.text"), Some(Value::Text("SELECT $1")));
}

#[test]
fn no_bytes_at_all_make_it_panic() {
    for seed in 0..400 {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut talk = Talk::new();
        if seed % 4 > 0 {
            talk.say(HELLO, 100);
        }
        let kinds = [b"QPBEDCSHFdcfpX".as_slice(), b"RKSZNA123tTnDCIsEGHWdcVv"];
        for _ in 0..200 {
            let by_server = chance.random_bool(0.5);
            let mut bytes = Vec::new();
            for _ in 0..chance.random_range(0..4) {
                let mut body = vec![0; chance.random_range(0..40)];
                chance.fill_bytes(&mut body);
                body.iter_mut().for_each(|byte| *byte %= if seed % 3 == 0 { 255 } else { 3 });
                let all = kinds[usize::from(by_server)];
                bytes.push(all[chance.random_range(0..all.len())]);
                bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
                bytes.extend(body);
            }
            if seed % 5 == 0 && !bytes.is_empty() {
                let at = chance.random_range(0..bytes.len());
                bytes[at] = chance.random_range(0..=255);
            }
            let step = chance.random_range(1..30);
            for part in bytes.chunks(step) {
                match by_server {
                    true => talk.session.server_said(part, talk.last_ns),
                    false => talk.session.client_said(part, talk.last_ns),
                }
                talk.last_ns += 1;
            }
        }
        talk.end();
    }
}

#[test]
fn a_series_without_an_end_stays_bounded() {
    let mut talk = Talk::new();
    talk.say(HELLO, 100);
    let (asks, answers) = (message("E").repeat(100), message("C SELECT 0").repeat(100));
    for _ in 0..100 {
        talk.session.client_said(&asks, 5);
        talk.session.server_said(&answers, 6);
        assert!(talk.session.steps.done.len() <= MAX_DONE);
    }
    assert_eq!(talk.session.statements, 10_000);
    for _ in 0..700 {
        talk.session.client_said(&asks, 7);
    }
    assert!(talk.end().contains("too many without an answer"));
}

#[test]
fn a_statement_that_takes_long_stays_with_the_one_before_it() {
    let mut talk = Talk::new();
    talk.say(HELLO, 1_000);
    talk.say("10 > Q SELECT 1\n20 < T + D + C SELECT 1 + Z I\n30 > Q SELECT pg_sleep(3)", 1_000);
    talk.session.quiet(5_000_000);
    talk.say("9000000 < T + D + C SELECT 1 + Z I", 1_000);
    let told = talk.end();
    assert_eq!(told.matches("burst").count(), 1, "{told}");
    assert_eq!(told.matches("SELECT").count(), 3, "{told}");
}
