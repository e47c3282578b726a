//! What it costs to forward a request: each sidecar that does, beside nginx and haproxy doing the
//! same [job](job::Job), each as one process that keeps its connections to one and the same
//! upstream alive.
//!
//! Requests are sent at a fixed rate that saturates nobody, each at its moment whether or not
//! those before it have been answered; its latency counts from then, the wait for a connection
//! included. Processor time is
//! what the kernel's scheduler has counted for the process, user and system together.

mod job;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anstream::println;
use anyhow::{Context, ensure};
use harness::workspace::Workspace;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::http::request::Builder;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::job::{JOBS, Job, Settings};
use super::{find, median, processor_time, program_of_image, version};
use crate::report::{BOLD, DIM};

/// Connections of the load: each request takes one that is free.
const CONNECTIONS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(1);
const ANSWER: &[u8] =
    b"Hello from the upstream, which says as much as a small page of JSON would say.\n";

/// One proxy under measurement.
pub(super) struct Proxy {
    pub(super) name: String,
    process: Child,
    pub(super) address: SocketAddr,
    /// Per round: processor time of a request, and median latency.
    rounds: Vec<(Duration, Duration)>,
}

impl Proxy {
    /// The process's number.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// What is asked again and again, and what must be answered.
#[derive(Clone, Copy)]
pub(super) struct Call {
    /// The request of this number.
    pub(super) request: fn(usize) -> Builder,
    pub(super) answer: &'static [u8],
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's first process ends its worker; killed, it would leave it behind.
        let terminate = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status();
        if !terminate.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Measures all jobs, or that of one sidecar.
pub(super) async fn run(
    sidecar: Option<String>,
    rate: u32,
    seconds: u32,
    rounds: u32,
) -> anyhow::Result<()> {
    let is_wanted = |job: &&Job| sidecar.as_ref().is_none_or(|name| job.sidecar == name);
    let jobs: Vec<_> = JOBS.iter().filter(is_wanted).collect();
    let names: Vec<_> = JOBS.iter().map(|job| job.sidecar).collect();
    ensure!(
        !jobs.is_empty(),
        "no sidecar that forwards has this name; there are {}",
        names.join(", ")
    );
    for job in jobs {
        let proxies = measure(job, rate, seconds, rounds).await?;
        println!(
            "{BOLD}{} {rate} requests per second{BOLD:#}, median of {rounds} rounds of {seconds} s",
            job.does
        );
        report(&proxies);
    }
    for (program, package) in [("nginx", "nginx-light"), ("haproxy", "haproxy")] {
        if find(program).is_none() {
            println!("  {DIM}{program} is not installed: sudo apt install {package}{DIM:#}");
        }
    }
    Ok(())
}

/// Lets those who are installed do a job, and measures them.
async fn measure(job: &Job, rate: u32, seconds: u32, rounds: u32) -> anyhow::Result<Vec<Proxy>> {
    let scratch = tempfile::tempdir().context("cannot make a folder for the proxies")?;
    let upstreams = (0..job.upstreams).map(|_| serve_upstream());
    let upstreams = upstreams.collect::<anyhow::Result<Vec<_>>>()?;
    let settings = (job.settings)(scratch.path(), &upstreams)?;
    let mut proxies = vec![start_sidecar(job, scratch.path(), &settings, upstreams[0])?];
    for (program, start) in [("nginx", nginx as Start), ("haproxy", haproxy as Start)] {
        if find(program).is_some() {
            proxies.push(start(job, scratch.path(), &upstreams)?);
        }
    }
    let call = Call {
        request: job.request,
        answer: ANSWER,
    };
    for proxy in &proxies {
        wait_for(&call, proxy).await?;
    }
    // They take turns, so that a slow moment of the machine falls on all of them.
    for _ in 0..rounds {
        for proxy in &mut proxies {
            load(&call, proxy.address, rate, WARM_UP).await?;
            let before = processor_time(proxy.process.id())?;
            let length = Duration::from_secs(seconds.into());
            let latencies = load(&call, proxy.address, rate, length).await?;
            let used = processor_time(proxy.process.id())? - before;
            let each = used / u32::try_from(latencies.len()).unwrap_or(u32::MAX);
            proxy.rounds.push((each, median(latencies)));
        }
    }
    Ok(proxies)
}

fn report(proxies: &[Proxy]) {
    println!(
        "  {:<16} {:>22} {:>16}",
        "", "CPU per 10,000", "median latency"
    );
    let of = |proxy: &Proxy, pick: fn(&(Duration, Duration)) -> Duration| {
        median(proxy.rounds.iter().map(pick).collect())
    };
    let nginx = proxies.iter().find(|proxy| proxy.name.starts_with("nginx"));
    for proxy in proxies {
        let (cpu, latency) = (of(proxy, |round| round.0), of(proxy, |round| round.1));
        println!(
            "  {:<16} {:>20.3} s {:>13} µs",
            proxy.name,
            cpu.as_secs_f64() * 10_000.0,
            latency.as_micros()
        );
        if let Some(nginx) = nginx.filter(|nginx| nginx.name != proxy.name) {
            let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
            println!(
                "  {:<16} {:>15.2} × nginx {:>9.2} × nginx",
                "",
                ratio(cpu, of(nginx, |round| round.0)),
                ratio(latency, of(nginx, |round| round.1))
            );
        }
    }
}

type Start = fn(&Job, &Path, &[SocketAddr]) -> anyhow::Result<Proxy>;

/// A port that nobody has: whoever takes it first.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(StdListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(super) fn start(
    name: String,
    command: &mut Command,
    address: SocketAddr,
) -> anyhow::Result<Proxy> {
    let process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    Ok(Proxy {
        name,
        process,
        address,
        rounds: Vec::new(),
    })
}

fn start_sidecar(
    job: &Job,
    scratch: &Path,
    settings: &Settings,
    upstream: SocketAddr,
) -> anyhow::Result<Proxy> {
    let address = free_address()?;
    let mut command = Command::new(program_of_image(scratch, job.chapter, job.sidecar)?);
    command
        .env_clear()
        .env("LISTEN", address.to_string())
        .env("UPSTREAM", format!("http://{upstream}"))
        .envs(settings.variables.iter().cloned());
    start(job.sidecar.to_owned(), &mut command, address)
}

fn nginx(job: &Job, scratch: &Path, upstreams: &[SocketAddr]) -> anyhow::Result<Proxy> {
    let address = free_address()?;
    let folder = scratch.display();
    let (http, location) = (job.nginx.http, job.nginx.location);
    let servers = upstreams.iter().map(|server| format!("server {server}; "));
    let servers = String::from_iter(servers);
    let file = scratch.join("nginx.conf");
    fs::write(
        &file,
        format!(
            "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; {http}\n\
             upstream app {{ least_conn; {servers}keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen {address}; location / {{ {location} proxy_pass http://app; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n"
        ),
    )?;
    let name =
        version("nginx", "-v").and_then(|said| Some(format!("nginx {}", said.rsplit_once('/')?.1)));
    let program = find("nginx").context("nginx is gone")?;
    let mut command = Command::new(program);
    command.arg("-p").arg(scratch).arg("-c").arg(&file);
    start(
        name.unwrap_or_else(|| "nginx".to_owned()),
        &mut command,
        address,
    )
}

fn haproxy(job: &Job, scratch: &Path, upstreams: &[SocketAddr]) -> anyhow::Result<Proxy> {
    let address = free_address()?;
    let frontend: String = job
        .haproxy
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect();
    let servers = upstreams.iter().enumerate();
    let servers = servers.map(|(number, server)| format!("  server app-{number} {server}\n"));
    let servers = String::from_iter(servers);
    let file = scratch.join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "global\n  nbthread 1\ndefaults\n  mode http\n  option forwardfor\n  http-reuse always\n  timeout client 30s\n  \
             timeout server 30s\n  timeout connect 5s\nfrontend front\n  bind {address}\n{frontend}  default_backend app\nbackend app\n  \
             balance leastconn\n{servers}"
        ),
    )?;
    let name = version("haproxy", "-v").and_then(|said| {
        Some(format!(
            "haproxy {}",
            said.split_whitespace().nth(2)?.split('-').next()?
        ))
    });
    let mut command = Command::new(find("haproxy").context("haproxy is gone")?);
    command.arg("-db").arg("-f").arg(&file);
    start(
        name.unwrap_or_else(|| "haproxy".to_owned()),
        &mut command,
        address,
    )
}

