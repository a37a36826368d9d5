//! Responses in one piece, byte by byte and in random portions give the same, or fail the same.

use super::*;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const RULES: Rules = Rules { max_body_bytes: 1000, keep_body: true, keep_head: true, bodiless: false };

/// What a response came to, and what was left over.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    status: u16,
    body: Vec<u8>,
    keeps_alive: bool,
    left: usize,
    flaw: Option<Flaw>,
}

/// Feeds portions until the response is done, then ends the connection.
fn take<'a>(rules: Rules, portions: impl IntoIterator<Item = &'a [u8]>) -> Taken {
    let mut decoder = Decoder::new(rules);
    let mut left = 0;
    let mut flaw = None;
    for portion in portions {
        match decoder.feed(portion) {
            Ok(used) => left += portion.len() - used,
            Err(found) => {
                flaw = Some(found);
                break;
            }
        }
    }
    let flaw = flaw.or_else(|| decoder.end().err());
    let keeps_alive = decoder.keeps_alive();
    Taken { status: decoder.status, body: decoder.body, keeps_alive, left, flaw }
}

fn whole(text: &str) -> Taken {
    take(RULES, [text.as_bytes()])
}

#[track_caller]
fn reads(text: &str, status: u16, body: &str, keeps_alive: bool) {
    let taken = whole(text);
    let expected = Taken { status, body: body.into(), keeps_alive, left: 0, flaw: None };
    assert_eq!(taken, expected, "{text}");
}

#[track_caller]
fn refuses(text: &str, flaw: Flaw) {
    assert_eq!(whole(text).flaw, Some(flaw), "{text:?}");
}

#[test]
fn the_body_ends_where_the_head_says() {
    reads("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, "hi", true);
    reads("HTTP/1.1 200\r\nContent-Length: 2, 2\r\n\r\nhi", 200, "hi", true);
    reads("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, "hi", true);
    reads("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end", false);
    reads("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nto the end", 200, "to the end", false);
    reads("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204, "", true);
    reads("HTTP/1.1 304 X\r\ncontent-length: 5\r\n\r\n", 304, "", true);
    let head = take(Rules { bodiless: true, ..RULES }, [&b"HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\n"[..]]);
    assert_eq!((head.status, head.flaw, head.keeps_alive), (200, None, true));
}

#[test]
fn the_connection_is_kept_as_the_head_says() {
    reads("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n", 200, "", false);
    reads("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "", false);
    reads("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 0\r\n\r\n", 200, "", true);
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    reads(both, 200, "", false);
}

#[test]
fn informational_responses_are_passed_over_up_to_a_bound() {
    reads(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nlink: a\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
        204,
        "",
        true,
    );
    refuses(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(17), Flaw::TooManyInformational);
    refuses("HTTP/1.1 101 Switching Protocols\r\n\r\n", Flaw::Switched);
}

#[test]
fn chunks_may_have_extensions_and_trailers() {
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                3;name=\"v\"\r\nabc\r\n00a \r\n0123456789\r\n0\r\nx-check: 1\r\nx-more: 2\r\n\r\n";
    reads(text, 200, "abc0123456789", true);
}

#[test]
fn hostile_heads_are_refused() {
    refuses("SSH-2.0-OpenSSH\r\n\r\n", Flaw::NotHttp);
    refuses("\r\nHTTP/1.1 200 OK\r\n\r\n", Flaw::NotHttp);
    refuses("HTTP/2 200\r\n\r\n", Flaw::NotHttp);
    refuses("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Flaw::Head(httparse::Error::HeaderName));
    refuses("HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n", Flaw::Head(httparse::Error::HeaderName));
    let bomb = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    refuses(&bomb, Flaw::Head(httparse::Error::TooManyHeaders));
    let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(100_000));
    refuses(&long, Flaw::HeadTooLong);
    assert_eq!(take(RULES, long.as_bytes().chunks(7)).flaw, Some(Flaw::HeadTooLong));
}

#[test]
fn hostile_lengths_are_refused() {
    for length in ["-1", "+1", "1x", "", "1, 2", "99999999999999999999999", "0x10"] {
        refuses(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"), Flaw::ContentLength);
    }
    refuses("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Flaw::ContentLength);
    refuses("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", Flaw::BodyTooLong(1000));
    refuses(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001)), Flaw::BodyTooLong(1000));
}

#[test]
fn hostile_chunks_are_refused() {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    for body in ["zz\r\n", "\r\n", "-1\r\n", "2\r\nabc\r\n", "1234567890123456\r\n"] {
        refuses(&chunked(body), Flaw::Chunk);
    }
    refuses(&chunked(&format!("1;{}", "x".repeat(5000))), Flaw::ChunkLineTooLong);
    refuses(&chunked(&format!("0\r\n{}", "a: b\r\n".repeat(5000))), Flaw::TrailersTooLong);
    refuses(&chunked(&"1\r\nx\r\n".repeat(1001)), Flaw::BodyTooLong(1000));
    refuses(&chunked("fffffffffffff\r\nx"), Flaw::Ended { empty: false });
}

#[test]
fn an_early_end_is_told() {
    refuses("", Flaw::Ended { empty: true });
    refuses("HTTP/1.1 200 OK\r\nconte", Flaw::Ended { empty: false });
    refuses("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", Flaw::Ended { empty: false });
}

#[test]
fn what_follows_a_response_is_left() {
    let taken = whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 500");
    assert_eq!((taken.left, taken.flaw), ("HTTP/1.1 500".len(), None));
}

const SEEDS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\nhello, world",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n5\r\nhello\r\n1a;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\na: b\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nuntil the end of the connection",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello and more",
    "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\nserver: bare line feeds\n\nbody",
    "HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 3\r\n\r\nabcdef",
];

/// The same bytes in other portions.
fn split(random: &mut Xoshiro256PlusPlus, bytes: &[u8]) -> Taken {
    let mut portions = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = random.random_range(1..=rest.len().min(20));
        portions.push(&rest[..at]);
        rest = &rest[at..];
    }
    take(RULES, portions)
}

#[test]
fn portions_do_not_matter() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    for seed in SEEDS {
        let expected = whole(seed);
        assert_eq!(expected.flaw, None, "{seed}");
        for _ in 0..200 {
            assert_eq!(split(&mut random, seed.as_bytes()), expected, "{seed}");
        }
        assert_eq!(take(RULES, seed.as_bytes().chunks(1)), expected, "{seed}");
    }
}

/// Random damage: never a panic, never a body beyond the bound, and portions do not matter there either.
#[test]
fn damaged_responses_fail_the_same_in_any_portions() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(8);
    let mut refused = 0;
    for round in 0..20_000 {
        let mut bytes = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..random.random_range(1..=4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes.insert(at, b"\r\n:0f, "[random.random_range(0..7)]),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let expected = take(RULES, [&bytes[..]]);
        refused += u32::from(expected.flaw.is_some());
        assert!(expected.body.len() <= 1000);
        let parted = split(&mut random, &bytes);
        let same = (parted.flaw.is_some(), &parted.body) == (expected.flaw.is_some(), &expected.body);
        assert!(
            same,
            "seed 8, round {round}: {:?}\n{parted:?}\n{expected:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert!((2_000..18_000).contains(&refused), "{refused} of 20,000 were refused");
}
