//! What the sidecars that forward do with a request, and how nginx and haproxy are told to do the
//! same.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hyper::Request;
use hyper::http::request::Builder;

use super::{Proxy, free_address, program_of_image, start};

/// What a sidecar is started with.
#[derive(Default)]
pub(super) struct Settings {
    /// Environment variables besides `LISTEN` and `UPSTREAM`.
    pub(super) variables: Vec<(&'static str, String)>,
    /// A program that it asks, which ends when this is dropped.
    pub(super) _neighbour: Option<Proxy>,
}

/// What is done with each request before it is forwarded.
pub(super) struct Job {
    /// In a word, for the heading.
    pub(super) does: &'static str,
    /// The chapter whose sidecar does it.
    pub(super) chapter: &'static str,
    pub(super) sidecar: &'static str,
    /// How many upstreams there are. Of several, the one with the fewest requests under way is
    /// asked.
    pub(super) upstreams: usize,
    /// The sidecar's settings, of a folder for their files and the upstreams.
    pub(super) settings: fn(&Path, &[SocketAddr]) -> anyhow::Result<Settings>,
    /// How nginx does it.
    pub(super) nginx: Nginx,
    /// How haproxy does it: lines of its frontend.
    pub(super) haproxy: &'static [&'static str],
    /// The request of this number.
    pub(super) request: fn(usize) -> Builder,
}

/// Parts of nginx' configuration.
pub(super) struct Nginx {
    pub(super) http: &'static str,
    pub(super) location: &'static str,
}

/// The jobs, in the order of the chapters.
pub(super) static JOBS: [Job; 4] = [
    Job {
        does: "forwarding",
        chapter: "output-interceptor",
        sidecar: "sidecar-output",
        upstreams: 1,
        settings: |_, _| Ok(Settings::default()),
        nginx: Nginx {
            http: "",
            location: "",
        },
        haproxy: &[],
        request: |_| Request::get("/page"),
    },
    // Each client asks once in a few seconds, and nobody is refused.
    Job {
        does: "limiting, client by client,",
        chapter: "rate-limit",
        sidecar: "rate-limiter",
        upstreams: 1,
        settings: |folder, _| {
            let file = folder.join("limits.toml");
            let limits = "[[limit]]\npath = '/'\nrate = '10/s'\nburst = 100\n";
            fs::write(&file, limits).context("cannot write the limits")?;
            Ok(Settings {
                variables: vec![
                    ("LIMITS", file.display().to_string()),
                    ("CLIENT_HEADER", "X-Forwarded-For".to_owned()),
                ],
                _neighbour: None,
            })
        },
        nginx: Nginx {
            http: "limit_req_zone $http_x_forwarded_for zone=clients:16m rate=10r/s;",
            location: "limit_req zone=clients burst=99 nodelay; limit_req_status 429;",
        },
        haproxy: &[
            "stick-table type ip size 100k expire 30s store http_req_rate(10s)",
            "http-request track-sc0 hdr_ip(x-forwarded-for,-1)",
            "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 200 }",
        ],
        request: |number| {
            let client = number % 10_000;
            let client = format!("10.0.{}.{}", client / 256, client % 256);
            Request::get("/page").header("x-forwarded-for", client)
        },
    },
    // One token, which has been verified before. There is no module for this in nginx and haproxy
    // as they are installed, so they forward, which is the least that it can cost.
    Job {
        does: "asking for a token, and forwarding,",
        chapter: "auth",
        sidecar: "sidecar-auth",
        upstreams: 1,
        settings: |_, _| {
            Ok(Settings {
                variables: vec![
                    ("JWKS_URL", serve_keys()?),
                    ("SCOPES", "GET /page page:read".to_owned()),
                ],
                _neighbour: None,
            })
        },
        nginx: Nginx {
            http: "",
            location: "",
        },
        haproxy: &[],
        request: |_| Request::get("/page").header("authorization", TOKEN),
    },
    // nginx and haproxy have the list in their files, and nobody tells them of changes.
    Job {
        does: "choosing one of three instances, and forwarding,",
        chapter: REGISTRY.0,
        sidecar: "discovery",
        upstreams: 3,
        settings: |folder, upstreams| {
            let registry = start_registry(folder, upstreams)?;
            Ok(Settings {
                variables: vec![("REGISTRY", format!("http://{}", registry.address))],
                _neighbour: Some(registry),
            })
        },
        nginx: Nginx {
            http: "",
            location: "",
        },
        haproxy: &[],
        request: |_| Request::get("/page"),
    },
];

/// The chapter and the name of the registry.
const REGISTRY: (&str, &str) = ("service-discovery", "registry");

/// Starts a registry that lists these instances for longer than a bench takes.
fn start_registry(folder: &Path, instances: &[SocketAddr]) -> anyhow::Result<Proxy> {
    let (chapter, name) = REGISTRY;
    let address = free_address()?;
    let mut command = Command::new(program_of_image(folder, chapter, name)?);
    command
        .env_clear()
        .env("LISTEN", address.to_string())
        .env("LEASE", "1d");
    let registry = start(name.to_owned(), &mut command, address)?;
    for (number, instance) in instances.iter().enumerate() {
        let instance = instance.to_string();
        let announcement = format!(
            "PUT /services/orders/orders-{number} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{instance}",
            instance.len()
        );
        let answer = answer_to(&announcement, address)?;
        ensure!(
            answer.starts_with("HTTP/1.1 200"),
            "the registry does not list an instance: {answer}"
        );
    }
    Ok(registry)
}

/// Sends a request as soon as somebody listens, and returns the answer.
fn answer_to(request: &str, address: SocketAddr) -> anyhow::Result<String> {
    let begin = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            // Nothing tells when a port will accept.
            Err(_) if begin.elapsed() < Duration::from_secs(10) => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).context("the registry does not answer"),
        }
    };
    stream.write_all(request.as_bytes())?;
    Ok(std::io::read_to_string(stream)?)
}

/// A token that is good until the year 2100. The key that signed it is gone.
const TOKEN: &str = "Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSIsImtpZCI6ImJlbmNoIn0.\
     eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjkwMDAiLCJhdWQiOiJvcmRlcnMiLCJzdWIiOiJhbGljZSIsInNjb3\
     BlIjoicGFnZTpyZWFkIG9yZGVyczpyZWFkIG9yZGVyczp3cml0ZSIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.\
     G6sIE4IbxKWTlae1R8UTMjThWA_KwTn_cMnK-U-lmzrYsR8FbcvtaaY-6MSvphBfXR7JFQSXXpQWyYBfFGXYDg";

/// The other half of that key.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"bench","x":"gL7AxToio0dy0kxoP70AOxQnChd9pNC2PdhD6HirqBE"}]}"#;

/// Serves the key from a thread, and returns its URL.
fn serve_keys() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}/jwks", listener.local_addr()?);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The request is one line and a few fields: one read has some of it, and that will do.
            // Whoever leaves without the answer comes again.
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{KEYS}",
                KEYS.len()
            );
        }
    });
    Ok(url)
}
