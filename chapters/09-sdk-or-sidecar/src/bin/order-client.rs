//! The client: orders something every `INTERVAL`, and prints what changes. So one sees in its
//! lines when the limiter in front of the app is another one, when the app is, and how many calls
//! failed meanwhile.

use std::collections::BTreeMap;
use std::process::exit;
use std::time::Duration;

use reqwest::header::HeaderName;
use reqwest::{Client, StatusCode, Url};
use sidecar_kit::{cause, setting, told_to_end};
use tokio::time::{Instant, sleep};

/// Where a limiter tells its limits before anyone meets them:
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url: Url = setting("UPSTREAM", "http://127.0.0.1:8080/orders");
    let interval: Duration = setting("INTERVAL", "15s");
    // For how long calls may fail, one after the other, before the client gives up.
    let patience: Duration = setting("PATIENCE", "10s");
    let client = Client::builder()
        .timeout(setting("TIMEOUT", "10s"))
        // A connection of its own for each call, so that a call fails only where nobody listens,
        // and never because an old connection is being closed.
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .expect("a client without TLS needs nothing that could be missing");

    // ANCHOR: loop
    let mut seen = Seen::default();
    let calls = async {
        loop {
            let called = call(&client, &url).await;
            for line in seen.line(called, Instant::now()) {
                println!("{line}");
            }
            if seen.fails_for(Instant::now()) > patience {
                println!("calls have failed for longer than {patience:?}");
                return 1;
            }
            sleep(interval).await;
        }
    };
    let code = tokio::select! {
        () = told_to_end() => 0,
        code = calls => code,
    };
    println!("{}", seen.account());
    // ANCHOR_END: loop
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(code);
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    /// The number of the order, which counts from the start of the app's process.
    order: u64,
    /// What the limiter tells of its limits, if anything.
    policy: Option<String>,
}

// ANCHOR: call
/// Orders once. An error says in a few words why there is no order.
async fn call(client: &Client, url: &Url) -> Result<Answer, String> {
    let answer = client.post(url.clone()).body("tea").send().await;
    let answer = answer.map_err(why)?;
    let status = answer.status();
    let policy = answer.headers().get(POLICY);
    let policy = policy.map(|policy| String::from_utf8_lossy(policy.as_bytes()).into_owned());
    if status != StatusCode::CREATED {
        return Err(status.to_string());
    }
    let text = answer.text().await.map_err(why)?;
    let number = text.split_whitespace().nth(1);
    match number.and_then(|number| number.parse().ok()) {
        Some(order) => Ok(Answer { order, policy }),
        None => Err(format!("no number in the answer {text:?}")),
    }
}
// ANCHOR_END: call

/// What was seen so far.
#[derive(Default)]
struct Seen {
    last: Option<Answer>,
    /// Since when calls fail, and how many have.
    failing: Option<(Instant, u64)>,
    calls: u64,
    /// How many calls failed, by why. Those before the first answer do not count: somebody has to
    /// be the first to start.
    failed: BTreeMap<String, u64>,
}

impl Seen {
    // ANCHOR: changes
    /// Adds a call, and returns what there is to be said of it: only what is news.
    fn line(&mut self, called: Result<Answer, String>, now: Instant) -> Vec<String> {
        let mut news = Vec::new();
        let answer = match called {
            Ok(answer) => answer,
            Err(why) => {
                let (_, count) = self.failing.get_or_insert((now, 0));
                *count += 1;
                if self.last.is_some() {
                    if *count == 1 {
                        news.push(format!("calls fail: {why}"));
                    }
                    self.calls += 1;
                    *self.failed.entry(why).or_default() += 1;
                }
                return news;
            }
        };
        self.calls += 1;
        let before = self.last.replace(answer.clone());
        if let Some((_, count)) = self.failing.take()
            && before.is_some()
        {
            news.push(format!("calls are answered again; {count} failed"));
        }
        let Answer { order, policy } = answer;
        let (last, told) = match before {
            Some(before) => (before.order, Some(before.policy)),
            None => (0, None),
        };
        if told.as_ref() != Some(&policy) {
            news.push(match policy {
                Some(policy) => format!("the limiter tells its limits: {policy}"),
                None => "the limiter does not tell its limits".to_owned(),
            });
            // The first order, or the first behind another limiter.
            news.push(match order {
                1 => "the app counts from 1".to_owned(),
                _ if order == last + 1 => "the app counts on".to_owned(),
                _ => format!("the app counts {order} after {last}"),
            });
        } else if order != last + 1 {
            // Not one number is missing as long as no call that failed was done all the same.
            news.push(format!("the app counts {order} after {last}"));
        }
        news
    }
    // ANCHOR_END: changes

    /// For how long calls have failed.
    fn fails_for(&self, now: Instant) -> Duration {
        self.failing
            .map_or(Duration::ZERO, |(since, _)| now - since)
    }

    /// How many calls there were, and how many failed, by why.
    fn account(&self) -> String {
        let failed: u64 = self.failed.values().sum();
        let whys = self.failed.iter();
        let whys: Vec<_> = whys.map(|(why, count)| format!("{count} {why}")).collect();
        let colon = if whys.is_empty() { "" } else { ": " };
        format!(
            "{} calls, {failed} failed{colon}{}",
            self.calls,
            whys.join(", ")
        )
    }
}

/// Why there was no answer, in a few words.
fn why(error: reqwest::Error) -> String {
    // The system's own number says nothing to a reader.
    let cause = cause(&error).to_string();
    cause
        .split_once(" (os error")
        .map_or(cause.clone(), |(words, _)| words.to_owned())
}
