//! Two customers of the order service: a greedy one, who places many orders at once, and a patient
//! one, who places a single order after that and wants to know which number it has.
//!
//! They stand before the pod in one container: `X-Forwarded-For` says which of them asks, as the
//! proxy of an ingress would.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};
use sidecar_kit::{Setting, cause, setting, told_to_end};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Addresses that are nobody's (RFC 5737).
const GREEDY: &str = "192.0.2.1";
const PATIENT: &str = "192.0.2.2";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Upstreams(upstreams) = setting("UPSTREAM", "http://127.0.0.1:8000");
    let orders: u64 = setting("ORDERS", "20");
    tokio::select! {
        () = told_to_end() => return,
        () = order(upstreams, orders) => {}
    }
    told_to_end().await;
}

// ANCHOR: order
/// Lets both place their orders, and prints what they get.
async fn order(upstreams: Vec<String>, orders: u64) {
    let client = Client::builder().pool_max_idle_per_host(0).no_proxy();
    let client = client.build().expect("a client without TLS lacks nothing");
    for upstream in &upstreams {
        wait_until_open(&client, upstream).await;
    }

    println!("the greedy customer places {orders} orders at once");
    let (answered, mut answers) = mpsc::unbounded_channel();
    for upstream in upstreams.iter().cycle().take(orders as usize) {
        let order = place(client.clone(), upstream.clone(), GREEDY, "everything");
        let answered = answered.clone();
        tokio::spawn(async move { answered.send(order.await) });
    }
    drop(answered);

    // By its first answer, the app has all orders that it will get from the greedy customer.
    let mut greedy = Vec::new();
    while let Some(answer) = answers.recv().await {
        let is_order = answer.status == Some(StatusCode::CREATED);
        greedy.push(answer);
        if is_order {
            break;
        }
    }
    println!("the patient customer places one order");
    let upstream = upstreams[0].clone();
    let answer = place(client, upstream, PATIENT, "tea").await;
    println!("patient: {}", answer.text);

    while let Some(answer) = answers.recv().await {
        greedy.push(answer);
    }
    for line in summary(&greedy) {
        println!("greedy: {line}");
    }
}
// ANCHOR_END: order

/// What an order got.
struct Answered {
    /// None where there was no answer.
    status: Option<StatusCode>,
    /// What was said.
    text: String,
    /// In how many seconds to come again.
    retry_after: Option<u64>,
}

async fn place(client: Client, upstream: String, who: &str, what: &'static str) -> Answered {
    let request = client
        .post(format!("{upstream}/orders"))
        .header("X-Forwarded-For", who)
        .body(what);
    let sent = async {
        let answer = request.send().await?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text().await?;
        Ok::<_, reqwest::Error>(Answered {
            status: Some(status),
            text: format!("{status}, {}", text.trim_end()),
            retry_after,
        })
    };
    sent.await.unwrap_or_else(|error| Answered {
        status: None,
        text: cause(&error).to_string(),
        retry_after: None,
    })
}

/// How often each status came, and the longest time that was to be waited with it.
fn summary(answers: &[Answered]) -> Vec<String> {
    let mut by_status = BTreeMap::<_, (u32, Option<u64>)>::new();
    for answer in answers {
        let (count, longest) = by_status.entry(answer.status).or_default();
        *count += 1;
        *longest = answer.retry_after.max(*longest);
    }
    by_status
        .into_iter()
        .map(|(status, (count, longest))| {
            let status = status.map_or("no answer".to_owned(), |status| status.to_string());
            match longest {
                Some(longest) => format!("{count} times {status}, Retry-After: {longest}"),
                None => format!("{count} times {status}"),
            }
        })
        .collect()
}

/// Waits until the app says that it takes orders.
async fn wait_until_open(client: &Client, upstream: &str) {
    let is_open = async || {
        let answer = client.get(format!("{upstream}/ready")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    while !is_open().await {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Where orders are placed, in turn.
struct Upstreams(Vec<String>);

impl Setting for Upstreams {
    const EXAMPLE: &'static str = "http://127.0.0.1:8001,http://127.0.0.1:8002";

    fn parse(value: &str) -> Result<Self, String> {
        let urls: Vec<_> = value.split(',').map(ToOwned::to_owned).collect();
        match urls.iter().find(|url| !url.starts_with("http://")) {
            Some(other) => Err(format!("{other:?} does not begin with http://")),
            None => Ok(Self(urls)),
        }
    }
}
