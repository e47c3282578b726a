//! The way to the log: files and folders that appear later, or go and come back.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::support::*;

fn missing(volumes: &Volumes) -> String {
    format!(
        "sidecar-container: {} does not exist yet\n",
        volumes.log().display()
    )
}

#[test]
fn the_file_may_appear_later() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    sidecar.wait_for(missing(&volumes));
    append(volumes.log(), "one\n");
    sidecar.wait_for(missing(&volumes) + "one\n");
    sidecar.terminate();
}

#[test]
fn the_folders_may_appear_later() {
    let volumes = Volumes::new();
    let log = volumes.path("a/b/c/access.log");
    let start = || {
        Program::start(
            SIDECAR,
            &[("LOG_PATH", &log), ("STATE_PATH", &volumes.state())],
        )
    };

    // One after the other, and each is noticed …
    let sidecar = start();
    sidecar.wait_until("the note", |printed| printed.ends_with(b"yet\n"));
    for folder in ["a", "a/b", "a/b/c"] {
        fs::create_dir(volumes.path(folder)).unwrap();
    }
    append(&log, "one\n");
    sidecar.wait_for_line("one");
    assert_same(&without_notes(&sidecar.terminate()), b"one\n");

    // … or with all that is in them.
    fs::rename(volumes.path("a"), volumes.path("elsewhere")).unwrap();
    let sidecar = start();
    sidecar.wait_until("the note", |printed| printed.ends_with(b"yet\n"));
    append(volumes.path("elsewhere/b/c/access.log"), "two\n");
    fs::rename(volumes.path("elsewhere"), volumes.path("a")).unwrap();
    sidecar.wait_for_line("two");
    assert_same(&without_notes(&sidecar.terminate()), b"two\n");
}

#[test]
fn the_file_may_go_and_come_back() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    // Removed, and another one made.
    fs::remove_file(volumes.log()).unwrap();
    append(volumes.log(), "two\n");
    sidecar.wait_for("one\ntwo\n");
    // Moved away, and the same one moved back: what was printed is not printed again.
    fs::rename(volumes.log(), volumes.path("elsewhere")).unwrap();
    append(volumes.path("elsewhere"), "three\n");
    sidecar.wait_for("one\ntwo\nthree\n");
    fs::rename(volumes.path("elsewhere"), volumes.log()).unwrap();
    append(volumes.log(), "four\n");
    assert_same(&sidecar.terminate(), b"one\ntwo\nthree\nfour\n");
}

#[test]
fn the_folder_may_go_and_come_back() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    // Moved away, with an app that still writes there, while another folder takes its place …
    fs::rename(volumes.folder(), volumes.path("elsewhere")).unwrap();
    append(volumes.path("elsewhere/access.log"), "two\n");
    sidecar.wait_for("one\ntwo\n");
    fs::create_dir(volumes.folder()).unwrap();
    append(volumes.log(), "three\n");
    sidecar.wait_for("one\ntwo\nthree\n");
    // … removed …
    fs::remove_dir_all(volumes.folder()).unwrap();
    // … and the first one comes back.
    fs::rename(volumes.path("elsewhere"), volumes.folder()).unwrap();
    append(volumes.log(), "four\n");
    sidecar.wait_for("one\ntwo\nthree\nfour\n");
    assert_same(&sidecar.terminate(), b"one\ntwo\nthree\nfour\n");
}

#[test]
fn the_folder_above_may_go_and_come_back() {
    let volumes = Volumes::new();
    let log = volumes.path("above/logs/access.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, "one\n");
    let sidecar = Program::start(
        SIDECAR,
        &[("LOG_PATH", &log), ("STATE_PATH", &volumes.state())],
    );
    sidecar.wait_for("one\n");
    fs::rename(volumes.path("above"), volumes.path("elsewhere")).unwrap();
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, "two\n");
    sidecar.wait_for("one\ntwo\n");
    fs::remove_dir_all(volumes.path("above")).unwrap();
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, "three\n");
    sidecar.wait_for("one\ntwo\nthree\n");
    sidecar.terminate();
}

#[test]
fn a_folder_may_go_though_a_file_in_it_is_held() {
    let volumes = Volumes::new();
    let log = volumes.path("above/logs/access.log");
    let rotated = volumes.path("above/logs/access.log.1");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, "one\nhalf");
    let sidecar = Program::start(
        SIDECAR,
        &[("LOG_PATH", &log), ("STATE_PATH", &volumes.state())],
    );
    sidecar.wait_for("one\n");
    fs::remove_file(&log).unwrap();
    append(&rotated, "two\n");
    sidecar.wait_for("one\ntwo\n");
    fs::remove_file(&rotated).unwrap();
    // Of removed files, the last is held: when the first is let go, all of this has been seen.
    let note = "access.log was removed, and 4 bytes of a line that was not complete with it";
    sidecar.wait_for_line(&format!("sidecar-container: {note}"));
    // Nothing is left but folders. As long as a file that was in them is held, the kernel does
    // not tell of their own end, only that their names went from the folders above.
    fs::remove_dir_all(volumes.path("above")).unwrap();
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    append(&log, "three\n");
    sidecar.wait_for_line("three");
    sidecar.terminate();
}

#[test]
fn a_folder_that_goes_while_the_sidecar_is_down_may_come_back() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    volumes.sidecar().terminate();
    fs::rename(volumes.folder(), volumes.path("elsewhere")).unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for(missing(&volumes));
    sidecar.terminate();
    fs::rename(volumes.path("elsewhere"), volumes.folder()).unwrap();
    append(volumes.log(), "two\n");
    assert_same(&volumes.sidecar().terminate(), b"two\n");
}

