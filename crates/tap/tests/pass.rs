//! Every byte goes on, whatever it is and however its receiver behaves: the server here is no Postgres.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rand::{Rng, RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use support::Tap;
use tap::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

async fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("postgres://{}", listener.local_addr().unwrap());
    (listener, address)
}

fn chance(seed: u64, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut all);
    all
}

/// A beginning that the tap understands, then whatever chance says.
fn stream(seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if seed.is_multiple_of(2) {
        let body = b"\0\x03\0\0user\0me\0\0";
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes.extend(b"Q\0\0\0\x0dSELECT 1\0");
    }
    bytes.extend(chance(seed, 3 << 20));
    bytes
}

#[tokio::test]
async fn millions_of_random_bytes_pass_unchanged_in_both_directions() {
    for seed in 0..6 {
        let (listener, to) = server().await;
        let tap = Tap::start("0", &to, 10).await;
        let (asked, answered) =
            (stream(seed), [b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec(), stream(seed + 100)].concat());
        let client = TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let (mut from_tap, mut to_tap) = client.into_split();
        let (mut from_client, mut to_client) = peer.into_split();
        let (asked_copy, answered_copy) = (asked.clone(), answered.clone());
        let sending = tokio::spawn(async move {
            let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut rest = &asked_copy[..];
            while !rest.is_empty() {
                let (part, later) = rest.split_at(chance.random_range(1..=rest.len().min(90_000)));
                to_tap.write_all(part).await.unwrap();
                rest = later;
            }
            to_tap.shutdown().await.unwrap();
        });
        let answering = tokio::spawn(async move {
            to_client.write_all(&answered_copy).await.unwrap();
            to_client.shutdown().await.unwrap();
        });
        let (mut got_by_server, mut got_by_client) = (Vec::new(), Vec::new());
        let (one, two) = tokio::join!(
            from_client.read_to_end(&mut got_by_server),
            from_tap.read_to_end(&mut got_by_client)
        );
        one.unwrap();
        two.unwrap();
        sending.await.unwrap();
        answering.await.unwrap();
        assert!(got_by_server == asked && got_by_client == answered, "seed {seed}");
        let counts = tap.stop().await.counts();
        assert_eq!(counts.bytes, (asked.len() + answered.len()) as u64);
        assert_eq!((counts.connections, counts.not_understood), (1, 1));
    }
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let (listener, to) = server().await;
    let tap = Tap::start("0", &to, 10).await;
    let mut client = TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    client.write_all(b"last word").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    peer.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"last word");
    peer.write_all(b"an answer all the same").await.unwrap();
    drop(peer);
    got.clear();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"an answer all the same");
    tap.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_only_itself() {
    let (listener, to) = server().await;
    let tap = Tap::start("0", &to, 10).await;
    let deaf = TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
    let (mut flooding, _) = listener.accept().await.unwrap();
    let mut lively = TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
    let (mut echo, _) = listener.accept().await.unwrap();
    // More than all buffers between here and there hold.
    let flood = tokio::spawn(async move { flooding.write_all(&vec![7; 64 << 20]).await });
    for word in 0..100_u32 {
        lively.write_all(&word.to_be_bytes()).await.unwrap();
        assert_eq!(echo.read_u32().await.unwrap(), word);
        echo.write_u32(!word).await.unwrap();
        assert_eq!(lively.read_u32().await.unwrap(), !word);
    }
    assert!(!flood.is_finished(), "the flood must not be read into memory");
    drop(deaf);
    flood.await.unwrap().unwrap_err();
    tap.stop().await;
}

