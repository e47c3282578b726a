//! Memory, while a hundred thousand different tokens pass.

use std::sync::Arc;
use std::thread;

use crate::kit::{App, Key, KeyServer, bearing, get, sidecar};

/// Asks with a token of its own each, `BATCH` at a time.
fn ask_all(sidecar: &sidecar_testing::http::Server, key: &Arc<Key>, users: std::ops::Range<u32>) {
    const BATCH: usize = 50;
    let users: Vec<u32> = users.collect();
    thread::scope(|scope| {
        for part in users.chunks(users.len() / 2) {
            let mut client = sidecar.connect();
            scope.spawn(move || {
                for batch in part.chunks(BATCH) {
                    let requests: String = batch
                        .iter()
                        .map(|user| get(&bearing(&key.token_for(&format!("user-{user}")))))
                        .collect();
                    client.send(requests);
                    for _ in batch {
                        assert_eq!(client.message().0.status(), "200 OK");
                    }
                }
            });
        }
    });
}

#[test]
fn a_hundred_thousand_tokens_take_no_more_memory_than_twenty_thousand() {
    let key = Arc::new(Key::new("one"));
    let (keys, app) = (KeyServer::of(&key), App::new());
    let sidecar = sidecar(&keys.url, &app.url, &[("PAUSE", "1h")]);
    // Twice as many as are remembered.
    ask_all(&sidecar, &key, 0..20_000);
    let before = sidecar.program.memory();
    ask_all(&sidecar, &key, 20_000..100_000);
    assert_eq!(app.asked(), 100_000);
    let growth = sidecar.program.memory().saturating_sub(before);
    assert!(growth < 1024 * 1024, "{before} bytes, and {growth} more");
}
