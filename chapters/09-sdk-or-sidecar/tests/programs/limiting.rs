//! The limiter in all its forms: as the sidecar and as the SDK, in both versions.

use std::fs;
use std::sync::LazyLock;

use sidecar_testing::http::{Head, Server};
use sidecar_testing::{Program, program_of};
use tempfile::TempDir;

/// The app is chapter 6's, and so is the first version of the sidecar.
static APP: LazyLock<String> = LazyLock::new(|| program_of("rate-limit", "order-service"));
const SDK: [&str; 2] = [
    env!("CARGO_BIN_EXE_order-service-sdk"),
    env!("CARGO_BIN_EXE_order-service-sdk-next"),
];
static SIDECAR: LazyLock<[String; 2]> = LazyLock::new(|| {
    let next = env!("CARGO_BIN_EXE_rate-limiter-next").to_owned();
    [program_of("rate-limit", "rate-limiter"), next]
});

/// An app, and what its clients call.
struct Limited {
    front: Server,
    /// The app, where the front is a sidecar.
    app: Option<Server>,
    folder: TempDir,
}

/// The forms of the limiter's first or second version, with three orders an hour.
fn forms(version: usize) -> [Limited; 2] {
    let limits = || {
        let folder = TempDir::new().unwrap();
        let limits = "[[limit]]\npath = '/orders'\nrate = '1/h'\nburst = 3\n";
        fs::write(folder.path().join("limits.toml"), limits).unwrap();
        folder
    };
    let path = |folder: &TempDir| folder.path().join("limits.toml").display().to_string();

    let folder = limits();
    let settings = [("LIMITS", &*path(&folder)), ("WORK", "1ms")];
    let sdk = Limited {
        front: Server::start(SDK[version], &settings),
        app: None,
        folder,
    };
    let folder = limits();
    let app = Server::start(&APP, &[("WORK", "1ms")]);
    // The sidecar's first call must not be refused.
    drop(app.connect());
    let settings = [("LIMITS", &*path(&folder)), ("UPSTREAM", &*app.url())];
    let sidecar = Limited {
        front: Server::start(&SIDECAR[version], &settings),
        app: Some(app),
        folder,
    };
    [sdk, sidecar]
}

impl Limited {
    fn ask(&self, request: &str) -> (Head, String) {
        self.front.send(request).message()
    }

    fn order(&self) -> (Head, String) {
        self.ask("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntea")
    }

    /// The program that prints what the app does.
    fn app(&self) -> &Program {
        &self.app.as_ref().unwrap_or(&self.front).program
    }
}

#[test]
fn both_forms_limit_alike() {
    for version in [0, 1] {
        for form in forms(version) {
            assert_eq!(form.front.program.line(), "limit of /orders: 1/h, burst 3");
            for number in 1..=3 {
                let (head, body) = form.order();
                assert_eq!(head.status(), "201 Created");
                assert_eq!(body, format!("order {number} for somebody: tea\n"));
                assert_eq!(form.app().line(), body.trim_end());
            }
            // Whichever way the path is written.
            for path in ["/orders", "//orders", "/%6frders"] {
                let (head, body) = form.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
                assert_eq!(head.status(), "429 Too Many Requests");
                let retry_after: u32 = head.get("retry-after").unwrap().parse().unwrap();
                assert!((3540..=3600).contains(&retry_after), "{retry_after}");
                let content_type = head.get("content-type").unwrap().to_lowercase();
                assert_eq!(content_type, "text/plain; charset=utf-8");
                assert_eq!(
                    body,
                    "too many requests: the limit of /orders: 1/h, burst 3\n"
                );
            }
            let said = "429 so far: 1, now by the limit of /orders: 1/h, burst 3";
            assert_eq!(form.front.program.line(), said);
            // What has no limit is not limited.
            for _ in 0..5 {
                let (head, body) = form.ask("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!((head.status(), &*body), ("200 OK", "ready\n"));
            }
        }
    }
}

#[test]
fn the_second_version_tells_its_limits() {
    for version in [0, 1] {
        let told = (version == 1).then_some("\"/orders\";q=3;w=10800");
        for form in forms(version) {
            for status in [
                "201 Created",
                "201 Created",
                "201 Created",
                "429 Too Many Requests",
            ] {
                let (head, _) = form.order();
                assert_eq!(
                    (head.status(), head.get("ratelimit-policy")),
                    (status, told)
                );
            }
            let (head, _) = form.ask("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(head.get("ratelimit-policy"), None);
        }
    }
}

#[test]
fn limits_change_while_the_app_runs() {
    for version in [0, 1] {
        for form in forms(version) {
            form.front
                .program
                .wait_for("limit of /orders: 1/h, burst 3");
            for _ in 0..3 {
                form.order();
            }
            let limits = "[[limit]]\npath = '/orders'\nrate = '2/h'\nburst = 1\n";
            fs::write(form.folder.path().join("limits.toml"), limits).unwrap();
            form.front
                .program
                .wait_for("limit of /orders: 2/h, burst 1");
            assert_eq!(form.order().0.status(), "201 Created");
            assert_eq!(form.order().0.status(), "429 Too Many Requests");
        }
    }
}

#[test]
fn without_limits_nobody_starts() {
    for program in SDK
        .into_iter()
        .chain(SIDECAR.each_ref().map(|path| &**path))
    {
        let (status, printed) =
            Program::start(program, &[("LIMITS", "/nowhere/limits.toml")]).ended();
        assert_eq!(status.code(), Some(1), "{program}");
        let [why] = &printed[..] else {
            panic!("{program}: {printed:?}")
        };
        assert!(why.starts_with("cannot watch /nowhere"), "{why}");
    }
}
