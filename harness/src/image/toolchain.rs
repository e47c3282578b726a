//! What images are built with, and what this machine lacks for it.

use std::env::{self, consts};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What images are built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The folder of the workspace that the packages are in, without symbolic links.
    pub workspace: PathBuf,
    /// The target that programs are compiled for, as `x86_64-unknown-linux-musl`.
    pub target: String,
    /// The linker that has to be named for it, where the compiler's own choice would not do.
    pub linker: Option<&'static str>,
}

/// What this machine lacks to build images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The compiler does not run.
    Compiler {
        /// What was run.
        program: PathBuf,
        /// What came of it.
        error: String,
    },
    /// Images for this processor are not known.
    Processor {
        /// Rust's name for it.
        name: &'static str,
    },
    /// The compiler has no standard library for Linux on this processor.
    Target {
        /// The target to add.
        target: String,
    },
    /// There is no linker.
    Linker {
        /// What was run.
        program: PathBuf,
        /// What came of it.
        error: String,
    },
    /// There is no C library that a program could take along.
    StaticLibc {
        /// A target that has one.
        other: String,
    },
}

impl Lack {
    /// What would do about it on this machine.
    #[must_use]
    pub fn mend(&self) -> String {
        self.mend_on(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// What would do on a machine that says this of its system.
    fn mend_on(&self, os_release: &str) -> String {
        match self {
            Self::Compiler { .. } => "install Rust from https://rustup.rs".to_owned(),
            Self::Processor { .. } => {
                "use a machine with an x86_64 or aarch64 processor".to_owned()
            }
            Self::Target { target } => format!("rustup target add {target}"),
            Self::Linker { .. } => match family(os_release) {
                Some("debian") => "sudo apt install gcc libc6-dev".to_owned(),
                Some("fedora") => "sudo dnf install gcc".to_owned(),
                Some("suse") => "sudo zypper install gcc".to_owned(),
                Some("arch") => "sudo pacman -S gcc".to_owned(),
                _ => "install a C compiler, with a program that is called cc".to_owned(),
            },
            Self::StaticLibc { other } => {
                let by_rustup = format!("rustup target add {other}");
                let by_system = match family(os_release) {
                    Some("debian") => "sudo apt install libc6-dev",
                    Some("fedora") => "sudo dnf install glibc-static",
                    Some("suse") => "sudo zypper install glibc-devel-static",
                    Some("arch") => "sudo pacman -S glibc",
                    _ => return by_rustup,
                };
                format!("{by_system}, or, without root, {by_rustup}")
            }
        }
    }
}

/// The family of distributions that a machine's belongs to, by its `os-release(5)`.
fn family(os_release: &str) -> Option<&'static str> {
    let value = |key| os_release.lines().find_map(|line| line.strip_prefix(key));
    let words = [value("ID="), value("ID_LIKE=")].into_iter().flatten();
    let mut words = words.flat_map(|words| words.trim_matches('"').split_whitespace());
    words.find_map(|word| {
        let families = ["debian", "fedora", "suse", "arch"];
        families.into_iter().find(|family| *family == word)
    })
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiler { program, error } => {
                write!(f, "cannot run the compiler {}: {error}", program.display())
            }
            Self::Processor { name } => {
                write!(f, "images for the processor {name} are not known")
            }
            Self::Target { target } => {
                write!(f, "the compiler has no standard library for {target}")
            }
            Self::Linker { program, error } => {
                write!(f, "cannot run the linker {}: {error}", program.display())
            }
            Self::StaticLibc { .. } => {
                write!(
                    f,
                    "there is no static C library (libc.a), and an image has no other one"
                )
            }
        }
    }
}

impl std::error::Error for Lack {}

/// Finds what images can be built with. Nothing is compiled, and it takes a few milliseconds.
///
/// # Errors
///
/// If something is lacking. [`Lack::mend`] says what would do.
pub fn toolchain(workspace: &Path) -> Result<Toolchain, Lack> {
    // Rust's names for processors are those of its targets, with one exception among those that
    // have Linux images.
    let processor = match consts::ARCH {
        name @ ("x86_64" | "aarch64") => name,
        "riscv64" => "riscv64gc",
        name => return Err(Lack::Processor { name }),
    };
    // The compiler is told of this folder, and would start afresh for another spelling of it.
    let workspace = workspace
        .canonicalize()
        .unwrap_or_else(|_| workspace.to_owned());
    let targets = compiler_targets(&workspace)?;
    let has_target = |target: &str| targets.join(target).join("lib").is_dir();
    let (target, linker) = if cfg!(target_os = "linux") {
        (choose(processor, has_target, has_static_libc)?, None)
    } else {
        // The linker of another system cannot make programs for Linux. The compiler brings one
        // that can, and with musl's target comes all that has to be linked.
        let target = format!("{processor}-unknown-linux-musl");
        if !has_target(&target) {
            return Err(Lack::Target { target });
        }
        (target, Some("rust-lld"))
    };
    Ok(Toolchain {
        workspace,
        target,
        linker,
    })
}

