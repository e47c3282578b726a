//! Rotation: the app renames its log and begins a new one.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::*;

#[test]
fn a_rotation_loses_and_repeats_nothing() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    app.write_all(b"one\n").unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    volumes.rotate();
    app.write_all(b"late\nin pie").unwrap();
    sidecar.wait_for("one\nlate\n");
    append(volumes.log(), "new\n");
    sidecar.wait_for("one\nlate\nnew\n");
    app.write_all(b"ces\n").unwrap();
    sidecar.wait_for("one\nlate\nnew\nin pieces\n");
    volumes.rotate();
    // Two rotations ago it was the log, and it still is a part of it.
    app.write_all(b"very late\n").unwrap();
    sidecar.wait_for("one\nlate\nnew\nin pieces\nvery late\n");
    assert_same(
        &sidecar.terminate(),
        b"one\nlate\nnew\nin pieces\nvery late\n",
    );
}

#[test]
fn several_rotations_between_two_looks_are_printed_in_order() {
    let volumes = Volumes::new();
    append(volumes.log(), "0\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("0\n");
    sidecar.freeze();
    let mut expected = "0\n".to_owned();
    for number in 1..=40 {
        volumes.rotate();
        append(volumes.log(), format!("{number}\n"));
        expected += &format!("{number}\n");
    }
    sidecar.thaw();
    sidecar.wait_for(&expected);
    assert_same(&sidecar.terminate(), expected.as_bytes());
}

#[test]
fn rotations_in_quick_succession_are_printed_in_order() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    let mut expected = String::new();
    for number in 0..100 {
        append(volumes.log(), format!("a {number}\n"));
        append(volumes.log(), format!("b {number}\n"));
        expected += &format!("a {number}\nb {number}\n");
        volumes.rotate();
    }
    sidecar.wait_for_line("b 99");
    assert_same(&without_notes(&sidecar.terminate()), expected.as_bytes());
}

#[test]
fn names_that_never_stand_still_cost_no_line() {
    let volumes = Volumes::new();
    let mut expected: Vec<String> = (0..40).map(|number| format!("{number}\n")).collect();
    for line in &expected {
        append(volumes.log(), line);
        volumes.rotate();
    }
    let enough = AtomicBool::new(false);
    let printed = thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::seeded(1);
            let spare = volumes.rotated(100);
            while !enough.load(Ordering::Relaxed) {
                let [one, other] = [(); 2].map(|()| volumes.rotated(1 + random.below(40)));
                if one != other {
                    fs::rename(&one, &spare).unwrap();
                    fs::rename(&other, &one).unwrap();
                    fs::rename(&spare, &other).unwrap();
                }
            }
        });
        let sidecar = volumes.sidecar();
        sidecar.wait_until("all lines", |printed| {
            without_notes(printed).len() >= expected.concat().len()
        });
        append(volumes.log(), "new\n");
        sidecar.wait_for_line("new");
        let printed = sidecar.terminate();
        enough.store(true, Ordering::Relaxed);
        printed
    });
    // In what order they come, nobody can say.
    let printed = String::from_utf8(without_notes(&printed)).unwrap();
    let mut lines: Vec<&str> = printed.split_inclusive('\n').collect();
    lines.sort();
    expected.push("new\n".to_owned());
    expected.sort();
    assert_eq!(lines, expected);
    assert_same(&without_notes(&volumes.sidecar().terminate()), b"");
}

#[test]
fn names_with_dates_are_found_and_ordered_too() {
    let volumes = Volumes::new();
    append(volumes.log(), "0\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("0\n");
    sidecar.freeze();
    for day in 1..=9 {
        fs::rename(
            volumes.log(),
            volumes.folder().join(format!("access.log-2026010{day}")),
        )
        .unwrap();
        append(volumes.log(), format!("{day}\n"));
    }
    sidecar.thaw();
    sidecar.wait_for("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    sidecar.terminate();
}

#[test]
fn many_files_that_end_in_the_middle_of_a_line_are_not_all_kept_open() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    for number in 1..=100 {
        append(volumes.log(), format!("{number}\nunfinished"));
        sidecar.wait_for_line(&number.to_string());
        volumes.rotate();
    }
    append(volumes.log(), "one more\n");
    sidecar.wait_for_line("one more");
    wait_until("only the youngest files are open", || {
        open_logs(&sidecar) <= 16
    });
    // The log itself is among them.
    append(volumes.log(), "the last\n");
    sidecar.wait_for_line("the last");
    // The end of a line that was begun long ago is found at the next rotation.
    append(volumes.rotated(70), " and finished\n");
    volumes.rotate();
    sidecar.wait_for_line("unfinished and finished");
    sidecar.terminate();
}

#[test]
fn a_second_name_for_the_log_changes_nothing() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    // Some apps rotate so: a link first, and then a new file takes the old name.
    fs::hard_link(volumes.log(), volumes.rotated(1)).unwrap();
    append(volumes.log(), "two\n");
    sidecar.wait_for("one\ntwo\n");
    // That both are the same file is known: so this is a copy, and not the log of yesterday.
    sidecar.wait_until_asleep(false);
    fs::copy(volumes.log(), volumes.folder().join("access.log.2026-copy")).unwrap();
    append(volumes.log(), "three\n");
    sidecar.wait_for("one\ntwo\nthree\n");
    append(volumes.folder().join("access.log.next"), "four\n");
    fs::rename(volumes.folder().join("access.log.next"), volumes.log()).unwrap();
    sidecar.wait_for("one\ntwo\nthree\nfour\n");
    append(volumes.rotated(1), "three, late\n");
    sidecar.wait_for("one\ntwo\nthree\nfour\nthree, late\n");
    assert_same(
        &sidecar.terminate(),
        b"one\ntwo\nthree\nfour\nthree, late\n",
    );
}