#[test]
fn what_is_written_to_a_removed_file_is_printed() {
    let volumes = Volumes::new();
    let mut app = open(volumes.log());
    app.write_all(b"one\n").unwrap();
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    // Someone makes room on the disk, and the app does not notice.
    fs::remove_file(volumes.log()).unwrap();
    append(volumes.log(), "from elsewhere\n");
    sidecar.wait_for("one\nfrom elsewhere\n");
    app.write_all(b"two\n").unwrap();
    sidecar.wait_for("one\nfrom elsewhere\ntwo\n");
    // When it has closed the file, the space is free: the sidecar does not hold it.
    assert!(holds_removed_file(&sidecar));
    drop(app);
    wait_until("the removed file is closed", || {
        !holds_removed_file(&sidecar)
    });
    assert_same(&sidecar.terminate(), b"one\nfrom elsewhere\ntwo\n");
}

fn holds_removed_file(program: &Program) -> bool {
    let files = fs::read_dir(program.proc("fd")).unwrap();
    files.flatten().any(|file| {
        fs::read_link(file.path()).is_ok_and(|file| file.to_string_lossy().ends_with(" (deleted)"))
    })
}

#[test]
fn a_line_that_is_removed_before_it_is_complete_is_told_of() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\ntw");
    let sidecar = volumes.sidecar();
    sidecar.wait_for("one\n");
    append(volumes.log(), "o");
    fs::remove_file(volumes.log()).unwrap();
    // The last removed file is held, in case the app has it open; the next one shows it has not.
    append(volumes.log(), "three\n");
    fs::remove_file(volumes.log()).unwrap();
    append(volumes.log(), "four\n");
    let note = "access.log was removed, and 3 bytes of a line that was not complete with it";
    sidecar.wait_for_line(&format!("sidecar-container: {note}"));
    let printed = sidecar.terminate();
    assert_eq!(notes(&printed), [note]);
}

#[test]
fn links_on_the_way_are_followed() {
    let volumes = Volumes::new();
    for version in ["v1", "v2"] {
        fs::create_dir(volumes.path(version)).unwrap();
    }
    symlink("v1", volumes.path("current")).unwrap();
    let log = volumes.path("current/access.log");
    let sidecar = Program::start(
        SIDECAR,
        &[("LOG_PATH", &log), ("STATE_PATH", &volumes.state())],
    );
    append(volumes.path("v1/access.log"), "one\n");
    sidecar.wait_for_line("one");
    // The link is replaced, as Kubernetes replaces those of a ConfigMap's volume.
    symlink("v2", volumes.path("next")).unwrap();
    fs::rename(volumes.path("next"), volumes.path("current")).unwrap();
    append(volumes.path("v2/access.log"), "two\n");
    sidecar.wait_for_line("two");
    append(volumes.path("v1/access.log"), "late\n");
    sidecar.wait_for_line("late");
    assert_same(&without_notes(&sidecar.terminate()), b"one\ntwo\nlate\n");
}

#[test]
fn the_log_itself_may_be_a_link() {
    let volumes = Volumes::new();
    let files = volumes.path("files");
    fs::create_dir(&files).unwrap();
    symlink(files.join("access.log"), volumes.log()).unwrap();
    let sidecar = volumes.sidecar();
    append(files.join("access.log"), "one\n");
    sidecar.wait_for_line("one");
    fs::rename(files.join("access.log"), files.join("access.log.1")).unwrap();
    append(files.join("access.log"), "two\n");
    sidecar.wait_for_line("two");
    assert_same(&without_notes(&sidecar.terminate()), b"one\ntwo\n");
}

#[test]
fn a_folder_in_the_place_of_the_file_is_told_of_once() {
    let volumes = Volumes::new();
    fs::create_dir(volumes.log()).unwrap();
    let sidecar = volumes.sidecar();
    let note = format!("cannot read {}: it is not a file", volumes.log().display());
    sidecar.wait_for(format!("sidecar-container: {note}\n"));
    append(volumes.rotated(1), "zero\n");
    sidecar.wait_for_line("zero");
    fs::remove_dir(volumes.log()).unwrap();
    append(volumes.log(), "one\n");
    sidecar.wait_for_line("one");
    assert_eq!(notes(&sidecar.terminate()), [note]);
}

#[test]
fn what_may_not_be_read_is_told_of_once_and_read_when_it_may() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let permit =
        |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // (Root may read it all the same, and this test is about its last line only.)
    permit(volumes.log(), 0o000);
    let sidecar = volumes.sidecar();
    sidecar.wait_until("a line", |printed| printed.ends_with(b"\n"));
    append(volumes.folder().join("access.log.lock"), "");
    permit(volumes.log(), 0o644);
    sidecar.wait_for_line("one");
    permit(volumes.folder(), 0o000);
    permit(volumes.folder(), 0o755);
    volumes.rotate();
    append(volumes.log(), "two\n");
    sidecar.wait_for_line("two");
    let printed = sidecar.terminate();
    assert_same(&without_notes(&printed), b"one\ntwo\n");
    let about_the_file = format!("cannot read {}: ", volumes.log().display());
    assert!(
        notes(&printed)
            .iter()
            .filter(|note| note.starts_with(&about_the_file))
            .count()
            <= 1
    );
}

#[test]
fn a_folder_that_may_not_be_read_is_told_of_once_and_read_when_it_may() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let permit =
        |mode| fs::set_permissions(volumes.folder(), fs::Permissions::from_mode(mode)).unwrap();
    permit(0o000);
    let sidecar = volumes.sidecar();
    sidecar.wait_until("a line", |printed| printed.ends_with(b"\n"));
    permit(0o755);
    sidecar.wait_for_line("one");
    let printed = sidecar.terminate();
    assert_same(&without_notes(&printed), b"one\n");
    assert!(notes(&printed).len() <= 1, "{:?}", notes(&printed));
}