/// Chooses a target on Linux.
fn choose(
    processor: &str,
    has_target: impl Fn(&str) -> bool,
    has_static_libc: impl Fn(&str) -> Result<bool, Lack>,
) -> Result<String, Lack> {
    let [musl, gnu] = ["musl", "gnu"].map(|libc| format!("{processor}-unknown-linux-{libc}"));
    // musl's target has its C library with it, and so depends on nothing of this machine but the
    // linker.
    if has_target(&musl) {
        return has_static_libc(&musl).map(|_| musl);
    }
    if !has_target(&gnu) {
        return Err(Lack::Target { target: musl });
    }
    if !has_static_libc(&gnu)? {
        return Err(Lack::StaticLibc { other: musl });
    }
    Ok(gnu)
}

/// The folder where the compiler that cargo will run keeps its targets.
fn compiler_targets(workspace: &Path) -> Result<PathBuf, Lack> {
    let named = env::var_os("RUSTC");
    // In a toolchain of rustup's, cargo and the compiler lie side by side. To look is quicker
    // than to ask.
    if named.is_none() && env::var_os("RUSTUP_TOOLCHAIN").is_some() {
        let beside = cargo()
            .ancestors()
            .nth(2)
            .map(|root| root.join("lib/rustlib"));
        if let Some(targets) = beside.filter(|targets| targets.is_absolute() && targets.is_dir()) {
            return Ok(targets);
        }
    }
    let program = PathBuf::from(named.unwrap_or_else(|| OsString::from("rustc")));
    // In the workspace, since a file there can say which toolchain is meant.
    let mut command = Command::new(&program);
    command.args(["--print", "sysroot"]).current_dir(workspace);
    match first_line_of(command) {
        Ok(sysroot) => Ok(Path::new(&sysroot).join("lib/rustlib")),
        Err(error) => Err(Lack::Compiler { program, error }),
    }
}

/// The cargo that runs this program, or the one on the path.
#[must_use]
pub fn cargo() -> PathBuf {
    env::var_os("CARGO")
        .unwrap_or_else(|| OsString::from("cargo"))
        .into()
}

/// Whether this machine's linker has a static C library.
fn has_static_libc(target: &str) -> Result<bool, Lack> {
    let variable = target.to_uppercase().replace('-', "_");
    let named = env::var_os(format!("CARGO_TARGET_{variable}_LINKER"));
    let program = PathBuf::from(named.unwrap_or_else(|| OsString::from("cc")));
    let mut command = Command::new(&program);
    command.arg("-print-file-name=libc.a");
    match first_line_of(command) {
        // A file that it does not find has no folder in the answer.
        Ok(answer) => Ok(Path::new(&answer).is_absolute()),
        Err(error) => Err(Lack::Linker { program, error }),
    }
}

fn first_line_of(mut command: Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said
            .lines()
            .next()
            .map_or_else(|| output.status.to_string(), str::to_owned));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUSL: &str = "x86_64-unknown-linux-musl";
    const GNU: &str = "x86_64-unknown-linux-gnu";

    #[test]
    fn a_target_needs_a_linker_and_a_static_libc() {
        let (yes, no) = (|_: &str| Ok(true), |_: &str| Ok(false));
        let linker = Lack::Linker {
            program: "cc".into(),
            error: "none".into(),
        };
        let none = |_: &str| Err(linker.clone());
        let (is_musl, is_gnu) = (|target: &str| target == MUSL, |target: &str| target == GNU);

        assert_eq!(choose("x86_64", |_| true, yes), Ok(MUSL.to_owned()));
        assert_eq!(choose("x86_64", is_musl, no), Ok(MUSL.to_owned()));
        assert_eq!(choose("x86_64", is_gnu, yes), Ok(GNU.to_owned()));
        let lack = Lack::StaticLibc {
            other: MUSL.to_owned(),
        };
        assert_eq!(choose("x86_64", is_gnu, no), Err(lack));
        let lack = Lack::Target {
            target: MUSL.to_owned(),
        };
        assert_eq!(choose("x86_64", |_| false, yes), Err(lack));
        assert_eq!(choose("x86_64", is_musl, none), Err(linker.clone()));
        assert_eq!(choose("x86_64", is_gnu, none), Err(linker.clone()));
    }

    #[test]
    fn a_mend_is_for_the_system_at_hand() {
        let lack = Lack::StaticLibc {
            other: MUSL.to_owned(),
        };
        for (os_release, command) in [
            ("NAME=x\nID=debian\n", "sudo apt install libc6-dev"),
            (
                "ID_LIKE=\"ubuntu debian\"\nID=linuxmint\n",
                "sudo apt install libc6-dev",
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                "sudo dnf install glibc-static",
            ),
            (
                "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n",
                "sudo zypper install glibc-devel-static",
            ),
            ("ID=manjaro\nID_LIKE=arch\n", "sudo pacman -S glibc"),
        ] {
            let mend = format!("{command}, or, without root, rustup target add {MUSL}");
            assert_eq!(lack.mend_on(os_release), mend);
        }
        assert_eq!(lack.mend_on(""), format!("rustup target add {MUSL}"));
    }
}
