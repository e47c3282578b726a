//! `app`: prepares all before it listens, and leaves no queue behind.

use std::fs;
use std::net::TcpListener;

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, mq_open};
use nix::sys::stat::Mode;

use crate::pair::Pair;

#[test]
fn all_is_prepared_when_it_listens() {
    let pair = Pair::new();
    let app = pair.prepared_app();

    let shared = pair.folder.path().join("shared");
    assert_eq!(
        fs::read_to_string(shared.join("note")).unwrap(),
        "the app was here\n"
    );
    let namespaces = fs::read_to_string(shared.join("namespaces")).unwrap();
    assert_eq!(namespaces.lines().count(), 5, "{namespaces}");
    assert!(!shared.join("token").exists(), "there is no token here");
    let queue = mq_open(pair.queue.as_str(), MQ_OFlag::O_RDONLY, Mode::empty(), None);
    assert!(queue.is_ok(), "{queue:?}");

    let (status, printed) = app.end();
    assert_eq!(status.code(), Some(0));
    assert_eq!(printed, [""; 0]);
    let queue = mq_open(pair.queue.as_str(), MQ_OFlag::O_RDONLY, Mode::empty(), None);
    assert_eq!(queue.unwrap_err(), Errno::ENOENT);
}

/// The IPC namespace outlives the container: a queue that was left is full.
#[test]
fn a_queue_that_an_earlier_life_has_left_is_replaced() {
    let pair = Pair::new();
    drop(pair.prepared_app());
    let again = pair.prepared_app();
    assert_eq!(again.end().0.code(), Some(0));
}

#[test]
fn what_it_cannot_prepare_is_one_line() {
    let pair = Pair::new();
    let nowhere = pair.path("nowhere");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (setting, value, says) in [
        (
            "SHARED",
            nowhere.as_str(),
            format!(
                "cannot write to {nowhere}, which SHARED names: No such file or directory (os error 2)"
            ),
        ),
        (
            "QUEUE",
            "/a/b",
            "cannot make the queue /a/b: EACCES: Permission denied".to_owned(),
        ),
        (
            "LISTEN",
            &taken,
            format!(
                "cannot listen on {taken}; set LISTEN to a free address: Address already in use (os error 98)"
            ),
        ),
    ] {
        let app = pair.app(&[(setting, value)]);
        let (status, printed) = app.ended();
        assert_eq!(status.code(), Some(1));
        assert_eq!(printed, [says]);
    }
}
