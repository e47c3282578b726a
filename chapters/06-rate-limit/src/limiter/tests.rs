//! The limiter, with a clock that does not tick by itself.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::thread;

use governor::clock::FakeRelativeClock;

use super::*;

const NANOSECOND: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const ALICE: Client<'static> = Client::Named(b"alice");
const BOB: Client<'static> = Client::Named(b"bob");

fn limits(limits: &[(&str, &str, u32)]) -> Limits {
    let text: String = limits
        .iter()
        .map(|(path, rate, burst)| {
            format!("[[limit]]\npath = '{path}'\nrate = '{rate}'\nburst = {burst}\n")
        })
        .collect();
    Limits::parse(&text).unwrap()
}

/// A limiter with one limit for all paths, and its clock.
fn limiter(rate: &str, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    with_limits(&[("/", rate, burst)])
}

fn with_limits(all: &[(&str, &str, u32)]) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::with_clock(limits(all), clock.clone()), clock)
}

/// How many requests pass before the first that does not, and how long that one is to wait.
fn drain(limiter: &Limiter<FakeRelativeClock>, client: Client<'_>, path: &str) -> (u32, Duration) {
    let mut passed = 0;
    loop {
        match limiter.check(client, path) {
            Ok(()) => passed += 1,
            Err(wait) => return (passed, wait.time()),
        }
        assert!(passed < 1_000_000, "{path} is not limited");
    }
}

#[test]
fn a_burst_passes_and_then_one_with_each_token() {
    let (limiter, clock) = limiter("10/s", 20);
    let token = Duration::from_millis(100);
    assert_eq!(drain(&limiter, ALICE, "/"), (20, token));
    // A moment before the next token there is none yet.
    clock.advance(token - NANOSECOND);
    assert_eq!(drain(&limiter, ALICE, "/"), (0, NANOSECOND));
    clock.advance(NANOSECOND);
    assert_eq!(drain(&limiter, ALICE, "/"), (1, token));
    clock.advance(token * 3);
    assert_eq!(drain(&limiter, ALICE, "/"), (3, token));
}

#[test]
fn a_bucket_holds_no_more_than_its_burst() {
    let (limiter, clock) = limiter("10/s", 20);
    clock.advance(SECOND * 3600);
    assert_eq!(drain(&limiter, ALICE, "/").0, 20);
    clock.advance(SECOND * 2 - NANOSECOND);
    assert_eq!(drain(&limiter, ALICE, "/").0, 19);
    clock.advance(SECOND * 3600);
    assert_eq!(drain(&limiter, ALICE, "/").0, 20);
}

#[test]
fn a_refused_request_costs_nothing() {
    let (limiter, clock) = limiter("1/s", 1);
    limiter.check(ALICE, "/").unwrap();
    for _ in 0..1000 {
        limiter.check(ALICE, "/").unwrap_err();
    }
    clock.advance(SECOND);
    limiter.check(ALICE, "/").unwrap();
}

#[test]
fn retry_after_is_in_whole_seconds_and_never_too_early() {
    let (limiter, clock) = limiter("1/10s", 1);
    limiter.check(ALICE, "/").unwrap();
    for (passed, seconds) in [
        (Duration::ZERO, 10),
        (NANOSECOND, 10),
        (SECOND - NANOSECOND, 9),
        (SECOND * 8, 1),
        (SECOND - NANOSECOND, 1),
    ] {
        clock.advance(passed);
        let wait = limiter.check(ALICE, "/").unwrap_err();
        assert_eq!(wait.retry_after(), seconds, "{wait:?}");
    }
    clock.advance(wait_of(limiter.check(ALICE, "/").unwrap_err()));
    limiter.check(ALICE, "/").unwrap();
}

fn wait_of(wait: Wait) -> Duration {
    SECOND * u32::try_from(wait.retry_after()).unwrap()
}

/// A small generator of numbers that look random (xorshift), the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The bucket as one would draw it: it holds tokens, and gets one after each period.
struct Bucket {
    /// In nanoseconds of the time that it takes to make them: a token is a period.
    level: u64,
    full: u64,
    period: u64,
}

impl Bucket {
    fn pass(&mut self, elapsed: u64) -> Result<(), u64> {
        self.level = self.full.min(self.level + elapsed);
        self.level = self
            .level
            .checked_sub(self.period)
            .ok_or_else(|| self.period - self.level)?;
        Ok(())
    }
}

