//! `learn` and the commands beside it, as a reader meets them: on a terminal, and without one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use harness::exercise::Exercise;
use harness::workspace::Workspace;
use rexpect::session::{PtySession, spawn_command};
use tempfile::TempDir;

/// More than anything here takes on a busy machine, in milliseconds.
const PATIENCE: u64 = 120_000;

/// The first exercises.
fn exercises() -> [Exercise; 2] {
    let all = Workspace::at(root()).exercises().unwrap();
    [all[0].clone(), all[1].clone()]
}

/// The beginning of a text, which is on one line wherever it is wrapped.
fn beginning(text: &str) -> String {
    Vec::from_iter(text.split_whitespace().take(5)).join(" ")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A reader: their folder, and the commands that they type.
struct Reader {
    folder: TempDir,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn prepare(&self, mut command: Command) -> Command {
        command
            .current_dir(root())
            .env("WORKBOOK_WORK", self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("WORKBOOK_ENGINE");
        command
    }

    fn types(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments);
        let Output {
            status,
            stdout,
            stderr,
        } = self.prepare(command).output().unwrap();
        let said = [stdout, stderr].concat();
        (status.code(), String::from_utf8(said).unwrap())
    }

    /// A shell on a terminal of its own.
    fn shell(&self, script: &str) -> PtySession {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .env("LEARN", env!("CARGO_BIN_EXE_xtask"));
        spawn_command(self.prepare(command), Some(PATIENCE)).unwrap()
    }

    fn answer(&self) -> PathBuf {
        self.folder
            .path()
            .join(&exercises()[0].folder)
            .join("pod.yaml")
    }

    fn solve(&self) {
        let solution = root()
            .join("exercises")
            .join(&exercises()[0].folder)
            .join("solutions/same-path/pod.yaml");
        fs::copy(solution, self.answer()).unwrap();
    }
}

#[test]
fn each_step_can_be_taken_alone() {
    let (reader, [first, second]) = (Reader::new(), exercises());
    let expect = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (status, said) = reader.types(arguments);
        assert_eq!(status, Some(code), "{arguments:?}\n{said}");
        for part in parts {
            assert!(
                said.contains(part),
                "{arguments:?}: {part:?} is not in:\n{said}"
            );
        }
        // A path, and an error for whoever has mistyped something, are as long as they are.
        let is_long = |line: &&str| {
            line.contains(reader.folder.path().to_str().unwrap()) || line.starts_with("error:")
        };
        for line in said.lines().filter(|line| !is_long(line)) {
            assert!(
                line.chars().count() <= 80,
                "{line:?} is wider than 80 columns"
            );
        }
    };
    expect(
        &["check"],
        1,
        &["Exercise 11", &beginning(&first.texts.asks), "next: edit"],
    );
    expect(&["check"], 1, &["not yet", "`sidecar-container`", "(seed "]);
    expect(&["hint"], 0, &[&beginning(&first.texts.hint)]);
    expect(
        &["solution"],
        1,
        &["not solved yet", "solution 11 --really"],
    );
    expect(
        &["solution", "--really"],
        0,
        &["+        - {name: LOG_PATH, value: /var/log/access.log}"],
    );
    // An unknown mistake gets the facts, and what is no manifest its place.
    let starter = fs::read_to_string(reader.answer()).unwrap();
    let image = "image: sidecar-examples:sidecar-container\n";
    assert!(starter.contains(image));
    let other = format!("{image}      command: [/nothing]\n");
    fs::write(reader.answer(), starter.replace(image, &other)).unwrap();
    expect(
        &["check"],
        1,
        &[
            "sidecar-container cannot start",
            "try: `command` of",
            "hint",
        ],
    );
    fs::write(reader.answer(), "kind: ]").unwrap();
    expect(&["check"], 1, &["not yet", "pod.yaml:1:7:"]);
    expect(
        &["reset"],
        0,
        &["as it was in the beginning", "pod.yaml.before-reset-1"],
    );
    reader.solve();
    expect(
        &["check", "--seed", "7"],
        0,
        &["solved", "(seed 7)", &second.texts.title],
    );
    expect(&["solution", "11"], 0, &["same-path"]);
    expect(&["list"], 0, &["11  solved  "]);
    expect(&["check", "99"], 2, &["there is no exercise `99`"]);
    expect(&["learn"], 2, &["needs a terminal"]);
}

