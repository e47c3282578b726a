//! Who needs the app: calls it again and again, at one address, and counts the calls that fail.

use std::mem;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Url};
use sidecar_kit::{exit_code, setting, told_to_end};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit_code(run().await)
}

async fn run() -> anyhow::Result<()> {
    let mut told_to_end = pin!(told_to_end());
    // By these signals the scenario asks how many calls have failed since it asked last.
    let mut none = handler(SignalKind::user_defined1())?;
    let mut few = handler(SignalKind::user_defined2())?;
    // ANCHOR: address
    let service: Url = setting("UPSTREAM", "http://localhost:7979/orders");
    // ANCHOR_END: address
    let clients: u64 = setting("CLIENTS", "4");
    let interval: Duration = setting("INTERVAL", "10ms");
    println!("calls {service}");

    let (ask, asked) = watch::channel(());
    let (hand_in, mut counts) = mpsc::channel(1);
    for _ in 0..clients {
        let (service, asked, hand_in) = (service.clone(), asked.clone(), hand_in.clone());
        tokio::spawn(call(service, interval, asked, hand_in));
    }
    drop((asked, hand_in));
    loop {
        tokio::select! {
            () = &mut told_to_end => break,
            Some(()) = none.recv() => {
                ask.send_replace(());
                let words = match total(&mut counts, clients).await {
                    0 => "none of the calls failed",
                    _ => "some of the calls failed",
                };
                println!("{words}");
            }
            Some(()) = few.recv() => {
                ask.send_replace(());
                say_few(total(&mut counts, clients).await, clients);
            }
        }
    }
    // Calls that wait for their answer get it.
    drop(ask);
    say_few(total(&mut counts, clients).await, clients);
    Ok(())
}

fn handler(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot handle a signal")
}

/// What a client has counted since it was asked last.
#[derive(Default)]
struct Count {
    calls: u64,
    failed: u64,
}

// ANCHOR: call
/// Orders, asks for the orders, and so on. A call counts where it began: who is asked in the middle
/// of one hands in the count when it has its answer.
async fn call(
    service: Url,
    interval: Duration,
    mut asked: watch::Receiver<()>,
    hand_in: mpsc::Sender<Count>,
) {
    let client = Client::new();
    let mut count = Count::default();
    loop {
        for request in [
            client.post(service.clone()).body("a cup of coffee"),
            client.get(service.clone()),
        ] {
            count.calls += 1;
            let answer = request.send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                count.failed += 1;
                println!("a call failed");
            }
            tokio::select! {
                () = sleep(interval) => {}
                again = asked.changed() => {
                    let _ = hand_in.send(mem::take(&mut count)).await;
                    if again.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
// ANCHOR_END: call

/// Waits for the counts of all clients, and returns how many of their calls failed.
async fn total(counts: &mut mpsc::Receiver<Count>, clients: u64) -> u64 {
    let mut total = Count::default();
    for _ in 0..clients {
        let Some(count) = counts.recv().await else {
            break;
        };
        total.calls += count.calls;
        total.failed += count.failed;
    }
    println!(
        "asked {} times, and {} calls failed",
        total.calls, total.failed
    );
    total.failed
}

fn say_few(failed: u64, clients: u64) {
    if failed <= clients {
        println!("no more calls failed than are under way at once");
    } else {
        println!("more calls failed than are under way at once");
    }
}
