//! The sidecar that finds the app: keeps the list of its instances, and sends each request to the one
//! that works on the fewest.

use std::collections::BTreeSet;
use std::process::exit;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use output_interceptor::{Answer, Client, Failed, Outgoing, Pseudonym, Refusal, Sidecar};
use output_interceptor::{answer, serve};
use reqwest::Url;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use service_discovery::instances::Instances;
use service_discovery::{LONGEST_LIST, Listed, from_text, text_of};
use sidecar_kit::{asked_to_probe, probe, setting};
use tokio::time::{Instant, sleep, sleep_until};

/// So long the registry may keep a question until the list changes, in seconds.
const WAIT: u64 = 20;
/// The first pause after the registry was not there; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// From one question that was answered with news to the next,
const AFTER_NEWS: Duration = Duration::from_millis(20);
/// and from one that was not: a registry that keeps no question is asked now and then.
const WITHOUT_NEWS: Duration = Duration::from_secs(1);
/// What a startup probe asks for: no service has this path.
const READY: &str = "/-/ready";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listen = setting("LISTEN", "127.0.0.1:7979");
    if asked_to_probe() {
        let asked = probe(listen, READY);
        exit(i32::from(asked != std::process::ExitCode::SUCCESS));
    }
    let timeout: Duration = setting("TIMEOUT", "10s");
    let discovery = Arc::new(Discovery {
        instances: Mutex::new(Instances::new(timeout)),
        timeout,
        pass_over: setting("PASS_OVER", "1s"),
        pseudonym: Pseudonym::new("discovery"),
    });
    let registry: Url = setting("REGISTRY", "http://registry:7070");
    let service = std::env::var("SERVICE").unwrap_or_else(|_| "orders".to_owned());
    let watched = discovery.clone();
    tokio::spawn(async move { watched.watch(registry, &service).await });
    let ended = serve(&listen.to_string(), discovery).await;
    if let Err(error) = &ended {
        println!("{error:#}");
    }
    // Returning would first wait for a name look-up that is still under way in a thread.
    exit(i32::from(ended.is_err()));
}

struct Discovery {
    instances: Mutex<Instances>,
    /// How long an instance may take to answer.
    timeout: Duration,
    /// How long an instance is passed over that has not answered, the first time.
    pass_over: Duration,
    pseudonym: Pseudonym,
}

// ANCHOR: answer
impl Sidecar for Discovery {
    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Result<Answer, Refusal> {
        if self.instances().count() == 0 {
            let why = "no instance is known yet";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
                .with(RETRY_AFTER, HeaderValue::from_static("1"))
                .of(request.into_body()));
        }
        if request.uri().path() == READY {
            return Ok(answer(StatusCode::OK, "text/plain", "ready\n"));
        }
        let mut request = Outgoing::new(request, client, &self.pseudonym)?;
        let mut tried = Vec::new();
        loop {
            let chosen = self
                .instances()
                .choose(&tried, self.timeout, Instant::now());
            let instance = chosen.expect("there is an instance that was not tried");
            let under_way = instance.begin();
            let answered = request.send(&instance.upstream).await;
            drop(under_way);
            let name = &instance.listed.name;
            let Failed { why, again } = match answered {
                Ok(answer) => {
                    if instance.has_answered() {
                        println!("{name} answers again");
                    }
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            // A client that breaks off its own request says nothing of the instance.
            if why.status().is_server_error()
                && let Some(pause) = instance.has_failed(self.pass_over, Instant::now())
            {
                println!("{name} does not answer, and is passed over for {pause:?}");
            }
            tried.push(instance);
            request = match again {
                Some(again) if tried.len() < self.instances().count() => again,
                again => return Err(Failed { why, again }.into()),
            };
        }
    }
}
// ANCHOR_END: answer

impl Discovery {
    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances
            .lock()
            .expect("nothing panics while it holds a lock")
    }

    // ANCHOR: watch
    /// Keeps the list. Without the registry, the last one holds.
    async fn watch(&self, registry: Url, service: &str) {
        let mut known = HeaderValue::from_static("");
        let mut pause = FIRST_PAUSE;
        let mut is_away = false;
        loop {
            let asked = Instant::now();
            let Ok(answer) = ask(&registry, service, &known).await else {
                if !is_away {
                    println!("the registry is away; the last list holds");
                }
                is_away = true;
                // Not all watchers come back at once.
                sleep(pause.mul_f64(fastrand::f64())).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            };
            let mut rest = WITHOUT_NEWS;
            if let Some((version, list)) = answer
                && version != known
            {
                (known, rest) = (version, AFTER_NEWS);
                let names = self.instances().update(list);
                if let Some(names) = names {
                    println!("instances: {}", names.join(", "));
                }
            }
            if is_away {
                println!("the registry is there");
            }
            (is_away, pause) = (false, FIRST_PAUSE);
            // It has mostly passed: the registry keeps a question until there is news.
            sleep_until(asked + rest).await;
        }
    }
    // ANCHOR_END: watch
}

type News = (HeaderValue, BTreeSet<Listed>);

/// Asks for a list that is another than the known one. The registry answers when there is one, or
/// that there is none yet.
async fn ask(registry: &Url, service: &str, known: &HeaderValue) -> anyhow::Result<Option<News>> {
    // A registry that is started again has another address, which a kept connection does not know.
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(1))
        .timeout(Duration::from_secs(WAIT + 5))
        .build()?;
    let request = client
        .get(registry.join(&format!("/services/{service}"))?)
        .header(IF_NONE_MATCH, known)
        .header("prefer", format!("wait={WAIT}"));
    let answer = request.send().await?;
    if answer.status() == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    let version = answer.headers().get(ETAG);
    let version = version.cloned().context("the list has no ETag")?;
    let text = text_of(answer, LONGEST_LIST).await?;
    let list = from_text(&text).map_err(anyhow::Error::msg)?;
    Ok(Some((version, list)))
}