/// What a program does by mistake, or not, ends with its check, and is told.
#[test]
fn a_program_that_means_harm_gets_a_verdict() {
    let reader = Reader::new();
    let exercise = "13-follow-the-rotation";
    let answer = reader.folder.path().join(exercise).join("main.rs");
    fs::create_dir_all(answer.parent().unwrap()).unwrap();
    for (harm, program, expected) in [
        (
            "is no program",
            "fn main() { let unknown: Nothing; }",
            &[
                "does not compile",
                "cannot find type `Nothing`",
                "main.rs:1:",
            ][..],
        ),
        (
            "floods its log",
            "fn main() { loop { println!(\"all is well\"); } }",
            &["floods its log: 5001 lines"],
        ),
        (
            "floods its log with one line",
            "use std::io::Write;\n\
             fn main() { while std::io::stdout().write_all(&[b'a'; 65536]).is_ok() {} }",
            &["floods its log"],
        ),
        (
            "forks without end",
            "fn main() { let me = std::env::current_exe().unwrap();\n\
             while std::process::Command::new(&me).spawn().is_ok() {}\n\
             loop { std::thread::park(); } }",
            &["10s were over or OOMKilled", "killed by SIGKILL"],
        ),
        (
            "eats memory",
            "fn main() { let mut all = Vec::new(); loop { all.push(vec![1_u8; 1 << 20]); } }",
            &["started again (1)", "memory allocation of or OOMKilled"],
        ),
        (
            "fills the disk",
            "fn main() { for folder in [\"/\", \"/dev/shm\", \"/var/log/webserver\"] {\n\
             let all = vec![1; 256 << 20];\n\
             println!(\"{:?}\", std::fs::write(format!(\"{folder}/all\"), all).is_ok()); }\n\
             panic!(\"full\") }",
            &["started again (1)", "| false or OOMKilled"],
        ),
        (
            "never ends",
            "#[tokio::main(flavor = \"current_thread\")]\n\
             async fn main() { let _end = sidecar_kit::told_to_end();\n\
             loop { std::thread::park(); } }",
            &["10s were over", "killed by SIGKILL"],
        ),
    ] {
        fs::write(&answer, program).unwrap();
        let (status, said) = reader.types(&["check", "13"]);
        assert_eq!(status, Some(1), "{harm}: {said}");
        for part in expected {
            // Where limits of memory are enforced, the container's ends it before.
            let is_said = part.split(" or ").any(|part| said.contains(part));
            assert!(is_said, "{harm}: {part:?} is not in:\n{said}");
        }
    }
}

#[test]
fn what_is_broken_in_the_readers_folder_ends_no_command() {
    let reader = Reader::new();
    let progress = reader.folder.path().join("progress.json");
    fs::write(&progress, "{").unwrap();
    let (status, said) = reader.types(&["list"]);
    assert_eq!(status, Some(0), "{said}");
    let first = said.lines().find(|line| line.contains("progress.json"));
    let kept = first.unwrap_or_else(|| panic!("{said}"));
    assert!(kept.starts_with("what was solved cannot be read"), "{kept}");
    let (_, said) = reader.types(&["list"]);
    assert!(!said.contains("progress.json"), "said once:\n{said}");
    let kept = progress.with_file_name("progress.json.unreadable-1");
    assert_eq!(fs::read_to_string(kept).unwrap(), "{");
}

/// The cause is asked for first, then the pod is mended, and both runs are shown.
#[test]
fn a_fault_is_named_and_mended() {
    let reader = Reader::new();
    let mut shell = reader.shell("\"$LEARN\" fault 1; echo \"exit $?\"");
    shell.exp_string("what happened").unwrap();
    shell.exp_string("What is the cause?").unwrap();
    // Chance has chosen which one.
    let faults = Workspace::at(root()).faults().unwrap();
    let folder = |fault: &Exercise| format!("fault-{}", fault.number);
    let is_shown = |fault: &&Exercise| reader.folder.path().join(folder(fault)).exists();
    let fault = faults.iter().find(is_shown).unwrap();
    let places = fault.causes.iter().zip('1'..);
    let (right, wrong): (Vec<_>, Vec<_>) = places.partition(|(cause, _)| cause.says.is_none());
    for ((cause, key), answer) in [(wrong[0], "no:"), (right[0], "yes:")] {
        shell.send(&key.to_string()).unwrap();
        shell.flush().unwrap();
        shell.exp_string(answer).unwrap();
        shell.exp_string(&beginning(&cause.text)).unwrap();
    }
    let kept = reader.folder.path().join(folder(fault));
    let events = fs::read_to_string(kept.join("events.txt")).unwrap();
    assert!(events.contains("· started"), "{events}");

    let solutions = fault.solutions().unwrap();
    let mended = &solutions.values().next().unwrap().text;
    fs::write(kept.join("pod.yaml"), mended).unwrap();
    shell.exp_string("1 of ").unwrap();
    shell.exp_string(&beginning(&fault.texts.explains)).unwrap();
    shell.exp_string("broken").unwrap();
    shell.exp_string("mended").unwrap();
    shell.send("q").unwrap();
    shell.flush().unwrap();
    shell.exp_string("exit 0").unwrap();
}

