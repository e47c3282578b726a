//! The workbook's folders: which chapters there are, and what each has. Nothing lists them but
//! the folders themselves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::manifest::Manifest;
use crate::manifest::pod::Pod;
use crate::recording::Recording;
use crate::scenario::Scenario;
use crate::snapshot::{self, Verdict};

/// The scenario that a chapter runs unless another one is named.
pub const HEALTHY: &str = "healthy";

/// A checkout of the workbook.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

/// A chapter of the workbook.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Its number, which its folder's name begins with.
    pub number: u32,
    /// The folder's name, as `02-input-poller`.
    pub folder: String,
    /// The crate's name, as `input-poller`.
    pub name: String,
    /// The title.
    pub title: String,
    /// One sentence on what it shows.
    pub summary: String,
    root: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChapterFile {
    title: String,
    summary: String,
}

impl Workspace {
    /// Finds the workbook that the current folder belongs to.
    ///
    /// # Errors
    ///
    /// If no folder from here up holds one.
    pub fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("cannot tell the current folder")?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("Cargo.toml").is_file() && folder.join("chapters").is_dir());
        let root = root.with_context(|| {
            format!(
                "{} is not inside the workbook; change into its folder",
                here.display()
            )
        })?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The workbook in a folder that is known.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder with the workspace's `Cargo.toml`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for what the harness makes: images, recordings.
    ///
    /// # Errors
    ///
    /// As [`target`](Self::target).
    pub fn output(&self) -> anyhow::Result<PathBuf> {
        Ok(self.target()?.join("workbook"))
    }

    /// The folder for all that is built.
    ///
    /// # Errors
    ///
    /// If the current folder cannot be told, which a relative `CARGO_TARGET_DIR` needs.
    pub fn target(&self) -> anyhow::Result<PathBuf> {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => {
                std::path::absolute(folder).context("cannot tell what CARGO_TARGET_DIR names")
            }
            None => Ok(self.root.join("target")),
        }
    }

    /// All chapters, by number.
    ///
    /// # Errors
    ///
    /// If a folder under `chapters/` is not a chapter: says what it lacks.
    pub fn chapters(&self) -> anyhow::Result<Vec<Chapter>> {
        self.folders()?
            .iter()
            .map(|folder| self.chapter_in(folder))
            .collect()
    }

    /// The chapters that `wanted` names: a number, a name, or `all`. The others need not be whole.
    ///
    /// # Errors
    ///
    /// If there is no such chapter: names those that there are.
    pub fn select(&self, wanted: &str) -> anyhow::Result<Vec<Chapter>> {
        if wanted == "all" {
            return self.chapters();
        }
        let folders = self.folders()?;
        let number = wanted.parse::<u32>().ok();
        let is_meant = |folder: &&Folder| {
            Some(folder.number) == number || folder.name == wanted || folder.folder == wanted
        };
        match folders.iter().find(is_meant) {
            Some(folder) => Ok(vec![self.chapter_in(folder)?]),
            None => {
                let names: Vec<_> = folders
                    .iter()
                    .map(|folder| format!("{} {}", folder.number, folder.name))
                    .collect();
                bail!(
                    "there is no chapter `{wanted}`; there are: {}",
                    names.join(", ")
                )
            }
        }
    }

    fn folders(&self) -> anyhow::Result<Vec<Folder>> {
        let path = self.root.join("chapters");
        let mut folders = Vec::new();
        for entry in
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(Folder::parse(
                    entry.file_name().to_string_lossy().into_owned(),
                )?);
            }
        }
        folders.sort_by_key(|folder| folder.number);
        for pair in folders.windows(2) {
            let [one, other] = [&pair[0], &pair[1]];
            ensure!(
                one.number != other.number,
                "chapters/{} and chapters/{} have the same number",
                one.folder,
                other.folder
            );
        }
        Ok(folders)
    }

    fn chapter_in(&self, folder: &Folder) -> anyhow::Result<Chapter> {
        let Folder {
            number,
            name,
            folder,
        } = folder.clone();
        let file = self
            .root
            .join("chapters")
            .join(&folder)
            .join("chapter.toml");
        let read =
            || -> anyhow::Result<ChapterFile> { Ok(toml::from_str(&fs::read_to_string(&file)?)?) };
        let ChapterFile { title, summary } = read().with_context(|| {
            format!(
                "cannot read chapters/{folder}/chapter.toml, which has a `title` and a `summary`"
            )
        })?;
        Ok(Chapter {
            number,
            folder,
            name,
            title,
            summary,
            root: self.root.clone(),
        })
    }
}