/// Waits until a proxy brings an answer.
async fn wait_for(call: &Call, proxy: &Proxy) -> anyhow::Result<()> {
    let answers = async {
        while load_once(call, proxy.address).await.is_err() {
            // Nothing tells when a port will accept.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), answers)
        .await
        .with_context(|| format!("{} does not forward", proxy.name))
}

async fn load_once(call: &Call, address: SocketAddr) -> anyhow::Result<()> {
    let mut sender = connect(address).await?;
    ask(&mut sender, call, 0, address).await
}

pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    call: &Call,
    number: usize,
    address: SocketAddr,
) -> anyhow::Result<()> {
    sender.ready().await?;
    let request = (call.request)(number).header("host", address.to_string());
    let response = sender.send_request(request.body(Empty::new())?).await?;
    ensure!(
        response.status() == 200,
        "the answer was {}",
        response.status()
    );
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(body == call.answer, "the answer was another");
    Ok(())
}

/// Sends requests at a fixed rate, and returns how long each took from its moment on.
pub(super) async fn load(
    call: &Call,
    address: SocketAddr,
    rate: u32,
    length: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        senders.push(std::sync::Arc::new(Mutex::new(connect(address).await?)));
    }
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    let count = (f64::from(rate) * length.as_secs_f64()) as usize;
    for number in 0..count {
        // tokio's clock ticks in milliseconds: the moment is when the tick has come.
        ticks.tick().await;
        let due = Instant::now();
        let sender = senders[number % CONNECTIONS].clone();
        let call = *call;
        requests.spawn(async move {
            ask(&mut *sender.lock().await, &call, number, address).await?;
            anyhow::Ok(due.elapsed())
        });
    }
    let mut latencies = Vec::with_capacity(count);
    while let Some(done) = requests.join_next().await {
        latencies.push(done??);
    }
    Ok(latencies)
}

/// An upstream in a thread of its own, the same for all proxies.
fn serve_upstream() -> anyhow::Result<SocketAddr> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(listener) else {
                return;
            };
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let answer = |_: Request<Incoming>| async {
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(
                        ANSWER,
                    ))))
                };
                tokio::spawn(
                    server::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer)),
                );
            }
        });
    });
    Ok(address)
}

/// What is under measurement is an optimised program; what measures must not be slower.
pub(super) fn optimised() -> anyhow::Result<bool> {
    if !cfg!(debug_assertions) {
        return Ok(true);
    }
    println!("{DIM}compiling the measuring side with optimisation{DIM:#}");
    let begin = Instant::now();
    let mut command = Command::new(harness::image::cargo());
    command
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1));
    let status = command
        .current_dir(Workspace::find()?.root())
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "the optimised run failed after {:?}",
        begin.elapsed()
    );
    Ok(false)
}
