//! `rate-limiter` as a limiter: who passes, who does not, and what they are told.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use sidecar_testing::{Program, Signal, eventually};

use crate::sidecar::{Limited, passes, refused, text};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_burst_passes_and_the_next_is_told_when_to_come_again() {
    let limited = Limited::start(&[("/", "1/h", 3)], &[]);
    let mut client = limited.server.connect();
    let mut app = None;
    for _ in 0..3 {
        passes(&mut client, GET, &limited.upstream, &mut app);
    }
    client.send(GET);
    let (head, body) = client.message();
    assert_eq!(head.status(), "429 Too Many Requests");
    // In seconds, and never less than it takes: at most a few of them have passed.
    let retry_after: u32 = head.get("retry-after").unwrap().parse().unwrap();
    assert!((3540..=3600).contains(&retry_after), "{retry_after}");
    assert_eq!(head.get("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(body, "too many requests: the limit of /: 1/h, burst 3\n");
    // The app has seen nothing of it, and the connection is as good as before.
    limited.upstream.has_no_further_connection();
    refused(&mut client, GET);
}

#[test]
fn who_waits_as_long_as_told_passes() {
    let limited = Limited::start(&[("/", "30/min", 1)], &[]);
    let mut client = limited.server.connect();
    let mut app = None;
    passes(&mut client, GET, &limited.upstream, &mut app);
    client.send(GET);
    let (head, _) = client.message();
    if head.status() == "429 Too Many Requests" {
        let told = Instant::now();
        let seconds = head.get("retry-after").unwrap().parse().unwrap();
        let time = Duration::from_secs(seconds);
        eventually("the time has passed", || {
            (told.elapsed() >= time).then_some(())
        });
        passes(&mut client, GET, &limited.upstream, &mut app);
    }
}

#[test]
fn a_path_has_a_limit_of_its_own_however_it_is_written() {
    let limited = Limited::start(&[("/", "100/h", 100), ("/orders", "1/h", 1)], &[]);
    let mut client = limited.server.connect();
    let mut app = None;
    let asked = passes(
        &mut client,
        get("/orders/7?x=1", ""),
        &limited.upstream,
        &mut app,
    );
    assert_eq!(asked.start, "GET /orders/7?x=1 HTTP/1.1");
    for path in [
        "/orders",
        "/orders?y=2",
        "//orders",
        "/%6frders",
        "/a/../orders",
        "http://b/orders",
    ] {
        refused(&mut client, get(path, ""));
    }
    passes(&mut client, get("/other", ""), &limited.upstream, &mut app);
}

#[test]
fn clients_are_told_apart_by_a_header_only_where_it_is_believed() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.connect();
    let mut app = None;
    let named = |name: &str| get("/", &format!("X-Forwarded-For: {name}\r\n"));
    passes(&mut client, named("192.0.2.1"), &limited.upstream, &mut app);
    refused(&mut client, named("192.0.2.2"));

    let limited = Limited::start(&[("/", "1/h", 1)], &[("CLIENT_HEADER", "X-Forwarded-For")]);
    let mut client = limited.server.connect();
    let mut app = None;
    let asked = passes(&mut client, named("192.0.2.1"), &limited.upstream, &mut app);
    assert_eq!(asked.get("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
    // What a client claims stands before what the proxy knows.
    refused(&mut client, named("203.0.113.5, 192.0.2.1"));
    refused(&mut client, named("203.0.113.6,\t192.0.2.1 "));
    passes(&mut client, named("192.0.2.2"), &limited.upstream, &mut app);
    // Who comes past the proxy is known by its address.
    passes(&mut client, GET, &limited.upstream, &mut app);
    refused(&mut client, GET);
}

#[test]
fn refusals_are_counted_and_not_all_logged() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.connect();
    passes(&mut client, GET, &limited.upstream, &mut None);
    for _ in 0..100 {
        refused(&mut client, GET);
    }
    let by = "now by the limit of /: 1/h, burst 1";
    let (status, printed) = limited.server.program.end();
    assert!(status.success());
    let lines = [1, 10, 100].map(|count| format!("429 so far: {count}, {by}"));
    assert_eq!(printed, lines);
}

#[test]
fn a_body_that_nobody_wants_is_read_and_the_connection_goes_on() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.connect();
    passes(&mut client, GET, &limited.upstream, &mut None);
    let body = "x".repeat(500_000);
    refused(
        &mut client,
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n{body}"),
    );
    refused(&mut client, GET);
    // Who asks first whether to send is spared it.
    let head = refused(
        &mut client,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(head.get("connection"), Some("close"));
    client.is_closed_by_the_other_end();
}

#[test]
fn an_upload_too_long_to_be_thrown_away_ends_the_connection() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.connect();
    passes(&mut client, GET, &limited.upstream, &mut None);
    let head = refused(
        &mut client,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n",
    );
    assert_eq!(head.get("connection"), Some("close"));
    client.is_closed_by_the_other_end();
}

#[test]
fn other_limits_hold_while_requests_flow() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.connect();
    let mut app = None;
    passes(&mut client, GET, &limited.upstream, &mut app);
    refused(&mut client, GET);
    limited
        .server
        .program
        .wait_for("429 so far: 1, now by the limit of /: 1/h, burst 1");

    let replace = |text: &str| {
        let new = limited.file.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &limited.file).unwrap();
    };
    replace(&text(&[("/", "1/h", 2)]));
    limited.server.program.wait_for("limit of /: 1/h, burst 2");
    for _ in 0..2 {
        passes(&mut client, GET, &limited.upstream, &mut app);
    }
    refused(&mut client, GET);

    // A broken file changes nothing, and is told of once.
    replace("[[limit]]\npath = '/'\nrate = '1'\nburst = 100");
    let line = limited.server.program.line();
    let file = limited.file.display();
    assert_eq!(
        line,
        format!(
            "the limits stay as they were: {file}: line 3: \"1\" is no rate; \"10/s\" or \"1/min\" would do"
        )
    );
    refused(&mut client, GET);
    fs::remove_file(&limited.file).unwrap();
    assert_eq!(
        limited.server.program.line(),
        format!("the limits stay as they were: {file}: No such file or directory (os error 2)")
    );
    refused(&mut client, GET);

    // And then the way in which a ConfigMap comes.
    let folder = limited.file.parent().unwrap();
    fs::create_dir(folder.join("..1")).unwrap();
    fs::write(folder.join("..1/limits.toml"), text(&[("/", "1/h", 3)])).unwrap();
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/limits.toml", &limited.file).unwrap();
    limited.server.program.wait_for("limit of /: 1/h, burst 3");
    fs::create_dir(folder.join("..2")).unwrap();
    fs::write(folder.join("..2/limits.toml"), text(&[("/", "1/h", 4)])).unwrap();
    symlink("..2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    limited.server.program.wait_for("limit of /: 1/h, burst 4");
    for _ in 0..4 {
        passes(&mut client, GET, &limited.upstream, &mut app);
    }
    refused(&mut client, GET);
}

#[test]
fn without_good_limits_it_does_not_start() {
    for (text, why) in [
        ("", "it has no [[limit]]"),
        (
            "[[limit]]\npath = '/'\nrate = '1/s'\n",
            "line 1: missing field `burst`",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limits.toml");
        fs::write(&file, text).unwrap();
        let path = file.display().to_string();
        let program = Program::start(env!("CARGO_BIN_EXE_rate-limiter"), &[("LIMITS", &path)]);
        let (status, printed) = program.ended();
        assert_eq!(status.code(), Some(1));
        assert_eq!(printed, [format!("{path}: {why}")]);
    }
}

#[test]
fn it_ends_when_told_and_finishes_what_is_under_way() {
    let limited = Limited::start(&[("/", "1/h", 1)], &[]);
    let mut client = limited.server.send(GET);
    let mut app = limited.upstream.accept();
    app.head();
    limited.server.program.signal(Signal::TERM);
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.message().1, "ok");
    let (status, printed) = limited.server.program.ended();
    assert!(status.success());
    assert_eq!(printed, [""; 0]);
}
