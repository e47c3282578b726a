//! The command line as a reader and a CI job meet it: what it prints, and its exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::exercise::Form;
use harness::workspace::Workspace;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(arguments)
        .current_dir(root())
        // A cluster that is up would be taken, and one run's speed is not another's.
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("CLICOLOR_FORCE")
        .env_remove("WORKBOOK_ENGINE");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_run_that_is_as_recorded_exits_with_0() {
    let output = run(&["chapter", "2"]);
    let said = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}{}",
        text(&output.stderr)
    );
    for part in [
        "Chapter 2",
        "engine    sandbox",
        "input-sidecar     | Hello",
        "as recorded 02-input-poller healthy",
        "next: cargo xtask chapter 2 --scenario naive",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(
        !said.contains('\x1b'),
        "no colour where there is no terminal"
    );
    // A program's own lines, and the time and name before them, are as long as they are.
    let wide = |line: &&str| line.chars().count() > 80 && !line.contains(" | ");
    assert_eq!(said.lines().find(wide), None, "wider than 80 columns");
}

#[test]
fn json_is_one_line_per_run() {
    let output = run(&[
        "chapter",
        "input-poller",
        "--scenario",
        "all",
        "--repeat",
        "2",
        "--json",
    ]);
    let runs: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let scenarios = fs::read_dir(root().join("chapters/02-input-poller/scenarios"))
        .unwrap()
        .count();
    assert_eq!(runs.len(), 2 * scenarios);
    for run in &runs {
        assert_eq!(run["as_recorded"], true, "{run:#}");
        let evidence = Path::new(run["evidence"].as_str().unwrap());
        let recording: Value =
            serde_json::from_slice(&fs::read(evidence.join("recording.json")).unwrap()).unwrap();
        assert_eq!(recording["scenario"], run["scenario"]);
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_the_command_line_gets_wrong_exits_with_2() {
    for (arguments, says) in [
        (
            &["chapter", "99"][..],
            "there is no chapter `99`; there are: 0 what-containers-share, 1 shared-volume-logs",
        ),
        (
            &["chapter", "2", "--scenario", "nope"],
            "has no scenario `nope`; it has: healthy, naive",
        ),
        (
            &["chapter", "2", "--engine", "podman"],
            "there is no engine `podman`",
        ),
        (
            &["chapter", "2", "--bless", "--follow"],
            "cannot be used with",
        ),
        (&["chaptre", "2"], "chapter"),
        (&["chapter", "2", "--repeat", "0"], "0 is not in 1.."),
        (&["manifest", "99"], "there is no chapter"),
    ] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?} says:\n{said}");
    }
}

/// Which entry of "Troubleshooting" the last lines of an output lead to: its place is a line of
/// the page, which a terminal in an editor opens.
fn entry(said: &str, folder: &Path) -> String {
    let lines = Vec::from_iter(said.lines().rev().take(2));
    let [place, title] = lines.as_slice() else {
        panic!("{said}")
    };
    let title = title
        .strip_prefix("more: ")
        .unwrap_or_else(|| panic!("{said}"));
    let (file, line) = place.trim().rsplit_once(':').unwrap();
    let page = fs::read_to_string(folder.join(file)).unwrap();
    let line: usize = line.parse().unwrap();
    let heading = page.lines().nth(line - 1).unwrap();
    assert_eq!(heading, format!("### {title}"), "{place}");
    title.to_owned()
}

#[test]
fn an_error_leads_to_its_entry() {
    for (arguments, title) in [
        (
            &["chapter", "99"][..],
            "There is no such chapter, scenario or engine",
        ),
        (
            &["chapter", "2", "--engine", "podman"],
            "There is no such chapter, scenario or engine",
        ),
        (
            &["chapter", "all", "--keep"],
            "Only one run can be kept or followed",
        ),
    ] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(entry(&said, &root()), title, "{arguments:?}");
        let wide = |line: &&str| line.starts_with("more: ") && line.chars().count() > 80;
        assert_eq!(said.lines().find(wide), None, "wider than 80 columns");
    }
    // From elsewhere the page's whole path is needed.
    let output = command(&["list"]).current_dir("/").output().unwrap();
    let title = entry(&text(&output.stderr), Path::new("/"));
    assert_eq!(title, "The folder is not inside the workbook");
    // What the parser says of the command line, and the help that was asked for, have none.
    for arguments in [&["chaptre"][..], &["--help"]] {
        let output = run(arguments);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!said.contains("troubleshooting.md"), "{said}");
    }
}

#[test]
fn outside_the_workbook_it_says_so() {
    let output = command(&["list"]).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not inside the workbook"));
}

