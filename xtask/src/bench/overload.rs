//! What becomes of those who ask little when one client asks for three times what the app can
//! bear: with the app alone, and with `rate-limiter` before it.
//!
//! Every request comes at its moment, over a connection of its own, whether or not those before
//! it have been answered: real clients do not wait for one another. They do lose patience.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anstream::println;
use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::forward::{Proxy, connect, free_address, start};
use super::{percentile, program_of_image};
use crate::report::{BOLD, DIM};

const CHAPTER: &str = "rate-limit";
/// The app works on so many requests at once,
const WORKERS: u32 = 4;
/// for so long on each,
const WORK: Duration = Duration::from_millis(50);
/// and so can bear so many in a second.
const CAPACITY: u32 = 80;
/// Clients that ask little.
const MODEST: u32 = 4;
/// How many requests a second each of them sends: together half of what the app can bear.
const MODEST_RATE: u32 = CAPACITY / 2 / MODEST;
/// How many the greedy one sends: with the modest ones, three times what the app can bear.
const GREEDY_RATE: u32 = 3 * CAPACITY - MODEST * MODEST_RATE;
/// What each client may ask.
const LIMIT: &str = "[[limit]]\npath = '/'\nrate = '20/s'\nburst = 20\n";
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of the requests of some clients.
#[derive(Default)]
struct Outcome {
    /// How long those waited that were answered with what they asked for.
    answered: Vec<Duration>,
    refused: usize,
    given_up: usize,
}

pub(super) async fn run(seconds: u32) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a folder for the programs")?;
    let app = program_of_image(scratch.path(), CHAPTER, "order-service")?;
    let limiter = program_of_image(scratch.path(), CHAPTER, "rate-limiter")?;
    let limits = scratch.path().join("limits.toml");
    fs::write(&limits, LIMIT).context("cannot write the limits")?;

    println!(
        "{BOLD}an app that can bear {CAPACITY} requests per second, {seconds} s each{BOLD:#}, \
         patience {PATIENCE:?}"
    );
    println!(
        "  {:<26} {:>18} {:>9} {:>9}   {:>24}",
        "", "modest: answered", "median", "99th %", "greedy: answered, 429"
    );
    for (name, greedy, is_limited) in [
        ("modest clients alone", 0, false),
        ("and a greedy one", GREEDY_RATE, false),
        ("behind rate-limiter", GREEDY_RATE, true),
    ] {
        let app = start_app(&app)?;
        let limiter = is_limited.then(|| start_limiter(&limiter, &limits, app.address));
        let limiter = limiter.transpose()?;
        let door = limiter
            .as_ref()
            .map_or(app.address, |limiter| limiter.address);
        wait_for(&app, app.address).await?;
        wait_for(&app, door).await?;
        let (modest, greedy) = load(door, greedy, Duration::from_secs(seconds.into())).await;
        report(name, modest, &greedy);
    }
    println!("  {DIM}each client may send 20 requests per second, and 20 at once{DIM:#}");
    Ok(())
}

fn report(name: &str, mut modest: Outcome, greedy: &Outcome) {
    let sent = modest.answered.len() + modest.refused + modest.given_up;
    modest.answered.sort();
    let span = |share| percentile(&modest.answered, share).map_or("-".to_owned(), milliseconds);
    println!(
        "  {name:<26} {:>9} of {sent:>5} {:>9} {:>9}   {:>16} {:>7}",
        modest.answered.len(),
        span(0.5),
        span(0.99),
        greedy.answered.len(),
        greedy.refused
    );
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

fn start_app(program: &Path) -> anyhow::Result<Proxy> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LISTEN", address.to_string())
        .env("WORKERS", WORKERS.to_string())
        .env("WORK", format!("{}ms", WORK.as_millis()));
    start("order-service".to_owned(), &mut command, address)
}

fn start_limiter(program: &Path, limits: &Path, app: SocketAddr) -> anyhow::Result<Proxy> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LISTEN", address.to_string())
        .env("UPSTREAM", format!("http://{app}"))
        .env("LIMITS", limits)
        .env("CLIENT_HEADER", "X-Forwarded-For");
    start("rate-limiter".to_owned(), &mut command, address)
}

async fn wait_for(app: &Proxy, address: SocketAddr) -> anyhow::Result<()> {
    let listens = async {
        while !matches!(ask(address, "/ready", 0).await, Ok(StatusCode::OK)) {
            // Nothing tells when a port will accept.
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), listens)
        .await
        .with_context(|| format!("{} does not answer", app.name))
}

/// Sends all requests, and returns what became of those of the modest clients and of the greedy
/// one.
async fn load(door: SocketAddr, greedy_rate: u32, length: Duration) -> (Outcome, Outcome) {
    let mut clients = JoinSet::new();
    for number in 1..=MODEST {
        clients.spawn(async move { (true, one_client(door, number, MODEST_RATE, length).await) });
    }
    if greedy_rate > 0 {
        clients.spawn(async move { (false, one_client(door, 0, greedy_rate, length).await) });
    }
    let (mut modest, mut greedy) = (Outcome::default(), Outcome::default());
    while let Some(Ok((is_modest, outcome))) = clients.join_next().await {
        let all = if is_modest { &mut modest } else { &mut greedy };
        all.answered.extend(outcome.answered);
        all.refused += outcome.refused;
        all.given_up += outcome.given_up;
    }
    (modest, greedy)
}

async fn one_client(door: SocketAddr, client: u32, rate: u32, length: Duration) -> Outcome {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    for _ in 0..(f64::from(rate) * length.as_secs_f64()) as usize {
        ticks.tick().await;
        let due = Instant::now();
        requests.spawn(async move {
            let status = timeout(PATIENCE, ask(door, "/orders", client)).await;
            (status.ok().and_then(Result::ok), due.elapsed())
        });
    }
    let mut outcome = Outcome::default();
    while let Some(done) = requests.join_next().await {
        match done {
            Ok((Some(StatusCode::OK), took)) => outcome.answered.push(took),
            Ok((Some(StatusCode::TOO_MANY_REQUESTS), _)) => outcome.refused += 1,
            _ => outcome.given_up += 1,
        }
    }
    outcome
}

async fn ask(door: SocketAddr, path: &str, client: u32) -> anyhow::Result<StatusCode> {
    let mut sender = connect(door).await?;
    let request = Request::get(path)
        .header("host", door.to_string())
        .header("x-forwarded-for", format!("192.0.2.{client}"))
        .body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(status)
}
