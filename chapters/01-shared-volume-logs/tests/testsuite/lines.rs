//! Which lines are printed: those that are complete, as they are.

use std::io::Write;

use crate::support::*;

#[test]
fn lines_are_printed_in_order_from_the_first_on() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\ntwo\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\ntwo\n");
    append(volumes.log(), "three\n");
    sidecar.wait_for("one\ntwo\nthree\n");
    assert_same(&sidecar.terminate(), b"one\ntwo\nthree\n");
}

#[test]
fn lines_from_one_byte_to_one_mebibyte_are_printed_as_they_are() {
    let volumes = Volumes::new();
    let mut lines = Vec::new();
    for length in [1, 2, 100, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, 1] {
        lines.extend(std::iter::repeat_n(b'x', length - 1));
        lines.push(b'\n');
    }
    append(volumes.log(), &lines);
    let sidecar = volumes.sidecar();
    sidecar.wait_for(&lines);
    // The same again, now that somebody follows.
    append(volumes.log(), &lines);
    assert_same(&sidecar.terminate(), &lines.repeat(2));
}

#[test]
fn bytes_that_are_not_utf8_are_passed_on_unchanged() {
    let volumes = Volumes::new();
    let mut lines: Vec<u8> = (0..=255).collect();
    lines.extend(b"\r\n\n\0\n\xff\xfe\xc3\n");
    append(volumes.log(), &lines);
    let sidecar = volumes.sidecar();
    assert_same(&sidecar.terminate(), &lines);
}

#[test]
fn a_line_in_pieces_is_printed_when_it_is_complete() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    app.write_all(b"first\nsec").unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for("first\n");
    app.write_all(b"on").unwrap();
    app.write_all(b"d\nthi").unwrap();
    sidecar.wait_for("first\nsecond\n");
    app.write_all(b"rd").unwrap();
    app.write_all(b"\n").unwrap();
    assert_same(&sidecar.terminate(), b"first\nsecond\nthird\n");
}

#[test]
fn a_mebibyte_in_small_pieces_is_one_line() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    let sidecar = volumes.sidecar();
    let mut line = vec![b'x'; 1 << 20];
    line.push(b'\n');
    for piece in line.chunks(1021) {
        app.write_all(piece).unwrap();
    }
    sidecar.wait_for(&line);
    assert_same(&sidecar.terminate(), &line);
}

#[test]
fn a_line_longer_than_a_mebibyte_is_passed_on_in_bounded_memory() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    let mut line: Vec<u8> = (0..33 << 20)
        .map(|at: usize| b'a' + (at % 23) as u8)
        .collect();
    line.extend(b"\nnext\n");
    append(volumes.log(), &line);
    sidecar.wait_until("the line after it", |printed| {
        printed.ends_with(b"\nnext\n")
    });
    let peak = peak_memory(&sidecar);
    assert_same(&without_notes(&sidecar.terminate()), &line);
    assert!(peak < 32 << 20, "{peak} bytes of memory at most");
}

#[test]
fn the_last_line_is_not_printed_before_it_is_complete() {
    let volumes = Volumes::new();
    append(volumes.log(), "whole\nhalf");
    let sidecar = volumes.sidecar();
    assert_same(&sidecar.terminate(), b"whole\n");
    // It stays for the next start, and still waits for its end.
    let sidecar = volumes.sidecar();
    assert_same(&sidecar.terminate(), b"");
    append(volumes.log(), " and half\n");
    let sidecar = volumes.sidecar();
    assert_same(&sidecar.terminate(), b"half and half\n");
}

#[test]
fn when_nobody_reads_it_ends_with_an_error() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let mut sidecar = std::process::Command::new(SIDECAR)
        .env("LOG_PATH", volumes.log())
        .env("STATE_PATH", volumes.state())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(sidecar.stdout.take());
    // If the first line was written before the pipe was closed, this one is not.
    append(volumes.log(), "two\n");
    assert_eq!(sidecar.wait().unwrap().code(), Some(1));
}

/// The most memory that it ever had, in bytes.
pub(crate) fn peak_memory(program: &Program) -> u64 {
    let peak = program.status("VmHWM");
    peak.strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
