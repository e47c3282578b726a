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
        /// What would do, best first.
        mends: Vec<String>,
    },
}

impl Lack {
    /// What would do about it: one command, or a few to choose from.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::Compiler { .. } => "install Rust from https://rustup.rs".to_owned(),
            Self::Processor { .. } => {
                "use a machine with an x86_64 or aarch64 processor".to_owned()
            }
            Self::Target { target } => format!("rustup target add {target}"),
            Self::Linker { .. } => {
                "install a C compiler: Debian and Ubuntu have it in gcc and libc6-dev, \
                 Fedora and Arch in gcc"
                    .to_owned()
            }
            Self::StaticLibc { mends } => mends.join(", or "),
        }
    }
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
                    "there is no static C library (libc.a), and images have no other files"
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
    let [musl, gnu] = ["musl", "gnu"].map(|libc| format!("{processor}-unknown-linux-{libc}"));
    // The compiler is told of this folder, and would start afresh for another spelling of it.
    let workspace = workspace
        .canonicalize()
        .unwrap_or_else(|_| workspace.to_owned());
    let targets = compiler_targets(&workspace)?;
    let has = |target: &str| targets.join(target).join("lib").is_dir();
    let found = |target, linker| {
        Ok(Toolchain {
            workspace: workspace.clone(),
            target,
            linker,
        })
    };

    if !cfg!(target_os = "linux") {
        // The linker of another system cannot make programs for Linux. The compiler brings one
        // that can, and with musl's target comes all that has to be linked.
        return if has(&musl) {
            found(musl, Some("rust-lld"))
        } else {
            Err(Lack::Target { target: musl })
        };
    }
    // The target for musl has its C library with it, and so depends on nothing of this machine
    // but the linker.
    if has(&musl) {
        static_libc(&musl)?;
        return found(musl, None);
    }
    if !has(&gnu) {
        return Err(Lack::Target { target: musl });
    }
    if !static_libc(&gnu)?.is_absolute() {
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let by_rustup = targets
            .components()
            .any(|part| part.as_os_str() == "toolchains");
        let mends = static_libc_mends(&os_release, by_rustup.then_some(&*musl));
        return Err(Lack::StaticLibc { mends });
    }
    found(gnu, None)
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
pub(super) fn cargo() -> PathBuf {
    env::var_os("CARGO")
        .unwrap_or_else(|| OsString::from("cargo"))
        .into()
}

/// Asks the linker for its static C library. One that has it answers with an absolute path.
fn static_libc(target: &str) -> Result<PathBuf, Lack> {
    let variable = target.to_uppercase().replace('-', "_");
    let named = env::var_os(format!("CARGO_TARGET_{variable}_LINKER"));
    let program = PathBuf::from(named.unwrap_or_else(|| OsString::from("cc")));
    let mut command = Command::new(&program);
    command.arg("-print-file-name=libc.a");
    match first_line_of(command) {
        Ok(answer) => Ok(answer.into()),
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

/// What gives a machine a static C library: rustup, which needs no root, or its distribution.
fn static_libc_mends(os_release: &str, rustup_target: Option<&str>) -> Vec<String> {
    let words: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let is = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let of_distribution = if is(&["debian", "ubuntu"]) {
        "sudo apt install libc6-dev"
    } else if is(&["fedora", "rhel", "centos"]) {
        "sudo dnf install glibc-static"
    } else if is(&["suse", "opensuse"]) {
        "sudo zypper install glibc-devel-static"
    } else if is(&["arch"]) {
        "sudo pacman -S glibc"
    } else {
        "install the static C library of this machine's distribution"
    };
    let by_rustup = rustup_target.map(|target| format!("rustup target add {target}"));
    by_rustup
        .into_iter()
        .chain([of_distribution.to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mend_is_for_the_distribution_at_hand() {
        for (os_release, command) in [
            ("NAME=x\nID=debian\n", "sudo apt install libc6-dev"),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
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
            (
                "",
                "install the static C library of this machine's distribution",
            ),
        ] {
            assert_eq!(
                static_libc_mends(os_release, None),
                [command],
                "{os_release}"
            );
        }
    }

    #[test]
    fn with_rustup_the_first_mend_needs_no_root() {
        let lack = Lack::StaticLibc {
            mends: static_libc_mends("ID=fedora\n", Some("x86_64-unknown-linux-musl")),
        };
        assert_eq!(
            lack.mend(),
            "rustup target add x86_64-unknown-linux-musl, or sudo dnf install glibc-static"
        );
    }
}
