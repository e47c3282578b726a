//! The registry: instances announce themselves, and whoever asks is told who is there, at once or when
//! that changes.
//!
//! `PUT /services/SERVICE/NAME` with an address announces an instance or renews its lease, `DELETE`
//! withdraws it, and `GET /services/SERVICE` lists them. Who sends back the list's `ETag` and
//! `Prefer: wait=20` gets the next list as soon as there is one.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, StatusCode};
use output_interceptor::{Answer, Client, Refusal, Sidecar};
use output_interceptor::{answer, serve};
use service_discovery::leases::{Announced, Leases, Refused};
use service_discovery::{Listed, to_text};
use sidecar_kit::{asked_to_probe, exit_code, probe, setting, told_to_end};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

const LISTEN: &str = "0.0.0.0:7070";
/// Nobody waits longer for a change than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So many wait at once, which is half of those that are served at once: whoever waits keeps no
/// place from those who announce.
const WATCHERS: usize = 200;
/// So many bytes of an announcement are read.
const LONGEST_BODY: usize = 256;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if asked_to_probe() {
        return probe(setting("LISTEN", LISTEN), "/ready");
    }
    exit_code(run().await)
}

/// What all requests share.
struct Registry {
    leases: Mutex<Leases>,
    /// Tells those who wait of each change, and that they should wait no longer.
    news: watch::Sender<News>,
    /// The places of those who wait.
    places: Semaphore,
}

#[derive(Clone, Copy)]
enum News {
    Change,
    End,
}

async fn run() -> anyhow::Result<()> {
    let told_to_end = told_to_end();
    let lease: Duration = setting("LEASE", "15s");
    // Later than any version of a registry that was there before: it did not change more often
    // than a thousand times a second.
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let registry = Arc::new(Registry {
        leases: Mutex::new(Leases::new(lease, u64::try_from(begin)?)),
        news: watch::Sender::new(News::Change),
        places: Semaphore::new(WATCHERS),
    });
    tokio::spawn(watch_leases(registry.clone()));
    let ending = registry.clone();
    tokio::spawn(async move {
        told_to_end.await;
        ending.news.send_replace(News::End);
    });
    serve(LISTEN, registry).await
}

/// It is no sidecar, and is served as one: slow clients lose their places, and there is a limit to
/// how many there are.
impl Sidecar for Registry {
    async fn answer(&self, request: Request<Incoming>, _: &Client) -> Result<Answer, Refusal> {
        let (head, body) = request.into_parts();
        let path = Vec::from_iter(head.uri.path().split('/').skip(1));
        match (&head.method, &path[..]) {
            (&Method::GET, ["services", service]) => Ok(self.list(service, &head.headers).await),
            (&Method::PUT, ["services", service, name]) => {
                self.announce(service, name, address(body).await?)
            }
            (&Method::DELETE, ["services", service, name]) => Ok(self.withdraw(service, name)),
            (&Method::GET, ["ready"]) => Ok(answer(StatusCode::OK, "text/plain", "ready\n")),
            _ => {
                let why = "there is GET /services/SERVICE, and PUT and DELETE with /NAME";
                Err(Refusal::new(StatusCode::NOT_FOUND, why).of(body))
            }
        }
    }
}

/// Reads an announcement.
async fn address(body: Incoming) -> Result<SocketAddr, Refusal> {
    let body = Limited::new(body, LONGEST_BODY).collect();
    let Ok(body) = timeout(PATIENCE, body).await else {
        let why = format!("the address does not come within {PATIENCE:?}");
        return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, why));
    };
    let body = body.map(|whole| whole.to_bytes()).unwrap_or_default();
    let text = std::str::from_utf8(&body).unwrap_or_default();
    text.trim().parse().map_err(|_| {
        let why = "the body is no address such as 10.0.0.1:8080";
        Refusal::new(StatusCode::BAD_REQUEST, why)
    })
}

impl Registry {
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases
            .lock()
            .expect("nothing panics while it holds a lock")
    }

    fn announce(&self, service: &str, name: &str, address: SocketAddr) -> Result<Answer, Refusal> {
        let instance = Listed {
            name: name.to_owned(),
            address,
        };
        let mut leases = self.leases();
        match leases.announce(service, instance, Instant::now()) {
            Ok(Announced::New) => {
                println!("{name} is announced");
                self.news.send_replace(News::Change);
            }
            Ok(Announced::Renewed) => {}
            Err(Refused::Name) => {
                let why = "a name has letters, digits, `-` and `.`, at most 63";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
            }
            Err(Refused::Full) => {
                let why = "there are too many instances";
                // Whoever is told this comes again, and again.
                return Err(Refusal::new(StatusCode::INSUFFICIENT_STORAGE, why).unlogged());
            }
        }
        // So long it may take to announce itself again.
        let lease = format!("{}ms\n", leases.lease().as_millis());
        Ok(answer(StatusCode::OK, "text/plain", lease))
    }

    fn withdraw(&self, service: &str, name: &str) -> Answer {
        if self.leases().withdraw(service, name) {
            println!("{name} is withdrawn");
            self.news.send_replace(News::Change);
        }
        answer(StatusCode::NO_CONTENT, "text/plain", "")
    }

    // ANCHOR: list
    /// Lists the instances: at once, or when the list is another than the one that the client has.
    async fn list(&self, service: &str, headers: &HeaderMap) -> Answer {
        let known = headers.get(IF_NONE_MATCH);
        let mut news = self.news.subscribe();
        // Whoever finds no place to wait is answered at once.
        let place = self.places.try_acquire();
        let wait = place.as_ref().map_or(Duration::ZERO, |_| patience(headers));
        let deadline = Instant::now() + wait;
        loop {
            if matches!(*news.borrow_and_update(), News::End) {
                return answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "");
            }
            let (version, list) = self.leases().list(service);
            let tag = HeaderValue::try_from(format!("\"{version}\""));
            let tag = tag.expect("digits and quotes make a header value");
            let mut answer = if known != Some(&tag) {
                answer(StatusCode::OK, "text/plain", to_text(&list))
            } else if timeout_at(deadline, news.changed()).await.is_err() {
                answer(StatusCode::NOT_MODIFIED, "text/plain", "")
            } else {
                continue;
            };
            answer.headers_mut().insert(ETAG, tag);
            if place.is_err() {
                // Nor is a connection kept for it, which would be a place as well.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            return answer;
        }
    }
    // ANCHOR_END: list
}

/// How long a client wants to wait: `Prefer: wait=20`, in seconds (RFC 7240, section 4.3).
fn patience(headers: &HeaderMap) -> Duration {
    let wish = headers.get("prefer").and_then(|wish| wish.to_str().ok());
    let seconds = wish.and_then(|wish| wish.strip_prefix("wait=")?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(LONGEST_WAIT)
}

// ANCHOR: expire
/// Forgets whoever has not been heard of for the time of a lease.
async fn watch_leases(registry: Arc<Registry>) {
    let mut news = registry.news.subscribe();
    loop {
        let end = registry.leases().next_end();
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            // Somebody is there who was not: a lease to wait for.
            _ = news.changed() => continue,
        }
        let over = registry.leases().expire(Instant::now());
        for name in &over {
            println!("the lease of {name} has run out");
        }
        if !over.is_empty() {
            registry.news.send_replace(News::Change);
        }
    }
}
// ANCHOR_END: expire
