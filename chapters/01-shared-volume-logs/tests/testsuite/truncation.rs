//! Truncation: what was not printed before is gone, and one line says so where it can be known.

use std::fs::File;
use std::io::Write;

use crate::support::*;

const NOTE: &str = "access.log was truncated: what it held and was not printed before is gone";

fn truncate(volumes: &Volumes) {
    File::options()
        .write(true)
        .open(volumes.log())
        .unwrap()
        .set_len(0)
        .unwrap();
}

#[test]
fn a_shorter_file_was_truncated() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    app.write_all(b"one\ntwo\nthr").unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\ntwo\n");
    truncate(&volumes);
    sidecar.wait_for_line(&format!("sidecar-container: {NOTE}"));
    app.write_all(b"four\n").unwrap();
    sidecar.wait_for_line("four");
    let printed = sidecar.terminate();
    assert_eq!(notes(&printed), [NOTE]);
    assert_same(&without_notes(&printed), b"one\ntwo\nfour\n");
}

#[test]
fn a_file_that_has_grown_again_was_truncated_if_it_begins_otherwise() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    app.write_all(b"one\n").unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    sidecar.freeze();
    truncate(&volumes);
    app.write_all(b"two\nthree\n").unwrap();
    sidecar.thaw();
    sidecar.wait_for_line("three");
    let printed = sidecar.terminate();
    assert_eq!(notes(&printed), [NOTE]);
    assert_same(&without_notes(&printed), b"one\ntwo\nthree\n");
}

#[test]
fn a_truncation_while_the_sidecar_is_down_is_noticed() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\ntwo\n");
    volumes.sidecar().terminate();
    truncate(&volumes);
    append(volumes.log(), "three\n");
    let printed = volumes.sidecar().terminate();
    assert_eq!(notes(&printed), [NOTE]);
    assert_same(&without_notes(&printed), b"three\n");
}

#[test]
fn copytruncate_repeats_nothing() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    let sidecar = volumes.sidecar();
    for line in ["one\n", "two\n", "three\n"] {
        app.write_all(line.as_bytes()).unwrap();
        sidecar.wait_for_line(line.trim_end());
        std::fs::copy(volumes.log(), volumes.rotated(1)).unwrap();
        truncate(&volumes);
        sidecar.wait_until("the note", |printed| {
            printed.ends_with(format!("{NOTE}\n").as_bytes())
        });
    }
    assert_same(&without_notes(&sidecar.terminate()), b"one\ntwo\nthree\n");
}
