//! The offset file, whole and damaged.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use crate::support::*;

#[test]
fn a_damaged_offset_file_costs_no_line() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    let whole = {
        volumes.sidecar().terminate();
        fs::read(volumes.state()).unwrap()
    };
    let half = whole[..whole.len() / 2].to_vec();
    let flipped: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    for damaged in [
        half,
        flipped,
        Vec::new(),
        b"\xff\xfe\0 not even text".to_vec(),
    ] {
        fs::write(volumes.state(), damaged).unwrap();
        let printed = volumes.sidecar().terminate();
        let note = format!(
            "cannot read the offsets in {}: it is damaged; every line that is still there is printed",
            volumes.state().display()
        );
        assert_eq!(notes(&printed), [note]);
        assert_same(&without_notes(&printed), b"one\n");
        // And it is whole again.
        assert_same(&volumes.sidecar().terminate(), b"");
    }
}

#[test]
fn an_offset_file_that_cannot_be_read_costs_no_line() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    fs::create_dir(volumes.state()).unwrap();
    let printed = volumes.sidecar().terminate();
    let notes = notes(&printed);
    assert!(
        notes[0].starts_with("cannot read the offsets in "),
        "{notes:?}"
    );
    assert!(
        notes[1].starts_with("cannot keep the offsets in "),
        "{notes:?}"
    );
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_same(&without_notes(&printed), b"one\n");
}

#[test]
fn an_offset_file_that_cannot_be_written_is_told_of_once() {
    let volumes = Volumes::new();
    fs::remove_dir(volumes.path("state")).unwrap();
    append(volumes.log(), "one\n");
    let first_note = |printed: &[u8]| notes(printed).first().cloned().unwrap_or_default();
    let sidecar = volumes.sidecar();
    sidecar.wait_until("the note", |printed| {
        first_note(printed).starts_with("cannot keep the offsets in ")
    });
    // It tries again at the end, fails again, and says nothing more.
    let printed = sidecar.terminate();
    assert_same(&without_notes(&printed), b"one\n");
    assert_eq!(notes(&printed).len(), 1, "{:?}", notes(&printed));
}

#[test]
fn offsets_are_kept_again_when_they_can_be() {
    let volumes = Volumes::new();
    fs::remove_dir(volumes.path("state")).unwrap();
    append(volumes.log(), "one\n");
    let sidecar = volumes.sidecar();
    let note = |printed: &[u8]| notes(printed).first().cloned().unwrap_or_default();
    sidecar.wait_until("the note", |printed| {
        note(printed).starts_with("cannot keep the offsets in ")
    });
    // More lines are printed all the same, and nothing more is said until it works.
    append(volumes.log(), "two\n");
    sidecar.wait_for_line("two");
    fs::create_dir(volumes.path("state")).unwrap();
    let printed = sidecar.terminate();
    assert_same(&without_notes(&printed), b"one\ntwo\n");
    assert_eq!(notes(&printed).len(), 2, "{:?}", notes(&printed));
    assert_eq!(
        notes(&printed)[1],
        format!(
            "the offsets are kept in {} again",
            volumes.state().display()
        )
    );
    assert_same(&volumes.sidecar().terminate(), b"");
}

#[test]
fn a_full_volume_is_told_of_once_and_keeps_the_old_offsets() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    volumes.sidecar().terminate();
    // Whatever is written here, the device is full.
    symlink("/dev/full", volumes.path("state/offsets.new")).unwrap();
    append(volumes.log(), "two\n");
    let printed = volumes.sidecar().terminate();
    assert_same(&without_notes(&printed), b"two\n");
    assert_eq!(notes(&printed).len(), 1);
    assert!(
        notes(&printed)[0].contains("No space left on device"),
        "{:?}",
        notes(&printed)
    );
    // The line after the last offsets that were kept is printed again, the one before is not.
    assert_same(&volumes.sidecar().terminate(), b"two\n");
}

#[test]
fn offsets_are_never_written_over_those_before() {
    let volumes = Volumes::new();
    append(volumes.log(), "one\n");
    volumes.sidecar().terminate();
    // Whoever has the file open keeps what was in it: a new file has taken its name.
    let mut before = fs::File::open(volumes.state()).unwrap();
    let expected = fs::read_to_string(volumes.state()).unwrap();
    append(volumes.log(), "two\n");
    volumes.sidecar().terminate();
    let mut text = String::new();
    before.read_to_string(&mut text).unwrap();
    assert_eq!(text, expected);
    assert_ne!(fs::read_to_string(volumes.state()).unwrap(), expected);
}

#[test]
fn offsets_are_not_written_for_every_line() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    let mut written = HashSet::new();
    for number in 0..300 {
        append(volumes.log(), format!("{number}\n"));
        sidecar.wait_for_line(&number.to_string());
        written.extend(fs::read(volumes.state()));
    }
    assert!(
        written.len() < 100,
        "written {} times for 300 lines",
        written.len()
    );
    sidecar.terminate();
    let left = fs::read_dir(volumes.path("state")).unwrap().flatten();
    assert_eq!(
        left.map(|file| file.file_name()).collect::<Vec<_>>(),
        ["offsets"]
    );
}