#[tokio::test]
async fn without_a_server_the_client_finds_a_closed_connection_and_the_tap_says_why() {
    let (listener, to) = server().await;
    drop(listener);
    let tap = Tap::start("0", &to, 10).await;
    let mut client = TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
    client.write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0").await.unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    assert!(told.contains("C08001\0Mtrimtab tap: cannot connect to"), "{told:?}");
    let ledger = tap.stop().await;
    let events = ledger.events();
    assert!(
        matches!(events.as_slice(), [Event::NoServer { connection: 1, why }] if why.contains("cannot connect"))
    );
    assert_eq!((ledger.counts().refused, ledger.counts().open), (1, 0));
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_one_that_ends_makes_room() {
    let (listener, to) = server().await;
    let tap = Tap::start("0", &to, 2).await;
    let open = || TcpStream::connect(("127.0.0.1", tap.port()));
    let (first, mut second) = (open().await.unwrap(), open().await.unwrap());
    let (mut one, _) = listener.accept().await.unwrap();
    let (_two, _) = listener.accept().await.unwrap();
    let mut third = open().await.unwrap();
    third.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").await.unwrap();
    assert_eq!(third.read_u8().await.unwrap(), b'N', "no TLS here");
    third.write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0").await.unwrap();
    let mut told = String::new();
    third.read_to_string(&mut told).await.unwrap();
    assert!(
        told.starts_with('E') && told.contains("C53300\0Mtrimtab tap: 2 connections are open"),
        "{told:?}"
    );
    assert_eq!(tap.ledger.events(), [Event::TooMany { connection: 3, most: 2 }]);
    drop(first);
    assert_eq!(one.read(&mut [0; 10]).await.unwrap(), 0);
    drop(one);
    // Its place is free as soon as the tap has seen both ends.
    loop {
        let mut next = open().await.unwrap();
        // It may be closed already.
        drop(next.write_all(b"x").await);
        let closed = next.read_u8();
        tokio::select! {
            accepted = listener.accept() => {
                let (mut peer, _) = accepted.unwrap();
                assert_eq!(peer.read_u8().await.unwrap(), b'x');
                break;
            }
            _ = closed => {}
        }
    }
    drop(tap.stop().await);
    assert_eq!(second.read(&mut [0; 10]).await.unwrap_or(0), 0, "the end of the tap ends its connections");
}

#[tokio::test]
async fn connections_that_die_in_the_middle_of_a_message_leave_no_place_taken() {
    const AT_ONCE: usize = 100;
    let (listener, to) = server().await;
    let tap = Tap::start("0", &to, AT_ONCE).await;
    for round in 1..=3 {
        let mut open = Vec::new();
        for _ in 0..AT_ONCE {
            let mut client = TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
            let (mut peer, _) = listener.accept().await.unwrap();
            client.write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0Q\0\0\x10\0SELECT").await.unwrap();
            peer.read_exact(&mut [0; 28]).await.unwrap();
            open.push((client, peer));
        }
        for (number, (client, mut peer)) in open.into_iter().enumerate() {
            if number % 2 == 0 {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            // Reset or closed: the server's side hears of it.
            assert!(peer.read(&mut [0; 10]).await.unwrap_or(0) == 0);
        }
        while tap.ledger.counts().open > 0 {
            tokio::task::yield_now().await;
        }
        let counts = tap.ledger.counts();
        assert_eq!((counts.connections, counts.refused), ((round * AT_ONCE) as u64, 0));
    }
    tap.stop().await;
}

#[tokio::test]
async fn unix_sockets_on_both_sides_and_no_file_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (behind, before) = (folder.path().join(".s.PGSQL.1"), folder.path().join("front"));
    let listener = UnixListener::bind(&behind).unwrap();
    let tap = Tap::start(before.to_str().unwrap(), behind.to_str().unwrap(), 2).await;
    let mut client = UnixStream::connect(&before).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    client.write_all(&chance(1, 1000)).await.unwrap();
    let mut got = vec![0; 1000];
    peer.read_exact(&mut got).await.unwrap();
    assert_eq!(got, chance(1, 1000));
    drop(peer);
    assert_eq!(client.read(&mut got).await.unwrap(), 0, "the server's end is the client's end");
    drop(client);
    tap.stop().await;
    assert!(!before.exists());
}
