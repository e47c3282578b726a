//! Programs of the workspace for this machine: this program with more in it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::build::{BuildError, Progress, run_cargo};
use super::toolchain::cargo;

/// Compiles a program of a package for this machine, with a feature that the package is otherwise
/// compiled without, and returns where it is.
///
/// # Errors
///
/// If it does not compile, or the package has no such program.
pub fn build_tool(
    workspace: &Path,
    package: &str,
    program: &str,
    feature: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, BuildError> {
    if let Some(tool) = env::current_exe()
        .ok()
        .and_then(|this| unchanged(workspace, &this, program))
    {
        return Ok(tool);
    }
    let begin = SystemTime::now();
    let mut command = Command::new(cargo());
    command
        .current_dir(workspace)
        .args(["build", "--features", feature, "--bin", program]);
    let programs = run_cargo(command, package, progress)?;
    let found = programs.into_iter().find(|found| found.name == program);
    let tool = found
        .map(|found| found.executable)
        .ok_or_else(|| BuildError::NoProgram {
            package: package.to_owned(),
        })?;
    // Without it, cargo is asked again.
    let _ = File::create(asked(&tool)).and_then(|asked| asked.set_modified(begin));
    Ok(tool)
}

/// The file whose time says when cargo was last asked for a tool, and found or made it.
fn asked(tool: &Path) -> PathBuf {
    tool.with_extension("asked")
}

/// A tool that lies beside `this` program, unless something has changed since cargo was last asked
/// for it: then only cargo knows whether that matters.
///
/// To ask cargo costs more than all else before a run, and cargo has looked at the workspace a
/// moment ago, for this program. What it would look at again is looked at here, by the same sign,
/// which is the time of a file: this program, which is another one after a change of the compiler,
/// of its flags or of what both have in common; the tool's own sources, as cargo lists them; the
/// manifests of their packages, and what the workspace has for all.
fn unchanged(workspace: &Path, this: &Path, program: &str) -> Option<PathBuf> {
    let tool = this.with_file_name(program);
    let asked = modified(&asked(&tool))?;
    let listed = fs::read_to_string(tool.with_extension("d")).ok()?;
    let (_, sources) = listed.trim_end().split_once(": ")?;
    if sources.contains('\\') {
        // A space in a path, perhaps.
        return None;
    }
    let sources = sources.split(' ').map(Path::new);
    let manifests = sources.clone().filter_map(|source| {
        let folders = source.ancestors().skip(1);
        folders
            .map(|folder| folder.join("Cargo.toml"))
            .find(|manifest| manifest.is_file())
    });
    let for_all = ["Cargo.toml", "Cargo.lock"].map(|file| workspace.join(file));
    let optional = [
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "rust-toolchain",
    ]
    .map(|file| workspace.join(file))
    .into_iter()
    .filter(|file| file.exists());
    let is_older = |file: &Path| modified(file).is_some_and(|modified| modified < asked);
    let same = is_older(this)
        && tool.is_file()
        && sources.clone().all(is_older)
        && manifests
            .chain(for_all)
            .chain(optional)
            .all(|file| is_older(&file));
    same.then_some(tool)
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn cargo_is_asked_if_anything_may_have_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let write = |file: &str, text: &str, seconds: u64| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it is made");
            fs::write(&path, text).expect("it is written");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let file = File::options()
                .write(true)
                .open(&path)
                .expect("it is there");
            file.set_modified(time).expect("it has a time");
        };
        let list = format!(
            "{0}/tool: {0}/one/src/lib.rs {0}/one/src/more.rs\n",
            root.display()
        );
        let files = [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "one/Cargo.toml",
            "one/src/lib.rs",
            "one/src/more.rs",
            "target/this",
        ];
        for file in files {
            write(file, "", 1);
        }
        write("target/tool", "", 1);
        write("target/tool.d", &list, 1);
        let look = || unchanged(root, &root.join("target/this"), "tool");
        assert_eq!(look(), None, "cargo was never asked");
        write("target/tool.asked", "", 2);
        assert_eq!(look(), Some(root.join("target/tool")));

        for file in files {
            write(file, "", 3);
            assert_eq!(look(), None, "{file} has changed");
            write(file, "", 1);
            assert!(look().is_some());
        }
        for file in ["one/src/more.rs", "target/tool", "Cargo.lock"] {
            fs::remove_file(root.join(file)).expect("it is removed");
            assert_eq!(look(), None, "{file} is gone");
            write(file, "", 1);
        }
        write("target/tool.d", &list.replace("more", "mo\\ re"), 1);
        assert_eq!(look(), None, "the list cannot be read");
    }
}