/// The name of a chapter's folder, and its parts.
#[derive(Clone, Debug)]
struct Folder {
    number: u32,
    name: String,
    folder: String,
}

impl Folder {
    fn parse(folder: String) -> anyhow::Result<Self> {
        let parts = folder
            .split_once('-')
            .and_then(|(number, name)| Some((number.parse().ok()?, name.to_owned())));
        let (number, name) = parts.with_context(|| {
            format!("chapters/{folder} is not named as NN-name, such as 02-input-poller")
        })?;
        Ok(Self {
            number,
            name,
            folder,
        })
    }
}

impl Chapter {
    /// The chapter's own folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.join("chapters").join(&self.folder)
    }

    /// The names of its scenarios, the healthy one first.
    ///
    /// # Errors
    ///
    /// If the folder `scenarios` cannot be read.
    pub fn scenarios(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.path().join("scenarios");
        let mut names = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                names.extend(
                    path.file_stem()
                        .map(|stem| stem.to_string_lossy().into_owned()),
                );
            }
        }
        names.sort_by_key(|name| (name != HEALTHY, name.clone()));
        Ok(names)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// If there is none of that name (names those that there are), or it cannot be read.
    pub fn scenario(&self, name: &str) -> anyhow::Result<Scenario> {
        let file = self.path().join("scenarios").join(format!("{name}.toml"));
        if !file.is_file() {
            let names = self.scenarios()?.join(", ");
            bail!(
                "chapter {} has no scenario `{name}`; it has: {names}",
                self.number
            );
        }
        Scenario::load(&file)
    }

    /// The path of a scenario's manifest.
    #[must_use]
    pub fn manifest_path(&self, scenario: &str) -> PathBuf {
        self.root
            .join("manifests")
            .join(&self.folder)
            .join(format!("{scenario}.yaml"))
    }

    /// Reads a scenario's manifest. Its name in messages is the path from the workbook's root.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a cluster would refuse it.
    pub fn manifest(&self, scenario: &str) -> anyhow::Result<Manifest> {
        let path = self.manifest_path(scenario);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .strip_prefix(&self.root)
            .unwrap_or(&path)
            .display()
            .to_string();
        Ok(Manifest::parse(&name, &text)?)
    }

    /// The folder of a scenario's snapshots.
    #[must_use]
    pub fn snapshots(&self, scenario: &str) -> PathBuf {
        self.path().join("snapshots").join(scenario)
    }

    /// The file of a scenario's recording, which the book shows.
    #[must_use]
    pub fn recording_path(&self, scenario: &str) -> PathBuf {
        self.snapshots(scenario).join("recording.json")
    }

    /// Reads a scenario's recording, the one that its snapshots were made from or one that is
    /// as good.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not as the snapshots and the manifest say: says what would
    /// record it again.
    pub fn recording(&self, scenario: &str) -> anyhow::Result<Recording> {
        self.read_recording(scenario).with_context(|| {
            let number = self.number;
            format!("`cargo xtask chapter {number} --scenario {scenario} --bless` records it again")
        })
    }

    fn read_recording(&self, scenario: &str) -> anyhow::Result<Recording> {
        let file = self.recording_path(scenario);
        let recording = Recording::load(&file)?;
        let folder = self.snapshots(scenario);
        for (container, cut) in &self.scenario(scenario)?.snapshots {
            let compared = snapshot::compare(&folder, container, cut, &recording)?;
            ensure!(
                compared.verdict == Verdict::Same,
                "{} is not as the snapshot of {container}",
                file.display()
            );
        }
        let manifest = self.manifest(scenario)?;
        for name in recording.containers() {
            let of_pod = |pod: &Pod| pod.spec.all_containers().any(|(_, of)| of.name == name);
            ensure!(
                manifest.pods.iter().any(of_pod),
                "{} has a container {name}, and the manifest has not",
                file.display()
            );
        }
        Ok(recording)
    }
}
