//! The sidecar: calls the app every `INTERVAL`, prints its answer, and outlives its troubles.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::exit;
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use sidecar_kit::{cause, setting, told_to_end};
use tokio::time::sleep;

/// The longest answer that is read, in bytes. An app gone wrong can send without end, and the
/// sidecar would collect it until it is killed for its memory.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The pause after the first call that fails. Each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

// ANCHOR: main
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let app: Url = setting("UPSTREAM", "http://localhost:7878");
    let interval: Duration = setting("INTERVAL", "15s");
    // Without a limit, one answer that never comes would be the last call ever made.
    let timeout: Duration = setting("TIMEOUT", "5s");
    let client = client(timeout);

    // Whichever comes first ends the other. Polling never comes to an end of its own, so what
    // ends is the waiting, wherever it stands: in a pause, or in the middle of a call. The
    // sidecar holds nothing that would be lost.
    tokio::select! {
        () = told_to_end() => {}
        never = poll(&client, &app, interval, timeout) => match never {},
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(0);
}
// ANCHOR_END: main

/// A client for calls that lie far apart.
fn client(timeout: Duration) -> Client {
    Client::builder()
        .timeout(timeout)
        // A connection kept from one call to the next saves little where calls are seconds
        // apart, and it is dead after the app has restarted: the next call would fail although
        // the app is well. So each call opens its own.
        .pool_max_idle_per_host(0)
        // The app is next door: no proxy leads there, and no other place may stand in for it.
        .no_proxy()
        .redirect(redirect::Policy::none())
        // A pod's `localhost` has one address or two. The last one tried is the one that a
        // failure speaks of: let it be the one that every pod has.
        .resolve_to_addrs(
            "localhost",
            &[
                (Ipv6Addr::LOCALHOST, 0).into(),
                (Ipv4Addr::LOCALHOST, 0).into(),
            ],
        )
        .build()
        .expect("a client without TLS needs nothing that could be missing")
}

// ANCHOR: poll
/// Calls the app for ever, and prints each answer.
///
/// Trouble is told when it comes and when it goes, not at each call: an app that is down for an
/// hour is one line in the log, not thousands.
async fn poll(client: &Client, app: &Url, interval: Duration, timeout: Duration) -> Infallible {
    let mut has_answered = false;
    let mut trouble = None;
    let mut pause = FIRST_PAUSE.min(interval);
    loop {
        match call(client, app, timeout).await {
            Ok(body) => {
                if trouble.take().is_some() && has_answered {
                    println!("the app answers again");
                }
                println!("{}", body.trim_end());
                has_answered = true;
                pause = FIRST_PAUSE.min(interval);
                sleep(interval).await;
            }
            Err(why) => {
                // The pauses grow, so that an app that is starting is not hammered while it
                // does. They never grow past the usual interval, which the app bears anyway.
                // They have no random part: that keeps many clients of one server from coming
                // back all at once, and this app has a single client.
                if trouble.as_ref() != Some(&why) {
                    println!("trouble: {why}");
                    trouble = Some(why);
                }
                sleep(pause).await;
                pause = (pause * 2).min(interval);
            }
        }
    }
}
// ANCHOR_END: poll

// ANCHOR: call
/// Calls the app once, and returns its answer, or in a few words why there is none.
async fn call(client: &Client, app: &Url, timeout: Duration) -> Result<String, String> {
    let in_words = |error: reqwest::Error| {
        if error.is_timeout() {
            format!("no answer within {timeout:?}")
        } else {
            cause(&error).to_string()
        }
    };

    let mut response = client.get(app.clone()).send().await.map_err(in_words)?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(in_words)? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ANSWER {
            return Err(format!("an answer of more than {LONGEST_ANSWER} bytes"));
        }
    }
    String::from_utf8(body).map_err(|_| "an answer that is not UTF-8".to_owned())
}
// ANCHOR_END: call