#[test]
fn the_loop_tells_what_was_saved_and_leaves_the_terminal_as_it_was() {
    let (reader, [first, second]) = (Reader::new(), exercises());
    let mut shell = reader.shell("before=$(stty -g); \"$LEARN\" learn; echo \"exit $?\"; [ \"$(stty -g)\" = \"$before\" ] && echo as it was");
    shell
        .exp_string("It is checked as soon as you save it")
        .unwrap();
    let starter = fs::read_to_string(reader.answer()).unwrap();
    fs::write(reader.answer(), format!("{starter}# saved\n")).unwrap();
    shell.exp_string("not yet").unwrap();
    shell.exp_string("`sidecar-container`").unwrap();
    shell.send("h").unwrap();
    shell.flush().unwrap();
    shell.exp_string(&beginning(&first.texts.hint)).unwrap();
    reader.solve();
    shell.exp_string("1 of ").unwrap();
    shell.exp_string(&beginning(&first.texts.explains)).unwrap();
    shell.send("n").unwrap();
    shell.flush().unwrap();
    shell.exp_string(&second.texts.title).unwrap();
    shell.send("q").unwrap();
    shell.flush().unwrap();
    shell.exp_string("exit 0").unwrap();
    shell.exp_string("as it was").unwrap();
}

#[test]
fn so_it_does_when_it_is_killed() {
    for signal in ["KILL", "TERM", "HUP"] {
        let reader = Reader::new();
        let pid = reader.folder.path().join("pid");
        let script = format!(
            "before=$(stty -g); sh -c 'echo $$ >{}; exec \"$LEARN\" learn'; \
             until [ \"$(stty -g)\" = \"$before\" ]; do :; done; echo as it was",
            pid.display()
        );
        let mut shell = reader.shell(&script);
        shell
            .exp_string("It is checked as soon as you save it")
            .unwrap();
        shell.exp_string("the page").unwrap();
        let pid = fs::read_to_string(pid).unwrap();
        let killed = Command::new("kill")
            .args([&format!("-{signal}"), pid.trim()])
            .status();
        assert!(killed.unwrap().success());
        shell.exp_string("as it was").unwrap();
    }
}

#[test]
fn a_key_opens_the_page_if_the_book_is_built() {
    use std::os::unix::fs::PermissionsExt;
    let (reader, [first, _]) = (Reader::new(), exercises());
    // A browser that notes what it opens.
    let (programs, opened) = (reader.folder.path(), reader.folder.path().join("opened"));
    let browser = programs.join("xdg-open");
    let script = format!("#!/bin/sh\necho \"$1\" >{}\n", opened.display());
    fs::write(&browser, script).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let page = format!("book/chapters/{}.html", first.chapter.folder);
    let page = Workspace::at(root()).target().unwrap().join(page);
    let script = format!("PATH={}:$PATH; exec \"$LEARN\" learn", programs.display());
    let mut shell = reader.shell(&script);
    shell.exp_string("the page").unwrap();
    shell.send("o").unwrap();
    shell.flush().unwrap();
    if page.is_file() {
        // The path stands on a line of its own where it is too long for this one.
        shell.exp_string("opened:").unwrap();
        let begin = Instant::now();
        while !fs::read_to_string(&opened).is_ok_and(|text| text.ends_with('\n')) {
            assert!(
                begin.elapsed() < Duration::from_millis(PATIENCE),
                "no page was opened"
            );
            std::thread::yield_now();
        }
        let said = fs::read_to_string(&opened).unwrap();
        assert_eq!(said.trim(), page.to_str().unwrap());
    } else {
        shell
            .exp_string("not built yet: `cargo xtask book --open`")
            .unwrap();
        assert!(!opened.exists());
    }
    shell.send("q").unwrap();
    shell.flush().unwrap();
    shell.exp_eof().unwrap();
}

