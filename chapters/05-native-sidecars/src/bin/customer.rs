//! Who comes from another pod, and knows the shop by its name alone: visits it again and again, and
//! says what it finds when that is something else than before.

use std::convert::Infallible;
use std::process::exit;
use std::time::Duration;

use native_sidecars::client;
use reqwest::{Client, Url};
use sidecar_kit::{cause, setting, told_to_end};
use tokio::net::lookup_host;
use tokio::time::sleep;

const NOBODY: &str = "nobody stands behind this name";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let shop: Url = setting("UPSTREAM", "http://shop:8080");
    let interval: Duration = setting("INTERVAL", "100ms");
    tokio::select! {
        () = told_to_end() => {}
        never = come_again(&shop, interval) => match never {},
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(0);
}

async fn come_again(shop: &Url, interval: Duration) -> Infallible {
    let client = client().expect("a client without TLS lacks nothing");
    let name = shop.host_str().expect("a URL with http has a host");
    let port = shop.port_or_known_default().expect("http has a port");
    // The shop may not be open yet when the first customer comes, which is no news.
    let mut last = NOBODY.to_owned();
    loop {
        let found = visit(&client, &format!("{name}:{port}")).await;
        if found != last {
            println!("{name}: {found}");
            last = found;
        }
        sleep(interval).await;
    }
}

// ANCHOR: visit
/// Asks whoever stands behind the name now. Neither an address nor a connection is kept from one
/// visit to the next.
async fn visit(client: &Client, name: &str) -> String {
    let found = lookup_host(name).await;
    let Some(address) = found.ok().and_then(|mut addresses| addresses.next()) else {
        return NOBODY.to_owned();
    };
    let answer = async {
        let answer = client.get(format!("http://{address}/")).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>(format!("{status}, {}", answer.text().await?))
    };
    let answer = answer.await;
    answer.unwrap_or_else(|error| cause(&error).to_string())
}
// ANCHOR_END: visit

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_nowhere_has_nobody_behind_it() {
        let client = client().expect("a client");
        // A part of a name has 63 characters at most, so nobody else is asked for this one.
        let name = format!("{}:80", "a".repeat(64));
        assert_eq!(visit(&client, &name).await, NOBODY);
    }
}
