//! The steps on the way to the right one: each fails as its page says, and mends the one before.

use crate::support::*;

#[test]
fn naive_prints_everything_again() {
    let volumes = Volumes::new();
    let sidecar = volumes.step(NAIVE);
    sidecar.wait_until("the first look", |printed| {
        printed.starts_with(b"not yet: ")
    });
    append(volumes.log(), "one\n");
    sidecar.wait_until("three rounds", |printed| {
        printed.ends_with(b"one\none\none\n")
    });
    sidecar.terminate();
}

#[test]
fn follow_prints_each_line_once_and_loses_the_file_after_a_rotation() {
    let volumes = Volumes::new();
    let sidecar = volumes.step(FOLLOW);
    append(volumes.log(), "one\n");
    sidecar.wait_for("one\n");
    append(volumes.log(), "two\n");
    sidecar.wait_for("one\ntwo\n");
    volumes.rotate();
    append(volumes.log(), "lost\n");
    append(volumes.rotated(1), "late\n");
    assert_same(&sidecar.terminate(), b"one\ntwo\nlate\n");
}

#[test]
fn rotate_survives_a_rotation_and_repeats_after_a_restart() {
    let volumes = Volumes::new();
    let sidecar = volumes.step(ROTATE);
    append(volumes.log(), "one\n");
    sidecar.wait_for("one\n");
    append(volumes.log(), "two\n");
    volumes.rotate();
    append(volumes.log(), "three\n");
    assert_same(&sidecar.terminate(), b"one\ntwo\nthree\n");
    let sidecar = volumes.step(ROTATE);
    assert_same(&sidecar.terminate(), b"three\n");
}

#[test]
fn rotate_loses_a_file_between_two_looks() {
    let volumes = Volumes::new();
    let sidecar = volumes.step(ROTATE);
    append(volumes.log(), "one\n");
    sidecar.wait_for("one\n");
    sidecar.freeze();
    for line in ["lost\n", "three\n"] {
        volumes.rotate();
        append(volumes.log(), line);
    }
    sidecar.thaw();
    assert_same(&sidecar.terminate(), b"one\nthree\n");
}
