//! Each executor begins the iterations that k6's would, and cuts off what goes on for too long.

use load::drive::{
    Control, Crew, Driven, Ended, Executor, Iteration, Overflow, Plan, Stage, Supply, User, Users, drive,
    users_needed,
};
use load::{Pace, Spacing};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What users saw: iterations as they began, and due times of arrivals that never did.
#[derive(Default)]
struct Book {
    begun: Vec<Iteration>,
    not_started: Vec<Instant>,
}

struct People {
    book: Rc<RefCell<Book>>,
    /// How long each iteration takes.
    takes: Duration,
    /// The user with this number breaks in each of its iterations.
    broken: u32,
}

struct Person {
    book: Rc<RefCell<Book>>,
    takes: Duration,
    broken: bool,
}

impl Users for People {
    type User = Person;

    async fn create(&self, user: u32) -> anyhow::Result<Person> {
        Ok(Person { book: self.book.clone(), takes: self.takes, broken: user == self.broken })
    }

    fn not_started(&self, _scenario: usize, due: Instant, _now: Instant) {
        self.book.borrow_mut().not_started.push(due);
    }
}

impl User for Person {
    async fn iterate(&mut self, iteration: &Iteration) -> Ended {
        self.book.borrow_mut().begun.push(iteration.clone());
        if !self.takes.is_zero() {
            drop(tokio::time::timeout(self.takes, std::future::pending::<()>()).await);
        }
        if self.broken { Ended::Broken } else { Ended::Done }
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn plan(executor: Executor) -> Plan {
    Plan { name: "plan".to_owned(), start: Duration::ZERO, graceful_stop: Duration::ZERO, executor }
}

/// Runs plans whose iterations take `takes`; `stop_after` ends the test early.
fn run(plans: &[Plan], takes: Duration, stop_after: Option<Duration>) -> (Vec<Driven>, Book, u32) {
    let book = Rc::<RefCell<Book>>::default();
    let crew = Crew::new(People { book: book.clone(), takes, broken: 0 });
    let driven = run_crew(&crew, plans, stop_after);
    let made = crew.made();
    drop(crew);
    (driven, Rc::into_inner(book).unwrap().into_inner(), made)
}

fn run_crew(crew: &Crew<People>, plans: &[Plan], stop_after: Option<Duration>) -> Vec<Driven> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let control = Control::new();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        crew.prepare(users_needed(plans)).await.unwrap();
        let stop = async {
            match stop_after {
                Some(after) => drop(tokio::time::timeout(after, std::future::pending::<()>()).await),
                None => std::future::pending().await,
            }
            control.stop(Duration::ZERO);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            driven = drive(crew, plans, &control) => driven.unwrap(),
            () = stop => unreachable!(),
        }
    })
}

#[test]
fn shared_iterations_are_done_once_each_by_all_users() {
    let executor = Executor::SharedIterations { users: 4, iterations: 10, max_duration: ms(60_000) };
    let (driven, book, made) = run(&[plan(executor)], ms(5), None);
    assert_eq!((driven[0].completed, driven[0].interrupted, made), (10, 0, 4));
    let mut numbers: Vec<u64> = book.begun.iter().map(|i| i.in_scenario).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert!(book.begun.iter().any(|i| i.user == 4));
}

#[test]
fn every_user_does_its_own_iterations() {
    let executor = Executor::PerVuIterations { users: 3, iterations: 4, max_duration: ms(60_000) };
    let (driven, book, _) = run(&[plan(executor)], ms(0), None);
    assert_eq!(driven[0].completed, 12);
    for user in 1..=3 {
        let own: Vec<u64> = book.begun.iter().filter(|i| i.user == user).map(|i| i.of_user).collect();
        assert_eq!(own, [0, 1, 2, 3]);
    }
}

#[test]
fn a_duration_ends_what_begins_and_the_grace_what_goes_on() {
    let executor = Executor::ConstantVus { users: 2, duration: ms(100) };
    let (driven, _, _) = run(&[plan(executor.clone())], ms(60_000), None);
    assert_eq!((driven[0].completed, driven[0].interrupted), (0, 2));
    let graceful = Plan { graceful_stop: ms(60_000), ..plan(executor) };
    let (driven, _, _) = run(&[graceful], ms(150), None);
    assert_eq!((driven[0].completed, driven[0].interrupted), (2, 0));
}

#[test]
fn a_stop_ends_everything_at_once() {
    let executor = Executor::ConstantVus { users: 2, duration: ms(60_000) };
    let late = Plan { start: ms(30_000), ..plan(executor.clone()) };
    let (driven, book, made) = run(&[plan(executor), late], ms(60_000), Some(ms(50)));
    assert_eq!((driven[0].interrupted, driven[1].interrupted, book.begun.len()), (2, 0, 2));
    assert_eq!(made, 4, "both overlap by their plans");
    assert!(driven[0].window < ms(30_000), "{driven:?}");
}

#[test]
fn users_come_and_go_with_the_ramp() {
    let stages = vec![
        Stage { duration: ms(200), target: 4.0 },
        Stage { duration: ms(200), target: 4.0 },
        Stage { duration: ms(200), target: 0.0 },
    ];
    let executor = Executor::RampingVus { start: 0, stages, graceful_ramp_down: ms(60_000) };
    let graceful = Plan { graceful_stop: ms(60_000), ..plan(executor) };
    let (driven, book, made) = run(&[graceful], ms(1), None);
    assert_eq!((driven[0].interrupted, made), (0, 4));
    let at = |i: &Iteration| i.started - i.scenario_started;
    let users_between = |from, to| {
        let users = book.begun.iter().filter(|i| (from..to).contains(&at(i))).map(|i| i.user);
        users.collect::<std::collections::BTreeSet<u32>>().len()
    };
    let first = at(&book.begun[0]);
    assert_eq!((users_between(ms(0), ms(40)), users_between(ms(250), ms(400))), (0, 4), "{first:?}");
    assert!(users_between(ms(555), ms(600)) <= 1);
    assert!(book.begun.len() > 20, "{}", book.begun.len());
}

