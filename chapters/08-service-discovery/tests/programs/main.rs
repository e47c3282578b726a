//! What the chapter's programs promise, tested from outside, without any engine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod caller;
mod discovery;
mod registrar;
mod registry;

use sidecar_testing::http::Server;
use sidecar_testing::program_of;

/// The app of the chapter, which is that of chapter 6.
fn order_service() -> String {
    program_of("rate-limit", "order-service")
}

fn app() -> Server {
    Server::start(&order_service(), &[])
}

/// A registry with this long a lease.
fn registry(lease: &str) -> Server {
    Server::start(env!("CARGO_BIN_EXE_registry"), &[("LEASE", lease)])
}

/// Asks a server, and returns the status, the ETag and the body of its answer.
fn ask(
    server: &Server,
    method: &str,
    path: &str,
    more: &str,
    body: &str,
) -> (String, String, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    );
    let mut connection = server.send(request);
    let (head, body) = connection.message();
    let tag = head.get("etag").unwrap_or_default().to_owned();
    (head.status().to_owned(), tag, body)
}

/// Announces an instance of `orders`.
fn announce(registry: &Server, name: &str, address: &str) {
    let path = format!("/services/orders/{name}");
    let (status, _, _) = ask(registry, "PUT", &path, "", address);
    assert_eq!(status, "200 OK");
}

/// The list of instances, and its ETag.
fn list(registry: &Server) -> (String, String) {
    let (_, tag, list) = ask(registry, "GET", "/services/orders", "", "");
    (list, tag)
}
