//! What the sidecar costs: nothing while nothing happens, and little memory when much does.

use std::fs;
use std::io::Write;

use crate::lines::peak_memory;
use crate::support::*;

#[test]
fn idle_it_sleeps_until_the_kernel_wakes_it() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    // One thread, which waits for the kernel without a timeout: so nothing runs until something
    // happens. Before that, the offsets are written once.
    sidecar.wait_until_asleep(true);
    let threads = fs::read_dir(sidecar.proc("task")).unwrap();
    assert_eq!(threads.count(), 1, "threads");
    assert!(volumes.state().exists());
    // Asleep, and still there.
    append(volumes.log(), "two\n");
    sidecar.wait_for("one\ntwo\n");
    assert_same(&sidecar.terminate(), b"one\ntwo\n");
}

#[test]
fn while_there_is_no_log_it_sleeps_too() {
    let volumes = Volumes::new();
    fs::remove_dir(volumes.folder()).unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_until_asleep(true);
    sidecar.terminate();
}

#[test]
fn a_burst_of_200_000_lines_takes_less_than_32_mebibytes() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    let mut app = open(volumes.log());
    let mut expected = Vec::new();
    for block in 0..200 {
        let lines: String = (0..1000)
            .map(|line| {
                format!("GET /a/page/with/a/name/of/some/length?block={block}&line={line} 200\n")
            })
            .collect();
        app.write_all(lines.as_bytes()).unwrap();
        expected.extend(lines.into_bytes());
    }
    sidecar.wait_until("all lines", |printed| {
        without_first_note(printed).len() >= expected.len()
    });
    let peak = peak_memory(&sidecar);
    assert_same(without_first_note(&sidecar.terminate()), &expected);
    assert!(peak < 32 << 20, "{peak} bytes of memory at most");
}

/// Without the note that the log does not exist yet, which depends on who was first.
fn without_first_note(printed: &[u8]) -> &[u8] {
    match printed.strip_prefix(b"sidecar-container: ") {
        Some(note) => {
            &note[note
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1)..]
        }
        None => printed,
    }
}