#[test]
fn ctrl_z_suspends_it_and_it_comes_back() {
    let reader = Reader::new();
    // With jobs of its own, as the shell of a terminal has.
    let script = "set -m; before=$(stty -g); \"$LEARN\" learn; echo \"it says $?\"; \
                  [ \"$(stty -g)\" = \"$before\" ] && echo as it was; fg; echo \"exit $?\"; \
                  [ \"$(stty -g)\" = \"$before\" ] && echo still so";
    let mut shell = reader.shell(script);
    shell.exp_string("the page").unwrap();
    let stopped = 128 + 20;
    shell.send("\u{1a}").unwrap();
    shell.flush().unwrap();
    shell.exp_string(&format!("it says {stopped}")).unwrap();
    shell.exp_string("as it was").unwrap();
    shell.exp_string("the page").unwrap();
    shell.send("h").unwrap();
    shell.flush().unwrap();
    let hint = &exercises()[0].texts.hint;
    shell.exp_string(&beginning(hint)).unwrap();
    shell.send("q").unwrap();
    shell.flush().unwrap();
    shell.exp_string("exit 0").unwrap();
    shell.exp_string("still so").unwrap();
}

#[test]
fn texts_are_as_wide_as_the_terminal_and_as_the_page_at_most() {
    let reader = Reader::new();
    reader.types(&["check"]);
    // Advice is a long line of its own.
    let answer = fs::read_to_string(reader.answer()).unwrap();
    let broken = answer.replacen("image: sidecar-examples:", "image: sidecar-exampels:", 1);
    assert_ne!(broken, answer);
    fs::write(reader.answer(), broken).unwrap();
    let (_, said) = reader.types(&["check"]);
    assert!(said.contains("\n  try: "), "{said}");
    let folder = reader.folder.path().to_str().unwrap();
    let widest = |said: &str| {
        // A path is as long as it is.
        let lines = said.lines().filter(|line| !line.contains(folder));
        lines.map(|line| line.chars().count()).max()
    };
    assert!((61..=80).contains(&widest(&said).unwrap()), "{said}");
    for (columns, most) in [(60, 60), (200, 80)] {
        let script = format!("stty cols {columns}; exec \"$LEARN\" check");
        let said = reader.shell(&script).exp_eof().unwrap();
        assert!(said.contains("\n  try: "), "{said}");
        let last = said.lines().map(|line| line.rsplit('\r').next().unwrap());
        let told = Vec::from_iter(last.filter(|line| !line.contains("build"))).join("\n");
        assert!(widest(&told).unwrap() <= most, "{told}");
    }
}

/// A cargo that says when it begins, and then waits for a line in a pipe.
fn slow_cargo(reader: &Reader) -> (PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let (cargo, pipe) = (
        reader.folder.path().join("cargo"),
        reader.folder.path().join("pipe"),
    );
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let real = std::env::var("CARGO").unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = build ] && echo compiling >/dev/tty && read -r _ <{}\nexec {real} \"$@\"\n",
        pipe.display()
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    (cargo, pipe)
}

#[test]
fn keys_during_a_build_are_for_nobody_and_ctrl_c_ends_it() {
    for ends in [false, true] {
        let reader = Reader::new();
        let (cargo, pipe) = slow_cargo(&reader);
        let script = format!(
            "before=$(stty -g); read -r _; trap : INT; CARGO={} \"$LEARN\" learn; echo \"exit $?\"; \
             [ \"$(stty -g)\" = \"$before\" ] && echo as it was",
            cargo.display()
        );
        let mut shell = reader.shell(&script);
        // The line is for `read`. What follows it is typed before the loop has begun.
        shell.send("\nq").unwrap();
        shell.flush().unwrap();
        shell.exp_string("compiling").unwrap();
        if ends {
            shell.send("\u{3}").unwrap();
        } else {
            shell.send("qz").unwrap();
        }
        shell.flush().unwrap();
        if !ends {
            fs::write(pipe, "\n").unwrap();
            let before = shell.exp_string("It is checked").unwrap();
            assert!(!before.contains("qz"), "echoed:\n{before}");
            shell.send("h").unwrap();
            shell.flush().unwrap();
            let hint = &exercises()[0].texts.hint;
            shell.exp_string(&beginning(hint)).unwrap();
            shell.send("q").unwrap();
            shell.flush().unwrap();
        }
        shell.exp_string("exit 0").unwrap();
        shell.exp_string("as it was").unwrap();
    }
}
