//! The sidecar under test.

use std::fs;
use std::path::PathBuf;

use sidecar_testing::http::{Connection, Head, Server, Upstream};
use tempfile::TempDir;

/// Starts `rate-limiter`.
pub(crate) struct Sidecar;

impl Sidecar {
    /// How it signs what it forwards.
    pub(crate) const VIA: &str = "1.1 rate-limiter";

    /// With these settings, an address to listen on, and limits that no test reaches.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
        let generous = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/generous.toml");
        let limits = [("LIMITS", generous)];
        let server = Server::start(
            env!("CARGO_BIN_EXE_rate-limiter"),
            &[&limits, settings].concat(),
        );
        assert_eq!(
            server.program.line(),
            "limit of /: 1000000/s, burst 1000000"
        );
        server
    }

    /// Before an upstream that is played by the test.
    pub(crate) fn before(upstream: &Upstream) -> Server {
        Self::start(&[("UPSTREAM", &upstream.url()), ("TIMEOUT", "1h")])
    }
}

/// `rate-limiter` with limits of the test's own, before an upstream that is played by the test.
pub(crate) struct Limited {
    pub(crate) server: Server,
    pub(crate) upstream: Upstream,
    pub(crate) file: PathBuf,
    _folder: TempDir,
}

impl Limited {
    pub(crate) fn start(limits: &[(&str, &str, u32)], settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("limits.toml");
        fs::write(&file, text(limits)).unwrap();
        let upstream = Upstream::new();
        let path = file.display().to_string();
        let url = upstream.url();
        let own = [("LIMITS", &*path), ("UPSTREAM", &*url), ("TIMEOUT", "1h")];
        let server = Server::start(
            env!("CARGO_BIN_EXE_rate-limiter"),
            &[&own, settings].concat(),
        );
        for (path, rate, burst) in limits {
            let line = format!("limit of {path}: {rate}, burst {burst}");
            assert_eq!(server.program.line(), line);
        }
        Self {
            server,
            upstream,
            file,
            _folder: folder,
        }
    }
}

/// A file of limits.
pub(crate) fn text(limits: &[(&str, &str, u32)]) -> String {
    limits
        .iter()
        .map(|(path, rate, burst)| {
            format!("[[limit]]\npath = '{path}'\nrate = '{rate}'\nburst = {burst}\n")
        })
        .collect()
}

/// Sends a request that passes, answers it as the app, and returns what the app was asked. The
/// app's connection is kept, as the sidecar keeps its own.
pub(crate) fn passes(
    client: &mut Connection,
    request: impl AsRef<[u8]>,
    upstream: &Upstream,
    app: &mut Option<Connection>,
) -> Head {
    client.send(request);
    let app = app.get_or_insert_with(|| upstream.accept());
    let asked = app.head();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let (head, body) = client.message();
    assert_eq!((head.status(), &*body), ("200 OK", "ok"));
    asked
}

/// Sends a request that is refused, and returns the head of the answer.
pub(crate) fn refused(client: &mut Connection, request: impl AsRef<[u8]>) -> Head {
    client.send(request);
    let (head, _) = client.message();
    assert_eq!(head.status(), "429 Too Many Requests");
    head
}