#[test]
fn a_ramp_down_cuts_off_what_outlasts_its_grace() {
    let stages = vec![
        Stage { duration: ms(50), target: 2.0 },
        Stage { duration: ms(0), target: 0.0 },
        Stage { duration: ms(200), target: 0.0 },
    ];
    let executor = Executor::RampingVus { start: 2, stages, graceful_ramp_down: ms(20) };
    let since = Instant::now();
    let graceful = Plan { graceful_stop: ms(60_000), ..plan(executor) };
    let (driven, _, _) = run(&[graceful], ms(60_000), None);
    assert_eq!((driven[0].completed, driven[0].interrupted), (0, 2));
    assert!(since.elapsed() < ms(30_000));
}

fn arrivals(rate_per_s: f64, most: u32, overflow: Overflow) -> Plan {
    let executor = Executor::Arrivals {
        pace: Pace::constant(rate_per_s, Spacing::Constant),
        duration: ms(500),
        seed: 1,
        supply: Supply { prepared: 1, most },
        overflow,
    };
    Plan { graceful_stop: ms(60_000), ..plan(executor) }
}

#[test]
fn arrivals_are_due_whatever_users_do() {
    let (driven, book, made) = run(&[arrivals(200.0, 50, Overflow::Drop)], ms(20), None);
    assert_eq!((driven[0].completed, driven[0].dropped), (100, 0));
    for (n, iteration) in book.begun.iter().enumerate() {
        let due = iteration.due.unwrap() - iteration.scenario_started;
        assert_eq!((due, iteration.was_held_back()), (ms(5 * n as u64), false));
    }
    assert!((4..=50).contains(&made), "20 ms at 200/s are four at once, {made} were made");
}

#[test]
fn the_first_arrival_finds_the_prepared_user() {
    let (driven, _, made) = run(&[arrivals(10.0, 1, Overflow::Drop)], ms(1), None);
    assert_eq!((driven[0].completed, driven[0].dropped, made), (5, 0, 1));
}

#[test]
fn without_a_free_user_arrivals_are_dropped_as_in_k6() {
    let (driven, book, _) = run(&[arrivals(100.0, 2, Overflow::Drop)], ms(60_000), Some(ms(700)));
    assert_eq!((driven[0].interrupted, driven[0].dropped), (2, 48));
    assert_eq!(book.not_started.len(), 48);
}

#[test]
fn arrivals_that_wait_keep_their_due_time() {
    // One user and 20 ms each: 25 of 50 can be done in the window, the rest afterwards.
    let (driven, book, made) = run(&[arrivals(100.0, 1, Overflow::Wait(ms(60_000)))], ms(20), None);
    assert_eq!((driven[0].completed, driven[0].dropped, made), (50, 0, 1));
    let last = book.begun.last().unwrap();
    assert!(last.was_held_back() && last.started - last.due.unwrap() > ms(300), "{last:?}");
    assert!(last.lateness() < ms(100), "waiting for a user is not the generator's delay: {last:?}");
}

#[test]
fn arrivals_that_wait_too_long_are_told() {
    let (driven, book, _) = run(&[arrivals(100.0, 1, Overflow::Wait(ms(0)))], ms(60_000), Some(ms(600)));
    assert_eq!((driven[0].interrupted, driven[0].dropped, book.not_started.len()), (1, 49, 49));
}

#[test]
fn scenarios_run_side_by_side_from_their_starts() {
    let executor = Executor::PerVuIterations { users: 1, iterations: 1, max_duration: ms(60_000) };
    let late = Plan { start: ms(100), name: "late".to_owned(), ..plan(executor.clone()) };
    let (driven, book, made) = run(&[plan(executor), late], ms(10), None);
    assert_eq!((driven[0].completed, driven[1].completed, &*driven[1].name), (1, 1, "late"));
    assert!(book.begun[1].started - book.begun[0].started > ms(80));
    assert!(made <= 2);
}

#[test]
fn a_broken_user_is_replaced() {
    let book = Rc::<RefCell<Book>>::default();
    let crew = Crew::new(People { book: book.clone(), takes: ms(0), broken: 1 });
    let executor = Executor::PerVuIterations { users: 1, iterations: 5, max_duration: ms(60_000) };
    let driven = run_crew(&crew, &[plan(executor)], None);
    assert_eq!(driven[0].completed, 5);
    let users: Vec<u32> = book.borrow().begun.iter().map(|i| i.user).collect();
    assert_eq!(users, [1, 2, 2, 2, 2]);
}

#[test]
fn a_plan_that_makes_no_sense_is_named() {
    let crew = Crew::new(People { book: Rc::default(), takes: ms(0), broken: 0 });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let executor = Executor::ConstantVus { users: 0, duration: ms(1) };
    let work = async { drive(&crew, &[plan(executor)], &Control::new()).await };
    let error = tokio::task::LocalSet::new().block_on(&runtime, work).unwrap_err();
    assert_eq!(format!("{error:#}"), "scenario `plan`: users: it is 0");
}