#[test]
fn names_that_count_upwards_are_ordered_by_age() {
    let volumes = Volumes::new();
    append(volumes.log(), "0\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("0\n");
    sidecar.freeze();
    let mut last = fs::metadata(volumes.log()).unwrap().modified().unwrap();
    for number in 1..=12 {
        // This app's youngest file has the highest number. It takes a little longer than the
        // file system's clock stands still.
        fs::rename(volumes.log(), volumes.rotated(number)).unwrap();
        wait_until("the clock has moved on", || {
            let _ = fs::remove_file(volumes.log());
            append(volumes.log(), format!("{number}\n"));
            let now = fs::metadata(volumes.log()).unwrap().modified().unwrap();
            std::mem::replace(&mut last, now) < now
        });
    }
    sidecar.thaw();
    sidecar.wait_for("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n");
    sidecar.terminate();
}

#[test]
fn rotations_while_the_sidecar_is_down_are_printed_in_order() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    app.write_all(b"one\ntwo, ").unwrap();
    volumes.sidecar().terminate();
    app.write_all(b"in pieces\nthree\n").unwrap();
    volumes.rotate();
    append(volumes.log(), "four\n");
    volumes.rotate();
    append(volumes.log(), "five\n");
    volumes.rotate();
    append(volumes.log(), "six\n");
    app.write_all(b"three, late\n").unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for("two, in pieces\nthree\nthree, late\nfour\nfive\nsix\n");
    app.write_all(b"three, very late\n").unwrap();
    sidecar.wait_for_line("three, very late");
    sidecar.terminate();
    assert_same(&volumes.sidecar().terminate(), b"");
}

#[test]
fn rotations_before_the_first_start_are_printed() {
    let volumes = Volumes::new();
    for number in 0..100 {
        append(volumes.log(), format!("{number}\n"));
        volumes.rotate();
    }
    append(volumes.log(), "100\n");
    let expected: String = (0..=100).map(|number| format!("{number}\n")).collect();
    let sidecar = volumes.sidecar();
    sidecar.wait_for(&expected);
    assert_same(&sidecar.terminate(), expected.as_bytes());
    assert_same(&volumes.sidecar().terminate(), b"");
    // A write to a file that is too old to be kept open is noticed at the next rotation.
    append(volumes.rotated(100), "late\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("late\n");
    wait_until("only the youngest files are open", || {
        open_logs(&sidecar) <= 16
    });
    append(volumes.rotated(100), "later\n");
    volumes.rotate();
    sidecar.wait_for("late\nlater\n");
    assert_same(&sidecar.terminate(), b"late\nlater\n");
}

fn open_logs(program: &Program) -> usize {
    let files = fs::read_dir(program.proc("fd")).unwrap().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().contains("access.log"))
        .count()
}

#[test]
fn an_inode_that_is_used_again_is_recognised() {
    let volumes = Volumes::new();
    append(volumes.log(), "the same beginning\none\n");
    volumes.sidecar().terminate();
    // Most file systems give the number of a file that was removed to the next one.
    fs::remove_file(volumes.log()).unwrap();
    append(volumes.log(), "the same beginning\none\ntwo\n");
    assert_same(
        &volumes.sidecar().terminate(),
        b"the same beginning\none\ntwo\n",
    );
    fs::remove_file(volumes.log()).unwrap();
    append(volumes.log(), "x\n");
    assert_same(&volumes.sidecar().terminate(), b"x\n");
}

#[test]
fn a_copy_is_not_printed_again() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    // Someone takes a copy, the app goes on, and rotates by renaming later.
    sidecar.wait_until_asleep(false);
    fs::copy(volumes.log(), volumes.folder().join("access.log.2026-copy")).unwrap();
    append(volumes.log(), "two\n");
    sidecar.wait_for("one\ntwo\n");
    volumes.rotate();
    append(volumes.log(), "three\n");
    sidecar.wait_for("one\ntwo\nthree\n");
    // The same while the sidecar is down.
    sidecar.terminate();
    fs::copy(volumes.log(), volumes.folder().join("access.log.2027-copy")).unwrap();
    assert_same(&volumes.sidecar().terminate(), b"");
}

#[test]
fn compressed_logs_and_other_files_are_left_alone() {
    let volumes = Volumes::new();
    for name in [
        "access.log.1.gz",
        "access.log.lock",
        "error.log",
        "error.log.1",
    ] {
        append(volumes.folder().join(name), "not a line of this log\n");
    }
    append(volumes.log(), "one\n");
    assert_same(&volumes.sidecar().terminate(), b"one\n");
}

#[test]
fn more_events_than_the_kernel_keeps_cost_no_line() {
    let volumes = Volumes::new();
    let mut old = open(volumes.log());
    old.write_all(b"old\n").unwrap();
    volumes.rotate();
    let mut new = open(volumes.log());
    let sidecar = volumes.sidecar();
    sidecar.wait_for("old\n");
    sidecar.freeze();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let events = limit.trim().parse::<usize>().unwrap() + 1000;
    // Two events in a row that are the same would be one: so they take turns.
    for _ in 0..events / 2 {
        old.write_all(b"o\n").unwrap();
        new.write_all(b"n\n").unwrap();
    }
    volumes.rotate();
    append(volumes.log(), "newest\n");
    sidecar.thaw();
    let expected = format!(
        "old\n{}{}newest\n",
        "o\n".repeat(events / 2),
        "n\n".repeat(events / 2)
    );
    sidecar.wait_for(&expected);
    assert_same(&sidecar.terminate(), expected.as_bytes());
}
