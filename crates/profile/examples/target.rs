//! A program to profile, for tests and measurements: `target KIND [NUMBER]` does one known thing until its standard
//! input ends, and says `ready` once it does it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

static ENDED: AtomicBool = AtomicBool::new(false);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let number: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    match kind.as_str() {
        "hot" => start(1, || while_running(|| _ = std::hint::black_box(hot_outer(20_000)))),
        "mutex" => {
            let lock: &'static Mutex<()> = Box::leak(Box::default());
            let held = lock.lock();
            start(1, || wait_for_mutex(lock));
            said_ready();
            until_the_end();
            drop(held);
            return;
        }
        "sleep" => start(1, || while_running(sleep_for_long)),
        "socket" => start(1, read_socket),
        "parked" => start(number, park),
        "ball" => play(),
        "requests" => start(1, || while_running(serve_one)),
        "deep" => start_with(1, 256 << 10, || while_running(deep_outer)),
        "io" => start(number, || while_running(work_and_wait)),
        _ => {}
    }
    said_ready();
    until_the_end();
}

fn start(threads: usize, work: impl Fn() + Send + Copy + 'static) {
    start_with(threads, 64 << 10, work);
}

fn start_with(threads: usize, stack_bytes: usize, work: impl Fn() + Send + Copy + 'static) {
    for at in 0..threads {
        let builder = std::thread::Builder::new().name(format!("work-{at}")).stack_size(stack_bytes);
        // A thread that cannot be made is one fewer to see, which the test counts.
        drop(builder.spawn(work));
    }
}

fn said_ready() {
    let mut out = std::io::stdout();
    drop(out.write_all(b"ready\n"));
    drop(out.flush());
}

fn until_the_end() {
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
    ENDED.store(true, Ordering::Relaxed);
}

fn while_running(mut step: impl FnMut()) {
    while !ENDED.load(Ordering::Relaxed) {
        step();
    }
}

#[inline(never)]
fn hot_outer(rounds: u64) -> u64 {
    hot_inner(rounds) ^ std::hint::black_box(rounds)
}

#[inline(never)]
fn hot_inner(rounds: u64) -> u64 {
    (0..rounds).fold(1, |sum: u64, at| std::hint::black_box(sum.wrapping_mul(31).wrapping_add(at)))
}

#[inline(never)]
fn wait_for_mutex(lock: &Mutex<()>) {
    drop(lock.lock());
}

#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "the sleep is what is to be seen")]
fn sleep_for_long() {
    std::thread::sleep(Duration::from_millis(200));
}

#[inline(never)]
fn read_socket() {
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return };
    let Ok(address) = listener.local_addr() else { return };
    let (Ok(mut client), Ok(_server)) = (TcpStream::connect(address), listener.accept()) else { return };
    drop(client.read(&mut [0; 8]));
}

#[inline(never)]
fn park() {
    let never = Arc::new((Mutex::new(false), Condvar::new()));
    if let Ok(held) = never.0.lock() {
        drop(never.1.wait_while(held, |ended| !*ended));
    }
}

/// A thread for each request, which works less than a sample's period.
#[inline(never)]
fn serve_one() {
    let one = || _ = std::hint::black_box(hot_outer(400_000));
    if let Ok(thread) = std::thread::Builder::new().name("request".to_owned()).spawn(one) {
        drop(thread.join());
    }
}

/// Works on top of a frame that is larger than what is copied of a stack at first.
#[inline(never)]
fn deep_outer() {
    let mut large = [0_u8; 40 << 10];
    std::hint::black_box(&mut large);
    std::hint::black_box(hot_outer(20_000));
    std::hint::black_box(&mut large);
}

/// Two threads that wake each other as often as they can, beside one that computes.
fn play() {
    let ball = Arc::new((Mutex::new(false), Condvar::new()));
    for side in [false, true] {
        let ball = Arc::clone(&ball);
        drop(std::thread::Builder::new().name(format!("side-{side}")).spawn(move || hit(&ball, side)));
    }
    start(1, || while_running(|| _ = std::hint::black_box(hot_outer(20_000))));
}

#[inline(never)]
fn hit(ball: &(Mutex<bool>, Condvar), side: bool) {
    while_running(|| {
        let Ok(held) = ball.0.lock() else { return };
        if let Ok(mut here) = ball.1.wait_while(held, |at| *at != side) {
            *here = !side;
            ball.1.notify_one();
        }
    });
}

/// One request of a server: some work, some waiting.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "it stands for a wait on something slow")]
fn work_and_wait() {
    std::hint::black_box(hot_outer(100_000));
    std::thread::sleep(Duration::from_millis(3));
}
