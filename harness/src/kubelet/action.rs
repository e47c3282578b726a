//! What probes and hooks do: run a program, ask for a page, open a connection.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Uri};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::runtime::Runtime;
use crate::manifest::pod::{
    Container, ExecAction, HttpGetAction, HttpHeader, LifecycleHandler, Port, Probe,
    TcpSocketAction,
};

/// The most of a probe's output that the kubelet keeps, in bytes.
const OUTPUT: u64 = 10 << 10;
/// How many requests a probe sends when it is redirected.
const REQUESTS: usize = 10;

/// The signal that cannot be refused.
pub(super) const SIGKILL: i32 = 9;

/// Does what a probe says, once. An error is the probe's failure, in the kubelet's words.
pub(super) async fn probe(
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    probe: &Probe,
) -> Result<(), String> {
    let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).into());
    match (&probe.exec, &probe.http_get, &probe.tcp_socket) {
        (Some(action), ..) => exec(runtime, id, action, limit).await,
        (_, Some(action), _) => {
            let probe = async {
                match http_get(runtime, container, action, "probe").await? {
                    code @ (..200 | 400..) => {
                        Err(format!("HTTP probe failed with statuscode: {code}"))
                    }
                    _ => Ok(()),
                }
            };
            within(limit, probe).await
        }
        (_, _, Some(action)) => within(limit, tcp_socket(runtime, container, action)).await,
        (None, None, None) => Ok(()),
    }
}

/// Does what a lifecycle hook says.
pub(super) async fn hook(
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    match (&handler.exec, &handler.http_get, &handler.sleep) {
        (Some(action), ..) => exec(runtime, id, action, limit).await,
        // The kubelet wants an answer, and does not look at it.
        (_, Some(action), _) => {
            let hook = http_get(runtime, container, action, "lifecycle");
            within(limit, async { hook.await.map(drop) }).await
        }
        (_, _, Some(action)) => {
            tokio::time::sleep(Duration::from_secs(action.seconds).min(limit)).await;
            Ok(())
        }
        (None, None, None) => Ok(()),
    }
}

async fn within(
    limit: Duration,
    action: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    timeout(limit, action)
        .await
        .unwrap_or_else(|_| Err(format!("timed out after {limit:?}")))
}

async fn exec(
    runtime: &dyn Runtime,
    container: &str,
    action: &ExecAction,
    limit: Duration,
) -> Result<(), String> {
    let process = runtime
        .exec(container, &action.command)
        .await
        .map_err(|error| error.to_string())?;
    let (id, mut output, exit) = (process.id, process.output, process.exit);
    let run = async {
        let mut said = Vec::new();
        (&mut output)
            .take(OUTPUT)
            .read_to_end(&mut said)
            .await
            .map_err(|error| error.to_string())?;
        // What does not fit is read too: a full pipe would stop the program.
        tokio::io::copy(&mut output, &mut tokio::io::sink())
            .await
            .map_err(|error| error.to_string())?;
        let status = exit.await.map_err(|_| "the pod is gone".to_owned())?;
        Ok((status, said))
    };
    let result: Result<_, String> = match timeout(limit, run).await {
        Ok(result) => result,
        Err(_) => {
            // It may have ended in this very moment.
            let _ = runtime.signal(&id, SIGKILL).await;
            Err(format!("timed out after {limit:?}"))
        }
    };
    let (status, said) = result?;
    if status.code == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(if said.is_empty() {
        format!("exit code {}", status.code)
    } else {
        format!("exit code {}: {said}", status.code)
    })
}

async fn tcp_socket(
    runtime: &dyn Runtime,
    container: &Container,
    action: &TcpSocketAction,
) -> Result<(), String> {
    let port = port(container, &action.port)?;
    let ip = runtime.pod_ip();
    runtime
        .connect(ip, port)
        .await
        .map(drop)
        .map_err(|error| dial_error(ip, port, &error))
}

fn dial_error(ip: IpAddr, port: u16, error: &std::io::Error) -> String {
    let what = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {ip}:{port}: connect: {what}")
}

/// The number of a port that may be given by its name in `ports`.
fn port(container: &Container, port: &Port) -> Result<u16, String> {
    match port {
        Port::Number(number) => Ok(*number),
        Port::Name(name) => {
            let named = container
                .ports
                .iter()
                .find(|other| other.name.as_ref() == Some(name));
            named
                .map(|port| port.container_port)
                .ok_or_else(|| format!("couldn't find port: {name} in the container"))
        }
    }
}

/// Asks for a page at the pod's address, follows redirects that stay there, and returns the
/// status of the last answer. A program that listens on 127.0.0.1 only cannot be reached this way,
/// here as little as on a node.
async fn http_get(
    runtime: &dyn Runtime,
    container: &Container,
    action: &HttpGetAction,
    purpose: &str,
) -> Result<u16, String> {
    let mut port = port(container, &action.port)?;
    let ip = runtime.pod_ip();
    let mut path = action
        .path
        .clone()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    for _ in 0..REQUESTS {
        let failed = |error: String| format!("Get \"http://{ip}:{port}{path}\": {error}");
        let stream = runtime
            .connect(ip, port)
            .await
            .map_err(|error| failed(dial_error(ip, port, &error)))?;
        let host = format!("{ip}:{port}");
        let request = request(&host, &path, &action.http_headers, purpose)
            .map_err(|error| failed(error.to_string()))?;
        let response = crate::http::send(stream, request, OUTPUT as usize)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(status);
        }
        let location = response.headers().get(LOCATION);
        let location =
            location.ok_or_else(|| failed(format!("{status} response missing Location header")))?;
        match local(location, ip) {
            Some((other, next)) => (port, path) = (other.unwrap_or(port), next),
            // A redirect to elsewhere is an answer.
            None => return Ok(status),
        }
    }
    Err(format!(
        "Get \"http://{ip}:{port}{path}\": stopped after {REQUESTS} redirects"
    ))
}

/// The port and the path of a redirect that stays at this address.
fn local(location: &HeaderValue, ip: IpAddr) -> Option<(Option<u16>, String)> {
    let target: Uri = location.to_str().ok()?.parse().ok()?;
    let here = target.host().is_none_or(|host| host == ip.to_string());
    let port = match (target.host(), target.port_u16()) {
        (Some(_), None) => Some(80),
        (_, port) => port,
    };
    here.then(|| {
        let path = target.path_and_query();
        (
            port,
            path.map_or_else(|| "/".to_owned(), ToString::to_string),
        )
    })
}

fn request(
    host: &str,
    path: &str,
    headers: &[HttpHeader],
    purpose: &str,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, format!("kube-{purpose}/1.37"))
        .header(ACCEPT, "*/*")
        .body(Full::default())?;
    for header in headers {
        let name: HeaderName = header.name.parse()?;
        request.headers_mut().insert(name, header.value.parse()?);
    }
    Ok(request)
}
