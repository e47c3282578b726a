//! `journal`: goes on where its file ends, and says why it cannot.

use std::fs;
use std::process::Command;

use sidecar_testing::Program;

use crate::run;

const JOURNAL: &str = env!("CARGO_BIN_EXE_journal");

#[test]
fn goes_on_where_its_file_ends() {
    let volume = tempfile::tempdir().unwrap();
    let file = volume.path().join("entries.txt");
    fs::write(&file, "entry 1\n").unwrap();
    let settings = [("JOURNAL", file.to_str().unwrap()), ("INTERVAL", "10ms")];
    let app = Program::start(JOURNAL, &settings);
    for line in [
        "1 entries are there",
        "entry 2 is written",
        "entry 3 is written",
    ] {
        assert_eq!(app.line(), line);
    }
    assert!(app.end().0.success());
    let written = fs::read_to_string(&file).unwrap();
    assert!(
        written.starts_with("entry 1\nentry 2\nentry 3\n"),
        "{written}"
    );

    // A further life of its container.
    let entries = written.lines().count();
    let app = Program::start(JOURNAL, &settings);
    assert_eq!(app.line(), format!("{entries} entries are there"));
    assert_eq!(app.line(), format!("entry {} is written", entries + 1));
}

#[test]
fn reads_what_was_before_and_writes_elsewhere() {
    let volume = tempfile::tempdir().unwrap();
    let [before, file] = ["before.txt", "entries.txt"].map(|name| volume.path().join(name));
    fs::write(&before, "entry 1\nentry 2\n").unwrap();
    let settings = [
        ("JOURNAL_BEFORE", before.to_str().unwrap()),
        ("JOURNAL", file.to_str().unwrap()),
        ("INTERVAL", "1h"),
    ];
    for (there, next) in [(2, 3), (3, 4)] {
        let app = Program::start(JOURNAL, &settings);
        assert_eq!(app.line(), format!("{there} entries are there"));
        assert_eq!(app.line(), format!("entry {next} is written"));
        assert!(app.end().0.success());
    }
    let untouched = fs::read_to_string(&before).unwrap();
    assert_eq!(untouched, "entry 1\nentry 2\n");
}

#[test]
fn says_what_it_cannot_write_to() {
    for (path, cannot) in [
        (
            "/nowhere/entries.txt",
            "0 entries are there\ncannot write to /nowhere/entries.txt: \
             No such file or directory (os error 2)",
        ),
        ("/", "cannot read /: Is a directory (os error 21)"),
    ] {
        let (good, said) = run(&mut Command::new(JOURNAL), &[("JOURNAL", path)]);
        assert_eq!((good, said.as_str()), (false, cannot));
    }
}
