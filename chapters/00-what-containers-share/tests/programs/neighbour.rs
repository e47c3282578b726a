//! `neighbour`: waits for the app, and says what it found, whatever that is.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sidecar_testing::Program;

use crate::pair::Pair;

/// The lines that a program prints before it waits to be told to end.
fn lines(program: &Program, count: usize) -> Vec<String> {
    (0..count).map(|_| program.line()).collect()
}

#[test]
fn finds_all_that_is_there_for_two_processes_of_one_machine() {
    let pair = Pair::new();
    let _app = pair.prepared_app();
    let neighbour = pair.neighbour(&[]);

    let address = pair.address.address;
    assert_eq!(
        lines(&neighbour, 9),
        [
            format!("network: http://{address}/ answers: this is the app"),
            format!(
                "network: to listen on port {}: Address already in use (os error 98)",
                address.port()
            ),
            "volume: the file of the app says: the app was here".to_owned(),
            "ipc: the queue of the app holds: a message of the app".to_owned(),
            "processes: this process is not number 1".to_owned(),
            "processes: the app's process is seen".to_owned(),
            "environment: APP_PASSWORD is not set here".to_owned(),
            format!(
                "root-filesystem: {} is here",
                std::fs::canonicalize(env!("CARGO_BIN_EXE_neighbour"))
                    .unwrap()
                    .display()
            ),
            format!("root-filesystem: {} is here", pair.program.display()),
        ]
    );
    let (status, printed) = neighbour.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
}

#[test]
fn waits_for_an_app_that_comes_late() {
    let pair = Pair::new();
    let neighbour = pair.look("volume");
    neighbour.wait_until_it_handles_sigterm();
    let _app = pair.prepared_app();
    assert_eq!(
        neighbour.line(),
        "volume: the file of the app says: the app was here"
    );
}

#[test]
fn told_to_end_while_it_waits_for_the_app_it_leaves() {
    let pair = Pair::new();
    let neighbour = pair.look("volume");
    neighbour.wait_until_it_handles_sigterm();
    let (status, printed) = neighbour.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
}

#[test]
fn what_is_not_there_is_a_finding() {
    let pair = Pair::new();
    let _app = pair.prepared_app();
    let nowhere = pair.path("nowhere");
    for (look, settings, says) in [
        (
            "volume",
            ("SHARED", nowhere.as_str()),
            "no file of the app: No such file or directory (os error 2)",
        ),
        (
            "ipc",
            ("QUEUE", "/sidecar-workbook-none"),
            "no queue of the app: ENOENT: No such file or directory",
        ),
        (
            "processes",
            ("PROGRAM", &nowhere),
            "this process is not number 1",
        ),
        (
            "through-proc",
            ("PROGRAM", &nowhere),
            "the app's process is not seen",
        ),
        ("environment", ("APP_PASSWORD", "x"), "APP_PASSWORD is x"),
        (
            "token",
            ("SHARED", &nowhere),
            "none here, and none in the app",
        ),
        (
            "namespaces",
            ("SHARED", &nowhere),
            "no file of the app: No such file or directory (os error 2)",
        ),
    ] {
        let neighbour = pair.neighbour(&[("LOOK_AT", look), settings]);
        assert_eq!(neighbour.line(), format!("{look}: {says}"));
    }
}

#[test]
fn a_message_can_be_taken_once() {
    let pair = Pair::new();
    let _app = pair.prepared_app();
    let says = "ipc: the queue of the app holds: a message of the app";
    assert_eq!(pair.look("ipc").line(), says);
    let says = "ipc: no message of the app: EAGAIN: Try again";
    assert_eq!(pair.look("ipc").line(), says);
}

#[test]
fn namespaces_are_compared_by_their_numbers() {
    let pair = Pair::new();
    let _app = pair.prepared_app();
    let of = |word: &str| {
        ["net", "ipc", "uts", "pid", "mnt"].map(|kind| format!("namespaces: {kind} {word}"))
    };
    assert_eq!(lines(&pair.look("namespaces"), 5), of("shared"));

    let file = pair.folder.path().join("shared/namespaces");
    fs::write(file, "net:[1]\nipc:[1]\nuts:[1]\npid:[1]\nmnt:[1]\n").unwrap();
    assert_eq!(lines(&pair.look("namespaces"), 5), of("its own"));
}

#[test]
fn reads_what_the_app_has_through_its_process() {
    let pair = Pair::new();
    fs::write(pair.path("secret"), "of the app\n").unwrap();
    let _app = pair.prepared_app();
    assert_eq!(
        lines(&pair.look("through-proc"), 2),
        [
            "through-proc: the app's environment: APP_PASSWORD=open sesame".to_owned(),
            format!(
                "through-proc: the app's {}: of the app",
                pair.path("secret")
            ),
        ]
    );
}

#[test]
fn tells_whom_a_token_speaks_for_and_whether_the_app_has_it() {
    let pair = Pair::new();
    let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"system:serviceaccount:a:b"}"#);
    fs::write(pair.path("token"), format!("head.{claims}.signature")).unwrap();
    let _app = pair.prepared_app();
    assert_eq!(
        lines(&pair.look("token"), 2),
        [
            "token: it speaks for the ServiceAccount b",
            "token: the app has the same one"
        ]
    );

    // Another file, with the same words in it.
    fs::copy(pair.path("token"), pair.path("other")).unwrap();
    let other = pair.path("other");
    let neighbour = pair.neighbour(&[("LOOK_AT", "token"), ("TOKEN", &other)]);
    assert_eq!(
        lines(&neighbour, 2)[1],
        "token: the app has another one, or none"
    );

    let none = pair.path("none");
    let neighbour = pair.neighbour(&[("LOOK_AT", "token"), ("TOKEN", &none)]);
    assert_eq!(neighbour.line(), "token: none here, and one in the app");

    fs::write(&other, "no token").unwrap();
    let neighbour = pair.neighbour(&[("LOOK_AT", "token"), ("TOKEN", &other)]);
    assert_eq!(
        neighbour.line(),
        format!("token: {other}: not a JSON Web Token")
    );
}

#[test]
fn a_look_that_there_is_not_is_one_line() {
    let (status, printed) = Pair::new().look("everything").ended();
    assert_eq!(status.code(), Some(2));
    assert_eq!(
        printed,
        [
            "LOOK_AT=\"everything\" cannot be understood (there is no such look); network, volume, \
             ipc, processes, environment, root-filesystem, token, namespaces or through-proc would do"
        ]
    );
}
