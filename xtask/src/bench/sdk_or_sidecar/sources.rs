//! What the sources of the programs tell: the lines that an SDK changes in an app, and the crates
//! that a program is built of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// The package that all these programs are built in.
const PACKAGE: &str = "sdk-or-sidecar";
const APP: &str = "chapters/06-rate-limit/src/bin/order-service.rs";
const SDK: &str = "chapters/09-sdk-or-sidecar/src/bin/order-service-sdk.rs";
const SIDECAR: &str = "chapters/06-rate-limit/src/bin/rate-limiter.rs";

/// How many lines of the app are new or other ones once it has the SDK.
pub(super) fn changed_lines(root: &Path) -> anyhow::Result<usize> {
    Ok(changed(&read(root, APP)?, &read(root, SDK)?))
}

/// Counts the lines of the new text that the old one does not have; comments and empty lines are
/// none.
fn changed(old: &str, new: &str) -> usize {
    let code = |text: &str| {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let (old, new) = (code(old), code(new));
    let difference = TextDiff::from_lines(&old, &new);
    let changes = difference.iter_all_changes();
    changes
        .filter(|change| change.tag() == ChangeTag::Insert)
        .count()
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// How many crates the app, the app with the SDK, and the sidecar are built of, besides
/// themselves.
///
/// In this workbook a chapter's programs share one package, and cargo tells only what that needs
/// as a whole. So each program is made a package of its own, and so is each library of the
/// workbook: with those dependencies that its own source names. Then cargo says what the tree of
/// that package is, in the versions of the workbook's `Cargo.lock`.
pub(super) fn crates(root: &Path) -> anyhow::Result<(usize, usize, usize)> {
    let packages = packages(root)?;
    let count = |program| tree(root, &packages, program);
    Ok((count(APP)?, count(SDK)?, count(SIDECAR)?))
}

/// A package of the workbook.
struct Package {
    folder: PathBuf,
    /// By the name that a source has for it: the name of the package, and how a manifest asks for
    /// it.
    dependencies: BTreeMap<String, Dependency>,
}

struct Dependency {
    package: String,
    /// Another package of the workbook.
    is_own: bool,
    /// `{ version = "^1", … }`.
    asked: String,
}

/// The packages of the workbook, by name.
fn packages(root: &Path) -> anyhow::Result<BTreeMap<String, Package>> {
    let text = cargo(
        root,
        &["metadata", "--no-deps", "--format-version=1", "--offline"],
    )?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let packages = packages.filter_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let dependencies = dependencies
            // The workbook's programs ask for no optional part of its libraries.
            .filter(|dependency| dependency["kind"].is_null() && dependency["optional"] == false)
            .filter_map(|dependency| {
                let name = dependency["name"].as_str()?;
                let is_own = dependency["path"].is_string();
                let asked = if is_own {
                    format!("{{ path = \"../{name}\" }}")
                } else {
                    format!(
                        "{{ version = {}, default-features = {}, features = {} }}",
                        dependency["req"],
                        dependency["uses_default_features"],
                        dependency["features"]
                    )
                };
                let dependency = Dependency {
                    package: name.to_owned(),
                    is_own,
                    asked,
                };
                Some((name.replace('-', "_"), dependency))
            });
        let found = Package {
            folder: manifest.parent()?.to_owned(),
            dependencies: dependencies.collect(),
        };
        Some((package["name"].as_str()?.to_owned(), found))
    });
    Ok(packages.collect())
}

/// How many crates are in the tree of a program.
fn tree(root: &Path, packages: &BTreeMap<String, Package>, program: &str) -> anyhow::Result<usize> {
    let folder = tempfile::tempdir().context("cannot make a folder for the programs")?;
    let source = root.join(program);
    let mut needed = own_package(
        folder.path(),
        "program",
        &format!("[[bin]]\nname = \"program\"\npath = {source:?}\n"),
        packages,
        PACKAGE,
        &read(root, program)?,
    )?;
    let mut made = BTreeSet::new();
    while let Some(name) = needed.pop() {
        if !made.insert(name.clone()) {
            continue;
        }
        let package = packages.get(&name).context("a package is gone")?;
        let library = package.folder.join("src/lib.rs");
        needed.extend(own_package(
            folder.path(),
            &name,
            &format!("[lib]\npath = {library:?}\n"),
            packages,
            &name,
            &library_text(&package.folder.join("src"))?,
        )?);
    }
    fs::write(
        folder.path().join("Cargo.toml"),
        "[workspace]\nmembers = [\"*\"]\nexclude = [\"Cargo.lock\"]\nresolver = \"3\"\n",
    )?;
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock"))
        .context("cannot copy Cargo.lock")?;
    let tree = cargo(
        folder.path(),
        &[
            "tree",
            "--offline",
            "--package=program",
            "--edges=normal",
            "--prefix=none",
        ],
    )?;
    // `name v1.2.3`, and what more there is to say of it.
    let crates = tree.lines().map(|line| {
        let mut words = line.split_whitespace();
        (words.next(), words.next())
    });
    let crates = BTreeSet::from_iter(crates);
    Ok(crates.len() - 1)
}

/// Makes a package with those dependencies of `of` that the source names, and returns which of
/// them are the workbook's own.
fn own_package(
    folder: &Path,
    name: &str,
    target: &str,
    packages: &BTreeMap<String, Package>,
    of: &str,
    source: &str,
) -> anyhow::Result<Vec<String>> {
    let package = packages.get(of).context("a package is gone")?;
    let mut manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nautobins = false\n\
         {target}\n[dependencies]\n"
    );
    let mut own = Vec::new();
    for (known_as, dependency) in &package.dependencies {
        if source.contains(&format!("{known_as}::")) {
            let Dependency { package, asked, .. } = dependency;
            writeln!(manifest, "{package} = {asked}")?;
            own.extend(dependency.is_own.then(|| package.clone()));
        }
    }
    // A program names the library of its own package as any other.
    if name != of && source.contains(&format!("{}::", of.replace('-', "_"))) {
        writeln!(manifest, "{of} = {{ path = \"../{of}\" }}")?;
        own.push(of.to_owned());
    }
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    Ok(own)
}

/// The text of a library: all of its files, and none of its programs.
fn library_text(folder: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "bin") {
                text.push_str(&library_text(&path)?);
            }
        } else {
            text.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(text)
}

fn cargo(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(harness::image::cargo())
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "cargo {} failed: {}",
        arguments.join(" "),
        said.trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use harness::workspace::Workspace;

    use super::*;

    #[test]
    fn comments_are_no_changed_lines() {
        let old = "//! A.\nuse a;\n\nfn main() {\n    a(1)\n}\n";
        let new = "//! B.\nuse a;\nuse b;\n// ANCHOR: main\nfn main() {\n    b(a(1))\n}\n";
        assert_eq!(changed(old, new), 2);
        assert_eq!(changed(old, old), 0);
    }

    /// What the book says of both: the SDK takes a few lines, and its upgrade is the version.
    #[test]
    fn an_upgrade_of_the_sdk_changes_one_line() {
        let workspace = Workspace::find().unwrap();
        let next = SDK.replace(".rs", "-next.rs");
        let (sdk, next) = (
            read(workspace.root(), SDK).unwrap(),
            read(workspace.root(), &next).unwrap(),
        );
        assert_eq!(changed(&sdk, &next), 1);
    }
}