#[test]
fn it_decides_as_a_bucket_of_tokens_does() {
    for (seed, rate, burst) in [
        (1, "10/s", 20),
        (2, "3/s", 1),
        (3, "1000000/s", 7),
        (4, "7/min", 3),
    ] {
        let (limiter, clock) = limiter(rate, burst);
        let period = limits(&[("/", rate, burst)]).0[0].rate.period();
        let period = u64::try_from(period.as_nanos()).unwrap();
        let full = period * u64::from(burst);
        let mut bucket = Bucket {
            level: full,
            full,
            period,
        };
        let mut numbers = Numbers(seed);
        let mut refused = 0;
        for _ in 0..10_000 {
            // Mostly at once or within a token, sometimes at the very edge of one, seldom long.
            let elapsed = match numbers.below(100) {
                0..50 => 0,
                50..60 => period,
                60..70 => period - 1,
                70..80 => 1,
                80 => numbers.below(full * 3),
                _ => numbers.below(period),
            };
            clock.advance(Duration::from_nanos(elapsed));
            let decided = limiter.check(ALICE, "/").map_err(|wait| wait.time());
            let expected = bucket.pass(elapsed).map_err(Duration::from_nanos);
            assert_eq!(decided, expected, "{rate}, burst {burst}");
            refused += u32::from(decided.is_err());
        }
        assert!(
            (1000..9000).contains(&refused),
            "{refused} of 10,000 were refused"
        );
    }
}

#[test]
fn no_span_of_time_lets_more_through_than_its_tokens_and_a_burst() {
    let (limiter, clock) = limiter("10/s", 5);
    let span = SECOND * 3;
    let mut numbers = Numbers(7);
    let mut now = Duration::ZERO;
    let mut passed = VecDeque::new();
    for _ in 0..20_000 {
        let step = Duration::from_nanos(numbers.below(40_000_000));
        clock.advance(step);
        now += step;
        if limiter.check(ALICE, "/").is_ok() {
            passed.push_back(now);
        }
        while passed.front().is_some_and(|first| *first + span <= now) {
            passed.pop_front();
        }
        assert!(passed.len() <= 5 + 30, "{} within {span:?}", passed.len());
    }
}

#[test]
fn each_client_has_a_bucket_of_its_own_for_each_limit() {
    let (limiter, _) = with_limits(&[("/", "1/s", 3), ("/orders", "1/s", 2)]);
    assert_eq!(drain(&limiter, ALICE, "/orders").0, 2);
    assert_eq!(drain(&limiter, ALICE, "/other").0, 3);
    assert_eq!(drain(&limiter, BOB, "/orders").0, 2);
    assert_eq!(drain(&limiter, BOB, "/other").0, 3);
}

#[test]
fn the_nearest_limit_above_a_path_is_the_one() {
    let (limiter, _) = with_limits(&[
        ("/orders", "1/s", 2),
        ("/", "1/s", 3),
        ("/orders/new", "1/s", 1),
    ]);
    for (number, (path, burst)) in [
        ("/", 3),
        ("*", 3),
        ("", 3),
        ("/ordersx", 3),
        ("/orders", 2),
        ("/orders/7", 2),
        ("/orders/news", 2),
        ("/orders/new", 1),
        ("/orders/new/7", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let client = Client::Ipv6(number as u64);
        assert_eq!(drain(&limiter, client, path).0, burst, "{path}");
    }
}

#[test]
fn a_path_without_a_limit_is_free() {
    let (limiter, _) = with_limits(&[("/orders", "1/s", 1)]);
    for _ in 0..1000 {
        limiter.check(ALICE, "/ready").unwrap();
        limiter.check(ALICE, "/").unwrap();
    }
}

#[test]
fn no_way_of_writing_a_path_leads_around_its_limit() {
    let (limiter, _) = with_limits(&[
        ("/", "1/s", 1000),
        ("/orders", "1/s", 2),
        ("/free", "1/s", 500),
    ]);
    for (number, path) in [
        "/orders/",
        "//orders",
        "/./orders",
        "/orders/.",
        "/%6frders",
        "/%6Frders",
        "/%6frders%2f7",
        "/free/../orders",
        "/free/%2e%2e/orders",
        "/free/..%2Forders",
        "/../orders",
        // To an app that does not decode a slash, this is an order with a strange name.
        "/orders/..%2Ffree",
        "/orders/%2e%2e/free",
    ]
    .into_iter()
    .enumerate()
    {
        let client = Client::Ipv6(number as u64);
        assert_eq!(drain(&limiter, client, path).0, 2, "{path}");
        assert_eq!(drain(&limiter, client, "/orders").0, 0, "{path}");
    }
    // A path that is written in another way, and has one limit, takes one token.
    assert_eq!(drain(&limiter, ALICE, "/free//a").0, 500);
}

#[test]
fn other_limits_hold_at_once_and_the_same_ones_keep_their_buckets() {
    let (limiter, clock) = with_limits(&[("/", "1/h", 3), ("/orders", "1/h", 2)]);
    assert_eq!(drain(&limiter, ALICE, "/").0, 3);
    assert_eq!(drain(&limiter, ALICE, "/orders").0, 2);
    clock.advance(SECOND);
    limiter.set(limits(&[("/orders", "1/h", 5), ("/", "1/h", 3)]));
    assert_eq!(drain(&limiter, ALICE, "/").0, 0);
    assert_eq!(drain(&limiter, ALICE, "/orders").0, 5);
    limiter.set(limits(&[("/orders", "1/h", 5)]));
    assert_eq!(drain(&limiter, ALICE, "/orders").0, 0);
    limiter.check(ALICE, "/").unwrap();
}

fn stranger(number: u32) -> Client<'static> {
    Client::Ipv4(Ipv4Addr::from(0x0a00_0000 + number))
}

