//! What the next container knows of the one before it.

use std::io::Write;

use crate::support::*;

#[test]
fn at_sigterm_it_prints_what_the_file_still_holds() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    let sidecar = volumes.sidecar();
    app.write_all(b"one\n").unwrap();
    sidecar.wait_for_line("one");
    sidecar.freeze();
    let lines = "another line\n".repeat(100_000);
    app.write_all(lines.as_bytes()).unwrap();
    volumes.rotate();
    append(volumes.log(), "the last line\n");
    sidecar.signal(Signal::TERM);
    sidecar.thaw();
    let (code, printed) = sidecar.ended();
    assert_eq!(code, Some(0));
    assert_same(
        &without_notes(&printed),
        format!("one\n{lines}the last line\n").as_bytes(),
    );
}

#[test]
fn it_leaves_though_the_app_never_rests() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let volumes = Volumes::new();
    let rest = AtomicBool::new(false);
    let mut app = open(volumes.log());
    let mut first = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if rest.load(Ordering::Relaxed) {
                    return;
                }
                writeln!(app, "{number}").unwrap();
            }
        });
        let sidecar = volumes.sidecar();
        sidecar.wait_for_line("1000");
        first = sidecar.terminate();
        rest.store(true, Ordering::Relaxed);
    });
    // And it has left at the end of a line.
    let both = [first, volumes.sidecar().terminate()].concat();
    assert_same(
        &without_notes(&both),
        &std::fs::read(volumes.log()).unwrap(),
    );
}

#[test]
fn after_sigterm_it_goes_on_where_it_stopped() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    assert_same(&volumes.sidecar().terminate(), b"one\n");
    assert_same(&volumes.sidecar().terminate(), b"");
    append(volumes.log(), "two\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("two\n");
    append(volumes.log(), "three\n");
    assert_same(&sidecar.terminate(), b"two\nthree\n");
}

#[test]
fn after_sigkill_nothing_is_missing() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    sidecar.kill();
    append(volumes.log(), "two\n");
    let printed = volumes.sidecar().terminate();
    // The first line may come again: it depends on whether it had been noted down.
    assert!(
        printed == b"two\n" || printed == b"one\ntwo\n",
        "{}",
        String::from_utf8_lossy(&printed)
    );
}

#[test]
fn after_sigkill_what_was_noted_down_is_not_repeated() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    wait_until("the offsets are written", || volumes.state().exists());
    sidecar.kill();
    append(volumes.log(), "two\n");
    assert_same(&volumes.sidecar().terminate(), b"two\n");
}

#[test]
fn sigint_is_as_good_as_sigterm() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    sidecar.signal(Signal::INT);
    assert_eq!(sidecar.ended().0, Some(0));
    assert_same(&volumes.sidecar().terminate(), b"");
}