#[test]
fn the_manifest_is_the_file_as_it_stands() {
    let file = fs::read_to_string(root().join("manifests/02-input-poller/naive.yaml")).unwrap();
    let output = run(&["manifest", "2", "--scenario", "naive"]);
    assert_eq!(text(&output.stdout), file);
}

#[test]
fn every_chapter_and_scenario_is_listed() {
    let output = run(&["list", "--json"]);
    let chapters: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let folders = fs::read_dir(root().join("chapters")).unwrap().count();
    assert_eq!(chapters.len(), folders);
    let said = text(&run(&["list"]).stdout);
    for chapter in chapters {
        assert!(said.contains(chapter["name"].as_str().unwrap()));
        for scenario in chapter["scenarios"].as_array().unwrap() {
            assert!(said.contains(scenario["name"].as_str().unwrap()), "{said}");
        }
    }
    let wide = |line: &&str| line.chars().count() > 80;
    assert_eq!(said.lines().find(wide), None, "wider than 80 columns");
}

#[test]
fn ctrl_c_ends_a_pod_in_order() {
    let mut child = command(&["chapter", "2", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("| Hello")));
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let rest: Vec<String> = lines.collect();
    let ended = |name: &str| {
        rest.iter()
            .any(|line| line.contains(name) && line.contains("ended with exit code 0"))
    };
    assert!(
        ended("input-sidecar") && ended("input-http-server"),
        "{rest:#?}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_programs_of_all_chapters_have_names_of_their_own() {
    let mut owners = std::collections::HashMap::new();
    for chapter in fs::read_dir(root().join("chapters")).unwrap().flatten() {
        for program in fs::read_dir(chapter.path().join("src/bin"))
            .unwrap()
            .flatten()
        {
            let name = program.path().file_stem().unwrap().to_owned();
            if let Some(other) = owners.insert(name.clone(), chapter.file_name()) {
                panic!(
                    "{} is a program of {} and {}",
                    name.display(),
                    other.display(),
                    chapter.file_name().display()
                );
            }
        }
    }
}

/// What stands in a new exercise is an example of each file, and it is whole: only what it says
/// remains to be written.
#[test]
fn a_new_exercise_has_all_that_one_has() {
    let folder = tempfile::tempdir().unwrap();
    let exercises = folder.path().join("exercises");
    fs::create_dir(&exercises).unwrap();
    for shared in ["chapters", "manifests"] {
        std::os::unix::fs::symlink(root().join(shared), folder.path().join(shared)).unwrap();
    }
    fs::write(folder.path().join("Cargo.toml"), "").unwrap();
    let new = |name: &str, form: &str| {
        let arguments = ["exercise", "new", name, "--chapter", "1", "--form", form];
        command(&arguments)
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let workspace = Workspace::at(folder.path().to_owned());
    for (name, form) in [
        ("15-the-pod", "manifest"),
        ("16-the-program", "program"),
        ("17-the-end", "prediction"),
    ] {
        let output = new(name, form);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for file in text(&output.stdout)
            .lines()
            .take_while(|line| !line.is_empty())
        {
            let said = fs::read_to_string(folder.path().join(file)).unwrap();
            for placeholder in ["CHAPTER", "CONTAINER", "NUMBER", "NAME"] {
                assert!(!said.contains(placeholder), "{placeholder} in {file}");
            }
        }
    }
    let forms = [Form::Manifest, Form::Program, Form::Prediction];
    let made = workspace.exercises().unwrap();
    assert_eq!(made.len(), forms.len());
    for (exercise, form) in made.iter().zip(forms) {
        assert_eq!((exercise.form, exercise.chapter.number), (form, 1));
        exercise.starter().unwrap();
        assert!(!exercise.solutions().unwrap().is_empty());
        let mistakes = exercise.mistakes().unwrap();
        assert!(!mistakes.is_empty());
        for mistake in mistakes {
            exercise.mistaken(&mistake).unwrap();
        }
    }
    // Whatever is refused leaves no folder.
    for (name, says) in [
        ("15-another", "exercises/15-the-pod is there already"),
        ("18-the-pod", "exercises/15-the-pod is there already"),
        ("18-The_Pod", "is not named as NN-name, with words of a-z"),
        ("18-../19-x", "is not named as NN-name, with words of a-z"),
        ("the-pod", "is not named as NN-name"),
    ] {
        let output = new(name, "manifest");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(says), "{name}: {said}");
        assert_eq!(fs::read_dir(&exercises).unwrap().count(), forms.len());
    }
}