const TABLE: u32 = CLIENTS as u32;

/// What an attacker with many addresses would like: that the debts of others are forgotten.
#[test]
fn a_flood_of_clients_washes_no_debt_away_and_takes_no_token_from_those_who_are_known() {
    let (limiter, clock) = limiter("1/min", 5);
    assert_eq!(drain(&limiter, ALICE, "/").0, 5);
    limiter.check(BOB, "/").unwrap();
    for number in 0..TABLE - 2 {
        limiter.check(stranger(number), "/").unwrap();
    }
    assert!(!limiter.is_crowded());

    // There is no room for more. They share one bucket.
    let passed = (TABLE..TABLE * 2).filter(|number| limiter.check(stranger(*number), "/").is_ok());
    assert_eq!(passed.count(), 5);
    assert!(limiter.is_crowded());

    // Alice still owes, and Bob still has what is his; so does the flood itself.
    assert_eq!(drain(&limiter, ALICE, "/").0, 0);
    assert_eq!(drain(&limiter, BOB, "/").0, 4);
    assert_eq!(drain(&limiter, stranger(0), "/").0, 4);

    // Buckets that are full again make room, and not before.
    clock.advance(SECOND * 60 - NANOSECOND);
    limiter.check(stranger(TABLE * 2), "/").unwrap_err();
    assert!(limiter.is_crowded());
    clock.advance(SECOND);
    assert_eq!(drain(&limiter, stranger(TABLE * 2), "/").0, 5);
    assert!(!limiter.is_crowded());
    assert_eq!(drain(&limiter, ALICE, "/").0, 1);
    assert_eq!(drain(&limiter, BOB, "/").0, 1);
}

#[test]
fn a_flood_of_one_path_leaves_room_for_another() {
    let (limiter, _) = with_limits(&[("/", "1/min", 1), ("/orders", "1/min", 1)]);
    for number in 0..TABLE {
        let _ = limiter.check(stranger(number), "/");
    }
    assert!(limiter.is_crowded());
    limiter.check(ALICE, "/").unwrap_err();
    limiter.check(ALICE, "/orders").unwrap();
}

#[test]
fn thousands_of_clients_get_what_is_theirs_beside_a_greedy_one() {
    let (limiter, clock) = limiter("1/s", 2);
    let mut greedy = 0;
    for _ in 0..20 {
        for number in 0..5000 {
            limiter.check(stranger(number), "/").unwrap();
            greedy += u32::from(limiter.check(ALICE, "/").is_ok());
        }
        clock.advance(SECOND);
    }
    assert_eq!(greedy, 2 + 19);
}

#[test]
fn many_threads_get_no_more_than_the_burst() {
    let (limiter, _) = limiter("1/h", 20);
    let passed: usize = thread::scope(|scope| {
        let check = || {
            (0..1000)
                .filter(|_| limiter.check(ALICE, "/").is_ok())
                .count()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(check)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(passed, 20);
}
